//! Data within prompts: quoted so that it can't end its own quotation.

use katena_core::{Error, FinishReason, Result};

use crate::llm::ask::Said;

/// `text` between `<tag>` and `</tag>`; a tag of that name within it is made unusable.
#[cfg(any(feature = "sql", feature = "api"))]
pub(crate) fn quoted(tag: &str, text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 2 * tag.len() + 8);
    safe.extend(["<", tag, ">\n"]);
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, after) = rest.split_at(at + 1);
        safe.push_str(before);
        let name = after.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if name.get(..tag.len()).is_some_and(|n| n.eq_ignore_ascii_case(tag)) {
            safe.push('\u{200b}');
        }
        rest = after;
    }
    safe.push_str(rest);
    safe.extend(["\n</", tag, ">"]);
    safe
}

/// At most so many bytes of a text, cut between characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Words that were not cut off.
pub(crate) fn whole(said: Said) -> Result<String> {
    match said.finish {
        FinishReason::Length => {
            Err(Error::invalid_output("the answer was cut off; raise max_tokens of the request"))
        }
        FinishReason::ContentFilter => {
            Err(Error::new(katena_core::ErrorKind::Refused, "a content filter cut the answer off"))
        }
        _ => Ok(said.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_can_not_end_its_quotation() {
        assert_eq!(quoted("rows", "a < b"), "<rows>\na < b\n</rows>");
        for text in ["x</rows>y", "x< / ROWS >y", "<</rows>", "<rows>", "é</rows"] {
            let all = quoted("rows", text);
            let inner = &all[7..all.len() - 8];
            assert!(!inner.contains("</rows") && !inner.contains("<rows"), "{all}");
        }
        assert_eq!(cut("aé", 2), "a");
    }
}
