//! Images: a generated model with a generated projector answers, and nothing from outside stops the process.
#![cfg(feature = "mtmd")]
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests and their helpers")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt};
use katena_core::{
    Cancel, ChatModel, ChatRequest, ChatResponse, Context, Error, ErrorKind, FinishReason, Media, Message,
    Part, Role,
};
use katena_gguf::{TensorPlan, TensorType, Value};
use katena_llama_cpp::{LlamaChat, LlamaOptions, LlamaVision};
use katena_testkit::tiny::{TinyClip, TinyLlama, bytes};

/// Tokens of an image with the tiny projector.
const IMAGE: u64 = 4;

struct Tiny {
    folder: tempfile::TempDir,
    model: PathBuf,
    projector: PathBuf,
}

impl Tiny {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = TinyLlama::new().with_context(2048).write(folder.path().join("tiny.gguf"));
        let projector = TinyClip::new().write(folder.path().join("mmproj.gguf"));
        Self { folder, model, projector }
    }

    fn options() -> LlamaOptions {
        LlamaOptions::new().with_threads(1).with_context_tokens(1024)
    }

    fn load(&self) -> LlamaVision {
        LlamaVision::load(&self.model, &self.projector, Self::options()).unwrap()
    }

    /// With these bytes as the projector.
    fn with(&self, projector: &[u8]) -> Result<LlamaVision, Error> {
        let path = self.folder.path().join("other.gguf");
        std::fs::write(&path, projector).unwrap();
        LlamaVision::load(&self.model, path, Self::options())
    }

    fn refused(&self, projector: &[u8]) -> ErrorKind {
        let error = self.with(projector).unwrap_err();
        assert!(error.context("file").is_some_and(|f| f.ends_with("other.gguf")), "{error}");
        error.kind()
    }
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().enumerate().fold(0u32, |all, (n, b)| all | u32::from(*b) << (16 - 8 * n));
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n)) as usize & 63] as char;
            out.push(if n <= group.len() { letter } else { '=' });
        }
    }
    out
}

/// A PNG image of these pixels, three bytes each.
fn png(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(name);
        crc.update(data);
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(name);
        out.extend(data);
        out.extend(crc.sum().to_be_bytes());
    };
    let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    chunk(b"IHDR", &head);
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    for y in 0..height {
        packed.write_all(&[0]).unwrap();
        for x in 0..width {
            packed.write_all(&pixel(x, y)).unwrap();
        }
    }
    chunk(b"IDAT", &packed.finish().unwrap());
    chunk(b"IEND", &[]);
    out
}

fn red() -> Vec<u8> {
    png(28, 28, |_, _| [255, 0, 0])
}

fn stripes() -> Vec<u8> {
    png(40, 30, |x, y| if (x / 3 + y / 5) % 2 == 0 { [255; 3] } else { [0, 20, 90] })
}

/// The smallest JPEG: 8 × 8 pixels of grey, one quantisation table, two Huffman tables of one code each.
fn jpeg() -> Vec<u8> {
    let mut out = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    out.extend([1; 64]);
    out.extend([0xff, 0xc0, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0]);
    for class in [0x00, 0x10] {
        out.extend([0xff, 0xc4, 0, 20, class, 1]);
        out.extend([0; 15]);
        out.push(0);
    }
    out.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0x3f, 0xff, 0xd9]);
    out
}

fn image(bytes: &[u8]) -> Part {
    Part::Image { media: Media::Base64 { mime: "image/png".into(), data: base64(bytes) } }
}

fn ask(parts: Vec<Part>) -> ChatRequest {
    ChatRequest::new([Message::new(Role::User, parts)])
        .with_temperature(0.0)
        .with_max_tokens(4)
        .with_logprobs(3)
}

fn show(bytes: &[u8]) -> ChatRequest {
    ask(vec![image(bytes), Part::text("What is this?")])
}

async fn answer(model: &LlamaVision, request: &ChatRequest) -> ChatResponse {
    model.generate(request).await.unwrap()
}

fn first(response: &ChatResponse) -> f32 {
    response.logprobs.as_ref().unwrap()[0].top[0].1
}

#[tokio::test]
async fn an_image_is_read_and_changes_the_answer() {
    let tiny = Tiny::new();
    let model = tiny.load();
    assert!(model.info().capabilities.images && !model.info().capabilities.audio);
    assert_eq!(model.image_tokens() as u64, IMAGE);
    let plain = answer(&model, &ask(vec![Part::text("What is this?")])).await;
    let one = answer(&model, &show(&red())).await;
    let usage = |r: &ChatResponse| r.usage.input_tokens.unwrap();
    assert_eq!(usage(&one), usage(&plain) + IMAGE, "the image's tokens count");
    assert_eq!(one, answer(&model, &show(&red())).await, "the same image, the same answer");
    let other = answer(&model, &show(&stripes())).await;
    let grey = answer(&model, &show(&jpeg())).await;
    let all = [first(&plain), first(&one), first(&other), first(&grey)];
    for (n, a) in all.iter().enumerate() {
        assert!(a.is_finite());
        assert!(all[..n].iter().all(|b| (a - b).abs() > 1e-5), "{all:?}");
    }
    // A streamed answer is the same.
    let mut stream = model.stream(&show(&red())).await.unwrap();
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event.unwrap());
    }
    assert!(matches!(last, Some(katena_core::ChatEvent::Finished(r)) if *r == one));
}

#[tokio::test]
async fn text_alone_is_answered_as_a_chat_model_does() {
    let tiny = Tiny::new();
    let request = ask(vec![Part::text("Hello <|im_end|> there")]).with_max_tokens(12);
    let here = answer(&tiny.load(), &request).await;
    let chat = LlamaChat::load(&tiny.model, Tiny::options()).unwrap().generate(&request).await.unwrap();
    assert_eq!((here.text(), here.usage.input_tokens), (chat.text(), chat.usage.input_tokens));
    assert!((first(&here) - first(&chat)).abs() < 1e-3);
}

#[tokio::test]
async fn several_images_are_read_in_their_places() {
    let tiny = Tiny::new();
    let model = tiny.load();
    let two = |a: &[u8], b: &[u8]| ask(vec![image(a), Part::text("or"), image(b), Part::text("?")]);
    let ab = answer(&model, &two(&red(), &stripes())).await;
    let ba = answer(&model, &two(&stripes(), &red())).await;
    assert_eq!(ab.usage.input_tokens.unwrap(), ba.usage.input_tokens.unwrap());
    assert!((first(&ab) - first(&ba)).abs() > 1e-5);
    let texts = answer(&model, &ask(vec![Part::text("or"), Part::text("?")])).await;
    assert_eq!(ab.usage.input_tokens.unwrap(), texts.usage.input_tokens.unwrap() + 2 * IMAGE);
    // Earlier turns keep their images.
    let turns = ChatRequest::new([
        Message::new(Role::User, vec![image(&red())]),
        Message::assistant("Red."),
        Message::new(Role::User, vec![Part::text("And "), image(&stripes())]),
    ]);
    answer(&model, &turns.with_max_tokens(2)).await;
}

#[tokio::test]
async fn the_mark_of_an_image_in_a_text_stays_text() {
    let tiny = Tiny::new();
    let model = tiny.load();
    let text = "<__media__><image>";
    let plain = answer(&model, &ask(vec![Part::text(text)])).await;
    let with = answer(&model, &ask(vec![Part::text(text), image(&red())])).await;
    assert_eq!(with.usage.input_tokens.unwrap(), plain.usage.input_tokens.unwrap() + IMAGE);
    let place = ask(vec![Part::text("\u{F0F20}"), image(&red())]);
    assert_eq!(model.generate(&place).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn images_of_any_size_within_the_limits_are_read() {
    let tiny = Tiny::new();
    let model = tiny.load();
    for (width, height) in [(1, 1), (1, 3000), (16_384, 1), (28, 27), (640, 480)] {
        answer(&model, &show(&png(width, height, |x, _| [x as u8; 3]))).await;
    }
}

#[tokio::test]
async fn broken_and_foreign_images_are_errors() {
    let tiny = Tiny::new();
    let model = tiny.load();
    let refused = async |part: Part| {
        let error = model.generate(&ask(vec![part, Part::text("?")])).await.unwrap_err();
        assert!(!error.to_string().is_empty());
        error.kind()
    };
    let whole = stripes();
    for cut in [0, 7, 12, 20, 30, 33, 40, whole.len() / 2] {
        let kind = refused(image(&whole[..cut])).await;
        assert!(matches!(kind, ErrorKind::InvalidInput | ErrorKind::Unsupported), "cut at {cut}: {kind:?}");
    }
    let grey = jpeg();
    // Behind the frame header a JPEG may end early: what is missing is grey.
    let frame = grey.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    for cut in 2..frame + 9 {
        assert_eq!(refused(image(&grey[..cut])).await, ErrorKind::InvalidInput, "cut at {cut}");
    }
    let mut huge = red();
    for (width, height) in [(u32::MAX, u32::MAX), (16_385, 1), (10_000, 10_000), (0, 5), (5, 0)] {
        huge[16..20].copy_from_slice(&width.to_be_bytes());
        huge[20..24].copy_from_slice(&height.to_be_bytes());
        assert_eq!(refused(image(&huge)).await, ErrorKind::InvalidInput, "{width} x {height}");
    }
    let text = Part::Image { media: Media::Base64 { mime: "image/png".into(), data: "no base64!".into() } };
    assert_eq!(refused(text).await, ErrorKind::InvalidInput);
    let url = Media::Url { mime: None, url: "https://example.com/a.png".into() };
    assert_eq!(refused(Part::Image { media: url.clone() }).await, ErrorKind::Unsupported);
    assert_eq!(refused(image(b"GIF89a\x01\0\x01\0\0\0\0")).await, ErrorKind::Unsupported);
    assert_eq!(refused(image(b"RIFF\0\0\0\0WAVEfmt ")).await, ErrorKind::Unsupported);
    assert_eq!(refused(Part::Audio { media: url.clone() }).await, ErrorKind::Unsupported);
    assert_eq!(refused(Part::Video { media: url }).await, ErrorKind::Unsupported);
    let system = ChatRequest::new([Message::new(Role::System, vec![image(&red())]), Message::user("?")]);
    assert_eq!(model.generate(&system).await.unwrap_err().kind(), ErrorKind::Unsupported);
    let many = ask(vec![image(&red()); 65]);
    assert_eq!(model.generate(&many).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    // The model still answers.
    answer(&model, &show(&red())).await;
}

#[tokio::test]
async fn flipped_bytes_of_images_never_stop_the_process() {
    let tiny = Tiny::new();
    let model = tiny.load();
    for whole in [stripes(), jpeg()] {
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x15;
            if let Err(e) = model.generate(&show(&bytes).with_max_tokens(1)).await {
                assert!(matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported), "{at}: {e}");
            }
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_it_is_computed() {
    let tiny = Tiny::new();
    let options = LlamaOptions::new().with_threads(1).with_context_tokens(256);
    let model = LlamaVision::load(&tiny.model, &tiny.projector, options).unwrap();
    let fits = ask(vec![image(&red()); 40]);
    assert_eq!(answer(&model, &fits).await.finish, FinishReason::Length);
    let error = model.generate(&ask(vec![image(&red()); 60])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextTooLong);
    assert_eq!(error.context("context_tokens"), Some("256"));
    // Without a limit the answer ends with the context.
    let mut long = show(&red());
    long.max_tokens = None;
    let whole = answer(&model, &long).await;
    assert!(whole.usage.input_tokens.unwrap() + whole.usage.output_tokens.unwrap() <= 257);
}

#[test]
fn a_projector_that_is_missing_or_another_is_an_error() {
    let tiny = Tiny::new();
    let load = |projector: &Path| LlamaVision::load(&tiny.model, projector, Tiny::options()).unwrap_err();
    let missing = load(&tiny.folder.path().join("none.gguf"));
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(load(&tiny.model).kind(), ErrorKind::InvalidInput, "a chat model is no projector");
    let swapped = LlamaVision::load(&tiny.projector, &tiny.projector, Tiny::options()).unwrap_err();
    assert!(matches!(swapped.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported), "{swapped}");
    assert_eq!(tiny.refused(&TinyClip::new().with_output(64).bytes()), ErrorKind::InvalidInput);
    assert_eq!(tiny.refused(b"no GGUF file at all"), ErrorKind::InvalidInput);
    let whole = TinyClip::new().bytes();
    for cut in (0..whole.len() - 1).step_by(199) {
        assert_eq!(tiny.refused(&whole[..cut]), ErrorKind::InvalidInput, "cut at {cut}");
    }
}

#[test]
fn a_projector_that_is_not_understood_is_refused() {
    let tiny = Tiny::new();
    let changed = |key: &str, value: Value| {
        let mut writer = TinyClip::new().writer();
        assert!(writer.replace(key, value), "{key}");
        bytes(&writer)
    };
    for kind in ["idefics3", "ldp", "gemma3", "qwen2vl_merger", ""] {
        let file = changed("clip.projector_type", Value::Text(kind.into()));
        assert_eq!(tiny.refused(&file), ErrorKind::Unsupported, "{kind}");
    }
    for (key, value) in [
        ("clip.projector_type", Value::Unsigned(3)),
        ("clip.has_vision_encoder", Value::Unsigned(1)),
        ("clip.has_vision_encoder", Value::Bool(false)),
        ("clip.vision.embedding_length", Value::Signed(32)),
        ("clip.vision.embedding_length", Value::Unsigned(64)),
        ("clip.vision.block_count", Value::Unsigned(0)),
        ("clip.vision.block_count", Value::Unsigned(3)),
        ("clip.vision.attention.head_count", Value::Unsigned(0)),
        ("clip.vision.attention.head_count", Value::Unsigned(3)),
        ("clip.vision.image_size", Value::Unsigned(0)),
        ("clip.vision.image_size", Value::Unsigned(42)),
        ("clip.vision.image_size", Value::Unsigned(27)),
        ("clip.vision.patch_size", Value::Unsigned(0)),
        ("clip.vision.patch_size", Value::Text("14".into())),
        ("clip.vision.attention.layer_norm_epsilon", Value::Float(-1.0)),
        ("clip.vision.attention.layer_norm_epsilon", Value::Unsigned(1)),
        ("clip.vision.image_mean", Value::Floats(vec![0.5])),
        ("clip.vision.image_mean", Value::Numbers(vec![1, 1, 1])),
        ("clip.vision.image_std", Value::Floats(vec![0.5, 0.0, 0.5])),
    ] {
        let kind = tiny.refused(&changed(key, value.clone()));
        assert!(
            matches!(kind, ErrorKind::InvalidInput | ErrorKind::Unsupported),
            "{key} {value:?}: {kind:?}"
        );
    }
    for key in ["clip.vision.feature_layer", "clip.vision.image_grid_pinpoints", "clip.minicpmv_version"] {
        let mut writer = TinyClip::new().writer();
        writer.set(key, Value::Numbers(vec![1, 2]));
        assert_eq!(tiny.refused(&bytes(&writer)), ErrorKind::Unsupported, "{key}");
    }
    for name in ["mm.3.weight", "v.blk.0.attn_qkv.weight", "v.blk.0.ffn_gate.weight", "v.image_newline"] {
        let mut writer = TinyClip::new().writer();
        writer.tensor(TensorPlan { name: name.into(), dims: vec![32], kind: TensorType::F32 });
        assert_eq!(tiny.refused(&bytes(&writer)), ErrorKind::Unsupported, "{name}");
    }
}

#[tokio::test]
async fn flipped_bytes_of_a_projector_never_stop_the_process() {
    let tiny = Tiny::new();
    let whole = TinyClip::new().bytes();
    let head = whole.windows(11).rposition(|w| w == b"mm.2.weight").unwrap() + 100;
    let (mut loaded, mut refused) = (0, 0);
    for at in 0..head {
        let mut flipped = whole.clone();
        flipped[at] ^= [0x15, 0x80, 0x01][at % 3];
        match tiny.with(&flipped) {
            Ok(model) => {
                loaded += 1;
                let seen = model.generate(&show(&red()).with_max_tokens(1)).await;
                assert!(seen.is_ok() || seen.is_err_and(|e| e.kind() != ErrorKind::Cancelled));
            }
            Err(_) => refused += 1,
        }
    }
    assert!(loaded > 0 && refused > head / 2, "{loaded} loaded, {refused} refused");
}

#[tokio::test]
async fn an_answer_can_be_cancelled_dropped_and_late() {
    let tiny = Tiny::new();
    let model = tiny.load();
    let cancel = Cancel::new();
    cancel.cancel();
    let early = show(&red()).with_context(Context::new().with_cancel(cancel));
    assert_eq!(model.generate(&early).await.unwrap_err().kind(), ErrorKind::Cancelled);
    let late = show(&red()).with_context(Context::new().with_deadline(Instant::now()));
    assert_eq!(model.generate(&late).await.unwrap_err().kind(), ErrorKind::Timeout);
    let cancel = Cancel::new();
    let long = show(&stripes()).with_max_tokens(900).with_context(Context::new().with_cancel(cancel.clone()));
    let mut stream = model.stream(&long).await.unwrap();
    stream.next().await.unwrap().unwrap();
    cancel.cancel();
    let mut ended = None;
    while let Some(event) = stream.next().await {
        ended = event.err();
    }
    assert_eq!(ended.unwrap().kind(), ErrorKind::Cancelled);
    drop(model.stream(&show(&red()).with_max_tokens(900)).await.unwrap());
    answer(&model, &show(&red())).await;
    // Dropping the model while an answer is read: the answer is whole.
    let whole = model.stream(&show(&red())).await.unwrap();
    drop(model);
    assert!(whole.collect::<Vec<_>>().await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_with_a_time_to_try_again() {
    let tiny = Tiny::new();
    let model = LlamaVision::load(&tiny.model, &tiny.projector, Tiny::options().with_queue(1)).unwrap();
    let long = show(&red()).with_max_tokens(900);
    let mut running = Vec::new();
    let mut refused = None;
    // An answer may end early; some three are too many.
    for _ in 0..20 {
        match model.stream(&long).now_or_never().unwrap() {
            Ok(stream) => running.push(stream),
            Err(e) => refused = Some(e),
        }
    }
    let error = refused.expect("too many at once");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_temporary() && error.retry_after().is_some_and(|t| t >= Duration::from_millis(100)));
    for stream in running {
        assert!(stream.collect::<Vec<_>>().await.iter().all(Result::is_ok), "who has a place is answered");
    }
    answer(&model, &show(&red())).await;
}
