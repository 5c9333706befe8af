//! Output items and the parts of a message that they are, and the way back.

use katena_core::{Part, TokenLogprob, ToolCall};
use serde_json::{Map, Value, json};

use crate::openai_shared::logprobs;

/// The type of the part that keeps the sources of the text before it.
pub(super) const ANNOTATIONS: &str = "output_text.annotations";

/// What kind of item this is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Reasoning,
    Call,
    /// Kept as it is.
    Other,
}

pub(super) fn text_of<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(super) fn kind(item: &Value) -> Kind {
    match text_of(item, "type") {
        "message" => Kind::Message,
        "reasoning" => Kind::Reasoning,
        "function_call" => Kind::Call,
        // Some servers leave the type of a message out.
        "" if item.get("content").is_some() => Kind::Message,
        _ => Kind::Other,
    }
}

/// A piece of a message's content.
pub(super) enum Piece<'v> {
    Text(&'v str),
    Refusal(&'v str),
    Other(&'v Value),
}

pub(super) fn pieces(message: &Value) -> Vec<Piece<'_>> {
    match message.get("content") {
        Some(Value::String(text)) => vec![Piece::Text(text)],
        Some(Value::Array(list)) => list.iter().map(piece).collect(),
        _ => Vec::new(),
    }
}

fn piece(content: &Value) -> Piece<'_> {
    match content {
        Value::String(text) => Piece::Text(text),
        _ if content.get("refusal").is_some_and(Value::is_string) => {
            Piece::Refusal(text_of(content, "refusal"))
        }
        _ if content.get("text").is_some_and(Value::is_string) => Piece::Text(text_of(content, "text")),
        _ => Piece::Other(content),
    }
}

/// The readable reasoning: what the model thought, where the server tells it, else the summary.
pub(super) fn reasoning_text(item: &Value) -> String {
    let joined = |key: &str| {
        let texts = list(item, key).iter().map(|p| p.as_str().unwrap_or_else(|| text_of(p, "text")));
        texts.filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n\n")
    };
    let content = joined("content");
    if content.is_empty() { joined("summary") } else { content }
}

/// Fields of messages and calls that parts have no place for, and that the server wants back.
const KEPT: [&str; 2] = ["phase", "namespace"];

/// The signature of a reasoning item: the vendor's name, a colon, and the item itself, so that it can go back unchanged.
/// The signatures of other vendors, being base64, have no colon.
pub(super) fn signature(item: &Value, vendor: &str) -> String {
    format!("{vendor}:{item}")
}

/// The item that a signature of this vendor holds: reasoning, or what [`carrier`] made of the item after it.
pub(super) fn signed(signature: &str, vendor: &str) -> Option<Value> {
    let text = signature.strip_prefix(vendor)?.strip_prefix(':')?;
    serde_json::from_str(text).ok().filter(Value::is_object)
}

/// Reasoning without words that goes before a message or call and carries what these have no place for. Other vendors
/// leave it out.
pub(super) fn carrier(item: &Value, vendor: &str) -> Option<Part> {
    let kept = KEPT.iter().filter_map(|key| {
        let value = item.get(*key).filter(|v| !v.is_null())?;
        Some(((*key).to_owned(), value.clone()))
    });
    let mut fields: Map<String, Value> = kept.collect();
    if fields.is_empty() || !matches!(kind(item), Kind::Message | Kind::Call) {
        return None;
    }
    fields.insert("type".into(), item.get("type").cloned().unwrap_or_else(|| json!("message")));
    let signature = signature(&Value::Object(fields), vendor);
    Some(Part::Reasoning { text: String::new(), signature: Some(signature) })
}

/// The arguments' JSON text; some servers send the object itself.
pub(super) fn arguments(item: &Value) -> String {
    match item.get("arguments") {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The id that a call's result refers to.
pub(super) fn call_id(item: &Value) -> String {
    let id = text_of(item, "call_id");
    if id.is_empty() { text_of(item, "id") } else { id }.to_owned()
}

/// The sources of a message's texts, as one part; `None` if there are none.
pub(super) fn annotations(message: &Value, vendor: &str) -> Option<Part> {
    let all: Vec<&Value> = list(message, "content").iter().flat_map(|c| list(c, "annotations")).collect();
    let value = json!({"type": ANNOTATIONS, "annotations": all});
    (!all.is_empty()).then(|| Part::Opaque { vendor: vendor.to_owned(), value })
}

/// The log-probabilities of a message's texts.
pub(super) fn message_logprobs(message: &Value, alternatives: usize) -> Vec<TokenLogprob> {
    list(message, "content").iter().flat_map(|c| logprobs(c.get("logprobs"), alternatives)).collect()
}

/// The parts of a whole item; `None` if it is a call without a name.
pub(super) fn parts(item: Value, vendor: &str) -> Option<Vec<Part>> {
    let opaque = |value: Value| Part::Opaque { vendor: vendor.to_owned(), value };
    Some(match kind(&item) {
        Kind::Message => {
            let told: Vec<Part> = pieces(&item)
                .into_iter()
                .filter_map(|piece| match piece {
                    Piece::Text("") | Piece::Refusal("") => None,
                    Piece::Text(text) => Some(Part::text(text)),
                    Piece::Refusal(text) => Some(Part::Refusal { text: text.to_owned() }),
                    Piece::Other(value) => Some(opaque(value.clone())),
                })
                .collect();
            let carrier = carrier(&item, vendor).filter(|_| !told.is_empty());
            let mut parts: Vec<Part> = carrier.into_iter().chain(told).collect();
            parts.extend(annotations(&item, vendor));
            parts
        }
        Kind::Reasoning => {
            let text = reasoning_text(&item);
            vec![Part::Reasoning { text, signature: Some(signature(&item, vendor)) }]
        }
        Kind::Call => {
            let name = text_of(&item, "name");
            if name.is_empty() {
                return None;
            }
            let call = ToolCall::new(call_id(&item), name, arguments(&item));
            carrier(&item, vendor).into_iter().chain([Part::ToolCall(call)]).collect()
        }
        Kind::Other => vec![opaque(item)],
    })
}

/// True if `value` stands in the list of items, not within a message.
pub(super) fn is_item(value: &Value) -> bool {
    !matches!(
        text_of(value, "type"),
        "" | "input_text" | "input_image" | "input_file" | "input_audio" | "output_text" | "refusal"
    )
}

/// A reasoning item as it goes back, or `None` if the server could make nothing of it: it neither holds the reasoning nor
/// is it kept there.
pub(super) fn back(mut item: Value, stored: bool) -> Option<Value> {
    let full = |key: &str| item.get(key).is_some_and(|v| !v.is_null() && v != &json!([]) && v != &json!(""));
    if !(full("encrypted_content") || full("content") || stored) {
        return None;
    }
    if let Value::Object(item) = &mut item {
        // What only the server writes; requests with a null status are refused.
        if item.get("status").is_some_and(Value::is_null) {
            item.remove("status");
        }
        item.entry("summary").or_insert_with(|| Value::Array(Vec::new()));
    }
    Some(item)
}
