//! Turns: where a conversation may be cut, and what must not stand alone.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use katena_core::{ChatHistory, Message, Part, Result, Role};

/// The first read of a conversation's end, in messages.
const FIRST_READ: usize = 32;

/// A conversation's end, as far as it was read.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The place of the first message in the history.
    pub(crate) first: usize,
    pub(crate) messages: Vec<Message>,
    /// Where turns begin, in `messages`.
    pub(crate) starts: Vec<usize>,
}

impl Tail {
    /// Reads back from the end, twice as much each time, until `enough` or the place `floor`, where a turn begins. What is
    /// read and looked at is at most some times what is needed, however long the conversation is.
    pub(crate) async fn read(
        history: &dyn ChatHistory,
        session: &str,
        floor: usize,
        mut enough: impl FnMut(&Tail) -> bool + Send,
    ) -> Result<Self> {
        let end = history.count(session).await?;
        let mut first = end;
        let mut size = FIRST_READ;
        let mut messages: Vec<Message> = Vec::new();
        loop {
            let from = first.saturating_sub(size).max(floor);
            let mut read = history.range(session, from..first).await?;
            read.append(&mut messages);
            messages = read;
            (first, size) = (from, size.saturating_mul(2));
            let starts = starts(&messages, first <= floor);
            let tail = Tail { first, messages, starts };
            if first <= floor || enough(&tail) {
                return Ok(tail);
            }
            messages = tail.messages;
        }
    }

    /// The messages from the `n`-th turn on.
    pub(crate) fn into_turns_from(mut self, n: usize) -> Vec<Message> {
        let at = self.starts.get(n).copied().unwrap_or(self.messages.len());
        self.messages.split_off(at)
    }
}

/// Where turns begin: at the first of a row of user messages, unless a tool result from there on answers a call before it.
/// `at_border` says that a turn begins at 0 and nothing before it is open.
pub(crate) fn starts(messages: &[Message], at_border: bool) -> Vec<usize> {
    // The last place up to which no cut may be made, for each place where a call stands open.
    let mut calls: HashMap<&str, usize> = HashMap::new();
    let mut closed_from = vec![0_usize; messages.len() + 1];
    for (at, message) in messages.iter().enumerate() {
        for part in &message.parts {
            match part {
                Part::ToolCall(call) => {
                    calls.insert(&call.id, at);
                }
                Part::ToolResult(result) => match calls.get(result.call_id.as_str()) {
                    Some(called) => closed_from[*called] = closed_from[*called].max(at),
                    None if at_border => {}
                    None => closed_from[0] = closed_from[0].max(at),
                },
                _ => {}
            }
        }
    }
    let mut open_until = 0;
    let mut starts = Vec::new();
    for at in 0..messages.len() {
        let begins = at > 0 && messages[at].role == Role::User && messages[at - 1].role != Role::User;
        // At 0 of a part, the message before may have been the person's too.
        let may_begin = if at == 0 { at_border } else { begins && at > open_until };
        if may_begin {
            starts.push(at);
        }
        open_until = open_until.max(closed_from[at]);
    }
    starts
}

/// Takes out tool results without their call, and calls without a result here or in `input`: no vendor accepts them.
pub(crate) fn whole(mut messages: Vec<Message>, input: &[Message]) -> Vec<Message> {
    let is_tool = |p: &Part| matches!(p, Part::ToolCall(_) | Part::ToolResult(_));
    if !messages.iter().flat_map(|m| &m.parts).any(is_tool) {
        return messages;
    }
    let mut open: HashMap<&str, (usize, usize)> = HashMap::new();
    let mut kept: HashSet<(usize, usize)> = HashSet::new();
    let places = messages
        .iter()
        .enumerate()
        .flat_map(|(m, message)| message.parts.iter().enumerate().map(move |(p, part)| ((m, p), part)));
    for (place, part) in places {
        match part {
            Part::ToolCall(call) => {
                open.insert(&call.id, place);
            }
            Part::ToolResult(result) => {
                if let Some(call) = open.remove(result.call_id.as_str()) {
                    kept.extend([call, place]);
                }
            }
            _ => {}
        }
    }
    for part in input.iter().flat_map(|m| &m.parts) {
        if let Part::ToolResult(result) = part {
            kept.extend(open.remove(result.call_id.as_str()));
        }
    }
    for (m, message) in messages.iter_mut().enumerate() {
        if message.parts.iter().any(is_tool) {
            let mut p = 0;
            message.parts.retain(|part| {
                p += 1;
                !is_tool(part) || kept.contains(&(m, p - 1))
            });
            // What remains of a message without its calls may be nothing but the reasoning that led to them.
            if message.parts.iter().all(|p| matches!(p, Part::Reasoning { .. } | Part::Opaque { .. })) {
                message.parts.clear();
            }
        }
    }
    messages.retain(|m| !m.parts.is_empty() || m.role == Role::User);
    messages
}

/// Messages as text for a model to read. A message's own lines are indented, so none can pass for a speaker's.
pub(crate) fn transcript(messages: &[Message], max_chars: usize) -> String {
    let mut out = String::new();
    for message in messages {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Tool => "tool",
            _ => "assistant",
        };
        let mut text = String::new();
        for part in &message.parts {
            words(part, &mut text);
        }
        let text = clip(text.trim(), max_chars).replace('\n', "\n  ");
        // Writing to a String can't fail.
        let _ = writeln!(out, "{role}: {text}");
    }
    out
}

fn words(part: &Part, out: &mut String) {
    let _ = match part {
        Part::Text { text } | Part::Refusal { text } => writeln!(out, "{text}"),
        Part::ToolCall(call) => writeln!(out, "[calls {} with {}]", call.name, call.arguments),
        Part::ToolResult(result) => {
            let failed = if result.is_error { " failed" } else { "" };
            let _ = write!(out, "[{}{failed}] ", result.name);
            result.parts.iter().for_each(|p| words(p, out));
            Ok(())
        }
        Part::Image { .. } => writeln!(out, "[image]"),
        Part::Audio { .. } => writeln!(out, "[audio]"),
        Part::Video { .. } => writeln!(out, "[video]"),
        Part::File { name, .. } => writeln!(out, "[file {}]", name.as_deref().unwrap_or("")),
        _ => Ok(()),
    };
}

/// The first `max` characters.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    text.char_indices().nth(max).map_or(text, |(at, _)| &text[..at])
}

/// The name of the session beside `session` that holds what was derived from it.
pub(crate) fn side(session: &str, kind: &str) -> String {
    format!("{session}\u{1f}{kind}")
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
