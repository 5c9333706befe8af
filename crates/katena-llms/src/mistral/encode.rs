//! From a chat request to Mistral's body.

use std::borrow::Cow;

use katena_core::{
    ChatRequest, Effort, Media, Message, ModelInfo, Part, PromptCache, Reasoning, ResponseFormat, Result,
    Role, ToolChoice, ToolResult,
};
use serde_json::{Value, json};

use crate::fields::{
    Fields, address, arguments, check_abilities, check_choice, check_media, function, misplaced, no,
    only_text,
};
use crate::openai_shared::{label, schema::strict};

/// Whether Mistral's own guard prompt is put before the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    Off,
    On,
}

/// Makes the body, or says what can't be expressed.
pub(super) fn body(request: &ChatRequest, info: &ModelInfo, guard: Guard, streams: bool) -> Result<Value> {
    check_abilities(request, info.capabilities)?;
    check_choice(request)?;
    let mut body = Fields::default();
    body.set("model", info.model.as_str());
    body.set("stream", streams);
    let mut messages = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        add_message(message, info, &mut messages)?;
    }
    // Mistral takes an answer that it shall go on with only if it is marked as such.
    if let Some(last) = messages.last_mut().filter(|m| m["role"] == "assistant" && m["tool_calls"].is_null())
    {
        last["prefix"] = json!(true);
    }
    body.set("messages", messages);
    body.list("tools", request.tools.iter().map(function).collect());
    body.some("tool_choice", tool_choice(request)?);
    body.some("response_format", request.response_format.as_ref().map(response_format).transpose()?);
    body.some("reasoning_effort", request.reasoning.map(effort).transpose()?.flatten());
    body.some("prompt_cache_key", request.prompt_cache.as_ref().map(cache_key).transpose()?.flatten());
    body.some("max_tokens", request.max_tokens);
    body.number("temperature", request.temperature)?;
    body.number("top_p", request.top_p)?;
    body.some("random_seed", request.seed);
    body.list("stop", request.stop.iter().map(|s| json!(s)).collect());
    body.number("presence_penalty", request.presence_penalty)?;
    body.number("frequency_penalty", request.frequency_penalty)?;
    body.some("logprobs", request.logprobs.map(|_| true));
    body.some("top_logprobs", request.logprobs);
    body.some("safe_prompt", (guard == Guard::On).then_some(true));
    if request.extra.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
        return no("only one choice is read, so more than one can't be asked for");
    }
    body.extras(&request.extra)?;
    Ok(body.into_value())
}

fn tool_choice(request: &ChatRequest) -> Result<Option<Value>> {
    Ok(match &request.tool_choice {
        None => None,
        // Without tools there is nothing to decide.
        Some(ToolChoice::Auto | ToolChoice::None) if request.tools.is_empty() => None,
        Some(ToolChoice::Auto) => Some(json!("auto")),
        Some(ToolChoice::None) => Some(json!("none")),
        Some(ToolChoice::Required) => Some(json!("any")),
        Some(ToolChoice::Named(name)) => Some(json!({"type": "function", "function": {"name": name}})),
        Some(_) => return no("this choice of tools is not known to the protocol"),
    })
}

fn response_format(format: &ResponseFormat) -> Result<Value> {
    Ok(match format {
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema { name, schema } => {
            let inner = match strict(schema) {
                Some(strict) => json!({"name": label(name), "schema": strict, "strict": true}),
                None => json!({"name": label(name), "schema": schema, "strict": false}),
            };
            json!({"type": "json_schema", "json_schema": inner})
        }
        _ => return no("this form of answer is not known to the protocol"),
    })
}

fn effort(reasoning: Reasoning) -> Result<Option<&'static str>> {
    match (reasoning.effort, reasoning.budget_tokens) {
        (None, None) => Ok(None),
        (Some(effort), None) => Ok(Some(effort.as_str())),
        (None, Some(0)) => Ok(Some(Effort::None.as_str())),
        (_, Some(_)) => no("Mistral takes no budget of reasoning tokens"),
    }
}

/// Mistral keeps prompts by itself; calls with one key meet the same cache.
fn cache_key(cache: &PromptCache) -> Result<Option<String>> {
    if cache.ttl.is_some() {
        return no("Mistral takes no time to keep a prompt");
    }
    Ok(cache.key.clone())
}

/// The id of a call as Mistral takes it: nine letters and digits. Others are hashed, so that a call and its result agree.
pub(super) fn call_id(id: &str) -> Cow<'_, str> {
    if id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Cow::Borrowed(id);
    }
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    // FNV-1a with 64 bits: the same in every process.
    let mut hash =
        id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let digit = |_| {
        let digit = char::from(DIGITS[(hash % 62) as usize]);
        hash /= 62;
        digit
    };
    Cow::Owned((0..9).map(digit).collect())
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

/// Text alone is sent as text, anything else as a list of chunks.
fn content(parts: &[Part], info: &ModelInfo) -> Result<Value> {
    match only_text(parts) {
        Some(text) => Ok(Value::String(text)),
        None => parts.iter().map(|p| chunk(p, info)).collect::<Result<_>>().map(Value::Array),
    }
}

fn chunk(part: &Part, info: &ModelInfo) -> Result<Value> {
    check_media(part, info.capabilities)?;
    Ok(match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image { media } => json!({"type": "image_url", "image_url": address(media)?}),
        Part::File { media, name } => {
            let mut chunk = json!({"type": "document_url", "document_url": address(media)?});
            if let Some(name) = name {
                chunk["document_name"] = json!(name);
            }
            chunk
        }
        // The bytes bare, not as a `data:` address.
        Part::Audio { media: Media::Base64 { data, .. } } => {
            json!({"type": "input_audio", "input_audio": data})
        }
        Part::Audio { media } => json!({"type": "input_audio", "input_audio": address(media)?}),
        Part::Video { .. } => return no("Mistral's chat takes no videos"),
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
    let (mut chunks, mut calls) = (Vec::new(), Vec::new());
    for part in &message.parts {
        match part {
            // The protocol has no refusals; the words are the model's.
            Part::Text { text } | Part::Refusal { text } => {
                chunks.push(json!({"type": "text", "text": text}));
            }
            Part::Reasoning { text, signature: None } if info.capabilities.reasoning => {
                let thinking = [json!({"type": "text", "text": text})];
                chunks.push(json!({"type": "thinking", "thinking": thinking}));
            }
            // Signed reasoning is another vendor's.
            Part::Reasoning { .. } => {}
            Part::ToolCall(call) => calls.push(json!({
                "id": call_id(&call.id),
                "type": "function",
                "function": {"name": call.name, "arguments": arguments(&call.arguments)},
            })),
            Part::Opaque { vendor, value } if *vendor == info.vendor => chunks.push(value.clone()),
            Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
            Part::ToolResult(_) => return misplaced("a tool result stands in a message of the assistant"),
            _ => return no("the protocol takes no media in messages of the assistant"),
        }
    }
    let mut fields = Fields::default();
    fields.set("role", "assistant");
    if chunks.iter().all(|c| c["type"] == "text") {
        let text: String = chunks.iter().filter_map(|c| c["text"].as_str()).collect();
        fields.set("content", text);
    } else {
        fields.set("content", chunks);
    }
    fields.list("tool_calls", calls);
    Ok(fields.into_value())
}

fn tool_result(result: &ToolResult, info: &ModelInfo) -> Result<Value> {
    let content = content(&result.parts, info)?;
    Ok(
        json!({"role": "tool", "tool_call_id": call_id(&result.call_id), "name": result.name, "content": content}),
    )
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
