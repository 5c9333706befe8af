//! Python's `str.format` with names alone, compiled once.
//!
//! The grammar is that of Python's format strings (library reference, "Format String Syntax"): `{{` and `}}` are braces,
//! `{name!r:>5}` is a field. As in LangChain, attribute access, indexing, positional fields and fields within a format
//! specification are refused.

mod number;
mod spec;
mod value;

use std::borrow::Cow;

use katena_core::{Error, Result};

use self::spec::Spec;
pub(crate) use self::value::to_str;
use crate::template::Scope;
use crate::vars::Var;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conversion {
    None,
    Str,
    Repr,
    Ascii,
}

struct Field {
    name: String,
    conversion: Conversion,
    spec: Spec,
}

/// Literal text, then a field.
struct Segment {
    literal: Box<str>,
    field: Option<Field>,
}

/// A compiled template.
pub(crate) struct FString {
    segments: Box<[Segment]>,
    literal_len: usize,
}

fn bad(text: &str, at: usize, why: impl Into<Cow<'static, str>>) -> Error {
    let line = 1 + text.get(..at).unwrap_or(text).matches('\n').count();
    Error::config(why).with_context("line", line.to_string())
}

impl FString {
    pub(crate) fn compile(text: &str) -> Result<Self> {
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while at < text.len() {
            let Some(brace) = text[at..].find(['{', '}']).map(|n| at + n) else {
                literal.push_str(&text[at..]);
                break;
            };
            literal.push_str(&text[at..brace]);
            let open = text.as_bytes()[brace] == b'{';
            at = brace + 1;
            if text.as_bytes().get(at) == Some(&text.as_bytes()[brace]) {
                literal.push(if open { '{' } else { '}' });
                at += 1;
            } else if open {
                let (field, end) = Field::parse(text, at)?;
                segments.push(Segment {
                    literal: std::mem::take(&mut literal).into_boxed_str(),
                    field: Some(field),
                });
                at = end;
            } else {
                return Err(bad(text, brace, "a single '}' stands in the template; write '}}' for a brace"));
            }
        }
        if !literal.is_empty() {
            segments.push(Segment { literal: literal.into_boxed_str(), field: None });
        }
        let literal_len = segments.iter().map(|s| s.literal.len()).sum();
        Ok(Self { segments: segments.into_boxed_slice(), literal_len })
    }

    /// The names of the fields, in order, with repetitions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|s| s.field.as_ref()).map(|f| f.name.as_str())
    }

    pub(crate) fn render(&self, scope: &Scope<'_>, max_bytes: usize) -> Result<String> {
        let texts: usize = self.names().map(|n| scope.text(n).map_or(16, str::len)).sum();
        let mut out = String::with_capacity((self.literal_len + texts).min(max_bytes));
        for segment in &self.segments {
            out.push_str(&segment.literal);
            if let Some(field) = &segment.field {
                field.write(scope, &mut out)?;
            }
            if out.len() > max_bytes {
                return Err(crate::template::too_long(max_bytes));
            }
        }
        Ok(out)
    }
}

impl Field {
    /// Parses what follows a `{` at `start`; gives the place after its `}`.
    fn parse(text: &str, start: usize) -> Result<(Self, usize)> {
        let rest = &text[start..];
        let Some(stop) = rest.find(['{', '}', ':', '!']) else {
            return Err(bad(text, start, "a field has no '}'; write '{{' for a brace"));
        };
        let name = &rest[..stop];
        check_name(name).map_err(|why| bad(text, start, why))?;
        let mut at = start + stop + 1;
        let mut conversion = Conversion::None;
        let mut stop = rest.as_bytes()[stop];
        if stop == b'{' {
            return Err(bad(text, at, "a '{' stands in a field's name"));
        }
        if stop == b'!' {
            let letter = text[at..].chars().next();
            conversion = match letter {
                Some('s') => Conversion::Str,
                Some('r') => Conversion::Repr,
                Some('a') => Conversion::Ascii,
                _ => return Err(bad(text, at, "after '!' there is one of s, r, a")),
            };
            at += 1;
            stop = match text.as_bytes().get(at) {
                Some(b @ (b':' | b'}')) => *b,
                _ => return Err(bad(text, at, "after a conversion there is ':' or '}'")),
            };
            at += 1;
        }
        let mut spec = "";
        if stop == b':' {
            let end = text[at..].find(['{', '}']);
            match end.map(|n| (n, text.as_bytes()[at + n])) {
                Some((n, b'}')) => {
                    spec = &text[at..at + n];
                    at += n + 1;
                }
                Some(_) => return Err(bad(text, at, "fields within a format specification are refused")),
                None => return Err(bad(text, at, "a field has no '}'")),
            }
        }
        let spec = Spec::parse(spec).map_err(|why| bad(text, at, why))?;
        Ok((Self { name: name.to_owned(), conversion, spec }, at))
    }

    fn write(&self, scope: &Scope<'_>, out: &mut String) -> Result<()> {
        let value = match scope.find(&self.name) {
            Some(Var::Value(value)) => value,
            Some(Var::Messages(_) | Var::Part(_)) => {
                return Err(crate::template::no_text(&self.name));
            }
            None => return Err(crate::template::missing(&self.name)),
        };
        if let (Some(text), Conversion::None | Conversion::Str, true) =
            (value.as_str(), self.conversion, self.spec.is_plain())
        {
            out.push_str(text);
            return Ok(());
        }
        let done = match self.conversion {
            Conversion::None => value::write(value, &self.spec, out),
            Conversion::Str => self.spec.write_text(&value::to_str(value), out),
            Conversion::Repr => self.spec.write_text(&value::to_repr(value), out),
            Conversion::Ascii => self.spec.write_text(&value::to_ascii(value), out),
        };
        done.map_err(|why| Error::invalid_input(why).with_context("variable", self.name.clone()))
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("a field needs a name; write '{{' for a brace")
    } else if name.contains(['.', '[', ']']) {
        Err("a field is a name alone: no attribute (.) and no index ([])")
    } else if name.chars().all(char::is_numeric) {
        Err("a field is a name, not a position")
    } else {
        Ok(())
    }
}

#[cfg(test)]
#[path = "fstring_tests.rs"]
mod tests;
