//! Tool calls in what models write: a table of formats, and one parser that reads them all.

mod forced;
mod formats;
mod held;
mod json;
mod parser;
mod tags;

pub(crate) use forced::ForcedCall;
pub(crate) use formats::{Content, Format, Ids};
pub(crate) use parser::{CallParser, Found};
