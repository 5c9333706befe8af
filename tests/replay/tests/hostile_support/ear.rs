//! Hears everything that is logged, at every level, by `tracing` and by `log`.

use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static HEARD: Mutex<String> = Mutex::new(String::new());
static BEGIN: Once = Once::new();

/// Listens from now on, in the whole process.
pub fn listen() {
    BEGIN.call_once(|| {
        tracing::subscriber::set_global_default(Ear(AtomicU64::new(1))).unwrap();
        log::set_logger(&Log).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// All that was logged since.
pub fn heard() -> String {
    HEARD.lock().unwrap().clone()
}

struct Ear(AtomicU64);
struct Write;
struct Log;

impl Visit for Write {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(HEARD.lock().unwrap(), "{field} = {value:?}").unwrap();
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        writeln!(HEARD.lock().unwrap(), "{field} = {value}").unwrap();
    }
}

impl Subscriber for Ear {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        writeln!(HEARD.lock().unwrap(), "span {}", span.metadata().name()).unwrap();
        span.record(&mut Write);
        Id::from_u64(self.0.fetch_add(1, Ordering::SeqCst))
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Write);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Write);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        writeln!(HEARD.lock().unwrap(), "log {}: {}", record.target(), record.args()).unwrap();
    }
    fn flush(&self) {}
}
