//! Models that answer badly to a question for a type.
#![allow(dead_code, reason = "not every test file needs all of it")]

use std::fmt;

use katena_core::fake::ScriptedChat;
use katena_core::{Chain, ChainExt as _, Chunk, Error, ErrorKind, Result, TextSplitter};

use crate::common::{cut_off, refusal};

/// Each bad model is a clear error, after at most two repair turns.
pub(crate) async fn bad_models_are_errors<C: Chain>(make: impl Fn(ScriptedChat) -> C, input: &str)
where
    C::Input: for<'a> From<&'a str>,
    C::Output: fmt::Debug,
{
    let replies = [
        String::new(),
        "broken {".to_owned(),
        "[".repeat(200_000),
        "{\"a\":".repeat(100_000),
        "null".to_owned(),
        "I can't say. ".repeat(80_000),
        format!("{{\"value\": \"{}\"}}", "x".repeat(1 << 20)),
    ];
    for reply in replies {
        let model = ScriptedChat::texts(vec![reply.clone(); 9]);
        let error = make(model.clone()).run(input).await.unwrap_err();
        let named = reply.get(..20).unwrap_or(&reply);
        assert_eq!(error.kind(), ErrorKind::InvalidOutput, "{named}: {error}");
        assert_eq!(model.requests().len(), 3, "{named}: two repair turns");
        let asked = &model.requests()[1].messages;
        assert!(asked[asked.len() - 1].text().contains("does not fit"), "{named}");
        assert!(error.to_string().len() < 4096, "no error is as long as a reply");
    }
    let model = ScriptedChat::new([refusal()]);
    assert_eq!(make(model.clone()).run(input).await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(model.requests().len(), 1);
    let model = ScriptedChat::new([cut_off("{\"va")]);
    let error = make(model.clone()).run(input).await.unwrap_err();
    assert_eq!((error.kind(), error.context("finish")), (ErrorKind::InvalidOutput, Some("Length")));
    let model = ScriptedChat::new([Err(Error::new(ErrorKind::Unavailable, "down"))]);
    assert_eq!(make(model).run(input).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(
        make(ScriptedChat::texts(["x"])).run(" \n").await.unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

/// Cuts at blank lines; each piece may begin with the last bytes of the one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paragraphs {
    pub(crate) overlap: usize,
}

impl TextSplitter for Paragraphs {
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
        let mut at = 0;
        let mut chunks = Vec::new();
        for paragraph in text.split("\n\n") {
            let end = at + paragraph.len();
            chunks.push(Chunk::of(text, at.saturating_sub(self.overlap)..end));
            at = end + 2;
        }
        Ok(chunks)
    }
    fn fingerprint(&self) -> String {
        "paragraphs".into()
    }
}

/// Cuts after so many bytes, in the middle of anything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes(pub(crate) usize);

impl TextSplitter for Bytes {
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
        let mut chunks = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let mut end = (start + self.0).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            chunks.push(Chunk::of(text, start..end));
            start = end;
        }
        Ok(chunks)
    }
    fn fingerprint(&self) -> String {
        "bytes".into()
    }
}
