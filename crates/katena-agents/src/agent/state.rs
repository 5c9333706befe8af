//! What a run knows between two turns.

use katena_core::{Message, Usage};
use serde::{Deserialize, Serialize};

/// All that a run must remember to go on, without the parts that the program brings (instructions, tools, limits).
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) session: Option<String>,
    /// Recalled, input, new: in this order.
    pub(crate) messages: Vec<Message>,
    /// How many are recalled.
    pub(crate) recalled: usize,
    /// Where the new ones begin.
    pub(crate) fresh: usize,
    pub(crate) steps: u32,
    /// Tokens of earlier processes.
    pub(crate) before: Usage,
    pub(crate) cost: f64,
    /// Tokens and cost of the last turn: what the next one will need at least.
    pub(crate) last_tokens: u64,
    pub(crate) last_cost: f64,
    /// Name of the active agent.
    pub(crate) active: String,
    pub(crate) transfers: u32,
    /// Of the last turn's calls, and how often it came in a row.
    pub(crate) fingerprint: u64,
    pub(crate) repeats: u32,
    /// Turns in a row that were wrong in form.
    pub(crate) malformed: u32,
}

impl State {
    pub(crate) fn is_sound(&self) -> bool {
        self.recalled <= self.fresh && self.fresh <= self.messages.len()
    }

    /// Text that the model has said last, for an answer that could not be made.
    pub(crate) fn last_words(&self) -> Message {
        let said = self.messages[self.fresh..].iter().rev();
        let text = said
            .filter(|m| m.role == katena_core::Role::Assistant)
            .map(Message::text)
            .find(|t| !t.trim().is_empty());
        Message::assistant(text.unwrap_or_default())
    }
}

/// FNV-1a, 64 bit (<http://www.isthe.com/chongo/tech/comp/fnv/>): the same in every process.
pub(crate) fn fingerprint<'a>(texts: impl Iterator<Item = &'a str>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}
