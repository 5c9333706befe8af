//! Converse's replies, read leniently: unknown fields and words never fail, null is as good as missing.

use katena_core::{ChatResponse, Error, FinishReason, Message, Part, Result, Role, ToolCall, Usage};
use katena_http::ErrorDetails;
use serde_json::{Map, Value, json};

/// Reads a whole reply of Converse.
///
/// A block of text with citations becomes a part of text and an opaque part that holds the block; what the service's own
/// tools were asked and answered is opaque too (see [`server_tool_call`](super::server_tool_call)).
///
/// ```
/// let raw = serde_json::json!({
///     "output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
///     "stopReason": "end_turn",
///     "usage": {"inputTokens": 3, "outputTokens": 1, "totalTokens": 4},
/// });
/// let response = katena_llms::bedrock::decode_response(raw, "bedrock")?;
/// assert_eq!((response.text().as_str(), response.usage.input_tokens), ("Hi", Some(3)));
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// The error that the reply holds, or `InvalidOutput` if it is no reply of Converse.
pub fn decode_response(raw: Value, vendor: &str) -> Result<ChatResponse> {
    let Some(content) = raw.pointer("/output/message/content").and_then(Value::as_array) else {
        return Err(match ErrorDetails::from_value(&raw) {
            Some(details) => details.into_error(None),
            None => Error::invalid_output("the server's reply is no answer of Converse"),
        });
    };
    let mut parts = Vec::new();
    for block in content {
        add_block(block, vendor, &mut parts)?;
    }
    let message = Message::new(Role::Assistant, parts);
    let word = raw.get("stopReason").and_then(Value::as_str).filter(|w| !w.is_empty());
    let finish = finish_reason(word, message.tool_calls().next().is_some());
    let mut response = ChatResponse::new(message, finish);
    response.finish_raw = word.map(str::to_owned);
    response.usage = raw.get("usage").map(usage).unwrap_or_default();
    Ok(response.with_raw(raw))
}

fn add_block(block: &Value, vendor: &str, parts: &mut Vec<Part>) -> Result<()> {
    let opaque = || Part::Opaque { vendor: vendor.to_owned(), value: block.clone() };
    let Some((kind, value)) = block.as_object().and_then(|b| b.iter().find(|(_, v)| !v.is_null())) else {
        return Ok(());
    };
    match (kind.as_str(), value) {
        ("text", Value::String(text)) => {
            if !text.is_empty() {
                parts.push(Part::text(text));
            }
        }
        ("toolUse", call) if !is_server_tool(call) => parts.push(Part::ToolCall(tool_call(call)?)),
        ("reasoningContent", reasoning) => match reasoning.get("reasoningText").filter(|r| !r.is_null()) {
            Some(text) => {
                let word = |key: &str| text.get(key).and_then(Value::as_str).map(str::to_owned);
                let (text, signature) = (word("text").unwrap_or_default(), word("signature"));
                parts.push(Part::Reasoning { text, signature: signature.filter(|s| !s.is_empty()) });
            }
            None => parts.push(opaque()),
        },
        ("citationsContent", cited) => {
            let text = cited_text(cited);
            if !text.is_empty() {
                parts.push(Part::text(text));
            }
            parts.push(opaque());
        }
        _ => parts.push(opaque()),
    }
    Ok(())
}

/// The text of a block of text with citations.
pub(super) fn cited_text(cited: &Value) -> String {
    let pieces = cited.get("content").and_then(Value::as_array).into_iter().flatten();
    pieces.filter_map(|piece| piece.get("text")?.as_str()).collect()
}

/// True for a call that the service itself answers.
pub(super) fn is_server_tool(call: &Value) -> bool {
    call.get("type").and_then(Value::as_str) == Some("server_tool_use")
}

pub(super) fn tool_call(call: &Value) -> Result<ToolCall> {
    let word = |key: &str| call.get(key).and_then(Value::as_str).unwrap_or_default();
    if word("name").is_empty() {
        return Err(nameless());
    }
    let input = match call.get("input") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(input) => input.to_string(),
    };
    Ok(ToolCall::new(word("toolUseId"), word("name"), input))
}

pub(super) fn nameless() -> Error {
    Error::invalid_output("the model called a tool without naming it")
}

/// The finish reason; a reply that names none was ended by its server, which is a stop.
pub(super) fn finish_reason(word: Option<&str>, calls: bool) -> FinishReason {
    match word {
        None if calls => FinishReason::ToolCalls,
        None | Some("end_turn" | "stop_sequence") => FinishReason::Stop,
        Some("tool_use") => FinishReason::ToolCalls,
        Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
        Some("guardrail_intervened" | "content_filtered") => FinishReason::ContentFilter,
        Some(other) => FinishReason::Other(other.to_owned()),
    }
}

/// The counts. Converse's `inputTokens` leaves out what was read from or written to a cache; Katena's input has all.
pub(super) fn usage(value: &Value) -> Usage {
    let count = |key: &str| {
        let number = value.get(key)?;
        number.as_u64().or_else(|| number.as_f64().filter(|f| (0.0..=9e15).contains(f)).map(|f| f as u64))
    };
    let mut usage = Usage::default();
    usage.cached_tokens = count("cacheReadInputTokens").or_else(|| count("cacheReadInputTokenCount"));
    usage.cache_write_tokens = count("cacheWriteInputTokens").or_else(|| count("cacheWriteInputTokenCount"));
    let cache = usage.cached_tokens.unwrap_or(0).saturating_add(usage.cache_write_tokens.unwrap_or(0));
    usage.input_tokens = count("inputTokens").map(|n| n.saturating_add(cache));
    usage.output_tokens = count("outputTokens");
    usage
}

/// The error of an exception that came with a status of success: its name, and its payload.
pub(super) fn exception(name: &str, payload: &[u8]) -> Error {
    let value: Value = serde_json::from_slice(payload).unwrap_or_default();
    let object = match value {
        Value::Object(object) => object,
        Value::String(text) => Map::from_iter([("message".to_owned(), json!(text))]),
        _ => Map::new(),
    };
    let original = object.get("originalMessage").and_then(Value::as_str).map(str::to_owned);
    let status = object.get("originalStatusCode").and_then(Value::as_u64).map(|n| n.to_string());
    let mut details = ErrorDetails::from_value(&Value::Object(object)).unwrap_or_default();
    if details.message.is_empty() {
        name.clone_into(&mut details.message);
    }
    details.error_type = Some(name.to_owned());
    let error = details.into_error(None);
    let error = match original {
        Some(text) => error.with_context("original message", text.chars().take(500).collect::<String>()),
        None => error,
    };
    match status {
        Some(status) => error.with_context("original status", status),
        None => error,
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
