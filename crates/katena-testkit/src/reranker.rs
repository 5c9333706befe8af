//! The contract of [`Reranker`].

use katena_core::{Document, RerankRequest, Reranker, Scored};

use crate::corpus;
use crate::harness::Law;

const QUESTION: &str = "When does the last ferry leave the harbour?";

async fn rank(law: Law, reranker: &dyn Reranker, request: RerankRequest) -> Vec<Scored<Document>> {
    let documents = request.documents.clone();
    let ranked = law.ok("reranking", reranker.rerank(request).await);
    law.check(ranked.is_sorted_by(|a, b| a.score >= b.score), "scores do not fall");
    law.check(ranked.iter().all(|r| r.score.is_finite()), "a score is not finite");
    for (n, one) in ranked.iter().enumerate() {
        law.check(documents.contains(&one.item), format!("{:?} is none of the request's", one.item));
        let before = ranked[..n].iter().any(|r| r.item.id == one.item.id);
        law.check(!before, format!("{:?} comes twice", one.item));
    }
    ranked
}

/// Scores fall, and each document is one of the request's, at most once.
pub async fn best_first(reranker: &dyn Reranker) {
    let law = Law("Reranker: best_first");
    let documents = corpus();
    law.check(
        !rank(law, reranker, RerankRequest::new(QUESTION, documents.clone())).await.is_empty(),
        "eight documents give no result",
    );
    let one = vec![documents[0].clone()];
    rank(law, reranker, RerankRequest::new(QUESTION, one)).await;
    let strange = vec![Document::new("", documents[0].source.clone()).with_id("empty"), documents[1].clone()];
    rank(law, reranker, RerankRequest::new("☕ \0 'x'", strange)).await;
}

/// Never more than asked for.
pub async fn top_k_is_kept(reranker: &dyn Reranker) {
    let law = Law("Reranker: top_k_is_kept");
    let all = rank(law, reranker, RerankRequest::new(QUESTION, corpus())).await;
    for top_k in [1, 3, 8, 20] {
        let ranked = rank(law, reranker, RerankRequest::new(QUESTION, corpus()).with_top_k(top_k)).await;
        law.same(&format!("results for top_k {top_k}"), &ranked.len(), &all.len().min(top_k));
    }
}

/// An empty request gives an empty result.
pub async fn no_documents_no_result(reranker: &dyn Reranker) {
    let law = Law("Reranker: no_documents_no_result");
    let ranked = rank(law, reranker, RerankRequest::new(QUESTION, Vec::new())).await;
    law.same("results", &ranked.len(), &0);
}
