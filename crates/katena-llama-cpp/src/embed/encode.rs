//! Texts to the tokens that an embedder reads, within its limit.

use std::sync::Arc;

use katena_core::{EmbedRole, Error, Result, Tokenizer};
use katena_gguf::{EmbedText, Header};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::options::EmbedderOptions;
use crate::tokens::{PieceTokenizer, WordPiece};

/// A model's vocabulary: our own `WordPiece` for BERT's, else llama.cpp's.
pub(crate) enum Words {
    Pieces(Arc<WordPiece>),
    Model(Arc<LlamaModel>, Arc<PieceTokenizer>),
}

impl Words {
    pub(crate) fn new(header: &Header, model: &Arc<LlamaModel>, name: &str) -> Result<Self> {
        if header.text("tokenizer.ggml.model") == Some("bert") {
            return Ok(Self::Pieces(Arc::new(WordPiece::new(header, name.to_owned())?)));
        }
        let pieces = Arc::new(PieceTokenizer::new(model.clone(), name.to_owned()));
        Ok(Self::Model(model.clone(), pieces))
    }

    pub(crate) fn tokenizer(&self) -> Arc<dyn Tokenizer> {
        match self {
            Self::Pieces(words) => words.clone(),
            Self::Model(_, pieces) => pieces.clone(),
        }
    }

    /// The ids of a text's tokens, without marks; marks written in it are text.
    pub(crate) fn ids(&self, text: &str) -> Result<Vec<i32>> {
        match self {
            Self::Pieces(words) => Ok(words.ids(text)),
            Self::Model(model, _) => {
                if i32::try_from(text.len()).is_err() {
                    return Err(Error::invalid_input("a text is longer than 2 GiB"));
                }
                Ok(model.vocab().tokenize(text.as_bytes(), false, false).into_iter().map(|t| t.0).collect())
            }
        }
    }
}

/// A vocabulary with the marks, the prefixes and the limit.
pub(super) struct Encoder {
    words: Words,
    text: EmbedText,
}

impl Encoder {
    pub(super) fn new(
        header: &Header,
        model: &Arc<LlamaModel>,
        name: &str,
        window: u32,
        options: &EmbedderOptions,
    ) -> Result<Self> {
        let words = Words::new(header, model, name)?;
        let marks = if let Words::Pieces(words) = &words {
            let (begin, end) = words.marks();
            (Some(begin), Some(end))
        } else {
            let vocab = model.vocab();
            let mark = |add: bool, token: LlamaToken| (add && token.0 >= 0).then_some(token.0);
            (mark(vocab.should_add_bos(), vocab.bos()), mark(vocab.should_add_eos(), vocab.eos()))
        };
        let (query, document) = (&options.query_prefix, &options.document_prefix);
        let text =
            EmbedText::new(query, document, marks, window as usize, options.overlong, |t| words.ids(t))?;
        Ok(Self { words, text })
    }

    /// Prefixes, marks and limit.
    pub(super) fn text(&self) -> &EmbedText {
        &self.text
    }

    pub(super) fn tokenizer(&self) -> Arc<dyn Tokenizer> {
        self.words.tokenizer()
    }

    /// The tokens of text number `index`, marks included, at least one.
    pub(super) fn encode(&self, index: usize, text: &str, role: EmbedRole) -> Result<Vec<LlamaToken>> {
        let ids = self.text.encode(index, text, role, |t| self.words.ids(t))?;
        Ok(ids.into_iter().map(LlamaToken::new).collect())
    }
}
