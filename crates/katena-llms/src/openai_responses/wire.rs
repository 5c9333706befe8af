//! What the protocol's replies look like, read leniently: unknown fields, items and words never fail, null is as good as
//! missing.

use katena_core::{ChatResponse, Error, ErrorKind, FinishReason, Message, Result, Role, Usage};
use katena_http::ErrorDetails;
use serde_json::{Value, json};

use super::items::{self, Kind, text_of};
use crate::openai_shared::{count, word};

/// Items of one reply; more than any real one has.
const MAX_ITEMS: usize = 1024;

/// Reads a whole reply of the protocol.
///
/// The vendor's own word for the end is the reply's `status`.
///
/// ```
/// let raw = serde_json::json!({"status": "completed", "output": [
///     {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
/// ]});
/// let response = katena_llms::openai_responses::decode_response(raw, "openai")?;
/// assert_eq!(response.text(), "Hi");
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// The error that the reply holds, or `InvalidOutput` if it is no reply of this protocol.
pub fn decode_response(raw: Value, vendor: &str) -> Result<ChatResponse> {
    if let Some(error) = error_in(&raw) {
        return Err(error);
    }
    let Some(output) = raw.get("output").and_then(Value::as_array) else {
        return Err(match ErrorDetails::from_value(&raw) {
            Some(details) => details.into_error(None),
            None => Error::invalid_output("the server's reply has no output"),
        });
    };
    if output.len() > MAX_ITEMS {
        return Err(Error::invalid_output("the answer has more parts than the limit"));
    }
    let (mut parts, mut logprobs) = (Vec::new(), Vec::new());
    for item in output {
        if items::kind(item) == Kind::Message {
            logprobs.extend(items::message_logprobs(item, usize::MAX));
        }
        parts.extend(items::parts(item.clone(), vendor).ok_or_else(nameless)?);
    }
    let message = Message::new(Role::Assistant, parts);
    let mut response = ended(&raw, None, message);
    response.logprobs = (!logprobs.is_empty()).then_some(logprobs);
    Ok(response.with_raw(raw))
}

/// The answer of a response object that is over: why it ended, counts, names. `status` is used where the object has none.
pub(super) fn ended(response: &Value, status: Option<&str>, message: Message) -> ChatResponse {
    let status = Some(text_of(response, "status")).filter(|s| !s.is_empty()).or(status);
    let reason = response.get("incomplete_details").map_or("", |d| text_of(d, "reason"));
    let finish = finish_reason(status, reason, message.tool_calls().next().is_some());
    let mut answer = ChatResponse::new(message, finish).with_usage(usage(response.get("usage")));
    answer.finish_raw = status.map(str::to_owned);
    answer.id = word(response.get("id"));
    answer.model = word(response.get("model"));
    answer
}

fn finish_reason(status: Option<&str>, reason: &str, calls: bool) -> FinishReason {
    match (status, reason) {
        (Some("incomplete"), "max_output_tokens" | "max_tokens" | "length") => FinishReason::Length,
        (Some("incomplete"), "content_filter") => FinishReason::ContentFilter,
        (Some("incomplete"), "") => FinishReason::Other("incomplete".to_owned()),
        (Some("incomplete"), reason) => FinishReason::Other(reason.to_owned()),
        (None | Some("completed"), _) if calls => FinishReason::ToolCalls,
        (None | Some("completed"), _) => FinishReason::Stop,
        (Some(status), _) => FinishReason::Other(status.to_owned()),
    }
}

fn usage(value: Option<&Value>) -> Usage {
    let mut usage = Usage::default();
    let Some(value) = value else { return usage };
    let detail = |details: &str, key: &str| count(value.get(details).and_then(|d| d.get(key)));
    usage.input_tokens = count(value.get("input_tokens"));
    usage.output_tokens = count(value.get("output_tokens"));
    usage.cached_tokens = detail("input_tokens_details", "cached_tokens");
    usage.cache_write_tokens = detail("input_tokens_details", "cache_write_tokens");
    usage.reasoning_tokens = detail("output_tokens_details", "reasoning_tokens");
    usage
}

/// The error that a response object holds, or that its status tells of.
pub(super) fn error_in(response: &Value) -> Option<Error> {
    if let Some(error) = response.get("error").filter(|e| !e.is_null()) {
        return Some(error_of(&json!({ "error": error })));
    }
    match text_of(response, "status") {
        "failed" => Some(Error::new(ErrorKind::Unavailable, "the response failed without a reason")),
        "cancelled" => Some(Error::new(ErrorKind::Cancelled, "the response was cancelled at the server")),
        _ => None,
    }
}

/// The error of an `error` event, which holds it beside its type or in a member of its own.
pub(super) fn error_event(event: &Value) -> Error {
    match event.get("error").filter(|e| !e.is_null()) {
        Some(error) => error_of(&json!({ "error": error })),
        None => {
            let mut inner = event.clone();
            if let Value::Object(inner) = &mut inner {
                // It is the event's type, not the error's.
                inner.remove("type");
            }
            error_of(&json!({ "error": inner }))
        }
    }
}

/// The error that `value` tells of, which came with a status of success.
fn error_of(value: &Value) -> Error {
    let details = ErrorDetails::from_value(value).unwrap_or_default();
    // The protocol's words for what the server can't do at the moment; other words say that the request is wrong.
    let wrong = matches!(
        details.code.as_deref(),
        Some(
            "invalid_prompt"
                | "invalid_image"
                | "invalid_image_format"
                | "invalid_base64_image"
                | "invalid_image_url"
                | "image_too_large"
                | "image_too_small"
                | "image_parse_error"
                | "invalid_image_mode"
                | "image_file_too_large"
                | "unsupported_image_media_type"
                | "empty_image_file"
                | "failed_to_download_image"
                | "image_file_not_found"
        )
    );
    let refused = details.code.as_deref() == Some("image_content_policy_violation");
    let error = details.into_error(None);
    match (wrong, refused) {
        (true, _) => with_kind(&error, ErrorKind::InvalidInput),
        (_, true) => with_kind(&error, ErrorKind::Refused),
        _ => error,
    }
}

fn with_kind(error: &Error, kind: ErrorKind) -> Error {
    let mut changed = Error::new(kind, error.message().to_owned());
    for key in ["type", "code", "param"] {
        if let Some(value) = error.context(key) {
            changed = changed.with_context(key, value.to_owned());
        }
    }
    changed
}

pub(super) fn nameless() -> Error {
    Error::invalid_output("the model called a tool without naming it")
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
