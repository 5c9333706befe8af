//! From a chat request to the body of Cohere's chat, version 2.

use katena_core::{
    ChatRequest, Effort, Message, ModelInfo, Part, Reasoning, ResponseFormat, Result, Role, ToolChoice,
    ToolResult, ToolSpec,
};
use serde_json::{Value, json};

use super::schema::adapted;
use super::wire::CITATIONS;
use crate::fields::{
    Fields, address, arguments, check_abilities, check_choice, check_media, function, misplaced, no,
    only_text,
};

/// Makes the body, or says what can't be expressed.
pub(super) fn body(request: &ChatRequest, info: &ModelInfo, streams: bool) -> Result<Value> {
    check_abilities(request, info.capabilities)?;
    check_choice(request)?;
    if request.logprobs.is_some_and(|n| n > 0) {
        return no("Cohere reports log-probabilities of the chosen tokens only");
    }
    let mut body = Fields::default();
    body.set("model", info.model.as_str());
    body.set("stream", streams);
    let mut messages = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        add_message(message, info, &mut messages)?;
    }
    body.set("messages", messages);
    // Cohere demands calls, but not a tool by name: that tool is sent alone.
    let all: Vec<&ToolSpec> = request.tools.iter().collect();
    let (tools, choice) = match &request.tool_choice {
        None | Some(ToolChoice::Auto) => (all, None),
        Some(ToolChoice::None) => (all, Some("NONE").filter(|_| !request.tools.is_empty())),
        Some(ToolChoice::Required) => (all, Some("REQUIRED")),
        Some(ToolChoice::Named(name)) => {
            (all.into_iter().filter(|t| t.name == *name).collect(), Some("REQUIRED"))
        }
        Some(_) => return no("this choice of tools is not known to the protocol"),
    };
    body.list("tools", tools.into_iter().map(function).collect());
    body.some("tool_choice", choice);
    body.some("response_format", request.response_format.as_ref().map(response_format).transpose()?);
    body.some("thinking", request.reasoning.map(thinking).transpose()?);
    body.some("max_tokens", request.max_tokens);
    body.number("temperature", request.temperature)?;
    body.number("p", request.top_p)?;
    body.some("k", request.top_k);
    body.some("seed", request.seed);
    body.list("stop_sequences", request.stop.iter().map(|s| json!(s)).collect());
    body.number("presence_penalty", request.presence_penalty)?;
    body.number("frequency_penalty", request.frequency_penalty)?;
    body.some("logprobs", request.logprobs.map(|_| true));
    body.extras(&request.extra)?;
    Ok(body.into_value())
}

fn response_format(format: &ResponseFormat) -> Result<Value> {
    Ok(match format {
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema { schema, .. } => {
            json!({"type": "json_object", "json_schema": adapted(schema)})
        }
        _ => return no("this form of answer is not known to the protocol"),
    })
}

fn thinking(reasoning: Reasoning) -> Result<Value> {
    Ok(match (reasoning.effort, reasoning.budget_tokens) {
        (Some(Effort::None), None) | (None, Some(0)) => json!({"type": "disabled"}),
        (None, None) => json!({"type": "enabled"}),
        (None, Some(tokens)) => json!({"type": "enabled", "token_budget": tokens}),
        _ => return no("Cohere takes a budget of reasoning tokens, or none at all, but no effort"),
    })
}

fn add_message(message: &Message, info: &ModelInfo, out: &mut Vec<Value>) -> Result<()> {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => {
            out.push(assistant(message, info)?);
            return Ok(());
        }
        Role::Tool => {
            for part in &message.parts {
                match part {
                    Part::ToolResult(result) => out.push(tool_result(result, info)?),
                    _ => return misplaced("a tool message holds something else than tool results"),
                }
            }
            return Ok(());
        }
        _ => return no("this role is not known to the protocol"),
    };
    out.push(json!({"role": role, "content": content(&message.parts, info)?}));
    Ok(())
}

/// Text alone is sent as text, anything else as a list of blocks.
fn content(parts: &[Part], info: &ModelInfo) -> Result<Value> {
    match only_text(parts) {
        Some(text) => Ok(Value::String(text)),
        None => parts.iter().map(|p| block(p, info)).collect::<Result<_>>().map(Value::Array),
    }
}

fn block(part: &Part, info: &ModelInfo) -> Result<Value> {
    check_media(part, info.capabilities)?;
    Ok(match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image { media } => json!({"type": "image_url", "image_url": {"url": address(media)?}}),
        Part::Audio { .. } | Part::Video { .. } | Part::File { .. } => {
            return no("Cohere's chat takes no audio, videos or files");
        }
        Part::Opaque { vendor, value } if *vendor == info.vendor => value.clone(),
        Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
        Part::ToolCall(_) => return misplaced("a tool call stands outside of a message of the assistant"),
        Part::ToolResult(_) => return misplaced("a tool result stands outside of a tool message"),
        Part::Reasoning { .. } | Part::Refusal { .. } => {
            return misplaced("reasoning or a refusal stands outside of a message of the assistant");
        }
        _ => return no("this kind of part is not known to the protocol"),
    })
}

fn assistant(message: &Message, info: &ModelInfo) -> Result<Value> {
    let mut fields = Fields::default();
    fields.set("role", "assistant");
    let (mut blocks, mut calls) = (Vec::new(), Vec::new());
    for (n, part) in message.parts.iter().enumerate() {
        match part {
            // The protocol has no refusals; the words are the model's.
            Part::Text { text } | Part::Refusal { text } => {
                blocks.push(json!({"type": "text", "text": text}));
            }
            // Signed reasoning is another vendor's.
            Part::Reasoning { signature: Some(_), .. } => {}
            // What is thought right before the first call is the plan of the tools' use.
            Part::Reasoning { text, .. }
                if calls.is_empty() && matches!(message.parts.get(n + 1), Some(Part::ToolCall(_))) =>
            {
                fields.set("tool_plan", text.as_str());
            }
            Part::Reasoning { text, .. } if info.capabilities.reasoning => {
                blocks.push(json!({"type": "thinking", "thinking": text}));
            }
            Part::Reasoning { .. } => {}
            Part::ToolCall(call) => calls.push(json!({
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": arguments(&call.arguments)},
            })),
            Part::Opaque { vendor, value } if *vendor == info.vendor => {
                match value.get(CITATIONS).filter(|c| c.is_array()) {
                    Some(citations) => fields.set(CITATIONS, citations.clone()),
                    None => blocks.push(value.clone()),
                }
            }
            Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
            Part::ToolResult(_) => return misplaced("a tool result stands in a message of the assistant"),
            _ => return no("the protocol takes no media in messages of the assistant"),
        }
    }
    match blocks.as_slice() {
        [] if !calls.is_empty() => {}
        [] => fields.set("content", ""),
        [one] if one["type"] == "text" => fields.set("content", one["text"].clone()),
        _ => fields.set("content", blocks),
    }
    fields.list("tool_calls", calls);
    Ok(fields.into_value())
}

fn tool_result(result: &ToolResult, info: &ModelInfo) -> Result<Value> {
    if result.parts.iter().any(|p| !matches!(p, Part::Text { .. } | Part::Opaque { .. })) {
        return no("Cohere takes only text and documents as a tool's result");
    }
    let content = content(&result.parts, info)?;
    Ok(json!({"role": "tool", "tool_call_id": result.call_id, "content": content}))
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
