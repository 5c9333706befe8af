//! The inside of XML-like tags, whole or while it arrives.

use std::collections::BTreeMap;

use katena_core::{Error, Event, Result};

use super::{OutputParser, StreamParser, StreamReader};

/// A longer tag is text.
const MAX_TAG: usize = 256;

/// Parses the inside of the first `<name>…</name>` of a text, without the white space around it. Tolerant: letter case does
/// not matter, the tag may have attributes, and one that is not closed goes to the end.
///
/// ```
/// use katena_prompts::{OutputParser, XmlTag};
/// let parser = XmlTag::new("answer");
/// assert_eq!(parser.parse("Let me think. <Answer>\n42 < 43\n</answer> Done.")?, "42 < 43");
/// assert!(parser.parse("42").is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlTag {
    name: String,
}

impl XmlTag {
    /// The tag of that name, such as `answer`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Parses the inside with another parser.
    pub fn and<P: OutputParser>(self, inner: P) -> InTag<P> {
        InTag { tag: self, inner }
    }

    /// Reads a text that arrives in pieces.
    pub fn stream(&self) -> TagStream {
        TagStream {
            name: self.name.to_lowercase(),
            state: State::Before,
            held: String::new(),
            spaces: String::new(),
            started: false,
        }
    }
}

impl OutputParser for XmlTag {
    type Output = String;

    fn parse(&self, text: &str) -> Result<String> {
        let mut stream = self.stream();
        let mut inside = stream.push(text);
        inside.push_str(&stream.finish()?);
        Ok(inside)
    }

    fn format_instructions(&self) -> String {
        format!("Write the answer between <{0}> and </{0}>.", self.name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Inside,
    After,
}

/// Reads the inside of a tag from a text that arrives in pieces. What may be the beginning of a tag, and white space that
/// may be the last, is held back. The pieces together are what [`XmlTag`] gives for the whole text, wherever it is cut.
///
/// ```
/// use katena_prompts::XmlTag;
/// let mut stream = XmlTag::new("answer").stream();
/// assert_eq!(stream.push("Hm. <ans"), "");
/// assert_eq!(stream.push("wer>4"), "4");
/// assert_eq!(stream.push("2 </ans"), "2");
/// assert_eq!(stream.push("wer> bye"), "");
/// assert_eq!(stream.finish()?, "");
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct TagStream {
    name: String,
    state: State,
    /// What may be the beginning of a tag.
    held: String,
    /// White space that may be the last.
    spaces: String,
    started: bool,
}

impl std::fmt::Debug for TagStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TagStream")
            .field("name", &self.name)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What a held text is.
enum Held {
    Tag,
    MayBe,
    Text,
}

impl TagStream {
    /// Reads on; gives what is inside and certain.
    pub fn push(&mut self, text: &str) -> String {
        let mut out = String::new();
        for c in text.chars() {
            if self.state == State::After {
                break;
            }
            if self.held.is_empty() {
                if c == '<' {
                    self.held.push(c);
                } else {
                    self.text(c, &mut out);
                }
                continue;
            }
            self.held.push(c);
            match self.judge() {
                Held::MayBe => {}
                Held::Tag => {
                    self.held.clear();
                    self.state = if self.state == State::Before { State::Inside } else { State::After };
                }
                Held::Text => {
                    let held = std::mem::take(&mut self.held);
                    // The last character may begin the next tag.
                    let again = held.len() > 1 && c == '<';
                    let plain = if again { &held[..held.len() - 1] } else { held.as_str() };
                    plain.chars().for_each(|c| self.text(c, &mut out));
                    if again {
                        self.held.push('<');
                    }
                }
            }
        }
        out
    }

    fn text(&mut self, c: char, out: &mut String) {
        if self.state != State::Inside {
            return;
        }
        if c.is_whitespace() {
            if self.started {
                self.spaces.push(c);
            }
            return;
        }
        self.started = true;
        out.push_str(&self.spaces);
        self.spaces.clear();
        out.push(c);
    }

    fn judge(&self) -> Held {
        let slash = if self.state == State::Inside { "</" } else { "<" };
        let Some(rest) = self.held.strip_prefix(slash) else {
            return if slash.starts_with(&self.held) { Held::MayBe } else { Held::Text };
        };
        if self.held.len() > MAX_TAG + self.name.len() {
            return Held::Text;
        }
        let mut wanted = self.name.chars();
        let mut read = rest.chars();
        loop {
            let (want, got) = (wanted.next(), read.next());
            match (want, got) {
                (_, None) => return Held::MayBe,
                (Some(w), Some(g)) if g == w || g.to_lowercase().eq(std::iter::once(w)) => {}
                (None, Some('>')) => return Held::Tag,
                (None, Some(g)) if g.is_whitespace() || g == '/' && slash == "<" => break,
                _ => return Held::Text,
            }
        }
        // After the name: attributes of an opening tag, white space of a closing one.
        match rest.chars().next_back() {
            Some('>') => Held::Tag,
            Some('<') => Held::Text,
            Some(c) if slash == "<" || c.is_whitespace() => Held::MayBe,
            _ => Held::Text,
        }
    }

    /// True once the tag was closed.
    pub fn is_closed(&self) -> bool {
        self.state == State::After
    }

    /// The text is over: gives what was held back, if the tag was not closed.
    ///
    /// # Errors
    /// Kind `InvalidOutput` if the tag never came.
    pub fn finish(mut self) -> Result<String> {
        self.rest()
    }

    fn rest(&mut self) -> Result<String> {
        match self.state {
            State::Before => {
                Err(Error::invalid_output("the reply lacks a tag").with_context("tag", self.name.clone()))
            }
            State::After => Ok(String::new()),
            State::Inside => {
                let held = std::mem::take(&mut self.held);
                // A closing tag that was cut off is no text.
                let whole = format!("</{}", self.name);
                let mut out = String::new();
                if !whole.starts_with(&held.to_lowercase()) || held.len() < 2 {
                    held.chars().for_each(|c| self.text(c, &mut out));
                }
                Ok(out)
            }
        }
    }
}

/// Parses the inside of a tag with another parser; see [`XmlTag::and`].
///
/// ```
/// use katena_prompts::{BooleanParser, OutputParser, XmlTag};
/// assert!(XmlTag::new("sure").and(BooleanParser::new()).parse("Hm. <sure>yes</sure>")?);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct InTag<P> {
    tag: XmlTag,
    inner: P,
}

impl<P: OutputParser> OutputParser for InTag<P> {
    type Output = P::Output;

    fn parse(&self, text: &str) -> Result<P::Output> {
        let inside = self.tag.parse(text)?;
        self.inner.parse(&inside).map_err(|e| e.with_context("tag", self.tag.name.clone()))
    }

    fn format_instructions(&self) -> String {
        let inner = self.inner.format_instructions();
        format!("Between <{0}> and </{0}>: {inner}", self.tag.name)
    }
}

/// Parses several tags into a map from name to inside; each must be there.
///
/// ```
/// use katena_prompts::{OutputParser, XmlTags};
/// let parser = XmlTags::new(["plan", "answer"]);
/// let found = parser.parse("<plan>Add.</plan><answer>4</answer>")?;
/// assert_eq!(found["answer"], "4");
/// assert_eq!(parser.parse("<plan>Add.</plan>").unwrap_err().context("tag"), Some("answer"));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlTags(Vec<XmlTag>);

impl XmlTags {
    /// The tags of these names.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(names.into_iter().map(XmlTag::new).collect())
    }
}

impl OutputParser for XmlTags {
    type Output = BTreeMap<String, String>;

    fn parse(&self, text: &str) -> Result<BTreeMap<String, String>> {
        self.0.iter().map(|tag| Ok((tag.name.clone(), tag.parse(text)?))).collect()
    }

    fn format_instructions(&self) -> String {
        let tags: Vec<String> = self.0.iter().map(|t| format!("<{0}>…</{0}>", t.name)).collect();
        format!("Answer in this form:\n{}", tags.join("\n"))
    }
}

struct TagReader(TagStream);

impl StreamReader for TagReader {
    fn push(&mut self, text: &str) -> Option<Event> {
        Some(self.0.push(text)).filter(|t| !t.is_empty()).map(Event::Text)
    }

    fn finish(&mut self) -> Option<Event> {
        self.0.rest().ok().filter(|t| !t.is_empty()).map(Event::Text)
    }
}

impl StreamParser for XmlTag {
    fn reader(&self) -> Box<dyn StreamReader> {
        Box::new(TagReader(self.stream()))
    }
}

#[cfg(test)]
#[path = "xml_tests.rs"]
mod tests;
