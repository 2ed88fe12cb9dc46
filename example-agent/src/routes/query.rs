//! `POST /v1/query`: a tenant's question.
use std::sync::Arc;

use axum::{
    Json,
    extract::{Extension, Request, State},
    http::{HeaderMap, header},
};
use serde_json::{Map, Value, json};

use super::{MAX_ECHOED_CHARS, body, observe::RequestScope};
use crate::{
    App,
    error::{ApiError, ErrorType},
    telemetry::events::RequestStarted,
    tenants::Tenant,
};

/// The longest question, in characters.
const MAX_QUERY_CHARS: usize = 8000;

/// Answers a question.
pub(super) async fn query(
    State(app): State<Arc<App>>,
    Extension(scope): Extension<Arc<RequestScope>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let (parts, body) = request.into_parts();
    // Read first, refuse then: a caller that is still writing would see a reset in place of the answer.
    let body = body::read(&parts.headers, body, app.body_timeout).await?;
    if !is_json(&parts.headers) {
        let message = "The body must be JSON: send `content-type: application/json`.";
        return Err(ApiError::new(ErrorType::UnsupportedMediaType, message).with_field("content-type"));
    }
    let (tenant, query) = validate(&app, &scope, &body)?;
    let query_length = query.chars().count();
    scope.identify(tenant.clone(), &query, query_length);
    RequestStarted { query: &query, query_length }.emit();
    let answer = app.pipeline.answer(&tenant, &query).await;
    let answer = answer.inspect_err(|reason| scope.answered(false, reason.cost()))?;
    let response = json!({
        "request_id": scope.id(),
        "answer": answer.text,
        "model": app.pipeline.model(),
        "tokens": answer.tokens,
        "cost_usd": answer.cost.as_usd(),
        "cached": answer.cached,
    });
    scope.answered(answer.cached, answer.cost);
    Ok(Json(response))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

fn validate(app: &App, scope: &RequestScope, body: &[u8]) -> Result<(Arc<Tenant>, String), ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|e| ApiError::invalid("body", format!("The body is not valid JSON: {e}.")))?;
    let Value::Object(mut fields) = value else {
        let message = "The body must be a JSON object: {\"tenant_id\": \"…\", \"query\": \"…\"}.";
        return Err(ApiError::invalid("body", message));
    };
    let id = text(&mut fields, "tenant_id")?;
    scope.claim(&id);
    let query = text(&mut fields, "query")?;
    if id.chars().any(char::is_control) {
        return Err(ApiError::invalid("tenant_id", "`tenant_id` must not have control characters."));
    }
    if let Some(c) = query.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        let message =
            format!("`query` must not have control characters but line breaks and tabs: it has {c:?}.");
        return Err(ApiError::invalid("query", message));
    }
    let length = query.chars().count();
    if length > MAX_QUERY_CHARS {
        let message = format!("`query` has {length} characters; at most {MAX_QUERY_CHARS} are allowed.");
        return Err(ApiError::invalid("query", message));
    }
    let tenant = app.tenants.find(&id).ok_or_else(|| {
        let id: String = id.chars().take(MAX_ECHOED_CHARS).collect();
        let message = format!("There is no tenant {id:?}: use an id of the tenants file.");
        ApiError::new(ErrorType::UnknownTenant, message).with_field("tenant_id")
    })?;
    Ok((tenant, query))
}

fn text(fields: &mut Map<String, Value>, field: &'static str) -> Result<String, ApiError> {
    let found = match fields.remove(field) {
        Some(Value::String(text)) if text.trim().is_empty() => {
            return Err(ApiError::invalid(field, format!("`{field}` must not be empty.")));
        }
        Some(Value::String(text)) => return Ok(text),
        None => return Err(ApiError::invalid(field, format!("`{field}` is missing."))),
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "a boolean",
        Some(Value::Number(_)) => "a number",
        Some(Value::Array(_)) => "an array",
        Some(Value::Object(_)) => "an object",
    };
    Err(ApiError::invalid(field, format!("`{field}` must be a string; it is {found}.")))
}
