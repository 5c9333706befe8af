//! The embedder on tiny models: contract, batching across callers, limits, pooling. No download.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use futures_util::future::join_all;
use katena_core::{EmbedRequest, Embedder, ErrorKind};
use katena_llama_cpp::{EmbedderOptions, LlamaEmbedder, Overlong, Pooling};
use katena_testkit::tiny::{TinyBert, TinyLlama, TinyPooling};

fn options() -> EmbedderOptions {
    EmbedderOptions::new().with_threads(1)
}

fn load(model: &TinyBert, options: EmbedderOptions) -> LlamaEmbedder {
    let folder = tempfile::tempdir().unwrap();
    LlamaEmbedder::load(model.write(folder.path().join("tiny.gguf")), options).unwrap()
}

katena_testkit::embedder_contract!(tiny_bert, async { load(&TinyBert::new(), options()) });
katena_testkit::embedder_contract!(tiny_bert_cut, async {
    load(&TinyBert::new().with_layers(2).with_context(64), options().with_overlong(Overlong::Truncate))
});
katena_testkit::tokenizer_contract!(tiny_words, async { load(&TinyBert::new(), options()).tokenizer() });

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Texts of 1 to 200 words, all different.
fn texts(request: usize) -> Vec<String> {
    (0..9)
        .map(|n| format!("text {request} {n} {}", "word er ".repeat((request * 31 + n * 17) % 100)))
        .collect()
}

#[tokio::test]
async fn many_callers_get_what_each_gets_alone_and_share_batches() {
    let embedder = load(&TinyBert::new().with_layers(2), options().with_batch_tokens(512));
    let requests: Vec<_> = (0..40).map(|n| EmbedRequest::documents(texts(n))).collect();
    let together = join_all(requests.iter().map(|r| embedder.embed(r))).await;
    let stats = embedder.stats();
    assert_eq!((stats.texts, stats.answered, stats.waiting, stats.refused), (360, 40, 0, 0));
    assert!(stats.batches < 200, "texts of several callers share batches: {stats:?}");
    let mut worst = 1.0f64;
    for (n, response) in together.into_iter().enumerate() {
        let response = response.unwrap();
        assert_eq!(response.vectors.len(), 9);
        for (text, vector) in texts(n).iter().zip(&response.vectors) {
            let alone = embedder.embed(&EmbedRequest::documents([text.as_str()])).await.unwrap();
            worst = worst.min(cosine(vector, &alone.vectors[0]));
        }
    }
    assert!(worst >= 0.99999, "the least cosine is {worst}");
    // Other texts have other vectors, so the order was checked by the above.
    let a = embedder.embed(&EmbedRequest::documents(texts(0))).await.unwrap();
    assert!(cosine(&a.vectors[1], &a.vectors[2]) < 0.9999);
}

/// llama.cpp computes a decoder's attention in 16 bits, in an order that depends on the batch.
#[tokio::test]
async fn a_decoder_embeds_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = TinyLlama::new().with_layers(2).write(folder.path().join("tiny.gguf"));
    let embedder = LlamaEmbedder::load(path, options().with_pooling(Pooling::Last)).unwrap();
    let texts: Vec<String> = (0..30).map(|n| format!("{} {n}", "word ".repeat(n))).collect();
    let batch = embedder.embed(&EmbedRequest::documents(texts.clone())).await.unwrap().vectors;
    for (text, vector) in texts.iter().zip(&batch) {
        let alone = embedder.embed(&EmbedRequest::documents([text.as_str()])).await.unwrap();
        assert!(cosine(vector, &alone.vectors[0]) > 0.9999, "{text}");
    }
    assert!(batch.windows(2).all(|w| cosine(&w[0], &w[1]) < 0.999));
}

#[tokio::test]
async fn a_full_queue_refuses_with_a_time_to_wait() {
    let embedder = load(&TinyBert::new(), options().with_queue(2));
    let long = EmbedRequest::documents(vec!["word ".repeat(400); 64]);
    // All are sent before any is answered: nothing is awaited in between.
    let answers = join_all((0..200).map(|_| embedder.embed(&long))).await;
    let refused: Vec<_> = answers.iter().filter_map(|a| a.as_ref().err()).collect();
    assert!(!refused.is_empty() && refused.len() < 200, "{} refused", refused.len());
    for error in &refused {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_temporary() && error.retry_after().is_some());
    }
    assert_eq!(embedder.stats().refused, refused.len() as u64);
    assert_eq!(embedder.stats().waiting, 0);
    embedder.embed(&long).await.unwrap();
}

#[tokio::test]
async fn one_callers_trouble_is_its_own() {
    let embedder = load(&TinyBert::new(), options().with_max_tokens(64));
    let fine = EmbedRequest::documents(["word word", "text"]);
    let long = EmbedRequest::documents(["word".to_owned(), "word ".repeat(80)]);
    let context = katena_core::Context::new();
    // Work for minutes: it can't be done before it is cancelled.
    let stopped = EmbedRequest::documents(vec!["word"; 1_000_000]).with_context(context.clone());
    let cancel = async {
        context.cancel.cancel();
        embedder.embed(&fine).await
    };
    let (a, b, c, d) =
        tokio::join!(embedder.embed(&fine), embedder.embed(&long), embedder.embed(&stopped), cancel);
    // What is computed together decides how sums are rounded.
    let (a, d) = (a.unwrap().vectors, d.unwrap().vectors);
    assert!(a.len() == 2 && a.iter().zip(&d).all(|(a, d)| cosine(a, d) > 0.9999));
    let error = b.unwrap_err();
    assert_eq!((error.kind(), error.context("text")), (ErrorKind::ContextTooLong, Some("1")));
    assert_eq!(c.unwrap_err().kind(), ErrorKind::Cancelled);
    let late = katena_core::Context::new().with_deadline(std::time::Instant::now());
    let late = EmbedRequest::documents(["word"]).with_context(late);
    assert_eq!(embedder.embed(&late).await.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn more_texts_than_are_tokenised_ahead() {
    let embedder = load(&TinyBert::new(), options());
    let texts: Vec<String> = (0..1500).map(|n| format!("{n}")).collect();
    let response = embedder.embed(&EmbedRequest::documents(texts.clone())).await.unwrap();
    for n in [0, 511, 512, 1024, 1499] {
        let alone = embedder.embed(&EmbedRequest::documents([texts[n].as_str()])).await.unwrap();
        assert!(cosine(&response.vectors[n], &alone.vectors[0]) >= 0.99999, "text {n}");
    }
    let mut bad = texts;
    bad[1400] = "word ".repeat(600);
    let error = embedder.embed(&EmbedRequest::documents(bad)).await.unwrap_err();
    assert_eq!((error.kind(), error.context("text")), (ErrorKind::ContextTooLong, Some("1400")));
}

#[tokio::test]
async fn pooling_is_the_files_or_as_asked() {
    let model = |pooling| TinyBert::new().with_pooling(pooling);
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for (file, asked) in [
        (TinyPooling::Mean, Pooling::Mean),
        (TinyPooling::Cls, Pooling::Cls),
        (TinyPooling::Last, Pooling::Last),
    ] {
        let request = EmbedRequest::documents(["the ferry"]);
        let own = load(&model(file), options());
        let other = load(&model(TinyPooling::Unsaid), options().with_pooling(asked));
        let a = own.embed(&request).await.unwrap().vectors.remove(0);
        let b = other.embed(&request).await.unwrap().vectors.remove(0);
        assert!(cosine(&a, &b) > 0.99999, "{asked:?}");
        assert!(seen.iter().all(|s| cosine(s, &a) < 0.9999), "{asked:?} is like another pooling");
        seen.push(a);
    }
    let folder = tempfile::tempdir().unwrap();
    for model in [model(TinyPooling::Unsaid), TinyBert::reranker()] {
        let error = LlamaEmbedder::load(model.write(folder.path().join("x.gguf")), options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn many_threads_many_models_come_and_go() {
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                for round in 0..3 {
                    let embedder = load(&TinyBert::new().with_seed(seed * 10 + round), options());
                    let request = EmbedRequest::documents(texts(seed as usize));
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    let answer = runtime.block_on(embedder.embed(&request)).unwrap();
                    assert_eq!(answer.vectors.len(), 9);
                }
            });
        }
    });
}
