//! Tokenizers of loaded models.

mod pieces;
#[cfg(test)]
mod tests;

pub(crate) use katena_gguf::WordPiece;
pub(crate) use pieces::PieceTokenizer;
