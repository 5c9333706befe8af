//! Images in a sequence: llama.cpp's helper computes them, and the engine keeps count.

use katena_core::{Error, ErrorKind, Result};
use llama_cpp_2::mtmd::{MtmdContext, MtmdInputChunks};

use super::Engine;

impl Engine<'_> {
    /// Computes `chunks` behind what `sequence` holds. Nothing may have been pushed since the last decode, and no logits
    /// come out. After an error the sequence is empty.
    ///
    /// # Errors
    /// `InvalidInput` for a sequence that does not exist, `ContextTooLong` if they don't fit, `Unexpected` if llama.cpp
    /// fails or counts differently.
    pub(crate) fn look(
        &mut self,
        sequence: usize,
        eyes: &mut MtmdContext,
        chunks: &MtmdInputChunks,
    ) -> Result<()> {
        if self.decoded != Some(self.serial) && self.batch.n_tokens() > 0 {
            return Err(Error::unexpected("a batch is being filled"));
        }
        let Some(position) = self.positions.get(sequence).copied() else {
            return Err(Error::invalid_input("there is no such sequence")
                .with_context("sequence", sequence.to_string()));
        };
        let count = u32::try_from(chunks.total_tokens()).unwrap_or(u32::MAX);
        let end = position.saturating_add(count);
        if count == 0 || chunks.total_positions() != count as i32 {
            return Err(Error::unsupported("positions of several axes are not understood here"));
        }
        if end > self.shape.context_tokens {
            return Err(Error::new(ErrorKind::ContextTooLong, "the sequence has no room for an image")
                .with_context("context_tokens", self.shape.context_tokens.to_string()));
        }
        // Logits of earlier batches are gone.
        self.begin();
        self.decoded = None;
        let batch = self.shape.batch_tokens as i32;
        let done =
            chunks.eval_chunks(eyes, &mut self.context, position as i32, sequence as i32, batch, false);
        match done {
            Ok(reached) if reached == end as i32 => {
                self.positions[sequence] = end;
                Ok(())
            }
            Ok(reached) => {
                self.clear(sequence);
                Err(Error::unexpected("llama.cpp counts the positions of an image differently")
                    .with_context("positions", reached.to_string()))
            }
            Err(e) => {
                self.clear(sequence);
                Err(Error::unexpected("llama.cpp could not compute an image").with_source(e))
            }
        }
    }
}
