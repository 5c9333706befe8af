//! The fakes keep the contracts of their traits.

use katena_core::fake::{EchoChat, HashEmbedder};

katena_testkit::chat_model_contract!(echo_chat, async { EchoChat::new() });
katena_testkit::embedder_contract!(hash_embedder, async { HashEmbedder::new(64) });
