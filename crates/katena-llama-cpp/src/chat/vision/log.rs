//! The log of llama.cpp's library for images, which has a log of its own.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Once;

static ONCE: Once = Once::new();

/// Sends it to `tracing`, once for the process.
pub(super) fn to_tracing() {
    ONCE.call_once(|| {
        // SAFETY: the callback is a function without state that lives as long as the process, and it does not unwind.
        unsafe { llama_cpp_sys_2::mtmd_helper_log_set(Some(tell), std::ptr::null_mut()) };
    });
}

unsafe extern "C" fn tell(level: llama_cpp_sys_2::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp gives a text that ends with a NUL and lives as long as the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let text = text.trim_end();
    match level {
        llama_cpp_sys_2::GGML_LOG_LEVEL_ERROR => tracing::error!(target: "katena_llama_cpp::mtmd", "{text}"),
        llama_cpp_sys_2::GGML_LOG_LEVEL_WARN => tracing::warn!(target: "katena_llama_cpp::mtmd", "{text}"),
        _ => tracing::debug!(target: "katena_llama_cpp::mtmd", "{text}"),
    }
}
