//! `POST /v1/query`: a tenant's question.
use std::sync::Arc;

use axum::{
    Json,
    extract::{Extension, Request, State},
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
    let example = "{\"tenant_id\": \"…\", \"query\": \"…\"}";
    let fields = body::read_object(&parts.headers, body, app.body_timeout, example).await?;
    let (tenant, query) = validate(&app, &scope, fields)?;
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

fn validate(
    app: &App,
    scope: &RequestScope,
    mut fields: Map<String, Value>,
) -> Result<(Arc<Tenant>, String), ApiError> {
    let id = body::text(&mut fields, "tenant_id")?;
    scope.claim(&id);
    let query = body::text(&mut fields, "query")?;
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
