//! The chains over texts and documents on the local model: what it says is its own, that it says something is ours.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{Shelf, brief, chat, documents, embedder, told};
use katena_chains::{
    CondenseQuestion, Conversation, ConversationalRetrievalQa, DocumentQuestion, EmbeddingRouter, FollowUp,
    HydeRetriever, LlmChain, MapReduceDocuments, MapRerankDocuments, ModelRouter, MultiQueryRetriever,
    QuestionGenerator, RefineDocuments, RetrievalQa, StuffDocuments,
};
use katena_core::{ChainExt, ErrorKind, Message, Query, Result, Retriever as _, Role, func};
use katena_memory::{BufferMemory, SqliteHistory};
use katena_prompts::{ChatPrompt, vars};

/// A typed answer of a model this small fits, or the chain says clearly that it doesn't.
fn fits_or_says_so<T>(result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{error}");
            eprintln!("{error}");
            None
        }
    }
}

#[tokio::test]
async fn llm_chain() {
    let Some(model) = chat() else { return };
    let prompt = ChatPrompt::fstring([(Role::User, "Name a colour of the {thing}.")]).unwrap();
    let chain = LlmChain::new(model, prompt).with_request(brief(16));
    let report = told(chain, vars! { "thing" => "sky" }).await.unwrap();
    assert!(!report.output.trim().is_empty());
}

#[tokio::test]
async fn a_conversation_is_remembered_across_a_restart() {
    let Some(model) = chat() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.katena");
    let model = Arc::new(model);
    let talk = || {
        let memory = BufferMemory::new(SqliteHistory::open(&file).unwrap());
        Conversation::new(model.clone(), memory).with_request(brief(12))
    };
    let first = told(talk(), ("s", "My name is Ada.").into()).await.unwrap();
    let second = told(talk(), ("s", "What is my name?").into()).await.unwrap();
    assert!(!second.output.text().is_empty());
    assert!(second.usage.input_tokens > first.usage.input_tokens, "the first turn is in the second prompt");
}

#[tokio::test]
async fn conversational_retrieval_qa() {
    let Some(model) = chat() else { return };
    let model = Arc::new(model);
    let folder = tempfile::tempdir().unwrap();
    let memory = BufferMemory::new(SqliteHistory::open(folder.path().join("chat.katena")).unwrap());
    let qa = RetrievalQa::new(model.clone(), Shelf).with_request(brief(24));
    let condense = CondenseQuestion::new(model).with_request(brief(24));
    let qa = Arc::new(ConversationalRetrievalQa::new(qa, memory).with_condense(condense));
    let first = told(qa.clone(), ("s", "How many days of leave do I have?").into()).await.unwrap();
    assert!(first.output.generated_question.is_none() && !first.output.answer.sources.is_empty());
    let second = told(qa, ("s", "And when does the canteen open?").into()).await.unwrap();
    assert!(!second.output.answer.sources.is_empty());
    assert!(second.notes("reply").count() >= 2, "the question was rewritten by the model, then answered");
}

#[tokio::test]
async fn condense() {
    let Some(model) = chat() else { return };
    let history = vec![Message::user("When does the ferry leave?"), Message::assistant("At eight.")];
    let chain = CondenseQuestion::new(model).with_request(brief(24));
    let report = told(chain, FollowUp::new("And on Sundays?", history)).await.unwrap();
    assert!(!report.output.is_empty());
}

#[tokio::test]
async fn documents_stuffed_refined_and_reduced() {
    let Some(model) = chat() else { return };
    let model = Arc::new(model);
    let stuffed =
        told(StuffDocuments::summary(model.clone()).with_request(brief(24)), documents()).await.unwrap();
    let refined =
        told(RefineDocuments::summary(model.clone()).with_request(brief(24)), documents()).await.unwrap();
    let chain = MapReduceDocuments::summary(model).with_request(brief(24)).with_concurrency(2);
    let reduced = told(chain, documents()).await.unwrap();
    for text in [&stuffed.output.text, &refined.output.text, &reduced.output.text] {
        assert!(!text.trim().is_empty());
    }
    assert_eq!(refined.notes("reply").count(), 3, "one call a document");
    assert!(reduced.notes("reply").count() >= 4, "one a document, and one for the whole");
}

#[tokio::test]
async fn questions_over_documents() {
    let Some(model) = chat() else { return };
    let model = Arc::new(model);
    let question = || DocumentQuestion::new("How many days of leave?", documents());
    let stuffed = told(StuffDocuments::qa(model.clone()).with_request(brief(24)), question()).await.unwrap();
    assert!(!stuffed.output.text.trim().is_empty());
    let chain = MapRerankDocuments::qa(model).with_request(brief(64)).with_concurrency(1);
    if let Some(report) = fits_or_says_so(told(chain, question()).await) {
        assert!(!report.output.candidates.is_empty());
    }
}

#[tokio::test]
async fn routers() {
    let (Some(model), Some(embedder)) = (chat(), embedder()) else { return };
    let to = |name: &'static str| func(move |_: String, _run| async move { Ok(name) });
    let by_model = ModelRouter::new(model)
        .with_request(brief(32))
        .route("leave", "questions about leave", to("leave"))
        .route("parcels", "questions about parcels", to("parcels"))
        .with_default(to("default"));
    let report = told(by_model, "Where is my parcel?".to_owned()).await.unwrap();
    assert!(["leave", "parcels", "default"].contains(&report.output));

    let by_meaning = EmbeddingRouter::builder(embedder)
        .route("leave", ["How many days of leave do I have?", "May I take a day off?"], to("leave"))
        .route("parcels", ["Where is my parcel?", "When is the post handed out?"], to("parcels"))
        .build()
        .await
        .unwrap();
    assert_eq!(by_meaning.run("Has a parcel come for me?").await.unwrap(), "parcels");
    assert_eq!(by_meaning.run("Can I have tomorrow off?").await.unwrap(), "leave");
}

#[tokio::test]
async fn generated_questions() {
    let Some(model) = chat() else { return };
    let chain = QuestionGenerator::new(model).with_count(1).with_request(brief(96));
    let document = documents().remove(0);
    if let Some(report) = fits_or_says_so(told(chain, document).await) {
        assert!(report.output.len() <= 1 && report.output.iter().all(|q| !q.question.is_empty()));
    }
}

#[tokio::test]
async fn retrievers_that_ask_a_model() {
    let Some(model) = chat() else { return };
    let model = Arc::new(model);
    let hyde = HydeRetriever::new(model.clone(), Shelf).with_request(brief(24));
    assert_eq!(hyde.retrieve(&Query::new("How much leave?")).await.unwrap().len(), 3);
    let wordings = MultiQueryRetriever::new(model, Shelf).with_wordings(2).with_request(brief(48));
    if let Some(found) = fits_or_says_so(wordings.retrieve(&Query::new("How much leave?")).await) {
        assert_eq!(found.len(), 3, "each once, whatever the number of wordings");
    }
}
