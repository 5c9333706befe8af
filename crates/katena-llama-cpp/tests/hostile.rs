//! Files that are no models: each is a typed error that names the file, and the process lives on.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests and their helpers")]

mod common;

use std::path::Path;

use katena_core::{Error, ErrorKind};
use katena_llama_cpp::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaOptions};

fn both(path: &Path) -> [Error; 2] {
    let chat = LlamaChat::load(path, LlamaOptions::new().with_threads(1)).unwrap_err();
    let embedder = LlamaEmbedder::load(path, EmbedderOptions::new().with_threads(1)).unwrap_err();
    for error in [&chat, &embedder] {
        assert_eq!(error.context("file"), Some(path.display().to_string().as_str()), "{error}");
    }
    [chat, embedder]
}

#[test]
fn a_missing_file_is_not_found() {
    for error in both(Path::new("/nowhere/at/all.gguf")) {
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_file_that_is_no_gguf_says_so() {
    for error in both(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")) {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("not a GGUF file"), "{error}");
    }
    for error in both(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "a folder: {error}");
    }
}

#[test]
fn hostile_files_are_typed_errors() {
    let Some(folder) = common::evals("bad_inputs") else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "gguf") {
            count += 1;
            for error in both(&path) {
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{}: {error}", path.display());
            }
        }
    }
    assert!(count >= 7, "{count} files");
}

#[test]
fn a_real_file_cut_off_or_flipped_is_an_error_or_loads() {
    let Some(path) = common::embed_path() else { return };
    let bytes = std::fs::read(path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.gguf");
    for cut in [0, 3, 23, 1000, 400_000, 1_000_000, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&bad, &bytes[..cut]).unwrap();
        for error in both(&bad) {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "cut at {cut}: {error}");
        }
    }
    // Key-values in front, tensor infos behind the vocabulary: whatever happens, the process lives on.
    let infos = bytes.windows(16).rposition(|w| w == b"token_embd.weigh").unwrap();
    for at in (24..900).step_by(37).chain((infos..infos + 400).step_by(23)) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x15;
        std::fs::write(&bad, &flipped).unwrap();
        let _ = LlamaEmbedder::load(&bad, EmbedderOptions::new().with_threads(1));
    }
}
