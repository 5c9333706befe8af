//! Delimited tables: one document per row.

use csv::{ReaderBuilder, StringRecord};
use katena_core::{Document, Error, Result, Source};

use crate::limits::Limits;
use crate::parse::check_text;

/// The first record is the header. A row's text has a line `header: value` for each value that is not empty; a value
/// without a header is named `column N`; a missing one is left out; a row without any value is skipped.
pub(crate) fn parse(
    text: String,
    delimiter: Option<u8>,
    source: &Source,
    limits: &Limits,
) -> Result<Vec<Document>> {
    let delimiter = delimiter.unwrap_or_else(|| find_delimiter(&text));
    if !delimiter.is_ascii() || matches!(delimiter, b'"' | b'\n' | b'\r') {
        return Err(Error::config(format!("a table can't be delimited by {:?}", char::from(delimiter))));
    }
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut record = StringRecord::new();
    let mut header: Option<StringRecord> = None;
    let mut documents = Vec::new();
    let mut lines = LineCounter { text: text.as_bytes(), at: 0, line: 1 };
    let (mut row, mut bytes) = (0_usize, 0_usize);
    loop {
        let more = reader.read_record(&mut record).map_err(|e| Error::invalid_input(e.to_string()))?;
        if !more {
            return Ok(documents);
        }
        let start = record.position().map_or(0, |p| p.byte() as usize);
        let end = (reader.position().byte() as usize).min(text.len());
        let (first, last) = lines.of_record(start, end);
        let Some(header) = &header else {
            header = Some(record.clone());
            continue;
        };
        row += 1;
        if row > limits.max_rows {
            return Err(Error::invalid_input(format!("the table has more than {} rows", limits.max_rows)));
        }
        let text = row_text(header, &record);
        if text.is_empty() {
            continue;
        }
        bytes += text.len();
        check_text(bytes, limits)?;
        documents.push(Document::new(text, source.clone().with_lines(first, last)).with_metadata("row", row));
    }
}

fn row_text(header: &StringRecord, record: &StringRecord) -> String {
    let mut text = String::with_capacity(record.as_slice().len() + header.as_slice().len());
    for (n, value) in record.iter().enumerate() {
        if value.trim().is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        match header.get(n).map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => text.push_str(name),
            None => {
                text.push_str("column ");
                text.push_str(&(n + 1).to_string());
            }
        }
        text.push_str(": ");
        text.push_str(value);
    }
    text
}

/// Counts the lines of records, which come in order.
struct LineCounter<'t> {
    text: &'t [u8],
    at: usize,
    line: u32,
}

impl LineCounter<'_> {
    fn of_record(&mut self, start: usize, end: usize) -> (u32, u32) {
        // The record's position is before blank lines that are skipped.
        let record = &self.text[start..end];
        let blank = record.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        let first = self.to(start + blank);
        let body = record.trim_ascii_end();
        let last = self.to(start + body.len().max(blank));
        (first, last)
    }

    fn to(&mut self, offset: usize) -> u32 {
        self.line += memchr::memchr_iter(b'\n', &self.text[self.at..offset.max(self.at)]).count() as u32;
        self.at = offset.max(self.at);
        self.line
    }
}

/// The candidate that the first line holds most of, outside quotes; a comma if none.
fn find_delimiter(text: &str) -> u8 {
    let mut counts = [(b',', 0_usize), (b';', 0), (b'\t', 0), (b'|', 0)];
    let mut quoted = false;
    for byte in text.bytes().skip_while(|b| matches!(b, b'\r' | b'\n')).take(1 << 20) {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            _ if !quoted => {
                if let Some(count) = counts.iter_mut().find(|c| c.0 == byte) {
                    count.1 += 1;
                }
            }
            _ => {}
        }
    }
    // `max_by_key` takes the last of equals, the comma is to win.
    counts.iter().rev().max_by_key(|c| c.1).map_or(b',', |c| c.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<(String, u32, u32)> {
        let documents = parse(text.to_owned(), None, &Source::new("t.csv"), &Limits::default()).unwrap();
        documents
            .into_iter()
            .map(|d| {
                let lines = d.source.lines.unwrap();
                (d.text, lines.first, lines.last)
            })
            .collect()
    }

    #[test]
    fn rows_know_their_lines() {
        let got = rows("id,name\r\n1,\"a\r\nb\"\r\n\r\n2,\"say \"\"hi\"\"\"\r\n");
        assert_eq!(got[0], ("id: 1\nname: a\r\nb".to_owned(), 2, 3));
        assert_eq!(got[1], ("id: 2\nname: say \"hi\"".to_owned(), 5, 5));
        assert_eq!(rows("\n\nn\n\nx\ny"), [("n: x".to_owned(), 5, 5), ("n: y".to_owned(), 6, 6)]);
    }

    #[test]
    fn ragged_rows_lose_nothing() {
        let got = rows("a,b,c\n1,2\n1,2,3,4\n\n,,\n");
        assert_eq!(got[0].0, "a: 1\nb: 2");
        assert_eq!(got[1].0, "a: 1\nb: 2\nc: 3\ncolumn 4: 4");
        assert_eq!(got.len(), 2);
        assert_eq!(rows("a,a,a\n1,2,3\n")[0].0, "a: 1\na: 2\na: 3");
    }

    #[test]
    fn the_delimiter_is_found() {
        assert_eq!(rows("a;b\n1,5;2\n")[0].0, "a: 1,5\nb: 2");
        assert_eq!(rows("a\tb\n1\t2\n")[0].0, "a: 1\nb: 2");
        assert_eq!(rows("\"a;;;\",b\n1,2\n")[0].0, "a;;;: 1\nb: 2");
        assert_eq!(rows("n\nm;x\n")[0].0, "n: m;x");
    }
}
