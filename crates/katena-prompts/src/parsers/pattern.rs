//! Pieces of a text by pattern.

use std::collections::BTreeMap;
use std::fmt;

use katena_core::{Error, Result};
use regex::{Regex, RegexBuilder};

use super::OutputParser;

fn compile(pattern: &str) -> Result<Regex> {
    RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|e| Error::config("the pattern can't be used").with_context("reason", super::brief(&e)))
}

/// Parses the named groups of a regular expression (crate `regex`: linear time), by name.
///
/// ```
/// use katena_prompts::{OutputParser, RegexParser};
/// let parser = RegexParser::new(r"Score: (?<score>\d+)(?: because (?<reason>.*))?")?;
/// let found = parser.parse("I say Score: 7 because it is good")?;
/// assert_eq!((found["score"].as_str(), found["reason"].as_str()), ("7", "it is good"));
/// assert!(parser.parse("seven").is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct RegexParser {
    pattern: Regex,
    instructions: String,
}

impl fmt::Debug for RegexParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RegexParser").field(&self.pattern.as_str()).finish()
    }
}

impl RegexParser {
    /// A pattern with at least one named group.
    ///
    /// # Errors
    /// Kind `Config` if the pattern is wrong or names no group.
    pub fn new(pattern: &str) -> Result<Self> {
        let pattern = compile(pattern)?;
        if pattern.capture_names().flatten().next().is_none() {
            return Err(Error::config("the pattern needs a named group, such as (?<score>[0-9]+)"));
        }
        let instructions =
            format!("Answer in a form that fits this regular expression: {}", pattern.as_str());
        Ok(Self { pattern, instructions })
    }

    /// Sets what to tell the model.
    pub fn with_instructions(mut self, instructions: impl Into<String>) -> Self {
        self.instructions = instructions.into();
        self
    }
}

impl OutputParser for RegexParser {
    type Output = BTreeMap<String, String>;

    fn parse(&self, text: &str) -> Result<BTreeMap<String, String>> {
        let found = self.pattern.captures(text);
        let found = found.ok_or_else(|| Error::invalid_output("the reply does not fit the pattern"))?;
        let groups = self.pattern.capture_names().flatten();
        Ok(groups.filter_map(|n| Some((n.to_owned(), found.name(n)?.as_str().to_owned()))).collect())
    }

    fn format_instructions(&self) -> String {
        self.instructions.clone()
    }
}

/// Parses lines of the form `Label: value` into a map from keys to values.
///
/// ```
/// use katena_prompts::{OutputParser, RegexDictParser};
/// let parser = RegexDictParser::new([("action", "Action"), ("input", "Action Input")])?.with_absent("N/A");
/// let found = parser.parse("Action: search\nAction Input: N/A")?;
/// assert_eq!(found.get("action").map(String::as_str), Some("search"));
/// assert_eq!(found.get("input"), None);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct RegexDictParser {
    fields: Vec<(String, String, Regex)>,
    absent: Option<String>,
}

impl fmt::Debug for RegexDictParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.fields.iter().map(|(key, ..)| key)).finish()
    }
}

impl RegexDictParser {
    /// Keys and the labels that stand before their values.
    ///
    /// # Errors
    /// Kind `Config` if a label can't be used.
    pub fn new<K: Into<String>, L: Into<String>>(fields: impl IntoIterator<Item = (K, L)>) -> Result<Self> {
        let fields: Result<Vec<_>> = fields
            .into_iter()
            .map(|(key, label)| {
                let label = label.into();
                let pattern =
                    compile(&format!(r"(?m)^[ \t]*{}[ \t]*:[ \t]*(.*?)[ \t\r]*$", regex::escape(&label)))?;
                Ok((key.into(), label, pattern))
            })
            .collect();
        Ok(Self { fields: fields?, absent: None })
    }

    /// A value that stands for none.
    pub fn with_absent(mut self, value: impl Into<String>) -> Self {
        self.absent = Some(value.into());
        self
    }
}

impl OutputParser for RegexDictParser {
    type Output = BTreeMap<String, String>;

    fn parse(&self, text: &str) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for (key, label, pattern) in &self.fields {
            let mut values = pattern.captures_iter(text).filter_map(|c| c.get(1)).map(|m| m.as_str());
            let Some(value) = values.next() else {
                return Err(
                    Error::invalid_output("the reply lacks a line").with_context("label", label.clone())
                );
            };
            if values.next().is_some() {
                return Err(
                    Error::invalid_output("the reply has a line twice").with_context("label", label.clone())
                );
            }
            if self.absent.as_deref() != Some(value) {
                found.insert(key.clone(), value.to_owned());
            }
        }
        Ok(found)
    }

    fn format_instructions(&self) -> String {
        let lines: Vec<String> =
            self.fields.iter().map(|(key, label, _)| format!("{label}: <{key}>")).collect();
        let absent =
            self.absent.as_ref().map_or_else(String::new, |a| format!("\nWrite {a} where there is none."));
        format!("Answer with these lines:\n{}{absent}", lines.join("\n"))
    }
}
