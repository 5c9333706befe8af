//! From a chat request to the protocol's body.

use katena_core::{
    ChatRequest, Effort, Error, ModelInfo, Part, PromptCache, Reasoning, ResponseFormat, Result, Role,
    ToolChoice, ToolSpec,
};
use serde_json::{Map, Value, json};

use super::contents::contents;
use super::schema;
use super::{EffortForm, SchemaForm, ToolMedia};

/// How the body is written where models differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) schema: SchemaForm,
    pub(super) effort: EffortForm,
    pub(super) tool_media: ToolMedia,
}

pub(super) fn no<T>(what: &'static str) -> Result<T> {
    Err(Error::unsupported(what))
}

/// Makes the body, or says what can't be expressed.
pub(super) fn body(request: &ChatRequest, info: &ModelInfo, style: Style) -> Result<Map<String, Value>> {
    check_abilities(request, info)?;
    let mut body = Map::new();
    body.insert("contents".to_owned(), Value::Array(contents(&request.messages, info, style.tool_media)?));
    if let Some(system) = system(request)? {
        body.insert("systemInstruction".to_owned(), system);
    }
    let (tools, config) = tools(request, style.schema)?;
    if !tools.is_empty() {
        body.insert("tools".to_owned(), Value::Array(tools));
    }
    if let Some(config) = config {
        body.insert("toolConfig".to_owned(), config);
    }
    if let Some(name) = cached_content(request.prompt_cache.as_ref())? {
        body.insert("cachedContent".to_owned(), json!(name));
    }
    let generation = generation(request, style)?;
    if !generation.is_empty() {
        body.insert("generationConfig".to_owned(), Value::Object(generation));
    }
    for (name, value) in &request.extra {
        merge(&mut body, name, value)?;
    }
    Ok(body)
}

fn check_abilities(request: &ChatRequest, info: &ModelInfo) -> Result<()> {
    let can = info.capabilities;
    if !request.tools.is_empty() && !can.tools {
        return no("this model calls no tools");
    }
    if request.response_format.is_some() && !can.json_schema {
        return no("this model has no JSON answers");
    }
    if request.logprobs.is_some() && !can.logprobs {
        return no("this model reports no log-probabilities");
    }
    if request.seed.is_some() && !can.seed {
        return no("this model takes no seed");
    }
    if !request.stop.is_empty() && !can.stop {
        return no("this model takes no stop texts");
    }
    if request.top_k.is_some() && !can.top_k {
        return no("this model has no top_k");
    }
    if request.reasoning.is_some() && !can.reasoning {
        return no("this model's reasoning can't be controlled");
    }
    if request.prompt_cache.is_some() && !can.prompt_cache {
        return no("this model's prompt cache can't be controlled");
    }
    Ok(())
}

fn system(request: &ChatRequest) -> Result<Option<Value>> {
    let mut texts = Vec::new();
    for message in request.messages.iter().take_while(|m| m.role == Role::System) {
        for part in &message.parts {
            match part {
                Part::Text { text } => texts.push(json!({"text": text})),
                _ => return no("the protocol takes only text as a system message"),
            }
        }
    }
    Ok((!texts.is_empty()).then(|| json!({"parts": texts})))
}

fn tools(request: &ChatRequest, form: SchemaForm) -> Result<(Vec<Value>, Option<Value>)> {
    let known = |name: &str| request.tools.iter().any(|t| t.name == name);
    let mode = match &request.tool_choice {
        None => None,
        // Without tools there is nothing to decide.
        Some(ToolChoice::Auto | ToolChoice::None) if request.tools.is_empty() => None,
        Some(ToolChoice::Auto) => Some(json!({"mode": "AUTO"})),
        Some(ToolChoice::None) => Some(json!({"mode": "NONE"})),
        Some(ToolChoice::Required) if request.tools.is_empty() => {
            return Err(Error::invalid_input("a tool call is required, but there are no tools"));
        }
        Some(ToolChoice::Required) => Some(json!({"mode": "ANY"})),
        Some(ToolChoice::Named(name)) if !known(name) => {
            return Err(Error::invalid_input("the tool that must be called is not among the tools")
                .with_context("tool", name.clone()));
        }
        Some(ToolChoice::Named(name)) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
        Some(_) => return no("this choice of tools is not known to the protocol"),
    };
    let functions: Vec<Value> = request.tools.iter().map(|t| function(t, form)).collect::<Result<_>>()?;
    let tools =
        if functions.is_empty() { Vec::new() } else { vec![json!({"functionDeclarations": functions})] };
    Ok((tools, mode.map(|mode| json!({"functionCallingConfig": mode}))))
}

fn function(spec: &ToolSpec, form: SchemaForm) -> Result<Value> {
    let mut function = Map::new();
    function.insert("name".to_owned(), json!(spec.name));
    function.insert("description".to_owned(), json!(spec.description));
    let has = |key: &str| spec.parameters.get(key).is_some_and(|v| *v != false);
    let takes_nothing =
        spec.parameters.get("properties").and_then(Value::as_object).is_none_or(Map::is_empty)
            && !["anyOf", "oneOf", "allOf", "$ref", "additionalProperties", "patternProperties"]
                .into_iter()
                .any(has);
    // An object without properties is refused by older models; without a schema the function takes nothing.
    if !takes_nothing {
        let (name, mut schema) =
            written(&spec.parameters, form).map_err(|e| e.with_context("tool", spec.name.clone()))?;
        let name = if name == "responseSchema" { "parameters" } else { "parametersJsonSchema" };
        if let (true, Some(schema)) = (schema.get("properties").is_some(), schema.as_object_mut()) {
            schema.entry("type").or_insert_with(|| json!("object"));
        }
        function.insert(name.to_owned(), schema);
    }
    Ok(Value::Object(function))
}

fn written(schema: &Value, form: SchemaForm) -> Result<(&'static str, Value)> {
    Ok(match form {
        SchemaForm::JsonSchema => ("responseJsonSchema", schema::json_schema(schema)?),
        SchemaForm::OpenApi => ("responseSchema", schema::open_api(schema)?),
    })
}

/// The name of a stored prompt is the key; the vendor keeps other prompts by itself and takes no marks.
fn cached_content(cache: Option<&PromptCache>) -> Result<Option<&str>> {
    let Some(cache) = cache else { return Ok(None) };
    if !cache.points.is_empty() {
        return no(
            "the protocol takes no marks in the prompt: it caches by itself, or a stored prompt by name",
        );
    }
    if cache.ttl.is_some() {
        return no("a request can't say how long a prompt is kept");
    }
    Ok(cache.key.as_deref())
}

fn generation(request: &ChatRequest, style: Style) -> Result<Map<String, Value>> {
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    set("temperature", number(request.temperature)?);
    set("topP", number(request.top_p)?);
    set("topK", request.top_k.map(Value::from));
    set("maxOutputTokens", request.max_tokens.map(Value::from));
    set("stopSequences", (!request.stop.is_empty()).then(|| json!(request.stop)));
    if request.seed.is_some_and(|seed| i32::try_from(seed).is_err()) {
        return no("the protocol takes seeds up to 2147483647");
    }
    set("seed", request.seed.map(Value::from));
    set("presencePenalty", number(request.presence_penalty)?);
    set("frequencyPenalty", number(request.frequency_penalty)?);
    set("responseLogprobs", request.logprobs.map(|_| Value::from(true)));
    set("logprobs", request.logprobs.filter(|n| *n > 0).map(Value::from));
    if let Some(format) = &request.response_format {
        set("responseMimeType", Some(json!("application/json")));
        match format {
            ResponseFormat::JsonObject => {}
            ResponseFormat::JsonSchema { schema, .. } => {
                let (name, schema) = written(schema, style.schema)?;
                set(name, Some(schema));
            }
            _ => return no("this form of the answer is not known to the protocol"),
        }
    }
    set("thinkingConfig", request.reasoning.as_ref().map(|r| thinking(r, style.effort)).transpose()?);
    Ok(config)
}

/// A number as it is written by people: 0.2, not the next number of 64 bits.
fn number(number: Option<f32>) -> Result<Option<Value>> {
    match number {
        Some(n) if !n.is_finite() => {
            Err(Error::invalid_input("an option of the request is not a finite number"))
        }
        Some(n) => Ok(Some(json!(n.to_string().parse::<f64>().unwrap_or(f64::from(n))))),
        None => Ok(None),
    }
}

fn thinking(reasoning: &Reasoning, form: EffortForm) -> Result<Value> {
    let budget = |tokens: u32| Ok(json!({"thinkingBudget": tokens, "includeThoughts": tokens > 0}));
    let level = |word: &str| Ok(json!({"thinkingLevel": word, "includeThoughts": true}));
    match (reasoning.effort, reasoning.budget_tokens) {
        (Some(_), Some(_)) => no("the protocol takes an effort of reasoning or a number of tokens, not both"),
        (None, None) => Ok(json!({"includeThoughts": true})),
        (None, Some(tokens)) => budget(tokens),
        (Some(Effort::None), None) => budget(0),
        (Some(effort), None) if form == EffortForm::Level => level(effort.as_str()),
        // What the vendor's own OpenAI-compatible route makes of these words.
        (Some(Effort::Minimal | Effort::Low), None) => budget(1024),
        (Some(Effort::Medium), None) => budget(8192),
        (Some(Effort::High), None) => budget(24_576),
        (Some(_), None) => no("this effort of reasoning is not known to the protocol"),
    }
}

/// Merges an extra into the body. Objects are merged field by field, tools are added to the tools; whatever the
/// request has set already is in the way.
fn merge(body: &mut Map<String, Value>, name: &str, value: &Value) -> Result<()> {
    let name = camel(name);
    let taken = |field: &str| {
        Err(Error::invalid_input("an extra repeats a field that the request sets")
            .with_context("extra", field.to_owned()))
    };
    if name == "model" || name == "contents" {
        return taken(&name);
    }
    match (body.get_mut(&name), value) {
        (None, Value::Object(fields)) => {
            let fields = fields.iter().map(|(k, v)| (camel(k), v.clone())).collect();
            body.insert(name.clone(), Value::Object(fields));
        }
        (None, value) => {
            body.insert(name.clone(), value.clone());
        }
        (Some(Value::Object(set)), Value::Object(fields)) if name != "systemInstruction" => {
            for (key, value) in fields {
                let key = camel(key);
                if set.contains_key(&key) {
                    return taken(&format!("{name}.{key}"));
                }
                set.insert(key, value.clone());
            }
        }
        (Some(Value::Array(set)), Value::Array(more)) if name == "tools" => {
            let functions = |t: &Value| {
                ["functionDeclarations", "function_declarations"].iter().any(|k| t.get(k).is_some())
            };
            if more.iter().any(functions) {
                return taken("tools.functionDeclarations");
            }
            set.extend(more.iter().cloned());
        }
        _ => return taken(&name),
    }
    let candidates =
        body.get("generationConfig").and_then(|c| c.get("candidateCount")).and_then(Value::as_u64);
    if candidates.is_some_and(|n| n > 1) {
        return no("only one candidate is read, so more than one can't be asked for");
    }
    Ok(())
}

/// The protocol takes field names in both forms; this one is sent.
fn camel(name: &str) -> String {
    let mut upper = false;
    name.chars()
        .filter_map(|c| match c {
            '_' => {
                upper = true;
                None
            }
            c if std::mem::take(&mut upper) => Some(c.to_ascii_uppercase()),
            c => Some(c),
        })
        .collect()
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
