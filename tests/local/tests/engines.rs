//! Two engines, one file: their vectors may lie in one store.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use common::embed_path;
use katena_core::{EmbedRequest, EmbedRole, Embedder};
use katena_embeddings::bert::{BertEmbedder, BertOptions, Overlong, Pooling};
use katena_llama_cpp::{EmbedderOptions, LlamaEmbedder};

async fn vectors(model: &impl Embedder, role: EmbedRole) -> Vec<Vec<f32>> {
    let long = "Every guest gets a key. ".repeat(200);
    let texts = ["Kraków, café — 東京", "", "a", "The canteen is open from 11:30 to 14:00.", &long];
    model.embed(&EmbedRequest::documents(texts).with_role(role)).await.unwrap().vectors
}

#[tokio::test]
async fn the_same_identity_means_the_same_vectors() {
    let Some(path) = embed_path() else { return };
    let mut seen = Vec::new();
    for (pooling, prefixes, window) in [
        (None, None, None),
        (Some(Pooling::Cls), None, None),
        (None, Some(("query: ", "passage: ")), Some(64_u16)),
    ] {
        let mut bert = BertOptions::new().with_threads(1).with_overlong(Overlong::Truncate);
        let mut llama = EmbedderOptions::new().with_threads(1).with_overlong(Overlong::Truncate);
        if let Some(pooling) = pooling {
            (bert, llama) = (bert.with_pooling(pooling), llama.with_pooling(pooling));
        }
        if let Some((query, document)) = prefixes {
            (bert, llama) = (bert.with_prefixes(query, document), llama.with_prefixes(query, document));
        }
        if let Some(window) = window {
            (bert, llama) = (bert.with_max_tokens(window.into()), llama.with_max_tokens(window.into()));
        }
        let (bert, llama) =
            (BertEmbedder::load(&path, bert).unwrap(), LlamaEmbedder::load(&path, llama).unwrap());
        assert_eq!(bert.info().model, llama.info().model);
        assert!(!seen.contains(&bert.info().model), "another space, the same name");
        seen.push(bert.info().model.clone());
        for role in [EmbedRole::Query, EmbedRole::Document] {
            let (ours, theirs) = (vectors(&bert, role).await, vectors(&llama, role).await);
            for (number, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                assert_eq!(a.len(), b.len());
                // Both have length 1.
                let alike: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!(alike > 0.9999, "text {number} as {role:?}, {pooling:?}: {alike}");
            }
        }
    }
}
