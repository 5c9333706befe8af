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

#[cfg(test)]
mod tests {
    use std::fmt::{self, Write as _};
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    /// Keeps the level and the text of each event.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    struct Text<'a>(&'a mut String);

    impl Visit for Text<'_> {
        fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
            write!(self.0, "{value:?}").unwrap();
        }
    }

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut line = format!("{} ", event.metadata().level());
            event.record(&mut Text(&mut line));
            self.0.lock().unwrap().push(line);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn any_text_of_the_library_reaches_the_log() {
        to_tracing();
        to_tracing();
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.clone(), || {
            let told = |level, text: *const c_char| {
                // SAFETY: a null text is allowed, the others end with a NUL.
                unsafe { tell(level, text, std::ptr::null_mut()) }
            };
            told(llama_cpp_sys_2::GGML_LOG_LEVEL_ERROR, std::ptr::null());
            told(llama_cpp_sys_2::GGML_LOG_LEVEL_ERROR, c"no picture\n".as_ptr());
            told(llama_cpp_sys_2::GGML_LOG_LEVEL_WARN, c"\xff?".as_ptr());
            told(llama_cpp_sys_2::GGML_LOG_LEVEL_INFO, c"".as_ptr());
        });
        assert_eq!(*kept.0.lock().unwrap(), ["ERROR no picture", "WARN \u{fffd}?", "DEBUG "]);
    }
}
