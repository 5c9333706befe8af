//! The embedder on the real model: agreement with the published vectors, limits, identity.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests and their helpers")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use katena_core::{EmbedRequest, Embedder, ErrorKind};
use katena_llama_cpp::{EmbedderOptions, LlamaEmbedder, Overlong};

fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * if exponent == 0 {
        mantissa * 2f64.powi(-24)
    } else {
        (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15)
    }
}

/// The published vectors of a file.
fn vectors(path: &Path) -> Vec<Vec<f64>> {
    let mut bytes = Vec::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    let numbers: Vec<f64> = bytes.chunks_exact(2).map(|c| half(u16::from_le_bytes([c[0], c[1]]))).collect();
    numbers.chunks_exact(384).map(<[f64]>::to_vec).collect()
}

/// Passages and questions of XQuAD-en.
fn texts(path: &Path) -> (Vec<String>, Vec<String>) {
    let (mut passages, mut questions) = (Vec::new(), Vec::new());
    for line in BufReader::new(GzDecoder::new(std::fs::File::open(path).unwrap())).lines() {
        let value: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        match value["type"].as_str() {
            Some("passage") => passages.push(value["text"].as_str().unwrap().to_owned()),
            _ => questions.push(value["question"].as_str().unwrap().to_owned()),
        }
    }
    (passages, questions)
}

fn cosine(a: &[f32], b: &[f64]) -> f64 {
    let dot: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * y).sum();
    let length = |v: f64| v.sqrt();
    dot / length(a.iter().map(|x| f64::from(*x).powi(2)).sum()) / length(b.iter().map(|x| x * x).sum())
}

/// Embeds every `step`th text and compares.
async fn agree(embedder: &LlamaEmbedder, texts: &[String], vectors: &[Vec<f64>], step: usize) {
    assert_eq!(texts.len(), vectors.len());
    let some: Vec<usize> = (0..texts.len()).step_by(step).collect();
    let request = EmbedRequest::documents(some.iter().map(|n| texts[*n].clone()));
    let got = embedder.embed(&request).await.unwrap().vectors;
    let cosines: Vec<f64> = some.iter().zip(&got).map(|(n, v)| cosine(v, &vectors[*n])).collect();
    let worst = cosines.iter().copied().fold(1.0, f64::min);
    eprintln!("{} texts: least cosine {worst:.6}", cosines.len());
    assert!(worst >= 0.999, "the least cosine is {worst}");
}

/// Every 10th question and every 4th passage; all of them with `KATENA_FULL=1`.
#[tokio::test]
async fn vectors_agree_with_the_published_model() {
    let (Some(embedder), Some(ann), Some(xquad)) =
        (common::embedder(), common::evals("ann"), common::evals("retrieval/xquad.en.jsonl.gz"))
    else {
        return;
    };
    let full = std::env::var_os("KATENA_FULL").is_some_and(|v| v == "1");
    let (passages, questions) = texts(&xquad);
    let read = |name: &str| vectors(&ann.join(name));
    let (passage_step, question_step) = if full { (1, 1) } else { (4, 10) };
    agree(&embedder, &questions, &read("xquad_en_minilm_questions_1190x384.f16.gz"), question_step).await;
    agree(&embedder, &passages, &read("xquad_en_minilm_passages_240x384.f16.gz"), passage_step).await;
}

#[tokio::test]
async fn first_values_agree_with_the_goldens() {
    let (Some(embedder), Some(path)) =
        (common::embedder(), common::evals("ann/minilm_sentence_goldens.json"))
    else {
        return;
    };
    let goldens: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for golden in goldens.as_array().unwrap() {
        let text = golden["text"].as_str().unwrap();
        let response = embedder.embed(&EmbedRequest::documents([text])).await.unwrap();
        for (n, want) in golden["vector_head"].as_array().unwrap().iter().enumerate() {
            let (got, want) = (f64::from(response.vectors[0][n]), want.as_f64().unwrap());
            assert!((got - want).abs() < 0.002, "{text:.40}: value {n} is {got}, not {want}");
        }
    }
}

#[tokio::test]
async fn long_texts_are_refused_or_cut_as_chosen() {
    let Some(refusing) = common::embedder_with(EmbedderOptions::new()) else { return };
    let most = refusing.info().max_tokens.unwrap();
    assert_eq!(most, 254, "the model card's 256, without the marks");
    let tokenizer = refusing.tokenizer().unwrap();
    let fits = "word ".repeat(most);
    assert_eq!(tokenizer.count(&fits), most);
    refusing.embed(&EmbedRequest::documents([fits.as_str()])).await.unwrap();
    let long = format!("{fits} more");
    let error =
        refusing.embed(&EmbedRequest::documents(["short", "short", long.as_str()])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextTooLong);
    assert_eq!(error.context("text"), Some("2"));
    assert_eq!((error.context("tokens"), error.context("max_tokens")), (Some("255"), Some("254")));
    drop(refusing);

    let Some(cutting) = common::embedder() else { return };
    let response = cutting.embed(&EmbedRequest::documents([fits, long])).await.unwrap();
    let far =
        response.vectors[0].iter().zip(&response.vectors[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-4, "what is cut off does not count");
    assert_eq!(response.usage.input_tokens, Some(2 * 256));
}

#[tokio::test]
async fn the_identity_names_all_that_changes_vectors() {
    let Some(plain) = common::embedder_with(EmbedderOptions::new()) else { return };
    let model = |e: &LlamaEmbedder| e.info().model.clone();
    let same = common::embedder().unwrap();
    assert_eq!(model(&plain), model(&same), "cutting long texts changes no vector that both give");
    let shorter = common::embedder_with(EmbedderOptions::new().with_max_tokens(128)).unwrap();
    let cls =
        common::embedder_with(EmbedderOptions::new().with_pooling(katena_llama_cpp::Pooling::Cls)).unwrap();
    let prefixed =
        common::embedder_with(EmbedderOptions::new().with_prefixes("query: ", "passage: ")).unwrap();
    let mut names = vec![model(&plain), model(&shorter), model(&cls), model(&prefixed)];
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 4, "{names:?}");
    let a = prefixed.embed(&EmbedRequest::query("x")).await.unwrap();
    let b = plain.embed(&EmbedRequest::documents(["query: x"])).await.unwrap();
    let far = a.vectors[0].iter().zip(&b.vectors[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-4, "the prefix is put before the text");
}

#[tokio::test]
async fn a_short_request_does_not_wait_for_a_long_one() {
    let Some(embedder) = common::embedder() else { return };
    let request =
        EmbedRequest::documents((0..400).map(|n| format!("Sentence {n} about nothing in particular.")));
    let long = embedder.embed(&request);
    let short = async {
        for n in 0..3 {
            embedder.embed(&EmbedRequest::query(format!("question {n}"))).await.unwrap();
        }
    };
    match futures_util::future::select(std::pin::pin!(long), std::pin::pin!(short)).await {
        futures_util::future::Either::Left(_) => panic!("three short requests waited for a long one"),
        futures_util::future::Either::Right(((), long)) => assert_eq!(long.await.unwrap().vectors.len(), 400),
    }
}

#[tokio::test]
async fn many_callers_get_what_each_gets_alone() {
    let Some(embedder) = common::embedder() else { return };
    let text =
        |n: usize| format!("Caller {n} asks about chains. {}", "More of the same. ".repeat(n * 5 % 23));
    let requests: Vec<_> = (0..24).map(|n| EmbedRequest::documents([text(n), text(n + 100)])).collect();
    let together = futures_util::future::join_all(requests.iter().map(|r| embedder.embed(r))).await;
    let stats = embedder.stats();
    assert!(stats.batches < 40 && stats.texts == 48, "callers share batches: {stats:?}");
    for (n, response) in together.into_iter().enumerate() {
        let vectors = response.unwrap().vectors;
        for (text, vector) in [text(n), text(n + 100)].into_iter().zip(vectors) {
            let alone = embedder.embed(&EmbedRequest::documents([text])).await.unwrap().vectors.remove(0);
            let alone: Vec<f64> = alone.into_iter().map(f64::from).collect();
            let cosine = cosine(&vector, &alone);
            assert!(cosine >= 0.99999, "caller {n}: {cosine}");
        }
    }
}

#[tokio::test]
async fn cancelling_ends_a_running_request() {
    let Some(embedder) = common::embedder() else { return };
    let context = katena_core::Context::new();
    let request = EmbedRequest::documents(vec!["word ".repeat(200); 500]).with_context(context.clone());
    let stop = async {
        embedder.embed(&EmbedRequest::query("one")).await.unwrap();
        context.cancel.cancel();
    };
    let (result, ()) = futures_util::future::join(embedder.embed(&request), stop).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    embedder.embed(&EmbedRequest::query("still there")).await.unwrap();
}

#[test]
fn settings_out_of_range_are_config_errors() {
    let Some(path) = common::embed_path() else { return };
    for options in [
        EmbedderOptions::new().with_max_tokens(3),
        EmbedderOptions::new().with_max_tokens(513),
        EmbedderOptions::new().with_batch_tokens(0),
        EmbedderOptions::new().with_batch_tokens(1_000_000),
        EmbedderOptions::new().with_threads(0),
        EmbedderOptions::new().with_memory_limit(1 << 20),
        EmbedderOptions::new().with_max_tokens(8).with_prefixes("a b c d e f g h", ""),
    ] {
        let error =
            LlamaEmbedder::load(&path, options.clone().with_overlong(Overlong::Truncate)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{options:?}: {error}");
    }
}

#[test]
fn the_conversion_gives_the_model_that_is_tested() {
    let (Some(source), Some(path)) = (common::embed_source(), common::embed_path()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.gguf");
    katena_llama_cpp::convert::bert_to_gguf(source, &out).unwrap();
    let sizes = [&out, &path].map(|p| std::fs::metadata(p).unwrap().len());
    assert!(sizes[0].abs_diff(sizes[1]) < 8192, "{sizes:?}");
    assert!(LlamaEmbedder::load(&out, EmbedderOptions::new().with_threads(1)).is_ok());
}
