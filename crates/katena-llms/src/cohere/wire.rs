//! What Cohere's replies look like, read leniently.

use katena_core::{
    ChatResponse, Error, ErrorKind, FinishReason, Message, Part, Result, Role, TokenLogprob, ToolCall, Usage,
};
use katena_http::ErrorDetails;
use serde_json::{Value, json};

use crate::fields::{count, items, nameless, text, word};

/// Citations have no part of their own; this names them in the opaque part that carries them.
pub(super) const CITATIONS: &str = "citations";

/// The opaque part that carries a message's citations, and goes back with it.
pub(super) fn citations(vendor: &str, citations: Vec<Value>) -> Part {
    Part::Opaque { vendor: vendor.to_owned(), value: json!({"type": CITATIONS, CITATIONS: citations}) }
}

/// A block of content; `None` for an empty one.
fn block(block: &Value, vendor: &str) -> Option<Part> {
    let part = match (text(block, "type"), block) {
        (_, Value::String(words)) => Part::text(words),
        ("thinking", _) => Part::Reasoning { text: text(block, "thinking").to_owned(), signature: None },
        ("text" | "", _) if block.get("text").is_some() => Part::text(text(block, "text")),
        (_, Value::Null) => return None,
        _ => return Some(Part::Opaque { vendor: vendor.to_owned(), value: block.clone() }),
    };
    match &part {
        Part::Text { text } | Part::Reasoning { text, .. } if text.is_empty() => None,
        _ => Some(part),
    }
}

/// Arguments are text; an object is taken too.
pub(super) fn arguments(function: &Value) -> String {
    match function.get("arguments") {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// An id for a call that came without one.
pub(super) fn made_up_id(reply: Option<&str>, n: usize) -> String {
    format!("call_{}_{n}", reply.unwrap_or("0"))
}

/// The counts of what the model read and wrote. Cached tokens are among those read. Without `tokens` the billed ones stand
/// in, which leave out the vendor's own preamble.
pub(super) fn usage(value: &Value) -> Usage {
    let either =
        |key: &str| ["tokens", "billed_units"].iter().find_map(|group| count(value.get(*group)?, key));
    let mut usage = Usage::default();
    usage.input_tokens = either("input_tokens");
    usage.output_tokens = either("output_tokens");
    usage.cached_tokens = count(value, "cached_tokens");
    usage.reasoning_tokens = value.get("tokens").and_then(|t| count(t, "reasoning_tokens"));
    usage
}

/// Log-probabilities come for pieces of text, each of one or more tokens; the text stands with the first of them.
pub(super) fn logprobs(value: &Value) -> Option<Vec<TokenLogprob>> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        Value::Object(_) => std::slice::from_ref(value),
        _ => return None,
    };
    let mut tokens = Vec::new();
    for item in list {
        for (n, logprob) in items(item, "logprobs").iter().filter_map(Value::as_f64).enumerate() {
            let text = if n == 0 { text(item, "text") } else { "" };
            tokens.push(TokenLogprob::new(text, (logprob as f32).min(0.0), Vec::new()));
        }
    }
    Some(tokens)
}

/// Why it ended. An answer that its server could not finish is an error, never a short answer.
pub(super) fn finish_reason(reason: Option<&str>, calls: bool, error: &str) -> Result<FinishReason> {
    Ok(match reason {
        None if calls => FinishReason::ToolCalls,
        None | Some("COMPLETE" | "STOP_SEQUENCE") => FinishReason::Stop,
        Some("MAX_TOKENS") => FinishReason::Length,
        Some("TOOL_CALL") => FinishReason::ToolCalls,
        Some("ERROR_TOXIC") => FinishReason::ContentFilter,
        Some(word @ ("ERROR" | "TIMEOUT")) => {
            let message = if error.is_empty() { "the server could not finish the answer" } else { error };
            let kind = if word == "TIMEOUT" { ErrorKind::Timeout } else { ErrorKind::Unavailable };
            return Err(Error::new(kind, message.chars().take(2000).collect::<String>())
                .with_context("finish reason", word));
        }
        Some(other) => FinishReason::Other(other.to_owned()),
    })
}

/// Reads a whole reply of Cohere's chat.
///
/// ```
/// let raw = serde_json::json!({"message": {"content": [{"type": "text", "text": "Hi"}]}, "finish_reason": "COMPLETE"});
/// let response = katena_llms::cohere::decode_response(raw, "cohere")?;
/// assert_eq!(response.text(), "Hi");
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// The error that the reply holds, or `InvalidOutput` if it is no reply of this protocol.
pub fn decode_response(raw: Value, vendor: &str) -> Result<ChatResponse> {
    let Some(message) = raw.get("message").filter(|m| m.is_object()) else {
        return Err(match ErrorDetails::from_value(&raw) {
            Some(details) => details.into_error(None),
            None => Error::invalid_output("the server's reply has no message"),
        });
    };
    let id = word(&raw, "id");
    let mut parts: Vec<Part> = match message.get("content") {
        Some(Value::Array(blocks)) => blocks.iter().filter_map(|b| block(b, vendor)).collect(),
        Some(content) => block(content, vendor).into_iter().collect(),
        None => Vec::new(),
    };
    if let Some(plan) = word(message, "tool_plan") {
        parts.push(Part::Reasoning { text: plan, signature: None });
    }
    for (n, call) in items(message, "tool_calls").iter().enumerate() {
        let function = call.get("function").unwrap_or(call);
        let name = word(function, "name").ok_or_else(nameless)?;
        let call_id = word(call, "id").unwrap_or_else(|| made_up_id(id.as_deref(), n));
        parts.push(Part::ToolCall(ToolCall::new(call_id, name, arguments(function))));
    }
    let cited = items(message, CITATIONS);
    if !cited.is_empty() {
        parts.push(citations(vendor, cited.to_vec()));
    }
    let message = Message::new(Role::Assistant, parts);
    let reason = word(&raw, "finish_reason");
    let calls = message.tool_calls().next().is_some();
    let finish = finish_reason(reason.as_deref(), calls, text(&raw, "error"))?;
    let mut response = ChatResponse::new(message, finish);
    response.usage = raw.get("usage").map(usage).unwrap_or_default();
    response.logprobs = raw.get("logprobs").and_then(logprobs);
    response.finish_raw = reason;
    response.id = id;
    response.model = word(&raw, "model");
    Ok(response.with_raw(raw))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
