//! The loaders' contract, in process and in worker processes.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::Path;

use katena_core::{DocumentLoader, DocumentStream};
use katena_loaders::{CsvLoader, DirectoryLoader, HtmlLoader, MarkdownLoader, PdfLoader, TextLoader};
use katena_testkit::document_loader::LoaderExpectations;
use tempfile::TempDir;

/// A loader and the folder it needs.
#[derive(Debug)]
struct With<L>(L, #[allow(dead_code, reason = "the folder lives as long as its loader")] TempDir);

impl<L: DocumentLoader> DocumentLoader for With<L> {
    fn load(&self) -> DocumentStream {
        self.0.load()
    }
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let handbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/handbook");
    std::fs::copy(handbook.join("safety-manual.pdf"), path.join("a.pdf")).unwrap();
    std::fs::write(path.join("b.csv"), "name,age\nAda,36\nBo,\"4\n2\"\n").unwrap();
    std::fs::write(path.join("c-broken.pdf"), "%PDF-1.7 and no more").unwrap();
    std::fs::create_dir(path.join("d")).unwrap();
    std::fs::write(path.join("d/e.html"), "<title>E</title><p>Some\n<b>text</b>").unwrap();
    std::fs::write(path.join("d/f-latin.txt"), b"\xcf\xf0\xe8 \xe2\xe5\xf2").unwrap();
    std::fs::write(path.join("g.md"), "# G\n\ntext\n").unwrap();
    std::fs::write(path.join("h.txt"), "plain").unwrap();
    folder
}

fn one<L: DocumentLoader>(file: &str, make: impl FnOnce(std::path::PathBuf) -> L) -> With<L> {
    let folder = folder();
    let path = folder.path().join(file);
    With(make(path), folder)
}

katena_testkit::document_loader_contract!(text, async { one("h.txt", TextLoader::new) });
katena_testkit::document_loader_contract!(markdown, async { one("g.md", MarkdownLoader::new) });
katena_testkit::document_loader_contract!(html, async { one("d/e.html", HtmlLoader::new) });
katena_testkit::document_loader_contract!(csv, async { one("b.csv", CsvLoader::new) });
katena_testkit::document_loader_contract!(pdf, async { one("a.pdf", PdfLoader::new) });

fn all() -> LoaderExpectations {
    LoaderExpectations::new()
        .with_good(["a.pdf", "b.csv", "d/e.html", "g.md", "h.txt"])
        .with_bad(["c-broken.pdf", "d/f-latin.txt"])
}

katena_testkit::document_loader_contract!(
    directory,
    async {
        let folder = folder();
        With(DirectoryLoader::new(folder.path()), folder)
    },
    all()
);
katena_testkit::document_loader_contract!(
    directory_in_workers,
    async {
        let folder = folder();
        With(DirectoryLoader::new(folder.path()).with_parser(support::workers()), folder)
    },
    all()
);
