//! The contract of [`DocumentLoader`].

use std::collections::HashSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use katena_core::{Document, DocumentLoader, Error, Result};

use crate::harness::Law;

/// What a loader must find. Addresses are given by their ends, so that a temporary folder's name does not matter.
///
/// ```
/// use katena_testkit::document_loader::LoaderExpectations;
/// let expected = LoaderExpectations::new().with_good(["a.md", "sub/c.txt"]).with_bad(["broken.pdf"]);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoaderExpectations {
    /// Ends of the addresses that must give documents; if empty, any one will do.
    pub good: Vec<String>,
    /// Ends of the addresses that must fail; no other may. At least one good address is listed after one of them, or
    /// `errors_do_not_end_the_stream` can check nothing.
    pub bad: Vec<String>,
}

impl LoaderExpectations {
    /// At least one document, no failure.
    pub fn new() -> Self {
        Self::default()
    }
    /// Sets the ends of the addresses that must give documents.
    pub fn with_good<S: Into<String>>(mut self, good: impl IntoIterator<Item = S>) -> Self {
        self.good = good.into_iter().map(Into::into).collect();
        self
    }
    /// Sets the ends of the addresses that must fail.
    pub fn with_bad<S: Into<String>>(mut self, bad: impl IntoIterator<Item = S>) -> Self {
        self.bad = bad.into_iter().map(Into::into).collect();
        self
    }
}

async fn load(loader: &dyn DocumentLoader) -> Vec<Result<Document>> {
    loader.load().collect().await
}

fn good(items: &[Result<Document>]) -> Vec<&Document> {
    items.iter().filter_map(|item| item.as_ref().ok()).collect()
}

fn bad(items: &[Result<Document>]) -> Vec<&Error> {
    items.iter().filter_map(|item| item.as_ref().err()).collect()
}

fn check_good(law: Law, items: &[Result<Document>], expected: &LoaderExpectations) {
    let documents = good(items);
    law.check(!documents.is_empty(), format!("nothing was loaded; failures: {:?}", bad(items)));
    for end in &expected.good {
        let found = documents.iter().any(|d| d.source.uri.ends_with(end.as_str()));
        law.check(found, format!("no document of {end:?}; failures: {:?}", bad(items)));
    }
}

/// Every document, with text and a source that has a `uri`.
pub async fn loads_what_is_there(loader: &dyn DocumentLoader, expected: &LoaderExpectations) {
    let law = Law("DocumentLoader: loads_what_is_there");
    let items = load(loader).await;
    check_good(law, &items, expected);
    for document in good(&items) {
        law.check(!document.source.uri.is_empty(), format!("{document:?} has no `uri`"));
        law.check(!document.text.trim().is_empty(), format!("{document:?} has no text"));
        if let Some(lines) = document.source.lines {
            law.check(lines.first >= 1 && lines.first <= lines.last, format!("{document:?}: bad lines"));
        }
        law.check(document.source.page != Some(0), format!("{document:?}: pages count from 1"));
        let anchors = &document.anchors;
        law.check(
            anchors.is_sorted_by(|a, b| a.offset < b.offset)
                && anchors.iter().all(|a| a.line >= 1 && a.offset <= document.text.len()),
            format!("{document:?}: anchors do not rise inside the text"),
        );
    }
}

/// The same documents in the same order.
pub async fn loading_twice_is_the_same(loader: &dyn DocumentLoader, expected: &LoaderExpectations) {
    let law = Law("DocumentLoader: loading_twice_is_the_same");
    let first = load(loader).await;
    check_good(law, &first, expected);
    let second = load(loader).await;
    law.check(good(&first) == good(&second), "the second time gives other documents or another order");
    let addresses =
        |items| bad(items).iter().filter_map(|e| e.context("uri").map(str::to_owned)).collect::<Vec<_>>();
    law.same("failed addresses", &addresses(&second), &addresses(&first));
}

/// Pages or rows of one `uri` follow each other without another in between.
pub async fn parts_of_a_uri_come_together(loader: &dyn DocumentLoader, expected: &LoaderExpectations) {
    let law = Law("DocumentLoader: parts_of_a_uri_come_together");
    let items = load(loader).await;
    check_good(law, &items, expected);
    let (mut left, mut current) = (HashSet::new(), None::<String>);
    for document in good(&items) {
        let uri = &document.source.uri;
        if current.as_ref() != Some(uri) {
            law.check(!left.contains(uri), format!("{uri:?} comes back after another source"));
            left.extend(current.replace(uri.clone()));
        }
    }
}

/// An `Err` item has the failed document's address in its context under `uri`.
pub async fn errors_name_their_document(loader: &dyn DocumentLoader, expected: &LoaderExpectations) {
    let law = Law("DocumentLoader: errors_name_their_document");
    let items = load(loader).await;
    for error in bad(&items) {
        let Some(uri) = error.context("uri") else { law.broken(format!("no `uri` in {error:?}")) };
        let known = expected.bad.iter().any(|end| uri.ends_with(end.as_str()));
        law.check(known, format!("an unexpected failure: {error:?}"));
        law.check(!error.message().is_empty(), "the error gives no reason");
    }
    for end in &expected.bad {
        let failed = bad(&items).iter().any(|e| e.context("uri").is_some_and(|u| u.ends_with(end.as_str())));
        law.check(failed, format!("{end:?} is bad but no error names it"));
    }
}

/// What comes after a bad document is still loaded.
pub async fn errors_do_not_end_the_stream(loader: &dyn DocumentLoader, expected: &LoaderExpectations) {
    let law = Law("DocumentLoader: errors_do_not_end_the_stream");
    if expected.bad.is_empty() {
        return law.skip("no bad document was stated");
    }
    let items = load(loader).await;
    check_good(law, &items, expected);
    let Some(first) = items.iter().position(Result::is_err) else { law.broken("no document fails") };
    law.check(items[first..].iter().any(Result::is_ok), "nothing is loaded after the first failure");
}

/// A stream dropped after one item leaves nothing running.
pub async fn dropping_early_is_fine(loader: &dyn DocumentLoader, expected: &LoaderExpectations) {
    let law = Law("DocumentLoader: dropping_early_is_fine");
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    drop(loader.load());
    for _ in 0..8 {
        let mut stream = loader.load();
        law.check(stream.next().await.is_some(), "the stream is empty");
        drop(stream);
    }
    // Tasks end a moment after they are told; only ones that never do are counted.
    let mut waited = 0;
    while tasks() > before && waited < 1000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        waited += 1;
    }
    law.check(tasks() <= before, "tasks of a dropped stream are still running");
    check_good(law, &load(loader).await, expected);
}
