//! The fakes keep the contracts of their traits.

use katena_core::fake::{EchoChat, FlakyChat, HashEmbedder, InMemoryHistory, InMemoryRecords, ScriptedChat};
use katena_core::{FnTool, Run};

katena_testkit::chat_model_contract!(echo_chat, async { EchoChat::new() });
katena_testkit::chat_model_contract!(flaky_chat, async { FlakyChat::new(EchoChat::new(), 0) });
katena_testkit::embedder_contract!(hash_embedder, async { HashEmbedder::new(64) });
katena_testkit::embedder_contract!(hash_embedder_of_one_dimension, async { HashEmbedder::new(1) });
katena_testkit::chat_history_contract!(in_memory_history, async { InMemoryHistory::new() });
katena_testkit::record_store_contract!(in_memory_records, async { InMemoryRecords::new() });
katena_testkit::checkpoint_store_contract!(memory_checkpoints, async {
    katena_core::MemoryCheckpoints::new()
});

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Add {
    a: i64,
    b: i64,
}

katena_testkit::tool_contract!(fn_tool, async {
    FnTool::new("add", "Adds two numbers.", async |add: Add, _run: Run| Ok((add.a + add.b).to_string()))
});

/// A script answers whatever is asked, so of the contract only what does not look at the answer holds.
#[tokio::test(flavor = "multi_thread")]
async fn scripted_chat_keeps_the_laws_of_every_call() {
    use katena_testkit::chat_model as suite;
    let model = || ScriptedChat::texts(["A short answer."; 40]);
    suite::stream_folds_to_finished(&model()).await;
    suite::stream_ends_once(&model()).await;
    suite::parts_start_before_they_grow(&model()).await;
    suite::generate_answers(&model()).await;
    suite::no_messages_is_invalid(&model()).await;
    suite::unsupported_is_said(&model()).await;
    suite::cancelled_before_the_call(&model()).await;
    suite::deadline_before_the_call(&model()).await;
    suite::dropped_stream_stops(&model()).await;
    suite::concurrent_calls_do_not_mix(&model()).await;
    suite::debug_hides_content(&model()).await;
}
