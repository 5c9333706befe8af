//! From a chat request to the protocol's body, for each place where the protocol is spoken.

use std::collections::BTreeMap;
use std::time::Duration;

use katena_core::{
    CachePoint, ChatRequest, Effort, Error, ModelInfo, PromptCache, ResponseFormat, Result, ToolChoice,
    ToolSpec,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::blocks::{Block, CacheControl, Place, Prompt, Turn};
use super::{models, schema};

/// Where the body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each place is a feature")]
pub(crate) enum Target {
    /// The vendor's own API: model and stream are named in the body, betas in a header (see [`betas`]).
    Api,
    /// Bedrock `InvokeModel`: no model, no stream; version and betas in the body.
    Bedrock,
    /// Vertex AI `rawPredict`: no model; version in the body, betas in a header.
    Vertex,
}

/// How the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// At once.
    Whole,
    /// As it is made.
    Stream,
    /// Only the number of tokens of the prompt.
    Count,
}

/// What a component adds to each request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// The token limit where the request has none; else by the model's name.
    pub(crate) max_tokens: Option<u32>,
    /// Names of beta features.
    pub(crate) betas: Vec<String>,
    /// Tools that the vendor runs, as the vendor writes them.
    pub(crate) server_tools: Vec<Value>,
}

/// The body, borrowing from the request. The order of fields is fixed, so that equal requests are equal bytes.
#[derive(Serialize)]
pub(crate) struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    anthropic_version: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    anthropic_beta: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    output_config: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(flatten)]
    extra: BTreeMap<&'a str, &'a Value>,
}

fn no<T>(what: &'static str) -> Result<T> {
    Err(Error::unsupported(what))
}

/// The extra that goes into the tool choice.
const ONE_CALL: &str = "disable_parallel_tool_use";
/// The extra that names beta features of one request, a list of names.
const BETAS: &str = "betas";

/// The beta features of a request: the component's and those of the extra `betas`. They go into the header `anthropic-beta`,
/// joined by commas; [`body`] itself writes them for Bedrock.
pub(crate) fn betas(request: &ChatRequest, settings: &Settings) -> Result<Vec<String>> {
    let mut names = settings.betas.clone();
    if let Some(extra) = request.extra.get(BETAS) {
        let own = extra.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        let Some(Some(own)) = own else {
            return Err(Error::invalid_input("the extra `betas` is a list of names"));
        };
        names.extend(own.into_iter().map(str::to_owned));
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Ok(names)
}

/// Makes the body, or says what can't be expressed.
pub(crate) fn body<'a>(
    request: &'a ChatRequest,
    info: &'a ModelInfo,
    settings: &'a Settings,
    target: Target,
    reply: Reply,
) -> Result<Body<'a>> {
    if request.messages.is_empty() {
        return Err(Error::invalid_input("a chat request needs at least one message"));
    }
    check_abilities(request, info)?;
    let prompt = Prompt::of(&request.messages, info)?;
    let (thinking, mut output_config) = thinking(request, info)?;
    if let Some(format) = &request.response_format {
        output_config.insert("format".to_owned(), response_format(format)?);
    }
    let counts = reply == Reply::Count;
    let budget = request.reasoning.and_then(|r| r.budget_tokens).unwrap_or(0);
    let limit = request.max_tokens.or(settings.max_tokens);
    let limit = limit.unwrap_or_else(|| models::default_max_tokens(&info.model, budget));
    if settings.server_tools.iter().any(|tool| !tool.is_object()) {
        return Err(Error::invalid_input("a tool that the vendor runs is not a JSON object"));
    }
    let tools: Vec<Value> =
        request.tools.iter().map(tool).chain(settings.server_tools.iter().cloned()).collect();
    let mut body = Body {
        anthropic_version: match target {
            Target::Api => None,
            Target::Bedrock => Some("bedrock-2023-05-31"),
            Target::Vertex => Some("vertex-2023-10-16"),
        },
        anthropic_beta: if target == Target::Bedrock { betas(request, settings)? } else { Vec::new() },
        // The route for counting on Vertex names no model, so that the body must.
        model: (target == Target::Api || target == Target::Vertex && counts).then_some(&info.model),
        max_tokens: (!counts).then_some(limit),
        system: prompt.system,
        messages: prompt.turns,
        tool_choice: tool_choice(request, &tools)?,
        tools,
        thinking,
        output_config,
        temperature: finite(request.temperature)?.filter(|_| !counts),
        top_p: finite(request.top_p)?.filter(|_| !counts),
        top_k: request.top_k.filter(|_| !counts),
        stop_sequences: if counts { &[] } else { &request.stop },
        stream: (reply == Reply::Stream && target != Target::Bedrock).then_some(true),
        extra: BTreeMap::new(),
    };
    if let Some(cache) = &request.prompt_cache {
        mark(&mut body, cache, &prompt.places)?;
    }
    add_extras(request, &mut body, counts)?;
    Ok(body)
}

fn finite(number: Option<f32>) -> Result<Option<f32>> {
    match number {
        Some(n) if !n.is_finite() => {
            Err(Error::invalid_input("an option of the request is not a finite number"))
        }
        n => Ok(n),
    }
}

fn check_abilities(request: &ChatRequest, info: &ModelInfo) -> Result<()> {
    let can = info.capabilities;
    if !request.tools.is_empty() && !can.tools {
        return no("this model calls no tools");
    }
    if request.response_format.is_some() && !can.json_schema {
        return no("this model has no JSON answers");
    }
    if request.reasoning.is_some() && !can.reasoning {
        return no("this model has no control of its reasoning");
    }
    if request.prompt_cache.is_some() && !can.prompt_cache {
        return no("this model has no control of prompt caching");
    }
    if request.top_k.is_some() && !can.top_k {
        return no("this model takes no top_k");
    }
    if !request.stop.is_empty() && !can.stop {
        return no("this model takes no stop texts");
    }
    if request.logprobs.is_some() {
        return no("the protocol reports no log-probabilities");
    }
    if request.seed.is_some() {
        return no("the protocol takes no seed");
    }
    if request.presence_penalty.is_some() || request.frequency_penalty.is_some() {
        return no("the protocol has no penalties");
    }
    Ok(())
}

/// Extras must not fight with what the request sets.
fn add_extras<'a>(request: &'a ChatRequest, body: &mut Body<'a>, counts: bool) -> Result<()> {
    for (name, value) in &request.extra {
        let taken = match name.as_str() {
            ONE_CALL | BETAS => continue,
            // What has nothing to do with the prompt is unknown to the route that counts.
            "metadata" | "service_tier" | "container" | "inference_geo" if counts => continue,
            "model" | "messages" | "stream" | "max_tokens" => true,
            "system" => !body.system.is_empty(),
            "tools" => !body.tools.is_empty(),
            "tool_choice" => body.tool_choice.is_some(),
            "thinking" => body.thinking.is_some(),
            "output_config" => !body.output_config.is_empty(),
            "temperature" => body.temperature.is_some(),
            "top_p" => body.top_p.is_some(),
            "top_k" => body.top_k.is_some(),
            "stop_sequences" => !body.stop_sequences.is_empty(),
            "anthropic_version" => body.anthropic_version.is_some(),
            "anthropic_beta" => !body.anthropic_beta.is_empty(),
            _ => false,
        };
        if taken {
            return Err(Error::invalid_input("an extra repeats a field that the request sets")
                .with_context("extra", name.clone()));
        }
        body.extra.insert(name, value);
    }
    Ok(())
}

fn tool(spec: &ToolSpec) -> Value {
    let mut schema = match &spec.parameters {
        Value::Object(schema) => schema.clone(),
        _ => Map::new(),
    };
    schema.entry("type").or_insert_with(|| json!("object"));
    let mut tool = json!({"name": spec.name, "input_schema": schema});
    if !spec.description.is_empty() {
        tool["description"] = json!(spec.description);
    }
    tool
}

fn tool_choice(request: &ChatRequest, tools: &[Value]) -> Result<Option<Value>> {
    let own: &[Value] = request.extra.get("tools").and_then(Value::as_array).map_or(&[], Vec::as_slice);
    let any = !tools.is_empty() || !own.is_empty();
    let known = |name: &str| tools.iter().chain(own).any(|t| t["name"] == name);
    let mut choice = match &request.tool_choice {
        None => None,
        // Without tools there is nothing to decide, and the API refuses the field.
        Some(ToolChoice::Auto | ToolChoice::None) if !any => None,
        Some(ToolChoice::Auto) => Some(json!({"type": "auto"})),
        Some(ToolChoice::None) => Some(json!({"type": "none"})),
        Some(ToolChoice::Required) if !any => {
            return Err(Error::invalid_input("a tool call is required, but there are no tools"));
        }
        Some(ToolChoice::Required) => Some(json!({"type": "any"})),
        Some(ToolChoice::Named(name)) if !known(name) => {
            return Err(Error::invalid_input("the tool that must be called is not among the tools")
                .with_context("tool", name.clone()));
        }
        Some(ToolChoice::Named(name)) => Some(json!({"type": "tool", "name": name})),
        Some(_) => return no("this choice of tools is not known to the protocol"),
    };
    if let Some(one) = request.extra.get(ONE_CALL) {
        if !one.is_boolean() || !any || request.tool_choice == Some(ToolChoice::None) {
            return Err(Error::invalid_input(
                "the extra `disable_parallel_tool_use` is true or false, and needs tools that may be called",
            ));
        }
        choice.get_or_insert_with(|| json!({"type": "auto"}))[ONE_CALL] = one.clone();
    }
    Ok(choice)
}

fn thinking(request: &ChatRequest, info: &ModelInfo) -> Result<(Option<Value>, Map<String, Value>)> {
    let mut output = Map::new();
    let Some(reasoning) = request.reasoning else { return Ok((None, output)) };
    let effort = match reasoning.effort {
        Some(Effort::None) => {
            if reasoning.budget_tokens.is_some_and(|n| n > 0) {
                return Err(Error::invalid_input("a budget of reasoning contradicts the effort none"));
            }
            return Ok((Some(json!({"type": "disabled"})), output));
        }
        None => None,
        // The least that there is.
        Some(Effort::Minimal | Effort::Low) => Some("low"),
        Some(Effort::Medium) => Some("medium"),
        Some(Effort::High) => Some("high"),
        Some(_) => return no("this effort is not known to the protocol"),
    };
    if let Some(effort) = effort {
        output.insert("effort".to_owned(), json!(effort));
    }
    let thinking = match (reasoning.budget_tokens, effort) {
        (Some(0), _) => Some(json!({"type": "disabled"})),
        (Some(n), _) => Some(json!({"type": "enabled", "budget_tokens": n})),
        (None, Some(_)) if models::is_adaptive(&info.model) => Some(json!({"type": "adaptive"})),
        (None, Some(_)) => {
            return no("this model thinks by a budget of tokens; ask with `Reasoning::budget`");
        }
        (None, None) => None,
    };
    Ok((thinking, output))
}

fn response_format(format: &ResponseFormat) -> Result<Value> {
    match format {
        ResponseFormat::JsonSchema { schema, .. } => {
            Ok(json!({"type": "json_schema", "schema": schema::adapt(schema)?}))
        }
        _ => no("the protocol has JSON answers by a schema only"),
    }
}

/// The longest that the shorter of the two times lasts.
const SHORT: Duration = Duration::from_secs(300);
/// Marks that the API takes in one request.
const MAX_MARKS: usize = 4;

fn mark(body: &mut Body<'_>, cache: &PromptCache, places: &[Option<Place>]) -> Result<()> {
    if cache.key.is_some() {
        return no("the protocol has no key for its prompt cache");
    }
    let ttl = cache.ttl.map(|ttl| if ttl <= SHORT { "5m" } else { "1h" });
    let control = CacheControl::new(ttl);
    let mut points = cache.points.clone();
    if points.is_empty() {
        if !body.system.is_empty() {
            points.push(CachePoint::System);
        } else if !body.tools.is_empty() {
            points.push(CachePoint::Tools);
        }
        let last = places.iter().rposition(|p| matches!(p, Some(Place::Turn(..))));
        points.extend(last.map(CachePoint::Message));
    }
    let nothing = |what: &'static str| Err(Error::invalid_input(what));
    for point in points {
        match point {
            CachePoint::Tools => match body.tools.last_mut() {
                Some(tool) => tool["cache_control"] = json!(control),
                None => return nothing("the prompt is to be kept after the tools, but there are none"),
            },
            CachePoint::System => match body.system.last_mut() {
                Some(block) => block.cache_control = Some(control),
                None => {
                    return nothing("the prompt is to be kept after the system messages, but there are none");
                }
            },
            CachePoint::Message(n) => match places.get(n) {
                Some(Some(Place::System(n))) => body.system[*n].cache_control = Some(control),
                Some(Some(Place::Turn(turn, block))) => {
                    body.messages[*turn].content[*block].cache_control = Some(control);
                }
                Some(None) => return nothing("the prompt is to be kept after a message that sends nothing"),
                None => return nothing("the prompt is to be kept after a message that is not there"),
            },
            _ => return no("this place of a prompt is not known to the protocol"),
        }
    }
    let tools = body.tools.iter().filter(|t| t.get("cache_control").is_some()).count();
    let blocks = body.system.iter().chain(body.messages.iter().flat_map(|t| &t.content));
    if tools + blocks.filter(|b| b.cache_control.is_some()).count() > MAX_MARKS {
        return Err(Error::invalid_input("the prompt is to be kept at more places than the vendor takes")
            .with_context("limit", MAX_MARKS.to_string()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
