//! Images, speech, transcription, moderation and files of OpenAI, and of the servers that follow its routes.

mod files;
mod images;
mod moderation;
mod service;
mod speech;
mod transcription;

pub use files::{OpenAiFiles, UploadedFile};
pub use images::OpenAiImages;
pub use moderation::OpenAiModeration;
pub use speech::OpenAiSpeech;
pub use transcription::OpenAiTranscription;
