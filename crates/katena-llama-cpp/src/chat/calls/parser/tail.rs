//! What stands behind a call, and behind arguments that are no JSON.

use super::{Begins, CallParser, Go, MAX_CALLS, State, begins, spaces};
use crate::chat::calls::held::first_of;
use crate::chat::calls::json::Object;
use crate::chat::text::held_back;

impl CallParser {
    /// To the closing mark or the next opening one.
    pub(super) fn read_broken(&mut self) -> Go {
        let ends = || self.format.closes.iter().copied().chain(self.format.starts());
        if let Some((at, mark)) = first_of(&self.held, ends()) {
            let rest = self.take_held(at);
            self.broken(&rest);
            self.space.clear();
            self.end();
            if self.format.closes.contains(&mark) {
                self.drop_held(mark.len());
            }
            self.after();
            return Go::On;
        }
        let mark = held_back(&self.held, ends());
        let text = self.take_held(self.held.len() - mark);
        self.broken(&text);
        Go::Wait
    }

    /// Passes on arguments that are no JSON, but for white space at their end.
    pub(super) fn broken(&mut self, text: &str) {
        let body = text.trim_end();
        if !body.is_empty() {
            let mut shown = std::mem::take(&mut self.space);
            shown.push_str(body);
            self.argue(shown);
        }
        self.space.push_str(&text[body.len()..]);
    }

    /// What may follow a call: a fence, the next one of a list, the closing mark.
    pub(super) fn read_tail(&mut self) -> Go {
        self.at += spaces(&self.held[self.at..]);
        let rest = &self.held[self.at..];
        if rest.is_empty() {
            return Go::Wait;
        }
        if self.list {
            match rest.as_bytes()[0] {
                b'{' if self.comma && self.calls < MAX_CALLS => {
                    self.drop_held(self.at);
                    self.state = State::Object { object: Box::new(Object::new()), mark: 0 };
                }
                b',' if !self.comma => {
                    self.comma = true;
                    self.at += 1;
                    return Go::On;
                }
                b']' if !self.comma => {
                    self.list = false;
                    self.drop_held(self.at + 1);
                }
                _ => self.give_back(0),
            }
            self.comma = false;
            return Go::On;
        }
        match begins(rest, self.format.closes) {
            Begins::With(len) => {
                self.drop_held(self.at + len);
                self.after();
                return Go::On;
            }
            Begins::Perhaps => return Go::Wait,
            Begins::Otherwise => {}
        }
        if let Some(fence) = self.format.fence {
            match begins(rest, &[fence]) {
                Begins::With(len) => {
                    self.at += len;
                    return Go::On;
                }
                Begins::Perhaps => return Go::Wait,
                Begins::Otherwise => {}
            }
        }
        let tags = self.format.tags.map(|t| t.name.0).filter(|open| !open.is_empty());
        let again = match tags.map(|open| begins(rest, &[open])) {
            Some(Begins::Perhaps) => return Go::Wait,
            Some(Begins::With(_)) => true,
            _ => !self.format.closes.is_empty() && rest.starts_with('{'),
        };
        if again && self.calls < MAX_CALLS {
            // Another call between the same marks.
            self.drop_held(self.at);
            self.state = State::Open(0);
        } else {
            self.drop_held(0);
            self.after();
        }
        Go::On
    }
}
