//! Calls whose parameters stand in tags.

use super::{Begins, CallParser, Found, Go, MAX_HEADER, State, begins, spaces};
use crate::chat::calls::formats::plain_name;
use crate::chat::calls::held::window;
use crate::chat::calls::tags::{Kind, Lines, Tags, escaped, json_value, kind, quoted};
use crate::chat::text::held_back;

#[derive(Debug)]
pub(super) struct Tagged {
    tags: &'static Tags,
    /// The tool's name.
    name: String,
    pub(super) step: TagStep,
    parameters: usize,
}

#[derive(Debug)]
pub(super) enum TagStep {
    /// Before the name, behind a mark of this many bytes.
    Open(usize),
    /// Behind the name; nothing is certain until a parameter or the end comes.
    Named(usize),
    /// Between parameters.
    Next,
    /// In a value.
    Value { kind: Kind, begun: bool },
}

impl Tagged {
    pub(super) fn new(tags: &'static Tags, mark: usize) -> Self {
        Self { tags, name: String::new(), step: TagStep::Open(mark), parameters: 0 }
    }
}

impl CallParser {
    pub(super) fn read_tags(&mut self) -> Go {
        let State::Tagged(tagged) = &self.state else { return Go::On };
        match tagged.step {
            TagStep::Open(mark) => self.tag_name(mark),
            TagStep::Named(mark) => self.tag_first(mark),
            TagStep::Next => self.tag_next(),
            TagStep::Value { .. } => self.tag_value(),
        }
    }

    fn tagged(&mut self, change: impl FnOnce(&mut Tagged)) {
        if let State::Tagged(tagged) = &mut self.state {
            change(tagged);
        }
    }

    fn tag_name(&mut self, mark: usize) -> Go {
        let State::Tagged(Tagged { tags, .. }) = &self.state else { return Go::On };
        let (open, close) = tags.name;
        let rest = &self.held[self.at..];
        if !open.is_empty() {
            match begins(rest, &[open]) {
                Begins::With(_) => {}
                Begins::Perhaps => return Go::Wait,
                Begins::Otherwise => {
                    self.give_back(mark);
                    return Go::On;
                }
            }
        }
        let name_on = window(&rest[open.len()..], MAX_HEADER + 16);
        let ends = |c: char| c.is_whitespace() || c == '<' || (c == '>' || c == '"') && !close.is_empty();
        let Some(len) = name_on.find(ends) else {
            if name_on.len() <= MAX_HEADER {
                return Go::Wait;
            }
            self.give_back(mark);
            return Go::On;
        };
        let name = plain_name(&name_on[..len]).map(str::to_owned);
        let behind = match begins(&name_on[len..], &[close]) {
            _ if close.is_empty() => Some(0),
            Begins::With(close) => Some(close),
            Begins::Perhaps => return Go::Wait,
            Begins::Otherwise => None,
        };
        match (name, behind) {
            (Some(name), Some(behind)) => {
                self.at += open.len() + len + behind;
                self.tagged(|t| {
                    t.name = name;
                    t.step = TagStep::Named(mark);
                });
            }
            _ => self.give_back(mark),
        }
        Go::On
    }

    fn tag_first(&mut self, mark: usize) -> Go {
        let State::Tagged(Tagged { tags, name, .. }) = &self.state else { return Go::On };
        self.at += spaces(&self.held[self.at..]);
        let rest = &self.held[self.at..];
        let marks: Vec<&str> = tags.ends.iter().copied().chain([tags.key.0]).collect();
        match begins(rest, &marks) {
            Begins::With(_) => {
                let name = name.clone();
                self.drop_held(self.at);
                self.begin(name);
                self.argue("{".to_owned());
                self.tagged(|t| t.step = TagStep::Next);
                Go::On
            }
            Begins::Perhaps => Go::Wait,
            Begins::Otherwise => {
                self.give_back(mark);
                Go::On
            }
        }
    }

    fn tag_next(&mut self) -> Go {
        let State::Tagged(Tagged { tags, name, parameters, .. }) = &self.state else { return Go::On };
        let space = spaces(&self.held);
        if space > 0 {
            self.drop_held(space);
            return Go::On;
        }
        let rest = &*self.held;
        match begins(rest, tags.ends) {
            Begins::With(len) => {
                // A mark that closes the call stays for what follows.
                let closes = self.format.closes.iter().any(|c| rest.starts_with(c));
                let gone = if closes { 0 } else { len };
                self.argue("}".to_owned());
                self.end();
                self.drop_held(gone);
                self.state = State::Tail;
                return Go::On;
            }
            Begins::Perhaps => return Go::Wait,
            Begins::Otherwise => {}
        }
        let key = match begins(rest, &[tags.key.0]) {
            Begins::With(open) => {
                let key_on = window(&rest[open..], MAX_HEADER + tags.key.1.len() + 3);
                match key_on.find(tags.key.1) {
                    Some(len) if len <= MAX_HEADER => {
                        Some((key_on[..len].trim(), open + len + tags.key.1.len()))
                    }
                    None if key_on.len() < MAX_HEADER + tags.key.1.len() => return Go::Wait,
                    _ => None,
                }
            }
            Begins::Perhaps => return Go::Wait,
            Begins::Otherwise => None,
        };
        let value_at = key.and_then(|(key, behind)| {
            let open = tags.value.0;
            if open.is_empty() {
                return Some((key, Some(behind)));
            }
            let space = spaces(window(&self.held[behind..], MAX_HEADER));
            match begins(&self.held[behind + space..], &[open]) {
                Begins::With(len) => Some((key, Some(behind + space + len))),
                Begins::Perhaps => Some((key, None)),
                Begins::Otherwise => None,
            }
        });
        match value_at {
            Some((_, None)) => Go::Wait,
            Some((key, Some(behind))) => {
                let comma = if *parameters == 0 { "" } else { ", " };
                let kind = kind(&self.tools, name, key);
                let text = format!("{comma}{}: ", quoted(key));
                self.argue(text);
                self.drop_held(behind);
                self.tagged(|t| {
                    t.parameters += 1;
                    t.step = TagStep::Value { kind, begun: false };
                });
                Go::On
            }
            None => {
                // Neither parameter nor end: the call is over.
                self.argue("}".to_owned());
                self.end();
                self.give_back(0);
                Go::On
            }
        }
    }

    fn tag_value(&mut self) -> Go {
        let State::Tagged(Tagged { tags, step: TagStep::Value { kind, begun }, .. }) = &self.state else {
            return Go::On;
        };
        let (tags, kind, begun) = (*tags, *kind, *begun);
        let lines = tags.lines == Lines::Own;
        if !begun {
            if lines && self.held.is_empty() {
                return Go::Wait;
            }
            if lines && self.held.starts_with('\n') {
                self.drop_held(1);
            }
            if kind == Kind::Text {
                self.argue("\"".to_owned());
            }
            self.tagged(|t| t.step = TagStep::Value { kind, begun: true });
            return Go::On;
        }
        let close = tags.value.1;
        // The mark may have begun before what was read.
        let mut from = self.at.saturating_sub(close.len());
        while !self.held.is_char_boundary(from) {
            from -= 1;
        }
        if let Some(at) = self.held[from..].find(close) {
            let value = self.take_held(from + at);
            self.drop_held(close.len());
            let value = if lines { value.strip_suffix('\n').unwrap_or(&value) } else { &value };
            let json = if kind == Kind::Text { format!("{}\"", escaped(value)) } else { json_value(value) };
            self.argue(json);
            self.tagged(|t| t.step = TagStep::Next);
            return Go::On;
        }
        if kind == Kind::Text {
            let mut sure = self.held.len() - held_back(&self.held, std::iter::once(close));
            if lines && self.held[..sure].ends_with('\n') {
                sure -= 1;
            }
            let text = self.take_held(sure);
            self.argue(escaped(&text));
        }
        self.at = self.held.len();
        Go::Wait
    }

    /// The answer ends within a call.
    pub(super) fn cut_tags(&mut self) {
        let rest = self.held.take_all();
        let within = match &self.state {
            State::Tagged(Tagged { step: TagStep::Value { kind, .. }, .. }) => Some(*kind),
            _ => None,
        };
        match within {
            Some(Kind::Text) => self.argue(escaped(&rest)),
            Some(Kind::Json) => self.argue(rest),
            // Between parameters: the beginning of a mark.
            None => {}
        }
        self.found.push(Found::End);
    }
}
