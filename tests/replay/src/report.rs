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
    let fact = |key: &str| error.context().find(|(k, _)| *k == key).map(|(_, v)| v.to_owned());
    json!({"error": {
        "status": error.status(), "type": fact("type"), "code": fact("code"), "message": error.message(),
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

pub(crate) fn response(r: &ChatResponse, counts: Counts) -> Value {
    let calls: Vec<Value> =
        r.tool_calls().map(|c| json!({"name": c.name, "args": arguments(&c.arguments)})).collect();
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
        "finish_raw": r.finish_raw,
        "usage": {"input": input, "output": output, "total": r.usage.total_tokens(), "cached": r.usage.cached_tokens},
        "model": r.model, "request_id": r.request_id,
    })
}
