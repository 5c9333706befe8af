//! Typed answers from any model: by its own schema mode, else by a tool that it must call, else by asking and repairing.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::model::{IntoRequest, Reply, parse_json};
use crate::chat::{ChatModel, ChatRequest, ResponseFormat, ToolChoice};
use crate::error::{Error, ErrorKind, Result};
use crate::info::ChatCapabilities;
use crate::message::{Message, Part, Role, ToolResult};
use crate::response::{ChatResponse, FinishReason};
use crate::run::Run;
use crate::tool::ToolSpec;

/// How often a reply that does not fit is sent back with the reason.
const REPAIRS: usize = 2;
/// The property that holds a value which is no object.
const VALUE: &str = "value";

/// Asks `model` for a `T` and gives it.
///
/// The schema of `T` goes out the way that the model's [capabilities](ChatCapabilities) allow: as its native answer format;
/// else as a tool that it must call; else in words. A reply that does not fit is sent back with the reason, twice at most.
/// A `T` that is no object, such as a list, is asked for as `{"value": …}`, since vendors' schema modes take objects only.
///
/// # Errors
/// `Refused` with the model's words, `InvalidOutput` if no reply fits, and those of the model.
///
/// ```
/// use katena_core::fake::ScriptedChat;
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct City { name: String, people: u64 }
/// # futures_util::future::FutureExt::now_or_never(async {
/// let model = ScriptedChat::texts([r#"{"name": "Delft", "people": 109000}"#]);
/// let city: City = katena_core::extract(&model, "Where is TU Delft?").await?;
/// assert_eq!(city.name, "Delft");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
pub async fn extract<T>(model: &dyn ChatModel, request: impl IntoRequest) -> Result<T>
where
    T: JsonSchema + DeserializeOwned,
{
    let request = request.into_request();
    let run = Run::new().with_context(request.context.clone());
    extract_in(&run, model, request).await
}

/// [`extract`] within a run: its labels, deadline, cancel signal and listener. Use [`Run::quiet`] where the value is not
/// the answer.
///
/// # Errors
/// As [`extract`].
pub async fn extract_in<T>(run: &Run, model: &dyn ChatModel, request: impl IntoRequest) -> Result<T>
where
    T: JsonSchema + DeserializeOwned,
{
    ask(model, request.into_request(), &ResponseFormat::of::<T>(), run).await
}

/// How the schema goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Native,
    Tool,
    Words,
}

impl Way {
    fn of(can: ChatCapabilities, request: &ChatRequest) -> Self {
        match can {
            ChatCapabilities { json_schema: true, .. } => Self::Native,
            // A forced tool would hide the caller's own tools.
            ChatCapabilities { tools: true, .. } if request.tools.is_empty() => Self::Tool,
            _ => Self::Words,
        }
    }
}

pub(super) async fn ask<T: DeserializeOwned>(
    model: &dyn ChatModel,
    mut request: ChatRequest,
    format: &ResponseFormat,
    run: &Run,
) -> Result<T> {
    let own_format = request.response_format.is_some();
    let (name, schema) = match request.response_format.take().unwrap_or_else(|| format.clone()) {
        ResponseFormat::JsonSchema { name, schema } => (name, schema),
        ResponseFormat::JsonObject => (String::new(), Value::Null),
        ResponseFormat::Regex { .. } | ResponseFormat::Grammar { .. } => {
            return Err(Error::unsupported(
                "a typed answer is JSON, not text of a regular expression or grammar",
            ));
        }
    };
    let way = Way::of(model.info().capabilities, &request);
    let wrapped = !own_format && schema["type"] != "object";
    let schema = if wrapped { wrap(schema) } else { schema };
    let tool = tool_name(&name);
    match way {
        _ if schema.is_null() => request.response_format = Some(ResponseFormat::JsonObject),
        Way::Native => request.response_format = Some(ResponseFormat::JsonSchema { name, schema }),
        Way::Tool => {
            request.tools.push(ToolSpec::new(
                &tool,
                "Takes the answer. Call it with the whole answer.",
                schema,
            ));
            request.tool_choice = Some(ToolChoice::Named(tool.clone()));
        }
        Way::Words => say(&mut request, &schema),
    }
    let mut repairs = 0;
    loop {
        let response = run.chat(model, request.clone()).await?;
        response.check()?;
        let error = match read(&response, way, &tool, wrapped) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // More words don't help an answer that was cut off, and tools that the caller offered are the caller's to answer.
        let helpless = matches!(response.finish, FinishReason::Length | FinishReason::ContentFilter)
            || way != Way::Tool && response.tool_calls().next().is_some();
        if helpless || repairs == REPAIRS {
            return Err(error.with_context("finish", finish_word(&response)));
        }
        repairs += 1;
        repair(&mut request, response, &error);
    }
}

fn finish_word(response: &ChatResponse) -> String {
    match &response.finish {
        FinishReason::Other(word) => word.clone(),
        known => format!("{known:?}"),
    }
}

/// An object around a schema that is none. Definitions stay at the root, where references point to.
fn wrap(mut schema: Value) -> Value {
    let definitions = schema.as_object_mut().and_then(|s| {
        s.remove("$schema");
        s.remove("$defs")
    });
    let mut outer = json!({
        "type": "object", "properties": {VALUE: schema}, "required": [VALUE], "additionalProperties": false,
    });
    if let Some(definitions) = definitions {
        outer["$defs"] = definitions;
    }
    outer
}

fn tool_name(name: &str) -> String {
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
        .take(64)
        .collect();
    if clean.is_empty() { "answer".to_owned() } else { clean }
}

fn say(request: &mut ChatRequest, schema: &Value) {
    let words = format!(
        "\n\nAnswer with one JSON value that fits this JSON Schema, and with nothing else:\n{schema}\n"
    );
    match request.messages.iter_mut().rev().find(|m| m.role == Role::User) {
        Some(message) => message.parts.push(Part::text(words)),
        None => request.messages.push(Message::user(words)),
    }
}

fn read<T: DeserializeOwned>(response: &ChatResponse, way: Way, tool: &str, wrapped: bool) -> Result<T> {
    let call = response.tool_calls().find(|c| way == Way::Tool && c.name == tool);
    let value: Value = match call {
        Some(call) => call.parse()?,
        None => parse_json(&response.text())?,
    };
    let value = match value {
        Value::Object(mut object) if wrapped && object.len() == 1 && object.contains_key(VALUE) => {
            object.remove(VALUE).unwrap_or_default()
        }
        value => value,
    };
    serde_json::from_value(value).map_err(|e| {
        Error::new(ErrorKind::InvalidOutput, "the model's reply is not the JSON that was asked for")
            .with_source(e)
    })
}

fn repair(request: &mut ChatRequest, response: ChatResponse, error: &Error) {
    let mut reason = error.message().to_owned();
    if let Some(source) = std::error::Error::source(error) {
        reason = format!("{reason}: {source}");
    }
    let words = format!("That does not fit: {reason}. Answer again, with the corrected JSON alone.");
    let calls: Vec<_> = response.tool_calls().cloned().collect();
    request.messages.push(response.message);
    if calls.is_empty() {
        request.messages.push(Message::user(words));
    } else {
        let results = calls.iter().map(|c| Part::ToolResult(ToolResult::text(c, &*words).with_error()));
        request.messages.push(Message::new(Role::Tool, results.collect()));
    }
}
