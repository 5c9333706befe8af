//! Tokenizers that need no model thread.

mod pieces;
mod table;
#[cfg(test)]
mod tests;
mod wordpiece;

pub(crate) use pieces::PieceTokenizer;
pub(crate) use wordpiece::WordPiece;
