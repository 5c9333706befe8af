//! The cache of one sequence in llama.cpp's own file, and back. A file from outside is looked through first.

use std::path::Path;

use katena_core::{Error, Result};
use llama_cpp_2::token::LlamaToken;

use super::{Engine, Purpose};

/// What llama.cpp's file of a sequence begins with: `ggsq`, and the version.
const MAGIC: u32 = 0x6767_7371;
const VERSION: u32 = 4;
/// Magic, version, number of tokens.
const HEAD: usize = 12;
/// Streams and cells; then for each cell position, number of sequences, sequence.
const CELLS: usize = 8;
const CELL: usize = 12;

impl Engine<'_> {
    /// Writes what a sequence holds to a file, with its tokens.
    ///
    /// # Errors
    /// `InvalidInput` for a sequence that does not exist or does not hold as many tokens, `Unexpected` if llama.cpp fails.
    pub(crate) fn save_state(&self, sequence: usize, tokens: &[i32], path: &Path) -> Result<()> {
        let held = self.positions.get(sequence).copied().unwrap_or(0) as usize;
        if held == 0 || held != tokens.len() || !matches!(self.shape.purpose, Purpose::Generate { .. }) {
            return Err(Error::invalid_input("there is no such state to save"));
        }
        let tokens: Vec<LlamaToken> = tokens.iter().map(|t| LlamaToken::new(*t)).collect();
        self.context
            .state_seq_save_file(path, sequence as i32, &tokens)
            .map_err(|e| Error::unexpected("llama.cpp could not save a sequence").with_source(e))?;
        Ok(())
    }

    /// Fills an empty sequence from a file that passed [`check_state`] with these tokens. After an error it is empty.
    ///
    /// # Errors
    /// `InvalidInput` if the file is not of this model and context, the cache has no room for it, or the sequence is not
    /// empty.
    pub(crate) fn load_state(&mut self, sequence: usize, tokens: usize, path: &Path) -> Result<()> {
        let empty = self.positions.get(sequence) == Some(&0);
        let filling = self.decoded != Some(self.serial) && self.batch.n_tokens() > 0;
        if !empty || filling || tokens > self.context_tokens() {
            return Err(Error::invalid_input("a state can't be put there"));
        }
        let length = std::fs::metadata(path)?.len();
        let read = self.context.state_seq_load_file(path, sequence as i32, tokens);
        self.positions[sequence] = u32::try_from(tokens).unwrap_or(u32::MAX);
        match read {
            Ok((held, bytes)) if held.len() == tokens && bytes as u64 == length => Ok(()),
            _ => {
                self.clear(sequence);
                Err(Error::invalid_input("the state is not one of this model with these settings"))
            }
        }
    }
}

/// Looks through the bytes of such a file: a plain cache of one sequence, these tokens, each of their positions once.
///
/// # Errors
/// `InvalidInput` if it is anything else.
pub(crate) fn check_state(bytes: &[u8], tokens: &[i32]) -> Result<()> {
    let number = |at: usize| {
        let four = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    };
    let plain = || {
        let count = tokens.len();
        (number(0)? == MAGIC && number(4)? == VERSION && number(8)? as usize == count).then_some(())?;
        let cells = HEAD.checked_add(count.checked_mul(4)?)?;
        let held = bytes.get(HEAD..cells)?.chunks_exact(4);
        held.eq(tokens.iter().map(|t| t.to_le_bytes())).then_some(())?;
        (number(cells)? == 1 && number(cells + 4)? as usize == count).then_some(())?;
        bytes.get(..cells.checked_add(CELLS)?.checked_add(count.checked_mul(CELL)?)?)?;
        let mut seen = vec![false; count];
        for n in 0..count {
            let at = cells + CELLS + n * CELL;
            (number(at + 4)? == 1).then_some(())?;
            let place = seen.get_mut(number(at)? as usize)?;
            (!std::mem::replace(place, true)).then_some(())?;
        }
        Some(())
    };
    plain().ok_or_else(|| Error::invalid_input("the state is not that of a sequence"))
}
