//! Dates and times.

use jiff::civil::{Date, DateTime, Time};
use katena_core::{Error, Result};

use super::OutputParser;

/// Longer replies are no date.
const MAX_BYTES: usize = 4096;

/// Parses a date and time, of this form or of RFC 3339's; a date alone is its midnight. The first line that is one counts.
///
/// ```
/// use katena_prompts::{DateTimeParser, OutputParser};
/// let parser = DateTimeParser::new();
/// assert_eq!(parser.parse("2024-02-29 13:05:00")?.to_string(), "2024-02-29T13:05:00");
/// assert_eq!(parser.parse("It was on:\n1969-07-20.")?.to_string(), "1969-07-20T00:00:00");
/// assert!(parser.parse("2023-02-29").is_err());
/// assert_eq!(DateTimeParser::new().with_format("%d.%m.%Y").parse("24.12.2025")?.to_string(), "2025-12-24T00:00:00");
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateTimeParser {
    format: String,
}

impl Default for DateTimeParser {
    fn default() -> Self {
        Self::new()
    }
}

impl DateTimeParser {
    /// The form `2025-12-31 23:59:59`.
    pub fn new() -> Self {
        Self { format: "%Y-%m-%d %H:%M:%S".to_owned() }
    }

    /// Sets the form, as `strftime` writes it.
    pub fn with_format(mut self, format: impl Into<String>) -> Self {
        self.format = format.into();
        self
    }

    fn read(&self, text: &str) -> Option<DateTime> {
        DateTime::strptime(&self.format, text)
            .ok()
            .or_else(|| Some(Date::strptime(&self.format, text).ok()?.to_datetime(Time::midnight())))
            .or_else(|| text.parse::<DateTime>().ok())
            .or_else(|| Some(text.parse::<Date>().ok()?.to_datetime(Time::midnight())))
    }
}

impl OutputParser for DateTimeParser {
    type Output = DateTime;

    fn parse(&self, text: &str) -> Result<DateTime> {
        let found = text.get(..MAX_BYTES).unwrap_or(text).lines().find_map(|line| {
            self.read(
                line.trim_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '"' | '\'' | '`' | '*')),
            )
        });
        found.ok_or_else(|| {
            Error::invalid_output("the reply is no date of the form that was asked for")
                .with_context("format", self.format.clone())
        })
    }

    fn format_instructions(&self) -> String {
        let example = jiff::civil::date(2025, 12, 31).at(23, 59, 58, 0).strftime(&self.format).to_string();
        format!(
            "Answer with a date and time of the form {}, such as {example}, and with nothing else.",
            self.format
        )
    }
}
