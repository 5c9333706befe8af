//! Markdown: the file's own text, with its title.

use katena_core::{Document, Source};

pub(crate) fn parse(text: String, mut source: Source) -> Document {
    if source.title.is_none() {
        source.title = title(&text);
    }
    Document::new(text, source)
}

/// The front matter's `title`, else the first heading outside code. Looks at the first 64 KiB only.
fn title(text: &str) -> Option<String> {
    let mut end = text.len().min(64 << 10);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut lines = text[..end].lines().peekable();
    if lines.peek().is_some_and(|l| l.trim_end() == "---") {
        lines.next();
        for line in lines.by_ref() {
            if matches!(line.trim_end(), "---" | "...") {
                break;
            }
            if let Some(value) = line.strip_prefix("title:") {
                let value = value.trim().trim_matches(['"', '\'']);
                if !value.is_empty() {
                    return Some(value.to_owned());
                }
            }
        }
    }
    let mut fence: Option<&str> = None;
    let mut last = "";
    for line in lines {
        let trimmed = line.trim();
        match fence {
            Some(mark) if trimmed.starts_with(mark) => fence = None,
            Some(_) => continue,
            None if trimmed.starts_with("```") => fence = Some("```"),
            None if trimmed.starts_with("~~~") => fence = Some("~~~"),
            None => {}
        }
        let hashes = trimmed.bytes().take(7).take_while(|b| *b == b'#').count();
        if (1..=6).contains(&hashes) && trimmed[hashes..].starts_with(' ') {
            let heading = trimmed[hashes..].trim().trim_end_matches('#').trim();
            if !heading.is_empty() {
                return Some(heading.to_owned());
            }
        }
        if !last.is_empty() && trimmed.len() > 2 && trimmed.bytes().all(|b| b == b'=') {
            return Some(last.to_owned());
        }
        last = trimmed;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_found() {
        assert_eq!(title("---\ntitle: \"From front\"\n---\n# Other").as_deref(), Some("From front"));
        assert_eq!(title("---\na: b\n---\ntext\n\n## Two ##\n").as_deref(), Some("Two"));
        assert_eq!(title("```\n# code\n```\nReal\n====\n").as_deref(), Some("Real"));
        assert_eq!(title("#hashtag\nplain"), None);
    }
}
