//! What goes over the socket: frames of a length, a call's number and JSON.
//!
//! `u32` length of the rest, `u64` number of the call (0: about the engine itself), then JSON; both numbers little-endian.
//! A frame that is too long is skipped and a body that can't be read is an error of its call alone, so neither side can be
//! led astray by one frame.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use katena_core::{
    ChatEvent, ChatRequest, ChatResponse, EmbedRole, EmbedderInfo, Error, ErrorKind, ModelInfo, Part,
    PartKind, Result, Usage,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{BatchStats, EmbedderOptions, EngineStats, LlamaOptions, RerankerOptions};

/// Both ends must speak the same.
pub(super) const PROTOCOL: u32 = 2;
/// Most bytes of a frame.
pub(super) const MAX_FRAME: usize = 64 << 20;
/// Events of a call that may be on their way; the reader gives back what it has read.
pub(super) const WINDOW: u32 = 32;
/// The number of frames that are about no call.
pub(super) const ENGINE: u64 = 0;

/// From the program to the engine.
#[derive(Serialize, Deserialize)]
pub(super) enum Order {
    /// The first frame.
    Load { protocol: u32, engine: Box<Engine> },
    /// A call, with the time that it has left.
    Call { call: Call, millis: Option<u64> },
    /// The reader has taken events.
    Credit { events: u32 },
    /// Nobody waits for the call any more.
    Cancel,
}

/// Which engine.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Engine {
    Chat { path: PathBuf, options: LlamaOptions },
    Embedder { path: PathBuf, options: EmbedderOptions },
    Reranker { path: PathBuf, options: RerankerOptions },
}

/// What is asked.
#[derive(Serialize, Deserialize)]
pub(super) enum Call {
    Generate(Box<ChatRequest>),
    Stream(Box<ChatRequest>),
    PromptTokens(Box<ChatRequest>),
    SaveSession { path: PathBuf, request: Box<ChatRequest> },
    LoadSession(PathBuf),
    Stats,
    Embed { texts: Vec<String>, role: EmbedRole },
    Rerank { query: String, texts: Vec<String>, top_k: Option<usize> },
}

/// From the engine to the program.
#[derive(Serialize, Deserialize)]
pub(super) enum Word {
    /// How much of the model is loaded.
    Progress(f32),
    /// The model is loaded.
    Ready(Info),
    /// It can't be.
    Refused(Failure),
    /// An event of a stream.
    Event(Event),
    /// The answer of a call.
    Reply(Reply),
    /// A call failed.
    Failed(Failure),
}

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Info {
    Chat(ModelInfo),
    Embedder(EmbedderInfo),
    Reranker { model: String, max_tokens: usize },
}

/// The answer of a call that does not stream.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    Response(Box<ChatResponse>),
    Tokens(usize),
    Vectors {
        vectors: Vec<Vec<f32>>,
        usage: Usage,
    },
    /// Places in the request, best first.
    Ranked(Vec<(usize, f32)>),
    Engine(EngineStats),
    Batches(BatchStats),
}

#[derive(Serialize, Deserialize)]
pub(super) enum Kind {
    Text,
    Reasoning,
    ToolCall,
    Refusal,
    Other,
}

/// A [`ChatEvent`].
#[derive(Serialize, Deserialize)]
pub(super) enum Event {
    Start { part: usize, kind: Kind, tool: Option<(String, String)> },
    Delta { part: usize, text: String },
    End { part: usize, value: Part },
    Finished(Box<ChatResponse>),
}

impl Event {
    /// # Errors
    /// `Unexpected` for an event that this protocol does not know.
    pub(super) fn of(event: ChatEvent) -> Result<Self> {
        Ok(match event {
            ChatEvent::Start { part, kind, tool } => {
                let kind = match kind {
                    PartKind::Text => Kind::Text,
                    PartKind::Reasoning => Kind::Reasoning,
                    PartKind::ToolCall => Kind::ToolCall,
                    PartKind::Refusal => Kind::Refusal,
                    PartKind::Other => Kind::Other,
                    _ => {
                        return Err(Error::unexpected("a kind of part that the engine's socket can't carry"));
                    }
                };
                Self::Start { part, kind, tool }
            }
            ChatEvent::Delta { part, text } => Self::Delta { part, text },
            ChatEvent::End { part, value } => Self::End { part, value },
            ChatEvent::Finished(response) => Self::Finished(Box::new(finite(*response))),
            _ => return Err(Error::unexpected("an event that the engine's socket can't carry")),
        })
    }

    pub(super) fn into_event(self) -> ChatEvent {
        match self {
            Self::Start { part, kind, tool } => {
                let kind = match kind {
                    Kind::Text => PartKind::Text,
                    Kind::Reasoning => PartKind::Reasoning,
                    Kind::ToolCall => PartKind::ToolCall,
                    Kind::Refusal => PartKind::Refusal,
                    Kind::Other => PartKind::Other,
                };
                ChatEvent::Start { part, kind, tool }
            }
            Self::Delta { part, text } => ChatEvent::Delta { part, text },
            Self::End { part, value } => ChatEvent::End { part, value },
            Self::Finished(response) => ChatEvent::Finished(response),
        }
    }
}

/// JSON has no infinity: a token that can't be chosen gets the lowest number as its logarithm.
pub(super) fn finite(mut response: ChatResponse) -> ChatResponse {
    for token in response.logprobs.iter_mut().flatten() {
        for value in std::iter::once(&mut token.logprob).chain(token.top.iter_mut().map(|(_, v)| v)) {
            if !value.is_finite() {
                *value = f32::MIN;
            }
        }
    }
    response
}

/// An [`Error`].
#[derive(Serialize, Deserialize)]
pub(super) struct Failure {
    kind: String,
    message: String,
    temporary: bool,
    retry_millis: Option<u64>,
    context: Vec<(String, String)>,
    cause: Option<String>,
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

/// Names that context values have in this crate; an error's names live as long as the program. Values of others go into
/// the message.
const KEYS: [&str; 74] = [
    "adapter",
    "adapter_architecture",
    "adapter_shapes",
    "architecture",
    "available_bytes",
    "batch_tokens",
    "bytes",
    "cache_bytes",
    "cache_tokens",
    "context_tokens",
    "count",
    "deepest",
    "device",
    "document",
    "expected",
    "file",
    "file_bytes",
    "format",
    "found",
    "gpu_available_bytes",
    "gpu_bytes",
    "head_length",
    "help",
    "index",
    "kept_bytes",
    "key",
    "keyword",
    "labels",
    "layer",
    "least",
    "limit",
    "limit_bytes",
    "max_tokens",
    "missing",
    "model",
    "model_architecture",
    "model_shape",
    "model_type",
    "most",
    "most_bytes",
    "most_values",
    "name",
    "needed_bytes",
    "needs",
    "number",
    "option",
    "part",
    "path",
    "pattern_part",
    "pooling",
    "prompt_tokens",
    "queue",
    "rank",
    "reason",
    "reference",
    "schema",
    "sequence",
    "sequences",
    "setting",
    "slots",
    "tensor",
    "text",
    "there_are",
    "token",
    "tokens",
    "tool",
    "trained_tokens",
    "type",
    "value",
    "value_type",
    "version",
    "vocab_size",
    "weights_bytes",
    "words",
];

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            kind: error.kind().as_str().to_owned(),
            message: error.message().to_owned(),
            temporary: error.is_temporary(),
            retry_millis: error.retry_after().map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            context: error.contexts().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            cause: std::error::Error::source(error).map(ToString::to_string),
        }
    }

    pub(super) fn into_error(self) -> Error {
        let kind = KINDS.into_iter().find(|k| k.as_str() == self.kind).unwrap_or(ErrorKind::Unexpected);
        let mut message = self.message;
        let mut known = Vec::new();
        for (name, value) in self.context {
            match KEYS.into_iter().find(|k| *k == name) {
                Some(key) => known.push((key, value)),
                None => message = format!("{message} ({name}: {value})"),
            }
        }
        let mut error = Error::new(kind, message).with_temporary(self.temporary);
        for (key, value) in known {
            error = error.with_context(key, value);
        }
        if let Some(millis) = self.retry_millis {
            error = error.with_retry_after(Duration::from_millis(millis));
        }
        match self.cause {
            Some(cause) => error.with_source(io::Error::other(cause)),
            None => error,
        }
    }
}

/// A frame's bytes.
///
/// # Errors
/// `InvalidInput` if it is too long or has no JSON form.
pub(super) fn encode(id: u64, body: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 12];
    serde_json::to_writer(&mut bytes, body)
        .map_err(|e| Error::invalid_input("this can't be sent to the engine's process").with_source(e))?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME {
        return Err(Error::invalid_input("this is larger than what goes to or from the engine's process")
            .with_context("bytes", length.to_string())
            .with_context("most", MAX_FRAME.to_string()));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[4..12].copy_from_slice(&id.to_le_bytes());
    Ok(bytes)
}

/// A frame that came.
pub(super) struct Frame {
    pub(super) id: u64,
    /// `None` if it was too long.
    body: Option<Vec<u8>>,
}

impl Frame {
    /// # Errors
    /// `InvalidOutput` if the body can't be understood.
    pub(super) fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        let body = self
            .body
            .as_ref()
            .ok_or_else(|| Error::invalid_output("a frame on the engine's socket is too long"))?;
        serde_json::from_slice(body).map_err(|e| {
            // The text of the error may quote the body.
            Error::invalid_output("a frame on the engine's socket can't be understood")
                .with_context("index", e.column().to_string())
        })
    }
}

/// The next frame; `None` at the end.
///
/// # Errors
/// What reading says, an end within a frame included.
pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; 12];
    let mut have = 0;
    while have < head.len() {
        match from.read(&mut head[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    let (length, id) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
    let id = u64::from_le_bytes(id.try_into().unwrap_or_default());
    let Some(rest) = length.checked_sub(8) else { return Err(io::ErrorKind::InvalidData.into()) };
    let mut rest_of = from.take(rest as u64);
    let body = if length > MAX_FRAME {
        io::copy(&mut rest_of, &mut io::sink())?;
        None
    } else {
        // Grows with what really comes.
        let mut body = Vec::new();
        rest_of.read_to_end(&mut body)?;
        Some(body)
    };
    if rest_of.limit() > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(Frame { id, body }))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
