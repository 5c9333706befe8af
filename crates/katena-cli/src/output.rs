//! What comes out: text for people, or one JSON object.

use std::io::Write as _;
use std::time::Duration;

use katena_chains::{Answer, CitationOrigin, Passage};
use katena_core::{Document, Source, Span, Usage};
use katena_retrieval::IngestReport;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure, Result};

/// Prints to stdout; a reader that went away ends the output, not the program with a panic.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {
            Err(Failure { exit: Exit::Failed, message: String::new() })
        }
        other => other.map_err(Failure::from),
    }
}

/// Prints one JSON object and a newline.
pub(crate) fn print_json(value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Failure::failed(e.to_string()))?;
    print(&format!("{text}\n"))
}

/// Where a passage stands: the file below the folder that was asked, its page or lines.
pub(crate) fn place(source: &Source) -> String {
    printable(&source.to_string())
}

/// The text on one line, in quotes.
pub(crate) fn quote(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    format!("\"{}\"", printable(&words.join(" ")))
}

/// Documents are not ours: control characters could rewrite the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

/// A passage for machines.
#[derive(Debug, Serialize)]
struct SourceJson<'a> {
    number: usize,
    uri: &'a str,
    title: Option<&'a str>,
    page: Option<u32>,
    lines: Option<katena_core::Lines>,
    span: Option<Span>,
    quote: &'a str,
    score: f32,
    cited: bool,
}

/// A passage as JSON.
pub(crate) fn source_json(number: usize, document: &Document, score: f32, cited: bool) -> Value {
    let source = &document.source;
    json!(SourceJson {
        number,
        uri: &source.uri,
        title: source.title.as_deref(),
        page: source.page,
        lines: source.lines,
        span: source.span,
        quote: &document.text,
        score,
        cited,
    })
}

/// How it is known that the answer rests on the passage, for people.
fn origin(passage: &Passage, answer: &Answer) -> &'static str {
    let mut origins = answer.citations.iter().filter(|c| c.number == passage.number).map(|c| c.origin);
    if origins.clone().any(|o| o == CitationOrigin::NamedByModel) {
        "  (cited: named by the model)"
    } else if origins.any(|o| o == CitationOrigin::MatchedByText) {
        "  (cited: found by matching the text)"
    } else {
        ""
    }
}

/// The numbered sources of an answer: place, how it is cited, quote.
pub(crate) fn sources_text(answer: &Answer) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for passage in &answer.sources {
        let _ = writeln!(
            out,
            "[{}] {}{}",
            passage.number,
            place(&passage.document.source),
            origin(passage, answer)
        );
        let _ = writeln!(out, "    {}", quote(&passage.document.text));
    }
    out
}

/// How long things took.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Timings {
    /// Loading the embedder, files to fetch included.
    #[serde(serialize_with = "seconds")]
    pub(crate) embedder_load: Option<Duration>,
    /// Bringing the index up to date.
    #[serde(serialize_with = "seconds")]
    pub(crate) ingest: Option<Duration>,
    /// Finding the passages.
    #[serde(serialize_with = "seconds")]
    pub(crate) retrieval: Option<Duration>,
    /// Loading the chat model.
    #[serde(serialize_with = "seconds")]
    pub(crate) model_load: Option<Duration>,
    /// From the question to the model to the first piece of text, loading not included.
    #[serde(serialize_with = "seconds")]
    pub(crate) first_token: Option<Duration>,
    /// From the question to the model to the end of the answer, loading not included.
    #[serde(serialize_with = "seconds")]
    pub(crate) generation: Option<Duration>,
    /// From the start of the command to the first piece of text.
    #[serde(serialize_with = "seconds")]
    pub(crate) total_to_first_token: Option<Duration>,
    /// The whole command.
    #[serde(serialize_with = "seconds")]
    pub(crate) total: Option<Duration>,
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn seconds<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|t| (t.as_secs_f64() * 1000.0).round() / 1000.0).serialize(serializer)
}

impl Timings {
    /// One line for people.
    pub(crate) fn line(&self, usage: Usage) -> String {
        let mut parts = Vec::new();
        for (what, time) in [
            ("ingest", self.ingest),
            ("retrieval", self.retrieval),
            ("model load", self.model_load),
            ("time to first token", self.first_token),
            ("generation", self.generation),
            ("total", self.total),
        ] {
            parts.extend(time.map(|t| format!("{what} {:.2} s", t.as_secs_f64())));
        }
        if let Some(input) = usage.input_tokens {
            parts.push(format!("prompt {input} tokens"));
        }
        if let Some(output) = usage.output_tokens {
            parts.push(format!("answer {output} tokens"));
        }
        parts.join(" · ")
    }
}

/// What the ingestion did, for machines.
pub(crate) fn counts_json(report: &IngestReport, usage: Usage) -> Value {
    json!({
        "documents": {
            "added": report.added, "unchanged": report.unchanged, "replaced": report.replaced,
            "removed": report.removed, "empty": report.empty, "failed": report.failed.len(),
        },
        "chunks_embedded": report.chunks_embedded,
        "chunks_reused": report.chunks_reused,
        "chunks_skipped": report.chunks_skipped,
        "chunks_removed": report.chunks_removed,
        "prompt_tokens": usage.input_tokens,
        "answer_tokens": usage.output_tokens,
    })
}

/// The documents that could not be read, for machines.
pub(crate) fn failed_json(report: &IngestReport) -> Value {
    report
        .failed
        .iter()
        .map(|(source, error)| json!({"uri": source.uri, "reason": error.to_string()}))
        .collect()
}

/// What the ingestion did, on one line.
pub(crate) fn counts_line(report: &IngestReport, took: Duration) -> String {
    let mut kinds = Vec::new();
    for (n, what) in [
        (report.added, "added"),
        (report.replaced, "changed"),
        (report.unchanged, "unchanged"),
        (report.removed, "removed"),
        (report.empty, "empty"),
        (report.failed.len() as u64, "failed"),
    ] {
        if n > 0 {
            kinds.push(format!("{n} {what}"));
        }
    }
    let kinds = if kinds.is_empty() { "none found".to_owned() } else { kinds.join(", ") };
    let rate = report.chunks_embedded as f64 / took.as_secs_f64().max(1e-3);
    let rate = if report.chunks_embedded > 0 { format!(" ({rate:.0}/s)") } else { String::new() };
    format!(
        "documents: {kinds}; chunks: {} embedded{rate}, {} skipped",
        report.chunks_embedded,
        report.chunks_skipped + report.chunks_reused
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_chains::Citation;

    #[test]
    fn a_terminal_is_never_rewritten_by_a_document() {
        assert_eq!(quote("a\u{1b}[2J\tb\n c\u{7}"), "\"a[2J b c\"");
    }

    #[test]
    fn sources_tell_place_origin_and_quote() {
        let passage = |n, text: &str| {
            Passage::new(n, Document::new(text, Source::new("/d/a.md").with_lines(n as u32, 9)), 0.5)
        };
        let answer = Answer::new(
            "25 days [1].",
            vec![passage(1, "one\ntwo"), passage(2, "three"), passage(3, "four")],
            vec![
                Citation::new(1, CitationOrigin::NamedByModel, 8),
                Citation::new(3, CitationOrigin::MatchedByText, 8),
            ],
        );
        let text = sources_text(&answer);
        assert!(
            text.contains("[1] /d/a.md, lines 1-9  (cited: named by the model)\n    \"one two\"\n"),
            "{text}"
        );
        assert!(text.contains("[2] /d/a.md, lines 2-9\n"), "{text}");
        assert!(text.contains("(cited: found by matching the text)"), "{text}");
    }

    #[test]
    fn the_summary_counts_what_was_skipped() {
        let mut report = IngestReport::default();
        report.unchanged = 3;
        report.chunks_skipped = 40;
        let line = counts_line(&report, Duration::from_secs(1));
        assert_eq!(line, "documents: 3 unchanged; chunks: 0 embedded, 40 skipped");
    }
}
