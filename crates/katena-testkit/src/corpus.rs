//! The little corpus that the retriever suite asks about.

use katena_core::{Document, Source};

/// Eight short documents with ids, sources and the facts `lang` and `year` (the last one has no `year`).
///
/// ```
/// let corpus = katena_testkit::corpus();
/// assert_eq!(corpus.len(), 8);
/// assert_eq!(corpus[0].source.uri, "corpus/ferry.md");
/// ```
pub fn corpus() -> Vec<Document> {
    [
        (
            "ferry",
            "en",
            2021,
            "The last ferry leaves the harbour at ten in the evening. On Sundays there is no ferry after six.",
        ),
        ("office", "en", 2019, "The harbour office opens at eight. Tickets for bicycles are sold at the window."),
        (
            "bread",
            "en",
            2022,
            "Bread dough must rest for three hours. A long rest in the cold gives the bread its taste.",
        ),
        ("soup", "en", 2018, "A soup needs onions, carrots and an hour on a low flame. Salt comes last."),
        (
            "zug",
            "de",
            2021,
            "Der Zug nach Zürich fährt um sieben Uhr von Gleis 4. Fahrräder kosten fünf Franken.",
        ),
        ("brot", "de", 2017, "Der Teig ruht drei Stunden. Danach kommt das Brot in den heissen Ofen."),
        (
            "catena",
            "en",
            2020,
            "A catena is a chain of quotations. Monks wrote commentaries on the gospels made of excerpts, each with \
             its author's name.",
        ),
    ]
    .into_iter()
    .map(|(id, lang, year, text)| document(id, lang, text).with_metadata("year", year))
    .chain([document("note", "en", "An undated note: the lighthouse keeper feeds the harbour cats at noon.")])
    .collect()
}

fn document(id: &str, lang: &str, text: &str) -> Document {
    let source = Source::new(format!("corpus/{id}.md")).with_title(id);
    Document::new(text, source).with_id(id).with_metadata("lang", lang)
}
