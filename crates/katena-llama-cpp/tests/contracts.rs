//! The contract suites on real models.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests and their helpers")]

mod common;

use katena_core::Embedder;

katena_testkit::chat_model_contract!(llama_chat, async {
    common::chat_with(common::options().with_slots(2))
});

katena_testkit::embedder_contract!(llama_embedder, async { common::embedder() });

katena_testkit::tokenizer_contract!(word_piece, async { common::embedder().and_then(|e| e.tokenizer()) });

katena_testkit::tokenizer_contract!(byte_pairs, async { common::chat().map(|c| c.tokenizer()) });
