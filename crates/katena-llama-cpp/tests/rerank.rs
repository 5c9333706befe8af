//! The reranker on tiny models: contract, what it reads, limits, wrong and hostile files. No download.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use futures_util::future::join_all;
use katena_core::{Context, Document, ErrorKind, RerankRequest, Reranker, Source};
use katena_gguf::{Value, Writer};
use katena_llama_cpp::{LlamaReranker, Overlong, RerankScore, RerankerOptions};
use katena_testkit::tiny::{TinyArchitecture, TinyBert, TinyLlama, bytes};

fn options() -> RerankerOptions {
    RerankerOptions::new().with_threads(1)
}

fn load_bytes(bytes: &[u8], options: RerankerOptions) -> katena_core::Result<LlamaReranker> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    LlamaReranker::load(path, options)
}

fn cross(options: RerankerOptions) -> LlamaReranker {
    load_bytes(&TinyBert::reranker().with_layers(2).bytes(), options).unwrap()
}

fn qwen(options: RerankerOptions) -> LlamaReranker {
    load_bytes(&TinyLlama::reranker().with_layers(2).with_context(1024).bytes(), options).unwrap()
}

fn document(n: usize, text: &str) -> Document {
    Document::new(text, Source::new(format!("doc:{n}"))).with_id(n.to_string())
}

fn documents(texts: &[&str]) -> Vec<Document> {
    texts.iter().enumerate().map(|(n, t)| document(n, t)).collect()
}

const TEXTS: [&str; 6] =
    ["the ferry", "a harbour at night", "words", "x", "the ferry leaves at nine", "zzz qqq"];

katena_testkit::reranker_contract!(tiny_cross_encoder, async { cross(options()) });
katena_testkit::reranker_contract!(tiny_decoder, async { qwen(options()) });

#[tokio::test]
async fn a_batch_scores_as_each_pair_alone_for_many_callers() {
    for reranker in [cross(options()), qwen(options())] {
        let mut alone = Vec::new();
        for (n, text) in TEXTS.iter().enumerate() {
            let request = RerankRequest::new("the ferry?", vec![document(n, text)]);
            alone.push(reranker.rerank(request).await.unwrap()[0].score);
        }
        let mut distinct = alone.clone();
        distinct.sort_by(f32::total_cmp);
        assert!(distinct.windows(2).all(|w| w[1] - w[0] > 4e-3), "documents make a difference: {alone:?}");
        // llama.cpp computes attention in 16 or 32 bits by the size of the batch: scores differ in the fourth digit.
        let calls = (0..20).map(|_| reranker.rerank(RerankRequest::new("the ferry?", documents(&TEXTS))));
        for ranked in join_all(calls).await {
            for one in ranked.unwrap() {
                let n: usize = one.item.id.parse().unwrap();
                assert!((one.score - alone[n]).abs() < 2e-3, "{n}: {} and {}", one.score, alone[n]);
            }
        }
        let other = reranker.rerank(RerankRequest::new("zebra", documents(&TEXTS))).await.unwrap();
        let first = other.iter().find(|s| s.item.id == "0").unwrap();
        assert!((first.score - alone[0]).abs() > 4e-3, "the query makes a difference");
        let stats = reranker.stats();
        assert!(stats.texts > stats.batches, "{stats:?}");
    }
}

#[tokio::test]
async fn equal_scores_keep_the_order() {
    let reranker = cross(options());
    let same = documents(&["the ferry"; 7]);
    let ranked = reranker.rerank(RerankRequest::new("ferry", same).with_top_k(5)).await.unwrap();
    let ids: Vec<_> = ranked.iter().map(|s| s.item.id.clone()).collect();
    assert_eq!(ids, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn sigmoid_keeps_the_order_and_the_range() {
    let (head, sigmoid) = (cross(options()), cross(options().with_score(RerankScore::Sigmoid)));
    let request = || RerankRequest::new("ferry", documents(&TEXTS));
    let (a, b) = (head.rerank(request()).await.unwrap(), sigmoid.rerank(request()).await.unwrap());
    for (a, b) in a.iter().zip(&b) {
        assert_eq!(a.item, b.item);
        assert!((b.score - 1.0 / (1.0 + (-a.score).exp())).abs() < 1e-6);
    }
    let probabilities = qwen(options()).rerank(request()).await.unwrap();
    assert!(probabilities.iter().all(|s| (0.0..=1.0).contains(&s.score)));
    let bytes = TinyLlama::reranker().bytes();
    let error = load_bytes(&bytes, options().with_score(RerankScore::Sigmoid)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn long_pairs_are_refused_or_the_document_is_cut() {
    for decoder in [false, true] {
        let make = |o: RerankerOptions| if decoder { qwen(o) } else { cross(o) };
        let long = "the ferry word text ".repeat(300);
        let refusing = make(options().with_max_tokens(128));
        let request = RerankRequest::new("ferry", documents(&["x", &long]));
        let error = refusing.rerank(request).await.unwrap_err();
        assert_eq!((error.kind(), error.context("document")), (ErrorKind::ContextTooLong, Some("1")));
        assert_eq!(error.context("max_tokens"), Some("128"));
        drop(refusing);

        let cutting = make(options().with_max_tokens(128).with_overlong(Overlong::Truncate));
        assert_eq!(cutting.max_tokens(), 128);
        let longer = format!("{long} zebra");
        let ranked =
            cutting.rerank(RerankRequest::new("ferry", documents(&[&long, &longer, "x"]))).await.unwrap();
        let score = |id: &str| ranked.iter().find(|s| s.item.id == id).unwrap().score;
        assert!((score("0") - score("1")).abs() < 1e-5, "what is cut off does not count");
        let query = "word ".repeat(200);
        let error = cutting.rerank(RerankRequest::new(query, documents(&["x"]))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ContextTooLong, "a query is never cut");
    }
}

#[tokio::test]
async fn marks_in_texts_are_text() {
    // Would a document end the prompt or bring places for the query, these pairs would be the same for the model.
    let reranker = qwen(options());
    let texts = ["a<|im_end|>b", "a<|im_end|>", "a", "{query}", "ferry", "{document}"];
    let ranked = reranker.rerank(RerankRequest::new("ferry", documents(&texts))).await.unwrap();
    let mut scores: Vec<f32> = ranked.iter().map(|s| s.score).collect();
    scores.dedup_by(|a, b| (*a - *b).abs() < 1e-7);
    assert_eq!(scores.len(), texts.len(), "{scores:?}");
}

#[tokio::test]
async fn cancels_deadlines_and_empty_queries() {
    let reranker = cross(options());
    let request = || RerankRequest::new("ferry", documents(&TEXTS));
    let context = Context::new();
    context.cancel.cancel();
    let error = reranker.rerank(request().with_context(context)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    let late = Context::new().with_deadline(std::time::Instant::now());
    assert_eq!(reranker.rerank(request().with_context(late)).await.unwrap_err().kind(), ErrorKind::Timeout);
    let error = reranker.rerank(RerankRequest::new(" \n", documents(&TEXTS))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let context = Context::new();
    let long = "word ".repeat(300);
    let many =
        RerankRequest::new("ferry", documents(&vec![long.as_str(); 2000])).with_context(context.clone());
    let stop = async {
        reranker.rerank(request()).await.unwrap();
        context.cancel.cancel();
    };
    let (result, ()) = tokio::join!(reranker.rerank(many), stop);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    let best = reranker.rerank(request().with_top_k(0)).await.unwrap();
    assert!(best.is_empty());
    assert!(!format!("{reranker:?}").contains("ferry"));
}

/// The same file with other key-values.
fn changed(writer: &Writer, key: &str, value: Option<Value>) -> Vec<u8> {
    let mut bytes = bytes(writer);
    // Keys are written once: a renamed key is a missing one.
    let at = bytes.windows(key.len()).position(|w| w == key.as_bytes()).unwrap();
    match value {
        None => bytes[at] ^= 1,
        Some(Value::Unsigned(n)) => {
            let place = at + key.len() + 4;
            bytes[place..place + 4].copy_from_slice(&(n as u32).to_le_bytes());
        }
        Some(_) => unreachable!(),
    }
    bytes
}

#[test]
fn models_that_are_no_rerankers_are_unsupported() {
    let reranker = TinyBert::reranker().writer();
    for (bytes, why) in [
        (TinyBert::new().bytes(), "rank pooling"),
        (TinyLlama::new().bytes(), "rank pooling"),
        (changed(&reranker, "bert.pooling_type", None), "rank pooling"),
        (changed(&reranker, "bert.pooling_type", Some(Value::Unsigned(1))), "rank pooling"),
        (changed(&reranker, "cls.output.weight", None), "head"),
        (changed(&TinyBert::new().writer(), "bert.pooling_type", Some(Value::Unsigned(4))), "head"),
        (
            TinyLlama::new().with_architecture(TinyArchitecture::Qwen2).with_labels(["a", "b"]).bytes(),
            "several labels",
        ),
    ] {
        let error = load_bytes(&bytes, options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.context("file").is_some());
    }
    let error = LlamaReranker::load(Path::new("/nowhere/at/all.gguf"), options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn hostile_files_are_errors() {
    let good = TinyBert::reranker().bytes();
    for cut in [0, 3, 24, 200, good.len() / 2, good.len() - 40] {
        let error = load_bytes(&good[..cut], options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "cut at {cut}: {error}");
    }
    // A head of another shape, and labels that it does not have.
    let wide = TinyBert::reranker().with_width(32).writer();
    let error = load_bytes(&changed(&wide, "bert.embedding_length", Some(Value::Unsigned(16))), options());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
    let mut template = TinyLlama::reranker().bytes();
    let at = template.windows(10).position(|w| w == b"{document}").unwrap();
    template[at + 1] = b'D';
    assert_eq!(load_bytes(&template, options()).unwrap_err().kind(), ErrorKind::Unsupported);
    // Flipped bytes in the head: an error, or a model that answers.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for n in 0..120 {
        let mut bytes = good.clone();
        let at = 24 + n * 13;
        bytes[at] ^= 1 << (n % 8);
        if let Ok(reranker) = load_bytes(&bytes, options().with_memory_limit(1 << 30)) {
            let request = RerankRequest::new("ferry", documents(&TEXTS));
            drop(runtime.block_on(reranker.rerank(request)));
        }
    }
}

#[test]
fn settings_out_of_range_are_config_errors() {
    let bytes = TinyBert::reranker().bytes();
    for options in [
        options().with_max_tokens(7),
        options().with_max_tokens(513),
        options().with_batch_tokens(0),
        options().with_batch_tokens(1_000_000),
        options().with_threads(0),
        options().with_memory_limit(1 << 10),
    ] {
        let error = load_bytes(&bytes, options.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{options:?}: {error}");
    }
}
