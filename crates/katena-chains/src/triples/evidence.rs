//! Finds a quote in a text, white space aside.

use katena_core::Span;

/// Fewest letters and digits of a quote that proves anything.
const LEAST: usize = 3;

/// A text without its white space, and where the character of each byte stands in the text.
pub(super) struct Searched {
    plain: String,
    places: Vec<Span>,
}

/// One form for characters that models write in another.
fn same(c: char) -> char {
    match c {
        '‹' => '<',
        '’' | '‘' | '`' => '\'',
        '“' | '”' | '„' => '"',
        '\u{2010}'..='\u{2014}' => '-',
        c => c,
    }
}

fn plain(text: &str) -> impl Iterator<Item = (usize, char)> {
    text.char_indices().filter(|(_, c)| !c.is_whitespace()).map(|(at, c)| (at, same(c)))
}

impl Searched {
    pub(super) fn new(text: &str) -> Self {
        let mut searched = Self { plain: String::with_capacity(text.len()), places: Vec::new() };
        for (at, c) in plain(text) {
            searched.plain.push(c);
            let length = text[at..].chars().next().map_or(0, char::len_utf8);
            searched.places.resize(searched.plain.len(), Span { start: at, end: at + length });
        }
        searched
    }

    /// Where the quote stands first; `None` for one that is not in the text, or too short to prove anything.
    pub(super) fn find(&self, quote: &str) -> Option<Span> {
        let quote = quote.trim().trim_matches(|c| "\"'“”„‘’…".contains(c)).trim_end_matches("...");
        if quote.chars().filter(|c| c.is_alphanumeric()).take(LEAST).count() < LEAST {
            return None;
        }
        let wanted: String = plain(quote).map(|(_, c)| c).collect();
        let start = self.plain.find(&wanted)?;
        let last = start + wanted.len() - 1;
        Some(Span { start: self.places[start].start, end: self.places[last].end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'t>(text: &'t str, quote: &str) -> Option<&'t str> {
        Searched::new(text).find(quote).map(|span| &text[span.start..span.end])
    }

    #[test]
    fn white_space_and_quotation_marks_do_not_matter() {
        let text = "It’s  the\n“old” bridge – Übersicht </b>  ";
        assert_eq!(found(text, "the \"old\" bridge"), Some("the\n“old” bridge"));
        assert_eq!(found(text, "“It's the…”"), Some("It’s  the"));
        assert_eq!(found(text, "bridge - Übersicht ‹/b>"), Some("bridge – Übersicht </b>"));
        assert_eq!(found(text, "Übersicht"), Some("Übersicht"));
    }

    #[test]
    fn what_is_not_there_or_says_nothing_is_not_found() {
        for quote in ["the new bridge", "", "–", "It", "...", "it’s the"] {
            assert_eq!(found("It’s the old bridge – It", quote), None, "{quote}");
        }
    }
}
