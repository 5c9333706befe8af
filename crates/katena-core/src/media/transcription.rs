//! Models that write down what they hear.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::{MediaFile, MediaInfo, pointers_and_layers};
use crate::context::Context;
use crate::error::Result;
use crate::response::Usage;

/// What times are wanted of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeUnit {
    /// Of segments, about a sentence each.
    Segment,
    /// Of each word.
    Word,
}

/// One call of a transcription model.
///
/// ```
/// use katena_core::{MediaFile, TimeUnit, TranscriptionRequest};
/// let audio = MediaFile::new("talk.mp3", "audio/mpeg", *b"...");
/// let request = TranscriptionRequest::new(audio).with_language("en").with_times(TimeUnit::Word);
/// assert_eq!(request.times, [TimeUnit::Word]);
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct TranscriptionRequest {
    /// What to write down.
    pub audio: MediaFile,
    /// Its language, as ISO 639-1 has it, if known.
    pub language: Option<String>,
    /// Words that come before, or that are likely.
    pub prompt: Option<String>,
    /// Randomness, 0 to 1.
    pub temperature: Option<f32>,
    /// What times are wanted of; none wants text alone.
    pub times: Vec<TimeUnit>,
    /// Vendor extras by name; text as it is, anything else as JSON.
    pub extra: BTreeMap<String, Value>,
    /// Labels, deadline, cancel signal.
    pub context: Context,
}

impl fmt::Debug for TranscriptionRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TranscriptionRequest")
            .field("audio", &self.audio)
            .field("language", &self.language)
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

impl TranscriptionRequest {
    /// Writes this down.
    pub fn new(audio: MediaFile) -> Self {
        Self {
            audio,
            language: None,
            prompt: None,
            temperature: None,
            times: Vec::new(),
            extra: BTreeMap::new(),
            context: Context::new(),
        }
    }

    /// Sets the language.
    pub fn with_language(mut self, language: impl Into<String>) -> Self {
        self.language = Some(language.into());
        self
    }

    /// Sets words that come before, or that are likely.
    pub fn with_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.prompt = Some(prompt.into());
        self
    }

    /// Sets the randomness.
    pub fn with_temperature(mut self, temperature: f32) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// Asks for times of this too.
    pub fn with_times(mut self, unit: TimeUnit) -> Self {
        self.times.push(unit);
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

/// Text with the time when it is said.
///
/// ```
/// use std::time::Duration;
/// use katena_core::TimedText;
/// let word = TimedText::new("hello", Duration::ZERO, Duration::from_millis(400));
/// assert!(word.speaker.is_none());
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimedText {
    /// A segment or a word.
    pub text: String,
    /// When it begins, from the start of the sound.
    pub start: Duration,
    /// When it ends.
    pub end: Duration,
    /// Who says it, in the vendor's words.
    pub speaker: Option<String>,
}

impl fmt::Debug for TimedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimedText({:?} to {:?})", self.start, self.end)
    }
}

impl TimedText {
    /// Text between two times.
    pub fn new(text: impl Into<String>, start: Duration, end: Duration) -> Self {
        Self { text: text.into(), start, end, speaker: None }
    }

    /// Sets who says it.
    pub fn with_speaker(mut self, speaker: impl Into<String>) -> Self {
        self.speaker = Some(speaker.into());
        self
    }
}

/// What was heard.
///
/// ```
/// use katena_core::Transcription;
/// assert_eq!(Transcription::new("Hello.").text, "Hello.");
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Transcription {
    /// All of it.
    pub text: String,
    /// The language, as the vendor names it.
    pub language: Option<String>,
    /// How long the sound is.
    pub duration: Option<Duration>,
    /// Segments with their times, if asked for.
    pub segments: Vec<TimedText>,
    /// Words with their times, if asked for.
    pub words: Vec<TimedText>,
    /// Token counts, where the vendor counts so.
    pub usage: Usage,
    /// The vendor's id of the request.
    pub request_id: Option<String>,
    /// The vendor's reply as it was.
    pub raw: Option<Value>,
}

impl fmt::Debug for Transcription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transcription")
            .field("text", &self.text.len())
            .field("duration", &self.duration)
            .field("segments", &self.segments.len())
            .field("words", &self.words.len())
            .finish_non_exhaustive()
    }
}

impl Transcription {
    /// Text alone.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            language: None,
            duration: None,
            segments: Vec::new(),
            words: Vec::new(),
            usage: Usage::default(),
            request_id: None,
            raw: None,
        }
    }
}

/// A model that writes down what is said.
///
/// Times that were asked for come, or it is `Unsupported`; a cancelled context is `Cancelled`.
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{MediaFile, TranscriptionModel, TranscriptionRequest, fake::FakeTranscription};
/// let audio = MediaFile::new("a.wav", "audio/wav", *b"Hello");
/// let heard = FakeTranscription::new().transcribe(&TranscriptionRequest::new(audio)).await.unwrap();
/// assert_eq!(heard.text, "Hello");
/// # }).unwrap();
/// ```
#[async_trait]
pub trait TranscriptionModel: fmt::Debug + Send + Sync {
    /// Its names.
    fn info(&self) -> &MediaInfo;

    /// Writes down the sound of the request.
    async fn transcribe(&self, request: &TranscriptionRequest) -> Result<Transcription>;
}

pointers_and_layers!(TranscriptionModel, TranscriptionModelExt, {
    transcribe(TranscriptionRequest) -> Transcription;
});
