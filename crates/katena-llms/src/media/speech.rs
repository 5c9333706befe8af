//! Speech: `/audio/speech`.

use async_trait::async_trait;
use base64::Engine as _;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use katena_core::{Error, MediaInfo, Result, SpeechModel, SpeechRequest, SpeechResponse, SpeechStream};
use katena_http::{ErrorDetails, HttpReply, HttpRequest, Shape};
use serde_json::Value;

use super::service::{Service, builders};
use crate::fields::{Fields, text};

/// A speech model behind OpenAI's route.
///
/// Servers that send the sound within JSON (`audio_data`) are understood too.
///
/// ```no_run
/// use katena_core::{SpeechModel, SpeechRequest};
/// use katena_llms::media::OpenAiSpeech;
/// # async fn f() -> katena_core::Result<()> {
/// let model = OpenAiSpeech::from_env("gpt-4o-mini-tts")?;
/// let sound = model.speak(&SpeechRequest::new("Good morning.", "alloy").with_format("mp3")).await?;
/// assert_eq!(sound.mime, "audio/mpeg");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OpenAiSpeech {
    service: Service,
}

builders!(OpenAiSpeech, model);

impl OpenAiSpeech {
    fn call(&self, request: &SpeechRequest) -> Result<HttpRequest> {
        let body = body(request, &self.service.info.model)
            .map_err(|e| e.with_vendor(self.service.info.vendor.clone()))?;
        self.service.post_json("audio/speech", &body, &request.context)
    }
}

#[async_trait]
impl SpeechModel for OpenAiSpeech {
    fn info(&self) -> &MediaInfo {
        &self.service.info
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<SpeechResponse> {
        let reply = self.service.client.send(self.call(request)?).await?;
        read(&reply, request)
    }

    async fn stream(&self, request: &SpeechRequest) -> Result<SpeechStream> {
        let mut body = self.service.client.open(self.call(request)?).await?;
        let Some(mime) = audio_type(body.content_type()) else {
            let reply = body.read(self.service.client.options().max_body).await?;
            let whole = read(&reply, request)?;
            return Ok(SpeechStream::new(whole.mime, stream::iter([Ok(whole.audio)]).boxed()));
        };
        if body.shape().await? == Shape::Empty {
            return Err(body.unreadable(Shape::Empty));
        }
        let chunks = body.map(|chunk| chunk.map(|bytes: Bytes| bytes.to_vec()));
        Ok(SpeechStream::new(mime, chunks.boxed()))
    }
}

fn body(request: &SpeechRequest, model: &str) -> Result<Value> {
    if request.text.is_empty() {
        return Err(Error::invalid_input("there is nothing to read"));
    }
    let mut body = Fields::default();
    body.set("model", model);
    body.set("input", request.text.as_str());
    body.set("voice", request.voice.as_str());
    body.some("instructions", request.instructions.as_deref());
    body.some("response_format", request.format.as_deref());
    body.number("speed", request.speed)?;
    body.extras(&request.extra)?;
    Ok(body.into_value())
}

/// The content type, if it is one of sound.
fn audio_type(content_type: Option<&str>) -> Option<String> {
    let mime = content_type?.split(';').next()?.trim().to_ascii_lowercase();
    (mime.starts_with("audio/") || mime == "application/octet-stream").then_some(mime)
}

fn read(reply: &HttpReply, request: &SpeechRequest) -> Result<SpeechResponse> {
    let response = match (audio_type(reply.content_type()), reply.shape()) {
        (Some(mime), shape) if shape != Shape::Empty => SpeechResponse::new(mime, reply.body.to_vec()),
        (None, Shape::Other) => SpeechResponse::new(mime_of(request), reply.body.to_vec()),
        // JSON, a page, or nothing: the reply knows the right words.
        _ => decode(&reply.json()?, request).map_err(|e| reply.mark(e))?,
    };
    Ok(match reply.request_id() {
        Some(id) => response.with_request_id(id),
        None => response,
    })
}

fn decode(value: &Value, request: &SpeechRequest) -> Result<SpeechResponse> {
    match text(value, "audio_data") {
        "" => Err(match ErrorDetails::from_value(value) {
            Some(details) => details.into_error(None),
            None => Error::invalid_output("the server's reply has no sound"),
        }),
        data => match base64::prelude::BASE64_STANDARD.decode(data) {
            Ok(audio) => Ok(SpeechResponse::new(mime_of(request), audio)),
            Err(e) => Err(Error::invalid_output("the server's sound is no base64").with_source(e)),
        },
    }
}

/// The MIME type of the form that was asked for; without a word about it, that of the protocol's default.
fn mime_of(request: &SpeechRequest) -> String {
    match request.format.as_deref() {
        None | Some("mp3") => "audio/mpeg".to_owned(),
        Some("opus") => "audio/ogg".to_owned(),
        Some(format) => format!("audio/{format}"),
    }
}
