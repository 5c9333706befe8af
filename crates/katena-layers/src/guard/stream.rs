//! Streams under output checks: held back until the checks have seen what goes out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use katena_core::{ChatEvent, ChatStream, Context, Error, Part, PartKind, Result};

use super::chat::check_part;
use super::{Check, apply};

struct State {
    source: Option<ChatStream>,
    checks: Arc<[Arc<dyn Check>]>,
    context: Context,
    /// Bytes that are held back while the checks pass; `None` holds back all.
    window: Option<usize>,
    parts: HashMap<usize, Held>,
    ready: VecDeque<ChatEvent>,
    /// The parts that are complete, as they went out.
    ended: HashMap<usize, Part>,
    /// Some part was changed.
    changed: bool,
}

/// A part that is not complete.
#[derive(Default)]
struct Held {
    /// All of its text so far.
    text: String,
    /// How much of it went out.
    sent: usize,
    /// A check objected: the rest waits for the end.
    stopped: bool,
    /// How much of it the checks have seen.
    seen: usize,
    start: Option<ChatEvent>,
}

/// A stream of what the checks let go.
pub(super) fn guarded(
    source: ChatStream,
    checks: Arc<[Arc<dyn Check>]>,
    context: Context,
) -> impl Stream<Item = Result<ChatEvent>> {
    let windows: Option<Vec<usize>> = checks.iter().map(|c| c.window()).collect();
    let window = windows.map(|w| w.into_iter().max().unwrap_or(0));
    let state = State {
        source: Some(source),
        checks,
        context,
        window,
        parts: HashMap::new(),
        ready: VecDeque::new(),
        ended: HashMap::new(),
        changed: false,
    };
    stream::unfold(state, |mut state| async move {
        loop {
            if let Some(event) = state.ready.pop_front() {
                return Some((Ok(event), state));
            }
            let item = state.source.as_mut()?.next().await?;
            let taken = match item {
                Ok(event) => state.take(event).await,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                state.source = None;
                state.ready.clear();
                return Some((Err(error), state));
            }
        }
    })
}

impl State {
    async fn take(&mut self, event: ChatEvent) -> Result<()> {
        match event {
            ChatEvent::Start { part, .. } => {
                self.parts.insert(part, Held { start: Some(event), ..Held::default() });
            }
            ChatEvent::Delta { part, text } => {
                let held = self.parts.get_mut(&part).ok_or_else(out_of_order)?;
                held.text.push_str(&text);
                self.let_go(part).await?;
            }
            ChatEvent::End { part, value } => {
                let held = self.parts.remove(&part).ok_or_else(out_of_order)?;
                self.end(part, held, value).await?;
            }
            ChatEvent::Finished(mut response) => {
                for (n, part) in response.message.parts.iter_mut().enumerate() {
                    // The verdict was given; a check that asks a model might give another one now.
                    match self.ended.remove(&n) {
                        Some(seen) => *part = seen,
                        None => {
                            let changed = check_part(&self.checks, "output", part, &self.context).await?;
                            self.changed |= changed;
                        }
                    }
                }
                if self.changed {
                    response.raw = None;
                    response.logprobs = None;
                }
                self.ready.push_back(ChatEvent::Finished(response));
                self.source = None;
            }
            _ => return Err(Error::unsupported("the guard does not know this stream event")),
        }
        Ok(())
    }

    /// Sends what lies before the window, if the checks pass all that has come.
    async fn let_go(&mut self, part: usize) -> Result<()> {
        let (Some(window), Some(held)) = (self.window, self.parts.get_mut(&part)) else { return Ok(()) };
        let fresh = held.text.len() - held.seen;
        // Looking at every piece anew would take a time that grows with the square of the text.
        if held.stopped || held.text.len() <= held.sent + window || fresh < 16.max(window / 4) {
            return Ok(());
        }
        held.seen = held.text.len();
        // What lies further back than a window before the first unsent byte was judged with its surroundings before.
        let from = border(&held.text, held.sent.saturating_sub(window));
        let passes =
            matches!(apply(&self.checks, "output", &held.text[from..], &self.context).await, Ok(None));
        if !passes {
            held.stopped = true;
            return Ok(());
        }
        let to = border(&held.text, held.text.len() - window);
        if to > held.sent {
            self.ready.extend(held.start.take());
            self.ready.push_back(ChatEvent::delta(part, &held.text[held.sent..to]));
            held.sent = to;
        }
        Ok(())
    }

    /// Judges the whole part and sends the rest.
    async fn end(&mut self, part: usize, mut held: Held, mut value: Part) -> Result<()> {
        let changed = check_part(&self.checks, "output", &mut value, &self.context).await?;
        self.changed |= changed;
        let text = match &value {
            Part::Text { text } | Part::Refusal { text } | Part::Reasoning { text, .. } => text.as_str(),
            Part::ToolCall(call) => call.arguments.as_str(),
            _ => "",
        };
        let rest = text.strip_prefix(&held.text[..held.sent]).ok_or_else(|| {
            Error::new(
                katena_core::ErrorKind::Refused,
                "a guard's check changed a text beyond its window; the stream is stopped",
            )
        })?;
        self.ready.extend(held.start.take());
        if !rest.is_empty() && value.kind() != PartKind::Other {
            self.ready.push_back(ChatEvent::delta(part, rest));
        }
        self.ended.insert(part, value.clone());
        self.ready.push_back(ChatEvent::end(part, value));
        Ok(())
    }
}

/// The last border of characters at or before `at`.
fn border(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn out_of_order() -> Error {
    Error::invalid_output("a stream event came for a part that is not open")
}
