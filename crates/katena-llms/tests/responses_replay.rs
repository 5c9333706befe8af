//! Recorded traffic of OpenAI Responses, replayed through the decoders in process.

#![cfg(feature = "responses")]
#![allow(missing_docs, clippy::unwrap_used, reason = "test code")]

mod openai_support;

use katena_llms::openai_responses::{ResponsesStreamDecoder, decode_response};
use openai_support::Protocol;

decoder!(ResponsesStreamDecoder);

#[test]
fn recorded_answers_are_understood() {
    let protocol =
        Protocol { api: "responses", whole: decode_response, stream: || ResponsesStreamDecoder::new("v") };
    if let Some(total) = protocol.replay() {
        assert!(total >= 190, "only {total} recordings");
    }
}
