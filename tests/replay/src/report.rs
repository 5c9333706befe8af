//! What a client understood, in the form that the shared checker reads.

use katena_core::{ChatResponse, Error, Part};
use serde_json::{Value, json};

/// How a vendor counts what Katena counts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// As Katena: the input with what came from a cache, the output with reasoning.
    Whole,
    /// The input without what was read from or written to a cache (Anthropic, Bedrock).
    WithoutCache,
    /// The output without reasoning (Gemini).
    WithoutReasoning,
}

pub(crate) fn error(error: &Error) -> Value {
    json!({"error": {
        "status": error.status(), "type": error.context("type"), "code": error.context("code"), "message": error.message(),
        "kind": error.kind().as_str(),
    }})
}

/// The arguments as JSON; text that is none stays visible.
fn arguments(text: &str) -> Value {
    if text.trim().is_empty() {
        return json!({});
    }
    serde_json::from_str(text).unwrap_or_else(|_| json!({ "__raw__": text }))
}

/// A tool call. One that the vendor ran itself is none of the caller's, so Katena keeps it as an item of the vendor; the
/// verdicts count those of Bedrock among the calls.
fn call(part: &Part) -> Option<Value> {
    match part {
        Part::ToolCall(c) => Some(json!({"name": c.name, "args": arguments(&c.arguments)})),
        Part::Opaque { value, .. } => {
            let call = value.get("toolUse")?;
            Some(json!({"name": call["name"], "args": call["input"]}))
        }
        _ => None,
    }
}

/// The vendor's own word; some of Gemini's servers send a number.
fn finish(word: &str) -> Value {
    word.parse::<u32>().map_or_else(|_| json!(word), |number| json!(number))
}

pub(crate) fn response(r: &ChatResponse, counts: Counts) -> Value {
    let calls: Vec<Value> = r.message.parts.iter().filter_map(call).collect();
    let reasoning: String = r
        .message
        .parts
        .iter()
        .filter_map(|p| if let Part::Reasoning { text, .. } = p { Some(text.as_str()) } else { None })
        .collect();
    let (mut input, mut output) = (r.usage.input_tokens, r.usage.output_tokens);
    match counts {
        Counts::Whole => {}
        Counts::WithoutCache => {
            let cached = r.usage.cached_tokens.unwrap_or(0) + r.usage.cache_write_tokens.unwrap_or(0);
            input = input.map(|n| n.saturating_sub(cached));
        }
        Counts::WithoutReasoning => {
            output = output.map(|n| n.saturating_sub(r.usage.reasoning_tokens.unwrap_or(0)));
        }
    }
    json!({
        "text": r.text(), "refusal": r.refusal(), "reasoning": reasoning, "tool_calls": calls,
        "finish_raw": r.finish_raw.as_deref().map(finish),
        "usage": {"input": input, "output": output, "total": r.usage.total_tokens(), "cached": r.usage.cached_tokens},
        "model": r.model, "request_id": r.request_id,
    })
}
