//! Fakes of pictures, sound and judgement.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};

use crate::error::{Error, Result};
use crate::media::{
    CategoryScore, GeneratedImage, ImageModel, ImageRequest, ImageResponse, MediaInfo, Moderation,
    ModerationModel, ModerationRequest, ModerationResponse, SpeechModel, SpeechRequest, SpeechResponse,
    SpeechStream, TimeUnit, TimedText, Transcription, TranscriptionModel, TranscriptionRequest,
};
use crate::message::{Media, Part};

/// One pixel, as PNG.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/// Draws one pixel, as often as it is asked to.
///
/// ```
/// use katena_core::{ImageModel, fake::FakeImages};
/// assert_eq!(FakeImages::new().info().vendor, "fake");
/// ```
#[derive(Debug, Clone)]
pub struct FakeImages {
    info: MediaInfo,
}

impl Default for FakeImages {
    fn default() -> Self {
        Self { info: MediaInfo::new("fake", "pixel") }
    }
}

impl FakeImages {
    /// A painter.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl ImageModel for FakeImages {
    fn info(&self) -> &MediaInfo {
        &self.info
    }

    async fn draw(&self, request: &ImageRequest) -> Result<ImageResponse> {
        request.context.check()?;
        let count = request.count.unwrap_or(1);
        if !(1..=64).contains(&count) {
            return Err(Error::invalid_input("the number of pictures must be 1 to 64"));
        }
        let image = || {
            let media = Media::Base64 { mime: "image/png".to_owned(), data: PIXEL.to_owned() };
            GeneratedImage::new(media).with_revised_prompt(request.prompt.clone())
        };
        Ok(ImageResponse::new((0..count).map(|_| image()).collect()))
    }
}

/// Says the bytes of the text.
///
/// ```
/// use katena_core::{SpeechModel, fake::FakeSpeech};
/// assert_eq!(FakeSpeech::new().info().vendor, "fake");
/// ```
#[derive(Debug, Clone)]
pub struct FakeSpeech {
    info: MediaInfo,
}

impl Default for FakeSpeech {
    fn default() -> Self {
        Self { info: MediaInfo::new("fake", "parrot") }
    }
}

impl FakeSpeech {
    /// A voice.
    pub fn new() -> Self {
        Self::default()
    }
}

const SOUND: &str = "application/octet-stream";

#[async_trait]
impl SpeechModel for FakeSpeech {
    fn info(&self) -> &MediaInfo {
        &self.info
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<SpeechResponse> {
        request.context.check()?;
        Ok(SpeechResponse::new(SOUND, request.text.clone().into_bytes()))
    }

    async fn stream(&self, request: &SpeechRequest) -> Result<SpeechStream> {
        let audio = self.speak(request).await?.audio;
        let chunks: Vec<Result<Vec<u8>>> = audio.chunks(4).map(|c| Ok(c.to_vec())).collect();
        Ok(SpeechStream::new(SOUND, stream::iter(chunks).boxed()))
    }
}

/// Takes the bytes of the sound for its text; a word lasts a second.
///
/// ```
/// use katena_core::{TranscriptionModel, fake::FakeTranscription};
/// assert_eq!(FakeTranscription::new().info().vendor, "fake");
/// ```
#[derive(Debug, Clone)]
pub struct FakeTranscription {
    info: MediaInfo,
}

impl Default for FakeTranscription {
    fn default() -> Self {
        Self { info: MediaInfo::new("fake", "ear") }
    }
}

impl FakeTranscription {
    /// An ear.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl TranscriptionModel for FakeTranscription {
    fn info(&self) -> &MediaInfo {
        &self.info
    }

    async fn transcribe(&self, request: &TranscriptionRequest) -> Result<Transcription> {
        request.context.check()?;
        let text = std::str::from_utf8(&request.audio.bytes)
            .map_err(|_| Error::invalid_input("this fake hears only text"))?;
        let mut heard = Transcription::new(text);
        let second = |n: usize| Duration::from_secs(n as u64);
        let words = || text.split_whitespace().enumerate();
        let length = second(words().count());
        heard.language.clone_from(&request.language);
        heard.duration = Some(length);
        for unit in &request.times {
            match unit {
                TimeUnit::Segment => heard.segments = vec![TimedText::new(text, Duration::ZERO, length)],
                TimeUnit::Word => {
                    heard.words = words().map(|(n, w)| TimedText::new(w, second(n), second(n + 1))).collect();
                }
            }
        }
        Ok(heard)
    }
}

/// Flags texts that hold one of its words.
///
/// ```
/// use katena_core::{ModerationModel, fake::FakeModeration};
/// assert_eq!(FakeModeration::new(["rude"]).info().vendor, "fake");
/// ```
#[derive(Debug, Clone)]
pub struct FakeModeration {
    info: MediaInfo,
    words: Vec<String>,
}

impl FakeModeration {
    /// A judge to whom these words are bad; each is a category.
    pub fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self { info: MediaInfo::new("fake", "judge"), words: words.into_iter().map(Into::into).collect() }
    }
}

#[async_trait]
impl ModerationModel for FakeModeration {
    fn info(&self) -> &MediaInfo {
        &self.info
    }

    async fn moderate(&self, request: &ModerationRequest) -> Result<ModerationResponse> {
        request.context.check()?;
        let judge = |parts: &Vec<Part>| {
            let mut text = String::new();
            for part in parts {
                match part {
                    Part::Text { text: more } => text.push_str(more),
                    _ => return Err(Error::unsupported("this fake judges only text")),
                }
            }
            let score = |word: &String| {
                let is = text.contains(word.as_str());
                let score = if is { CategoryScore::new(1.0).flagged() } else { CategoryScore::new(0.0) };
                (word.clone(), score)
            };
            Ok(Moderation::new(self.words.iter().map(score)))
        };
        request.inputs.iter().map(judge).collect::<Result<_>>().map(ModerationResponse::new)
    }
}
