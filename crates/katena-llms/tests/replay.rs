//! Recorded traffic of Chat Completions, replayed through the decoders in process.

#![cfg(feature = "openai")]
#![allow(missing_docs, clippy::unwrap_used, reason = "test code")]

mod openai_support;

use katena_llms::openai_chat::{OpenAiStreamDecoder, decode_response};
use openai_support::Protocol;

decoder!(OpenAiStreamDecoder);

#[test]
fn recorded_answers_are_understood() {
    let protocol = Protocol {
        api: "chat.completions",
        whole: decode_response,
        stream: || OpenAiStreamDecoder::new("v"),
    };
    if let Some(total) = protocol.replay() {
        assert!(total >= 570, "only {total} recordings");
    }
}
