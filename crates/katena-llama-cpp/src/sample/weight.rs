//! How large regular expressions and grammars become when their repetitions are written out. llguidance writes literals
//! out before it counts anything: `((a{1000}){1000}){1000}` would take all memory.

use std::collections::HashMap;

/// Largest that is compiled.
const MOST: u64 = 100_000;
/// Terminals that are made of terminals that are made of …
const MAX_DEPTH: usize = 64;

/// True if the regular expression is not too large.
pub(super) fn regex_fits(pattern: &str) -> bool {
    let mut scan = Scan::default();
    scan.regex(pattern.chars());
    scan.total() <= MOST
}

/// True if no definition of the Lark grammar is too large, its terminals written out.
pub(super) fn lark_fits(text: &str) -> bool {
    let bodies = bodies(text);
    let mut known = HashMap::new();
    bodies.keys().all(|name| size(name, &bodies, &mut known, 0) <= MOST)
}

/// Definitions by name. Lines that begin none go on with the one before.
fn bodies(text: &str) -> HashMap<&str, String> {
    let mut bodies: HashMap<&str, String> = HashMap::new();
    let mut name = "";
    for line in text.lines() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let trimmed = line.trim_start().trim_start_matches(['?', '!']);
        let begin = &trimmed[..trimmed.find(|c| !word(c)).unwrap_or(trimmed.len())];
        match trimmed.split_once(':') {
            Some((_, body)) if !begin.is_empty() => {
                name = begin;
                bodies.entry(name).or_default().push_str(body);
            }
            _ => bodies.entry(name).or_default().push_str(line),
        }
        bodies.entry(name).or_default().push('\n');
    }
    bodies
}

fn size<'t>(
    name: &'t str,
    bodies: &HashMap<&'t str, String>,
    known: &mut HashMap<&'t str, u64>,
    depth: usize,
) -> u64 {
    if let Some(size) = known.get(name) {
        return *size;
    }
    let Some((name, body)) = bodies.get_key_value(name) else { return 1 };
    if depth > MAX_DEPTH {
        return u64::MAX;
    }
    // A definition that stands in itself is refused by the compiler.
    known.insert(name, 1);
    let mut scan = Scan::default();
    scan.lark(body, &mut |inner| {
        // Rules are not written out, terminals are.
        if inner.starts_with(|c: char| c.is_ascii_uppercase() || c == '_') {
            let inner = bodies.get_key_value(inner).map_or("", |(name, _)| *name);
            size(inner, bodies, known, depth + 1)
        } else {
            1
        }
    });
    let total = scan.total();
    known.insert(name, total);
    total
}

/// Sizes of open groups: what is in them, and its last part.
#[derive(Default)]
struct Scan {
    open: Vec<(u64, u64)>,
    sum: u64,
    last: u64,
}

impl Scan {
    fn total(mut self) -> u64 {
        while !self.open.is_empty() {
            self.close();
        }
        self.sum
    }

    fn atom(&mut self, size: u64) {
        self.sum = self.sum.saturating_add(size);
        self.last = size;
    }

    fn open(&mut self) {
        self.open.push((self.sum, self.last));
        (self.sum, self.last) = (0, 0);
    }

    fn close(&mut self) {
        if let Some((sum, _)) = self.open.pop() {
            let group = self.sum.max(1);
            self.sum = sum;
            self.atom(group);
        }
    }

    /// `{3}`, `{3,}` and `{3,5}` after the brace, or `3..5` after `~`.
    fn repeat(&mut self, rest: &str) -> bool {
        let end = rest.find(|c: char| !c.is_ascii_digit() && !", .".contains(c)).unwrap_or(rest.len());
        let counts = rest[..end].split([',', '.', ' ']).filter(|n| !n.is_empty());
        let Some(most) = counts.map(|n| n.parse::<u64>().unwrap_or(u64::MAX)).max() else { return false };
        let whole = self.last.saturating_mul(most.max(1));
        self.sum = self.sum.saturating_sub(self.last).saturating_add(whole);
        self.last = whole;
        true
    }

    fn regex(&mut self, mut chars: std::str::Chars<'_>) {
        while let Some(c) = chars.next() {
            match c {
                '\\' => {
                    chars.next();
                    self.atom(1);
                }
                '[' => {
                    class(&mut chars);
                    self.atom(1);
                }
                '(' => self.open(),
                ')' => self.close(),
                '{' if self.repeat(chars.as_str()) => {}
                '|' | '*' | '+' | '?' | '}' | ',' => {}
                _ => self.atom(1),
            }
        }
    }

    fn lark<'b>(&mut self, body: &'b str, named: &mut impl FnMut(&'b str) -> u64) {
        let mut chars = body.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' | '/' => {
                    let (inner, length) = delimited(chars.as_str(), c);
                    self.open();
                    if c == '/' {
                        self.regex(inner.chars());
                    } else {
                        self.atom(inner.len() as u64);
                    }
                    self.close();
                    chars = chars.as_str()[length..].chars();
                }
                '(' | '[' => self.open(),
                ')' | ']' => self.close(),
                '{' | '~' if self.repeat(chars.as_str().trim_start()) => {}
                c if c.is_ascii_alphabetic() || c == '_' => {
                    let rest = chars.as_str();
                    let more =
                        rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                    let start = body.len() - rest.len() - 1;
                    let size = named(&body[start..start + 1 + more]);
                    self.atom(size);
                    chars = rest[more..].chars();
                }
                _ => {}
            }
        }
    }
}

/// Skips a class of a regular expression.
fn class(chars: &mut std::str::Chars<'_>) {
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '^' if first => continue,
            ']' if !first => return,
            '[' => class(chars),
            _ => {}
        }
        first = false;
    }
}

/// What stands before the closing sign, and the length with it.
fn delimited(text: &str, sign: char) -> (&str, usize) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == sign => return (&text[..at], at + 1),
            _ => {}
        }
    }
    (text, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_repetitions_multiply() {
        for good in
            ["a{1000}", "(?:ab){1,100}(c{50}){10}", "[{(]{3}", r"\({5}", ".*", "a{", "((a{10}){10}){10}"]
        {
            assert!(regex_fits(good), "{good}");
        }
        for bad in [
            "a{100001}",
            "((a{1000}){1000}){1000}",
            "(?:[a-z]{0,1000}){1000}",
            "(a|b{9999999999999999999999})",
        ] {
            assert!(!regex_fits(bad), "{bad}");
        }
    }

    #[test]
    fn terminals_are_written_out() {
        for good in [
            "start: \"a\"{3} B\nB: /x{100}/",
            "start: a{500}\na: b{500}\nb: \"x\"{500}",
            "start: START\nSTART: \"(\" | START \")\"",
        ] {
            assert!(lark_fits(good), "{good}");
        }
        for bad in [
            "start: A\nA: B{1000}\nB: C{1000}\nC: \"x\"{1000}",
            "start: /((a{100}){100}){100}/",
            "start: A\nA: (\"xyz\" ~ 1000)\n  ~ 1000",
            "start: A\n?A: [B B]{1000}\nB: /a{100}/",
        ] {
            assert!(!lark_fits(bad), "{bad}");
        }
    }
}
