//! Finds calls in text that arrives in pieces.

use katena_core::ToolSpec;

use super::formats::{Bare, Format, plain_name};
use super::held::{Held, first_of, window};
use super::json::{Object, Read, Scan, Scanner};
use super::tags::{Kind, Lines, Tags, escaped, json_value, kind, quoted};
use crate::chat::text::held_back;

/// What the text turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Text of the answer.
    Text(String),
    /// A call of this tool begins.
    Start(String),
    /// More of its arguments.
    Arguments(String),
    /// The call is complete, or cut off with the answer.
    End,
}

/// Longest text between an opening mark and the arguments, and longest name of a parameter, in bytes.
const MAX_HEADER: usize = 512;
/// Most calls of one answer; what would be more stays text.
const MAX_CALLS: usize = 1000;

/// Finds the calls of one format.
///
/// A call begins once its name is known and its arguments begin. From then on all that comes is its arguments, as the model
/// wrote it, until their JSON ends; where that JSON is broken, until the closing mark, the next call or the end of the
/// answer. Before that point nothing is certain, and what turns out to be no call is text, its marks too. White space
/// around calls vanishes, and so do members of a call's object other than name and arguments.
///
/// The result does not depend on how the text is cut, and the time is linear in its length.
#[derive(Debug)]
pub(crate) struct CallParser {
    format: &'static Format,
    tools: Vec<ToolSpec>,
    state: State,
    /// What is not decided yet; begins with the mark, or within a call.
    held: Held,
    /// How far `held` has been read.
    at: usize,
    /// White space before what comes next; it vanishes beside a call.
    space: String,
    /// True once something other than white space was passed on as text since the start or the last call.
    texted: bool,
    /// Inside a list of calls.
    list: bool,
    /// Behind a comma in it.
    comma: bool,
    calls: usize,
    found: Vec<Found>,
}

#[derive(Debug)]
enum State {
    Text,
    /// Where a call may stand without a mark.
    Bare {
        again: bool,
    },
    /// Behind a mark of this many bytes.
    Open(usize),
    /// In an object that may be a call.
    Object {
        object: Box<Object>,
        mark: usize,
    },
    /// In the arguments of a call that is an object.
    Member(Scanner),
    /// Behind them.
    Rest(Box<Object>),
    /// Before the arguments.
    Header(usize),
    /// In arguments that stand alone.
    Alone(Scanner),
    /// In arguments that are no JSON.
    Broken,
    /// Parameters in tags.
    Tagged(Tagged),
    /// Behind a call.
    Tail,
}

#[derive(Debug)]
struct Tagged {
    tags: &'static Tags,
    /// The tool's name.
    name: String,
    step: TagStep,
    parameters: usize,
}

#[derive(Debug)]
enum TagStep {
    /// Before the name, behind a mark of this many bytes.
    Open(usize),
    /// Behind the name; nothing is certain until a parameter or the end comes.
    Named(usize),
    /// Between parameters.
    Next,
    /// In a value.
    Value { kind: Kind, begun: bool },
}

/// Whether reading can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    /// More text is needed.
    Wait,
}

/// How `text` begins.
enum Begins {
    With(usize),
    Perhaps,
    Otherwise,
}

fn begins(text: &str, marks: &[&str]) -> Begins {
    if let Some(mark) = marks.iter().filter(|m| text.starts_with(**m)).max_by_key(|m| m.len()) {
        return Begins::With(mark.len());
    }
    if marks.iter().any(|m| m.starts_with(text)) { Begins::Perhaps } else { Begins::Otherwise }
}

fn spaces(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

impl CallParser {
    /// Looks for calls of `tools` in `format`.
    pub(crate) fn new(format: &'static Format, tools: Vec<ToolSpec>) -> Self {
        let state = match format.bare {
            Bare::Whole => State::Bare { again: false },
            Bare::Never => State::Text,
        };
        Self {
            format,
            tools,
            state,
            held: Held::default(),
            at: 0,
            space: String::new(),
            texted: false,
            list: false,
            comma: false,
            calls: 0,
            found: Vec::new(),
        }
    }

    /// What is certain after `text`.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Found> {
        self.held.push_str(text);
        while self.step() == Go::On {}
        self.flush();
        std::mem::take(&mut self.found)
    }

    /// What was held back, when no more text comes.
    pub(crate) fn finish(&mut self) -> Vec<Found> {
        loop {
            // What might have become a mark, a call or an end is none.
            match &self.state {
                State::Text => {
                    let held = self.held.take_all();
                    self.text(&held);
                    break;
                }
                State::Member(_) | State::Alone(_) | State::Broken => {
                    self.flush();
                    let rest = self.held.take_all();
                    self.broken(&rest);
                    self.space.clear();
                    self.found.push(Found::End);
                    break;
                }
                State::Tagged(Tagged { step: TagStep::Next | TagStep::Value { .. }, .. }) => {
                    self.cut_tags();
                    break;
                }
                State::Tail | State::Bare { .. } => self.give_back(0),
                State::Rest(_) => {
                    self.held.take_all();
                    break;
                }
                State::Open(mark) | State::Object { mark, .. } | State::Header(mark) => {
                    let mark = *mark;
                    self.give_back(mark);
                }
                State::Tagged(Tagged { step: TagStep::Open(mark) | TagStep::Named(mark), .. }) => {
                    let mark = *mark;
                    self.give_back(mark);
                }
            }
            while self.step() == Go::On {}
        }
        if self.texted {
            let space = std::mem::take(&mut self.space);
            self.show(space);
        }
        self.state = State::Text;
        std::mem::take(&mut self.found)
    }

    fn step(&mut self) -> Go {
        match &self.state {
            State::Text => self.read_text(),
            State::Bare { again } => {
                let again = *again;
                self.read_bare(again)
            }
            State::Open(mark) => {
                let mark = *mark;
                self.read_open(mark)
            }
            State::Object { mark, .. } => {
                let mark = *mark;
                self.read_object(mark)
            }
            State::Member(_) | State::Alone(_) => self.read_arguments(),
            State::Rest(_) => self.read_rest(),
            State::Header(mark) => {
                let mark = *mark;
                self.read_header(mark)
            }
            State::Broken => self.read_broken(),
            State::Tagged(_) => self.read_tags(),
            State::Tail => self.read_tail(),
        }
    }

    fn show(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        match self.found.last_mut() {
            Some(Found::Text(last)) => last.push_str(&text),
            _ => self.found.push(Found::Text(text)),
        }
    }

    /// Passes text on, but for white space at its end, which may stand before a call.
    fn text(&mut self, text: &str) {
        let body = text.trim_end();
        if !body.is_empty() {
            let mut shown = std::mem::take(&mut self.space);
            shown.push_str(body);
            if !self.texted {
                shown.drain(..spaces(&shown));
            }
            self.texted = true;
            self.show(shown);
        }
        self.space.push_str(&text[body.len()..]);
    }

    fn argue(&mut self, text: String) {
        if text.is_empty() {
            return;
        }
        match self.found.last_mut() {
            Some(Found::Arguments(last)) => last.push_str(&text),
            _ => self.found.push(Found::Arguments(text)),
        }
    }

    fn drop_held(&mut self, bytes: usize) {
        self.held.drop(bytes);
        self.at = 0;
    }

    fn take_held(&mut self, bytes: usize) -> String {
        self.at = 0;
        self.held.take(bytes)
    }

    /// Passes arguments on that have been read.
    fn flush(&mut self) {
        if matches!(self.state, State::Member(_) | State::Alone(_)) {
            let read = self.take_held(self.at);
            self.argue(read);
        }
    }

    /// A call begins, and `held` with its arguments.
    fn begin(&mut self, name: String) {
        self.space.clear();
        self.texted = false;
        self.calls += 1;
        self.found.push(Found::Start(name));
    }

    /// What is held is no call: its first bytes are text, and the rest is read again.
    fn give_back(&mut self, first: usize) {
        let text = self.take_held(first);
        self.text(&text);
        self.state = State::Text;
        self.list = false;
    }

    fn end(&mut self) {
        self.found.push(Found::End);
    }

    /// Behind all calls of a mark.
    fn after(&mut self) {
        self.list = false;
        self.state = match self.format.bare {
            Bare::Whole => State::Bare { again: true },
            Bare::Never => State::Text,
        };
    }

    fn read_text(&mut self) -> Go {
        let format = self.format;
        let Some((at, mark)) = first_of(&self.held, format.starts()) else {
            let keep = held_back(&self.held, format.starts());
            let text = self.take_held(self.held.len() - keep);
            self.text(&text);
            return Go::Wait;
        };
        let before = self.take_held(at);
        self.text(&before);
        if format.around.contains(&mark) {
            self.drop_held(mark.len());
        } else if self.calls >= MAX_CALLS {
            self.give_back(mark.len());
        } else {
            self.at = mark.len();
            self.state = State::Open(mark.len());
        }
        Go::On
    }

    fn read_bare(&mut self, again: bool) -> Go {
        let before = self.take_held(spaces(&self.held));
        self.space.push_str(&before);
        match self.held.chars().next() {
            None => Go::Wait,
            Some('{') if self.calls < MAX_CALLS => {
                self.state = State::Object { object: Box::new(Object::new()), mark: 1 };
                Go::On
            }
            // Several calls are parted by semicolons.
            Some(';') if again => {
                self.at = self.at.max(1);
                self.at += spaces(&self.held[self.at..]);
                match self.held[self.at..].chars().next() {
                    None => Go::Wait,
                    Some('{') => {
                        self.drop_held(self.at);
                        self.state = State::Bare { again: false };
                        Go::On
                    }
                    Some(_) => {
                        self.give_back(0);
                        Go::On
                    }
                }
            }
            Some(_) => {
                self.give_back(0);
                Go::On
            }
        }
    }

    fn read_open(&mut self, mark: usize) -> Go {
        self.at += spaces(&self.held[self.at..]);
        let Some(first) = self.held[self.at..].chars().next() else { return Go::Wait };
        match first {
            '[' if !self.list => {
                self.list = true;
                self.at += 1;
            }
            '{' => self.state = State::Object { object: Box::new(Object::new()), mark },
            _ if self.list => self.give_back(mark),
            _ => match (self.format.tags, self.format.header) {
                (Some(tags), _) => self.state = State::Tagged(Tagged::new(tags, mark)),
                (None, Some(_)) => self.state = State::Header(mark),
                (None, None) => self.give_back(mark),
            },
        }
        Go::On
    }

    fn read_object(&mut self, mark: usize) -> Go {
        let State::Object { object, .. } = &mut self.state else { return Go::On };
        let read = object.read(&self.held, &mut self.at, &self.format.keys);
        let name = object.name.clone().unwrap_or_default();
        // Without a mark only the name says that this is a call.
        let bare = mark == 1;
        let known = self.tools.iter().any(|t| t.name == name);
        let offered = !bare || (known && !object.strange);
        match read {
            Read::More if bare && (object.strange || object.name.is_some() && !known) => self.give_back(mark),
            Read::More => return Go::Wait,
            Read::Arguments if offered => {
                self.drop_held(self.at);
                self.begin(name);
                self.state = State::Member(Scanner::default());
            }
            Read::Done if offered => match object.whole(&self.held) {
                Some((name, arguments)) => {
                    self.drop_held(self.at);
                    self.begin(name);
                    self.argue(arguments);
                    self.end();
                    self.state = State::Tail;
                }
                None => self.give_back(mark),
            },
            Read::Broken | Read::Arguments | Read::Done => self.give_back(mark),
        }
        Go::On
    }

    fn read_arguments(&mut self) -> Go {
        let (State::Member(scanner) | State::Alone(scanner)) = &mut self.state else { return Go::On };
        let bytes = &self.held.as_bytes()[self.at..];
        let mut closed = None;
        for (n, byte) in bytes.iter().enumerate() {
            match scanner.step(*byte) {
                Scan::Inside => {}
                scan => {
                    closed = Some((n, scan));
                    break;
                }
            }
        }
        match closed {
            None => {
                self.at = self.held.len();
                Go::Wait
            }
            Some((n, Scan::Closed)) => {
                self.at += n + 1;
                let member = matches!(self.state, State::Member(_));
                self.flush();
                self.end();
                self.state = if member { State::Rest(Box::new(Object::rest())) } else { State::Tail };
                Go::On
            }
            Some(_) => {
                self.state = State::Broken;
                Go::On
            }
        }
    }

    fn read_rest(&mut self) -> Go {
        let State::Rest(object) = &mut self.state else { return Go::On };
        match object.read(&self.held, &mut self.at, &self.format.keys) {
            Read::More => Go::Wait,
            Read::Done => {
                self.drop_held(self.at);
                self.state = State::Tail;
                Go::On
            }
            Read::Broken | Read::Arguments => {
                self.give_back(0);
                Go::On
            }
        }
    }

    fn read_header(&mut self, mark: usize) -> Go {
        let header = window(&self.held, mark + MAX_HEADER + 1);
        let from = self.at.min(header.len());
        let found = header[from..].find('{');
        let end = found.map_or(header.len(), |n| from + n);
        // A character more than fits may be cut off by the window.
        if end - mark > MAX_HEADER || found.is_none() && self.held.len() > header.len() {
            self.give_back(mark);
            return Go::On;
        }
        if found.is_none() {
            self.at = end;
            return Go::Wait;
        }
        let name = self.format.header.and_then(|header| header(&self.held[mark..end])).map(str::to_owned);
        if let Some(name) = name {
            self.drop_held(end);
            self.begin(name);
            self.state = State::Alone(Scanner::default());
        } else {
            self.give_back(mark);
        }
        Go::On
    }

    /// To the closing mark or the next opening one.
    fn read_broken(&mut self) -> Go {
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
    fn broken(&mut self, text: &str) {
        let body = text.trim_end();
        if !body.is_empty() {
            let mut shown = std::mem::take(&mut self.space);
            shown.push_str(body);
            self.argue(shown);
        }
        self.space.push_str(&text[body.len()..]);
    }

    /// What may follow a call: a fence, the next one of a list, the closing mark.
    fn read_tail(&mut self) -> Go {
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

impl Tagged {
    fn new(tags: &'static Tags, mark: usize) -> Self {
        Self { tags, name: String::new(), step: TagStep::Open(mark), parameters: 0 }
    }
}

impl CallParser {
    fn read_tags(&mut self) -> Go {
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
    fn cut_tags(&mut self) {
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

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
