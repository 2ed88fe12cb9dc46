//! `POST /v1/query`: a tenant's question.
use std::sync::Arc;

use axum::{
    Json,
    extract::{Extension, Request, State},
    response::{IntoResponse as _, Response},
};
use serde_json::{Map, Value, json};

use super::{MAX_ECHOED_CHARS, body, events, observe::RequestScope};
use crate::{
    App,
    error::{ApiError, ErrorType},
    pipeline::{Answer, Question, llm::FinishReason},
    tenants::Tenant,
};

/// The longest question, in characters.
const MAX_QUERY_CHARS: usize = 8000;

/// Answers a question: at once, or in events while the answer is made.
pub(super) async fn query(
    State(app): State<Arc<App>>,
    Extension(scope): Extension<Arc<RequestScope>>,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let example = "{\"tenant_id\": \"…\", \"query\": \"…\"}";
    let mut fields = body::read_object(&parts.headers, body, app.body_timeout, example).await?;
    let stream = fields.remove("stream");
    let (tenant, query) = validate(&app, &scope, fields)?;
    let stream = match stream {
        None | Some(Value::Null) => events::are_wanted(&parts.headers),
        Some(Value::Bool(stream)) => stream,
        Some(_) => return Err(ApiError::invalid("stream", "`stream` must be true or false.")),
    };
    let query_length = query.chars().count();
    scope.identify(tenant.clone(), &query, query_length);
    if stream {
        return Box::pin(events::answer(app, scope, tenant, query)).await;
    }
    let question = Question { tenant: &tenant, query: &query, cost: scope.cost() };
    let answer = app.pipeline.answer(&question, None).await?;
    let mut facts = facts(&scope, &answer);
    facts.insert("answer".to_owned(), answer.text.into());
    Ok(Json(facts).into_response())
}

/// All that the caller learns of an answer but its text.
pub(super) fn facts(scope: &RequestScope, answer: &Answer) -> Map<String, Value> {
    scope.answered(answer.cached);
    let facts = [
        ("request_id", json!(scope.id())),
        ("model", json!(&*answer.model)),
        ("finish_reason", json!(answer.finish.map(FinishReason::as_str))),
        ("tokens", json!(answer.tokens)),
        ("cost_usd", json!(scope.cost().get().as_usd())),
        ("cached", json!(answer.cached)),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
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
