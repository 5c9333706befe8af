//! Finds calls in text that arrives in pieces.

#[cfg(test)]
mod random_tests;
mod tagged;
mod tail;
#[cfg(test)]
mod tests;

use katena_core::ToolSpec;

use super::formats::{Bare, Format};
use super::held::{Held, first_of, window};
use super::json::{Object, Read, Scan, Scanner};
use crate::chat::text::held_back;
use tagged::{TagStep, Tagged};

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
            Bare::Whole | Bare::Once => State::Bare { again: false },
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
            Bare::Once | Bare::Never => State::Text,
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
}
