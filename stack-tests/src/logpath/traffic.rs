//! Lines for measurements and for counting.
