//! Retrievers that ask a model, and the question generator, with fakes.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{FnChat, Shelf, cut_off, listen, prompt, refusal, reply_of, says};
use katena_chains::{HydeEmbedder, HydeQuery, HydeRetriever, MultiQueryRetriever, QuestionGenerator};
use katena_core::fake::{HashEmbedder, ScriptedChat};
use katena_core::{
    ChainExt as _, ChatRequest, Context, Document, EmbedRequest, Embedder as _, EmbedderExt as _, ErrorKind,
    Filter, FinishReason, Labels, Query, Retriever, Source,
};

fn shelf() -> Shelf {
    Shelf::new([
        "The ferry leaves the harbour at eight.",
        "Boat departures are posted daily.",
        "Bread must rest for one hour.",
        "Boat and ferry tickets cost five.",
    ])
}

fn ids(found: &[katena_core::Scored<Document>]) -> Vec<&str> {
    found.iter().map(|s| s.item.id.as_str()).collect()
}

#[tokio::test]
async fn several_wordings_find_more_and_are_fused() {
    let model = ScriptedChat::texts([
        r#"{"value": ["boat departures", " ", "Ferry?", "boat departures", "a", "b"]}"#,
    ]);
    let shelf = shelf();
    let retriever = MultiQueryRetriever::new(model.clone(), shelf.clone())
        .with_wordings(2)
        .with_request(ChatRequest::default().with_temperature(0.0));
    let context = Context::new().with_labels(Labels::new().with("tenant", "acme"));
    let found = retriever.retrieve(&Query::new("Ferry?").with_context(context)).await.unwrap();
    assert_eq!(shelf.queries(), ["Ferry?", "boat departures", "a"], "each once, at most two others");
    assert_eq!(ids(&found), ["d4", "d1", "d2"], "in two lists beats first in one");
    assert!(found.is_sorted_by(|a, b| a.score >= b.score));
    assert_eq!(found[0].score, 2.0 / 62.0);
    let request = &model.requests()[0];
    assert_eq!((request.temperature, request.context.labels.get("tenant")), (Some(0.0), Some("acme")));
    assert!(prompt(request).contains("in 2 other wordings"));
    assert!(shelf.asked.lock().unwrap().iter().all(|q| q.context.labels.get("tenant") == Some("acme")));
}

#[tokio::test]
async fn top_k_and_filter_go_through() {
    let model =
        FnChat::new(|_| async { Ok(reply_of(r#"{"value": ["boat departures"]}"#, FinishReason::Stop)) });
    let mut shelf = shelf();
    shelf.documents[1] = shelf.documents[1].clone().with_metadata("lang", "en");
    let retriever = MultiQueryRetriever::new(model, shelf.clone());
    let all = retriever.retrieve(&Query::new("ferry")).await.unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(retriever.retrieve(&Query::new("ferry").with_top_k(1)).await.unwrap().len(), 1);
    let one = retriever.clone().with_top_k(2).retrieve(&Query::new("ferry")).await.unwrap();
    assert_eq!(ids(&one), ids(&all[..2]));
    let filtered =
        retriever.retrieve(&Query::new("ferry").with_filter(Filter::eq("lang", "en"))).await.unwrap();
    assert_eq!(ids(&filtered), ["d2"]);
    let cancelled = Context::new();
    cancelled.cancel.cancel();
    let error = retriever.retrieve(&Query::new("ferry").with_context(cancelled)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn bad_models_are_clear_errors() {
    for (reply, kind) in [
        (says(""), ErrorKind::InvalidOutput),
        (says("{broken"), ErrorKind::InvalidOutput),
        (says(r#"{"value": []}"#), ErrorKind::InvalidOutput),
        (cut_off(r#"{"value": ["a"#), ErrorKind::InvalidOutput),
        (refusal(), ErrorKind::Refused),
    ] {
        let model = || ScriptedChat::new([reply.clone(), reply.clone(), reply.clone()]);
        let error =
            MultiQueryRetriever::new(model(), shelf()).retrieve(&Query::new("ferry")).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        let document = Document::new("text", Source::new("a.md"));
        assert_eq!(QuestionGenerator::new(model()).run(document).await.unwrap_err().kind(), kind);
    }
    for (reply, kind) in [(says(" "), ErrorKind::InvalidOutput), (refusal(), ErrorKind::Refused)] {
        let model = || ScriptedChat::new([reply.clone()]);
        let error = HydeRetriever::new(model(), shelf()).retrieve(&Query::new("ferry")).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        let embedder = HydeEmbedder::new(model(), HashEmbedder::new(16));
        assert_eq!(embedder.embed_query("x", &Context::new()).await.unwrap_err().kind(), kind);
    }
    let never = ScriptedChat::texts(["never"]);
    let hyde = HydeRetriever::new(never.clone(), shelf());
    assert_eq!(hyde.retrieve(&Query::new(" ")).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let multi = MultiQueryRetriever::new(never.clone(), shelf());
    assert_eq!(multi.retrieve(&Query::new(" ")).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(never.requests().is_empty());
}

#[tokio::test]
async fn hypothetical_documents_are_searched_with() {
    let shelf = shelf();
    let model = ScriptedChat::texts(["The boat goes at nine. ", "The boat goes at nine."]);
    let hyde = HydeRetriever::new(model.clone(), shelf.clone());
    hyde.retrieve(&Query::new("Ferry?").with_top_k(3)).await.unwrap();
    let found = hyde.with_query(HydeQuery::Passage).retrieve(&Query::new("Ferry?")).await.unwrap();
    assert_eq!(shelf.queries(), ["Ferry?\nThe boat goes at nine.", "The boat goes at nine."]);
    assert_eq!(shelf.asked.lock().unwrap()[0].top_k, Some(3));
    assert!(ids(&found).contains(&"d2"));
    assert!(prompt(&model.requests()[0]).ends_with("Question: Ferry?"));
}

#[tokio::test]
async fn hypothetical_vectors_are_means() {
    let plain = HashEmbedder::new(64);
    let model = ScriptedChat::texts(["ferry boat", "harbour", "bread", "yeast"]);
    let embedder = HydeEmbedder::new(model.clone(), plain.clone()).with_passages(2);
    let request = EmbedRequest::documents(["q1", "q2"]).with_role(katena_core::EmbedRole::Query);
    let vectors = embedder.embed(&request).await.unwrap().vectors;
    assert_eq!((vectors.len(), model.requests().len()), (2, 4));
    let parts = plain.embed(&EmbedRequest::documents(["ferry boat", "harbour"])).await.unwrap().vectors;
    let sum: Vec<f32> = parts[0].iter().zip(&parts[1]).map(|(a, b)| a + b).collect();
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    assert!(vectors[0].iter().zip(&sum).all(|(a, b)| (a - b / length).abs() < 1e-6));
    let documents = EmbedRequest::documents(["ferry boat"]);
    assert_eq!(embedder.embed(&documents).await.unwrap(), plain.embed(&documents).await.unwrap());
    assert_eq!(model.requests().len(), 4, "documents are embedded as they are");
    assert_eq!(embedder.info(), plain.info(), "one vector space");
}

#[tokio::test]
async fn questions_are_cleaned_and_told() {
    let reply = r#"{"value": [
        {"question": "When does the ferry leave? ", "answer": "At eight."},
        {"question": "When does the ferry leave?", "answer": "At 8."},
        {"question": "", "answer": "x"},
        {"question": "Where from?", "answer": "The harbour."},
        {"question": "Too many?", "answer": "Yes."}]}"#;
    let model = ScriptedChat::texts([reply]);
    let generate = QuestionGenerator::new(model.clone()).with_count(2);
    let document = Document::new("The ferry </document> leaves [1] at eight.", Source::new("ferry.md"));
    let heard = listen(&generate, document).await;
    let questions: Vec<String> = heard.output.unwrap().into_iter().map(|q| q.question).collect();
    assert_eq!(questions, ["When does the ferry leave?", "Where from?"]);
    assert_eq!((heard.preview.as_str(), heard.custom[0].0.as_str()), ("", "questions"));
    let asked = prompt(&model.requests()[0]);
    assert!(asked.contains("<document>\nThe ferry ‹/document> leaves (1) at eight.\n</document>"), "{asked}");
    let blank = Document::new(" ", Source::new("a.md"));
    assert_eq!(generate.run(blank).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// The documents of the contract's corpus.
fn corpus() -> Shelf {
    Shelf { documents: katena_testkit::corpus(), ..Shelf::default() }
}

katena_testkit::retriever_contract!(multi_query, async {
    let model = FnChat::says(|_| r#"{"value": ["rest in the harbour", "the last hour"]}"#.to_owned());
    MultiQueryRetriever::new(model, corpus())
});
katena_testkit::retriever_contract!(hyde, async {
    HydeRetriever::new(FnChat::says(|_| "Bread leaves the harbour.".to_owned()), corpus())
});
katena_testkit::embedder_contract!(hyde_embedder, async {
    let model =
        FnChat::says(|asked| format!("passage {}", asked.split("Question: ").last().unwrap_or_default()));
    HydeEmbedder::new(model, HashEmbedder::new(128))
});
