//! JSON values that grow while their text arrives.

use std::fmt;

use katena_core::{Error, Result};
use serde_json::Value;

use super::machine::{Commas, Machine, Sealed};

/// A value longer than this many bytes of text is refused.
const MAX_BYTES: usize = 64 << 20;

/// Reads a JSON object or list while its text arrives and gives the value so far. What stands before and after it (prose, a
/// code fence) is skipped. Linear in the whole text, however it is cut; a value is at most 128 levels deep.
///
/// What has been shown is never taken back: texts and lists only grow.
///
/// ```
/// use katena_prompts::JsonStream;
/// use serde_json::json;
/// let mut stream = JsonStream::new();
/// assert_eq!(stream.push("Sure: {\"city\": \"De"), Some(&json!({"city": "De"})));
/// assert_eq!(stream.push("lft\", \"people\": 10"), Some(&json!({"city": "Delft", "people": 10})));
/// assert_eq!(stream.push("9000}"), Some(&json!({"city": "Delft", "people": 109000})));
/// assert_eq!(stream.finish()?, json!({"city": "Delft", "people": 109000}));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct JsonStream {
    /// `None` until the value begins.
    machine: Option<Machine>,
    sealed: Option<Sealed>,
    done: Option<Value>,
    broken: bool,
    bytes: usize,
}

impl fmt::Debug for JsonStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonStream")
            .field("started", &self.machine.is_some())
            .field("done", &self.done.is_some())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl JsonStream {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads on; gives the value so far, or nothing before it begins.
    pub fn push(&mut self, text: &str) -> Option<&Value> {
        if self.done.is_none() && !self.broken {
            self.read(text);
        }
        self.value()
    }

    fn read(&mut self, text: &str) {
        if let (Some(machine), Some(sealed)) = (&mut self.machine, self.sealed.take()) {
            machine.unseal(sealed);
        }
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > MAX_BYTES {
            self.broken = true;
        }
        for c in text.chars() {
            if self.broken {
                break;
            }
            self.read_char(c);
            if self.done.is_some() {
                return;
            }
        }
        self.sealed = self.machine.as_mut().and_then(Machine::seal);
    }

    fn read_char(&mut self, c: char) {
        if let Some(machine) = &mut self.machine {
            if machine.push(c).is_ok() {
                if machine.is_done() {
                    self.done = self.machine.take().and_then(Machine::into_root);
                }
                return;
            }
            // A bracket in the prose before the value.
            if !machine.is_fresh() {
                self.broken = true;
                return;
            }
            self.machine = None;
        }
        if matches!(c, '{' | '[') {
            let mut machine = Machine::new(Commas::Trailing);
            if machine.push(c).is_ok() {
                self.machine = Some(machine);
            }
        }
    }

    /// The value so far.
    pub fn value(&self) -> Option<&Value> {
        self.done.as_ref().or_else(|| self.sealed.as_ref().map(|s| &s.value))
    }

    /// True once the value is whole.
    pub fn is_done(&self) -> bool {
        self.done.is_some()
    }

    /// The whole value.
    ///
    /// # Errors
    /// Kind `InvalidOutput` if it never came, was cut off, or was no JSON.
    pub fn finish(self) -> Result<Value> {
        let why = match (self.done, self.broken, self.machine.is_some()) {
            (Some(value), ..) => return Ok(value),
            (None, true, _) => "the model's reply is broken JSON",
            (None, false, true) => "the model's JSON was cut off",
            (None, false, false) => "the model's reply holds no JSON",
        };
        Err(Error::invalid_output(why))
    }
}
