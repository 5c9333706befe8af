//! Reasoning that a model writes before its answer, between marks.

use super::text::held_back;

/// The marks around a family's reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) open: &'static str,
    pub(crate) close: &'static str,
}

/// All that are known: `DeepSeek` R1, Qwen 3 and many others; Seed-OSS; Magistral and Ministral; Command R7B.
const MARKS: [Marks; 4] = [
    Marks { open: "<think>", close: "</think>" },
    Marks { open: "<seed:think>", close: "</seed:think>" },
    Marks { open: "[THINK]", close: "[/THINK]" },
    Marks { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
];

impl Marks {
    /// The marks that a chat template's text shows.
    pub(crate) fn of_template(source: &str) -> Option<Self> {
        MARKS.into_iter().find(|marks| source.contains(marks.close) || source.contains(marks.open))
    }

    /// True if `prompt` ends inside reasoning.
    pub(crate) fn begun(self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open)
    }
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thought {
    Reasoning(String),
    Rest(String),
}

/// Parts reasoning at the beginning of an answer from the rest. White space at both ends of it vanishes.
#[derive(Debug)]
pub(crate) struct Thoughts {
    marks: Marks,
    state: State,
    held: String,
    /// White space before what comes next.
    space: String,
    /// True once reasoning was passed on.
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Before,
    Inside,
    /// Behind the closing mark; white space vanishes.
    Behind,
    After,
}

impl Thoughts {
    /// Before the first piece. The prompt may have begun the reasoning, see [`Marks::begun`].
    pub(crate) fn new(marks: Marks, begun: bool) -> Self {
        let state = if begun { State::Inside } else { State::Before };
        Self { marks, state, held: String::new(), space: String::new(), told: false }
    }

    /// What is certain after `text`.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Thought> {
        self.held.push_str(text);
        let mut found = Vec::new();
        loop {
            match self.state {
                State::Before => {
                    let space = self.held.len() - self.held.trim_start().len();
                    self.space.extend(self.held.drain(..space));
                    if let Some(inside) = self.held.strip_prefix(self.marks.open) {
                        self.held = inside.to_owned();
                        self.space.clear();
                        self.state = State::Inside;
                    } else if self.marks.open.starts_with(self.held.as_str()) {
                        return found;
                    } else {
                        self.held.insert_str(0, &self.space);
                        self.state = State::After;
                    }
                }
                State::Inside => {
                    if let Some(at) = self.held.find(self.marks.close) {
                        let behind = self.held.split_off(at + self.marks.close.len());
                        self.held.truncate(at);
                        self.reason(&mut found);
                        self.space.clear();
                        self.held = behind;
                        self.state = State::Behind;
                    } else {
                        let keep = held_back(&self.held, std::iter::once(self.marks.close));
                        let mark = self.held.split_off(self.held.len() - keep);
                        self.reason(&mut found);
                        self.held = mark;
                        return found;
                    }
                }
                State::Behind => {
                    let space = self.held.len() - self.held.trim_start().len();
                    self.held.drain(..space);
                    if self.held.is_empty() {
                        return found;
                    }
                    self.state = State::After;
                }
                State::After => {
                    let rest = std::mem::take(&mut self.held);
                    if !rest.is_empty() {
                        found.push(Thought::Rest(rest));
                    }
                    return found;
                }
            }
        }
    }

    /// Passes `held` on as reasoning.
    fn reason(&mut self, found: &mut Vec<Thought>) {
        let text = std::mem::take(&mut self.held);
        let body = text.trim_end();
        if !body.is_empty() {
            let mut shown = std::mem::take(&mut self.space);
            shown.push_str(body);
            let shown = if self.told { shown } else { shown.trim_start().to_owned() };
            self.told = true;
            found.push(Thought::Reasoning(shown));
        }
        self.space.push_str(&text[body.len()..]);
    }

    /// What was held back, when no more text comes.
    pub(crate) fn finish(&mut self) -> Vec<Thought> {
        let mut found = Vec::new();
        match self.state {
            State::Before if !self.held.is_empty() || !self.space.is_empty() => {
                let space = std::mem::take(&mut self.space);
                found.push(Thought::Rest(space + &std::mem::take(&mut self.held)));
            }
            State::Inside => self.reason(&mut found),
            State::Before | State::Behind | State::After => {}
        }
        self.state = State::After;
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, size: usize, begun: bool) -> (String, String) {
        let marks = Marks::of_template("{{ '<think>' }}").unwrap();
        let mut thoughts = Thoughts::new(marks, begun);
        let chars: Vec<char> = text.chars().collect();
        let mut found = Vec::new();
        for piece in chars.chunks(size) {
            found.extend(thoughts.push(&piece.iter().collect::<String>()));
        }
        found.extend(thoughts.finish());
        let (mut reasoning, mut rest) = (String::new(), String::new());
        for thought in found {
            match thought {
                Thought::Reasoning(text) => {
                    assert!(rest.is_empty(), "reasoning behind the answer");
                    reasoning.push_str(&text);
                }
                Thought::Rest(text) => rest.push_str(&text),
            }
        }
        (reasoning, rest)
    }

    #[test]
    fn reasoning_is_parted_however_the_text_is_cut() {
        for (text, begun, reasoning, rest) in [
            (
                "<think>\nOne < two.\n\nSo </thin> it is.\n</think>\n\nTwo.",
                false,
                "One < two.\n\nSo </thin> it is.",
                "Two.",
            ),
            ("I see.\n</think>Yes <think>no</think>", true, "I see.", "Yes <think>no</think>"),
            ("<think>\n\n</think>\n\nYes ", false, "", "Yes "),
            ("  <thin it>", false, "", "  <thin it>"),
            (" Plain text", false, "", " Plain text"),
            ("<think>cut off </thi", false, "cut off </thi", ""),
            ("<thi", false, "", "<thi"),
            ("", true, "", ""),
        ] {
            for size in 1..text.len().max(2) {
                let want = (reasoning.to_owned(), rest.to_owned());
                assert_eq!(read(text, size, begun), want, "{text} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_template_shows_its_marks() {
        assert_eq!(Marks::of_template("x [THINK] y").unwrap().close, "[/THINK]");
        assert_eq!(Marks::of_template("{{ messages }}"), None);
        let marks = Marks::of_template("content.split('</think>')").unwrap();
        assert!(marks.begun("<|im_start|>assistant\n<think>\n"));
        assert!(!marks.begun("<|im_start|>assistant\n<think>\n\n</think>\n\n"));
    }
}
