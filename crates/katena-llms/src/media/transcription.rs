//! Transcription: `/audio/transcriptions`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use katena_core::{
    Error, MediaInfo, Result, TimeUnit, TimedText, Transcription, TranscriptionModel, TranscriptionRequest,
    Usage,
};
use katena_http::multipart::Form;
use katena_http::{ErrorDetails, HttpReply, Shape};
use serde_json::Value;

use super::service::{Service, builders, form_text};
use crate::fields::{count, items, no, text, word};

/// A transcription model behind OpenAI's route.
///
/// Times are asked for by the form `verbose_json`, which only some models know; a server that gives none of those asked
/// for is `Unsupported`. Other forms (`response_format`), `include` and so on are extras; of the forms `text`, `srt` and
/// `vtt` the text is the reply as it is.
///
/// ```no_run
/// use katena_core::{MediaFile, TranscriptionModel, TranscriptionRequest};
/// use katena_llms::media::OpenAiTranscription;
/// # async fn f(mp3: Vec<u8>) -> katena_core::Result<()> {
/// let model = OpenAiTranscription::from_env("gpt-4o-mini-transcribe")?;
/// let heard = model.transcribe(&TranscriptionRequest::new(MediaFile::new("a.mp3", "audio/mpeg", mp3))).await?;
/// println!("{}", heard.text);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OpenAiTranscription {
    service: Service,
}

builders!(OpenAiTranscription, model);

#[async_trait]
impl TranscriptionModel for OpenAiTranscription {
    fn info(&self) -> &MediaInfo {
        &self.service.info
    }

    async fn transcribe(&self, request: &TranscriptionRequest) -> Result<Transcription> {
        let form = form(request, &self.service.info.model)
            .map_err(|e| e.with_vendor(self.service.info.vendor.clone()))?;
        let call = self.service.post_form("audio/transcriptions", &form, &request.context)?;
        let reply = self.service.client.send(call).await?;
        let mut heard = read(&reply, request).map_err(|e| reply.mark(e))?;
        heard.request_id = reply.request_id().map(str::to_owned);
        Ok(heard)
    }
}

fn form(request: &TranscriptionRequest, model: &str) -> Result<Form> {
    let mut fields: Vec<(&str, String)> = vec![("model", model.to_owned())];
    if let Some(language) = &request.language {
        fields.push(("language", language.clone()));
    }
    if let Some(prompt) = &request.prompt {
        fields.push(("prompt", prompt.clone()));
    }
    match request.temperature {
        Some(t) if !t.is_finite() => {
            return Err(Error::invalid_input("an option of the request is not a finite number"));
        }
        Some(t) => fields.push(("temperature", t.to_string())),
        None => {}
    }
    if !request.times.is_empty() {
        fields.push(("response_format", "verbose_json".to_owned()));
    }
    for unit in &request.times {
        let unit = match unit {
            TimeUnit::Segment => "segment",
            TimeUnit::Word => "word",
            _ => return no("this kind of time is not known to the protocol"),
        };
        fields.push(("timestamp_granularities[]", unit.to_owned()));
    }
    let asks = |v: &Value| !matches!(v, Value::Bool(false) | Value::Null);
    if request.extra.get("stream").is_some_and(asks) {
        return no("only the finished text is read, so it can't be asked for in pieces");
    }
    for (name, value) in &request.extra {
        if name == "file" || fields.iter().any(|(set, _)| set == name) {
            return Err(Error::invalid_input("an extra repeats a field that the request sets")
                .with_context("extra", name.clone()));
        }
        match value {
            // A list is its field, several times.
            Value::Array(list) => fields.extend(list.iter().map(|v| (name.as_str(), form_text(v)))),
            value => fields.push((name, form_text(value))),
        }
    }
    let form = fields.into_iter().fold(Form::new(), |form, (name, text)| form.with_text(name, text));
    let audio = &request.audio;
    Ok(form.with_file(
        "file",
        audio.name.as_str(),
        audio.mime.as_str(),
        Bytes::from_owner(audio.bytes.clone()),
    ))
}

fn read(reply: &HttpReply, request: &TranscriptionRequest) -> Result<Transcription> {
    let plain =
        matches!(request.extra.get("response_format").and_then(Value::as_str), Some("text" | "srt" | "vtt"));
    if plain && matches!(reply.shape(), Shape::Other | Shape::Json) && reply.json::<Value>().is_err() {
        return Ok(Transcription::new(String::from_utf8_lossy(&reply.body)));
    }
    decode(reply.json()?, request)
}

fn decode(raw: Value, request: &TranscriptionRequest) -> Result<Transcription> {
    if raw.get("error").is_some_and(|e| !e.is_null()) || !raw.get("text").is_some_and(Value::is_string) {
        return Err(match ErrorDetails::from_value(&raw) {
            Some(details) => details.into_error(None),
            None => Error::invalid_output("the server's reply has no text"),
        });
    }
    let mut heard = Transcription::new(text(&raw, "text"));
    heard.language = word(&raw, "language");
    heard.duration = raw.get("duration").and_then(seconds);
    heard.segments = items(&raw, "segments").iter().filter_map(timed).collect();
    heard.words = items(&raw, "words").iter().filter_map(timed).collect();
    if let Some(counts) = raw.get("usage") {
        let either = |a, b| count(counts, a).or_else(|| count(counts, b));
        heard.usage = Usage::default();
        heard.usage.input_tokens = either("input_tokens", "prompt_tokens");
        heard.usage.output_tokens = either("output_tokens", "completion_tokens");
    }
    let missing = |unit: &TimeUnit| match unit {
        TimeUnit::Word => heard.words.is_empty(),
        _ => heard.segments.is_empty(),
    };
    if !heard.text.trim().is_empty() && request.times.iter().any(missing) {
        return no("the server gave no times, though they were asked for");
    }
    heard.raw = Some(raw);
    Ok(heard)
}

/// Seconds, as a number or as text; `None` for what is no time.
fn seconds(value: &Value) -> Option<Duration> {
    let seconds = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn timed(entry: &Value) -> Option<TimedText> {
    let said = word(entry, "text").or_else(|| word(entry, "word"))?;
    let timed = TimedText::new(said, seconds(entry.get("start")?)?, seconds(entry.get("end")?)?);
    Some(match word(entry, "speaker").or_else(|| word(entry, "speaker_id")) {
        Some(speaker) => timed.with_speaker(speaker),
        None => timed,
    })
}
