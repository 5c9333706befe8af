//! What the protocol's replies look like, read leniently: unknown fields and words never fail, null is as good as
//! missing.
//!
//! Source of the wire's facts: the reference of `generateContent` at the vendor, versions v1beta and v1beta1.

use katena_core::{
    ChatEvent, ChatResponse, Error, ErrorKind, FinishReason, Media, Part, Result, TokenLogprob, Usage,
};
use katena_http::ErrorDetails;
use serde_json::{Map, Value};

use super::signature;
use super::stream::GeminiStreamDecoder;

/// Reads a whole reply: one response, or the list of responses that a stream without server-sent events is.
///
/// Reasoning comes from the parts that the vendor marks as thoughts. Signatures of parts, code that the vendor ran
/// and other items keep their place among the parts; the [module](super) says how.
///
/// ```
/// let raw = serde_json::json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]});
/// let response = katena_llms::gemini::decode_response(raw, "gemini")?;
/// assert_eq!(response.text(), "Hi");
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// The error that the reply holds; `Refused` if the prompt was blocked; `Unavailable` for a list that was cut off;
/// `InvalidOutput` if it is no reply of this protocol.
pub fn decode_response(raw: Value, vendor: &str) -> Result<ChatResponse> {
    decode_limited(raw, vendor, usize::MAX)
}

pub(super) fn decode_limited(raw: Value, vendor: &str, alternatives: usize) -> Result<ChatResponse> {
    let mut decoder = GeminiStreamDecoder::new(vendor).with_max_alternatives(alternatives);
    match &raw {
        Value::Array(chunks) => {
            for chunk in chunks {
                decoder.chunk(chunk)?;
                // Nobody listens to the pieces.
                while decoder.next_event().is_some() {}
            }
            decoder.finish()?;
        }
        whole => {
            if let Some(error) = error_of(whole) {
                return Err(error);
            }
            decoder.chunk(whole)?;
            if whole.get("candidates").and_then(Value::as_array).is_none_or(Vec::is_empty) {
                return Err(match ErrorDetails::from_value(whole) {
                    Some(details) => details.into_error(None),
                    None => Error::invalid_output("the server's reply has no candidates"),
                });
            }
            decoder.finish_whole();
        }
    }
    while let Some(event) = decoder.next_event() {
        if let ChatEvent::Finished(response) = event {
            return Ok(response.with_raw(raw));
        }
    }
    Err(Error::unexpected("a finished reply without an answer"))
}

/// The error that a reply or chunk holds; null is none.
pub(super) fn error_of(chunk: &Value) -> Option<Error> {
    chunk.get("error").filter(|e| !e.is_null())?;
    Some(ErrorDetails::from_value(chunk).unwrap_or_default().into_error(None))
}

/// The error for a prompt that was blocked before the model saw it.
pub(super) fn blocked(chunk: &Value) -> Option<Error> {
    let feedback = chunk.get("promptFeedback")?;
    let reason = word(feedback.get("blockReason"))?;
    let message = match feedback.get("blockReasonMessage").and_then(Value::as_str) {
        Some(why) if !why.is_empty() => format!("the prompt was blocked: {reason}: {why}"),
        _ => format!("the prompt was blocked: {reason}"),
    };
    Some(Error::new(ErrorKind::Refused, message).with_context("block reason", reason))
}

/// A word of the protocol; some clients ask for numbers in their place. "Unspecified" is none.
pub(super) fn word(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) if s.is_empty() || s.ends_with("_UNSPECIFIED") => None,
        Value::String(s) => Some(s.clone()),
        Value::Number(n) if n.as_u64() != Some(0) => Some(n.to_string()),
        _ => None,
    }
}

pub(super) fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str).filter(|t| !t.is_empty())
}

/// The finish reason; a whole reply that names none was ended by its server, which is a stop.
pub(super) fn finish_reason(word: Option<&str>, calls: bool) -> FinishReason {
    match word {
        None | Some("STOP" | "1") if calls => FinishReason::ToolCalls,
        None | Some("STOP" | "1") => FinishReason::Stop,
        Some("MAX_TOKENS" | "2") => FinishReason::Length,
        Some(
            "SAFETY" | "3" | "RECITATION" | "4" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "8" | "SPII" | "9",
        ) => FinishReason::ContentFilter,
        Some("IMAGE_SAFETY" | "IMAGE_PROHIBITED_CONTENT" | "IMAGE_RECITATION" | "MODEL_ARMOR") => {
            FinishReason::ContentFilter
        }
        Some(other) => FinishReason::Other(other.to_owned()),
    }
}

/// The counts. The vendor counts thoughts beside the answer and cached tokens within the prompt; tokens that its
/// own tools brought into the prompt (`toolUsePromptTokenCount`) are counted beside it and stay in the raw reply.
pub(super) fn usage(value: &Value) -> Usage {
    let count = |key: &str| {
        let value = value.get(key)?;
        // Some proxies write counts of 64 bits as text.
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    };
    let (answer, thoughts) = (count("candidatesTokenCount"), count("thoughtsTokenCount"));
    let mut usage = Usage::default();
    usage.input_tokens = count("promptTokenCount");
    usage.output_tokens = match (answer, thoughts) {
        (None, None) => None,
        (answer, thoughts) => Some(answer.unwrap_or(0).saturating_add(thoughts.unwrap_or(0))),
    };
    usage.reasoning_tokens = thoughts;
    usage.cached_tokens = count("cachedContentTokenCount");
    usage
}

/// The tokens of an answer or of a piece of it, with at most `alternatives` rivals each.
pub(super) fn logprobs(result: &Value, alternatives: usize) -> Vec<TokenLogprob> {
    let list = |key: &str| result.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let pair = |v: &Value| {
        let token = v.get("token")?.as_str()?.to_owned();
        // Rounding can lift the logarithm of a probability of one a little above zero.
        Some((token, (v.get("logProbability")?.as_f64()? as f32).min(0.0)))
    };
    let tops = list("topCandidates");
    let chosen = list("chosenCandidates").iter().enumerate();
    chosen
        .filter_map(|(n, chosen)| {
            let (token, logprob) = pair(chosen)?;
            let top = tops.get(n).and_then(|t| t.get("candidates")?.as_array());
            let top = top.into_iter().flatten().filter_map(pair).take(alternatives).collect();
            Some(TokenLogprob::new(token, logprob, top))
        })
        .collect()
}

/// What one part of the wire is.
pub(super) enum Piece<'a> {
    Nothing,
    /// Text that joins the text before it.
    Text(&'a str),
    /// Reasoning that joins the reasoning before it.
    Reasoning(&'a str),
    Call {
        id: Option<&'a str>,
        name: &'a str,
        arguments: String,
        signature: Option<&'a str>,
    },
    /// A part that came whole, with the signature that belongs to it.
    Whole {
        part: Part,
        size: usize,
        signature: Option<&'a str>,
    },
}

/// Takes one part of the wire apart.
pub(super) fn piece<'a>(part: &'a Value, vendor: &str) -> Result<Piece<'a>> {
    let Value::Object(map) = part else { return Ok(Piece::Nothing) };
    let signature = text(field(map, "thoughtSignature", "thought_signature"));
    let thought = map.get("thought").and_then(Value::as_bool).unwrap_or(false);
    let size = |text: &str| text.len() + signature.map_or(0, str::len);
    if let Some(text) = map.get("text").and_then(Value::as_str) {
        return Ok(match (signature, thought) {
            (None, false) => Piece::Text(text),
            (None, true) => Piece::Reasoning(text),
            (Some(s), true) => {
                let part =
                    Part::Reasoning { text: text.to_owned(), signature: Some(signature::of_thought(s)) };
                Piece::Whole { part, size: size(text), signature: None }
            }
            (Some(s), false) if text.is_empty() => {
                Piece::Whole { part: signature::alone(s), size: size(text), signature: None }
            }
            (Some(_), false) => Piece::Whole { part: Part::text(text), size: size(text), signature },
        });
    }
    if let Some(call) = object(map, "functionCall", "function_call") {
        let name = text(call.get("name"))
            .ok_or_else(|| Error::invalid_output("the model called a tool without naming it"))?;
        if call.get("partialArgs").and_then(Value::as_array).is_some_and(|a| !a.is_empty()) {
            return Err(Error::invalid_output(
                "the arguments of a tool call come in pieces, which is not read",
            ));
        }
        let arguments = match call.get("args") {
            None | Some(Value::Null) => String::new(),
            Some(args) => args.to_string(),
        };
        return Ok(Piece::Call { id: text(call.get("id")), name, arguments, signature });
    }
    if let Some(blob) = object(map, "inlineData", "inline_data").filter(|_| !thought) {
        let mime = text(field(blob, "mimeType", "mime_type")).unwrap_or("application/octet-stream");
        let data = blob.get("data").and_then(Value::as_str).unwrap_or_default();
        let media = Media::Base64 { mime: mime.to_owned(), data: data.to_owned() };
        let part = match mime.split('/').next() {
            Some("image") => Part::Image { media },
            Some("audio") => Part::Audio { media },
            Some("video") => Part::Video { media },
            _ => Part::File { media, name: None },
        };
        return Ok(Piece::Whole { part, size: size(data), signature });
    }
    let known = ["thought", "thoughtSignature", "thought_signature"];
    if map.iter().all(|(key, value)| known.contains(&key.as_str()) || value.is_null()) {
        return Ok(match signature {
            Some(s) => Piece::Whole { part: signature::alone(s), size: s.len(), signature: None },
            None => Piece::Nothing,
        });
    }
    // Code that the vendor ran, its own tools, and what is yet to come: back unchanged, its signature within.
    let part = Part::Opaque { vendor: vendor.to_owned(), value: part.clone() };
    Ok(Piece::Whole { part, size: deep_size(map), signature: None })
}

fn field<'a>(map: &'a Map<String, Value>, camel: &str, snake: &str) -> Option<&'a Value> {
    map.get(camel).or_else(|| map.get(snake)).filter(|v| !v.is_null())
}

fn object<'a>(map: &'a Map<String, Value>, camel: &str, snake: &str) -> Option<&'a Map<String, Value>> {
    field(map, camel, snake)?.as_object()
}

/// About how many bytes an item has.
fn deep_size(map: &Map<String, Value>) -> usize {
    fn size(value: &Value) -> usize {
        match value {
            Value::String(s) => s.len(),
            Value::Array(list) => list.iter().map(size).sum(),
            Value::Object(map) => deep_size(map),
            _ => 8,
        }
    }
    map.iter().map(|(key, value)| key.len() + size(value)).sum()
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
