//! A page's blocks as running text.

use pdfboss_output::{Block, Line, PageLayout};

/// Blocks are set apart by blank lines, a paragraph's wrapped lines joined, list items and table rows on lines of their own.
pub(super) fn text(page: &PageLayout) -> String {
    let mut out = String::new();
    for block in &page.blocks {
        let text = match block {
            Block::Heading { lines, .. } | Block::Paragraph { lines, .. } => joined(lines),
            Block::List { items, .. } => items
                .iter()
                .map(|i| joined(&i.lines))
                .filter(|t| !t.is_empty())
                .collect::<Vec<_>>()
                .join("\n"),
            Block::Table { rows, .. } => {
                let row = |cells: &Vec<pdfboss_output::Cell>| {
                    let cells = cells.iter().filter_map(|c| c.line.as_ref()).map(line_text);
                    cells.filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" | ")
                };
                rows.iter().map(row).filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n")
            }
        };
        if text.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push_str("\n\n");
        }
        out.push_str(&text);
    }
    out
}

fn line_text(line: &Line) -> String {
    let mut text = String::new();
    for inline in &line.inlines {
        text.push_str(&inline.text);
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn joined(lines: &[Line]) -> String {
    let mut out = String::new();
    for line in lines {
        append(&mut out, &line_text(line));
    }
    out
}

/// Goes on with the next line of a paragraph: after a space, or right away where a word was hyphenated.
fn append(out: &mut String, line: &str) {
    if line.is_empty() {
        return;
    }
    let goes_on = line.starts_with(char::is_lowercase);
    let hyphenated = out.ends_with('-') && goes_on && out[..out.len() - 1].ends_with(char::is_lowercase);
    if hyphenated || out.ends_with('\u{ad}') {
        out.pop();
    } else if !out.is_empty() {
        out.push(' ');
    }
    out.push_str(line);
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn wrapped_lines_become_one() {
        let mut out = String::new();
        for line in ["The instru-", "ments are", "", "calibrated in EU-", "Norm and re\u{ad}", "turned."] {
            append(&mut out, line);
        }
        assert_eq!(out, "The instruments are calibrated in EU- Norm and returned.");
    }
}
