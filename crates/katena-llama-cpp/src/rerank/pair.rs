//! A query and a document as the tokens of one sequence.
//!
//! As llama.cpp's server builds them (`format_prompt_rerank` in `tools/server/server-common.cpp`): the file's `rerank`
//! template if it has one, else `[BOS] query [EOS] [SEP] document [EOS]`, each mark where the vocabulary says so, and the
//! separator for an end token that is missing. Unlike there, the marks of a template are only what the template itself
//! writes: one that stands in a query or a document is text.

use std::sync::Arc;

use katena_core::{Error, ErrorKind, Result};
use katena_gguf::Header;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;

use crate::embed::encode::Words;
use katena_gguf::Overlong;

/// Where the file keeps the template.
const TEMPLATE_KEY: &str = "tokenizer.chat_template.rerank";
const QUERY: &str = "{query}";
const DOCUMENT: &str = "{document}";

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A mark of the vocabulary.
    Mark(i32),
    /// Text with places for the query and the document.
    Text(String),
}

enum Format {
    Template(Vec<Part>),
    Marks { begin: Option<i32>, middle: Vec<i32>, end: Option<i32> },
}

/// Knows the vocabulary, the format and the limit.
pub(super) struct PairEncoder {
    words: Words,
    format: Format,
    /// Most tokens, marks included.
    window: usize,
    overlong: Overlong,
}

/// A query, made into tokens once for all documents.
pub(super) struct QueryTokens {
    text: String,
    /// Unused with a template.
    ids: Vec<i32>,
}

impl PairEncoder {
    /// # Errors
    /// `Unsupported` if neither a template nor the vocabulary's marks part query and document.
    pub(super) fn new(
        header: &Header,
        model: &Arc<LlamaModel>,
        name: &str,
        window: u32,
        overlong: Overlong,
    ) -> Result<Self> {
        let words = Words::new(header, model, name)?;
        let format = match header.text(TEMPLATE_KEY) {
            Some(template) => Format::Template(template_parts(template, model)?),
            None => marks(model)?,
        };
        Ok(Self { words, format, window: window as usize, overlong })
    }

    /// The query's tokens.
    ///
    /// # Errors
    /// `InvalidInput` for a query without anything to rank by, `ContextTooLong` if it leaves no room for a document.
    pub(super) fn query(&self, text: &str) -> Result<QueryTokens> {
        if text.trim().is_empty() {
            return Err(Error::invalid_input("an empty query ranks nothing"));
        }
        let query = QueryTokens { text: text.to_owned(), ids: self.words.ids(text)? };
        let alone = self.join(&query, "", usize::MAX)?.len();
        if alone >= self.window {
            return Err(Error::new(ErrorKind::ContextTooLong, "the query leaves no room for a document")
                .with_context("tokens", alone.to_string())
                .with_context("max_tokens", self.window.to_string()));
        }
        Ok(query)
    }

    /// The tokens of the pair with document number `index`.
    pub(super) fn encode(
        &self,
        query: &QueryTokens,
        index: usize,
        document: &str,
    ) -> Result<Vec<LlamaToken>> {
        let mut ids = self.join(query, document, usize::MAX)?;
        if ids.len() > self.window {
            if self.overlong == Overlong::Refuse {
                return Err(Error::new(
                    ErrorKind::ContextTooLong,
                    "a query and a document are longer than the reranker reads; split it, or choose truncation",
                )
                .with_context("document", index.to_string())
                .with_context("tokens", ids.len().to_string())
                .with_context("max_tokens", self.window.to_string()));
            }
            ids = self.cut(query, document, ids.len())?;
        }
        Ok(ids.into_iter().map(LlamaToken::new).collect())
    }

    /// The pair with as much of the document as fits; `all` tokens are too many.
    fn cut(&self, query: &QueryTokens, document: &str, all: usize) -> Result<Vec<i32>> {
        let mut over = all - self.window;
        let spans = self.words.tokenizer().encode(document);
        loop {
            // Pieces at the cut may join or part, so this may take a few turns; each keeps fewer.
            let keep = spans.len().saturating_sub(over);
            let ids = self.join(query, document, keep.checked_sub(1).map_or(0, |n| spans[n].end))?;
            if ids.len() <= self.window || keep == 0 {
                return Ok(ids);
            }
            over += (ids.len() - self.window).max(1);
        }
    }

    /// The pair with the first `bytes` bytes of the document.
    fn join(&self, query: &QueryTokens, document: &str, bytes: usize) -> Result<Vec<i32>> {
        let mut end = bytes.min(document.len());
        while !document.is_char_boundary(end) {
            end -= 1;
        }
        let document = &document[..end];
        match &self.format {
            Format::Marks { begin, middle, end } => {
                let mut ids: Vec<i32> = begin.iter().chain(&query.ids).chain(middle).copied().collect();
                ids.extend(self.words.ids(document)?);
                ids.extend(end);
                Ok(ids)
            }
            Format::Template(parts) => {
                let mut ids = Vec::new();
                for part in parts {
                    match part {
                        Part::Mark(id) => ids.push(*id),
                        Part::Text(text) => ids.extend(self.words.ids(&fill(text, &query.text, document))?),
                    }
                }
                Ok(ids)
            }
        }
    }
}

/// Puts query and document into their places; what they contain is never a place.
fn fill(text: &str, query: &str, document: &str) -> String {
    let mut out = String::with_capacity(text.len() + query.len() + document.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix(QUERY) {
            out.push_str(query);
            rest = after;
        } else if let Some(after) = rest.strip_prefix(DOCUMENT) {
            out.push_str(document);
            rest = after;
        } else {
            out.push('{');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// Splits a template at the vocabulary's marks, the longest first, as llama.cpp does.
fn template_parts(template: &str, model: &LlamaModel) -> Result<Vec<Part>> {
    if !template.contains(QUERY) || !template.contains(DOCUMENT) {
        return Err(Error::unsupported(
            "the file's rerank template has no place for the query or the document",
        ));
    }
    let vocab = model.vocab();
    let mut marks: Vec<(String, i32)> = Vec::new();
    for token in vocab.tokens() {
        let attributes = vocab.attr(token);
        if !attributes.contains(LlamaTokenAttr::Control) && !attributes.contains(LlamaTokenAttr::UserDefined)
        {
            continue;
        }
        let text = vocab.text(token).and_then(|t| t.to_str().ok()).unwrap_or_default();
        if !text.is_empty() && template.contains(text) {
            marks.push((text.to_owned(), token.0));
        }
    }
    Ok(split(template, marks))
}

fn split(template: &str, mut marks: Vec<(String, i32)>) -> Vec<Part> {
    marks.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    let mut parts = vec![Part::Text(template.to_owned())];
    for (mark, id) in &marks {
        let mut next = Vec::new();
        for part in parts {
            let Part::Text(text) = part else {
                next.push(part);
                continue;
            };
            for (n, piece) in text.split(mark.as_str()).enumerate() {
                if n > 0 {
                    next.push(Part::Mark(*id));
                }
                if !piece.is_empty() {
                    next.push(Part::Text(piece.to_owned()));
                }
            }
        }
        parts = next;
    }
    parts
}

fn marks(model: &LlamaModel) -> Result<Format> {
    let vocab = model.vocab();
    let there = |token: LlamaToken| (token.0 >= 0).then_some(token.0);
    let missing = || Error::unsupported("the vocabulary lacks a mark that it asks for");
    let separator = there(vocab.sep());
    let begin = if vocab.should_add_bos() { Some(there(vocab.bos()).ok_or_else(missing)?) } else { None };
    let end = if vocab.should_add_eos() {
        Some(there(vocab.eos()).or(separator).ok_or_else(missing)?)
    } else {
        None
    };
    let mut middle: Vec<i32> = end.into_iter().collect();
    if vocab.should_add_sep() {
        middle.push(separator.ok_or_else(missing)?);
    }
    if middle.is_empty() {
        return Err(Error::unsupported(
            "the file has no rerank template, and no mark that parts a query from a document",
        ));
    }
    Ok(Format::Marks { begin, middle, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_never_a_place() {
        let template = "Q: {query}\n{x} D: {document}{query}";
        assert_eq!(fill(template, "{document}", "{query}"), "Q: {document}\n{x} D: {query}{document}");
        assert_eq!(fill("{query", "q", "d"), "{query");
    }

    #[test]
    fn templates_are_split_at_marks_the_longest_first() {
        let marks = vec![("<|a".to_owned(), 1), ("<|a|>".to_owned(), 2)];
        let text = |t: &str| Part::Text(t.to_owned());
        assert_eq!(
            split("<|a|>x {query}<|a y", marks),
            [Part::Mark(2), text("x {query}"), Part::Mark(1), text(" y")]
        );
    }
}
