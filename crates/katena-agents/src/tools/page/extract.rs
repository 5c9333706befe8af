//! Readable text from HTML, by the HTML standard's own tokenizer: no tree, so that nesting costs nothing.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, CharacterTokens, EndTag, StartTag, Tag, TagToken, Token, TokenSink, TokenSinkResult,
    Tokenizer, TokenizerOpts,
};

/// A page's title and text.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) title: Option<String>,
    pub(crate) text: String,
}

/// Elements whose content nobody reads.
const SKIPPED: [&str; 15] = [
    "script", "style", "noscript", "template", "svg", "math", "nav", "footer", "aside", "form", "button",
    "select", "iframe", "object", "canvas",
];
/// Elements that stand on lines of their own.
const BLOCKS: [&str; 27] = [
    "address",
    "article",
    "blockquote",
    "body",
    "br",
    "dd",
    "div",
    "dl",
    "dt",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "tr",
    "ul",
];

#[derive(Default)]
struct State {
    title: String,
    in_title: bool,
    /// The skipped element that is open, and how many of its name within it.
    skipping: Option<(String, usize)>,
    text: String,
    /// What must come before the next text.
    gap: &'static str,
    preformatted: usize,
}

impl State {
    fn break_line(&mut self, gap: &'static str) {
        if gap.len() > self.gap.len() || self.gap == " " {
            self.gap = gap;
        }
    }

    fn characters(&mut self, text: &str) {
        if self.in_title {
            self.title.push_str(text);
            return;
        }
        if self.skipping.is_some() {
            return;
        }
        if self.preformatted > 0 {
            self.put_gap();
            self.text.push_str(text);
            return;
        }
        if text.starts_with(|c: char| c.is_ascii_whitespace()) && self.gap.is_empty() {
            self.gap = " ";
        }
        for word in text.split_ascii_whitespace() {
            self.put_gap();
            self.text.push_str(word);
            self.gap = " ";
        }
        if !text.ends_with(|c: char| c.is_ascii_whitespace()) && self.gap == " " {
            self.gap = "";
        }
    }

    fn put_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if !(self.text.is_empty() || gap == " " && self.text.ends_with('\n')) {
            self.text.push_str(gap);
        }
    }

    fn start(&mut self, tag: &Tag) {
        let name = &*tag.name;
        if let Some((open, depth)) = &mut self.skipping {
            *depth += usize::from(open == name && !tag.self_closing);
            return;
        }
        let hidden = tag.attrs.iter().any(|a| match &*a.name.local {
            "hidden" => true,
            "aria-hidden" => &*a.value == "true",
            "style" => {
                let style: String =
                    a.value.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
                style.contains("display:none")
                    || style.contains("visibility:hidden")
                    || style.contains("font-size:0")
            }
            _ => false,
        });
        if (SKIPPED.contains(&name) || (hidden && !is_void(name))) && !tag.self_closing {
            self.skipping = Some((name.to_owned(), 1));
            return;
        }
        self.edge(name);
        match name {
            "title" => self.in_title = true,
            "pre" => self.preformatted += 1,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.put_gap();
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.text.push_str(&"#".repeat(level));
                self.gap = " ";
            }
            "li" => {
                self.put_gap();
                self.text.push_str("- ");
            }
            "td" | "th"
                if matches!(self.gap, "" | " ") && !self.text.is_empty() && !self.text.ends_with('\n') =>
            {
                self.gap = "";
                self.text.push_str(" | ");
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: &Tag) {
        let name = &*tag.name;
        if let Some((open, depth)) = &mut self.skipping {
            if open == name {
                *depth -= 1;
                if *depth == 0 {
                    self.skipping = None;
                }
            }
            return;
        }
        match name {
            "title" => self.in_title = false,
            "pre" => self.preformatted = self.preformatted.saturating_sub(1),
            _ => {}
        }
        self.edge(name);
    }

    fn edge(&mut self, name: &str) {
        match name {
            "br" | "li" | "tr" | "dt" | "dd" | "hr" => self.break_line("\n"),
            _ if BLOCKS.contains(&name) => self.break_line("\n\n"),
            _ => {}
        }
    }
}

/// Elements without an end.
fn is_void(name: &str) -> bool {
    matches!(
        name,
        "br" | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "area"
            | "base"
            | "col"
            | "embed"
            | "source"
            | "wbr"
    )
}

#[derive(Default)]
struct Sink(RefCell<State>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.0.borrow_mut();
        match token {
            CharacterTokens(text) => state.characters(&text),
            TagToken(tag) if tag.kind == StartTag => {
                state.start(&tag);
                return match &*tag.name {
                    "script" => TokenSinkResult::RawData(RawKind::ScriptData),
                    "style" | "iframe" | "noembed" | "noframes" | "xmp" => {
                        TokenSinkResult::RawData(RawKind::Rawtext)
                    }
                    "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
                    _ => TokenSinkResult::Continue,
                };
            }
            TagToken(tag) if tag.kind == EndTag => state.end(&tag),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

/// The readable text of a page. Any text is one; what is no markup stays as it is.
pub(crate) fn readable(html: &str) -> Page {
    readable_within(html, Duration::from_secs(5))
}

/// As much of it as is read in that time.
fn readable_within(html: &str, limit: Duration) -> Page {
    let tokenizer =
        Tokenizer::new(Sink::default(), TokenizerOpts { discard_bom: true, ..TokenizerOpts::default() });
    let queue = BufferQueue::default();
    let begun = Instant::now();
    let mut rest = html;
    // In pieces and with an end: the tokenizer compares each attribute of a tag with all before it.
    while !rest.is_empty() && begun.elapsed() < limit {
        let mut cut = rest.len().min(16 << 10);
        while !rest.is_char_boundary(cut) {
            cut += 1;
        }
        let (piece, after) = rest.split_at(cut);
        queue.push_back(StrTendril::from_slice(piece));
        while !queue.is_empty() {
            let _ = tokenizer.feed(&queue);
        }
        rest = after;
    }
    tokenizer.end();
    let state = tokenizer.sink.0.into_inner();
    let title: Vec<&str> = state.title.split_whitespace().collect();
    Page { title: (!title.is_empty()).then(|| title.join(" ")), text: state.text.trim().to_owned() }
}

#[cfg(test)]
#[path = "extract_tests.rs"]
mod tests;
