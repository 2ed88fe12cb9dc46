//! Why a call of the model has no answer.
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::redact::{Secret, excerpt};
use crate::error::ErrorType;

/// The longest time a provider can keep callers away: a day, the longest period of its quotas.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// What callers are told where a provider that limits its rate gives no time.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);
const TOO_MANY_REQUESTS: u16 = 429;
/// What providers call an account without money. Another attempt cannot succeed.
const QUOTA_EXHAUSTED: [&str; 4] =
    ["insufficient_quota", "billing_hard_limit", "insufficient_balance", "quota_exhausted"];
/// Words in the code or type of an error and the HTTP status they stand for, the first match first.
const STATUS_OF_WORDS: [(&str, u16); 16] = [
    ("rate_limit", TOO_MANY_REQUESTS),
    ("too_many_requests", TOO_MANY_REQUESTS),
    ("resource_exhausted", TOO_MANY_REQUESTS),
    ("throttl", TOO_MANY_REQUESTS),
    ("quota", TOO_MANY_REQUESTS),
    ("overloaded", 503),
    ("unavailable", 503),
    ("timeout", 504),
    ("server_error", 500),
    ("internal", 500),
    ("api_error", 500),
    ("authentication", 401),
    ("api_key", 401),
    ("permission", 403),
    ("not_found", 404),
    ("invalid", 400),
];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// No connection, or it broke before there was a response.
    #[error("cannot reach the model provider")]
    Unreachable(#[source] reqwest::Error),
    /// No complete answer in the time a call may take.
    #[error("no complete answer from the model provider within {0:?}")]
    TimedOut(Duration),
    /// The provider's rate limit.
    #[error("the model provider is rate limiting (retry after {retry_after:?}): {body}")]
    RateLimited {
        /// The time the provider asks for.
        retry_after: Option<Duration>,
        /// Excerpt of the body.
        body: String,
    },
    /// Any other error of the provider, as a status or in the body.
    #[error("the model provider answered with an error (status {status}): {body}")]
    Refused {
        /// HTTP status, or the one that the error in the body stands for.
        status: u16,
        /// The time the provider asks for.
        retry_after: Option<Duration>,
        /// Excerpt of the body.
        body: String,
    },
    /// A body that is not the protocol.
    #[error("the model provider's answer is not a chat completion: {0}")]
    Invalid(String),
    /// The response broke off.
    #[error("the model provider's answer broke off")]
    BrokenOff(#[source] reqwest::Error),
}

impl LlmError {
    /// The error of a response with this status and body.
    pub(super) fn of_status(
        status: u16,
        retry_after: Option<Duration>,
        body: &str,
        key: Option<&Secret>,
    ) -> Self {
        let exhausted = QUOTA_EXHAUSTED.iter().any(|word| body.contains(word));
        let body = excerpt(body, key);
        if status == TOO_MANY_REQUESTS && !exhausted {
            return Self::RateLimited { retry_after, body };
        }
        Self::Refused { status, retry_after, body }
    }

    /// The error that an object in the body of a response with status 200 describes.
    pub(super) fn of_object(error: &Value, key: Option<&Secret>) -> Self {
        Self::of_status(status(error).unwrap_or(200), None, &error.to_string(), key)
    }

    /// The kind under which the failure is counted and answered.
    pub fn error_type(&self) -> ErrorType {
        match self {
            Self::Unreachable(_) => ErrorType::UpstreamUnavailable,
            Self::TimedOut(_) => ErrorType::UpstreamTimeout,
            Self::RateLimited { .. } => ErrorType::UpstreamRateLimited,
            Self::Refused { .. } => ErrorType::UpstreamError,
            Self::Invalid(_) | Self::BrokenOff(_) => ErrorType::UpstreamInvalidResponse,
        }
    }

    /// The time before which the provider must not be asked again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whole seconds after which the caller may try again.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let default = matches!(self, Self::RateLimited { .. }).then_some(DEFAULT_RETRY_AFTER);
        let wait = self.retry_after().or(default)?.min(MAX_RETRY_AFTER);
        Some((wait.as_secs_f64().ceil() as u64).max(1))
    }
}

/// Reads `retry-after-ms`, else `retry-after` in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str, unit: f64| Duration::try_from_secs_f64(text.parse::<f64>().ok()? * unit).ok();
    text("retry-after-ms").and_then(|text| seconds(text, 0.001)).or_else(|| {
        let text = text(RETRY_AFTER.as_str())?;
        // A date in the past is no wait.
        let until = || Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default());
        seconds(text, 1.0).or_else(until)
    })
}

/// The HTTP status that an error object names or stands for.
fn status(error: &Value) -> Option<u16> {
    let named = ["code", "status", "status_code", "type"].map(|name| &error[name]);
    let number = |value: &Value| match value {
        Value::Number(number) => u16::try_from(number.as_u64()?).ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    named.into_iter().filter_map(number).find(|status| (400..600).contains(status)).or_else(|| {
        let words = named.into_iter().filter_map(Value::as_str).map(str::to_ascii_lowercase);
        let words: Vec<_> = words.collect();
        let known = STATUS_OF_WORDS.iter();
        known
            .filter(|(part, _)| words.iter().any(|word| word.contains(part)))
            .map(|(_, status)| *status)
            .next()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds_in_milliseconds_and_as_a_date() {
        let now = httpdate::parse_http_date("Tue, 01 Dec 2026 10:00:00 GMT").unwrap();
        for (name, value, expected) in [
            ("retry-after", "7", Some(7.0)),
            ("retry-after", "0.5", Some(0.5)),
            ("retry-after", "Tue, 01 Dec 2026 10:01:00 GMT", Some(60.0)),
            ("retry-after", "Tue, 01 Dec 2026 09:00:00 GMT", Some(0.0)),
            ("retry-after-ms", "1500", Some(1.5)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("retry-after", "NaN", None),
            ("retry-after", "1e300", None),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
            assert_eq!(
                retry_after(&headers, now).map(|wait| wait.as_secs_f64()),
                expected,
                "{name}: {value}"
            );
        }
    }

    #[test]
    fn callers_are_told_whole_seconds_from_one_to_a_day() {
        for (retry_after, told) in [(None, 1), (Some(0.0), 1), (Some(1.2), 2), (Some(1e9), 86_400)] {
            let retry_after = retry_after.map(Duration::from_secs_f64);
            let error = LlmError::RateLimited { retry_after, body: String::new() };
            assert_eq!(error.retry_after_seconds(), Some(told));
        }
        let refused = |retry_after| LlmError::Refused { status: 503, retry_after, body: String::new() };
        assert_eq!(refused(None).retry_after_seconds(), None);
        assert_eq!(refused(Some(Duration::from_secs(20))).retry_after_seconds(), Some(20));
    }

    #[test]
    fn an_error_in_a_body_has_the_kind_that_its_code_names() {
        for (error, expected) in [
            (json!({ "code": 502 }), 502),
            (json!({ "code": "503" }), 503),
            (json!({ "type": "overloaded_error" }), 503),
            (json!({ "type": "invalid_request_error", "code": null }), 400),
            (json!({ "status": "INTERNAL", "code": 500 }), 500),
            (json!({ "type": "insufficient_quota", "code": "insufficient_quota" }), 429),
            (json!({ "message": "no" }), 200),
            (json!("no"), 200),
        ] {
            let LlmError::Refused { status, .. } = LlmError::of_object(&error, None) else {
                panic!("{error}")
            };
            assert_eq!(status, expected, "{error}");
        }
        for error in [json!({ "code": 429 }), json!({ "code": "rate_limit_exceeded" })] {
            let limited = LlmError::of_object(&error, None);
            assert!(matches!(limited, LlmError::RateLimited { .. }), "{limited:?}");
        }
    }
}
