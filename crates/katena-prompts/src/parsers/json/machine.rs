//! JSON character by character, with the value so far.
//!
//! The grammar is RFC 8259, with what models write beside it: raw control characters in texts, `NaN` and `Infinity`
//! (given as texts, since JSON has no such numbers), halves of surrogate pairs (given as U+FFFD).

use serde_json::{Map, Number, Value};

/// Deeper values are refused.
pub(super) const MAX_DEPTH: usize = 128;

/// The text is no JSON from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Num {
    Minus,
    Zero,
    Int,
    Dot,
    Frac,
    E,
    Sign,
    Exp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    No,
    Slash,
    /// Digits read of `\uXXXX`, and their value.
    Hex(u8, u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must come.
    Value,
    /// A value or `]` may come.
    FirstItem,
    /// A key or `}` may come.
    FirstKey,
    /// A key must come.
    Key,
    Colon,
    /// `,` or a closing bracket may come.
    AfterValue,
    Text {
        key: bool,
        escape: Escape,
    },
    Number(Num),
    /// The rest of a word.
    Word(&'static str),
    Done,
}

#[derive(Debug, Clone)]
enum Frame {
    Array(Vec<Value>),
    Object(Map<String, Value>, String),
}

/// How strict commas are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commas {
    Strict,
    /// One may stand before a closing bracket.
    Trailing,
}

#[derive(Debug, Clone)]
pub(super) struct Machine {
    state: State,
    frames: Vec<Frame>,
    closers: Vec<u8>,
    /// The text or number that is being read.
    buffer: String,
    /// The first half of a surrogate pair.
    half: Option<u32>,
    word: Value,
    root: Option<Value>,
    commas: Commas,
}

impl Machine {
    pub(super) fn new(commas: Commas) -> Self {
        Self {
            state: State::Value,
            frames: Vec::new(),
            closers: Vec::new(),
            buffer: String::new(),
            half: None,
            word: Value::Null,
            root: None,
            commas,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The brackets that are open, as those that close them, outermost first.
    pub(super) fn closers(&self) -> &[u8] {
        &self.closers
    }

    /// True if closing all brackets here gives a value.
    pub(super) fn is_closable(&self) -> bool {
        match self.state {
            State::FirstItem | State::FirstKey | State::AfterValue | State::Done => true,
            State::Number(n) => matches!(n, Num::Zero | Num::Int | Num::Frac | Num::Exp),
            _ => false,
        }
    }

    /// True if nothing but opening brackets has come.
    pub(super) fn is_fresh(&self) -> bool {
        self.frames.len() <= 1
            && self.frames.iter().all(|f| match f {
                Frame::Array(items) => items.is_empty(),
                Frame::Object(map, _) => map.is_empty(),
            })
    }

    pub(super) fn into_root(self) -> Option<Value> {
        self.root
    }

    pub(super) fn push(&mut self, c: char) -> Result<(), Broken> {
        match self.state {
            State::Text { key, escape } => return self.text(c, key, escape),
            State::Number(n) => {
                if let Some(next) = number(n, c) {
                    self.buffer.push(c);
                    self.state = State::Number(next);
                    return Ok(());
                }
                if n == Num::Minus && c == 'I' {
                    self.begin_word("nfinity", Value::from("-Infinity"));
                    return Ok(());
                }
                let value = self.number_so_far().ok_or(Broken)?;
                self.buffer.clear();
                self.complete(value);
            }
            State::Word(rest) => {
                let rest = rest.strip_prefix(c).ok_or(Broken)?;
                self.state = State::Word(rest);
                if rest.is_empty() {
                    let value = std::mem::take(&mut self.word);
                    self.complete(value);
                }
                return Ok(());
            }
            _ => {}
        }
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            return Ok(());
        }
        match (self.state, c) {
            (State::FirstItem, ']') | (State::FirstKey, '}') => self.close(),
            (State::Value | State::FirstItem, _) => self.begin(c),
            (State::FirstKey | State::Key, '"') => {
                self.state = State::Text { key: true, escape: Escape::No };
                Ok(())
            }
            (State::Colon, ':') => {
                self.state = State::Value;
                Ok(())
            }
            (State::AfterValue, ',') => {
                let in_object = self.closers.last() == Some(&b'}');
                self.state = match (in_object, self.commas) {
                    (true, Commas::Strict) => State::Key,
                    (true, Commas::Trailing) => State::FirstKey,
                    (false, Commas::Strict) => State::Value,
                    (false, Commas::Trailing) => State::FirstItem,
                };
                Ok(())
            }
            (State::AfterValue, c) if self.closers.last().is_some_and(|b| char::from(*b) == c) => {
                self.close()
            }
            _ => Err(Broken),
        }
    }

    fn begin(&mut self, c: char) -> Result<(), Broken> {
        match c {
            '{' | '[' if self.frames.len() >= MAX_DEPTH => Err(Broken),
            '{' => {
                self.frames.push(Frame::Object(Map::new(), String::new()));
                self.closers.push(b'}');
                self.state = State::FirstKey;
                Ok(())
            }
            '[' => {
                self.frames.push(Frame::Array(Vec::new()));
                self.closers.push(b']');
                self.state = State::FirstItem;
                Ok(())
            }
            '"' => {
                self.state = State::Text { key: false, escape: Escape::No };
                Ok(())
            }
            '-' | '0'..='9' => {
                self.buffer.push(c);
                self.state = State::Number(match c {
                    '-' => Num::Minus,
                    '0' => Num::Zero,
                    _ => Num::Int,
                });
                Ok(())
            }
            _ => {
                let (rest, value) = match c {
                    't' => ("rue", Value::Bool(true)),
                    'f' => ("alse", Value::Bool(false)),
                    'n' => ("ull", Value::Null),
                    'N' => ("aN", Value::from("NaN")),
                    'I' => ("nfinity", Value::from("Infinity")),
                    _ => return Err(Broken),
                };
                self.begin_word(rest, value);
                Ok(())
            }
        }
    }

    fn begin_word(&mut self, rest: &'static str, value: Value) {
        self.buffer.clear();
        self.word = value;
        self.state = State::Word(rest);
    }

    fn text(&mut self, c: char, key: bool, escape: Escape) -> Result<(), Broken> {
        let mut next = Escape::No;
        match (escape, c) {
            (Escape::No, '\\') => next = Escape::Slash,
            (Escape::No, '"') => {
                self.flush_half();
                let text = std::mem::take(&mut self.buffer);
                if key {
                    if let Some(Frame::Object(_, slot)) = self.frames.last_mut() {
                        *slot = text;
                    }
                    self.state = State::Colon;
                } else {
                    self.complete(Value::String(text));
                }
                return Ok(());
            }
            (Escape::No, c) => self.plain(c),
            (Escape::Slash, 'u') => next = Escape::Hex(0, 0),
            (Escape::Slash, c) => {
                let plain = match c {
                    '"' | '\\' | '/' => c,
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    _ => return Err(Broken),
                };
                self.plain(plain);
            }
            (Escape::Hex(read, value), c) => {
                let value = value * 16 + c.to_digit(16).ok_or(Broken)?;
                if read == 3 { self.unit(value) } else { next = Escape::Hex(read + 1, value) }
            }
        }
        self.state = State::Text { key, escape: next };
        Ok(())
    }

    fn plain(&mut self, c: char) {
        self.flush_half();
        self.buffer.push(c);
    }

    fn flush_half(&mut self) {
        if self.half.take().is_some() {
            self.buffer.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// A UTF-16 unit from an escape.
    fn unit(&mut self, unit: u32) {
        match (self.half, unit) {
            (Some(high), 0xdc00..=0xdfff) => {
                self.half = None;
                let code = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
                self.buffer.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (_, 0xd800..=0xdbff) => {
                self.flush_half();
                self.half = Some(unit);
            }
            _ => self.plain(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    fn number_so_far(&self) -> Option<Value> {
        if self.is_closable() { Self::number_of(&self.buffer) } else { None }
    }

    fn number_of(text: &str) -> Option<Value> {
        if let Ok(whole) = text.parse::<i64>() {
            return Some(whole.into());
        }
        if let Ok(whole) = text.parse::<u64>() {
            return Some(whole.into());
        }
        let number = text.parse::<f64>().ok()?;
        let beyond = if number < 0.0 { "-Infinity" } else { "Infinity" };
        Some(Number::from_f64(number).map_or_else(|| beyond.into(), Value::Number))
    }

    fn complete(&mut self, value: Value) {
        self.state = State::AfterValue;
        match self.frames.last_mut() {
            Some(Frame::Array(items)) => items.push(value),
            Some(Frame::Object(map, key)) => {
                map.insert(std::mem::take(key), value);
            }
            None => {
                self.root = Some(value);
                self.state = State::Done;
            }
        }
    }

    fn close(&mut self) -> Result<(), Broken> {
        self.closers.pop();
        let value = match self.frames.pop() {
            Some(Frame::Array(items)) => Value::Array(items),
            Some(Frame::Object(map, _)) => Value::Object(map),
            None => return Err(Broken),
        };
        self.complete(value);
        Ok(())
    }

    /// Puts all that is open into one value. [`unseal`](Machine::unseal) undoes it; both cost as much as the value is deep.
    pub(super) fn seal(&mut self) -> Option<Sealed> {
        if self.frames.is_empty() {
            return None;
        }
        let mut child = match self.state {
            State::Text { key: false, .. } => Some(Value::String(std::mem::take(&mut self.buffer))),
            State::Number(_) => Self::number_of(self.buffer.trim_end_matches(['.', 'e', 'E', '+', '-'])),
            _ => None,
        };
        let text = matches!((&child, self.state), (Some(_), State::Text { .. }));
        let innermost = child.is_some();
        let mut path = Vec::with_capacity(self.frames.len());
        for frame in self.frames.drain(..).rev() {
            child = Some(match frame {
                Frame::Array(mut items) => {
                    items.extend(child);
                    path.push(None);
                    Value::Array(items)
                }
                Frame::Object(mut map, key) => {
                    let shadowed = child.and_then(|child| map.insert(key.clone(), child));
                    path.push(Some((key, shadowed)));
                    Value::Object(map)
                }
            });
        }
        Some(Sealed { value: child?, path, text, innermost })
    }

    pub(super) fn unseal(&mut self, sealed: Sealed) {
        let Sealed { value, mut path, text, innermost } = sealed;
        let mut at = Some(value);
        while let Some(step) = path.pop() {
            let has_child = !path.is_empty() || innermost;
            match (at.take(), step) {
                (Some(Value::Array(mut items)), _) => {
                    at = if has_child { items.pop() } else { None };
                    self.frames.push(Frame::Array(items));
                }
                (Some(Value::Object(mut map)), Some((key, shadowed))) => {
                    at = if has_child { map.remove(&key) } else { None };
                    if let Some(value) = shadowed {
                        map.insert(key.clone(), value);
                    }
                    self.frames.push(Frame::Object(map, key));
                }
                _ => return,
            }
        }
        if let (true, Some(Value::String(buffer))) = (text, at) {
            self.buffer = buffer;
        }
    }
}

/// A value whose end has not come yet, and how to take it apart again, innermost first.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub(super) value: Value,
    path: Vec<Option<(String, Option<Value>)>>,
    text: bool,
    innermost: bool,
}

fn number(state: Num, c: char) -> Option<Num> {
    Some(match (state, c) {
        (Num::Minus, '0') => Num::Zero,
        (Num::Minus, '1'..='9') | (Num::Int, '0'..='9') => Num::Int,
        (Num::Zero | Num::Int, '.') => Num::Dot,
        (Num::Dot | Num::Frac, '0'..='9') => Num::Frac,
        (Num::Zero | Num::Int | Num::Frac, 'e' | 'E') => Num::E,
        (Num::E, '+' | '-') => Num::Sign,
        (Num::E | Num::Sign | Num::Exp, '0'..='9') => Num::Exp,
        _ => return None,
    })
}
