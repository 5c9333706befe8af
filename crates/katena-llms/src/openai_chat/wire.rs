//! What the protocol's replies look like, read leniently: unknown fields and words never fail, null is as good as missing.

use std::fmt;

use katena_core::{
    ChatResponse, Error, FinishReason, Message, Part, Result, Role, TokenLogprob, ToolCall, Usage,
};
use katena_http::ErrorDetails;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde_json::Value;

use super::reasoning::Details;
use crate::openai_shared::{count, word};

/// `null` is the default, like a missing field.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// A whole reply or one chunk of a stream.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Reply {
    pub(super) id: Option<Value>,
    pub(super) model: Option<Value>,
    #[serde(deserialize_with = "or_default")]
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Option<WireUsage>,
    pub(super) x_groq: Option<Groq>,
    pub(super) error: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Groq {
    usage: Option<WireUsage>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) index: Option<i64>,
    pub(super) message: Option<Delta>,
    pub(super) delta: Option<Delta>,
    pub(super) finish_reason: Option<String>,
    pub(super) logprobs: Option<Logprobs>,
    pub(super) error: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Delta {
    pub(super) content: Content,
    pub(super) refusal: Option<String>,
    pub(super) reasoning_content: Option<Content>,
    pub(super) reasoning: Option<Content>,
    #[serde(deserialize_with = "or_default")]
    pub(super) reasoning_details: Vec<Value>,
    #[serde(deserialize_with = "or_default")]
    pub(super) tool_calls: Vec<CallDelta>,
    pub(super) function_call: Option<Function>,
}

impl Choice {
    /// The whole message; some servers use the other name.
    fn take_message(&mut self) -> Delta {
        self.message.take().or_else(|| self.delta.take()).unwrap_or_default()
    }

    /// What a chunk adds; some servers repeat beside it the message so far.
    pub(super) fn take_delta(&mut self) -> Delta {
        self.delta.take().or_else(|| self.message.take()).unwrap_or_default()
    }
}

impl Delta {
    /// The reasoning, by whichever of its names the server uses, and that within the content.
    pub(super) fn take_reasoning(&mut self) -> String {
        let named = [self.reasoning_content.take(), self.reasoning.take()];
        let named = named.into_iter().flatten().map(|c| c.text).find(|t| !t.is_empty());
        named.unwrap_or_default() + &std::mem::take(&mut self.content.reasoning)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct CallDelta {
    pub(super) index: Option<i64>,
    pub(super) id: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) function: Function,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    pub(super) arguments: Arguments,
}

impl Function {
    pub(super) fn is_empty(&self) -> bool {
        self.name.as_deref().is_none_or(str::is_empty) && self.arguments.0.is_empty()
    }
}

/// The arguments' JSON text; some servers send the object itself.
#[derive(Default)]
pub(super) struct Arguments(pub(super) String);

impl<'de> Deserialize<'de> for Arguments {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(d)? {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        }))
    }
}

/// Content as text, or as a list of typed parts.
#[derive(Default)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) reasoning: String,
    /// Parts of unknown types.
    pub(super) other: Vec<Value>,
}

impl Content {
    fn add(&mut self, part: Value) {
        let word = |key: &str| part.get(key).and_then(Value::as_str);
        match (word("type"), &part) {
            (_, Value::String(text)) => self.text.push_str(text),
            (_, Value::Null) => {}
            (Some("thinking" | "reasoning"), _) => match part.get("thinking").or_else(|| part.get("text")) {
                Some(Value::String(text)) => self.reasoning.push_str(text),
                Some(Value::Array(list)) => {
                    list.iter()
                        .filter_map(|p| p.get("text")?.as_str())
                        .for_each(|text| self.reasoning.push_str(text));
                }
                _ => {}
            },
            (Some("text" | "output_text") | None, _) if word("text").is_some() => {
                self.text.push_str(word("text").unwrap_or_default());
            }
            _ => self.other.push(part),
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of parts")
            }
            fn visit_str<E>(self, text: &str) -> Result<Content, E> {
                Ok(Content { text: text.to_owned(), ..Content::default() })
            }
            fn visit_string<E>(self, text: String) -> Result<Content, E> {
                Ok(Content { text, ..Content::default() })
            }
            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                while let Some(part) = list.next_element::<Value>()? {
                    content.add(part);
                }
                Ok(content)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Content, A::Error> {
                let mut content = Content::default();
                content.add(Value::deserialize(MapAccessDeserializer::new(map))?);
                Ok(content)
            }
        }
        d.deserialize_any(V)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Logprobs {
    #[serde(deserialize_with = "or_default")]
    content: Vec<WireLogprob>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireLogprob {
    token: Option<String>,
    logprob: Option<f32>,
    #[serde(deserialize_with = "or_default")]
    top_logprobs: Vec<WireLogprob>,
}

impl Logprobs {
    /// The tokens, with at most `alternatives` rivals each.
    pub(super) fn tokens(self, alternatives: usize) -> impl Iterator<Item = TokenLogprob> {
        // Rounding can lift the logarithm of a probability of one a little above zero.
        let pair = |l: WireLogprob| Some((l.token?, l.logprob?.min(0.0)));
        self.content.into_iter().filter_map(move |mut l| {
            let top =
                std::mem::take(&mut l.top_logprobs).into_iter().filter_map(pair).take(alternatives).collect();
            pair(l).map(|(token, logprob)| TokenLogprob::new(token, logprob, top))
        })
    }
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct WireUsage {
    prompt_tokens: Option<Value>,
    completion_tokens: Option<Value>,
    prompt_tokens_details: Option<Value>,
    completion_tokens_details: Option<Value>,
    /// DeepSeek's name.
    prompt_cache_hit_tokens: Option<Value>,
    /// Mistral's name.
    num_cached_tokens: Option<Value>,
    /// Names of servers that pass Anthropic's on.
    cache_read_input_tokens: Option<Value>,
    cache_creation_input_tokens: Option<Value>,
    /// Copilot's name.
    reasoning_tokens: Option<Value>,
}

impl WireUsage {
    fn usage(&self) -> Usage {
        let detail = |details: &Option<Value>, key: &str| count(details.as_ref()?.get(key));
        let own = |field: &Option<Value>| count(field.as_ref());
        let mut usage = Usage::default();
        usage.input_tokens = own(&self.prompt_tokens);
        usage.output_tokens = own(&self.completion_tokens);
        usage.cached_tokens = detail(&self.prompt_tokens_details, "cached_tokens")
            .or_else(|| own(&self.prompt_cache_hit_tokens))
            .or_else(|| own(&self.num_cached_tokens))
            .or_else(|| own(&self.cache_read_input_tokens));
        usage.cache_write_tokens = detail(&self.prompt_tokens_details, "cache_write_tokens")
            .or_else(|| own(&self.cache_creation_input_tokens));
        usage.reasoning_tokens = detail(&self.completion_tokens_details, "reasoning_tokens")
            .or_else(|| own(&self.reasoning_tokens));
        usage
    }
}

impl Reply {
    /// The counts, if this reply or chunk has any.
    pub(super) fn take_usage(&mut self) -> Option<Usage> {
        let usage = self.usage.take().or_else(|| self.x_groq.take()?.usage)?.usage();
        (usage != Usage::default()).then_some(usage)
    }

    /// The error that the reply or its first choice holds; null is none.
    pub(super) fn take_error(&mut self) -> Option<Error> {
        let error = self.error.take().or_else(|| self.choices.iter_mut().find_map(|c| c.error.take()));
        error.filter(|e| !e.is_null()).map(|e| error_of(serde_json::json!({ "error": e })))
    }
}

/// The error that `value` tells of, which came with a status of success.
pub(super) fn error_of(value: Value) -> Error {
    ErrorDetails::from_value(&value).unwrap_or_default().into_error(None)
}

/// The finish reason; a reply that names none was ended by its server, which is a stop.
pub(super) fn finish_reason(word: Option<&str>, calls: bool) -> FinishReason {
    match word {
        None | Some("") if calls => FinishReason::ToolCalls,
        None | Some("" | "stop") => FinishReason::Stop,
        Some("length") => FinishReason::Length,
        Some("tool_calls") => FinishReason::ToolCalls,
        Some("content_filter") => FinishReason::ContentFilter,
        Some(other) => FinishReason::Other(other.to_owned()),
    }
}

/// An id for a call that came without one.
pub(super) fn made_up_id(reply: Option<&str>, n: usize) -> String {
    format!("call_{}_{n}", reply.unwrap_or("0"))
}

/// Reads a whole reply of the protocol.
///
/// ```
/// let raw = serde_json::json!({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]});
/// let response = katena_llms::openai_chat::decode_response(raw, "openai")?;
/// assert_eq!(response.text(), "Hi");
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// The error that the reply holds, or `InvalidOutput` if it is no reply of this protocol.
pub fn decode_response(raw: Value, vendor: &str) -> Result<ChatResponse> {
    let mut reply = Reply::deserialize(&raw)
        .map_err(|e| Error::invalid_output("the server's reply is no chat completion").with_source(e))?;
    if let Some(error) = reply.take_error() {
        return Err(error);
    }
    let usage = reply.take_usage().unwrap_or_default();
    let (id, model) = (word(reply.id.as_ref()), word(reply.model.as_ref()));
    let Some(mut choice) = reply.choices.into_iter().min_by_key(|c| c.index.unwrap_or(0)) else {
        return Err(match ErrorDetails::from_value(&raw) {
            Some(details) => details.into_error(None),
            None => Error::invalid_output("the server's reply has no choices"),
        });
    };
    let mut parts = Vec::new();
    let mut message = choice.take_message();
    let mut text = message.take_reasoning();
    let mut details = Details::default();
    details.add(message.reasoning_details)?;
    if text.is_empty() {
        text = details.text();
    }
    let signature = details.signature(vendor);
    if !text.is_empty() || signature.is_some() {
        parts.push(Part::Reasoning { text, signature });
    }
    let content = message.content;
    if !content.text.is_empty() {
        parts.push(Part::text(content.text));
    }
    parts.extend(content.other.into_iter().map(|value| Part::Opaque { vendor: vendor.to_owned(), value }));
    if let Some(text) = message.refusal.filter(|t| !t.is_empty()) {
        parts.push(Part::Refusal { text });
    }
    // Some servers send an empty one beside every answer.
    let old_form = message.function_call.filter(|f| !f.is_empty());
    let old_form = old_form.map(|function| CallDelta { function, ..CallDelta::default() });
    let calls = message.tool_calls.into_iter().chain(old_form);
    for (n, call) in calls.enumerate() {
        let name = call.function.name.filter(|n| !n.is_empty()).ok_or_else(nameless)?;
        let call_id = call.id.filter(|i| !i.is_empty()).unwrap_or_else(|| made_up_id(id.as_deref(), n));
        parts.push(Part::ToolCall(ToolCall::new(call_id, name, call.function.arguments.0)));
    }
    let message = Message::new(Role::Assistant, parts);
    let finish = finish_reason(choice.finish_reason.as_deref(), message.tool_calls().next().is_some());
    let mut response = ChatResponse::new(message, finish).with_usage(usage).with_raw(raw);
    response.finish_raw = choice.finish_reason.filter(|r| !r.is_empty());
    response.id = id;
    response.model = model;
    response.logprobs = choice.logprobs.map(|l| l.tokens(usize::MAX).collect());
    Ok(response)
}

pub(super) fn nameless() -> Error {
    Error::invalid_output("the model called a tool without naming it")
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
