//! From a chat request to the protocol's body.

use std::collections::BTreeMap;
use std::time::Duration;

use katena_core::{ChatRequest, Error, ModelInfo, ResponseFormat, Result, Role, ToolChoice, ToolSpec};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::messages::{Encoder, misplaced, no, texts};
use super::{ReasoningSummary, Settings, Storage};
use crate::openai_shared::schema::strict;
use crate::openai_shared::{Reply, finite, label, parameters};

/// Without a longer time, a kept prompt lives this long at most; the other choice is a day.
/// Source: OpenAI's guide to prompt caching.
const IN_MEMORY: Duration = Duration::from_secs(3600);

/// The body. The order of fields is fixed, so that equal requests are equal bytes.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    input: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    text: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    reasoning: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(flatten)]
    extra: BTreeMap<&'a str, &'a Value>,
}

/// Makes the body, or says what can't be expressed.
pub(super) fn body<'a>(
    request: &'a ChatRequest,
    info: &'a ModelInfo,
    settings: &Settings,
    reply: Reply,
) -> Result<Body<'a>> {
    if request.messages.is_empty() {
        return Err(Error::invalid_input("a chat request needs at least one message"));
    }
    check_abilities(request, info)?;
    let storage = match request.extra.get("store").and_then(Value::as_bool) {
        Some(true) => Storage::Stored,
        Some(false) => Storage::Stateless,
        None => settings.storage,
    };
    // Alone, the system messages are the input.
    let leading =
        request.messages.iter().take_while(|m| m.role == Role::System && texts(m).is_some()).count();
    let leading = if leading == request.messages.len() { 0 } else { leading };
    let (first, rest) = request.messages.split_at(leading);
    let instructions = first.iter().filter_map(texts).map(|t| t.concat()).collect::<Vec<_>>().join("\n\n");
    let encoder = Encoder { info, stored: storage != Storage::Stateless };
    let mut input = Vec::with_capacity(rest.len());
    for message in rest {
        encoder.message(message, &mut input)?;
    }
    let (tools, tool_choice) = tools(request, settings)?;
    let mut include = Vec::new();
    if storage == Storage::Stateless && info.capabilities.reasoning {
        include.push(json!("reasoning.encrypted_content"));
    }
    if request.logprobs.is_some() {
        include.push(json!("message.output_text.logprobs"));
    }
    let cache = request.prompt_cache.as_ref();
    let mut body = Body {
        model: &info.model,
        instructions: (!first.is_empty()).then_some(instructions),
        input,
        tools,
        tool_choice,
        text: request.response_format.as_ref().map(text_format).unwrap_or_default(),
        reasoning: reasoning(request, settings)?,
        max_output_tokens: request.max_tokens,
        temperature: finite(request.temperature)?,
        top_p: finite(request.top_p)?,
        top_logprobs: request.logprobs,
        include,
        store: match settings.storage {
            _ if request.extra.contains_key("store") => None,
            Storage::Stateless => Some(false),
            Storage::Stored => Some(true),
            Storage::Unsaid => None,
        },
        prompt_cache_key: cache.and_then(|c| c.key.as_deref()),
        prompt_cache_retention: cache
            .and_then(|c| c.ttl)
            .map(|ttl| if ttl > IN_MEMORY { "24h" } else { "in_memory" }),
        stream: (reply == Reply::Stream).then_some(true),
        extra: BTreeMap::new(),
    };
    add_extras(request, &mut body)?;
    Ok(body)
}

/// What of a body is the prompt, for the token counter: it takes no other fields.
pub(super) fn prompt_only(body: &Body<'_>) -> Result<Value> {
    const FIELDS: [&str; 11] = [
        "model",
        "instructions",
        "input",
        "tools",
        "tool_choice",
        "text",
        "reasoning",
        "parallel_tool_calls",
        "previous_response_id",
        "conversation",
        "truncation",
    ];
    let mut value = serde_json::to_value(body)
        .map_err(|e| Error::invalid_input("the request can't be written as JSON").with_source(e))?;
    if let Value::Object(fields) = &mut value {
        fields.retain(|name, _| FIELDS.contains(&name.as_str()));
    }
    Ok(value)
}

fn check_abilities(request: &ChatRequest, info: &ModelInfo) -> Result<()> {
    let can = info.capabilities;
    let json = matches!(
        request.response_format,
        Some(ResponseFormat::JsonObject | ResponseFormat::JsonSchema { .. })
    );
    let refused = [
        (!request.tools.is_empty() && !can.tools, "this model calls no tools"),
        (json && !can.json_schema, "this model has no JSON answers"),
        (request.response_format.is_some() && !json, "this form of answer is not known to the protocol"),
        (request.logprobs.is_some() && !can.logprobs, "this model reports no log-probabilities"),
        (request.reasoning.is_some() && !can.reasoning, "this model's reasoning can't be controlled"),
        (request.prompt_cache.is_some() && !can.prompt_cache, "this model keeps no prompts"),
        (request.seed.is_some(), "the Responses protocol takes no seed"),
        (!request.stop.is_empty(), "the Responses protocol takes no stop texts"),
        (request.top_k.is_some(), "the Responses protocol has no top_k"),
        (
            request.presence_penalty.is_some() || request.frequency_penalty.is_some(),
            "the Responses protocol has no penalties",
        ),
    ];
    match refused.into_iter().find(|(refused, _)| *refused) {
        Some((_, why)) => no(why),
        None => Ok(()),
    }
}

fn reasoning(request: &ChatRequest, settings: &Settings) -> Result<Map<String, Value>> {
    let mut out = Map::new();
    if let Some(reasoning) = &request.reasoning {
        if reasoning.budget_tokens.is_some() {
            return no("the Responses protocol bounds reasoning by effort, not by tokens");
        }
        if let Some(effort) = reasoning.effort {
            out.insert("effort".into(), json!(effort.as_str()));
        }
    }
    if let Some(summary) = settings.summary {
        let word = match summary {
            ReasoningSummary::Auto => "auto",
            ReasoningSummary::Concise => "concise",
            ReasoningSummary::Detailed => "detailed",
        };
        out.insert("summary".into(), json!(word));
    }
    Ok(out)
}

fn text_format(format: &ResponseFormat) -> Map<String, Value> {
    let format = match format {
        ResponseFormat::JsonSchema { name, schema } => match strict(schema) {
            Some(s) => json!({"type": "json_schema", "name": label(name), "schema": s, "strict": true}),
            // Without the word, the protocol takes a schema to be strict.
            None => json!({"type": "json_schema", "name": label(name), "schema": schema, "strict": false}),
        },
        _ => json!({"type": "json_object"}),
    };
    Map::from_iter([("format".to_owned(), format)])
}

fn tools(request: &ChatRequest, settings: &Settings) -> Result<(Vec<Value>, Option<Value>)> {
    let none = request.tools.is_empty() && settings.hosted.is_empty();
    let choice = match &request.tool_choice {
        None => None,
        // Without tools there is nothing to decide, and servers refuse the field.
        Some(ToolChoice::Auto | ToolChoice::None) if none => None,
        Some(ToolChoice::Auto) => Some(json!("auto")),
        Some(ToolChoice::None) => Some(json!("none")),
        Some(ToolChoice::Required) if none => {
            return misplaced("a tool call is required, but there are no tools");
        }
        Some(ToolChoice::Required) => Some(json!("required")),
        Some(ToolChoice::Named(name)) if !request.tools.iter().any(|t| t.name == *name) => {
            return Err(Error::invalid_input("the tool that must be called is not among the tools")
                .with_context("tool", name.clone()));
        }
        Some(ToolChoice::Named(name)) => Some(json!({"type": "function", "name": name})),
        Some(_) => return no("this choice of tools is not known to the protocol"),
    };
    let tools = request.tools.iter().map(tool).chain(settings.hosted.iter().cloned()).collect();
    Ok((tools, choice))
}

fn tool(spec: &ToolSpec) -> Value {
    // Without the word, the protocol takes a tool's schema to be strict, which changes what it means.
    json!({"type": "function", "name": spec.name, "description": spec.description,
        "parameters": parameters(&spec.parameters), "strict": false})
}

/// Extras join the body; they must not fight with what the request sets.
fn add_extras<'a>(request: &'a ChatRequest, body: &mut Body<'a>) -> Result<()> {
    let repeated = |name: &str| {
        Err(Error::invalid_input("an extra repeats a field that the request sets")
            .with_context("extra", name.to_owned()))
    };
    for (name, value) in &request.extra {
        let taken = match (name.as_str(), value) {
            ("model" | "input" | "stream", _) => true,
            ("instructions", _) => body.instructions.is_some(),
            ("tools", _) => !body.tools.is_empty(),
            ("tool_choice", _) => body.tool_choice.is_some(),
            ("max_output_tokens", _) => body.max_output_tokens.is_some(),
            ("temperature", _) => body.temperature.is_some(),
            ("top_p", _) => body.top_p.is_some(),
            ("top_logprobs", _) => body.top_logprobs.is_some(),
            ("prompt_cache_key", _) => body.prompt_cache_key.is_some(),
            ("prompt_cache_retention", _) => body.prompt_cache_retention.is_some(),
            ("include", Value::Array(more)) => {
                body.include.extend(more.iter().cloned());
                body.include.dedup();
                continue;
            }
            (field @ ("text" | "reasoning"), Value::Object(more)) => {
                let members = if field == "text" { &mut body.text } else { &mut body.reasoning };
                for (key, value) in more {
                    if members.insert(key.clone(), value.clone()).is_some() {
                        return repeated(name);
                    }
                }
                continue;
            }
            ("include", _) => !body.include.is_empty(),
            ("text", _) => !body.text.is_empty(),
            ("reasoning", _) => !body.reasoning.is_empty(),
            ("background", Value::Bool(true)) => {
                return no("an answer is read when it is made, so it can't be made in the background");
            }
            _ => false,
        };
        if taken {
            return repeated(name);
        }
        body.extra.insert(name, value);
    }
    Ok(())
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
