//! What the protocols without a shape of OpenAI's share when they write a request: a body by fields, and small checks.

#![allow(dead_code, reason = "each protocol is a feature and uses its own part of this")]

use katena_core::{
    ChatCapabilities, ChatRequest, Error, ErrorKind, Media, Part, Result, TokenLogprob, ToolChoice, ToolSpec,
};
use serde_json::{Map, Value, json};

pub(crate) fn no<T>(what: &'static str) -> Result<T> {
    Err(Error::unsupported(what))
}

pub(crate) fn misplaced<T>(what: &'static str) -> Result<T> {
    Err(Error::invalid_input(what))
}

/// A body of named fields. Their order is that of their names, so that equal requests are equal bytes.
#[derive(Default)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    pub(crate) fn some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// A list, unless it is empty.
    pub(crate) fn list(&mut self, name: &str, values: Vec<Value>) {
        if !values.is_empty() {
            self.set(name, values);
        }
    }

    /// A number as it was written: 0.7, not the 0.699999988079071 that it is in more bits.
    pub(crate) fn number(&mut self, name: &str, value: Option<f32>) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let wide = value.to_string().parse::<f64>().ok().filter(|n| n.is_finite());
        let Some(wide) = wide else {
            return misplaced("an option of the request is not a finite number");
        };
        self.set(name, wide);
        Ok(())
    }

    /// Adds the vendor's extras, which must not fight with what the request sets.
    pub(crate) fn extras<'a>(
        &mut self,
        extras: impl IntoIterator<Item = (&'a String, &'a Value)>,
    ) -> Result<()> {
        for (name, value) in extras {
            if self.0.contains_key(name) {
                return Err(Error::invalid_input("an extra repeats a field that the request sets")
                    .with_context("extra", name.clone()));
            }
            self.set(name, value.clone());
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// What the capabilities don't name is refused.
pub(crate) fn check_abilities(request: &ChatRequest, can: ChatCapabilities) -> Result<()> {
    if request.messages.is_empty() {
        return misplaced("a chat request needs at least one message");
    }
    let refused = [
        (!request.tools.is_empty() && !can.tools, "this model calls no tools"),
        (request.response_format.is_some() && !can.json_schema, "this model has no JSON answers"),
        (request.logprobs.is_some() && !can.logprobs, "this model reports no log-probabilities"),
        (request.seed.is_some() && !can.seed, "this model takes no seed"),
        (!request.stop.is_empty() && !can.stop, "this model takes no stop texts"),
        (request.top_k.is_some() && !can.top_k, "this model takes no top_k"),
        (request.reasoning.is_some() && !can.reasoning, "this model's reasoning can't be controlled"),
        (request.prompt_cache.is_some() && !can.prompt_cache, "this model's cache can't be controlled"),
    ];
    match refused.iter().find(|(refused, _)| *refused) {
        Some((_, what)) => no(what),
        None => Ok(()),
    }
}

/// Media that the capabilities don't name are refused.
pub(crate) fn check_media(part: &Part, can: ChatCapabilities) -> Result<()> {
    match part {
        Part::Image { .. } if !can.images => no("this model takes no images"),
        Part::Audio { .. } if !can.audio => no("this model takes no audio"),
        Part::Video { .. } if !can.video => no("this model takes no videos"),
        Part::File { .. } if !can.files => no("this model takes no files"),
        _ => Ok(()),
    }
}

/// The one tool that must be called is among the tools; a call that must be made has tools to choose from.
pub(crate) fn check_choice(request: &ChatRequest) -> Result<()> {
    match &request.tool_choice {
        Some(ToolChoice::Required) if request.tools.is_empty() => {
            misplaced("a tool call is required, but there are no tools")
        }
        Some(ToolChoice::Named(name)) if !request.tools.iter().any(|t| t.name == *name) => {
            Err(Error::invalid_input("the tool that must be called is not among the tools")
                .with_context("tool", name.clone()))
        }
        _ => Ok(()),
    }
}

/// A tool as a function with a JSON schema, as OpenAI first wrote it down and many took over.
pub(crate) fn function(spec: &ToolSpec) -> Value {
    let function = json!({
        "name": spec.name,
        "description": spec.description,
        "parameters": parameters(spec),
    });
    json!({"type": "function", "function": function})
}

/// The schema of a tool's arguments; servers refuse an object schema without properties.
pub(crate) fn parameters(spec: &ToolSpec) -> Value {
    let mut parameters = match &spec.parameters {
        Value::Object(schema) => schema.clone(),
        _ => Map::new(),
    };
    parameters.entry("type").or_insert_with(|| json!("object"));
    parameters.entry("properties").or_insert_with(|| json!({}));
    Value::Object(parameters)
}

/// The arguments' text; a call without any has the empty object.
pub(crate) fn arguments(text: &str) -> &str {
    if text.trim().is_empty() { "{}" } else { text }
}

/// The address of media, inline ones as a `data:` URL.
pub(crate) fn address(media: &Media) -> Result<String> {
    match media {
        Media::Base64 { mime, data } => Ok(format!("data:{mime};base64,{data}")),
        Media::Url { url, .. } => Ok(url.clone()),
        _ => no("this kind of media is not known to the protocol"),
    }
}

/// The text of parts that are nothing else; `None` if one is.
pub(crate) fn only_text(parts: &[Part]) -> Option<String> {
    parts.iter().map(|p| if let Part::Text { text } = p { Some(text.as_str()) } else { None }).collect()
}

/// The text at `key`; "" if there is none.
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The text or number at `key`, if it says anything.
pub(crate) fn word(value: &Value, key: &str) -> Option<String> {
    match value.get(key)? {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// The list at `key`; empty if there is none.
pub(crate) fn items<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The count at `key`; some servers count in floating-point numbers.
pub(crate) fn count(value: &Value, key: &str) -> Option<u64> {
    let value = value.get(key)?;
    value.as_u64().or_else(|| value.as_f64().filter(|f| (0.0..=9e15).contains(f)).map(|f| f as u64))
}

/// A token with its rivals, in the shape of OpenAI's, at most so many of them.
pub(crate) fn logprob(entry: &Value, alternatives: usize) -> Option<TokenLogprob> {
    // Rounding can lift the logarithm of a probability of one a little above zero.
    let pair = |l: &Value| {
        Some((l.get("token")?.as_str()?.to_owned(), (l.get("logprob")?.as_f64()? as f32).min(0.0)))
    };
    let (token, logprob) = pair(entry)?;
    let top = items(entry, "top_logprobs").iter().filter_map(pair).take(alternatives).collect();
    Some(TokenLogprob::new(token, logprob, top))
}

/// One JSON text from outside.
pub(crate) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|e| Error::invalid_output("the server sent JSON that can't be understood").with_source(e))
}

/// The error for a stream that ended too early.
pub(crate) fn cut_off() -> Error {
    Error::new(ErrorKind::Unavailable, "the stream ended before the answer was finished")
}

/// The error for a tool call without a name.
pub(crate) fn nameless() -> Error {
    Error::invalid_output("the model called a tool without naming it")
}

/// The value of a variable, without white space around it; an empty one is none.
pub(crate) fn variable(lookup: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}
