//! The stored form of what core gives no serde form: stream events, errors, embeddings. Used by the cache and the
//! cassettes; also the hash of a request.

use std::time::Duration;

use katena_core::{
    ChatEvent, ChatResponse, Document, EmbedRequest, EmbedResponse, EmbedRole, Error, ErrorKind, Part,
    PartKind, Query, RerankRequest, Result, Scored, ToolOutput, Usage,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// SHA-256 of the JSON form, in hexadecimal. Objects' keys are sorted first.
pub(crate) fn hash_json(value: &Value) -> String {
    let mut hash = Sha256::new();
    feed(&mut hash, value);
    hex(&hash.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |b: u8| char::from(DIGITS[usize::from(b & 15)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(*b)]).collect()
}

/// Lengths go before contents, so that no two values give the same bytes.
fn feed(hash: &mut Sha256, value: &Value) {
    let mut text = |tag: &[u8], text: &str| {
        hash.update(tag);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(b) => hash.update(if *b { b"t" } else { b"f" }),
        Value::Number(n) => text(b"#", &n.to_string()),
        Value::String(s) => text(b"s", s),
        Value::Array(items) => {
            hash.update(b"[");
            hash.update((items.len() as u64).to_le_bytes());
            for item in items {
                feed(hash, item);
            }
        }
        Value::Object(map) => {
            hash.update(b"{");
            hash.update((map.len() as u64).to_le_bytes());
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            for key in keys {
                hash.update((key.len() as u64).to_le_bytes());
                hash.update(key.as_bytes());
                feed(hash, &map[key]);
            }
        }
    }
}

pub(crate) fn to_value<T: Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|e| Error::invalid_input("the value has no JSON form").with_source(e))
}

pub(crate) fn embed_request(request: &EmbedRequest) -> Value {
    json!({ "role": role_name(request.role), "texts": request.texts })
}

pub(crate) fn role_name(role: EmbedRole) -> &'static str {
    match role {
        EmbedRole::Query => "query",
        _ => "document",
    }
}

pub(crate) fn rerank_request(request: &RerankRequest) -> Result<Value> {
    Ok(json!({ "query": request.query, "documents": to_value(&request.documents)?, "top_k": request.top_k }))
}

pub(crate) fn query(query: &Query) -> Result<Value> {
    Ok(json!({ "text": query.text, "top_k": query.top_k, "filter": to_value(&query.filter)? }))
}

/// [`ChatEvent`] with a serde form.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StoredEvent {
    Start {
        part: usize,
        kind: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool: Option<(String, String)>,
    },
    Delta {
        part: usize,
        text: String,
    },
    End {
        part: usize,
        value: Part,
    },
    Finished(Box<ChatResponse>),
}

const PART_KINDS: [(PartKind, &str); 5] = [
    (PartKind::Text, "text"),
    (PartKind::Reasoning, "reasoning"),
    (PartKind::ToolCall, "tool_call"),
    (PartKind::Refusal, "refusal"),
    (PartKind::Other, "other"),
];

impl StoredEvent {
    pub(crate) fn of(event: &ChatEvent) -> Result<Self> {
        Ok(match event {
            ChatEvent::Start { part, kind, tool } => {
                let name = PART_KINDS.iter().find(|(k, _)| k == kind).map_or("other", |(_, n)| n);
                Self::Start { part: *part, kind: name.to_owned(), tool: tool.clone() }
            }
            ChatEvent::Delta { part, text } => Self::Delta { part: *part, text: text.clone() },
            ChatEvent::End { part, value } => Self::End { part: *part, value: value.clone() },
            ChatEvent::Finished(response) => Self::Finished(response.clone()),
            _ => return Err(Error::unsupported("a stream event has no stored form")),
        })
    }

    pub(crate) fn into_event(self) -> ChatEvent {
        match self {
            Self::Start { part, tool: Some((id, name)), .. } => ChatEvent::start_tool(part, id, name),
            Self::Start { part, kind, tool: None } => {
                let kind = PART_KINDS.iter().find(|(_, n)| **n == kind).map_or(PartKind::Other, |(k, _)| *k);
                ChatEvent::start(part, kind)
            }
            Self::Delta { part, text } => ChatEvent::delta(part, text),
            Self::End { part, value } => ChatEvent::end(part, value),
            Self::Finished(response) => ChatEvent::Finished(response),
        }
    }
}

/// [`EmbedResponse`] with a serde form.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StoredEmbeddings {
    pub(crate) vectors: Vec<Vec<f32>>,
    #[serde(default)]
    pub(crate) usage: Usage,
}

impl StoredEmbeddings {
    pub(crate) fn of(response: &EmbedResponse) -> Self {
        Self { vectors: response.vectors.clone(), usage: response.usage }
    }

    pub(crate) fn into_response(self) -> EmbedResponse {
        EmbedResponse::new(self.vectors).with_usage(self.usage)
    }
}

/// Passages with scores, as rerankers and retrievers give them.
pub(crate) type StoredPassages = Vec<Scored<Document>>;

/// [`ToolOutput`] with a serde form.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StoredOutput {
    pub(crate) parts: Vec<Part>,
}

impl StoredOutput {
    pub(crate) fn of(output: &ToolOutput) -> Self {
        Self { parts: output.parts.clone() }
    }

    pub(crate) fn into_output(self) -> ToolOutput {
        ToolOutput::new(self.parts)
    }
}

/// [`Error`] with a serde form; its source and context are not kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StoredError {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) temporary: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vendor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
}

const KINDS: [ErrorKind; 17] = [
    ErrorKind::Config,
    ErrorKind::InvalidInput,
    ErrorKind::Unauthenticated,
    ErrorKind::PermissionDenied,
    ErrorKind::NotFound,
    ErrorKind::RateLimited,
    ErrorKind::QuotaExceeded,
    ErrorKind::Timeout,
    ErrorKind::Unavailable,
    ErrorKind::ContextTooLong,
    ErrorKind::Refused,
    ErrorKind::InvalidOutput,
    ErrorKind::Unsupported,
    ErrorKind::Budget,
    ErrorKind::Tool,
    ErrorKind::Cancelled,
    ErrorKind::Unexpected,
];

pub(crate) fn kind_named(name: &str) -> ErrorKind {
    KINDS.into_iter().find(|k| k.as_str() == name).unwrap_or(ErrorKind::Unexpected)
}

impl StoredError {
    pub(crate) fn of(error: &Error) -> Self {
        Self {
            kind: error.kind().as_str().to_owned(),
            message: error.message().to_owned(),
            temporary: error.is_temporary(),
            retry_after_ms: error.retry_after().map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            status: error.status(),
            vendor: error.vendor().map(str::to_owned),
            request_id: error.request_id().map(str::to_owned),
        }
    }

    pub(crate) fn into_error(self) -> Error {
        let mut error = Error::new(kind_named(&self.kind), self.message).with_temporary(self.temporary);
        if let Some(wait) = self.retry_after_ms {
            error = error.with_retry_after(Duration::from_millis(wait));
        }
        if let Some(status) = self.status {
            error = error.with_status(status);
        }
        if let Some(vendor) = self.vendor {
            error = error.with_vendor(vendor);
        }
        match self.request_id {
            Some(id) => error.with_request_id(id),
            None => error,
        }
    }
}

/// A stream of events that are there already.
pub(crate) fn replay(events: Vec<StoredEvent>, context: &katena_core::Context) -> katena_core::ChatStream {
    use futures_util::StreamExt as _;
    let cancel = context.cancel.clone();
    let mut cut = false;
    futures_util::stream::iter(events)
        .map(move |e| if cancel.is_cancelled() { Err(Error::cancelled()) } else { Ok(e.into_event()) })
        .take_while(move |e| std::future::ready(!std::mem::replace(&mut cut, e.is_err())))
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::{FinishReason, Message, Role, ToolCall};

    #[test]
    fn events_and_errors_go_there_and_back() {
        let parts = vec![
            Part::Reasoning { text: "hm".into(), signature: Some("s".into()) },
            Part::text("hi"),
            Part::ToolCall(ToolCall::new("1", "f", "{}")),
            Part::Opaque { vendor: "v".into(), value: json!({"a": 1}) },
        ];
        let response = ChatResponse::new(Message::new(Role::Assistant, parts), FinishReason::Stop);
        for event in ChatEvent::of_response(response) {
            let text = serde_json::to_string(&StoredEvent::of(&event).unwrap()).unwrap();
            let back: StoredEvent = serde_json::from_str(&text).unwrap();
            assert_eq!(back.into_event(), event, "{text}");
        }
        for kind in KINDS {
            assert_eq!(kind_named(kind.as_str()), kind);
        }
        let error = Error::new(ErrorKind::RateLimited, "slow")
            .with_retry_after(Duration::from_millis(1500))
            .with_status(429);
        let back = StoredError::of(&error).into_error();
        assert_eq!((back.to_string(), back.retry_after()), (error.to_string(), error.retry_after()));
    }

    #[test]
    fn the_hash_sees_borders_and_not_the_order_of_keys() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":["x","y"]}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"b":["x","y"],"a":1}"#).unwrap();
        assert_eq!(hash_json(&a), hash_json(&b));
        assert_ne!(hash_json(&json!(["ab", "c"])), hash_json(&json!(["a", "bc"])));
        assert_ne!(hash_json(&json!("1")), hash_json(&json!(1)));
        assert_ne!(hash_json(&json!([[], []])), hash_json(&json!([[[]]])));
    }
}
