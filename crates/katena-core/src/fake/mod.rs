//! Components without a model, for tests, examples and documentation. Each is a full citizen of its trait's contract.

mod chat;
mod embed;
mod media;
mod stores;

pub use chat::{EchoChat, FlakyChat, ScriptedChat};
pub use embed::HashEmbedder;
pub use media::{FakeImages, FakeModeration, FakeSpeech, FakeTranscription};
pub use stores::{InMemoryHistory, InMemoryRecords};
