//! BERT models in this process: the contracts on a tiny model and on the real one where it is there, its vectors beside those of
//! sentence-transformers, limits, hostile files.

#![cfg(feature = "bert")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

use katena_core::{Cancel, Context, EmbedRequest, Embedder, ErrorKind};
use katena_embeddings::BertEmbedder;
use katena_embeddings::bert::{BertOptions, Overlong, Pooling};
use katena_gguf::{TensorPlan, TensorType, Value};
use katena_testkit::tiny::{self, TinyBert, TinyLlama, TinyPooling};
use tempfile::TempDir;

fn options() -> BertOptions {
    BertOptions::new().with_threads(1)
}

/// A tiny model, and the folder that it is in.
fn tiny_model(model: &TinyBert, options: BertOptions) -> (BertEmbedder, TempDir) {
    let folder = TempDir::new().unwrap();
    let path = model.write(folder.path().join("tiny.gguf"));
    let embedder = BertEmbedder::load(path, options).unwrap();
    (embedder, folder)
}

/// The real model, where it is there.
fn real(options: BertOptions) -> Option<BertEmbedder> {
    tiny::embed_model().map(|path| BertEmbedder::load(path, options).unwrap())
}

katena_testkit::embedder_contract!(tiny_bert, async { tiny_model(&TinyBert::new(), options()) });
katena_testkit::embedder_contract!(tiny_bert_on_three_threads, async {
    tiny_model(&TinyBert::new().with_width(48).with_layers(2), options().with_threads(3))
});
katena_testkit::tokenizer_contract!(tiny_bert_words, async {
    tiny_model(&TinyBert::new(), options()).0.tokenizer().unwrap()
});
katena_testkit::embedder_contract!(real_bert, async { real(options()) });
katena_testkit::tokenizer_contract!(real_bert_words, async {
    real(options()).map(|e| e.tokenizer().unwrap())
});

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
}

/// Made with sentence-transformers 6.2 on torch 2.15 from the same weights in 32 bits: a vector's first four numbers, and its
/// cosine to the first text's.
#[tokio::test]
async fn vectors_are_those_of_sentence_transformers() {
    let Some(embedder) = real(options().with_overlong(Overlong::Truncate)) else { return };
    let long = "tide and time ".repeat(200);
    let expected = [
        ("The ferry leaves at half past six.", [0.085_347, 0.029_57, 0.079_802, -0.010_183], 1.0),
        ("Die Fähre legt um halb sieben ab.", [-0.035_617, 0.066_082, -0.015_954, -0.051_763], 0.006_431),
        ("渡し船は六時半に出ます。", [0.001_928, 0.063_919, 0.016_712, -0.005_768], -0.011_529),
        ("غادر القارب في السادسة والنصف", [-0.009_601, 0.101_533, -0.005_631, -0.055_588], 0.054_692),
        ("🚢 6:30", [-0.000_552, 0.005_672, 0.021_517, 0.011_918], 0.297_452),
        ("", [-0.118_838, 0.048_299, -0.002_548, -0.011_011], 0.071_026),
        ("fn main() { println!(\"{}\", 6.5); }", [-0.009_361, 0.089_347, -0.059_785, 0.003_508], 0.167_998),
        // 256 tokens of it count.
        (&long, [-0.055_021, -0.011_813, 0.038_524, -0.099_114], 0.164_133),
    ];
    let request = EmbedRequest::documents(expected.iter().map(|(text, ..)| *text));
    let vectors = embedder.embed(&request).await.unwrap().vectors;
    for ((text, first, right), vector) in expected.iter().zip(&vectors) {
        for (x, y) in first.iter().zip(vector) {
            assert!((x - y).abs() < 3e-4, "{text}: {x} {y}");
        }
        let got = cosine(vector, &vectors[0]);
        assert!((got - right).abs() < 3e-4, "{text}: {got} {right}");
    }
}

#[tokio::test]
async fn threads_and_batches_change_nothing() {
    let texts: Vec<String> = (0..60).map(|n| "a b 1 2, c ".repeat(n % 13) + &n.to_string()).collect();
    let model = TinyBert::new().with_width(32).with_layers(2);
    let request = EmbedRequest::documents(texts);
    let (one, _folder) = tiny_model(&model, options());
    let (many, _other) = tiny_model(&model, options().with_threads(3).with_batch_tokens(32));
    let right = one.embed(&request).await.unwrap();
    // Several requests at once share batches.
    let calls = (0..4).map(|_| many.embed(&request));
    for response in futures_util::future::join_all(calls).await {
        let response = response.unwrap();
        assert_eq!(response.usage, right.usage);
        for (a, b) in response.vectors.iter().zip(&right.vectors) {
            assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-5));
        }
    }
    assert_eq!(one.info(), many.info());
}

#[tokio::test]
async fn each_pooling_and_prefix_has_its_own_space() {
    let request = EmbedRequest::query("a 1");
    let mut seen: Vec<(String, Vec<f32>)> = Vec::new();
    for options in [
        options().with_pooling(Pooling::Mean),
        options().with_pooling(Pooling::Cls),
        options().with_pooling(Pooling::Last),
        options().with_prefixes("q: ", "d: "),
    ] {
        let (embedder, _folder) = tiny_model(&TinyBert::new(), options);
        let vector = embedder.embed(&request).await.unwrap().vectors.remove(0);
        for (name, other) in &seen {
            assert_ne!(*name, embedder.info().model);
            assert!(cosine(&vector, other) < 0.9999);
        }
        seen.push((embedder.info().model.clone(), vector));
    }
    let (said, _folder) = tiny_model(&TinyBert::new().with_pooling(TinyPooling::Cls), options());
    let vector = said.embed(&request).await.unwrap().vectors.remove(0);
    assert!(said.info().model.contains("/cls/"));
    assert!(cosine(&vector, &seen[1].1) > 0.999_999);
    // A prefix is text like any other.
    let (plain, _folder) = tiny_model(&TinyBert::new(), options());
    let vector = plain.embed(&EmbedRequest::query("q: a 1")).await.unwrap().vectors.remove(0);
    assert!(cosine(&vector, &seen[3].1) > 0.999_999);
}

#[tokio::test]
async fn long_texts_are_refused_or_cut() {
    let text = "a ".repeat(40);
    let (refusing, _folder) = tiny_model(&TinyBert::new(), options().with_max_tokens(16));
    assert_eq!(refusing.info().max_tokens, Some(14));
    let error = refusing.embed(&EmbedRequest::documents(["b", &text])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextTooLong);
    let (cutting, _folder) =
        tiny_model(&TinyBert::new(), options().with_max_tokens(16).with_overlong(Overlong::Truncate));
    let response = cutting.embed(&EmbedRequest::documents([text, "a ".repeat(14)])).await.unwrap();
    assert_eq!(response.usage.input_tokens, Some(32));
    assert!(cosine(&response.vectors[0], &response.vectors[1]) > 0.999_999);
}

#[tokio::test]
async fn a_cancel_ends_a_long_request() {
    let (embedder, _folder) = tiny_model(&TinyBert::new(), options());
    let cancel = Cancel::new();
    let texts = vec!["a b c d e f g 1 2 3 ".repeat(20); 20_000];
    let context = Context::default().with_cancel(cancel.clone());
    let request = EmbedRequest::documents(texts).with_context(context);
    let task = tokio::spawn({
        let embedder = embedder.clone();
        async move { embedder.embed(&request).await }
    });
    tokio::task::yield_now().await;
    cancel.cancel();
    assert_eq!(task.await.unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
    // The next request does not wait for what was given up.
    assert_eq!(embedder.embed(&EmbedRequest::query("a")).await.unwrap().vectors.len(), 1);
}

fn kind(path: &Path, options: BertOptions) -> ErrorKind {
    BertEmbedder::load(path, options).unwrap_err().kind()
}

#[test]
fn settings_out_of_range_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = TinyBert::new().write(folder.path().join("tiny.gguf"));
    for options in [
        options().with_threads(0),
        options().with_threads(257),
        options().with_batch_tokens(31),
        options().with_queue(0),
        options().with_max_tokens(3),
        options().with_max_tokens(100_000),
        options().with_memory_limit(1000),
        options().with_max_tokens(16).with_prefixes("a ".repeat(14), ""),
    ] {
        assert_eq!(kind(&path, options.clone()), ErrorKind::Config, "{options:?}");
    }
}

#[test]
fn other_models_and_broken_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    assert_eq!(kind(&folder.path().join("none.gguf"), options()), ErrorKind::NotFound);
    assert_eq!(
        kind(&TinyLlama::new().write(folder.path().join("l.gguf")), options()),
        ErrorKind::Unsupported
    );
    assert_eq!(
        kind(&TinyBert::reranker().write(folder.path().join("r.gguf")), options()),
        ErrorKind::Unsupported
    );
    let unsaid = TinyBert::new().with_pooling(TinyPooling::Unsaid).write(folder.path().join("u.gguf"));
    assert_eq!(kind(&unsaid, options()), ErrorKind::Unsupported);
    BertEmbedder::load(&unsaid, options().with_pooling(Pooling::Mean)).unwrap();

    let good = tiny::bytes(&TinyBert::new().writer());
    assert_eq!(kind(&file("cut.gguf", &good[..good.len() - 40]), options()), ErrorKind::InvalidInput);
    assert_eq!(kind(&file("no.gguf", b"no model"), options()), ErrorKind::InvalidInput);
    for (key, value, expected) in [
        ("bert.attention.head_count", 3u32.to_le_bytes(), ErrorKind::InvalidInput),
        ("bert.attention.head_count", 0u32.to_le_bytes(), ErrorKind::InvalidInput),
        ("bert.block_count", 7u32.to_le_bytes(), ErrorKind::InvalidInput),
        ("bert.embedding_length", 32u32.to_le_bytes(), ErrorKind::InvalidInput),
        ("bert.feed_forward_length", (1u32 << 30).to_le_bytes(), ErrorKind::InvalidInput),
        ("bert.attention.layer_norm_epsilon", f32::NAN.to_le_bytes(), ErrorKind::InvalidInput),
        ("tokenizer.ggml.model\x08\0\0\0\x04\0\0\0", [0; 4], ErrorKind::Unsupported),
    ] {
        let mut bytes = good.clone();
        let at = bytes.windows(key.len()).position(|w| w == key.as_bytes()).unwrap();
        // After the key comes the value's type.
        bytes[at + key.len() + 4..][..4].copy_from_slice(&value);
        assert_eq!(kind(&file("key.gguf", &bytes), options()), expected, "{key}");
    }
    let mut writer = TinyBert::new().writer();
    writer.set("bert.vocab_size", Value::Unsigned(1));
    BertEmbedder::load(file("same.gguf", &tiny::bytes(&writer)), options()).unwrap();
    let mut writer = TinyBert::new().writer();
    let (name, dims) = ("blk.0.attn_q_norm.weight".into(), vec![16]);
    writer.tensor(TensorPlan { name, dims, kind: TensorType::F32 });
    assert_eq!(kind(&file("more.gguf", &tiny::bytes(&writer)), options()), ErrorKind::Unsupported);
}
