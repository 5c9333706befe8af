//! Searching by words, where the store can.

use katena_core::{Document, Filter, Record, Source, VectorQuery, VectorStore};

use super::{find, ids, put, record, sorted};
use crate::harness::Law;

const TEXTS: [&str; 8] = [
    "The harbour office opens at eight in the morning.",
    "The harbour master keeps the keys of the office.",
    "A ferry leaves the harbour every hour; the ferry takes bicycles.",
    "The axolotl in the office aquarium must be fed on Fridays.",
    "Bicycles may be left in the yard behind the office.",
    "The yard is closed at night.",
    "Zürich has a harbour too, with a café.",
    "Nothing of the kind is said here.",
];

async fn fill(law: Law, store: &dyn VectorStore) {
    let made = TEXTS.iter().enumerate().map(|(n, text)| {
        let document = Document::new(*text, Source::new(format!("notes/{n}.md"))).with_id(format!("r{n}"));
        Record::new(document.with_metadata("n", n), record(n).vector)
    });
    put(law, store, made.collect()).await;
}

/// With that capability, the document with the rare word comes first, filters hold, scores fall.
pub async fn lexical_finds_words(store: &dyn VectorStore) {
    let law = Law("VectorStore: lexical_finds_words");
    if !store.info().capabilities.lexical {
        return law.skip("the store does not state `lexical`");
    }
    let empty = find(law, "search in an empty store", store, VectorQuery::lexical("harbour", 5)).await;
    law.check(empty.is_empty(), "an empty store finds words");
    fill(law, store).await;
    for (words, first) in [
        ("axolotl", "r3"),
        ("the office axolotl", "r3"),
        ("AXOLOTL", "r3"),
        ("When is the ferry?", "r2"),
        ("Zürich", "r6"),
    ] {
        let hits = find(law, words, store, VectorQuery::lexical(words, 8)).await;
        law.same(&format!("first for {words:?}"), &ids(&hits).first().copied(), &Some(first));
    }
    let hits = find(law, "search", store, VectorQuery::lexical("harbour", 8)).await;
    law.same("documents with the word", &sorted(ids(&hits)), &sorted(["r0", "r1", "r2", "r6"]));
    law.same("top_k", &find(law, "search", store, VectorQuery::lexical("harbour", 2)).await.len(), &2);
    let query = VectorQuery::lexical("harbour", 8).with_filter(Filter::gte("n", 2));
    law.same("with a filter", &sorted(ids(&find(law, "search", store, query).await)), &sorted(["r2", "r6"]));
    let query = VectorQuery::lexical("harbour", 8).with_namespace("elsewhere");
    law.check(find(law, "search", store, query).await.is_empty(), "another namespace's words are found");
    let query = VectorQuery::lexical("xylophone", 8);
    law.check(find(law, "search", store, query).await.is_empty(), "a word that stands nowhere is found");
    let middle = f32::midpoint(hits[1].score, hits[2].score);
    let query = VectorQuery::lexical("harbour", 8).with_min_score(middle);
    let cut = find(law, "search", store, query).await;
    law.check(cut.iter().all(|h| h.score >= middle), "a score is below `min_score`");
}

/// With that capability, quotes, operators and emptiness in the text are no error.
pub async fn lexical_query_is_data(store: &dyn VectorStore) {
    let law = Law("VectorStore: lexical_query_is_data");
    if !store.info().capabilities.lexical {
        return law.skip("the store does not state `lexical`");
    }
    fill(law, store).await;
    let long = "harbour ".repeat(2000);
    for words in [
        "",
        " ",
        "\"",
        "'",
        "\"harbour",
        "harbour\"",
        "it's",
        "AND",
        "OR",
        "NOT",
        "NEAR",
        "harbour AND",
        "NOT harbour",
        "NEAR(harbour, 2)",
        "(",
        ")",
        "((harbour",
        "*",
        "harbour*",
        "^harbour",
        "text:harbour",
        "col : x",
        "-harbour",
        "+harbour",
        "!harbour",
        "harbour & | yard",
        "<->",
        ":*",
        "harbour:*",
        "{harbour}",
        "\\",
        "%",
        "_",
        "?",
        "☕",
        "\u{202e}",
        "a\0b",
        "'; DROP TABLE records; --",
        "\n\r\t",
        "日本語",
        &long,
    ] {
        let shown: String = words.chars().take(30).collect();
        let hits = find(law, &format!("search for {shown:?}"), store, VectorQuery::lexical(words, 5)).await;
        if words.chars().all(|c| !c.is_alphanumeric()) {
            law.check(hits.is_empty(), format!("{shown:?} has no words but finds something"));
        }
    }
    let hits = find(law, "search", store, VectorQuery::lexical("\"axolotl\" AND (", 5)).await;
    law.same("the word among operators", &ids(&hits).first().copied(), &Some("r3"));
}
