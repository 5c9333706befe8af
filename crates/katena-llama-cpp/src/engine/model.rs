//! Loading a checked file.

use std::path::Path;

use katena_core::{Error, Result};
use llama_cpp_2::model::LlamaModel;

use super::tuning::model_params;
use crate::backend::backend;
use crate::lora::{self, Adapter};
use crate::options::{LlamaOptions, Progress};
use katena_gguf::Header;

/// Loads the weights. The file's head has been checked by [`Header::read`].
///
/// # Errors
/// `Unsupported` if layers are to go to a GPU that this build or machine does not have, or the model is in several
/// files; `InvalidInput` if llama.cpp can't use the file (its log, in `tracing`, says why).
pub(crate) fn load_model(
    path: &Path,
    header: &Header,
    gpu_layers: u32,
    progress: Option<Progress>,
) -> Result<LlamaModel> {
    let options = LlamaOptions { gpu_layers, progress, ..LlamaOptions::new() };
    Ok(load_chat_model(path, header, &options)?.0)
}

/// The same with all that a chat model's options say, and its adapter.
///
/// # Errors
/// As [`load_model`], [`model_params`] and [`lora::load`].
pub(crate) fn load_chat_model(
    path: &Path,
    header: &Header,
    options: &LlamaOptions,
) -> Result<(LlamaModel, Option<Adapter>)> {
    let backend = backend()?;
    header.architecture().map_err(|e| e.with_context("file", path.display().to_string()))?;
    let named = |e: Error| e.with_context("file", path.display().to_string());
    let mut params = model_params(options)?;
    if header.number("split.count").is_some_and(|n| n > 1) {
        return Err(named(Error::unsupported("the model is split into several files; merge them first")));
    }
    // Without a vocabulary llama.cpp aborts at the first text.
    if !header.text("tokenizer.ggml.model").is_some_and(|m| !matches!(m, "" | "none" | "no_vocab")) {
        return Err(named(Error::invalid_input("the model file has no vocabulary")));
    }
    if path.to_str().is_none_or(|p| p.contains('\0')) {
        return Err(named(Error::invalid_input("the model's path is not valid UTF-8")));
    }
    super::guard::check(path, header).map_err(named)?;
    if let Some(progress) = options.progress.clone() {
        params = params.with_progress_callback(move |part| {
            progress(part);
            true
        });
    }
    let mut model = LlamaModel::load_from_file(backend, path, &params).map_err(|e| {
        named(
            Error::invalid_input(
                "llama.cpp can't use this model file: it is damaged or of an unknown architecture",
            )
            .with_context("architecture", header.text("general.architecture").unwrap_or("?").to_owned())
            .with_source(e),
        )
    })?;
    if model.n_vocab() <= 0 || model.n_embd() <= 0 {
        return Err(named(Error::invalid_input("the model has no vocabulary or no width")));
    }
    let adapter = lora::load(&mut model, header, &options.lora)?;
    Ok((model, adapter))
}

/// A model's name: its file's, without the ending.
pub(crate) fn model_name(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".to_owned(), |s| s.to_string_lossy().into_owned())
}
