//! What of a conversation a model sees again.

mod background;
mod combined;
mod entity;
mod notes;
mod plain;
mod summary;
mod summary_buffer;
mod tokens;
mod turns;
mod vector;

pub use background::Compaction;
pub use combined::CombinedMemory;
pub use entity::{Entity, EntityMemory};
pub use plain::{BufferMemory, NoMemory, WindowMemory};
pub use summary::SummaryMemory;
pub use summary_buffer::SummaryBufferMemory;
pub use tokens::TokenMemory;
pub use vector::VectorMemory;
