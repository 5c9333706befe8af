//! The cache of one sequence to main memory, and back.

use std::ops::Range;
use std::sync::Arc;

use katena_core::{Error, Result};
use llama_cpp_2::LlamaStateSeqFlags;
use llama_cpp_2::token::LlamaToken;

use super::rows::{Form, Rows};
use super::{Engine, Want};

/// Bytes of a buffer that is kept for the next state.
const SCRATCH: usize = 32 << 20;

impl Engine<'_> {
    /// Learns what states look like, by computing one token. `None` if they are of a form that is not known here: then
    /// nothing can be kept. All sequences are empty and must be.
    pub(crate) fn learn_form(&mut self) -> Option<Arc<Form>> {
        let one = LlamaToken::new(0);
        let computed = self.push(one, 0, Want::Logits).and_then(|_| self.decode());
        let form = computed.ok().and_then(|()| self.with_state(0, Form::of)).map(Arc::new);
        self.clear_all();
        self.form.clone_from(&form);
        form
    }

    /// Looks at llama.cpp's state of a sequence.
    fn with_state<T>(&mut self, sequence: usize, look: impl FnOnce(&[u8]) -> T) -> T {
        let (sequence, flags) = (sequence as i32, LlamaStateSeqFlags::empty());
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.resize(self.context.state_seq_get_size_ext(sequence, flags), 0);
        // SAFETY: the buffer has the size that llama.cpp has just said it will write for this sequence; the context is
        // not used in between, since `self` is borrowed and contexts don't leave their thread.
        let written = unsafe { self.context.state_seq_get_data_ext(bytes.as_mut_ptr(), sequence, flags) };
        let found = look(&bytes[..written.min(bytes.len())]);
        self.reuse(bytes);
        found
    }

    /// Keeps a buffer for the next time, unless it is large: fresh memory takes longer than what is done with it.
    fn reuse(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() <= SCRATCH {
            bytes.clear();
            self.scratch = bytes;
        }
    }

    /// The state of the tokens at positions `range` of a sequence.
    ///
    /// # Errors
    /// `InvalidInput` for a sequence or tokens that are not there, `Unexpected` if llama.cpp fails or gives another form.
    pub(crate) fn rows(&mut self, sequence: usize, range: Range<usize>) -> Result<Rows> {
        let held = self.positions.get(sequence).copied().unwrap_or(0) as usize;
        let there = range.start < range.end && range.end <= held && !self.filling();
        let form = self.form.clone().filter(|_| there);
        let form = form.ok_or_else(|| Error::invalid_input("there is no such state to keep"))?;
        self.with_state(sequence, |state| Rows::of(&form, state, range))
            .ok_or_else(|| Error::unexpected("llama.cpp gave a state that is not of the usual form"))
    }

    /// Puts the first `end` tokens of these parts in a sequence, in place of what it holds. After an error it is empty.
    ///
    /// # Errors
    /// `InvalidInput` for a sequence or tokens that are not there, `Unexpected` if llama.cpp fails or has no room.
    pub(crate) fn restore(&mut self, sequence: usize, parts: &[&Rows], end: usize) -> Result<()> {
        let there: usize = parts.iter().map(|p| p.tokens()).sum();
        let good = sequence < self.positions.len() && (1..=there.min(self.context_tokens())).contains(&end);
        let form = self.form.clone().filter(|_| good && !self.filling());
        let form = form.ok_or_else(|| Error::invalid_input("a state can't be put there"))?;
        let mut state = std::mem::take(&mut self.scratch);
        Rows::write_state(&form, parts, end, &mut state);
        self.clear(sequence);
        let flags = LlamaStateSeqFlags::empty();
        // SAFETY: llama.cpp reads within the buffer's length, and checks marks, types and sizes as it goes; all that is
        // not the cache's own numbers was written above, with positions and the number of cells within the context.
        let read = unsafe { self.context.state_seq_set_data_ext(&state, sequence as i32, flags) };
        self.reuse(state);
        if !read {
            self.clear(sequence);
            return Err(Error::unexpected("llama.cpp did not take a sequence's state back"));
        }
        self.positions[sequence] = end as u32;
        Ok(())
    }

    /// True while a batch is being filled.
    pub(super) fn filling(&self) -> bool {
        self.decoded != Some(self.serial) && self.batch.n_tokens() > 0
    }
}
