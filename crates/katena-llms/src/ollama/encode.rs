//! From a chat request to Ollama's body.

use std::time::Duration;

use katena_core::{
    ChatRequest, Effort, Error, Media, Message, ModelInfo, Part, Reasoning, ResponseFormat, Result, Role,
    ToolCall, ToolChoice, ToolResult, ToolSpec,
};
use serde_json::{Value, json};

use crate::fields::{Fields, check_abilities, check_choice, check_media, misplaced, no, parameters};

/// How long the server keeps a model in memory after a call.
///
/// ```
/// use std::time::Duration;
/// use katena_llms::ollama::{KeepAlive, OllamaChat};
/// let model = OllamaChat::new("qwen3:4b").with_keep_alive(KeepAlive::For(Duration::from_secs(600)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeepAlive {
    /// This long, to the millisecond; zero unloads it at once.
    For(Duration),
    /// Until the server stops.
    Forever,
}

/// What the component adds to each request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Settings {
    pub(super) num_ctx: Option<u32>,
    pub(super) keep_alive: Option<KeepAlive>,
}

/// The names of Ollama's runner options. They belong into `options`; elsewhere the server ignores them silently.
const OPTIONS: [&str; 33] = [
    "num_keep",
    "seed",
    "num_predict",
    "top_k",
    "top_p",
    "min_p",
    "tfs_z",
    "typical_p",
    "repeat_last_n",
    "temperature",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "penalize_newline",
    "stop",
    "numa",
    "num_ctx",
    "num_batch",
    "num_gpu",
    "main_gpu",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "use_mmap",
    "use_mlock",
    "num_thread",
    "num_gqa",
    "rope_frequency_base",
    "rope_frequency_scale",
];

/// True if the answer is made to be a tool call.
pub(super) fn is_forced(request: &ChatRequest) -> bool {
    matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)))
}

/// Makes the body, or says what can't be expressed.
pub(super) fn body(
    request: &ChatRequest,
    info: &ModelInfo,
    settings: Settings,
    streams: bool,
) -> Result<Value> {
    check_abilities(request, info.capabilities)?;
    check_choice(request)?;
    let mut body = Fields::default();
    body.set("model", info.model.as_str());
    let mut messages = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        add_message(message, info, &mut messages)?;
    }
    body.set("messages", messages);
    body.set("stream", streams);
    // Without tools there is nothing that could be called.
    let tools: Vec<&ToolSpec> = match &request.tool_choice {
        Some(ToolChoice::None) => Vec::new(),
        Some(ToolChoice::Named(name)) => request.tools.iter().filter(|t| t.name == *name).collect(),
        None | Some(ToolChoice::Auto | ToolChoice::Required) => request.tools.iter().collect(),
        Some(_) => return no("this choice of tools is not known to the protocol"),
    };
    body.list("tools", tools.iter().map(|t| crate::fields::function(t)).collect());
    body.some("format", format(request, &tools)?);
    body.some("think", request.reasoning.map(think).transpose()?);
    body.some("keep_alive", settings.keep_alive.map(keep_alive));
    body.some("logprobs", request.logprobs.map(|_| true));
    body.some("top_logprobs", request.logprobs);
    let options = options(request, settings)?;
    if !options.is_empty() {
        body.set("options", options.into_value());
    }
    body.extras(
        request.extra.iter().filter(|(name, _)| *name != "options" && !OPTIONS.contains(&name.as_str())),
    )?;
    Ok(body.into_value())
}

fn options(request: &ChatRequest, settings: Settings) -> Result<Fields> {
    let mut options = Fields::default();
    options.some("num_predict", request.max_tokens);
    options.number("temperature", request.temperature)?;
    options.number("top_p", request.top_p)?;
    options.some("top_k", request.top_k);
    options.some("seed", request.seed);
    options.list("stop", request.stop.iter().map(|s| json!(s)).collect());
    options.number("presence_penalty", request.presence_penalty)?;
    options.number("frequency_penalty", request.frequency_penalty)?;
    let own = match request.extra.get("options") {
        None => None,
        Some(Value::Object(own)) => Some(own),
        Some(_) => return misplaced("the extra `options` is no object"),
    };
    options.extras(own.into_iter().flatten())?;
    options.extras(request.extra.iter().filter(|(name, _)| OPTIONS.contains(&name.as_str())))?;
    // A request's own context size goes before the component's.
    if !own.is_some_and(|o| o.contains_key("num_ctx")) && !request.extra.contains_key("num_ctx") {
        options.some("num_ctx", settings.num_ctx);
    }
    Ok(options)
}

fn keep_alive(time: KeepAlive) -> Value {
    match time {
        KeepAlive::For(time) => json!(format!("{}ms", time.as_millis())),
        KeepAlive::Forever => json!(-1),
    }
}

fn think(reasoning: Reasoning) -> Result<Value> {
    Ok(match (reasoning.effort, reasoning.budget_tokens) {
        (Some(Effort::None), None) | (None, Some(0)) => json!(false),
        (None, None) => json!(true),
        (Some(effort @ (Effort::Low | Effort::Medium | Effort::High)), None) => json!(effort.as_str()),
        // The least that there is.
        (Some(Effort::Minimal), None) => json!("low"),
        (_, Some(_)) => return no("Ollama takes no budget of reasoning tokens"),
        _ => return no("this effort is not known to the protocol"),
    })
}

/// The form of the answer. Ollama knows no choice of tools, so a call that must be made is asked for as JSON.
fn format(request: &ChatRequest, tools: &[&ToolSpec]) -> Result<Option<Value>> {
    match &request.response_format {
        Some(_) if is_forced(request) => {
            no("Ollama can't be made to call a tool and to answer in JSON at once")
        }
        Some(ResponseFormat::JsonObject) => Ok(Some(json!("json"))),
        Some(ResponseFormat::JsonSchema { schema, .. }) => Ok(Some(schema.clone())),
        Some(_) => no("this form of answer is not known to the protocol"),
        None if is_forced(request) => {
            let call = |tool: &&ToolSpec| {
                json!({
                    "type": "object",
                    "properties": {
                        "name": {"type": "string", "enum": [tool.name]},
                        "arguments": parameters(tool),
                    },
                    "required": ["name", "arguments"],
                })
            };
            let mut calls: Vec<Value> = tools.iter().map(call).collect();
            Ok(if calls.len() == 1 { calls.pop() } else { Some(json!({ "anyOf": calls })) })
        }
        None => Ok(None),
    }
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
    let mut fields = Fields::default();
    fields.set("role", role);
    content(&message.parts, info, &mut fields)?;
    out.push(fields.into_value());
    Ok(())
}

/// Text and pictures; the protocol keeps them apart.
fn content(parts: &[Part], info: &ModelInfo, fields: &mut Fields) -> Result<()> {
    let (mut text, mut images) = (String::new(), Vec::new());
    for part in parts {
        check_media(part, info.capabilities)?;
        match part {
            Part::Text { text: more } => text.push_str(more),
            Part::Image { media: Media::Base64 { data, .. } } => images.push(json!(data)),
            Part::Image { .. } => return no("Ollama takes pictures only inline"),
            Part::Audio { .. } | Part::Video { .. } | Part::File { .. } => {
                return no("Ollama takes no audio, videos or files");
            }
            Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
            Part::ToolCall(_) => {
                return misplaced("a tool call stands outside of a message of the assistant");
            }
            Part::ToolResult(_) => return misplaced("a tool result stands outside of a tool message"),
            Part::Reasoning { .. } | Part::Refusal { .. } => {
                return misplaced("reasoning or a refusal stands outside of a message of the assistant");
            }
            _ => return no("this kind of part is not known to the protocol"),
        }
    }
    fields.set("content", text);
    fields.list("images", images);
    Ok(())
}

fn assistant(message: &Message, info: &ModelInfo) -> Result<Value> {
    let (mut text, mut thinking, mut calls) = (String::new(), String::new(), Vec::new());
    for part in &message.parts {
        match part {
            // The protocol has no refusals; the words are the model's.
            Part::Text { text: more } | Part::Refusal { text: more } => text.push_str(more),
            Part::Reasoning { text, signature: None } => thinking.push_str(text),
            // Signed reasoning is another vendor's.
            Part::Reasoning { .. } => {}
            Part::ToolCall(call) => calls.push(tool_call(call)?),
            Part::ToolResult(_) => return misplaced("a tool result stands in a message of the assistant"),
            Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
            _ => return no("the protocol takes no media in messages of the assistant"),
        }
    }
    let mut fields = Fields::default();
    fields.set("role", "assistant");
    fields.set("content", text);
    if !thinking.is_empty() && info.capabilities.reasoning {
        fields.set("thinking", thinking);
    }
    fields.list("tool_calls", calls);
    Ok(fields.into_value())
}

/// Ollama takes the arguments as an object, not as text.
fn tool_call(call: &ToolCall) -> Result<Value> {
    let arguments: Value = serde_json::from_str(crate::fields::arguments(&call.arguments))
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| {
            Error::invalid_input(
                "the arguments of an earlier tool call are no JSON object, as Ollama wants them",
            )
            .with_context("tool", call.name.clone())
        })?;
    Ok(json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}))
}

fn tool_result(result: &ToolResult, info: &ModelInfo) -> Result<Value> {
    let mut fields = Fields::default();
    fields.set("role", "tool");
    fields.set("tool_name", result.name.as_str());
    fields.set("tool_call_id", result.call_id.as_str());
    content(&result.parts, info, &mut fields)?;
    Ok(fields.into_value())
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
