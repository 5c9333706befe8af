//! Texts to the tokens that an embedder reads, within its limit.

use std::sync::Arc;

use katena_core::{EmbedRole, Error, ErrorKind, Result, Tokenizer};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use crate::options::{EmbedderOptions, Overlong};
use crate::tokens::{PieceTokenizer, WordPiece};
use katena_gguf::Header;

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

/// Knows the vocabulary, the marks, the prefixes and the limit.
pub(super) struct Encoder {
    words: Words,
    begin: Option<i32>,
    end: Option<i32>,
    query: String,
    document: String,
    /// Most tokens, marks included.
    window: usize,
    prefix_tokens: usize,
    overlong: Overlong,
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
        let (begin, end) = if let Words::Pieces(words) = &words {
            let (begin, end) = words.marks();
            (Some(begin), Some(end))
        } else {
            let vocab = model.vocab();
            let mark = |add: bool, token: LlamaToken| (add && token.0 >= 0).then_some(token.0);
            (mark(vocab.should_add_bos(), vocab.bos()), mark(vocab.should_add_eos(), vocab.eos()))
        };
        let mut encoder = Self {
            words,
            begin,
            end,
            query: options.query_prefix.clone(),
            document: options.document_prefix.clone(),
            window: window as usize,
            prefix_tokens: 0,
            overlong: options.overlong,
        };
        encoder.prefix_tokens = encoder.ids(&encoder.query)?.len().max(encoder.ids(&encoder.document)?.len());
        if encoder.prefix_tokens + encoder.marks() >= encoder.window {
            return Err(Error::config("the embedder's prefix leaves no room for the text"));
        }
        Ok(encoder)
    }

    fn marks(&self) -> usize {
        usize::from(self.begin.is_some()) + usize::from(self.end.is_some())
    }

    /// Most tokens of a text itself.
    pub(super) fn max_tokens(&self) -> usize {
        self.window - self.marks() - self.prefix_tokens
    }

    /// What the prefixes add to the identity.
    pub(super) fn prefix_tag(&self) -> String {
        if self.query.is_empty() && self.document.is_empty() {
            return String::new();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.query.len() as u64).to_le_bytes());
        hasher.update(self.query.as_bytes());
        hasher.update(self.document.as_bytes());
        format!("/{}", &hasher.finalize().to_hex()[..16])
    }

    pub(super) fn tokenizer(&self) -> Arc<dyn Tokenizer> {
        self.words.tokenizer()
    }

    fn ids(&self, text: &str) -> Result<Vec<i32>> {
        self.words.ids(text)
    }

    /// The tokens of text number `index`, marks included, at least one.
    pub(super) fn encode(&self, index: usize, text: &str, role: EmbedRole) -> Result<Vec<LlamaToken>> {
        let prefix = if role == EmbedRole::Query { &self.query } else { &self.document };
        let mut body =
            if prefix.is_empty() { self.ids(text)? } else { self.ids(&format!("{prefix}{text}"))? };
        let most = self.window - self.marks();
        if body.len() > most {
            if self.overlong == Overlong::Refuse {
                return Err(Error::new(
                    ErrorKind::ContextTooLong,
                    "a text is longer than the embedder reads; split it, or choose truncation",
                )
                .with_context("text", index.to_string())
                .with_context("tokens", body.len().to_string())
                .with_context("max_tokens", most.to_string()));
            }
            body.truncate(most);
        }
        let ids = self.begin.into_iter().chain(body).chain(self.end);
        let tokens: Vec<LlamaToken> = ids.map(LlamaToken::new).collect();
        if tokens.is_empty() {
            return Err(Error::invalid_input("an empty text has no vector in this model")
                .with_context("text", index.to_string()));
        }
        Ok(tokens)
    }
}
