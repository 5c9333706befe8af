//! The parts of a streamed answer as they grow, and the events that tell of it. Every protocol's decoder builds on this.

use std::collections::VecDeque;

use katena_core::{ChatEvent, Error, Part, PartKind, Result, ToolCall};

/// Parts of a message; the accumulator of events takes no more.
const MAX_PARTS: usize = 2048;
/// Bytes of one answer.
const MAX_BYTES: usize = 64 << 20;

/// True for a signature that names its vendor before a colon, as those of OpenAI and Gemini do here. Base64, in which
/// Anthropic and Bedrock sign, has no colon.
#[allow(dead_code, reason = "each protocol is a feature and uses its own part of this")]
pub(crate) fn names_its_vendor(signature: &str) -> bool {
    signature.contains(':')
}

#[derive(Debug)]
enum Growing {
    Text {
        kind: PartKind,
        text: String,
        signature: Option<String>,
    },
    Call {
        id: String,
        name: String,
        arguments: String,
    },
    /// Has begun and comes whole.
    Whole(Part),
    Done(Part),
}

/// Growing parts. A part is named by its number in the message.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    parts: Vec<Growing>,
    open: Option<usize>,
    bytes: usize,
    events: VecDeque<ChatEvent>,
}

#[allow(dead_code, reason = "each protocol is a feature and uses its own part of this")]
impl Parts {
    /// True before the first part.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The next event for the caller.
    pub(crate) fn next_event(&mut self) -> Option<ChatEvent> {
        self.events.pop_front()
    }

    /// Counts bytes that come from outside; beyond the limit is an error.
    pub(crate) fn spend(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(Error::invalid_output("the answer is larger than the limit")
                .with_context("limit", format!("{MAX_BYTES} bytes")));
        }
        Ok(())
    }

    fn add(&mut self, part: Growing) -> Result<usize> {
        if self.parts.len() >= MAX_PARTS {
            return Err(Error::invalid_output("the answer has more parts than the limit"));
        }
        self.parts.push(part);
        Ok(self.parts.len() - 1)
    }

    /// For protocols without part numbers: adds to the last part opened this way if it is of this kind, else ends that one and
    /// begins another. Nothing happens for an empty text.
    pub(crate) fn append(&mut self, kind: PartKind, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let same = |n: &usize| matches!(&self.parts[*n], Growing::Text { kind: k, .. } if *k == kind);
        let n = match self.open.filter(same) {
            Some(n) => n,
            None => {
                self.end_open();
                let n = self.begin(kind)?;
                self.open = Some(n);
                n
            }
        };
        self.delta(n, text)
    }

    /// The part that [`append`](Self::append) would add to, if it is of this kind.
    pub(crate) fn open_of(&self, kind: PartKind) -> Option<usize> {
        self.open.filter(|n| matches!(&self.parts[*n], Growing::Text { kind: k, .. } if *k == kind))
    }

    /// Ends the part that [`append`](Self::append) left open.
    pub(crate) fn end_open(&mut self) {
        if let Some(n) = self.open.take() {
            self.end(n);
        }
    }

    /// Begins a part of text, reasoning or refusal.
    pub(crate) fn begin(&mut self, kind: PartKind) -> Result<usize> {
        let n = self.add(Growing::Text { kind, text: String::new(), signature: None })?;
        self.events.push_back(ChatEvent::start(n, kind));
        Ok(n)
    }

    /// Begins a tool call; ends what [`append`](Self::append) left open.
    pub(crate) fn begin_tool(&mut self, id: &str, name: &str) -> Result<usize> {
        self.spend(id.len() + name.len())?;
        self.end_open();
        let n = self.add(Growing::Call { id: id.into(), name: name.into(), arguments: String::new() })?;
        self.events.push_back(ChatEvent::start_tool(n, id, name));
        Ok(n)
    }

    /// Adds to a part: text, or a piece of the arguments. A part that has ended takes no more: `InvalidOutput`.
    pub(crate) fn delta(&mut self, n: usize, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.spend(text.len())?;
        match self.parts.get_mut(n) {
            Some(Growing::Text { text: whole, .. } | Growing::Call { arguments: whole, .. }) => {
                whole.push_str(text);
                self.events.push_back(ChatEvent::delta(n, text));
                Ok(())
            }
            _ => Err(Error::invalid_output("the answer grows a part that has ended")),
        }
    }

    /// Begins a part that comes whole at its end; `part` is what is known of it now.
    pub(crate) fn begin_whole(&mut self, part: Part) -> Result<usize> {
        let n = self.add(Growing::Whole(part))?;
        self.events.push_back(ChatEvent::start(n, PartKind::Other));
        Ok(n)
    }

    /// What is known now of a part that comes whole. `size` is about its bytes.
    pub(crate) fn replace(&mut self, n: usize, part: Part, size: usize) -> Result<()> {
        self.spend(size)?;
        if let Some(Growing::Whole(known)) = self.parts.get_mut(n) {
            *known = part;
        }
        Ok(())
    }

    /// The text or arguments that a part has so far; nothing once it has ended.
    pub(crate) fn text(&self, n: usize) -> &str {
        match self.parts.get(n) {
            Some(Growing::Text { text, .. } | Growing::Call { arguments: text, .. }) => text,
            _ => "",
        }
    }

    /// How much text the part has so far; 0 once it has ended.
    pub(crate) fn len(&self, n: usize) -> usize {
        match self.parts.get(n) {
            Some(Growing::Text { text, .. } | Growing::Call { arguments: text, .. }) => text.len(),
            _ => 0,
        }
    }

    /// Adds to the signature of a part of reasoning that has not ended.
    pub(crate) fn sign(&mut self, n: usize, piece: &str) -> Result<()> {
        self.spend(piece.len())?;
        if let Some(Growing::Text { signature, .. }) = self.parts.get_mut(n) {
            signature.get_or_insert_default().push_str(piece);
        }
        Ok(())
    }

    /// Ends a part; ended parts stay as they are.
    pub(crate) fn end(&mut self, n: usize) {
        let Some(slot) = self.parts.get_mut(n) else { return };
        let part = match std::mem::replace(slot, Growing::Done(Part::text(""))) {
            Growing::Done(part) => {
                *slot = Growing::Done(part);
                return;
            }
            Growing::Whole(part) => part,
            Growing::Text { kind: PartKind::Reasoning, text, signature } => {
                Part::Reasoning { text, signature }
            }
            Growing::Text { kind: PartKind::Refusal, text, .. } => Part::Refusal { text },
            Growing::Text { text, .. } => Part::text(text),
            Growing::Call { id, name, arguments } => Part::ToolCall(ToolCall::new(id, name, arguments)),
        };
        *slot = Growing::Done(part.clone());
        self.events.push_back(ChatEvent::end(n, part));
        if self.open == Some(n) {
            self.open = None;
        }
    }

    /// Adds a part that came whole; ends what [`append`](Self::append) left open. `size` is about its bytes.
    pub(crate) fn whole(&mut self, part: Part, size: usize) -> Result<usize> {
        self.spend(size)?;
        self.end_open();
        let n = self.add(Growing::Done(part.clone()))?;
        match &part {
            Part::ToolCall(c) => {
                self.events.push_back(ChatEvent::start_tool(n, &c.id, &c.name));
                if !c.arguments.is_empty() {
                    self.events.push_back(ChatEvent::delta(n, &c.arguments));
                }
            }
            Part::Text { text } | Part::Refusal { text } | Part::Reasoning { text, .. } => {
                self.events.push_back(ChatEvent::start(n, part.kind()));
                if !text.is_empty() {
                    self.events.push_back(ChatEvent::delta(n, text));
                }
            }
            _ => self.events.push_back(ChatEvent::start(n, PartKind::Other)),
        }
        self.events.push_back(ChatEvent::end(n, part));
        Ok(n)
    }

    /// Ends every part and gives them all, in order. Events stay to be taken.
    pub(crate) fn finish(&mut self) -> Vec<Part> {
        self.open = None;
        for n in 0..self.parts.len() {
            self.end(n);
        }
        std::mem::take(&mut self.parts)
            .into_iter()
            .filter_map(|p| if let Growing::Done(part) = p { Some(part) } else { None })
            .collect()
    }

    /// The last event.
    pub(crate) fn finished(&mut self, response: katena_core::ChatResponse) {
        self.events.push_back(ChatEvent::Finished(Box::new(response)));
    }
}
