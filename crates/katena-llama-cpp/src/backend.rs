//! The one llama.cpp backend of the process, and its log.

use std::sync::OnceLock;

use katena_core::{Error, Result};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::{LogOptions, send_logs_to_tracing};

use crate::cpu::check_cpu;

static BACKEND: OnceLock<Result<LlamaBackend>> = OnceLock::new();

/// The backend, made on the first call and kept for the process: llama.cpp has one, and freeing it under a model is fatal.
/// Its log goes to `tracing`, so it is silent without a subscriber.
///
/// # Errors
/// `Unsupported` on a processor that can't run it; `Unexpected` if another user of llama.cpp in this process made one.
pub(crate) fn backend() -> Result<&'static LlamaBackend> {
    check_cpu()?;
    BACKEND
        .get_or_init(|| {
            send_logs_to_tracing(LogOptions::default());
            LlamaBackend::init()
                .map_err(|e| Error::unexpected("llama.cpp could not be started").with_source(e))
        })
        .as_ref()
        .map_err(Clone::clone)
}
