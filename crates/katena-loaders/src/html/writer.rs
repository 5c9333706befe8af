//! Text as it is shown: white space collapsed, blocks on lines of their own.

use katena_core::LineAnchor;

/// Writes text and remembers from which line it came.
#[derive(Debug, Default)]
pub(super) struct Writer {
    text: String,
    anchors: Vec<LineAnchor>,
    /// Newlines that the next text begins with.
    breaks: usize,
    space: bool,
    /// A table cell has begun and has no text yet: its blocks break no line.
    hold: bool,
    /// What introduces the next text: a heading's marks, a list item's dash, a cell's border.
    lead: String,
}

impl Writer {
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn finish(self) -> (String, Vec<LineAnchor>) {
        (self.text, self.anchors)
    }

    /// The next text begins after at least `newlines`.
    pub(super) fn break_line(&mut self, newlines: usize) {
        if !self.hold {
            self.breaks = self.breaks.max(newlines);
        }
        self.space = false;
    }

    /// A table cell begins; all but the first of a row go on in its line.
    pub(super) fn begin_cell(&mut self, first: bool) {
        self.hold = false;
        if first {
            self.break_line(1);
        } else {
            self.breaks = 0;
            self.space = false;
            self.lead.push_str(" |");
        }
        self.hold = true;
    }

    /// A table cell ends; what broke lines at its end breaks none.
    pub(super) fn end_cell(&mut self) {
        if !self.hold {
            self.breaks = 0;
        }
        self.space = false;
        self.hold = false;
    }

    pub(super) fn lead(&mut self, lead: &str) {
        self.lead.push_str(lead);
    }

    /// A lead whose text did not come leads nothing else.
    pub(super) fn drop_lead(&mut self) {
        self.lead.clear();
    }

    /// Running text that begins on `line` of the file.
    pub(super) fn write(&mut self, text: &str, mut line: u32) {
        let mut rest = text;
        loop {
            let word_at = rest.find(|c: char| !is_space(c)).unwrap_or(rest.len());
            line += memchr::memchr_iter(b'\n', &rest.as_bytes()[..word_at]).count() as u32;
            self.space |= word_at > 0;
            rest = &rest[word_at..];
            if rest.is_empty() {
                return;
            }
            let end = rest.find(is_space).unwrap_or(rest.len());
            self.put(&rest[..end], line);
            rest = &rest[end..];
        }
    }

    /// Text whose white space counts.
    pub(super) fn write_as_is(&mut self, text: &str, mut line: u32) {
        for piece in text.split_inclusive('\n') {
            let content = piece.trim_end_matches(['\n', '\r']);
            if !content.is_empty() {
                self.space = false;
                self.put(content, line);
            }
            if content.len() < piece.len() {
                self.breaks += 1;
                line += 1;
            }
        }
    }

    fn put(&mut self, word: &str, line: u32) {
        if self.text.is_empty() {
            self.breaks = 0;
            self.space = false;
        }
        if self.breaks > 0 {
            self.text.extend(std::iter::repeat_n('\n', self.breaks));
        } else if self.space {
            self.text.push(' ');
        }
        self.breaks = 0;
        self.space = false;
        if self.anchors.last().is_none_or(|a| a.line != line) {
            self.anchors.push(LineAnchor { offset: self.text.len(), line });
        }
        if !self.lead.is_empty() {
            self.text.push_str(&self.lead);
            if self.lead.ends_with('|') {
                self.text.push(' ');
            }
            self.lead.clear();
        }
        self.hold = false;
        self.text.push_str(word);
    }
}

/// HTML's white space; a no-break space is a character.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}')
}
