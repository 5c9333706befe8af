//! The contract of [`Retriever`], over the documents of [`corpus`](crate::corpus).

use katena_core::{Document, ErrorKind, Filter, Query, Retriever, Scored};

use crate::corpus;
use crate::harness::{Law, cancelled};

/// Each shares words with documents of the corpus, so that searches by words and by meaning both find something.
const QUESTIONS: [&str; 4] = [
    "When does the last ferry leave the harbour?",
    "How long must bread dough rest?",
    "Wann fährt der Zug nach Zürich?",
    "Who wrote commentaries on the gospels?",
];

async fn ask(law: Law, retriever: &dyn Retriever, query: Query) -> Vec<Scored<Document>> {
    let hits = law.ok(&format!("retrieving {:?}", query.text), retriever.retrieve(&query).await);
    law.check(hits.is_sorted_by(|a, b| a.score >= b.score), "scores do not fall");
    law.check(hits.iter().all(|h| h.score.is_finite()), "a score is not finite");
    hits
}

fn ids(hits: &[Scored<Document>]) -> Vec<&str> {
    hits.iter().map(|h| h.item.id.as_str()).collect()
}

/// Scores fall.
pub async fn best_first(retriever: &dyn Retriever) {
    let law = Law("Retriever: best_first");
    for question in QUESTIONS {
        let hits = ask(law, retriever, Query::new(question).with_top_k(8)).await;
        law.check(!hits.is_empty(), format!("nothing is found for {question:?}"));
        let mut once = ids(&hits);
        once.sort_unstable();
        once.dedup();
        law.same("passages without their doubles", &once.len(), &hits.len());
    }
}

/// Of the retriever and of the call, which wins.
pub async fn top_k_is_kept(retriever: &dyn Retriever) {
    let law = Law("Retriever: top_k_is_kept");
    for question in QUESTIONS {
        let all = ask(law, retriever, Query::new(question).with_top_k(50)).await;
        for top_k in 1..=8 {
            let hits = ask(law, retriever, Query::new(question).with_top_k(top_k)).await;
            law.check(hits.len() <= top_k, format!("{} passages for top_k {top_k}", hits.len()));
            law.same(&format!("passages for top_k {top_k}"), &hits.len(), &all.len().min(top_k));
        }
        let own = ask(law, retriever, Query::new(question)).await;
        law.check(own.len() <= all.len(), "the retriever's own top_k gives more than there are");
    }
}

/// Nothing that the filter does not fit.
pub async fn filter_holds(retriever: &dyn Retriever) {
    let law = Law("Retriever: filter_holds");
    for filter in [
        Filter::eq("lang", "de"),
        Filter::eq("lang", "en").and(Filter::gte("year", 2021)),
        Filter::ne("lang", "en"),
        Filter::lt("year", 2020).not(),
        Filter::exists("year"),
    ] {
        let fits = corpus().iter().filter(|d| filter.matches(&d.metadata)).count();
        let mut found = 0;
        for question in QUESTIONS {
            let query = Query::new(question).with_top_k(8).with_filter(filter.clone());
            let hits = ask(law, retriever, query).await;
            for hit in &hits {
                let document = corpus().into_iter().find(|d| hit.item.source.uri.ends_with(&d.source.uri));
                let Some(document) = document else {
                    law.broken(format!("{:?} is not in the corpus", hit.item))
                };
                let fits = filter.matches(&document.metadata) && filter.matches(&hit.item.metadata);
                law.check(fits, format!("{filter:?} does not fit {:?}", hit.item));
            }
            found += hits.len();
        }
        law.check(found > 0 && fits > 0, format!("{filter:?} fits {fits} documents, but none is found"));
    }
    let nowhere = Query::new(QUESTIONS[0]).with_filter(Filter::eq("lang", "tlh"));
    law.same("passages of a filter that fits nothing", &ask(law, retriever, nowhere).await.len(), &0);
}

/// Each passage has an id and a source.
pub async fn sources_are_named(retriever: &dyn Retriever) {
    let law = Law("Retriever: sources_are_named");
    for question in QUESTIONS {
        let hits = ask(law, retriever, Query::new(question)).await;
        law.check(!hits.is_empty(), format!("nothing is found for {question:?}"));
        for Scored { item, .. } in &hits {
            law.check(!item.id.is_empty(), format!("{item:?} has no id"));
            let document = corpus().into_iter().find(|d| item.source.uri.ends_with(&d.source.uri));
            let Some(document) = document else {
                law.broken(format!("{item:?} names no source of the corpus"))
            };
            law.check(!item.text.trim().is_empty(), format!("{item:?} has no text"));
            if let Some(span) = item.source.span {
                let slice = document.text.get(span.start..span.end);
                law.same("the text at the passage's span", &slice, &Some(item.text.as_str()));
            }
        }
    }
}

/// Asking twice gives the same.
pub async fn same_query_same_result(retriever: &dyn Retriever) {
    let law = Law("Retriever: same_query_same_result");
    for question in QUESTIONS {
        let first = ask(law, retriever, Query::new(question)).await;
        for _ in 0..3 {
            let again = ask(law, retriever, Query::new(question)).await;
            law.same("passages", &ids(&again), &ids(&first));
            let near = first.iter().zip(&again).all(|(a, b)| (a.score - b.score).abs() <= 1e-4);
            law.check(near, "the scores differ");
        }
    }
}

/// No words at all are `InvalidInput`.
pub async fn empty_query_is_invalid(retriever: &dyn Retriever) {
    let law = Law("Retriever: empty_query_is_invalid");
    for blank in ["", " ", "\n\t \u{a0}"] {
        let result = retriever.retrieve(&Query::new(blank)).await;
        law.fails(&format!("the query {blank:?}"), ErrorKind::InvalidInput, result);
    }
    // Hostile words are words.
    for words in ["\"ferry", "ferry AND (", "it's *", "ferry:* \\ %"] {
        ask(law, retriever, Query::new(words)).await;
    }
}

/// A cancelled context is `Cancelled`.
pub async fn cancelled_before_the_call(retriever: &dyn Retriever) {
    let law = Law("Retriever: cancelled_before_the_call");
    let query = Query::new(QUESTIONS[0]).with_context(cancelled());
    law.fails("a cancelled call", ErrorKind::Cancelled, retriever.retrieve(&query).await);
}
