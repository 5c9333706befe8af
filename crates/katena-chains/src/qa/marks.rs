//! Citation marks in a text that is still being written.

/// Longest mark that is waited for, in characters.
const LONGEST: usize = 32;
/// Words that models put before the number.
const WORDS: [&str; 8] = ["passage", "passages", "source", "sources", "document", "doc", "ref", "citation"];

/// Lets a growing text through, but holds a mark back until it is whole, and drops it if it points nowhere. The same
/// text in other pieces gives the same result. White space at both ends is dropped.
#[derive(Debug)]
pub(crate) struct Marks {
    passages: usize,
    written: usize,
    space: String,
    held: Option<(char, String)>,
    dropped: bool,
    /// Passage numbers and where in the written text their marks begin.
    pub(crate) named: Vec<(usize, usize)>,
}

impl Marks {
    /// For an answer from this many passages.
    pub(crate) fn new(passages: usize) -> Self {
        Self { passages, written: 0, space: String::new(), held: None, dropped: false, named: Vec::new() }
    }

    /// Takes the next piece and gives what may be shown.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        let mut out = String::with_capacity(piece.len());
        for c in piece.chars() {
            self.take(c, &mut out);
        }
        out
    }

    /// The text is complete: gives what was still held back.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        if let Some((open, held)) = self.held.take() {
            let cut_off = held.chars().all(|c| c.is_ascii_digit() || ", ;-^".contains(c));
            if !cut_off {
                self.literal(open, &held, &mut out);
            }
        }
        out
    }

    fn take(&mut self, c: char, out: &mut String) {
        if let Some((open, mut held)) = self.held.take() {
            match c {
                ']' | '】' => match numbers(&held) {
                    Some(numbers) => self.mark(&numbers, out),
                    None => {
                        held.push(c);
                        self.literal(open, &held, out);
                    }
                },
                _ if may_be_in_a_mark(c) && held.chars().count() < LONGEST => {
                    held.push(c);
                    self.held = Some((open, held));
                }
                _ => {
                    self.literal(open, &held, out);
                    self.take(c, out);
                }
            }
        } else if c == '[' || c == '【' {
            self.held = Some((c, String::new()));
        } else if c.is_whitespace() {
            if !self.dropped || self.space.is_empty() {
                self.space.push(c);
            } else if c == '\n' && !self.space.contains('\n') {
                "\n".clone_into(&mut self.space);
            }
        } else {
            if self.dropped && ".,;:!?)".contains(c) {
                self.space.clear();
            }
            self.write(c.encode_utf8(&mut [0; 4]), out);
        }
    }

    fn mark(&mut self, numbers: &[usize], out: &mut String) {
        let mut good: Vec<usize> = Vec::new();
        for n in numbers.iter().copied().filter(|n| (1..=self.passages).contains(n)) {
            if !good.contains(&n) {
                good.push(n);
            }
        }
        if good.is_empty() {
            self.dropped = true;
            return;
        }
        let text = good.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        self.write("", out);
        let at = self.written;
        self.named.extend(good.into_iter().map(|n| (n, at)));
        self.write(&format!("[{text}]"), out);
    }

    fn literal(&mut self, open: char, rest: &str, out: &mut String) {
        self.write(open.encode_utf8(&mut [0; 4]), out);
        self.write(rest, out);
    }

    /// Writes the waiting white space (not at the beginning) and then `text`.
    fn write(&mut self, text: &str, out: &mut String) {
        let space = std::mem::take(&mut self.space);
        self.dropped = false;
        for piece in [if self.written == 0 { "" } else { &space }, text] {
            self.written += piece.len();
            out.push_str(piece);
        }
    }
}

fn may_be_in_a_mark(c: char) -> bool {
    c.is_ascii_alphanumeric() || ", ;-–^".contains(c)
}

/// The numbers of a mark's inside, if it is a mark: `1`, `1, 2`, `1-3`, `passage 2`.
fn numbers(inside: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    let words = inside.split([',', ';', ' ', '^']).filter(|w| !w.is_empty());
    for (n, word) in words.enumerate() {
        if n == 0 && WORDS.contains(&word.to_ascii_lowercase().as_str()) || word == "and" {
            continue;
        }
        match word.split_once(['-', '–']) {
            Some((first, last)) => {
                // A number too large to read points nowhere, just like any other that is too large.
                let (first, last) = (number(first)?, number(last)?);
                all.extend((first..=last).take(LONGEST));
            }
            None => all.push(number(word)?),
        }
    }
    (!all.is_empty()).then_some(all)
}

fn number(digits: &str) -> Option<usize> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(usize::MAX))
}

/// Makes marks in a passage unusable, so that a model that copies them cites nothing: `[2]` becomes `(2)`.
pub(crate) fn defuse(passage: &str) -> String {
    let mut out = String::with_capacity(passage.len());
    let mut rest = passage;
    while let Some(at) = rest.find(['[', '【']) {
        let open = rest[at..].chars().next().map_or(1, char::len_utf8);
        let (before, inside) = (&rest[..at], &rest[at + open..]);
        out.push_str(before);
        match inside.char_indices().take(LONGEST + 1).find(|(_, c)| "]】".contains(*c)) {
            Some((end, close)) if numbers(&inside[..end]).is_some() => {
                out.push('(');
                out.push_str(&inside[..end]);
                out.push(')');
                rest = &inside[end + close.len_utf8()..];
            }
            _ => {
                out.push_str(&rest[at..at + open]);
                rest = inside;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str, passages: usize) -> (String, Vec<usize>) {
        let mut marks = Marks::new(passages);
        let mut out = marks.push(text);
        out.push_str(&marks.finish());
        for &(n, at) in &marks.named {
            assert!(out[at..].starts_with('[') && (1..=passages).contains(&n), "{out:?}");
        }
        (out, marks.named.iter().map(|(n, _)| *n).collect())
    }

    #[test]
    fn good_marks_stay_and_bad_ones_go() {
        for (text, shown, named) in [
            ("25 days [1].", "25 days [1].", vec![1]),
            ("25 days [7].", "25 days.", vec![]),
            ("25 days [7] a year", "25 days a year", vec![]),
            ("25 days[7]\na year", "25 days\na year", vec![]),
            ("a [1, 9; 2] b", "a [1, 2] b", vec![1, 2]),
            ("a [1-3]", "a [1, 2]", vec![1, 2]),
            ("a [Passage 2]", "a [2]", vec![2]),
            ("a 【2】", "a [2]", vec![2]),
            ("see [the list](x) [sic] [] [[1]]", "see [the list](x) [sic] [] [[1]]", vec![1]),
            ("a [0] [99999999999999999999999]", "a", vec![]),
            ("cut [1", "cut", vec![]),
            ("cut [what", "cut [what", vec![]),
            ("  x  ", "x", vec![]),
            ("[2] first", "[2] first", vec![2]),
            ("[9] first", "first", vec![]),
        ] {
            assert_eq!(whole(text, 2), (shown.to_owned(), named), "{text:?}");
        }
    }

    #[test]
    fn pieces_do_not_matter() {
        let text = "ü [1] and [2, 3], [9]. [x [2]] end [sou rce 1] [4-1] \n\n[3";
        let expected = whole(text, 3);
        for size in 1..9 {
            let chars: Vec<char> = text.chars().collect();
            let mut marks = Marks::new(3);
            let mut out = String::new();
            for piece in chars.chunks(size) {
                out.push_str(&marks.push(&piece.iter().collect::<String>()));
            }
            out.push_str(&marks.finish());
            assert_eq!(out, expected.0);
        }
    }

    #[test]
    fn marks_in_passages_are_defused() {
        assert_eq!(defuse("a [1] b [2, 3] [x] 【4】 [5"), "a (1) b (2, 3) [x] (4) [5");
        assert_eq!(defuse("[[1]]"), "[(1)]");
    }
}
