//! Pictures, sound, moderation and files against a small scripted server (a double), and recorded replies.

#![cfg(feature = "media")]
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

#[path = "../../katena-http/tests/support/mod.rs"]
mod support;

mod recorded;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use katena_core::{
    Cancel, Context, ErrorKind, ImageModel, ImageRequest, Layer, Media, MediaFile, ModerationModel,
    ModerationModelExt as _, ModerationRequest, Part, SpeechModel as _, SpeechRequest, TimeUnit,
    TranscriptionModel as _, TranscriptionRequest, fake,
};
use katena_llms::media::{OpenAiFiles, OpenAiImages, OpenAiModeration, OpenAiSpeech, OpenAiTranscription};
use serde_json::json;
use support::{Reply, Server, Step};

const KEY: &str = "sk-very-secret-123456";

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

fn picture() -> MediaFile {
    MediaFile::new("a \"b\".png", "image/png", *b"PNG")
}

fn sound() -> MediaFile {
    MediaFile::new("a.mp3", "audio/mpeg", *b"MP3")
}

#[tokio::test]
async fn pictures_are_drawn() {
    let reply = json!({"data": [{"b64_json": "aGVsbG8=", "revised_prompt": "a dot"}, {"url": "https://example.com/x"}],
        "output_format": "webp", "usage": {"input_tokens": 14, "output_tokens": 272}});
    let server = Server::always(Reply::json(reply.to_string()).with_header("x-request-id", "req_1")).await;
    let model = OpenAiImages::new("m", KEY).with_base_url(format!("{}/v1", server.url)).unwrap();
    let request = ImageRequest::new("dot").with_count(2).with_size("16x16").with_extra("quality", "low");
    let drawn = model.draw(&request).await.unwrap();
    assert_eq!(drawn.images[0].media, Media::Base64 { mime: "image/webp".into(), data: "aGVsbG8=".into() });
    assert_eq!(drawn.images[0].revised_prompt.as_deref(), Some("a dot"));
    assert!(matches!(&drawn.images[1].media, Media::Url { .. }));
    assert_eq!((drawn.usage.output_tokens, drawn.request_id.as_deref()), (Some(272), Some("req_1")));
    let seen = &server.requests()[0];
    assert_eq!(seen.path, "/v1/images/generations");
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(
        seen.json(),
        json!({"model": "m", "prompt": "dot", "n": 2, "size": "16x16", "quality": "low"})
    );
    assert!(!format!("{model:?} {request:?}").contains(KEY));
}

#[tokio::test]
async fn pictures_are_changed_by_a_form() {
    let server = Server::always(Reply::json(r#"{"data":[{"b64_json":"aGVsbG8="}]}"#)).await;
    let model = OpenAiImages::compatible("m", &server.url).unwrap();
    let request =
        ImageRequest::new("night").with_image(picture()).with_mask(picture()).with_extra("quality", "low");
    model.draw(&request).await.unwrap();
    model.draw(&ImageRequest::new("both").with_image(picture()).with_image(picture())).await.unwrap();
    let seen = server.requests();
    assert_eq!(seen[0].path, "/images/edits");
    assert!(seen[0].headers["content-type"].starts_with("multipart/form-data; boundary="));
    let form = text(&seen[0].body);
    for piece in [
        "name=\"prompt\"\r\n\r\nnight\r\n",
        "name=\"quality\"\r\n\r\nlow\r\n",
        "name=\"image\"; filename=\"a %22b%22.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n",
        "name=\"mask\"; filename",
    ] {
        assert!(form.contains(piece), "{piece} in {form}");
    }
    assert_eq!(text(&seen[1].body).matches("name=\"image[]\"").count(), 2);
}

#[tokio::test]
async fn what_image_models_cant_do_is_said() {
    let server = Server::always(Reply::json(r#"{"data":[]}"#)).await;
    let model = OpenAiImages::compatible("m", &server.url).unwrap();
    let kind = async |request: &ImageRequest| model.draw(request).await.unwrap_err().kind();
    assert_eq!(kind(&ImageRequest::new("x").with_extra("stream", true)).await, ErrorKind::Unsupported);
    assert_eq!(kind(&ImageRequest::new("x").with_extra("model", "y")).await, ErrorKind::InvalidInput);
    assert_eq!(kind(&ImageRequest::new("x").with_mask(picture())).await, ErrorKind::InvalidInput);
    assert!(server.requests().is_empty());
    assert_eq!(kind(&ImageRequest::new("x")).await, ErrorKind::InvalidOutput);
    let cancelled = Cancel::new();
    cancelled.cancel();
    let context = Context::new().with_cancel(cancelled);
    assert_eq!(kind(&ImageRequest::new("x").with_context(context)).await, ErrorKind::Cancelled);
}

#[tokio::test]
async fn speech_whole_and_in_pieces() {
    let server = Server::always(Reply::new(200, "audio/mpeg", *b"{abc").in_pieces(1)).await;
    let model = OpenAiSpeech::compatible("m", &server.url).unwrap();
    let request =
        SpeechRequest::new("Hi", "alloy").with_speed(0.7).with_format("mp3").with_instructions("Softly.");
    let whole = model.speak(&request).await.unwrap();
    assert_eq!((whole.mime.as_str(), whole.audio.as_slice()), ("audio/mpeg", &b"{abc"[..]));
    let stream = model.stream(&request).await.unwrap();
    let pieces: Vec<u8> = stream.chunks.map(|c| c.unwrap()).concat().await;
    assert_eq!(pieces, whole.audio);
    assert_eq!(
        server.requests()[0].json(),
        json!({"model": "m", "input": "Hi", "voice": "alloy", "speed": 0.7, "response_format": "mp3", "instructions": "Softly."})
    );
    let packed = Server::always(Reply::json(r#"{"audio_data":"aGVsbG8="}"#)).await;
    let model = OpenAiSpeech::compatible("m", &packed.url).unwrap();
    assert_eq!(model.speak(&request).await.unwrap().audio, b"hello");
    let stream = model.stream(&request).await.unwrap();
    assert_eq!(stream.chunks.map(|c| c.unwrap()).concat().await, b"hello");
}

#[tokio::test]
async fn speech_that_is_none_is_a_typed_error() {
    let request = SpeechRequest::new("Hi", "alloy");
    for (reply, kind) in [
        (Reply::new(200, "audio/mpeg", ""), ErrorKind::Unavailable),
        (Reply::new(200, "text/html", "<html>Sign in</html>"), ErrorKind::InvalidOutput),
        (Reply::json(r#"{"error":{"message":"busy"}}"#), ErrorKind::Unavailable),
        (Reply::json(r#"{"audio_data":"%%"}"#), ErrorKind::InvalidOutput),
        (
            Reply::new(400, "application/json", r#"{"error":{"message":"no such voice"}}"#),
            ErrorKind::InvalidInput,
        ),
    ] {
        let server = Server::always(reply.clone()).await;
        let model = OpenAiSpeech::compatible("m", &server.url).unwrap();
        for error in [model.speak(&request).await.unwrap_err(), model.stream(&request).await.err().unwrap()] {
            assert_eq!(error.kind(), kind, "{reply:?}: {error:?}");
        }
    }
    let cut = Server::always(Reply::new(200, "audio/mpeg", *b"abc").then(Step::Cut)).await;
    let model = OpenAiSpeech::compatible("m", &cut.url).unwrap();
    assert_eq!(model.speak(&request).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let pieces: Vec<_> = model.stream(&request).await.unwrap().chunks.collect().await;
    assert_eq!(pieces.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    let empty = model.speak(&SpeechRequest::new("", "alloy")).await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn transcription_with_times() {
    let reply = json!({"text": "Hello there.", "language": "english", "duration": "1.5",
        "segments": [{"text": "Hello there.", "start": 0.0, "end": 1.5, "speaker_id": "s1"}],
        "words": [{"word": "Hello", "start": 0, "end": 0.5}, {"word": "there", "start": 0.5, "end": 1.25}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 11}});
    let server = Server::always(Reply::json(reply.to_string())).await;
    let model = OpenAiTranscription::compatible("m", &server.url).unwrap();
    let request = TranscriptionRequest::new(sound())
        .with_language("en")
        .with_prompt("Hello")
        .with_temperature(0.0)
        .with_times(TimeUnit::Segment)
        .with_times(TimeUnit::Word)
        .with_extra("include", json!(["logprobs"]));
    let heard = model.transcribe(&request).await.unwrap();
    assert_eq!(heard.duration, Some(Duration::from_millis(1500)));
    assert_eq!(heard.words[1].end, Duration::from_millis(1250));
    assert_eq!(heard.segments[0].speaker.as_deref(), Some("s1"));
    assert_eq!((heard.usage.input_tokens, heard.usage.output_tokens), (Some(3), Some(11)));
    let form = text(&server.requests()[0].body);
    for piece in [
        "name=\"model\"\r\n\r\nm\r\n",
        "name=\"temperature\"\r\n\r\n0\r\n",
        "name=\"response_format\"\r\n\r\nverbose_json\r\n",
        "name=\"timestamp_granularities[]\"\r\n\r\nsegment\r\n",
        "name=\"timestamp_granularities[]\"\r\n\r\nword\r\n",
        "name=\"include\"\r\n\r\nlogprobs\r\n",
        "name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\nMP3\r\n",
    ] {
        assert!(form.contains(piece), "{piece} in {form}");
    }
    assert!(!format!("{heard:?} {request:?}").contains("Hello"));
}

#[tokio::test]
async fn transcription_without_what_was_asked_for() {
    let server = Server::always(Reply::json(r#"{"text":"Hello.","language":null,"segments":[]}"#)).await;
    let model = OpenAiTranscription::compatible("m", &server.url).unwrap();
    let request = TranscriptionRequest::new(sound());
    assert_eq!(model.transcribe(&request).await.unwrap().text, "Hello.");
    let timed = model.transcribe(&request.clone().with_times(TimeUnit::Word)).await.unwrap_err();
    assert_eq!(timed.kind(), ErrorKind::Unsupported);
    let streamed = model.transcribe(&request.clone().with_extra("stream", true)).await.unwrap_err();
    assert_eq!(streamed.kind(), ErrorKind::Unsupported);
    let plain = Server::always(Reply::new(200, "text/plain", "1\n00:00 --> 00:01\nHello.")).await;
    let model = OpenAiTranscription::compatible("m", &plain.url).unwrap();
    let srt = model.transcribe(&request.clone().with_extra("response_format", "srt")).await.unwrap();
    assert!(srt.text.contains("-->"));
    assert_eq!(model.transcribe(&request).await.unwrap_err().kind(), ErrorKind::InvalidOutput);
}

#[tokio::test]
async fn moderation_judges_each_input_once() {
    let server = Server::start(|seen| {
        let input = seen.json()["input"].clone();
        let many = input.as_array().unwrap().iter().filter(|i| i.is_string()).count().max(1);
        let one = |n: usize| {
            json!({"flagged": n == 1, "categories": {"hate": n == 1, "new": null},
                "category_scores": {"hate": 0.25, "self-harm": 0.5}, "category_applied_input_types": {}})
        };
        let results: Vec<_> = (0..many).map(one).collect();
        Reply::json(json!({"id": "modr-1", "model": "judge", "results": results}).to_string())
    })
    .await;
    let model = OpenAiModeration::compatible("m", &server.url).unwrap();
    let judged = model.moderate(&ModerationRequest::texts(["a", "b", "c"])).await.unwrap();
    assert_eq!(judged.results.iter().map(|r| r.flagged).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(judged.results[1].categories["hate"], katena_core::CategoryScore::new(0.25).flagged());
    assert_eq!(judged.results[0].categories["self-harm"].score, Some(0.5));
    assert_eq!(judged.model.as_deref(), Some("judge"));
    let image = Part::Image { media: Media::Url { mime: None, url: "https://example.com/a.png".into() } };
    let mixed = ModerationRequest::new([vec![Part::text("a"), image], vec![Part::text("b")]]);
    assert_eq!(model.moderate(&mixed).await.unwrap().results.len(), 2);
    assert_eq!(server.requests().len(), 3, "one call for texts, one for each mixed input");
    let image = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    assert_eq!(server.requests()[1].json()["input"], json!([{"type": "text", "text": "a"}, image]));
    assert!(model.moderate(&ModerationRequest::default()).await.unwrap().results.is_empty());
    let audio = Part::Audio { media: Media::Url { mime: None, url: "https://example.com/a".into() } };
    let error = model.moderate(&ModerationRequest::new([vec![audio]])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn what_was_not_judged_does_not_pass() {
    for body in [r#"{"results":[{"flagged":false}]}"#, r#"{"results":[{},{}]}"#, "{}"] {
        let server = Server::always(Reply::json(body)).await;
        let model = OpenAiModeration::compatible("m", &server.url).unwrap();
        let error = model.moderate(&ModerationRequest::texts(["a", "b"])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{body}");
    }
}

#[tokio::test]
async fn files_come_and_go() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "DELETE" => Reply::json(r#"{"id":"file-1","object":"file","deleted":true}"#),
        _ => Reply::json(r#"{"id":"file-1","filename":"a.pdf","bytes":3,"purpose":"user_data","status":"processed","expires_at":null}"#),
    })
    .await;
    let files = OpenAiFiles::new(KEY).with_base_url(&server.url).unwrap().with_vendor("openai");
    let context = Context::new();
    let file = files
        .upload(MediaFile::new("a.pdf", "application/pdf", *b"PDF"), "user_data", &context)
        .await
        .unwrap();
    assert_eq!((file.id.as_str(), file.bytes, file.expires_at), ("file-1", Some(3), None));
    assert_eq!(files.get("file-1", &context).await.unwrap(), file);
    files.delete("file-1", &context).await.unwrap();
    let seen = server.requests();
    assert!(text(&seen[0].body).contains("name=\"purpose\"\r\n\r\nuser_data"));
    assert_eq!((seen[1].method.as_str(), seen[1].path.as_str()), ("GET", "/files/file-1"));
    assert_eq!((seen[2].method.as_str(), seen[2].path.as_str()), ("DELETE", "/files/file-1"));
    for id in ["", "../models", "a/b", "a?b", ".."] {
        assert_eq!(files.get(id, &context).await.unwrap_err().kind(), ErrorKind::InvalidInput, "{id}");
    }
    let part = json!({"type": "file", "file": {"file_id": "file-1"}});
    assert_eq!(file.chat_part(), Part::Opaque { vendor: "openai".into(), value: part });
    let kept = Server::always(Reply::json(r#"{"id":"file-1","deleted":false}"#)).await;
    let error = OpenAiFiles::compatible(&kept.url).unwrap().delete("file-1", &context).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOutput);
}

/// Answers every recorded reply of these routes, and says how many there were.
async fn replay(vendor: &str, path: &str, check: impl AsyncFn(&str, &recorded::Row)) -> usize {
    let rows: Vec<_> =
        recorded::rows(vendor).into_iter().flatten().filter(|row| row.path.ends_with(path)).collect();
    for row in &rows {
        let reply = Reply::new(row.status, &row.content_type, row.body.clone());
        let server = Server::always(reply).await;
        check(&server.url, row).await;
    }
    rows.len()
}

#[tokio::test]
async fn recorded_replies_are_understood() {
    let context = Context::new();
    let mut seen = replay("openai", "/moderations", async |url, row| {
        let model = OpenAiModeration::compatible("m", url).unwrap();
        let judged = model.moderate(&ModerationRequest::texts(["one"])).await.unwrap();
        assert!(judged.results[0].categories.len() >= 11, "{}", row.id);
    })
    .await;
    for path in ["/images/generations", "/images/edits"] {
        seen += replay("openai", path, async |url, row| {
            let drawn = OpenAiImages::compatible("m", url).unwrap().draw(&ImageRequest::new("x")).await;
            match drawn {
                Ok(drawn) => assert_eq!((row.status, drawn.images.len()), (200, 1), "{}", row.id),
                Err(error) => assert_eq!(error.status(), Some(row.status), "{}: {error}", row.id),
            }
        })
        .await;
    }
    seen += replay("openai", "/v1/files", async |url, row| {
        let files = OpenAiFiles::compatible(url).unwrap();
        let file = files.upload(sound(), "user_data", &context).await.unwrap();
        assert!(file.id.starts_with("file-") && file.bytes > Some(0), "{}", row.id);
    })
    .await;
    for vendor in ["mistral", "openrouter", "venice"] {
        seen += replay(vendor, "/audio/speech", async |url, row| {
            let model = OpenAiSpeech::compatible("m", url).unwrap();
            let said = model.speak(&SpeechRequest::new("x", "y")).await.unwrap();
            assert!(said.audio.len() > 1000 && said.mime == "audio/mpeg", "{} {said:?}", row.id);
        })
        .await;
    }
    for vendor in ["mistral", "openrouter", "venice", "cohere"] {
        seen += replay(vendor, "/audio/transcriptions", async |url, row| {
            let model = OpenAiTranscription::compatible("m", url).unwrap();
            let heard = model.transcribe(&TranscriptionRequest::new(sound())).await.unwrap();
            assert!(heard.text.len() > 20, "{}", row.id);
        })
        .await;
    }
    println!("{seen} recorded replies");
}

struct Nothing;

impl Layer<dyn ModerationModel> for Nothing {
    fn layer(&self, inner: Arc<dyn ModerationModel>) -> Arc<dyn ModerationModel> {
        inner
    }
}

#[tokio::test]
async fn models_work_behind_pointers_and_layers() {
    let model: Arc<dyn ModerationModel> = fake::FakeModeration::new(["bad"]).layer(Nothing);
    let boxed: Box<dyn ModerationModel> = Box::new(model);
    assert!(boxed.moderate(&ModerationRequest::texts(["bad"])).await.unwrap().any_flagged());
    let painter: Arc<dyn ImageModel> = Arc::new(fake::FakeImages::new());
    assert_eq!(painter.info().vendor, "fake");
}
