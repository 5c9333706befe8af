//! Tokenizers that need no model thread.

mod pieces;
mod table;
mod wordpiece;

pub(crate) use pieces::PieceTokenizer;
pub(crate) use wordpiece::WordPiece;
