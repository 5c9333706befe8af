//! The static embedder on generated models: contract, vectors by hand, limits, broken files. No download.
#![cfg(feature = "static")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use katena_core::{Context, EmbedRequest, Embedder, ErrorKind, Result};
use katena_embeddings::{StaticEmbedder, StaticOptions};
use katena_testkit::tiny::{TinyNumbers, TinyStatic};
use tempfile::TempDir;

fn folder(model: &TinyStatic) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    model.write(folder.path());
    folder
}

fn load(model: &TinyStatic) -> StaticEmbedder {
    StaticEmbedder::load(folder(model).path(), StaticOptions::new()).unwrap()
}

fn letters() -> TinyStatic {
    TinyStatic::new().with_letters().with_width(16)
}

katena_testkit::embedder_contract!(unit, async { load(&letters()) });
katena_testkit::embedder_contract!(raw, async { load(&letters().raw().weighted().mapped()) });
katena_testkit::embedder_contract!(bytes, async { load(&letters().with_numbers(TinyNumbers::I8)) });
katena_testkit::tokenizer_contract!(words, async { load(&letters()).tokenizer() });

async fn vector(embedder: &StaticEmbedder, text: &str) -> Vec<f32> {
    embedder.embed(&EmbedRequest::documents([text])).await.unwrap().vectors.remove(0)
}

fn close(a: &[f32], b: &[f32]) {
    assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?}\n{b:?}");
}

/// "Singing, the ferry." is sing ##ing , the ferry . of which the comma is unknown.
const TEXT: &str = "Singing, the ferry.";
const TOKENS: [usize; 5] = [2, 3, 5, 6, 9];

/// The mean of the rows, by hand.
fn mean(model: &TinyStatic, tokens: &[usize]) -> Vec<f32> {
    let mut mean = vec![0.0; model.row(0).len()];
    for token in tokens {
        for (sum, x) in mean.iter_mut().zip(model.row(*token)) {
            *sum += x * model.weight(*token) / tokens.len() as f32;
        }
    }
    mean
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / length).collect()
}

#[tokio::test]
async fn a_vector_is_the_mean_of_its_known_tokens() {
    for numbers in [TinyNumbers::F32, TinyNumbers::F16, TinyNumbers::I8] {
        let plain = TinyStatic::new().with_numbers(numbers);
        for model in
            [plain.clone(), plain.clone().weighted(), plain.clone().mapped(), plain.weighted().mapped()]
        {
            close(&vector(&load(&model), TEXT).await, &unit(&mean(&model, &TOKENS)));
            let raw = model.raw();
            let embedder = load(&raw);
            assert!(!embedder.info().normalized);
            let want = mean(&raw, &TOKENS);
            let scale = want.iter().map(|x| x.abs()).fold(1.0, f32::max);
            let got: Vec<f32> = vector(&embedder, TEXT).await.iter().map(|x| x / scale).collect();
            close(&got, &want.iter().map(|x| x / scale).collect::<Vec<_>>());
        }
    }
}

/// Rows 2 and 3 of seed 0 in eighths, written down: a change of the reader or of the mean shows here.
#[tokio::test]
async fn a_vector_worked_out_by_hand() {
    let folder = folder(&TinyStatic::new().with_words(["ab", "##c"]));
    let rows: [[f32; 2]; 4] = [[9.0, 9.0], [7.0, 7.0], [3.0, 0.0], [0.0, 4.0]];
    let data: Vec<u8> = rows.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    let header = br#"{"embeddings":{"dtype":"F32","shape":[4,2],"data_offsets":[0,32]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, &data].concat();
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    let embedder = StaticEmbedder::load(folder.path(), StaticOptions::new()).unwrap();
    // "abc" is ab ##c: the mean is (1.5, 2), its length 2.5.
    close(&vector(&embedder, "abc").await, &[0.6, 0.8]);
    close(&vector(&embedder, "AB ?").await, &[1.0, 0.0]);
    // ab ab ##c: (2, 4/3), length (2/3)·√13.
    close(&vector(&embedder, "ab abc").await, &[3.0 / 13f32.sqrt(), 2.0 / 13f32.sqrt()]);
    assert_eq!(embedder.info().dimensions, 2);
}

#[tokio::test]
async fn texts_without_known_tokens() {
    let embedder = load(&TinyStatic::new());
    for text in ["", "日本語", "xyz"] {
        let error = embedder.embed(&EmbedRequest::documents(["song", text])).await.unwrap_err();
        assert_eq!((error.kind(), error.context("text")), (ErrorKind::InvalidInput, Some("1")), "{text:?}");
    }
    assert_eq!(vector(&load(&TinyStatic::new().raw()), "xyz").await, vec![0.0; 8]);
}

#[tokio::test]
async fn options_are_kept_and_in_the_identity() {
    let model = TinyStatic::new().raw();
    let folder = folder(&model);
    let with = |options| StaticEmbedder::load(folder.path(), options).unwrap();
    let all = with(StaticOptions::new());
    let two = with(StaticOptions::new().with_max_tokens(2));
    let one = with(StaticOptions::new().with_unit_vectors());
    close(&vector(&two, TEXT).await, &mean(&model, &TOKENS[..2]));
    close(&vector(&one, TEXT).await, &unit(&mean(&model, &TOKENS)));
    assert_eq!(two.info().max_tokens, Some(2));
    let names = [&all, &two, &one].map(|e| e.info().model.clone());
    assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2], "{names:?}");
    let other = load(&model.with_seed(9));
    assert_ne!(other.info().model, names[0]);
    let used = all.embed(&EmbedRequest::documents([TEXT, "song"])).await.unwrap().usage.input_tokens;
    assert_eq!(used, Some(6));
    let error = StaticEmbedder::load(folder.path(), StaticOptions::new().with_max_tokens(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_long_request_can_be_cancelled_and_lets_others_run() {
    let embedder = load(&letters());
    let context = Context::new();
    let request = EmbedRequest::documents(vec!["the ferry ".repeat(1000); 500]).with_context(context.clone());
    let stop = async { context.cancel.cancel() };
    let (result, ()) = tokio::join!(embedder.embed(&request), stop);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
}

fn spoilt(change: impl FnOnce(&std::path::Path)) -> Result<StaticEmbedder> {
    let folder = folder(&TinyStatic::new().weighted().mapped());
    change(folder.path());
    StaticEmbedder::load(folder.path(), StaticOptions::new())
}

/// A file of one tensor after another, all zeros.
fn tensors(list: &[(&str, &str, &[usize], usize)]) -> Vec<u8> {
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, kind, shape, bytes) in list {
        let entry = serde_json::json!({"dtype": kind, "shape": shape, "data_offsets": [end, end + bytes]});
        header.insert((*name).to_owned(), entry);
        end += bytes;
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; end]].concat()
}

#[test]
fn broken_folders_are_typed_errors_that_name_the_file() {
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        let error = spoilt(|f| std::fs::remove_file(f.join(file)).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{file}");
        assert!(error.context("file").is_some_and(|f| f.ends_with(file)));
        for bytes in [&b""[..], b"{", b"[1]", b"\xff\xff\xff\xff\xff\xff\xff\xff{}", b"null"] {
            if file == "config.json" && (bytes == b"[1]" || bytes == b"null") {
                continue;
            }
            let error = spoilt(|f| std::fs::write(f.join(file), bytes).unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{file}: {bytes:?}");
            assert!(error.context("file").is_some_and(|f| f.ends_with(file)), "{error:?}");
        }
    }
    for list in [
        &[("other", "F32", &[10, 8][..], 320)][..],
        &[("embeddings", "F32", &[80], 320)],
        &[("embeddings", "F32", &[0, 8], 0)],
        &[("embeddings", "F32", &[10, 0], 0)],
        &[("embeddings", "F32", &[9, 8], 288)],
        &[("embeddings", "BOOL", &[10, 8], 80)],
        &[("embeddings", "F32", &[10, 8], 320), ("weights", "F64", &[9], 72)],
        &[("embeddings", "F32", &[10, 8], 320), ("weights", "I64", &[10], 80)],
        &[("embeddings", "F32", &[10, 8], 320), ("mapping", "I64", &[9], 72)],
        &[("embeddings", "F32", &[10, 8], 320), ("mapping", "F32", &[10], 40)],
    ] {
        let error =
            spoilt(|f| std::fs::write(f.join("model.safetensors"), tensors(list)).unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{list:?}: {error}");
    }
    // Rows that are not there.
    for row in [[5u8, 0], [0xff, 0xff]] {
        let error = spoilt(|f| {
            let path = f.join("model.safetensors");
            let mut bytes = std::fs::read(&path).unwrap();
            let end = bytes.len();
            bytes[end - 8..end - 6].copy_from_slice(&row);
            std::fs::write(path, bytes).unwrap();
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let error = spoilt(|f| std::fs::write(f.join("config.json"), r#"{"normalize": "yes"}"#).unwrap());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn other_tokenizers_are_unsupported() {
    for kind in ["Unigram", "BPE", "WordLevel"] {
        let error = spoilt(|f| {
            let path = f.join("tokenizer.json");
            let text = std::fs::read_to_string(&path).unwrap().replace("\"WordPiece\"", &format!("{kind:?}"));
            std::fs::write(path, text).unwrap();
        })
        .unwrap_err();
        assert_eq!((error.kind(), error.context("found")), (ErrorKind::Unsupported, Some(kind)));
    }
}
