//! What ends a process that calls llama.cpp carelessly, tried through this crate, each in a process of its own: an `Err`
//! or an answer, and the process lives on.
//!
//! | llama.cpp, called carelessly | tried by |
//! |---|---|
//! | a file that is no model, is cut off or has wrong bytes | `files_that_are_broken` |
//! | the context is full | `a_full_context`, `a_full_cache_under_load` |
//! | token or sequence out of range, a gap of positions | `tokens_and_sequences_out_of_range` |
//! | an empty batch | `an_empty_batch` |
//! | a batch longer than `n_batch` (abort) | `a_batch_that_is_too_long` |
//! | a token with several sequences in a batch for one (heap corruption) | `one_sequence_a_token` |
//! | sampling where there are no logits (abort, panic) | `logits_where_there_are_none` |
//! | a sampler chain without a choice at its end (abort) | `samplers_without_a_choice` |
//! | `encode` on a decoder (segmentation fault) | `encoding_what_only_decodes` |
//! | a context of 2·10⁹ tokens (memory) | `contexts_without_end` |
//! | 100,000 sequences | `sequences_without_end` |
//! | copies of sequences out of range (abort) | `copies_out_of_range` |
//! | bad grammars, schemas, expressions | `forms_that_are_none` |
//! | a token that breaks the grammar, sampling after its end | `tokens_against_the_form` |
//! | NUL and worse in messages | `hostile_messages` |
//! | contexts made, used and freed at the same time | `load_use_and_drop_at_once` |

use std::path::Path;
use std::process::{Command, Output};

use katena_core::{ChatModel, ChatRequest, Message, Result};
use katena_testkit::tiny::tiny_llama;

use crate::{LlamaChat, LlamaOptions};

/// Says to this test program that it is the process of a row.
const ROW: &str = "KATENA_TEST_ROW";

/// True in the process of that test.
fn is_row(test: &str) -> bool {
    std::env::var(ROW).is_ok_and(|row| row == test)
}

/// Runs one test in a process of its own, by its path with the crate's name.
fn process(test: &str) -> Output {
    let (_, path) = test.split_once("::").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args([path, "--exact", "--nocapture"])
        .env(ROW, test)
        .env("GGML_NO_BACKTRACE", "1")
        .env("OMP_WAIT_POLICY", "PASSIVE")
        .output()
        .unwrap()
}

fn apart(test: &str, row: impl FnOnce()) {
    if is_row(test) {
        return row();
    }
    let output = process(test);
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} ended its process: {}\n{complained}\n{said}",
        output.status
    );
}

macro_rules! rows {
    ($($name:ident $row:block)*) => {$(
        #[test]
        fn $name() {
            super::apart(concat!(module_path!(), "::", stringify!($name)), || $row);
        }
    )*};
}

mod engine;
mod loading;
mod requests;

#[test]
fn an_abort_is_seen() {
    let test = concat!(module_path!(), "::an_abort_is_seen");
    if is_row(test) {
        std::process::abort();
    }
    assert!(!process(test).status.success());
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn one_thread() -> LlamaOptions {
    LlamaOptions::new().with_threads(1)
}

fn chat(folder: &Path) -> LlamaChat {
    LlamaChat::load(tiny_llama(folder), one_thread()).unwrap()
}

fn ask(text: &str) -> ChatRequest {
    ChatRequest::new([Message::user(text)]).with_max_tokens(6)
}

/// Asks; whatever comes, the model answers the next one.
fn survives(model: &LlamaChat, request: &ChatRequest) -> Result<String> {
    block_on(async {
        let result = model.generate(request).await;
        model.generate(&ask("still there?")).await.expect("the model goes on");
        result.map(|r| r.text())
    })
}
