//! load-test
