//! Real files of other projects, from the shared evaluation data.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod support;

use std::collections::HashMap;
use std::io::Read;

use katena_core::{Document, Source};
use katena_loaders::{
    CsvLoader, DirectoryLoader, Format, HtmlLoader, Limits, PdfEngine, PdfLoader, TextLoader, parse,
    parse_pdf,
};
use serde_json::Value;

#[tokio::test]
async fn langchaingos_samples() {
    let Some(folder) = support::evals("docs/langchaingo") else { return };
    let (documents, errors) = support::load(&TextLoader::new(folder.join("test.txt"))).await;
    assert_eq!((documents[0].text.trim(), errors.len()), ("Foo Bar Baz", 0));

    let (rows, errors) = support::load(&CsvLoader::new(folder.join("test.csv"))).await;
    assert!(errors.is_empty());
    let header = std::fs::read_to_string(folder.join("test.csv")).unwrap();
    let header = header.lines().next().unwrap().split(',').next().unwrap();
    assert!(rows.len() > 10 && rows.iter().all(|r| r.text.starts_with(header)), "{rows:?}");
    assert_eq!(rows[0].metadata["row"], 1);

    let (documents, errors) = support::load(&HtmlLoader::new(folder.join("test.html"))).await;
    assert!(errors.is_empty() && !documents[0].text.contains('<'), "{:?}", documents[0].text);

    let (pages, errors) = support::load(&PdfLoader::new(folder.join("sample.pdf"))).await;
    assert!(errors.is_empty());
    assert_eq!(pages.len(), 2);
    assert!(pages[0].text.contains("A Simple PDF File"), "{}", pages[0].text);

    let (pages, errors) = support::load(&PdfLoader::new(folder.join("sample_password.pdf"))).await;
    assert!(pages.is_empty() && errors[0].message().contains("password"), "{errors:?}");

    let loader = DirectoryLoader::new(&folder);
    let (documents, errors) = support::load(&loader).await;
    assert!(documents.iter().any(|d| d.source.uri == "depth/test2.md"));
    assert_eq!(errors.len(), 1, "the encrypted one: {errors:?}");
    let (documents, _) = support::load(&DirectoryLoader::new(&folder).with_max_depth(1)).await;
    assert!(documents.iter().all(|d| !d.source.uri.contains('/')));
}

#[test]
fn csv_spectrum() {
    let Some(folder) = support::evals("docs/csv") else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.join("csvs")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let want = std::fs::read_to_string(folder.join("json").join(format!("{name}.json"))).unwrap();
        let want: Vec<serde_json::Map<String, Value>> = serde_json::from_str(&want).unwrap();
        let source = Source::new(name);
        let got = parse(std::fs::read(&path).unwrap(), Format::Csv, &source, &Limits::default()).unwrap();
        assert_eq!(got.len(), want.len(), "{name}");
        for (document, row) in got.iter().zip(&want) {
            for (key, value) in row {
                // The files came with their line ends normalized, the expectations did not.
                let value = value.as_str().unwrap().replace("\r\n", "\n");
                let line = format!("{key}: {value}");
                assert_eq!(
                    document.text.contains(&line),
                    !value.is_empty(),
                    "{name}: {line:?} in {:?}",
                    document.text
                );
            }
        }
        seen += 1;
    }
    assert!(seen >= 11);
}

fn words(text: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

/// F1 of the bags of words.
fn f1(got: &str, want: &str) -> f64 {
    let (got, want) = (words(got), words(want));
    let common: usize = got.iter().map(|(w, n)| want.get(w).map_or(0, |m| *n.min(m))).sum();
    let total = got.values().sum::<usize>() + want.values().sum::<usize>();
    if total == 0 { 1.0 } else { 2.0 * common as f64 / total as f64 }
}

fn all_f1(engine: PdfEngine) -> Option<Vec<(String, f64)>> {
    let folder = support::evals("docs/pdf")?;
    let mut lines = String::new();
    let file = std::fs::File::open(folder.join("expected_text.jsonl.gz")).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut lines).unwrap();
    let mut scores = Vec::new();
    for line in lines.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let name = row["file"].as_str().unwrap();
        let want: Vec<&str> = row["text"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let got = parse_pdf(bytes, &Source::new(name), &Limits::default(), engine);
        let text = |d: Vec<Document>| d.into_iter().map(|d| d.text).collect::<Vec<_>>().join("\n");
        let score = match got {
            Ok(documents) => f1(&text(documents), &want.join("\n")),
            Err(error) => {
                eprintln!("{name}: {error}");
                0.0
            }
        };
        scores.push((name.to_owned(), score));
    }
    Some(scores)
}

fn report(engine: PdfEngine, mut scores: Vec<(String, f64)>) -> (f64, f64) {
    let mean = scores.iter().map(|s| s.1).sum::<f64>() / scores.len() as f64;
    scores.sort_by(|a, b| a.1.total_cmp(&b.1));
    let median = scores[scores.len() / 2].1;
    let low: Vec<_> = scores.iter().filter(|s| s.1 < 0.9).collect();
    eprintln!(
        "{engine:?}: {} files, F1 mean {mean:.4}, median {median:.4}, below 0.9: {low:?}",
        scores.len()
    );
    (mean, median)
}

#[test]
fn pdf_text_is_right() {
    let engine = PdfEngine::default();
    let Some(scores) = all_f1(engine) else { return };
    let (mean, median) = report(engine, scores);
    assert!(mean > 0.95 && median > 0.985, "mean {mean:.4}, median {median:.4}");
}

#[cfg(all(feature = "pdf", feature = "pdf-extract"))]
#[test]
fn the_other_engine_works() {
    let Some(scores) = all_f1(PdfEngine::Extract) else { return };
    let (_, median) = report(PdfEngine::Extract, scores);
    assert!(median > 0.9, "{median}");
}
