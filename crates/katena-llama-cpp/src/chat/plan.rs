//! A request's options, checked.

use katena_core::{ChatRequest, Error, Part, ResponseFormat, Result, ToolChoice};

use super::calls::{ForcedCall, Format};
use crate::sample::{Extras, Form, Sampling, check_size};
use katena_gguf::Header;

/// Most stop texts of a request, and the longest, in bytes.
const MAX_STOPS: usize = 64;
const MAX_STOP_BYTES: usize = 4096;
/// Most alternatives reported for a token.
const MAX_ALTERNATIVES: u32 = 1000;

/// What the file recommends, or else llama.cpp's usual values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Defaults {
    pub(crate) temperature: f32,
    pub(crate) top_k: u32,
    pub(crate) top_p: f32,
    pub(crate) min_p: f32,
}

impl Defaults {
    /// The file's `general.sampling.*` values where it has them.
    pub(crate) fn of(header: &Header) -> Self {
        let float = |key: &str, least: f32, most: f32, usual: f32| {
            header
                .float(&format!("general.sampling.{key}"))
                .map(|v| v as f32)
                .filter(|v| v.is_finite() && (least..=most).contains(v))
                .unwrap_or(usual)
        };
        let top_k = header.number("general.sampling.top_k").and_then(|k| u32::try_from(k).ok());
        Self {
            temperature: float("temp", 0.0, 10.0, 0.8),
            top_k: top_k.filter(|k| *k > 0).unwrap_or(40),
            top_p: float("top_p", 0.01, 1.0, 0.95),
            min_p: float("min_p", 0.0, 1.0, 0.05),
        }
    }
}

/// What the model may or must call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Calling {
    /// No tools in play.
    Off,
    /// The model decides.
    Free,
    /// The answer must be such a call.
    Forced(ForcedCall),
}

/// A checked request.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) max_tokens: Option<usize>,
    pub(crate) alternatives: Option<usize>,
    pub(crate) calling: Calling,
    /// What the answer is held to.
    pub(crate) form: Option<Form>,
    /// Calls already in the conversation.
    pub(crate) past_calls: usize,
}

fn invalid(what: &'static str, value: impl ToString) -> Error {
    Error::invalid_input("an option of the request is out of range")
        .with_context("option", what)
        .with_context("value", value.to_string())
}

fn within(what: &'static str, value: Option<f32>, least: f32, most: f32) -> Result<Option<f32>> {
    match value {
        Some(v) if !v.is_finite() || v < least || v > most => Err(invalid(what, v)),
        v => Ok(v),
    }
}

/// Checks everything about `request` that needs no model. `format`: how the model writes tool calls, if that is known.
///
/// # Errors
/// `InvalidInput` for values out of range, `Unsupported` for what this model can't do.
pub(crate) fn plan(
    request: &ChatRequest,
    defaults: &Defaults,
    format: Option<&'static Format>,
) -> Result<Plan> {
    if request.messages.is_empty() {
        return Err(Error::invalid_input("the request has no messages"));
    }
    let past_calls = check_parts(request, format.is_some())?;
    // Before anything recursive looks at them.
    request.tools.iter().try_for_each(|tool| check_size(&tool.parameters))?;
    let calling = calling(request, format)?;
    let form = form(request, &calling)?;
    let extras = Extras::of(request)?;

    let temperature = within("temperature", request.temperature, 0.0, 100.0)?.unwrap_or(defaults.temperature);
    let top_p = within("top_p", request.top_p, 0.0, 1.0)?;
    if top_p == Some(0.0) {
        return Err(invalid("top_p", 0));
    }
    if request.top_k == Some(0) {
        return Err(invalid("top_k", 0));
    }
    if request.max_tokens == Some(0) {
        return Err(invalid("max_tokens", 0));
    }
    if request.logprobs.is_some_and(|n| n > MAX_ALTERNATIVES) {
        return Err(invalid("logprobs", request.logprobs.unwrap_or_default()));
    }
    if request.stop.len() > MAX_STOPS {
        return Err(invalid("stop", format!("{} texts", request.stop.len())));
    }
    if let Some(stop) = request.stop.iter().find(|s| s.is_empty() || s.len() > MAX_STOP_BYTES) {
        return Err(invalid("stop", format!("a text of {} bytes", stop.len())));
    }
    // The file's cut-offs go with the file's temperature; a caller who chose one option gets only what was chosen.
    let cuts = [top_p, extras.min_p, extras.typical_p, extras.top_n_sigma];
    let cut = request.top_k.is_some() || cuts.iter().any(Option::is_some);
    if extras.mirostat.is_some() && (cut || extras.xtc.is_some() || temperature == 0.0) {
        return Err(Error::invalid_input(
            "mirostat does the work of cut-offs and needs a temperature: set it without top_k, top_p and their like",
        )
        .with_context("option", "mirostat"));
    }
    if extras.dynamic.is_some() && temperature == 0.0 {
        return Err(invalid("dynatemp_range", "without a temperature"));
    }
    let chosen = cut || extras.mirostat.is_some();
    let usual = |value| if chosen { None } else { Some(value) };
    let sampling = Sampling {
        temperature,
        top_k: request.top_k.or(if chosen { None } else { Some(defaults.top_k) }),
        top_p: top_p.or(usual(defaults.top_p)),
        min_p: extras.min_p.or(usual(defaults.min_p)),
        typical_p: extras.typical_p,
        top_n_sigma: extras.top_n_sigma,
        xtc: extras.xtc,
        dry: extras.dry,
        mirostat: extras.mirostat,
        dynamic: extras.dynamic,
        presence: within("presence_penalty", request.presence_penalty, -2.0, 2.0)?.unwrap_or(0.0),
        frequency: within("frequency_penalty", request.frequency_penalty, -2.0, 2.0)?.unwrap_or(0.0),
        repeat: extras.repeat.unwrap_or(1.0),
        repeat_last: extras.repeat_last,
        bias: extras.bias,
        seed: request.seed.map_or_else(random_seed, fold_seed),
    };
    Ok(Plan {
        sampling,
        stop: request.stop.clone(),
        max_tokens: request.max_tokens.map(|n| n as usize),
        alternatives: request.logprobs.map(|n| n as usize),
        calling,
        form,
        past_calls,
    })
}

/// Refuses parts that a text model can't read; counts the tool calls.
fn check_parts(request: &ChatRequest, tools: bool) -> Result<usize> {
    let no = |what: &'static str| {
        Err(Error::unsupported("a part of a message can't be read by this model").with_context("part", what))
    };
    let mut calls = 0;
    for part in request.messages.iter().flat_map(|m| &m.parts) {
        match part {
            Part::Text { .. } | Part::Reasoning { .. } | Part::Refusal { .. } => {}
            Part::ToolCall(_) if tools => calls += 1,
            Part::ToolResult(result) if tools => {
                if result.parts.iter().any(|p| !matches!(p, Part::Text { .. })) {
                    return no("media in a tool result");
                }
            }
            Part::ToolCall(_) => return no("tool call"),
            Part::ToolResult(_) => return no("tool result"),
            Part::Image { .. } => return no("image"),
            Part::Audio { .. } => return no("audio"),
            Part::Video { .. } => return no("video"),
            Part::File { .. } => return no("file"),
            _ => return no("opaque"),
        }
    }
    Ok(calls)
}

fn calling(request: &ChatRequest, format: Option<&'static Format>) -> Result<Calling> {
    let choice = request.tool_choice.clone().unwrap_or_default();
    let forced = matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
    if request.tools.is_empty() {
        return if forced {
            Err(Error::invalid_input("a tool must be called, but there is none"))
        } else {
            Ok(Calling::Off)
        };
    }
    let format = format.ok_or_else(|| {
        Error::unsupported("the model's chat template has no call format that is known here")
    })?;
    match choice {
        ToolChoice::None => Ok(Calling::Off),
        ToolChoice::Auto => Ok(Calling::Free),
        ToolChoice::Required => {
            Ok(Calling::Forced(format.forced(&request.tools.iter().collect::<Vec<_>>())?))
        }
        ToolChoice::Named(wanted) => {
            let named = request.tools.iter().find(|tool| tool.name == wanted).ok_or_else(|| {
                Error::invalid_input("the tool that must be called is not among the tools")
                    .with_context("tool", wanted)
            })?;
            Ok(Calling::Forced(format.forced(&[named])?))
        }
        _ => Err(Error::unsupported("this tool choice is unknown here")),
    }
}

/// What the answer is held to.
fn form(request: &ChatRequest, calling: &Calling) -> Result<Option<Form>> {
    let Some(format) = &request.response_format else {
        return Ok(match calling {
            Calling::Forced(call) => Some(Form::OneOf(call.alternatives.clone())),
            Calling::Off | Calling::Free => None,
        });
    };
    if *calling != Calling::Off {
        return Err(Error::unsupported(
            "local models can't be held to a response format and call tools as well",
        ));
    }
    Ok(Some(match format {
        ResponseFormat::JsonObject => Form::object(),
        ResponseFormat::JsonSchema { schema, .. } => Form::schema(schema)?,
        ResponseFormat::Regex { pattern } => Form::Regex(pattern.clone()),
        ResponseFormat::Grammar { grammar } => Form::Lark(grammar.clone()),
        _ => return Err(Error::unsupported("this response format is unknown here")),
    }))
}

/// llama.cpp's seeds have 32 bits, and all ones means "random".
fn fold_seed(seed: u64) -> u32 {
    match (seed ^ (seed >> 32)) as u32 {
        u32::MAX => 0,
        folded => folded,
    }
}

fn random_seed() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    fold_seed(std::collections::hash_map::RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::{ErrorKind, Media, Message, Role, ToolResult, ToolSpec};

    const DEFAULTS: Defaults = Defaults { temperature: 0.8, top_k: 40, top_p: 0.95, min_p: 0.05 };

    fn ask() -> ChatRequest {
        ChatRequest::new([Message::user("Hi")])
    }

    fn format() -> Option<&'static Format> {
        Format::of_template("tools <tool_call>")
    }

    fn kind(request: &ChatRequest, format: Option<&'static Format>) -> ErrorKind {
        plan(request, &DEFAULTS, format).unwrap_err().kind()
    }

    #[test]
    fn unset_options_are_the_models_and_zero_is_kept() {
        let p = plan(&ask(), &DEFAULTS, None).unwrap();
        assert_eq!((p.sampling.temperature, p.sampling.top_k), (0.8, Some(40)));
        let p = plan(&ask().with_temperature(0.0).with_top_p(0.5).with_seed(7), &DEFAULTS, None).unwrap();
        assert_eq!((p.sampling.temperature, p.sampling.top_k, p.sampling.top_p), (0.0, None, Some(0.5)));
        assert_eq!(p.sampling.seed, 7);
        assert_ne!(fold_seed(u64::from(u32::MAX)), u32::MAX);
        assert_ne!(fold_seed(1 << 40), fold_seed(0));
    }

    #[test]
    fn values_out_of_range_are_invalid() {
        for request in [
            ChatRequest::new([]),
            ask().with_temperature(-0.1),
            ask().with_temperature(f32::NAN),
            ask().with_top_p(0.0),
            ask().with_top_p(1.1),
            ask().with_top_k(0),
            ask().with_max_tokens(0),
            ask().with_stop([""]),
            ask().with_stop(vec!["x"; 65]),
            ask().with_logprobs(1001),
            ask().with_extra("min_p", 2.0),
            ask().with_extra("min_p", "x"),
            ask().with_tool_choice(ToolChoice::Required),
        ] {
            assert_eq!(kind(&request, format()), ErrorKind::InvalidInput, "{request:?}");
        }
    }

    #[test]
    fn what_the_model_cannot_do_is_unsupported() {
        let tool = ToolSpec::new("now", "Time", serde_json::json!({"type": "object"}));
        let image = Part::Image { media: Media::Url { mime: None, url: "x".into() } };
        let result = ToolResult::text(&katena_core::ToolCall::new("1", "now", "{}"), "noon");
        for request in [
            ask().with_tools([tool.clone()]),
            ask().with_extra("microstat", 2),
            ChatRequest::new([Message::new(Role::User, vec![image])]),
            ChatRequest::new([Message::tool(result.clone())]),
        ] {
            assert_eq!(kind(&request, None), ErrorKind::Unsupported, "{request:?}");
        }
        let both = [tool.clone(), ToolSpec::new("later", "", serde_json::json!({"type": "object"}))];
        let calling = |choice| {
            plan(&ask().with_tools(both.clone()).with_tool_choice(choice), &DEFAULTS, format())
                .map(|p| p.calling)
        };
        assert_eq!(calling(ToolChoice::Auto).unwrap(), Calling::Free);
        assert_eq!(calling(ToolChoice::None).unwrap(), Calling::Off);
        assert!(
            matches!(calling(ToolChoice::Named("now".into())).unwrap(), Calling::Forced(call) if call.prefix.contains("\"now\""))
        );
        assert!(matches!(calling(ToolChoice::Required).unwrap(), Calling::Forced(_)));
        assert!(calling(ToolChoice::Named("never".into())).is_err());
    }
}
