//! JSON that arrives in pieces: where a value ends, and the members of a call's object. Only the structure is looked at;
//! whether the text is valid JSON is found out by whoever reads the arguments.

use std::ops::Range;

/// Follows brackets and strings through one array or object.
#[derive(Debug, Clone, Default)]
pub(super) struct Scanner {
    open: Vec<u8>,
    text: Within,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Nothing,
    Text,
    Escape,
}

/// Where a scanner is after a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    Inside,
    /// The byte closed the value.
    Closed,
    /// The byte can't stand here.
    Broken,
}

impl Scanner {
    pub(super) fn step(&mut self, byte: u8) -> Scan {
        match self.text {
            Within::Escape => self.text = Within::Text,
            Within::Text => match byte {
                b'\\' => self.text = Within::Escape,
                b'"' => self.text = Within::Nothing,
                _ => {}
            },
            Within::Nothing => match byte {
                b'"' => self.text = Within::Text,
                b'{' | b'[' => self.open.push(byte),
                b'}' | b']' => {
                    let opened = if byte == b'}' { b'{' } else { b'[' };
                    if self.open.pop() != Some(opened) {
                        return Scan::Broken;
                    }
                }
                b',' | b':' => {}
                _ if scalar(byte) || byte.is_ascii_whitespace() => {}
                _ => return Scan::Broken,
            },
        }
        if self.open.is_empty() && self.text == Within::Nothing { Scan::Closed } else { Scan::Inside }
    }
}

/// Numbers, `true`, `false`, `null`, and what models write in their place.
fn scalar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_')
}

/// Longest name of a tool, in bytes.
const MAX_NAME: usize = 256;

/// What members of a call's object are called.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) name: &'static [&'static str],
    pub(crate) arguments: &'static [&'static str],
}

/// One object with a name and arguments, read from its `{` on.
#[derive(Debug, Clone)]
pub(super) struct Object {
    phase: Phase,
    key: Key,
    /// Where the key or value under way begins.
    start: usize,
    pub(super) name: Option<String>,
    /// There was a member that calls don't have.
    pub(super) strange: bool,
    /// The arguments' value, once it is complete.
    arguments: Option<Range<usize>>,
}

#[derive(Debug, Clone)]
enum Phase {
    Start,
    Key,
    InKey {
        escape: bool,
    },
    Colon,
    Value,
    InScalar,
    /// A string, array or object.
    InValue(Scanner),
    After,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Name,
    Arguments,
    Other,
}

/// What reading an object came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// All that is there was read.
    More,
    /// This is no such object.
    Broken,
    /// The name is known and the arguments' object begins here; [`Object::rest`] goes on after it.
    Arguments,
    /// The object is complete.
    Done,
}

impl Object {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Start, key: Key::Other, start: 0, name: None, strange: false, arguments: None }
    }

    /// Reads on after the arguments.
    pub(super) fn rest() -> Self {
        Self { phase: Phase::After, ..Self::new() }
    }

    /// Reads `text` from `at`, which stands behind what was read when it returns.
    pub(super) fn read(&mut self, text: &str, at: &mut usize, keys: &Keys) -> Read {
        while let Some(byte) = text.as_bytes().get(*at).copied() {
            match self.step(text, *at, byte, keys) {
                Read::More => *at += 1,
                Read::Done => {
                    *at += 1;
                    return Read::Done;
                }
                other => return other,
            }
        }
        Read::More
    }

    fn step(&mut self, text: &str, at: usize, byte: u8, keys: &Keys) -> Read {
        let space = byte.is_ascii_whitespace();
        match &mut self.phase {
            Phase::Start if byte == b'{' => self.phase = Phase::Key,
            Phase::Key | Phase::Colon | Phase::Value | Phase::After if space => {}
            Phase::Key if byte == b'}' => return Read::Done,
            Phase::Key if byte == b'"' => {
                self.start = at + 1;
                self.phase = Phase::InKey { escape: false };
            }
            Phase::InKey { escape } if *escape => *escape = false,
            Phase::InKey { escape } if byte == b'\\' => *escape = true,
            Phase::InKey { .. } if byte == b'"' => {
                let key = &text[self.start..at];
                self.key = if keys.name.contains(&key) {
                    Key::Name
                } else if keys.arguments.contains(&key) {
                    Key::Arguments
                } else {
                    self.strange |= !matches!(key, "type" | "id");
                    Key::Other
                };
                self.phase = Phase::Colon;
            }
            Phase::InKey { .. } => {}
            Phase::Colon if byte == b':' => self.phase = Phase::Value,
            Phase::Value => {
                if self.key == Key::Arguments && byte == b'{' && self.name.is_some() {
                    return Read::Arguments;
                }
                self.start = at;
                if scalar(byte) {
                    self.phase = Phase::InScalar;
                } else if matches!(byte, b'"' | b'{' | b'[') {
                    let mut scanner = Scanner::default();
                    scanner.step(byte);
                    self.phase = Phase::InValue(scanner);
                } else {
                    return Read::Broken;
                }
            }
            Phase::InValue(scanner) => match scanner.step(byte) {
                Scan::Inside => {}
                Scan::Broken => return Read::Broken,
                Scan::Closed => {
                    self.phase = Phase::After;
                    return self.value(text, at + 1);
                }
            },
            Phase::InScalar if scalar(byte) => {}
            Phase::InScalar | Phase::After => {
                if matches!(self.phase, Phase::InScalar) && self.value(text, at) == Read::Broken {
                    return Read::Broken;
                }
                match byte {
                    b',' => self.phase = Phase::Key,
                    b'}' => return Read::Done,
                    _ if space => self.phase = Phase::After,
                    _ => return Read::Broken,
                }
            }
            Phase::Start | Phase::Key | Phase::Colon => return Read::Broken,
        }
        Read::More
    }

    /// Takes the value that ends before `end`.
    fn value(&mut self, text: &str, end: usize) -> Read {
        match self.key {
            Key::Name => match serde_json::from_str::<String>(&text[self.start..end]) {
                Ok(name) if !name.is_empty() && name.len() <= MAX_NAME => self.name = Some(name),
                _ => return Read::Broken,
            },
            Key::Arguments => self.arguments = Some(self.start..end),
            Key::Other => {}
        }
        Read::More
    }

    /// Name and arguments' text of a complete object that stands in `text`.
    pub(super) fn whole(&self, text: &str) -> Option<(String, String)> {
        let name = self.name.clone()?;
        let value = self.arguments.clone().map_or("null", |range| &text[range]);
        let arguments = match value.as_bytes().first() {
            // Some models write the object as text.
            Some(b'"') => serde_json::from_str(value).ok()?,
            _ if matches!(value, "null" | "None") => "{}".to_owned(),
            _ => value.to_owned(),
        };
        Some((name, arguments))
    }
}
