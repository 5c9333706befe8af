//! A page's blocks as running text.

use std::collections::HashMap;

use pdfboss_output::{Block, Line, PageLayout};

/// The text of each block that has some: a heading as `## Heading`, a paragraph's wrapped lines joined, list items and table
/// rows on lines of their own.
pub(super) fn blocks(page: &PageLayout) -> Vec<String> {
    let text = |block: &Block| match block {
        Block::Heading { level, lines, .. } => match joined(lines) {
            text if text.is_empty() => text,
            text => format!("{} {text}", "#".repeat(usize::from(*level).clamp(1, 6))),
        },
        Block::Paragraph { lines, .. } => joined(lines),
        Block::List { items, .. } => one_a_line(items.iter().map(|item| joined(&item.lines))),
        Block::Table { rows, .. } => one_a_line(rows.iter().map(|cells| {
            let cells = cells.iter().filter_map(|cell| cell.line.as_ref()).map(line_text);
            cells.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" | ")
        })),
    };
    page.blocks.iter().map(text).filter(|text| !text.is_empty()).collect()
}

fn one_a_line(texts: impl Iterator<Item = String>) -> String {
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Takes away the running head and foot of pages: a short first or last block that is the same, but for its numbers, on at
/// least three pages and on most. Alone in a chunk it would answer every question about the document's title.
pub(super) fn drop_running_lines(pages: &mut [Vec<String>]) {
    const LONGEST: usize = 150;
    let shape = |text: &String| -> Option<String> {
        (text.len() <= LONGEST && !text.contains('\n')).then(|| {
            text.chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect::<String>()
                .replace("00", "0")
        })
    };
    let with_text = pages.iter().filter(|blocks| blocks.len() > 1).count();
    for last in [false, true] {
        let end = |blocks: &Vec<String>| {
            if blocks.len() < 2 {
                return None;
            }
            if last { blocks.last().and_then(shape) } else { blocks.first().and_then(shape) }
        };
        let mut counts: HashMap<String, usize> = HashMap::new();
        for found in pages.iter().filter_map(end) {
            *counts.entry(found).or_default() += 1;
        }
        counts.retain(|_, count| *count >= 3 && *count * 2 > with_text);
        for blocks in pages.iter_mut() {
            if end(blocks).is_some_and(|shape| counts.contains_key(&shape)) {
                blocks.remove(if last { blocks.len() - 1 } else { 0 });
            }
        }
    }
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
    use super::{append, drop_running_lines};

    #[test]
    fn wrapped_lines_become_one() {
        let mut out = String::new();
        for line in ["The instru-", "ments are", "", "calibrated in EU-", "Norm and re\u{ad}", "turned."] {
            append(&mut out, line);
        }
        assert_eq!(out, "The instruments are calibrated in EU- Norm and returned.");
    }

    #[test]
    fn running_lines_go_and_text_stays() {
        let page =
            |n: u32| vec!["The manual".to_owned(), format!("Text {n} of its own."), format!("page {n}")];
        let mut pages: Vec<_> = (8..12).map(page).collect();
        pages.push(vec!["page 12".to_owned()]);
        drop_running_lines(&mut pages);
        assert_eq!(pages[0], ["Text 8 of its own."]);
        assert_eq!(pages[3], ["Text 11 of its own."]);
        assert_eq!(pages[4], ["page 12"], "a page's only text stays");
        let mut two = vec![page(1), page(2)];
        drop_running_lines(&mut two);
        assert_eq!(two[0].len(), 3);
    }
}
