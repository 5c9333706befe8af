//! Follows the tags: which elements are open, what of them is read, where lines break.

use std::collections::HashMap;

use html5ever::LocalName;
use html5ever::tokenizer::Tag;
use katena_core::LineAnchor;

use super::writer::Writer;

/// What of a page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Its content, without navigation, page header and footer.
    Content,
    /// All that is shown.
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Yes,
    /// Nothing in it is read.
    No,
    /// Only a main heading in it is read.
    HeadingOnly,
}

#[derive(Debug)]
struct Open {
    name: LocalName,
    shown: Shown,
}

#[derive(Debug)]
pub(super) struct Walk {
    keep: Keep,
    writer: Writer,
    stack: Vec<Open>,
    /// How many elements of each name are open, so that an end tag without a beginning costs nothing.
    open: HashMap<LocalName, usize>,
    unread: usize,
    heading_only: usize,
    /// The number of each open list's next item; bullets have none.
    lists: Vec<Option<u32>>,
    cells: usize,
    title: Option<String>,
    /// A newline right after `<pre>` is not text.
    pre_begins: bool,
}

impl Walk {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            keep,
            writer: Writer::default(),
            stack: Vec::new(),
            open: HashMap::new(),
            unread: 0,
            heading_only: 0,
            lists: Vec::new(),
            cells: 0,
            title: None,
            pre_begins: false,
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.stack.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.writer.len()
    }

    pub(super) fn is_blank(&self) -> bool {
        self.writer.is_empty()
    }

    pub(super) fn finish(self) -> (String, Vec<LineAnchor>, Option<String>) {
        let (text, anchors) = self.writer.finish();
        let title =
            self.title.map(|t| t.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|t| !t.is_empty());
        (text, anchors, title)
    }

    fn is_open(&self, name: &str) -> bool {
        self.open.get(&LocalName::from(name)).is_some_and(|n| *n > 0)
    }

    fn reading(&self) -> bool {
        self.unread == 0 && (self.heading_only == 0 || self.is_open("h1"))
    }

    pub(super) fn text(&mut self, text: &str, line: u32) {
        // The tokenizer tells the line that it has reached: that of the text's end.
        let line = line.saturating_sub(memchr::memchr_iter(b'\n', text.as_bytes()).count() as u32).max(1);
        match self.stack.last().map(|o| &*o.name) {
            Some("title") if !self.is_open("svg") => {
                // Only the first title counts, and nobody's is longer than this.
                let title = self.title.get_or_insert_default();
                if title.len() + text.len() < 4096 {
                    title.push_str(text);
                }
            }
            _ if !self.reading() => {}
            _ if self.is_open("pre") => {
                let begins = std::mem::take(&mut self.pre_begins);
                let (text, line) = match text.strip_prefix('\n') {
                    Some(rest) if begins => (rest, line + 1),
                    _ => (text, line),
                };
                self.writer.write_as_is(text, line);
            }
            _ => self.writer.write(text, line),
        }
    }

    /// Opens an element; its name, if the tokenizer must read what follows differently.
    pub(super) fn start(&mut self, tag: &Tag) -> &'static str {
        let name = &*tag.name;
        self.close_implied(name);
        let foreign = self.is_open("svg") || self.is_open("math") || matches!(name, "svg" | "math");
        if matches!(name, "br" | "hr") && self.reading() {
            self.writer.break_line(1);
        }
        if is_void(name) || (tag.self_closing && foreign) {
            return "";
        }
        if name == "title" && self.title.is_some() {
            // A second title is no text either.
            self.push(tag, Shown::No);
            return "title";
        }
        let shown = self.shown(tag);
        self.push(tag, shown);
        if self.reading() {
            self.begin_block(tag);
        }
        match name {
            _ if foreign => "",
            "script" => "script",
            "style" | "xmp" | "iframe" | "noembed" | "noframes" => "style",
            "title" | "textarea" => "title",
            "plaintext" => "plaintext",
            _ => "",
        }
    }

    fn push(&mut self, tag: &Tag, shown: Shown) {
        match shown {
            Shown::Yes => {}
            Shown::No => self.unread += 1,
            Shown::HeadingOnly => self.heading_only += 1,
        }
        *self.open.entry(tag.name.clone()).or_default() += 1;
        self.stack.push(Open { name: tag.name.clone(), shown });
    }

    pub(super) fn end(&mut self, name: &LocalName) {
        if &**name == "br" {
            self.writer.break_line(1);
        }
        if self.open.get(name).is_none_or(|n| *n == 0) {
            return;
        }
        if is_inline(name) {
            // An inline end tag does not close blocks; it may close inline elements that were left open.
            let found = self
                .stack
                .iter()
                .rev()
                .take(64)
                .take_while(|o| is_inline(&o.name))
                .position(|o| o.name == *name);
            if let Some(above) = found {
                for _ in 0..=above {
                    self.pop();
                }
            }
            return;
        }
        while let Some(closed) = self.pop() {
            if closed == *name {
                return;
            }
        }
    }

    fn pop(&mut self) -> Option<LocalName> {
        let was_reading = self.reading();
        let open = self.stack.pop()?;
        if let Some(count) = self.open.get_mut(&open.name) {
            *count -= 1;
        }
        match open.shown {
            Shown::Yes => {}
            Shown::No => self.unread -= 1,
            Shown::HeadingOnly => self.heading_only -= 1,
        }
        if was_reading {
            self.end_block(&open.name);
        }
        Some(open.name)
    }

    /// Closes what a start tag closes by being there.
    fn close_implied(&mut self, name: &str) {
        let closes = |open: &str| match name {
            "li" => open == "li",
            "dt" | "dd" => matches!(open, "dt" | "dd"),
            "tr" => matches!(open, "tr" | "td" | "th"),
            "td" | "th" => matches!(open, "td" | "th"),
            "thead" | "tbody" | "tfoot" => {
                matches!(open, "thead" | "tbody" | "tfoot" | "tr" | "td" | "th" | "caption")
            }
            "option" | "optgroup" => open == "option",
            _ => closes_paragraph(name) && open == "p",
        };
        let bounds = |open: &str| matches!(open, "ul" | "ol" | "dl" | "table" | "body" | "html");
        // What is looked for is near the top, or there is nothing to close.
        let mut found = None;
        for (above, open) in self.stack.iter().rev().take(32).enumerate() {
            if closes(&open.name) {
                found = Some(above);
                if !matches!(name, "tr" | "thead" | "tbody" | "tfoot") {
                    break;
                }
            } else if bounds(&open.name) || (open.name == *"p" && name != "p") {
                break;
            }
        }
        if let Some(above) = found {
            for _ in 0..=above {
                self.pop();
            }
        }
    }

    fn shown(&self, tag: &Tag) -> Shown {
        let name = &*tag.name;
        let never = matches!(
            name,
            "script"
                | "style"
                | "template"
                | "noscript"
                | "iframe"
                | "object"
                | "embed"
                | "canvas"
                | "audio"
                | "video"
                | "svg"
                | "select"
                | "datalist"
                | "button"
                | "textarea"
                | "noembed"
                | "noframes"
                | "head"
        );
        // The head's own text is none, but a page that forgets `<body>` goes on in it.
        if never && name != "head" {
            return Shown::No;
        }
        let mut role = "";
        for attribute in &tag.attrs {
            let value = &*attribute.value;
            match &*attribute.name.local {
                "hidden" => return Shown::No,
                "aria-hidden" if value.eq_ignore_ascii_case("true") => return Shown::No,
                "style" if hides(value) => return Shown::No,
                "role" => role = value,
                _ => {}
            }
        }
        if self.keep == Keep::All {
            return Shown::Yes;
        }
        let in_content = self.is_open("main") || self.is_open("article");
        match (name, role) {
            ("nav" | "footer" | "dialog", _)
            | (_, "navigation" | "contentinfo" | "search" | "dialog" | "alertdialog" | "menu" | "menubar") => {
                Shown::No
            }
            ("aside", _) | (_, "complementary") if !in_content => Shown::No,
            ("header", _) | (_, "banner") if !in_content => Shown::HeadingOnly,
            _ => Shown::Yes,
        }
    }

    fn begin_block(&mut self, tag: &Tag) {
        let name = &*tag.name;
        self.break_at(name);
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.writer.drop_lead();
                self.writer.lead(&"######"[..level]);
                self.writer.lead(" ");
            }
            "ul" | "menu" => self.lists.push(None),
            "ol" => {
                let start = tag
                    .attrs
                    .iter()
                    .find(|a| &*a.name.local == "start")
                    .and_then(|a| a.value.trim().parse().ok());
                self.lists.push(Some(start.unwrap_or(1)));
            }
            "li" => {
                let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(8));
                let mark = match self.lists.last_mut() {
                    Some(Some(n)) => {
                        *n = n.saturating_add(1);
                        format!("{indent}{}. ", *n - 1)
                    }
                    _ => format!("{indent}- "),
                };
                self.writer.drop_lead();
                self.writer.lead(&mark);
            }
            "tr" => self.cells = 0,
            "td" | "th" => {
                self.writer.begin_cell(self.cells == 0);
                self.cells += 1;
            }
            "pre" => self.pre_begins = true,
            _ => {}
        }
    }

    fn end_block(&mut self, name: &str) {
        match name {
            "ul" | "ol" | "menu" => {
                self.lists.pop();
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "li" => self.writer.drop_lead(),
            "td" | "th" => {
                self.writer.end_cell();
                return;
            }
            "tr" => self.writer.drop_lead(),
            _ => {}
        }
        self.break_at(name);
    }

    fn break_at(&mut self, name: &str) {
        let newlines = match name {
            "ul" | "ol" | "menu" if !self.lists.is_empty() => 1,
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "ul" | "ol" | "menu" | "dl" | "table"
            | "blockquote" | "pre" | "section" | "article" | "main" | "header" | "footer" | "nav"
            | "aside" | "figure" | "details" | "fieldset" => 2,
            "div" | "li" | "dt" | "dd" | "tr" | "caption" | "figcaption" | "summary" | "legend"
            | "address" | "form" | "thead" | "tbody" | "tfoot" | "body" | "hr" | "center" | "hgroup" => 1,
            _ => return,
        };
        self.writer.break_line(newlines);
    }
}

fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "param"
            | "source"
            | "track"
            | "wbr"
    )
}

fn is_inline(name: &str) -> bool {
    matches!(
        name,
        "a" | "abbr"
            | "b"
            | "bdi"
            | "bdo"
            | "big"
            | "cite"
            | "code"
            | "data"
            | "del"
            | "dfn"
            | "em"
            | "font"
            | "i"
            | "ins"
            | "kbd"
            | "label"
            | "mark"
            | "nobr"
            | "q"
            | "s"
            | "samp"
            | "small"
            | "span"
            | "strike"
            | "strong"
            | "sub"
            | "sup"
            | "time"
            | "tt"
            | "u"
            | "var"
    )
}

fn closes_paragraph(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "ul"
            | "ol"
            | "dl"
            | "table"
            | "pre"
            | "blockquote"
            | "section"
            | "article"
            | "main"
            | "header"
            | "footer"
            | "nav"
            | "aside"
            | "form"
            | "hr"
            | "figure"
            | "address"
            | "details"
            | "fieldset"
            | "center"
            | "menu"
            | "hgroup"
    )
}

/// An inline style that makes an element invisible.
fn hides(style: &str) -> bool {
    style.split(';').any(|declaration| {
        let Some((property, value)) = declaration.split_once(':') else { return false };
        let value = value.trim().to_ascii_lowercase();
        let value = value.trim_end_matches("!important").trim();
        let zero = || {
            let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
            digits.parse::<f32>().is_ok_and(|n| n == 0.0)
        };
        match property.trim().to_ascii_lowercase().as_str() {
            "display" => value == "none",
            "visibility" => matches!(value, "hidden" | "collapse"),
            "font-size" | "opacity" => zero(),
            _ => false,
        }
    })
}
