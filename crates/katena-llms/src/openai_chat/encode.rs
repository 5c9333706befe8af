//! From a chat request to the protocol's body.

use std::borrow::Cow;
use std::collections::BTreeMap;

use katena_core::{
    ChatRequest, Error, Media, Message, ModelInfo, Part, ResponseFormat, Result, Role, ToolChoice,
    ToolResult, ToolSpec,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::cache;
use super::quirks::{CacheForm, JsonMode, NamedTool, Quirks, TokenLimit};
use super::reasoning;
use crate::openai_shared::schema::strict;
use crate::openai_shared::{Reply, audio_format, finite, label, parameters};

/// The body, borrowing from the request. The order of fields is fixed, so that equal requests are equal bytes.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
    /// Reasoning and prompt cache, by the server's names.
    #[serde(flatten)]
    named: Map<String, Value>,
    #[serde(flatten)]
    extra: BTreeMap<&'a str, &'a Value>,
}

#[derive(Serialize)]
pub(super) struct WireMessage<'a> {
    role: &'static str,
    pub(super) content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    /// Earlier reasoning.
    #[serde(flatten)]
    reasoning: Map<String, Value>,
}

impl<'a> WireMessage<'a> {
    fn new(role: &'static str, content: Option<Content<'a>>) -> Self {
        Self {
            role,
            content,
            refusal: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            reasoning: Map::new(),
        }
    }

    pub(super) fn is_system(&self) -> bool {
        self.role == "system"
    }
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Value>),
}

fn no<T>(what: &'static str) -> Result<T> {
    Err(Error::unsupported(what))
}

/// Makes the body, or says what can't be expressed. `defaults` are extras of the component, for what the request leaves
/// open.
pub(super) fn body<'a>(
    request: &'a ChatRequest,
    info: &'a ModelInfo,
    quirks: Quirks,
    defaults: &'a BTreeMap<String, Value>,
    reply: Reply,
) -> Result<Body<'a>> {
    if request.messages.is_empty() {
        return Err(Error::invalid_input("a chat request needs at least one message"));
    }
    check_abilities(request, info, quirks)?;
    let mut messages = Vec::with_capacity(request.messages.len());
    // Where each message of the request ends in the wire's list.
    let mut ends = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        add_message(message, info, quirks, &mut messages)?;
        ends.push(messages.len());
    }
    let (mut tools, tool_choice) = tools(request, quirks.named_tool)?;
    let mut named = reasoning::wanted(request, quirks.reasoning)?;
    if let Some(cache) = &request.prompt_cache {
        match quirks.prompt_cache {
            CacheForm::Key => named.extend(cache::named(cache)),
            CacheForm::Marks => cache::mark(cache, &mut tools, &mut messages, &ends)?,
            CacheForm::Automatic if cache.key.is_some() || cache.ttl.is_some() => {
                return no("this server keeps prompts by itself; it takes no key and no time");
            }
            CacheForm::Automatic => {}
        }
    }
    let limit = quirks.token_limit;
    let streams = reply == Reply::Stream;
    let own_stream_options =
        [&request.extra, defaults].into_iter().any(|extra| extra.contains_key("stream_options"));
    let mut body = Body {
        model: &info.model,
        messages,
        tools,
        tool_choice,
        response_format: request.response_format.as_ref().map(response_format),
        temperature: finite(request.temperature)?,
        top_p: finite(request.top_p)?,
        top_k: request.top_k,
        max_tokens: request.max_tokens.filter(|_| limit == TokenLimit::MaxTokens),
        max_completion_tokens: request.max_tokens.filter(|_| limit == TokenLimit::MaxCompletionTokens),
        stop: &request.stop,
        seed: request.seed,
        presence_penalty: finite(request.presence_penalty)?,
        frequency_penalty: finite(request.frequency_penalty)?,
        logprobs: request.logprobs.map(|_| true),
        top_logprobs: request.logprobs.map(|n| n.max(quirks.min_logprobs)),
        stream: streams.then_some(true),
        stream_options: (streams && !own_stream_options).then(|| json!({ "include_usage": true })),
        named,
        extra: BTreeMap::new(),
    };
    for (name, value) in &request.extra {
        if taken(name, value, &body)? {
            return Err(Error::invalid_input("an extra repeats a field that the request sets")
                .with_context("extra", name.clone()));
        }
        body.extra.insert(name, value);
    }
    for (name, value) in defaults {
        if !body.extra.contains_key(name.as_str()) && !taken(name, value, &body)? {
            body.extra.insert(name, value);
        }
    }
    Ok(body)
}

fn check_abilities(request: &ChatRequest, info: &ModelInfo, quirks: Quirks) -> Result<()> {
    let can = info.capabilities;
    let json = match &request.response_format {
        None => true,
        Some(ResponseFormat::JsonObject) => can.json_schema || quirks.json_mode == JsonMode::Always,
        Some(ResponseFormat::JsonSchema { .. }) => can.json_schema,
        Some(_) => false,
    };
    let refused = [
        (!request.tools.is_empty() && !can.tools, "this model calls no tools"),
        (!json, "this model has no answers of this form"),
        (request.logprobs.is_some() && !can.logprobs, "this model reports no log-probabilities"),
        (request.seed.is_some() && !can.seed, "this model takes no seed"),
        (!request.stop.is_empty() && !can.stop, "this model takes no stop texts"),
        (request.top_k.is_some() && !can.top_k, "this model has no top_k"),
        (request.reasoning.is_some() && !can.reasoning, "this model's reasoning can't be controlled"),
        (request.prompt_cache.is_some() && !can.prompt_cache, "this model keeps no prompts"),
    ];
    match refused.into_iter().find(|(refused, _)| *refused) {
        Some((_, why)) => no(why),
        None => Ok(()),
    }
}

/// True if an extra of this name would fight with what the request sets.
fn taken(name: &str, value: &Value, body: &Body<'_>) -> Result<bool> {
    Ok(match name {
        "model" | "messages" | "stream" => true,
        "tools" => !body.tools.is_empty(),
        "tool_choice" => body.tool_choice.is_some(),
        "response_format" => body.response_format.is_some(),
        "temperature" => body.temperature.is_some(),
        "top_p" => body.top_p.is_some(),
        "top_k" => body.top_k.is_some(),
        "max_tokens" => body.max_tokens.is_some(),
        "max_completion_tokens" => body.max_completion_tokens.is_some(),
        "stop" => !body.stop.is_empty(),
        "seed" => body.seed.is_some(),
        "presence_penalty" => body.presence_penalty.is_some(),
        "frequency_penalty" => body.frequency_penalty.is_some(),
        "logprobs" | "top_logprobs" => body.logprobs.is_some(),
        "n" if value.as_u64().is_some_and(|n| n > 1) => {
            return no("only one choice is read, so more than one can't be asked for");
        }
        _ => body.named.contains_key(name),
    })
}

fn tools(request: &ChatRequest, named_tool: NamedTool) -> Result<(Vec<Value>, Option<Value>)> {
    let known = |name: &str| request.tools.iter().any(|t| t.name == name);
    let choice = match &request.tool_choice {
        None => None,
        // Without tools there is nothing to decide, and servers refuse the field.
        Some(ToolChoice::Auto | ToolChoice::None) if request.tools.is_empty() => None,
        Some(ToolChoice::Auto) => Some(json!("auto")),
        Some(ToolChoice::None) => Some(json!("none")),
        Some(ToolChoice::Required) if request.tools.is_empty() => {
            return Err(Error::invalid_input("a tool call is required, but there are no tools"));
        }
        Some(ToolChoice::Required) => Some(json!("required")),
        Some(ToolChoice::Named(name)) if !known(name) => {
            return Err(Error::invalid_input("the tool that must be called is not among the tools")
                .with_context("tool", name.clone()));
        }
        Some(ToolChoice::Named(name)) if named_tool == NamedTool::Alone => {
            let alone = request.tools.iter().filter(|t| t.name == *name).map(tool).collect();
            return Ok((alone, Some(json!("required"))));
        }
        Some(ToolChoice::Named(name)) => Some(json!({"type": "function", "function": {"name": name}})),
        Some(_) => return no("this choice of tools is not known to the protocol"),
    };
    Ok((request.tools.iter().map(tool).collect(), choice))
}

fn tool(spec: &ToolSpec) -> Value {
    let parameters = parameters(&spec.parameters);
    let function = json!({"name": spec.name, "description": spec.description, "parameters": parameters});
    json!({"type": "function", "function": function})
}

fn response_format(format: &ResponseFormat) -> Value {
    match format {
        ResponseFormat::JsonSchema { name, schema } => {
            let label = label(name);
            let inner = match strict(schema) {
                Some(strict) => json!({"name": label, "schema": strict, "strict": true}),
                None => json!({"name": label, "schema": schema}),
            };
            json!({"type": "json_schema", "json_schema": inner})
        }
        _ => json!({"type": "json_object"}),
    }
}

fn misplaced<T>(what: &'static str) -> Result<T> {
    Err(Error::invalid_input(what))
}

fn add_message<'a>(
    message: &'a Message,
    info: &ModelInfo,
    quirks: Quirks,
    out: &mut Vec<WireMessage<'a>>,
) -> Result<()> {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => return assistant(message, info, quirks, out),
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
    out.push(WireMessage::new(role, Some(content(&message.parts, info)?)));
    Ok(())
}

fn assistant<'a>(
    message: &'a Message,
    info: &ModelInfo,
    quirks: Quirks,
    out: &mut Vec<WireMessage<'a>>,
) -> Result<()> {
    let (mut texts, mut calls, mut refusal, mut own) = (Vec::new(), Vec::new(), None, Vec::new());
    for part in &message.parts {
        match part {
            Part::Text { text } => texts.push(text.as_str()),
            Part::Refusal { text } => refusal = Some(text.as_str()),
            // It stands beside the content, if the server wants it at all.
            Part::Reasoning { .. } => {}
            Part::ToolCall(call) => {
                // Servers parse the arguments; a call without any has the empty object.
                let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
                calls.push(json!({"id": call.id, "type": "function",
                    "function": {"name": call.name, "arguments": arguments}}));
            }
            Part::Opaque { vendor, value } if *vendor == info.vendor => own.push(value.clone()),
            Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
            Part::ToolResult(_) => return misplaced("a tool result stands in a message of the assistant"),
            _ => return no("the protocol takes no media in messages of the assistant"),
        }
    }
    let content = if !own.is_empty() {
        let texts = texts.iter().map(|text| json!({"type": "text", "text": text}));
        Some(Content::Parts(texts.chain(own).collect()))
    } else if texts.is_empty() && (!calls.is_empty() || refusal.is_some()) {
        None
    } else {
        Some(Content::Text(join(&texts)))
    };
    let reasoning = reasoning::back(&message.parts, quirks.reasoning_back, &info.vendor);
    out.push(WireMessage { refusal, tool_calls: calls, reasoning, ..WireMessage::new("assistant", content) });
    Ok(())
}

fn tool_result<'a>(result: &'a ToolResult, info: &ModelInfo) -> Result<WireMessage<'a>> {
    if result.parts.iter().any(|p| !matches!(p, Part::Text { .. } | Part::Image { .. })) {
        return no("the protocol takes only text and pictures as a tool's result");
    }
    let content = Some(content(&result.parts, info)?);
    Ok(WireMessage { tool_call_id: Some(&result.call_id), ..WireMessage::new("tool", content) })
}

fn join<'a>(texts: &[&'a str]) -> Cow<'a, str> {
    match texts {
        [one] => Cow::Borrowed(one),
        many => Cow::Owned(many.concat()),
    }
}

/// Text alone is sent as text, which every server takes; anything else as a list of parts.
fn content<'a>(parts: &'a [Part], info: &ModelInfo) -> Result<Content<'a>> {
    let text = |p: &'a Part| if let Part::Text { text } = p { Some(text.as_str()) } else { None };
    if let Some(texts) = parts.iter().map(text).collect::<Option<Vec<_>>>() {
        return Ok(Content::Text(join(&texts)));
    }
    parts.iter().map(|p| part(p, info)).collect::<Result<_>>().map(Content::Parts)
}

fn part(part: &Part, info: &ModelInfo) -> Result<Value> {
    let can = info.capabilities;
    Ok(match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image { .. } if !can.images => return no("this model sees no pictures"),
        Part::Audio { .. } if !can.audio => return no("this model hears no sound"),
        Part::File { .. } if !can.files => return no("this model reads no files"),
        Part::Image { media } => json!({"type": "image_url", "image_url": {"url": address(media)?}}),
        Part::Audio { media: Media::Base64 { mime, data } } => {
            let format = audio_format(mime)?;
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        Part::File { media: Media::Base64 { mime, data }, name } => {
            let name = name.as_deref().unwrap_or("file");
            json!({"type": "file", "file": {"filename": name, "file_data": format!("data:{mime};base64,{data}")}})
        }
        Part::Opaque { vendor, value } if *vendor == info.vendor => value.clone(),
        Part::Opaque { .. } => return no("an item of another vendor can't be sent to this one"),
        Part::Audio { .. } | Part::File { .. } => {
            return no("the protocol takes audio and files only inline");
        }
        Part::Video { .. } => return no("the protocol takes no video"),
        Part::ToolCall(_) => return misplaced("a tool call stands outside of a message of the assistant"),
        Part::ToolResult(_) => return misplaced("a tool result stands outside of a tool message"),
        Part::Reasoning { .. } | Part::Refusal { .. } => {
            return misplaced("reasoning or a refusal stands outside of a message of the assistant");
        }
        _ => return no("this kind of part is not known to the protocol"),
    })
}

fn address(media: &Media) -> Result<String> {
    Ok(match media {
        Media::Base64 { mime, data } => format!("data:{mime};base64,{data}"),
        Media::Url { url, .. } => url.clone(),
        _ => return no("this kind of media is not known to the protocol"),
    })
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
