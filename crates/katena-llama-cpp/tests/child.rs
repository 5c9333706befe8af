//! Engines in processes of their own: contracts, and deaths under load. The engine is this test program once more.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests and their helpers")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use katena_core::{
    ChatEvent, ChatModel, ChatRequest, Context, Document, EmbedRequest, Embedder, Error, ErrorKind, Message,
    RerankRequest, Reranker, Source,
};
use katena_llama_cpp::child::{
    ChildChat, ChildCommand, ChildEmbedder, ChildOptions, ChildReranker, run_if_child,
};
use katena_llama_cpp::{
    CacheType, EmbedderOptions, FlashAttention, LlamaChat, LlamaOptions, LlamaReranker, RerankerOptions,
};
use katena_testkit::tiny::{TinyBert, TinyLlama, tiny_llama};

/// Not a test of its own: what the engines' processes run.
#[test]
fn engine() {
    run_if_child().unwrap();
}

fn child() -> ChildOptions {
    let command = ChildCommand::this_program().with_arg("engine").with_arg("--exact");
    ChildOptions::new(command.with_env("OMP_WAIT_POLICY", "PASSIVE"))
}

/// A folder that lives as long as the tests.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

fn chat_file() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| tiny_llama(folder())).clone()
}

/// In full precision: an answer is the same whatever is computed beside it, and whether its prompt is computed or restored.
fn options() -> LlamaOptions {
    let exact = LlamaOptions::new().with_flash_attention(FlashAttention::Off);
    exact
        .with_cache_types(CacheType::F32, CacheType::F32)
        .with_threads(1)
        .with_context_tokens(512)
        .with_slots(4)
}

fn chat() -> ChildChat {
    ChildChat::spawn(chat_file(), options(), child()).unwrap()
}

fn embedder() -> ChildEmbedder {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let file = FILE.get_or_init(|| TinyBert::new().write(folder().join("tiny-bert.gguf")));
    ChildEmbedder::spawn(file, EmbedderOptions::new().with_threads(1), child()).unwrap()
}

/// Room for the contract's prompts; no tools, which a model of random weights does not call.
fn plain_chat() -> ChildChat {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}";
    let model = TinyLlama::new().with_context(2048).with_template(template);
    let file = FILE.get_or_init(|| model.write(folder().join("tiny-plain.gguf")));
    ChildChat::spawn(file, options().with_context_tokens(1024), child()).unwrap()
}

katena_testkit::chat_model_contract!(child_chat, async { plain_chat() });

katena_testkit::embedder_contract!(child_embedder, async { embedder() });

fn reranker() -> (PathBuf, ChildReranker) {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let file = FILE.get_or_init(|| TinyBert::reranker().write(folder().join("tiny-rerank.gguf"))).clone();
    let model = ChildReranker::spawn(&file, RerankerOptions::new().with_threads(1), child()).unwrap();
    (file, model)
}

katena_testkit::reranker_contract!(child_reranker, async { reranker().1 });

#[tokio::test]
async fn a_reranker_comes_back_with_the_same_order() {
    let (file, there) = reranker();
    let here = LlamaReranker::load(file, RerankerOptions::new().with_threads(1)).unwrap();
    assert_eq!((here.model(), here.max_tokens()), (there.model(), there.max_tokens()));
    let documents: Vec<_> =
        ["hello", "world", "sing"].map(|t| Document::new(t, Source::new("x")).with_metadata("t", t)).into();
    let request = RerankRequest::new("hello world", documents);
    let ranked = here.rerank(request.clone()).await.unwrap();
    assert_eq!(ranked, there.rerank(request.clone()).await.unwrap());
    kill(there.process_id().unwrap());
    until("its end", || there.process_id().is_none());
    assert_eq!(ranked, bounded(there.rerank(request)).await.unwrap());
}

fn ask(n: usize, tokens: u32) -> ChatRequest {
    ChatRequest::new([Message::user(format!("number {n}"))]).with_temperature(0.0).with_max_tokens(tokens)
}

fn kill(process: u32) {
    assert!(Command::new("kill").arg("-9").arg(process.to_string()).status().unwrap().success());
}

/// True if there is such a process, a zombie included.
fn there(process: u32) -> bool {
    Command::new("kill").arg("-0").arg(process.to_string()).stderr(Stdio::null()).status().unwrap().success()
}

/// Waits for something that must come; a minute is for machines under load.
fn until(what: &str, come: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !come() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails instead of hanging.
async fn bounded<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what).await.expect("something hangs")
}

fn check_death(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.is_temporary() && error.retry_after().is_some(), "{error:?}");
}

#[tokio::test]
async fn a_killed_engine_under_16_streams_is_a_temporary_error_and_the_next_calls_work() {
    let model = chat();
    let first = model.process_id().unwrap();
    let expected = model.generate(&ask(1, 8)).await.unwrap().text();
    let mut streams = Vec::new();
    for n in 0..16 {
        streams.push(model.stream(&ask(n, 400)).await.unwrap());
    }
    // Some answers are under way, others wait for a slot.
    for stream in &mut streams[..4] {
        assert!(matches!(bounded(stream.next()).await, Some(Ok(ChatEvent::Start { .. }))));
    }
    kill(first);
    for mut stream in streams {
        let last = loop {
            match bounded(stream.next()).await.expect("an end without an error") {
                Ok(ChatEvent::Finished(_)) => panic!("400 tokens without a reader"),
                Ok(_) => {}
                Err(e) => break e,
            }
        };
        check_death(&last);
        assert!(last.context("reason").is_some_and(|r| r.contains('9')), "{last}");
        assert!(bounded(stream.next()).await.is_none());
    }
    let answers = bounded(join_all((0..16).map(|_| {
        let model = model.clone();
        async move { model.generate(&ask(1, 8)).await.unwrap().text() }
    })));
    assert!(answers.await.iter().all(|a| *a == expected));
    assert_eq!(model.starts(), 2, "one start for all of them");
    assert_ne!(model.process_id(), Some(first));
    assert!(!there(first), "a zombie");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deaths_again_and_again_lose_no_call_that_is_tried_again() {
    let model = chat();
    let done = Arc::new(AtomicUsize::new(0));
    // Up to the last death there is always a call under way; after it each client has one more.
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..16)
        .map(|n| {
            let (model, done, over) = (model.clone(), done.clone(), over.clone());
            tokio::spawn(async move {
                let mut last = false;
                while !last {
                    last = over.load(Ordering::SeqCst);
                    loop {
                        let mut stream = model.stream(&ask(n, 20)).await.unwrap();
                        let end = loop {
                            match stream.next().await.expect("an end without an error") {
                                Ok(ChatEvent::Finished(response)) => break Ok(response),
                                Ok(_) => {}
                                Err(e) => break Err(e),
                            }
                        };
                        match end {
                            Ok(_) => break,
                            Err(e) => check_death(&e),
                        }
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut killed = Vec::new();
    for part in [20, 60, 100] {
        until("progress", || done.load(Ordering::SeqCst) >= part);
        until("a process", || model.process_id().is_some());
        let process = model.process_id().unwrap();
        kill(process);
        killed.push(process);
        until("its end", || model.process_id() != Some(process));
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        bounded(client).await.unwrap();
    }
    assert!(done.load(Ordering::SeqCst) >= 116, "16 after the last death");
    assert_eq!(model.starts(), 4);
    assert!(killed.into_iter().all(|p| !there(p)), "a zombie");
}

#[tokio::test]
async fn an_embedder_comes_back_with_the_same_vectors() {
    let embedder = embedder();
    let request = EmbedRequest::documents(["hello world", "sing", ""]);
    let before = embedder.embed(&request).await.unwrap();
    kill(embedder.process_id().unwrap());
    let after = loop {
        match bounded(embedder.embed(&request)).await {
            Ok(after) => break after,
            Err(e) => check_death(&e),
        }
    };
    assert_eq!(before, after);
    assert_eq!(embedder.starts(), 2);
}

#[tokio::test]
async fn statistics_come_over_the_socket() {
    let model = chat();
    assert_eq!(bounded(model.stats()).await.unwrap().finished, 0);
    let mut generated = 0;
    for _ in 0..3 {
        generated += model.generate(&ask(1, 8)).await.unwrap().usage.output_tokens.unwrap();
    }
    let stats = bounded(model.stats()).await.unwrap();
    assert_eq!((stats.finished, stats.generated_tokens), (3, generated));
    assert!(stats.reused_tokens > 0 && stats.batch_fill() > 0.0, "{stats:?}");
    kill(model.process_id().unwrap());
    until("its end", || model.process_id().is_none());
    let after = bounded(model.stats()).await.unwrap();
    assert_eq!((after.finished, model.starts()), (0, 2), "a new process counts anew");

    let embedder = embedder();
    embedder.embed(&EmbedRequest::documents(["hello", "world"])).await.unwrap();
    assert_eq!(bounded(embedder.stats()).await.unwrap().texts, 2);
    let (_, reranker) = reranker();
    let documents = vec![Document::new("hello", Source::new("x"))];
    reranker.rerank(RerankRequest::new("world", documents)).await.unwrap();
    assert_eq!(bounded(reranker.stats()).await.unwrap().answered, 1);
}

#[tokio::test]
async fn a_session_outlives_the_process() {
    let model = chat();
    let file = folder().join("talk.session");
    let request = ChatRequest::new([Message::user("number one, number two, number three. ".repeat(4))])
        .with_temperature(0.0)
        .with_max_tokens(8);
    let before = model.generate(&request).await.unwrap();
    let tokens = bounded(model.save_session(&file, &request)).await.unwrap();
    assert_eq!(tokens, model.prompt_tokens(&request).await.unwrap());
    kill(model.process_id().unwrap());
    until("its end", || model.process_id().is_none());
    assert_eq!(bounded(model.load_session(&file)).await.unwrap(), tokens);
    let after = bounded(model.generate(&request)).await.unwrap();
    assert_eq!((after.text(), model.starts()), (before.text(), 2));
    // All but the last token, which is computed for what comes after it.
    assert_eq!(after.usage.cached_tokens, Some(tokens as u64 - 1));

    let error = bounded(model.load_session(folder().join("nothing.session"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let error = bounded(model.load_session(chat_file())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_up() {
    let model = chat();
    let mut slow = model.stream(&ask(1, 300)).await.unwrap();
    assert!(slow.next().await.unwrap().is_ok());
    for n in 0..8 {
        bounded(model.generate(&ask(n, 30))).await.unwrap();
    }
    // It pauses, and goes on.
    let mut events = 0;
    let response = loop {
        match bounded(slow.next()).await.unwrap().unwrap() {
            ChatEvent::Finished(response) => break response,
            _ => events += 1,
        }
    };
    assert_eq!(response.text(), bounded(model.generate(&ask(1, 300))).await.unwrap().text());
    assert!(events > 64, "more than fit on the way: {events}");
}

#[tokio::test]
async fn answers_and_errors_are_those_of_the_engine_in_this_process() {
    let here = LlamaChat::load(chat_file(), options()).unwrap();
    let there = chat();
    assert_eq!(here.info(), there.info());
    let request = ask(7, 24).with_logprobs(2);
    let (a, b) = (here.generate(&request).await.unwrap(), there.generate(&request).await.unwrap());
    assert_eq!((a.text(), a.usage, &a.finish), (b.text(), b.usage, &b.finish));
    assert_eq!(a.logprobs.map(|l| l.len()), b.logprobs.map(|l| l.len()));
    assert_eq!(here.prompt_tokens(&request).unwrap(), there.prompt_tokens(&request).await.unwrap());
    let long = ChatRequest::new([Message::user("x".repeat(5000))]);
    let (a, b) = (here.generate(&long).await.unwrap_err(), there.generate(&long).await.unwrap_err());
    assert_eq!((a.kind(), a.message(), a.is_temporary()), (b.kind(), b.message(), b.is_temporary()));
    assert_eq!(a.contexts().collect::<Vec<_>>(), b.contexts().collect::<Vec<_>>());
    let soon = Context::new().with_deadline(Instant::now() + Duration::from_millis(1));
    let late = there.generate(&ask(1, 400).with_context(soon)).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Timeout);
    let missing = ChildChat::spawn("/nowhere/at/all.gguf", options(), child()).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
}

#[tokio::test]
async fn a_file_that_is_gone_or_another_fails_with_the_reason() {
    let file = folder().join("gone.gguf");
    std::fs::copy(chat_file(), &file).unwrap();
    let model = ChildChat::spawn(&file, options(), child()).unwrap();
    std::fs::remove_file(&file).unwrap();
    kill(model.process_id().unwrap());
    until("its end", || model.process_id().is_none());
    // Each start counts once: after the death, three of the five that it tries in a row.
    for _ in 0..3 {
        let error = bounded(model.generate(&ask(1, 4))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
    // Once it is back, so is the model.
    std::fs::copy(chat_file(), &file).unwrap();
    bounded(model.generate(&ask(1, 4))).await.unwrap();
}

#[test]
fn the_progress_of_loading_is_told() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let options = options().with_progress(move |part| {
        assert!((0.0..=1.0).contains(&part));
        count.fetch_add(1, Ordering::SeqCst);
    });
    drop(ChildChat::spawn(chat_file(), options, child()).unwrap());
    assert!(told.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn the_process_ends_with_the_model() {
    let model = chat();
    let process = model.process_id().unwrap();
    let stream = model.stream(&ask(1, 400)).await.unwrap();
    drop(model);
    assert!(there(process), "an answer is still being read");
    drop(stream);
    until("its end", || !there(process));
}

/// Not a test of its own: a program that has an engine and waits for its own death.
#[test]
fn doomed() {
    if std::env::var_os("KATENA_TEST_DOOMED").is_none() {
        return;
    }
    let model = chat();
    println!("\nengine {}", model.process_id().unwrap());
    std::thread::sleep(Duration::from_secs(600));
}

/// Not a test of its own: a program that goes to another folder.
#[tokio::test]
async fn wanderer() {
    let Some(start) = std::env::var_os("KATENA_TEST_WANDERER") else { return };
    std::env::set_current_dir(start).unwrap();
    let model = ChildChat::spawn("tiny-llama.gguf", options(), child()).unwrap();
    std::env::set_current_dir("/").unwrap();
    kill(model.process_id().unwrap());
    until("its end", || model.process_id().is_none());
    bounded(model.generate(&ask(1, 2))).await.unwrap();
    assert_eq!(model.starts(), 2);
}

#[test]
fn a_new_process_finds_the_file_from_another_folder() {
    let file = chat_file();
    assert_eq!(file.file_name().unwrap(), "tiny-llama.gguf");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["wanderer", "--exact", "--nocapture"])
        .env("KATENA_TEST_WANDERER", file.parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_engine_ends_when_its_program_is_killed() {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .args(["doomed", "--exact", "--nocapture"])
        .env("KATENA_TEST_DOOMED", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|l| l.starts_with("engine ")).unwrap();
    let engine: u32 = line["engine ".len()..].trim().parse().unwrap();
    assert!(there(engine));
    kill(program.id());
    program.wait().unwrap();
    // Nobody reaps it here: a zombie is gone enough.
    let zombie = || std::fs::read_to_string(format!("/proc/{engine}/stat")).is_ok_and(|s| s.contains(") Z "));
    until("its end", || !there(engine) || zombie());
}
