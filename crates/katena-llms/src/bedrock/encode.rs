//! From a chat request to Converse's body.

use std::time::Duration;

use katena_core::{
    CachePoint, ChatRequest, Effort, Error, ModelInfo, Part, PromptCache, Reasoning, ResponseFormat, Result,
    Role, ToolChoice, ToolSpec,
};
use serde_json::{Map, Value, json};

use super::blocks::{Blocks, no};
use super::family::ModelFamily;
use super::schema;

/// Extras that are fields of Converse itself; all others are the model's own.
const FIELDS: [&str; 8] = [
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "outputConfig",
    "performanceConfig",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
    "toolConfig",
];
const MODEL_FIELDS: &str = "additionalModelRequestFields";

/// Makes the body, or says what can't be expressed. Keys are sorted, so that equal requests are equal bytes.
pub(super) fn body(
    request: &ChatRequest,
    info: &ModelInfo,
    family: ModelFamily,
    system_tools: &[String],
) -> Result<Value> {
    if request.messages.is_empty() {
        return Err(Error::invalid_input("a chat request needs at least one message"));
    }
    check_abilities(request, info)?;
    let mut body = prompt(request, info, system_tools)?;
    let inference = inference(request)?;
    if !inference.is_empty() {
        body.insert("inferenceConfig".to_owned(), Value::Object(inference));
    }
    if let Some(format) = &request.response_format {
        body.insert("outputConfig".to_owned(), output(format)?);
    }
    let mut own = reasoning(request.reasoning, family)?;
    if let Some(k) = request.top_k {
        let (name, value) = match family {
            ModelFamily::Claude | ModelFamily::Mistral => ("top_k", json!(k)),
            ModelFamily::Cohere => ("k", json!(k)),
            ModelFamily::Nova => ("inferenceConfig", json!({"topK": k})),
            _ => return no("how this model takes top_k is not known; send it as an extra"),
        };
        own.insert(name.to_owned(), value);
    }
    extras(request, &mut body, &mut own)?;
    if !own.is_empty() {
        body.insert(MODEL_FIELDS.to_owned(), Value::Object(own));
    }
    Ok(Value::Object(body))
}

/// What counts as the prompt: messages, system, tools.
pub(super) fn prompt(
    request: &ChatRequest,
    info: &ModelInfo,
    system_tools: &[String],
) -> Result<Map<String, Value>> {
    let (mut system, mut turns) = (Vec::new(), Vec::<(&str, Vec<Value>)>::new());
    let points = points(request)?;
    let mark = request.prompt_cache.as_ref().map(cache_point).transpose()?.unwrap_or_default();
    let mut blocks = Blocks::default();
    for (n, message) in request.messages.iter().enumerate() {
        let marked = points.contains(&CachePoint::Message(n));
        let mut new = Vec::new();
        let role = match message.role {
            Role::System => {
                Blocks::system(&message.parts, info, &mut system)?;
                if marked {
                    system.push(mark.clone());
                }
                continue;
            }
            Role::User => {
                blocks.user(&message.parts, info, &mut new)?;
                "user"
            }
            Role::Assistant => {
                Blocks::assistant(&message.parts, info, &mut new)?;
                "assistant"
            }
            Role::Tool => {
                blocks.tool(&message.parts, info, &mut new)?;
                "user"
            }
            _ => return no("this role is not known to the protocol"),
        };
        // Roles take turns: what one says in a row is one message, and a message of nothing is none.
        match turns.last_mut() {
            Some((last, content)) if *last == role => content.append(&mut new),
            _ if new.is_empty() => {}
            _ => turns.push((role, new)),
        }
        if let (true, Some((_, content))) = (marked, turns.last_mut()) {
            content.push(mark.clone());
        }
    }
    if points.contains(&CachePoint::System) && !system.is_empty() {
        system.push(mark.clone());
    }
    let turns: Vec<Value> =
        turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    let mut body = Map::new();
    body.insert("messages".to_owned(), Value::Array(turns));
    if !system.is_empty() {
        body.insert("system".to_owned(), Value::Array(system));
    }
    let tool_mark = points.contains(&CachePoint::Tools).then_some(mark);
    if let Some(tools) = tools(request, system_tools, tool_mark)? {
        body.insert("toolConfig".to_owned(), tools);
    }
    Ok(body)
}

fn check_abilities(request: &ChatRequest, info: &ModelInfo) -> Result<()> {
    let can = info.capabilities;
    let wants = [
        (!request.tools.is_empty() && !can.tools, "this model calls no tools"),
        (request.response_format.is_some() && !can.json_schema, "this model has no JSON answers"),
        (request.reasoning.is_some() && !can.reasoning, "this model has no control of its reasoning"),
        (request.prompt_cache.is_some() && !can.prompt_cache, "this model has no control of prompt caching"),
        (request.top_k.is_some() && !can.top_k, "this model takes no top_k"),
        (!request.stop.is_empty() && !can.stop, "this model takes no stop texts"),
        (request.seed.is_some(), "the protocol takes no seed"),
        (request.logprobs.is_some(), "the protocol reports no log-probabilities"),
        (
            request.presence_penalty.is_some() || request.frequency_penalty.is_some(),
            "the protocol has no penalties",
        ),
    ];
    wants.iter().find(|(missing, _)| *missing).map_or(Ok(()), |(_, what)| no(what))
}

/// The short form of a number, as it was written.
fn number(n: f32) -> Result<Value> {
    let value = n.to_string().parse::<f64>().ok().filter(|n| n.is_finite());
    value
        .map(|n| json!(n))
        .ok_or_else(|| Error::invalid_input("an option of the request is not a finite number"))
}

fn inference(request: &ChatRequest) -> Result<Map<String, Value>> {
    let mut config = Map::new();
    if let Some(n) = request.max_tokens {
        config.insert("maxTokens".to_owned(), json!(n));
    }
    if let Some(n) = request.temperature {
        config.insert("temperature".to_owned(), number(n)?);
    }
    if let Some(n) = request.top_p {
        config.insert("topP".to_owned(), number(n)?);
    }
    if !request.stop.is_empty() {
        config.insert("stopSequences".to_owned(), json!(request.stop));
    }
    Ok(config)
}

fn output(format: &ResponseFormat) -> Result<Value> {
    let ResponseFormat::JsonSchema { name, schema } = format else {
        return no("the protocol has JSON answers by a schema only");
    };
    let fine = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    let name: String = name.chars().map(fine).take(64).collect();
    let name = if name.is_empty() { "answer".to_owned() } else { name };
    // The schema travels as text.
    let schema = json!({"name": name, "schema": schema::adapt(schema)?.to_string()});
    Ok(json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}))
}

fn tools(request: &ChatRequest, system_tools: &[String], mark: Option<Value>) -> Result<Option<Value>> {
    if request.tools.is_empty() && system_tools.is_empty() {
        return match &request.tool_choice {
            Some(ToolChoice::Required | ToolChoice::Named(_)) => {
                Err(Error::invalid_input("a tool call is required, but there are no tools"))
            }
            _ => Ok(None),
        };
    }
    let choice = match &request.tool_choice {
        None => None,
        Some(ToolChoice::Auto) => Some(json!({"auto": {}})),
        Some(ToolChoice::Required) => Some(json!({"any": {}})),
        Some(ToolChoice::Named(name)) if request.tools.iter().any(|t| t.name == *name) => {
            Some(json!({"tool": {"name": name}}))
        }
        Some(ToolChoice::Named(name)) => {
            return Err(Error::invalid_input("the tool that must be called is not among the tools")
                .with_context("tool", name.clone()));
        }
        // The protocol can't forbid calls; without tools there are none. Where the conversation holds calls, the service
        // wants their tools all the same.
        Some(ToolChoice::None) => {
            let is_tool = |p: &Part| matches!(p, Part::ToolCall(_) | Part::ToolResult(_));
            if request.messages.iter().any(|m| m.parts.iter().any(is_tool)) {
                return no("the protocol can't forbid tool calls in a conversation that holds some");
            }
            return Ok(None);
        }
        Some(_) => return no("this choice of tools is not known to the protocol"),
    };
    let own = system_tools.iter().map(|name| json!({"systemTool": {"name": name}}));
    let mut list: Vec<Value> = request.tools.iter().map(tool).chain(own).collect();
    list.extend(mark);
    let mut config = json!({"tools": list});
    if let Some(choice) = choice {
        config["toolChoice"] = choice;
    }
    Ok(Some(config))
}

fn tool(spec: &ToolSpec) -> Value {
    let mut schema = spec.parameters.as_object().cloned().unwrap_or_default();
    schema.remove("$schema");
    schema.entry("type").or_insert_with(|| json!("object"));
    schema.entry("properties").or_insert_with(|| json!({}));
    let mut value = json!({"name": spec.name, "inputSchema": {"json": schema}});
    if !spec.description.is_empty() {
        value["description"] = json!(spec.description);
    }
    json!({"toolSpec": value})
}

/// Where to cut: the caller's points, or the usual ones.
fn points(request: &ChatRequest) -> Result<Vec<CachePoint>> {
    let Some(cache) = &request.prompt_cache else { return Ok(Vec::new()) };
    if cache.points.is_empty() {
        let system = request.messages.iter().any(|m| m.role == Role::System);
        let first = if system { CachePoint::System } else { CachePoint::Tools };
        return Ok(vec![first, CachePoint::Message(request.messages.len() - 1)]);
    }
    for point in &cache.points {
        if let CachePoint::Message(n) = point
            && *n >= request.messages.len()
        {
            return Err(Error::invalid_input("a point of the prompt cache lies behind the last message"));
        }
    }
    Ok(cache.points.clone())
}

fn cache_point(cache: &PromptCache) -> Result<Value> {
    if cache.key.is_some() {
        return no("the protocol's prompt cache has no keys");
    }
    let mut point = json!({"type": "default"});
    if let Some(ttl) = cache.ttl {
        // The service keeps five minutes or an hour.
        point["ttl"] = json!(if ttl <= Duration::from_secs(300) { "5m" } else { "1h" });
    }
    Ok(json!({"cachePoint": point}))
}

/// The model's own fields for its reasoning.
fn reasoning(reasoning: Option<Reasoning>, family: ModelFamily) -> Result<Map<String, Value>> {
    let Some(Reasoning { effort, budget_tokens, .. }) = reasoning else { return Ok(Map::new()) };
    let off = effort == Some(Effort::None) || budget_tokens == Some(0);
    if off && (effort.is_some_and(|e| e != Effort::None) || budget_tokens.is_some_and(|n| n > 0)) {
        return Err(Error::invalid_input("effort and budget of the reasoning contradict each other"));
    }
    let word = match effort {
        None | Some(Effort::None) => None,
        Some(Effort::Minimal | Effort::Low) => Some("low"),
        Some(Effort::Medium) => Some("medium"),
        Some(Effort::High) => Some("high"),
        Some(_) => return no("this effort is not known to the protocol"),
    };
    let value = match (family, budget_tokens, word) {
        (ModelFamily::Claude, _, _) if off => json!({"thinking": {"type": "disabled"}}),
        (ModelFamily::Claude, Some(n), None) => json!({"thinking": {"type": "enabled", "budget_tokens": n}}),
        (ModelFamily::Claude, Some(n), Some(word)) => {
            json!({"thinking": {"type": "enabled", "budget_tokens": n}, "output_config": {"effort": word}})
        }
        (ModelFamily::Claude, None, Some(word)) => {
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": word}})
        }
        (ModelFamily::Nova, _, _) if off => json!({"reasoningConfig": {"type": "disabled"}}),
        (ModelFamily::Nova, None, Some(word)) => {
            json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": word}})
        }
        (ModelFamily::OpenAi, None, Some(word)) => json!({"reasoning_effort": word}),
        (_, None, None) if !off => json!({}),
        _ => return no("this model has no such control of its reasoning"),
    };
    Ok(value.as_object().cloned().unwrap_or_default())
}

/// Extras must not fight with what the request sets.
fn extras(request: &ChatRequest, body: &mut Map<String, Value>, own: &mut Map<String, Value>) -> Result<()> {
    let repeated = |name: &str| {
        Error::invalid_input("an extra repeats a field that the request sets")
            .with_context("extra", name.to_owned())
    };
    let add = |into: &mut Map<String, Value>, name: &str, value: &Value| {
        if into.insert(name.to_owned(), value.clone()).is_some() { Err(repeated(name)) } else { Ok(()) }
    };
    for (name, value) in &request.extra {
        match (name.as_str(), value) {
            ("messages" | "system" | "inferenceConfig" | "modelId", _) => return Err(repeated(name)),
            (MODEL_FIELDS, Value::Object(fields)) => {
                for (name, value) in fields {
                    add(own, name, value)?;
                }
            }
            (MODEL_FIELDS, _) => {
                return Err(Error::invalid_input("the extra `additionalModelRequestFields` is an object"));
            }
            (name, value) if FIELDS.contains(&name) => add(body, name, value)?,
            (name, value) => add(own, name, value)?,
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
