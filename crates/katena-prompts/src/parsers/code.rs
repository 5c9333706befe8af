//! Code blocks.

use katena_core::{Error, Result};

use super::OutputParser;

/// Parses the first fenced Markdown code block, of any language or one of yours. A block that is not closed goes to the end.
///
/// ```
/// use katena_prompts::{CodeParser, OutputParser};
/// let text = "Run this:\n```sh\nls\n```\nor\n```sql\nSELECT '```';\n```";
/// assert_eq!(CodeParser::new().parse(text)?, "ls");
/// assert_eq!(CodeParser::language("sql").parse(text)?, "SELECT '```';");
/// assert!(CodeParser::language("rust").parse(text).is_err());
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodeParser {
    language: Option<String>,
}

impl CodeParser {
    /// Any language.
    pub fn new() -> Self {
        Self::default()
    }

    /// A block that is marked with this language; letter case does not matter.
    pub fn language(name: impl Into<String>) -> Self {
        Self { language: Some(name.into()) }
    }
}

/// The fence of a line and what follows it, by CommonMark's rules: three or more backticks or tildes.
fn fence(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let rest = line.trim_start_matches(mark);
    let (fence, rest) = line.split_at(line.len() - rest.len());
    (fence.len() >= 3 && !(mark == '`' && rest.contains('`'))).then_some((fence, rest.trim()))
}

impl OutputParser for CodeParser {
    type Output = String;

    fn parse(&self, text: &str) -> Result<String> {
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some((open, info)) = fence(line) else { continue };
            let language = info.split_whitespace().next().unwrap_or_default();
            let wanted = self.language.as_ref().is_none_or(|l| l.eq_ignore_ascii_case(language));
            let closes =
                |line: &&str| fence(line).is_some_and(|(f, rest)| f.starts_with(open) && rest.is_empty());
            let body: Vec<&str> = lines.by_ref().take_while(|line| !closes(line)).collect();
            if wanted {
                return Ok(body.join("\n"));
            }
        }
        let error = Error::invalid_output("the reply holds no code block of the kind that was asked for");
        Err(match &self.language {
            Some(language) => error.with_context("language", language.clone()),
            None => error,
        })
    }

    fn format_instructions(&self) -> String {
        let language = self.language.as_deref().unwrap_or_default();
        format!("Answer with one Markdown code block:\n```{language}\n…\n```")
    }
}
