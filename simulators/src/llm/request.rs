//! What a completion asks for, refused as OpenAI would refuse it.
use std::hash::{DefaultHasher, Hasher as _};

use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value};

use super::{
    answer::quote,
    error::ApiError,
    models::{self, Model},
};

/// Tokens that a prompt and each of its messages take besides their text.
const TOKENS_PER_PROMPT: u64 = 3;
const TOKENS_PER_MESSAGE: u64 = 4;

/// Characters in a token, as a rule of thumb for English.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// Who may speak in a conversation.
const ROLES: [&str; 6] = ["developer", "system", "user", "assistant", "tool", "function"];

/// A valid request for a completion.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) model: &'static Model,
    pub(super) prompt_tokens: u64,
    /// Stands for the last message: the same one gets the same answer.
    pub(super) topic: u64,
    /// What the passages in the system's messages say about the question.
    pub(super) quoted: Option<String>,
    /// The most tokens the answer may have.
    pub(super) max_tokens: Option<u32>,
    pub(super) stream: bool,
    /// Whether a stream ends with the usage.
    pub(super) include_usage: bool,
}

impl Request {
    /// Reads headers and body of `POST /v1/chat/completions`. What it does not know is ignored, as OpenAI's own
    /// parameters are too many to follow.
    pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, ApiError> {
        check_content_type(headers)?;
        let body: Value = serde_json::from_slice(body).map_err(|e| {
            ApiError::invalid(format!("We could not parse the JSON body of your request: {e}."))
        })?;
        let Value::Object(body) = body else { return Err(wrong_type("body", "an object", &body)) };
        let model = match present(&body, "model") {
            None => return Err(missing("model")),
            Some(Value::String(id)) => models::find(id).ok_or_else(|| unknown_model(id))?,
            Some(other) => return Err(wrong_type("model", "a string", other)),
        };
        let Messages { prompt_tokens, topic, quoted } = read_messages(&body)?;
        let limit = match present(&body, "max_completion_tokens") {
            Some(_) => "max_completion_tokens",
            None => "max_tokens",
        };
        let max_tokens = whole_number(&body, limit, 1, u32::MAX)?;
        if whole_number(&body, "n", 1, 128)?.is_some_and(|n| n > 1) {
            let message = "Invalid 'n': this simulator gives one choice, so it must be 1.";
            return Err(ApiError::invalid(message.to_owned()).with_param("n").with_code("unsupported_value"));
        }
        number(&body, "temperature", 0.0, 2.0)?;
        number(&body, "top_p", 0.0, 1.0)?;
        let stream = flag(&body, "stream")?;
        let include_usage = read_stream_options(&body, stream)?;
        Ok(Self { model, prompt_tokens, topic, quoted, max_tokens, stream, include_usage })
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message =
        format!("Unsupported content type: '{essence}'. This API method only accepts 'application/json'.");
    Err(ApiError::invalid(message).with_code("unsupported_content_type"))
}

/// What the messages come to.
struct Messages {
    prompt_tokens: u64,
    /// Stands for the last of them.
    topic: u64,
    quoted: Option<String>,
}

fn read_messages(body: &Map<String, Value>) -> Result<Messages, ApiError> {
    let messages = match present(body, "messages") {
        None => return Err(missing("messages")),
        Some(Value::Array(messages)) => messages,
        Some(other) => return Err(wrong_type("messages", "an array of objects", other)),
    };
    if messages.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1.";
        return Err(ApiError::invalid(message.to_owned()).with_param("messages").with_code("empty_array"));
    }
    let mut tokens = TOKENS_PER_PROMPT;
    let mut topic = 0;
    let (mut passages, mut question) = (String::new(), String::new());
    for (index, message) in messages.iter().enumerate() {
        let path = format!("messages[{index}]");
        let Value::Object(message) = message else { return Err(wrong_type(&path, "an object", message)) };
        let role = match present(message, "role") {
            None => return Err(missing(&format!("{path}.role"))),
            Some(Value::String(role)) if ROLES.contains(&role.as_str()) => role,
            Some(Value::String(_)) => {
                let known = ROLES.join("', '");
                let text = format!("Invalid value for '{path}.role'. Supported values are: '{known}'.");
                return Err(ApiError::invalid(text)
                    .with_param(format!("{path}.role"))
                    .with_code("invalid_value"));
            }
            Some(other) => return Err(wrong_type(&format!("{path}.role"), "a string", other)),
        };
        let mut hasher = DefaultHasher::new();
        let mut characters = 0;
        for text in texts(message, role, &format!("{path}.content"))? {
            characters += text.chars().count() as u64;
            hasher.write(text.as_bytes());
            match role.as_str() {
                "system" | "developer" => passages.extend([text, "\n"]),
                "user" => text.clone_into(&mut question),
                _ => {}
            }
        }
        tokens += TOKENS_PER_MESSAGE + characters.div_ceil(CHARACTERS_PER_TOKEN);
        topic = hasher.finish();
    }
    Ok(Messages { prompt_tokens: tokens, topic, quoted: quote(&passages, &question) })
}

/// The texts of a message: a string, or parts of which those of type `text` count.
fn texts<'a>(message: &'a Map<String, Value>, role: &str, path: &str) -> Result<Vec<&'a str>, ApiError> {
    match present(message, "content") {
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(parts)) => {
            let mut texts = Vec::with_capacity(parts.len());
            for (index, part) in parts.iter().enumerate() {
                let path = format!("{path}[{index}]");
                let Some(kind) = part.get("type").and_then(Value::as_str) else {
                    return Err(missing(&format!("{path}.type")));
                };
                if kind == "text" {
                    let text = part.get("text").and_then(Value::as_str);
                    texts.push(text.ok_or_else(|| missing(&format!("{path}.text")))?);
                }
            }
            Ok(texts)
        }
        // An assistant's turn may consist of tool calls alone.
        None if role == "assistant" => Ok(Vec::new()),
        None => Err(missing(path)),
        Some(other) => Err(wrong_type(path, "one of a string or array of objects", other)),
    }
}

fn read_stream_options(body: &Map<String, Value>, stream: bool) -> Result<bool, ApiError> {
    match present(body, "stream_options") {
        None => Ok(false),
        Some(_) if !stream => {
            let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
            Err(ApiError::invalid(message.to_owned()).with_param("stream_options"))
        }
        Some(Value::Object(options)) => flag(options, "include_usage"),
        Some(other) => Err(wrong_type("stream_options", "an object", other)),
    }
}

/// A value that is there and not null: OpenAI takes null for absent.
fn present<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

fn flag(object: &Map<String, Value>, key: &str) -> Result<bool, ApiError> {
    match present(object, key) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(wrong_type(key, "a boolean", other)),
    }
}

fn whole_number(object: &Map<String, Value>, key: &str, min: u32, max: u32) -> Result<Option<u32>, ApiError> {
    let Some(value) = present(object, key) else { return Ok(None) };
    let Some(number) = value.as_i64() else { return Err(wrong_type(key, "an integer", value)) };
    match u32::try_from(number) {
        Ok(number) if (min..=max).contains(&number) => Ok(Some(number)),
        _ => Err(out_of_range(key, &format!("an integer from {min} to {max}"), value)),
    }
}

fn number(object: &Map<String, Value>, key: &str, min: f64, max: f64) -> Result<(), ApiError> {
    let Some(value) = present(object, key) else { return Ok(()) };
    match value.as_f64() {
        None => Err(wrong_type(key, "a decimal", value)),
        Some(number) if (min..=max).contains(&number) => Ok(()),
        Some(_) => Err(out_of_range(key, &format!("a decimal from {min} to {max}"), value)),
    }
}

fn missing(path: &str) -> ApiError {
    ApiError::invalid(format!("Missing required parameter: '{path}'."))
        .with_param(path)
        .with_code("missing_required_parameter")
}

fn wrong_type(path: &str, expected: &str, got: &Value) -> ApiError {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    ApiError::invalid(format!("Invalid type for '{path}': expected {expected}, but got {got} instead."))
        .with_param(path)
        .with_code("invalid_type")
}

fn out_of_range(path: &str, expected: &str, got: &Value) -> ApiError {
    ApiError::invalid(format!("Invalid '{path}': expected {expected}, but got {got} instead."))
        .with_param(path)
        .with_code("invalid_value")
}

fn unknown_model(id: &str) -> ApiError {
    let id: String = id.chars().take(100).collect();
    ApiError::invalid(format!("The model `{id}` does not exist or you do not have access to it."))
        .with_status(StatusCode::NOT_FOUND)
        .with_code("model_not_found")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<Request, ApiError> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Request::parse(&headers, body.to_string().as_bytes())
    }

    #[test]
    fn a_prompt_counts_a_token_for_four_characters_and_some_for_each_message() {
        let request = parse(&json!({
            "model": "sim-small",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "Why?"}, {"type": "image_url"}]},
            ],
        }))
        .unwrap();
        assert_eq!(request.prompt_tokens, 3 + (4 + 3) + (4 + 1));
        assert!(!request.stream && !request.include_usage && request.max_tokens.is_none());
    }

    #[test]
    fn what_openai_refuses_is_refused_with_the_parameter_named() {
        let user = json!([{"role": "user", "content": "hi"}]);
        for (body, param, code) in [
            (json!({"messages": user}), "model", "missing_required_parameter"),
            (json!({"model": 1, "messages": user}), "model", "invalid_type"),
            (json!({"model": "sim-small"}), "messages", "missing_required_parameter"),
            (json!({"model": "sim-small", "messages": []}), "messages", "empty_array"),
            (json!({"model": "sim-small", "messages": "hi"}), "messages", "invalid_type"),
            (json!({"model": "sim-small", "messages": ["hi"]}), "messages[0]", "invalid_type"),
            (
                json!({"model": "sim-small", "messages": [{"content": "hi"}]}),
                "messages[0].role",
                "missing_required_parameter",
            ),
            (
                json!({"model": "sim-small", "messages": [{"role": "root", "content": "hi"}]}),
                "messages[0].role",
                "invalid_value",
            ),
            (
                json!({"model": "sim-small", "messages": [{"role": "user"}]}),
                "messages[0].content",
                "missing_required_parameter",
            ),
            (
                json!({"model": "sim-small", "messages": [{"role": "user", "content": 5}]}),
                "messages[0].content",
                "invalid_type",
            ),
            (json!({"model": "sim-small", "messages": user, "stream": "yes"}), "stream", "invalid_type"),
            (json!({"model": "sim-small", "messages": user, "n": 2}), "n", "unsupported_value"),
            (json!({"model": "sim-small", "messages": user, "max_tokens": 0}), "max_tokens", "invalid_value"),
            (
                json!({"model": "sim-small", "messages": user, "max_tokens": 1.5}),
                "max_tokens",
                "invalid_type",
            ),
            (
                json!({"model": "sim-small", "messages": user, "temperature": 3}),
                "temperature",
                "invalid_value",
            ),
        ] {
            let error = parse(&body).unwrap_err();
            assert_eq!(error.status, 400, "{body}");
            assert_eq!(error.body.param.as_deref(), Some(param), "{body}");
            assert_eq!(error.body.code, Some(code), "{body}");
        }
    }

    #[test]
    fn an_unknown_model_is_not_found() {
        let error =
            parse(&json!({"model": "gpt-9", "messages": [{"role": "user", "content": "hi"}]})).unwrap_err();
        assert_eq!((error.status, error.body.code), (StatusCode::NOT_FOUND, Some("model_not_found")));
    }

    #[test]
    fn stream_options_need_a_stream() {
        let body = |stream: bool| {
            json!({
                "model": "sim-small",
                "messages": [{"role": "user", "content": "hi"}],
                "stream": stream,
                "stream_options": {"include_usage": true},
            })
        };
        assert!(parse(&body(true)).unwrap().include_usage);
        assert_eq!(parse(&body(false)).unwrap_err().body.param.as_deref(), Some("stream_options"));
    }
}
