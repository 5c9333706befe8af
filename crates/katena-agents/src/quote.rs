//! Text from outside, marked as such.

/// The start of `text`, at most `bytes` long, on a character's border.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Adds `text` with a mark before each of its lines, so that where it ends can't be forged from within.
pub(crate) fn block(to: &mut String, text: &str) {
    for line in text.trim_end().split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}', '\u{b}', '\u{c}']) {
        to.push_str("> ");
        to.push_str(line);
        to.push('\n');
    }
}

/// `text` with a mark before each of its lines.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    block(&mut out, text);
    out
}

/// `text` on one line, at most `bytes` long.
pub(crate) fn line(text: &str, bytes: usize) -> String {
    let one: String = text
        .chars()
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect();
    cut(one.trim(), bytes).to_owned()
}
