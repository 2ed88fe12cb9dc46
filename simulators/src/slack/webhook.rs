//! `POST /services/T…/B…/…`: Slack's answers, word for word.
use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{ALLOW, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, value::RawValue};

use super::{
    Slack,
    inbox::{Message, Refusal},
    payload::{self, Broken},
    render,
};

/// The token that plays a webhook whose channel has been archived.
const ARCHIVED: &str = "archived";

/// The longest part of a path that is taken for one of Slack's identifiers.
const MAX_IDENTIFIER: usize = 64;

/// Why a message is refused.
struct Refused {
    status: StatusCode,
    error: &'static str,
    detail: String,
    retry_after_seconds: Option<u64>,
}

impl Refused {
    fn new(status: StatusCode, error: &'static str, detail: impl Into<String>) -> Self {
        Self { status, error, detail: detail.into(), retry_after_seconds: None }
    }
}

impl From<Broken> for Refused {
    fn from(broken: Broken) -> Self {
        Self::new(StatusCode::BAD_REQUEST, broken.error, broken.detail)
    }
}

/// Takes a message or refuses it. Either shows in the inbox.
pub(super) async fn receive(
    State(slack): State<Arc<Slack>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let webhook: String = uri.path().chars().take(4 * MAX_IDENTIFIER).collect();
    let public = without_token(&webhook);
    match accept(&slack, &method, uri.path(), &headers, body) {
        Ok(message) => {
            tracing::info!(webhook = public, bytes = message.payload.get().len(), "message accepted");
            slack.inbox().accept(message);
            // Exactly this text: Alertmanager takes any other for an error.
            "ok".into_response()
        }
        Err(refused) => {
            let Refused { status, error, detail, retry_after_seconds } = refused;
            tracing::warn!(webhook = public, status = status.as_u16(), error, detail = ?detail, "message refused");
            let received_at = SystemTime::now();
            slack.inbox().refuse(Refusal { received_at, webhook, status: status.as_u16(), error, detail });
            let mut response = (status, error).into_response();
            if let Some(seconds) = retry_after_seconds {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            }
            response
        }
    }
}

fn accept(
    slack: &Slack,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Message, Refused> {
    if method != Method::POST {
        let detail = format!("{method}; a webhook takes POST");
        return Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail));
    }
    check_path(path, slack.token.as_deref())?;
    slack.limiter().take(path, Instant::now()).map_err(|seconds| Refused {
        retry_after_seconds: Some(seconds),
        ..Refused::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            format!("more messages at once than allowed; the next one in {seconds} s"),
        )
    })?;
    let body = body.map_err(|rejection| {
        let detail = format!("{rejection}; up to {} bytes are read", super::MAX_BODY);
        Refused::new(rejection.status(), "invalid_payload", detail)
    })?;
    let text = json_text(headers, &body)?;
    let payload: Box<RawValue> =
        serde_json::from_str(&text).map_err(|error| invalid(format!("not JSON: {error}")))?;
    let value: Value =
        serde_json::from_str(payload.get()).map_err(|error| invalid(format!("not JSON: {error}")))?;
    payload::check(&value)?;
    let received_at = SystemTime::now();
    Ok(Message { received_at, webhook: path.to_owned(), payload, html: render::message(&value, received_at) })
}

/// The JSON in the body: all of it, or the form's field `payload`.
fn json_text(headers: &HeaderMap, body: &[u8]) -> Result<String, Refused> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    match content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "application/json" => std::str::from_utf8(body)
            .map(str::to_owned)
            .map_err(|error| invalid(format!("not UTF-8: {error}"))),
        "application/x-www-form-urlencoded" => form_urlencoded::parse(body)
            .find(|(key, _)| key == "payload")
            .map(|(_, payload)| payload.into_owned())
            .ok_or_else(|| invalid("a form without the field payload".to_owned())),
        _ => Err(invalid(format!(
            "content type {content_type:?}; it must be application/json, or a form with the field payload"
        ))),
    }
}

fn invalid(detail: String) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, "invalid_payload", detail)
}

/// `/services/T…/B…/token`.
fn check_path(path: &str, token: Option<&str>) -> Result<(), Refused> {
    let parts: Vec<_> = path.trim_start_matches("/services/").split('/').collect();
    let [team, service, given] = parts[..] else {
        let detail = "the path must be /services/T…/B…/token";
        return Err(Refused::new(StatusCode::NOT_FOUND, "no_service", detail));
    };
    if !is_identifier(team, "T") {
        return Err(Refused::new(
            StatusCode::NOT_FOUND,
            "no_team",
            "the workspace must be T and 8 or more of A-Z, 0-9",
        ));
    }
    if !is_identifier(service, "B") {
        let detail = "the webhook must be B and 8 or more of A-Z, 0-9";
        return Err(Refused::new(StatusCode::NOT_FOUND, "no_service", detail));
    }
    let shaped =
        (1..=MAX_IDENTIFIER).contains(&given.len()) && given.bytes().all(|b| b.is_ascii_alphanumeric());
    if !shaped || token.is_some_and(|token| token != given) {
        let detail =
            if shaped { "not the token that is configured" } else { "the token must be of A-Z, a-z, 0-9" };
        return Err(Refused::new(StatusCode::FORBIDDEN, "invalid_token", detail));
    }
    if given == ARCHIVED {
        let detail = "the token `archived` plays a channel that has been archived";
        return Err(Refused::new(StatusCode::GONE, "channel_is_archived", detail));
    }
    Ok(())
}

fn is_identifier(text: &str, prefix: &str) -> bool {
    text.len() <= MAX_IDENTIFIER
        && text.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= 8 && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        })
}

/// The path without its last part: in the real Slack, that is a secret.
fn without_token(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(public, _)| public)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart_as_slack_does() {
        let check = |path: &str| check_path(path, Some("secret")).err().map(|r| (r.status.as_u16(), r.error));
        for (path, expected) in [
            ("/services/T00000000/B00000000/secret", None),
            ("/services/T00000000/B00000000/other", Some((403, "invalid_token"))),
            ("/services/T00000000/B00000000/", Some((403, "invalid_token"))),
            ("/services/T00000000/B00000000/sec%20ret", Some((403, "invalid_token"))),
            ("/services/X00000000/B00000000/secret", Some((404, "no_team"))),
            ("/services/T00000000/b00000000/secret", Some((404, "no_service"))),
            ("/services/T00000000/B00000000", Some((404, "no_service"))),
            ("/services/T00000000/B00000000/secret/more", Some((404, "no_service"))),
        ] {
            assert_eq!(check(path), expected, "{path}");
        }
        let refused = check_path("/services/T00000000/B00000000/archived", None).err().unwrap();
        assert_eq!((refused.status.as_u16(), refused.error), (410, "channel_is_archived"));
        assert!(check_path("/services/T00000000/B00000000/any", None).is_ok());
    }
}
