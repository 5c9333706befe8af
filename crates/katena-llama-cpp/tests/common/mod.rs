//! Where the test models are.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;

use katena_llama_cpp::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaOptions, Overlong};

fn cache(name: &str) -> PathBuf {
    let base = std::env::var_os("KATENA_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/katena")))
        .unwrap_or_default();
    base.join("models").join(name)
}

/// The path in `variable`, or in the cache folder; `None` after a line that says so, if there is nothing.
fn model(variable: &str, name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map_or_else(|| cache(name), PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    assert!(
        std::env::var_os("KATENA_REQUIRE_MODELS").is_none_or(|v| v != "1"),
        "the test model is missing: set {variable}, or put it at {}",
        path.display()
    );
    eprintln!("skipped: no test model; set {variable}, or put it at {}", path.display());
    None
}

pub(crate) fn chat_path() -> Option<PathBuf> {
    model("KATENA_TEST_CHAT_MODEL", "smollm2-135m-instruct-q4_1.gguf")
}

pub(crate) fn embed_path() -> Option<PathBuf> {
    model("KATENA_TEST_EMBED_MODEL", "all-minilm-l6-v2-f16.gguf")
}

pub(crate) fn embed_source() -> Option<PathBuf> {
    model("KATENA_TEST_EMBED_SOURCE", "all-minilm-l6-v2")
}

pub(crate) fn options() -> LlamaOptions {
    LlamaOptions::new().with_threads(1).with_context_tokens(1024)
}

pub(crate) fn chat_with(options: LlamaOptions) -> Option<LlamaChat> {
    Some(LlamaChat::load(chat_path()?, options).expect("the chat model loads"))
}

pub(crate) fn chat() -> Option<LlamaChat> {
    chat_with(options())
}

pub(crate) fn embedder_with(options: EmbedderOptions) -> Option<LlamaEmbedder> {
    Some(LlamaEmbedder::load(embed_path()?, options.with_threads(1)).expect("the embedder loads"))
}

pub(crate) fn embedder() -> Option<LlamaEmbedder> {
    embedder_with(EmbedderOptions::new().with_overlong(Overlong::Truncate))
}

/// The files that evaluations are made with, if they are there.
pub(crate) fn evals(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {}", path.display());
    None
}
