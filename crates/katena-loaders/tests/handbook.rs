//! The handbook in `examples/` loads completely and reads cleanly.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod support;

use std::path::Path;

use katena_loaders::DirectoryLoader;

#[tokio::test]
async fn the_handbook_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/handbook");
    let here = DirectoryLoader::new(&folder);
    let (documents, errors) = support::load(&here).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(here.counts().loaded, 14, "{:?}", here.counts());
    assert_eq!(here.list().len(), 14);
    if std::env::var_os("KATENA_DUMP").is_some() {
        for document in &documents {
            eprintln!("=== {} [{:?}]\n{}", document.source, document.source.title, document.text);
        }
    }
    let pdf: Vec<_> = documents.iter().filter(|d| d.source.uri == "safety-manual.pdf").collect();
    assert!(pdf.len() > 1);
    assert!(pdf.iter().enumerate().all(|(n, d)| d.source.page == Some(n as u32 + 1)));
    let html = documents.iter().find(|d| d.source.uri == "code-of-conduct.html").unwrap();
    assert!(html.text.starts_with("# Code of conduct\n\nA measuring instrument"), "{}", &html.text[..200]);
    assert!(!html.text.contains("People finder") && !html.text.contains("getElementById"));

    let there = DirectoryLoader::new(&folder).with_parser(support::workers());
    let (same, errors) = support::load(&there).await;
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(same, documents);
}
