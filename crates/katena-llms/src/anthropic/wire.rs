//! What the protocol's replies look like, read leniently: unknown fields, blocks and words never fail, null is as good as
//! missing.

use katena_core::{ChatResponse, Error, FinishReason, Message, Part, Result, Role, ToolCall, Usage};
use katena_http::ErrorDetails;
use serde_json::{Map, Value, json};

/// The vendor of [`Part::Opaque`] items of this protocol, wherever it is spoken: Anthropic's API, Bedrock, Vertex AI.
pub const ITEMS: &str = "anthropic";
/// The type of an opaque item that holds fields of the block before it: what a part has no place for.
pub const FIELDS: &str = "katena_fields";

/// The error that `value` tells of, which came with a status of success.
pub(super) fn error_of(value: &Value) -> Error {
    let error = ErrorDetails::from_value(value).unwrap_or_default().into_error(None);
    match value.get("request_id").and_then(Value::as_str) {
        Some(id) => error.with_request_id(id),
        None => error,
    }
}

pub(super) fn word(value: Option<&Value>) -> Option<String> {
    value?.as_str().filter(|s| !s.is_empty()).map(str::to_owned)
}

/// Why the model stopped, and the vendor's word for it. A reply that names no reason was ended by its server, which is a
/// stop.
pub(super) fn finish_reason(word: Option<&str>, calls: bool) -> FinishReason {
    match word {
        None if calls => FinishReason::ToolCalls,
        None | Some("end_turn" | "stop_sequence") => FinishReason::Stop,
        Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
        Some("tool_use") => FinishReason::ToolCalls,
        Some("refusal") => FinishReason::ContentFilter,
        Some(other) => FinishReason::Other(other.to_owned()),
    }
}

/// The vendor counts the cached prompt tokens beside the others; here the whole prompt is one number.
pub(super) fn usage(wire: &Map<String, Value>) -> Usage {
    let count = |value: Option<&Value>| {
        let value = value?;
        value.as_u64().or_else(|| value.as_f64().filter(|f| (0.0..=9e15).contains(f)).map(|f| f as u64))
    };
    let mut usage = Usage::default();
    usage.cached_tokens = count(wire.get("cache_read_input_tokens"));
    usage.cache_write_tokens = count(wire.get("cache_creation_input_tokens"));
    let fresh = count(wire.get("input_tokens"));
    let beside = usage.cached_tokens.unwrap_or(0).saturating_add(usage.cache_write_tokens.unwrap_or(0));
    usage.input_tokens = fresh.map(|n| n.saturating_add(beside));
    usage.output_tokens = count(wire.get("output_tokens"));
    usage.reasoning_tokens = wire.get("output_tokens_details").and_then(|d| count(d.get("thinking_tokens")));
    usage
}

/// The item for fields that the part before it has no place for.
pub(super) fn fields(name: &str, value: Value) -> Part {
    opaque(json!({"type": FIELDS, "fields": {name: value}}))
}

pub(super) fn opaque(value: Value) -> Part {
    Part::Opaque { vendor: ITEMS.to_owned(), value }
}

/// The caller of a tool, unless it is the model itself.
pub(super) fn caller(block: &Value) -> Option<Value> {
    block.get("caller").filter(|c| c.get("type").is_some_and(|t| t != "direct")).cloned()
}

/// The citations of a text, unless there are none.
fn citations(block: &Value) -> Option<Value> {
    block.get("citations").filter(|c| c.as_array().is_some_and(|list| !list.is_empty())).cloned()
}

pub(super) fn nameless() -> Error {
    Error::invalid_output("the model called a tool without naming it")
}

/// An id for a call that came without one.
pub(super) fn made_up_id(reply: Option<&str>, n: usize) -> String {
    format!("call_{}_{n}", reply.unwrap_or("0"))
}

/// Arguments as JSON text, from the object that the wire has.
pub(super) fn arguments(input: Option<&Value>) -> String {
    match input {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Adds one block's part, and what that has no place for.
fn add_block(block: &Value, reply: Option<&str>, parts: &mut Vec<Part>) -> Result<()> {
    let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or_default();
    match block.get("type").and_then(Value::as_str) {
        Some("text") => {
            if !text("text").is_empty() {
                parts.push(Part::text(text("text")));
                parts.extend(citations(block).map(|c| fields("citations", c)));
            }
        }
        Some("thinking") => parts.push(Part::Reasoning {
            text: text("thinking").to_owned(),
            signature: Some(text("signature")).filter(|s| !s.is_empty()).map(str::to_owned),
        }),
        Some("tool_use") => {
            let name = word(block.get("name")).ok_or_else(nameless)?;
            let id = word(block.get("id")).unwrap_or_else(|| made_up_id(reply, parts.len()));
            parts.push(Part::ToolCall(ToolCall::new(id, name, arguments(block.get("input")))));
            parts.extend(caller(block).map(|c| fields("caller", c)));
        }
        _ if block.is_object() => parts.push(opaque(block.clone())),
        _ => return Err(Error::invalid_output("a block of the server's reply can't be understood")),
    }
    Ok(())
}

/// Reads a whole reply of the protocol, from `vendor`.
///
/// Thinking becomes reasoning with its signature; blocks of other kinds (redacted thinking, tools that the vendor runs
/// and their results, compactions, what is yet to come) become opaque items of the vendor `anthropic`, whoever served them.
/// The citations of a text follow it as an opaque item. All of it goes back unchanged.
///
/// ```
/// let raw = serde_json::json!({"content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn"});
/// let response = katena_llms::anthropic::decode_response(raw, "anthropic")?;
/// assert_eq!(response.text(), "Hi");
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// The error that the reply holds, or `InvalidOutput` if it is no reply of this protocol.
pub fn decode_response(raw: Value, vendor: &str) -> Result<ChatResponse> {
    let is_error = raw.get("type").is_some_and(|t| t == "error");
    let content = match raw.get("content") {
        Some(Value::Array(blocks)) if !is_error => blocks.as_slice(),
        Some(Value::Null) if !is_error && raw.get("role").is_some() => &[],
        _ if ErrorDetails::from_value(&raw).is_some() => return Err(error_of(&raw)),
        _ => return Err(Error::invalid_output("the server's reply is no message")),
    };
    let id = word(raw.get("id"));
    let mut parts = Vec::with_capacity(content.len());
    for block in content {
        add_block(block, id.as_deref(), &mut parts)?;
    }
    let message = Message::new(Role::Assistant, parts);
    let reason = word(raw.get("stop_reason"));
    let finish = finish_reason(reason.as_deref(), message.tool_calls().next().is_some());
    let mut response = ChatResponse::new(message, finish).with_vendor(vendor);
    response.usage = raw.get("usage").and_then(Value::as_object).map(usage).unwrap_or_default();
    response.finish_raw = reason;
    response.model = word(raw.get("model"));
    response.id = id;
    Ok(response.with_raw(raw))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
