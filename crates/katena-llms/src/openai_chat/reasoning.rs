//! Reasoning in the forms that servers of the protocol give it, and the way back.

use katena_core::{ChatRequest, Effort, Error, Part, Result};
use serde_json::{Map, Value, json};

use super::quirks::{ReasoningBack, ReasoningForm};

const DETAILS: &str = "reasoning_details";

/// Pieces of `reasoning_details`; more than any real answer has.
const MAX_DETAILS: usize = 1024;

/// `reasoning_details` as they grow: pieces with the same index and type belong together.
#[derive(Debug, Default)]
pub(super) struct Details(Vec<Value>);

impl Details {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds pieces; gives about how many bytes they have.
    pub(super) fn add(&mut self, pieces: Vec<Value>) -> Result<usize> {
        let mut size = 0;
        for piece in pieces {
            size += piece.to_string().len();
            let same = |known: &Value| {
                piece.get("index").is_some_and(|i| !i.is_null())
                    && known.get("index") == piece.get("index")
                    && known.get("type") == piece.get("type")
            };
            let full = self.0.len() >= MAX_DETAILS;
            match self.0.last_mut().filter(|known| same(known)) {
                Some(known) => grow(known, piece),
                None if full => {
                    return Err(Error::invalid_output("the answer has more parts than the limit"));
                }
                None => self.0.push(piece),
            }
        }
        Ok(size)
    }

    /// The readable text of all.
    pub(super) fn text(&self) -> String {
        self.0.iter().filter_map(text_of).collect::<Vec<_>>().join("\n\n")
    }

    /// The signature that holds them: the vendor's name, a colon, and the list. The signatures of other vendors, being
    /// base64, have no colon. `None` if there are none.
    pub(super) fn signature(&self, vendor: &str) -> Option<String> {
        (!self.is_empty()).then(|| format!("{vendor}:{}", json!({ DETAILS: self.0 })))
    }
}

/// The readable text of one piece.
pub(super) fn text_of(piece: &Value) -> Option<&str> {
    ["text", "summary"].iter().find_map(|key| piece.get(*key)?.as_str()).filter(|t| !t.is_empty())
}

fn grow(known: &mut Value, piece: Value) {
    let (Value::Object(known), Value::Object(piece)) = (known, piece) else { return };
    for (key, value) in piece {
        match (known.get_mut(&key), value) {
            (_, Value::Null) => {}
            (Some(Value::String(text)), Value::String(more))
                if matches!(key.as_str(), "text" | "summary" | "data") =>
            {
                text.push_str(&more);
            }
            (_, value) => {
                known.insert(key, value);
            }
        }
    }
}

fn signed(signature: &str, vendor: &str) -> Option<Vec<Value>> {
    let text = signature.strip_prefix(vendor)?.strip_prefix(':')?;
    let mut value: Value = serde_json::from_str(text).ok()?;
    match value.get_mut(DETAILS).map(Value::take) {
        Some(Value::Array(list)) => Some(list),
        _ => None,
    }
}

/// Fields of an assistant's message that carry its reasoning back.
pub(super) fn back(parts: &[Part], form: ReasoningBack, vendor: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    let name = match form {
        ReasoningBack::Never => return fields,
        ReasoningBack::ReasoningContent => "reasoning_content",
        ReasoningBack::Reasoning | ReasoningBack::Details => "reasoning",
    };
    let (mut text, mut details) = (String::new(), Vec::new());
    for part in parts {
        let Part::Reasoning { text: words, signature } = part else { continue };
        match signature.as_deref().map(|s| signed(s, vendor)) {
            Some(Some(own)) if form == ReasoningBack::Details => details.extend(own),
            // Signed by another vendor: its proof is of no use here, and without it the words are not wanted.
            Some(_) if form == ReasoningBack::Details => {}
            _ => text.push_str(words),
        }
    }
    if !details.is_empty() {
        fields.insert(DETAILS.into(), Value::Array(details));
    } else if !text.is_empty() {
        fields.insert(name.into(), Value::String(text));
    }
    fields
}

/// Fields of the body that say how much the model thinks.
pub(super) fn wanted(request: &ChatRequest, form: ReasoningForm) -> Result<Map<String, Value>> {
    let mut fields = Map::new();
    let Some(reasoning) = request.reasoning else { return Ok(fields) };
    let (effort, budget) = (reasoning.effort, reasoning.budget_tokens);
    // No tokens are no reasoning, for servers that know words only.
    let effort = if budget == Some(0) { effort.or(Some(Effort::None)) } else { effort };
    if budget.is_some_and(|n| n > 0) && form != ReasoningForm::Object {
        return Err(Error::unsupported("this server bounds reasoning by effort, not by tokens"));
    }
    let Some(effort) = effort else {
        if let Some(tokens) = budget {
            fields.insert("reasoning".into(), json!({"max_tokens": tokens}));
        }
        return Ok(fields);
    };
    let (word, thinks) = (effort.as_str(), effort != Effort::None);
    match form {
        ReasoningForm::Effort => {
            fields.insert("reasoning_effort".into(), json!(word));
        }
        ReasoningForm::Object => {
            let mut object = Map::from_iter([("effort".to_owned(), json!(word))]);
            if let Some(tokens) = budget.filter(|n| *n > 0) {
                object.insert("max_tokens".into(), json!(tokens));
            }
            fields.insert("reasoning".into(), Value::Object(object));
        }
        ReasoningForm::Thinking => {
            let word_type = if thinks { "enabled" } else { "disabled" };
            fields.insert("thinking".into(), json!({ "type": word_type }));
            if thinks {
                fields.insert("reasoning_effort".into(), json!(word));
            }
        }
        ReasoningForm::Template => {
            let mut object = json!({ "enable_thinking": thinks });
            if thinks {
                object["reasoning_effort"] = json!(word);
            }
            fields.insert("chat_template_kwargs".into(), object);
        }
    }
    Ok(fields)
}
