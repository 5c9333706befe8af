//! Models that read aloud.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde_json::Value;

use super::{MediaInfo, pointers_and_layers};
use crate::context::Context;
use crate::error::Result;

/// One call of a speech model.
///
/// ```
/// use katena_core::SpeechRequest;
/// let request = SpeechRequest::new("Good morning.", "alloy").with_format("wav").with_speed(1.25);
/// assert_eq!(request.voice, "alloy");
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct SpeechRequest {
    /// What to read.
    pub text: String,
    /// Whose voice, by the vendor's name.
    pub voice: String,
    /// How to read it, in words.
    pub instructions: Option<String>,
    /// The form of the sound, such as `mp3` or `wav`.
    pub format: Option<String>,
    /// How fast; 1 is the voice's own pace.
    pub speed: Option<f32>,
    /// Vendor extras by name, sent as they are.
    pub extra: BTreeMap<String, Value>,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

impl fmt::Debug for SpeechRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechRequest")
            .field("text", &self.text.len())
            .field("voice", &self.voice)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl SpeechRequest {
    /// Reads `text` with this voice.
    pub fn new(text: impl Into<String>, voice: impl Into<String>) -> Self {
        Self { text: text.into(), voice: voice.into(), ..Self::default() }
    }

    /// Says how to read it.
    pub fn with_instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = Some(instructions.into());
        self
    }

    /// Sets the form of the sound.
    pub fn with_format(mut self, format: impl Into<String>) -> Self {
        self.format = Some(format.into());
        self
    }

    /// Sets the pace.
    pub fn with_speed(mut self, speed: f32) -> Self {
        self.speed = Some(speed);
        self
    }

    /// Adds a vendor extra.
    pub fn with_extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    /// Sets labels, deadline and cancel signal.
    pub fn with_context(mut self, context: Context) -> Self {
        self.context = context;
        self
    }
}

/// Sound that a model made.
///
/// ```
/// use katena_core::SpeechResponse;
/// assert_eq!(SpeechResponse::new("audio/mpeg", vec![1, 2]).audio.len(), 2);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpeechResponse {
    /// Its MIME type.
    pub mime: String,
    /// The whole file.
    pub audio: Vec<u8>,
    /// The vendor's id of the request.
    pub request_id: Option<String>,
}

impl fmt::Debug for SpeechResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpeechResponse({}, {} bytes)", self.mime, self.audio.len())
    }
}

impl SpeechResponse {
    /// Sound of this MIME type.
    pub fn new(mime: impl Into<String>, audio: Vec<u8>) -> Self {
        Self { mime: mime.into(), audio, request_id: None }
    }

    /// Sets the vendor's id of the request.
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = Some(id.into());
        self
    }
}

/// Sound as it is made. Dropping it cancels the call.
///
/// ```
/// use futures_util::{StreamExt, stream};
/// use katena_core::SpeechStream;
/// let sound = SpeechStream::new("audio/mpeg", stream::iter([Ok(vec![1]), Ok(vec![2])]).boxed());
/// assert_eq!(sound.mime, "audio/mpeg");
/// ```
#[non_exhaustive]
pub struct SpeechStream {
    /// Its MIME type.
    pub mime: String,
    /// Pieces of the file, in order. A connection that breaks is an error, never a short file.
    pub chunks: BoxStream<'static, Result<Vec<u8>>>,
}

impl fmt::Debug for SpeechStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpeechStream").field("mime", &self.mime).finish_non_exhaustive()
    }
}

impl SpeechStream {
    /// Pieces of sound of this MIME type.
    pub fn new(mime: impl Into<String>, chunks: BoxStream<'static, Result<Vec<u8>>>) -> Self {
        Self { mime: mime.into(), chunks }
    }
}

/// A model that reads text aloud.
///
/// The pieces of a stream together are the file that `speak` would give. What the model can't do is `Unsupported`; a
/// cancelled context is `Cancelled`.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{SpeechModel, SpeechRequest, fake::FakeSpeech};
/// let response = FakeSpeech::new().speak(&SpeechRequest::new("Hello", "any")).await.unwrap();
/// assert_eq!(response.audio, b"Hello");
/// # }).unwrap();
/// ```
#[async_trait]
pub trait SpeechModel: fmt::Debug + Send + Sync {
    /// Its names.
    fn info(&self) -> &MediaInfo;

    /// Reads and waits for the whole sound.
    async fn speak(&self, request: &SpeechRequest) -> Result<SpeechResponse>;

    /// Reads and yields the sound as it comes.
    async fn stream(&self, request: &SpeechRequest) -> Result<SpeechStream>;
}

pointers_and_layers!(SpeechModel, SpeechModelExt, {
    speak(SpeechRequest) -> SpeechResponse;
    stream(SpeechRequest) -> SpeechStream;
});
