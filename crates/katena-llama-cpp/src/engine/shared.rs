//! Beginnings that sequences have in common. In a unified cache they are marked as belonging to several, in a split one copied.

use katena_core::{Error, Result};

use super::{Engine, Purpose};

impl Engine<'_> {
    /// Tokens of all sequences together, those that share a cell counted once.
    pub(crate) fn cache_tokens(&self) -> usize {
        self.cache as usize
    }

    /// How many tokens a sequence holds.
    #[cfg(test)]
    pub(crate) fn length(&self, sequence: usize) -> usize {
        self.positions.get(sequence).map_or(0, |n| *n as usize)
    }

    /// True if a part of a sequence may be shared or dropped with this model. Recurrent states can't be cut, and a
    /// sliding window has forgotten what a shorter beginning needs.
    pub(crate) fn can_cut(model: &llama_cpp_2::model::LlamaModel, header: &katena_gguf::Header) -> bool {
        let window = header.arch_number("attention.sliding_window").is_some_and(|n| n > 0);
        !model.is_recurrent() && !model.is_hybrid() && !window
    }

    /// Sequence `to`, which holds the same tokens as `from` as far as it goes, gets the tokens of `from` up to `end`.
    ///
    /// # Errors
    /// `InvalidInput` if there are no such sequences or tokens, or a batch is being filled; in a split cache as
    /// [`Engine::rows`] and [`Engine::restore`].
    pub(crate) fn share(&mut self, from: usize, to: usize, end: usize) -> Result<()> {
        let (Some(held), Some(start)) = (self.positions.get(from).copied(), self.positions.get(to).copied())
        else {
            return Err(Error::invalid_input("there is no such sequence")
                .with_context("sequences", format!("{from}, {to}")));
        };
        let last = u32::try_from(end).ok().filter(|end| start < *end && *end <= held && from != to);
        let generates = matches!(self.shape.purpose, Purpose::Generate { .. });
        let (Some(last), true, false) = (last, generates, self.filling()) else {
            return Err(Error::invalid_input("this part of a sequence can't be shared now"));
        };
        if !self.shape.purpose.unified() {
            let rows = self.rows(from, 0..end)?;
            return self.restore(to, &[&rows], end);
        }
        self.context.copy_kv_cache_seq(from as i32, to as i32, Some(start), Some(last)).map_err(|e| {
            Error::unexpected("llama.cpp could not share a part of a sequence").with_source(e)
        })?;
        self.positions[to] = last;
        Ok(())
    }

    /// Drops what a sequence holds beyond `length`.
    ///
    /// # Errors
    /// `InvalidInput` if a batch is being filled, `Unsupported` if the model's memory can't be cut there; nothing is
    /// dropped then.
    pub(crate) fn trim(&mut self, sequence: usize, length: usize) -> Result<()> {
        if self.filling() {
            return Err(Error::invalid_input("a sequence can't be cut while a batch is filled"));
        }
        let Some(held) = self.positions.get(sequence).copied() else {
            return Err(Error::invalid_input("there is no such sequence")
                .with_context("sequence", sequence.to_string()));
        };
        let Some(length) = u32::try_from(length).ok().filter(|n| *n < held) else { return Ok(()) };
        if length == 0 {
            self.clear(sequence);
            return Ok(());
        }
        match self.context.clear_kv_cache_seq(Some(sequence as u32), Some(length), None) {
            Ok(true) => {
                self.positions[sequence] = length;
                Ok(())
            }
            Ok(false) => Err(Error::unsupported("the model's memory can't be cut")),
            Err(e) => Err(Error::unexpected("llama.cpp could not cut a sequence").with_source(e)),
        }
    }
}
