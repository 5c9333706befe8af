//! Loading a checked file.

use std::path::Path;

use katena_core::{Error, Result};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;

use crate::backend::backend;
use crate::options::Progress;
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
    let backend = backend()?;
    header.architecture().map_err(|e| e.with_context("file", path.display().to_string()))?;
    let named = |e: Error| e.with_context("file", path.display().to_string());
    if gpu_layers > 0 && !backend.supports_gpu_offload() {
        return Err(Error::unsupported(
            "layers can't go to the GPU: build with one of the features cuda, vulkan, metal, rocm, on a machine that has it",
        ));
    }
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
    let mut params = LlamaModelParams::default().with_n_gpu_layers(gpu_layers);
    if let Some(progress) = progress {
        params = params.with_progress_callback(move |part| {
            progress(part);
            true
        });
    }
    let model = LlamaModel::load_from_file(backend, path, &params).map_err(|e| {
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
    Ok(model)
}

/// A model's name: its file's, without the ending.
pub(crate) fn model_name(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".to_owned(), |s| s.to_string_lossy().into_owned())
}
