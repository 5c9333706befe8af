//! Lists.

use std::fmt;

use katena_core::{Error, Result};

use super::OutputParser;

/// More items are refused.
const MAX_ITEMS: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Commas,
    Numbered,
    Bullets,
}

/// Parses a list: items between commas, a numbered list, or Markdown bullets.
///
/// ```
/// use katena_prompts::{ListParser, OutputParser};
/// assert_eq!(ListParser::commas().parse("red, \"light, blue\" , green.")?, ["red", "light, blue", "green."]);
/// assert_eq!(ListParser::numbered().parse("Sure:\n1. red\n2) blue")?, ["red", "blue"]);
/// assert_eq!(ListParser::bullets().parse("- red\n* blue\nThat is all.")?, ["red", "blue"]);
/// assert!(ListParser::bullets().parse("none").is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ListParser(Kind);

impl fmt::Debug for ListParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ListParser").field(&self.0).finish()
    }
}

impl ListParser {
    /// Items between commas; an item in double quotes may hold commas, a quote in it is written twice.
    pub fn commas() -> Self {
        Self(Kind::Commas)
    }

    /// Lines that begin with a number and `.` or `)`; other lines are left out.
    pub fn numbered() -> Self {
        Self(Kind::Numbered)
    }

    /// Lines that begin with `-`, `*`, `+` or `•`; other lines are left out.
    pub fn bullets() -> Self {
        Self(Kind::Bullets)
    }
}

fn numbered(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = if rest.len() < line.len() { rest.strip_prefix(['.', ')'])? } else { return None };
    rest.starts_with([' ', '\t']).then_some(rest)
}

fn bullet(line: &str) -> Option<&str> {
    let rest = line.strip_prefix(['-', '*', '+', '•'])?;
    rest.starts_with([' ', '\t']).then_some(rest)
}

fn commas(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut quoted = false;
    let mut chars = text.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                item.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if item.trim().is_empty() => {
                item.clear();
                quoted = true;
            }
            ',' | '\n' if !quoted => items.push(std::mem::take(&mut item)),
            c => item.push(c),
        }
    }
    items.push(item);
    items.iter().map(|i| i.trim()).filter(|i| !i.is_empty()).map(str::to_owned).collect()
}

impl OutputParser for ListParser {
    type Output = Vec<String>;

    fn parse(&self, text: &str) -> Result<Vec<String>> {
        let lines = |item: fn(&str) -> Option<&str>| {
            let items = text.lines().filter_map(|line| item(line.trim_start()));
            items.map(|i| i.trim().to_owned()).filter(|i| !i.is_empty()).take(MAX_ITEMS + 1).collect()
        };
        let items: Vec<String> = match self.0 {
            Kind::Commas => commas(text),
            Kind::Numbered => lines(numbered),
            Kind::Bullets => lines(bullet),
        };
        match items.len() {
            0 => Err(Error::invalid_output("the reply holds no list of the form that was asked for")),
            1..=MAX_ITEMS => Ok(items),
            _ => Err(Error::invalid_output("the reply's list has more than 10000 items")),
        }
    }

    fn format_instructions(&self) -> String {
        match self.0 {
            Kind::Commas => {
                "Answer with a list of items between commas, such as: one, two, three. Write nothing else."
            }
            Kind::Numbered => "Answer with a numbered list, one item a line, such as:\n1. one\n2. two",
            Kind::Bullets => "Answer with a Markdown list, one item a line, such as:\n- one\n- two",
        }
        .to_owned()
    }
}
