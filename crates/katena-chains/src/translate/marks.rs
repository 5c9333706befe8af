//! What a translation must leave alone is replaced by numbered marks and put back afterwards.

use std::fmt::Write as _;

const OPEN: char = '⟦';
const CLOSE: char = '⟧';
/// Longest code span, in bytes, and longest tag and placeholder.
const CODE: usize = 4096;
const TAG: usize = 512;
const PLACEHOLDER: usize = 96;
/// Characters that no URL ends with and that end one in running text.
const AFTER_URL: &str = "。，、；：！？）】》」』⟦⟧";

/// A text with marks, and what they stand for: mark `n` is `kept[n - 1]`.
#[derive(Debug)]
pub(super) struct Masked<'t> {
    pub(super) text: String,
    pub(super) kept: Vec<&'t str>,
}

/// Replaces code blocks, code spans, URLs, `{placeholders}`, tags and what looks like a mark.
pub(super) fn mask(text: &str) -> Masked<'_> {
    let mut masked = Masked { text: String::with_capacity(text.len()), kept: Vec::new() };
    let (mut at, mut copied) = (0, 0);
    let mut line_start = true;
    let mut in_word = false;
    while let Some(c) = text[at..].chars().next() {
        let length = protected(&text[at..], c, line_start, in_word);
        if length == 0 {
            line_start = c == '\n' || (line_start && c.is_whitespace());
            in_word = c.is_alphanumeric();
            // A run of backticks that opens nothing is text as a whole, not run by run.
            at += if c == '`' { fence_length(&text[at..]) } else { c.len_utf8() };
            continue;
        }
        masked.text.push_str(&text[copied..at]);
        masked.kept.push(&text[at..at + length]);
        let _ = write!(masked.text, "{OPEN}{}{CLOSE}", masked.kept.len());
        at += length;
        copied = at;
        (line_start, in_word) = (false, false);
    }
    masked.text.push_str(&text[copied..]);
    masked
}

/// How many bytes at the beginning of `rest` are to be left alone.
fn protected(rest: &str, first: char, line_start: bool, in_word: bool) -> usize {
    match first {
        '`' | '~' if line_start && fence_length(rest) >= 3 => block(rest),
        '`' => code_span(rest),
        '{' => placeholder(rest),
        '$' if rest[1..].starts_with('{') => {
            Some(placeholder(&rest[1..])).filter(|n| *n > 0).map_or(0, |n| n + 1)
        }
        '<' => tag(rest),
        OPEN | CLOSE => first.len_utf8(),
        'h' | 'H' | 'f' | 'F' | 'm' | 'M' | 'w' | 'W' if !in_word => url(rest),
        _ => 0,
    }
}

fn fence_length(line: &str) -> usize {
    let first = line.chars().next();
    line.chars().take_while(|c| Some(*c) == first).count()
}

/// A fenced block with its last fence, or all of the rest, as CommonMark has it.
fn block(rest: &str) -> usize {
    let length = fence_length(rest);
    let mark = &rest[..1];
    let mut at = 0;
    for (n, line) in rest.split_inclusive('\n').enumerate() {
        let trimmed = line.trim();
        if n > 0 && fence_length(trimmed) >= length && trimmed.chars().all(|c| mark.starts_with(c)) {
            return at + line.trim_end().len();
        }
        at += line.len();
    }
    rest.trim_end().len()
}

fn code_span(rest: &str) -> usize {
    let length = fence_length(rest);
    let mut at = length;
    while let Some(next) = rest[at..].find('`').filter(|next| at + next < CODE) {
        let run = fence_length(&rest[at + next..]);
        at += next + run;
        if run == length {
            return at;
        }
    }
    0
}

/// `{name}` or `{{name}}`, in one line.
fn placeholder(rest: &str) -> usize {
    let (open, close) = if rest.starts_with("{{") { ("{{", "}}") } else { ("{", "}") };
    let inside = &rest[open.len()..];
    let Some(end) = inside.find(['{', '}', '\n']).filter(|end| (1..PLACEHOLDER).contains(end)) else {
        return 0;
    };
    if inside[end..].starts_with(close) { open.len() + end + close.len() } else { 0 }
}

/// A tag, a comment's beginning, an autolink; at least the beginning of an end tag, which could close the prompt's frame.
fn tag(rest: &str) -> usize {
    let inside = &rest[1..];
    let name = inside.strip_prefix('/').unwrap_or(inside);
    if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '!')
        && let Some(end) = inside.find(['<', '>', '\n']).filter(|end| *end < TAG)
        && inside[end..].starts_with('>')
    {
        return end + 2;
    }
    if inside.starts_with('/') { 2 } else { 0 }
}

fn url(rest: &str) -> usize {
    let starts = ["https://", "http://", "ftp://", "mailto:", "www."];
    let Some(start) = starts.iter().find(|s| rest.get(..s.len()).is_some_and(|r| r.eq_ignore_ascii_case(s)))
    else {
        return 0;
    };
    let mut open = 0_usize;
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        match c {
            '(' => open += 1,
            ')' if open > 0 => open -= 1,
            ')' | ']' | '<' | '>' | '"' | '`' | '|' => end = end.min(at),
            _ if c.is_whitespace() || AFTER_URL.contains(c) => end = end.min(at),
            _ => {}
        }
        if end <= at {
            break;
        }
    }
    let url = rest[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', '*', '_', '\'']);
    if url.len() > start.len() { url.len() } else { 0 }
}

/// The numbers of the marks in a text, with their places; `None` for what only begins like one.
fn marks(text: &str) -> Vec<(Option<usize>, std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = text[at..].find(OPEN) {
        let start = at + next;
        let inside = &text[start + OPEN.len_utf8()..];
        let digits = inside.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let number = digits
            .starts_with(CLOSE)
            .then(|| inside[..inside.len() - digits.len()].trim().parse().ok())
            .flatten();
        let end = match number {
            Some(_) => text.len() - digits.len() + CLOSE.len_utf8(),
            None => start + OPEN.len_utf8(),
        };
        found.push((number, start..end));
        at = end;
    }
    found
}

/// The numbers of the marks of a masked text.
pub(super) fn numbers(masked: &str) -> Vec<usize> {
    marks(masked).into_iter().filter_map(|(number, _)| number).collect()
}

/// True if there is a letter outside of the marks.
pub(super) fn has_words(masked: &str) -> bool {
    masked.chars().any(char::is_alphabetic)
}

/// Where a cut at `at` would go through a mark, the mark's end; else `at`.
pub(super) fn not_inside(masked: &str, at: usize) -> usize {
    const LONGEST: usize = 32;
    let mut from = at.saturating_sub(LONGEST);
    while !masked.is_char_boundary(from) {
        from += 1;
    }
    match masked[from..at].rfind([OPEN, CLOSE]) {
        Some(last) if masked[from + last..].starts_with(OPEN) => {
            masked[at..].find(CLOSE).map_or(masked.len(), |close| at + close + CLOSE.len_utf8())
        }
        _ => at,
    }
}

/// The text with what the marks stand for, or what is wrong with its marks: each of `expected` must be there once, and no
/// other.
pub(super) fn put_back(text: &str, expected: &[usize], kept: &[&str]) -> Result<String, String> {
    let marks = marks(text);
    let mut seen: Vec<usize> = marks.iter().filter_map(|(number, _)| *number).collect();
    if seen.len() < marks.len() {
        return Err(format!("{OPEN} may stand only in a mark of the text"));
    }
    seen.sort_unstable();
    let lost: Vec<usize> = expected.iter().copied().filter(|n| seen.binary_search(n).is_err()).collect();
    if !lost.is_empty() {
        return Err(format!("these marks are missing: {}", list(&lost)));
    }
    let twice: Vec<usize> = seen.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    if !twice.is_empty() {
        return Err(format!("these marks stand there more than once: {}", list(&twice)));
    }
    if seen.len() > expected.len() {
        return Err("there are marks that the text does not have".to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for (number, range) in marks {
        let Some(original) = number.and_then(|n| kept.get(n.checked_sub(1)?)) else { continue };
        out.push_str(&text[copied..range.start]);
        copied = range.end;
        let is_block = original.contains('\n') && original.starts_with(['`', '~']);
        // A fence counts only on a line of its own.
        if is_block && !out[out.rfind('\n').map_or(0, |n| n + 1)..].trim().is_empty() {
            out.push('\n');
        }
        out.push_str(original);
        if is_block
            && !text[copied..].trim_start_matches([' ', '\t', '\r']).starts_with('\n')
            && copied < text.len()
        {
            out.push('\n');
        }
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

/// The first of some marks, for a message.
fn list(numbers: &[usize]) -> String {
    const MOST: usize = 12;
    let mut words: Vec<String> = numbers.iter().take(MOST).map(|n| format!("{OPEN}{n}{CLOSE}")).collect();
    if numbers.len() > MOST {
        words.push("…".to_owned());
    }
    words.join(", ")
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
