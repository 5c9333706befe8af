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

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use katena_core::{
    ChatModel, ChatRequest, EmbedRequest, Embedder, ErrorKind, FinishReason, Message, ResponseFormat, Result,
    ToolChoice, ToolSpec,
};
use katena_gguf::{Header, Keep};
use katena_testkit::tiny::{TinyBert, TinyLlama, WORDS, tiny_llama};
use llama_cpp_2::token::LlamaToken;
use serde_json::{Value, json};

use crate::engine::{Engine, Output as Place, Purpose, Shape, Want, load_model};
use crate::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaOptions, LlamaReranker, RerankerOptions};
use katena_gguf::Pooling;

/// Says to this test program that it is the process of a row.
const ROW: &str = "KATENA_TEST_ROW";

/// True in the process of that row.
fn is_row(test: &str) -> bool {
    std::env::var(ROW).is_ok_and(|row| row == test)
}

/// Runs one test of this file in a process of its own.
fn process(test: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("crash_tests::{test}"), "--exact", "--nocapture"])
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
            apart(stringify!($name), || $row);
        }
    )*};
}

#[test]
fn an_abort_is_seen() {
    if is_row("an_abort_is_seen") {
        std::process::abort();
    }
    assert!(!process("an_abort_is_seen").status.success());
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

const SHAPE: Shape = Shape {
    context_tokens: 128,
    sequences: 2,
    batch_tokens: 32,
    threads: 1,
    purpose: Purpose::Generate { cache_tokens: 192 },
};

fn with_engine(shape: Shape, test: impl FnOnce(&mut Engine<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny_llama(folder.path());
    let header = Header::read(&path, Keep::Small).unwrap();
    let model = load_model(&path, &header, 0, None).unwrap();
    test(&mut Engine::new(&model, shape).unwrap());
}

fn push(engine: &mut Engine<'_>, token: i32, sequence: usize, want: Want) -> Result<Option<Place>> {
    engine.push(LlamaToken::new(token), sequence, want)
}

/// Computes `count` tokens of a sequence.
fn advance(engine: &mut Engine<'_>, sequence: usize, count: usize) -> Result<Place> {
    for _ in 1..count {
        push(engine, 65, sequence, Want::Nothing)?;
    }
    let place = push(engine, 66, sequence, Want::Logits)?.unwrap();
    engine.decode()?;
    Ok(place)
}

/// Loads a file in every way, and uses what loads.
fn try_all(path: &Path) {
    if let Ok(model) = LlamaChat::load(path, one_thread().with_context_tokens(64)) {
        let _ = block_on(model.generate(&ask("hello").with_max_tokens(2)));
    }
    if let Ok(model) = LlamaEmbedder::load(path, EmbedderOptions::new().with_threads(1)) {
        let _ = block_on(model.embed(&EmbedRequest::documents(["hello world"])));
    }
    let _ = LlamaReranker::load(path, RerankerOptions::new().with_threads(1));
}

/// The file cut off and with single bytes changed, most of them in its head.
fn spoiled(file: &Path, head: usize) {
    let bytes = std::fs::read(file).unwrap();
    let bad = file.with_extension("bad.gguf");
    let cuts = (0..head.min(bytes.len())).step_by(601).chain([bytes.len() / 2, bytes.len() - 1]);
    for cut in cuts {
        std::fs::write(&bad, &bytes[..cut]).unwrap();
        try_all(&bad);
    }
    for at in (0..head.min(bytes.len())).step_by(89).chain((head..bytes.len()).step_by(9001)) {
        for flip in [0xff, 0x01, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= flip;
            std::fs::write(&bad, &changed).unwrap();
            try_all(&bad);
        }
    }
}

fn forms() -> Vec<ResponseFormat> {
    let grammar = |g: &str| ResponseFormat::Grammar { grammar: g.into() };
    let regex = |p: &str| ResponseFormat::Regex { pattern: p.into() };
    let schema = |schema: Value| ResponseFormat::JsonSchema { name: "x".into(), schema };
    let mut deep = json!({"type": "string"});
    for _ in 0..200 {
        deep = json!({"type": "array", "items": deep});
    }
    vec![
        grammar(""),
        grammar("start: nowhere"),
        grammar("start: start \"a\""),
        grammar("start: \"a"),
        grammar("start: /(/"),
        grammar("root ::= \"a\""),
        grammar("start: \"a\"{0,1000000000}"),
        grammar("\0"),
        regex("("),
        regex("a{1000}{1000}{1000}"),
        regex("(?=a)"),
        regex("\\1"),
        regex("[z-a]"),
        schema(json!({"type": 7})),
        schema(json!({"type": "string", "pattern": "("})),
        schema(json!({"$ref": "#/nowhere"})),
        schema(json!({"$ref": "#"})),
        schema(json!({"$ref": "https://example.com/x.json"})),
        schema(json!({"type": "integer", "minimum": 5, "maximum": 1})),
        schema(json!({"type": "string", "minLength": 4_000_000_000u64})),
        schema(json!({"type": "array", "items": {}, "minItems": 1_000_000})),
        schema(json!([1, 2])),
        schema(deep),
    ]
}

rows! {
    files_that_are_broken {
        let folder = tempfile::tempdir().unwrap();
        for name in ["/nowhere/at/all.gguf", "/dev/null", "/", "a\0b.gguf"] {
            try_all(Path::new(name));
            assert!(LlamaChat::load(name, one_thread()).is_err());
        }
        let text = folder.path().join("text.gguf");
        std::fs::write(&text, "GGUF and no more").unwrap();
        assert_eq!(LlamaChat::load(&text, one_thread()).unwrap_err().kind(), ErrorKind::InvalidInput);
        spoiled(&tiny_llama(folder.path()), 8000);
        spoiled(&TinyBert::new().write(folder.path().join("bert.gguf")), 4000);
    }

    a_full_context {
        with_engine(Shape { sequences: 3, ..SHAPE }, |engine| {
            for sequence in [0, 1] {
                for _ in 0..4 {
                    advance(engine, sequence, 32).unwrap();
                }
                assert_eq!(push(engine, 1, sequence, Want::Logits).unwrap_err().kind(), ErrorKind::ContextTooLong);
            }
            // 192 cells, which llama.cpp rounds up to 256, are full before the third sequence is.
            assert!(advance(engine, 2, 32).is_err());
            engine.clear_all();
            advance(engine, 0, 32).unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let model = LlamaChat::load(tiny_llama(folder.path()), one_thread().with_context_tokens(64)).unwrap();
        let error = survives(&model, &ask(&"x".repeat(500))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ContextTooLong);
        survives(&model, &ask("hi").with_max_tokens(100_000)).unwrap();
    }

    a_full_cache_under_load {
        let folder = tempfile::tempdir().unwrap();
        let options = one_thread().with_slots(8).with_context_tokens(128).with_cache_tokens(160);
        let model = LlamaChat::load(tiny_llama(folder.path()), options).unwrap();
        block_on(async {
            let requests = (0..24).map(|n| ask(&format!("{n}")).with_temperature(1.0).with_max_tokens(200));
            let calls: Vec<_> = requests
                .map(|request| {
                    let model = model.clone();
                    async move { model.generate(&request).await.unwrap() }
                })
                .collect();
            assert_eq!(futures_util::future::join_all(calls).await.len(), 24);
        });
    }

    tokens_and_sequences_out_of_range {
        with_engine(SHAPE, |engine| {
            for token in [-1, i32::MIN, WORDS as i32, i32::MAX] {
                assert!(push(engine, token, 0, Want::Logits).is_err());
            }
            for sequence in [2, 255, 256, usize::MAX] {
                assert!(push(engine, 1, sequence, Want::Logits).is_err());
                engine.clear(sequence);
                assert!(engine.trim(sequence, 1).is_err());
            }
            // Positions are counted by the engine: after a cut they go on without a gap.
            advance(engine, 1, 9).unwrap();
            engine.trim(1, 4).unwrap();
            advance(engine, 1, 3).unwrap();
        });
    }

    an_empty_batch {
        with_engine(SHAPE, |engine| {
            assert_eq!(engine.decode().unwrap_err().kind(), ErrorKind::InvalidInput);
            advance(engine, 0, 2).unwrap();
            assert!(engine.decode().is_err(), "the same batch twice");
        });
        let folder = tempfile::tempdir().unwrap();
        let model = chat(folder.path());
        let empty = ChatRequest::new([Message::user("")]).with_max_tokens(1);
        let _ = survives(&model, &empty);
        assert!(survives(&model, &ChatRequest::new([])).is_err());
        let plain = TinyLlama::new().with_template("").write(folder.path().join("empty.gguf"));
        if let Ok(model) = LlamaChat::load(plain, one_thread()) {
            let _ = block_on(model.generate(&empty));
        }
    }

    a_batch_that_is_too_long {
        with_engine(SHAPE, |engine| {
            for _ in 0..32 {
                push(engine, 1, 0, Want::Nothing).unwrap();
            }
            assert!(push(engine, 1, 0, Want::Nothing).is_err());
            engine.decode().unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let file = TinyBert::new().write(folder.path().join("bert.gguf"));
        let embedder = LlamaEmbedder::load(file, EmbedderOptions::new().with_threads(1)).unwrap();
        let long = EmbedRequest::documents(["word ".repeat(100_000)]);
        assert_eq!(block_on(embedder.embed(&long)).unwrap_err().kind(), ErrorKind::ContextTooLong);
    }

    one_sequence_a_token {
        // `push` takes one sequence; a batch of all of them is as large as a batch can be.
        with_engine(SHAPE, |engine| {
            for n in 0..32 {
                push(engine, 1, n % 2, Want::Logits).unwrap();
            }
            engine.decode().unwrap();
        });
    }

    logits_where_there_are_none {
        with_engine(SHAPE, |engine| {
            assert_eq!(push(engine, 1, 0, Want::Nothing).unwrap(), None);
            let early = push(engine, 2, 0, Want::Logits).unwrap().unwrap();
            assert!(engine.logits(early).is_err(), "before the batch is computed");
            engine.decode().unwrap();
            assert!(engine.logits(early).is_ok());
            let late = advance(engine, 0, 1).unwrap();
            assert!(engine.logits(early).is_err(), "the batch is gone");
            assert!(engine.logits(late).is_ok());
            assert!(engine.embedding(0).is_err());
        });
    }

    samplers_without_a_choice {
        let folder = tempfile::tempdir().unwrap();
        let model = chat(folder.path());
        for request in [
            ask("a").with_temperature(0.0),
            ask("a").with_temperature(f32::MIN_POSITIVE),
            ask("a").with_temperature(2.0).with_top_k(1).with_top_p(1e-30),
            ask("a").with_temperature(f32::NAN),
            ask("a").with_temperature(f32::INFINITY),
            ask("a").with_temperature(-1.0),
            ask("a").with_top_k(0),
            ask("a").with_top_k(u32::MAX).with_seed(u64::MAX),
            ask("a").with_top_p(0.0),
            ask("a").with_extra("min_p", 1.0),
            ask("a").with_extra("typical_p", 0.001),
            ask("a").with_extra("top_n_sigma", 0.001),
            ask("a").with_extra("repeat_penalty", 10.0).with_extra("repeat_last_n", 1_000_000),
            ask("a").with_extra("xtc_probability", 1.0).with_extra("xtc_threshold", 0.0),
            ask("a").with_extra("dynatemp_range", 100.0),
            ask("a").with_extra("dry_multiplier", 100.0),
            ask("a").with_extra("mirostat", 2),
            ask("a").with_extra("mirostat", 9),
            ask("a").with_extra("logit_bias", json!({"65": -100, "999999": 5})),
        ] {
            let _ = survives(&model, &request);
        }
    }

    encoding_what_only_decodes {
        let folder = tempfile::tempdir().unwrap();
        let llama = tiny_llama(folder.path());
        for pooling in [Pooling::Mean, Pooling::Cls, Pooling::Last] {
            let options = EmbedderOptions::new().with_threads(1).with_pooling(pooling);
            if let Ok(model) = LlamaEmbedder::load(&llama, options) {
                let vectors = block_on(model.embed(&EmbedRequest::documents(["a", "bc"]))).unwrap().vectors;
                assert_eq!(vectors.len(), 2);
            }
        }
        assert!(LlamaReranker::load(&llama, RerankerOptions::new().with_threads(1)).is_err());
        let bert = TinyBert::new().write(folder.path().join("bert.gguf"));
        assert_eq!(LlamaChat::load(&bert, one_thread()).unwrap_err().kind(), ErrorKind::Unsupported);
        with_engine(Shape { purpose: Purpose::Embed(Some(Pooling::Last)), ..SHAPE }, |engine| {
            assert!(engine.embedding(0).is_err());
            advance(engine, 0, 5).unwrap();
            assert!(engine.embedding(0).is_ok() && engine.embedding(1).is_err());
        });
    }

    contexts_without_end {
        let folder = tempfile::tempdir().unwrap();
        let llama = tiny_llama(folder.path());
        // A file that claims to be trained for as much.
        let huge = TinyLlama::new().with_context(4_000_000_000).write(folder.path().join("huge.gguf"));
        for tokens in [0, 2_000_000_000, u32::MAX] {
            for file in [&llama, &huge] {
                let error = LlamaChat::load(file, one_thread().with_context_tokens(tokens)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            }
            let _ = LlamaChat::load(&huge, one_thread().with_cache_tokens(tokens));
            let _ = LlamaEmbedder::load(&huge, EmbedderOptions::new().with_batch_tokens(tokens));
            let _ = LlamaChat::load(&llama, one_thread().with_batch_tokens(tokens));
        }
        with_engine(SHAPE, |_| {});
    }

    sequences_without_end {
        let folder = tempfile::tempdir().unwrap();
        let llama = tiny_llama(folder.path());
        for slots in [0, 100_000, u32::MAX] {
            assert_eq!(LlamaChat::load(&llama, one_thread().with_slots(slots)).unwrap_err().kind(), ErrorKind::Config);
        }
        for threads in [0, u32::MAX] {
            assert!(LlamaChat::load(&llama, LlamaOptions::new().with_threads(threads)).is_err());
        }
    }

    copies_out_of_range {
        with_engine(SHAPE, |engine| {
            advance(engine, 0, 8).unwrap();
            for (from, to, end) in [(0, 2, 4), (2, 0, 4), (usize::MAX, 0, 1), (0, 0, 4), (0, 1, 9), (0, 1, 0), (0, 1, usize::MAX)] {
                assert!(engine.share(from, to, end).is_err(), "{from} to {to}, {end}");
            }
            push(engine, 65, 0, Want::Nothing).unwrap();
            assert!(engine.share(0, 1, 4).is_err(), "while a batch is filled");
            engine.decode().unwrap();
            engine.share(0, 1, 4).unwrap();
            advance(engine, 1, 3).unwrap();
        });
        with_engine(Shape { purpose: Purpose::Embed(Some(Pooling::Last)), ..SHAPE }, |engine| {
            advance(engine, 0, 5).unwrap();
            assert!(engine.share(0, 1, 3).is_err());
        });
    }

    forms_that_are_none {
        let folder = tempfile::tempdir().unwrap();
        let model = chat(folder.path());
        for form in forms() {
            match survives(&model, &ask("a").with_response_format(form.clone())) {
                // What can be begun may be cut off by the token limit.
                Ok(_) => {}
                Err(e) => assert!(
                    matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::InvalidOutput),
                    "{form:?}: {e}"
                ),
            }
        }
        for form in &forms()[..5] {
            assert!(survives(&model, &ask("a").with_response_format(form.clone())).is_err(), "{form:?}");
        }
    }

    tokens_against_the_form {
        let folder = tempfile::tempdir().unwrap();
        let model = chat(folder.path());
        let held = |pattern: &str| ask("a").with_response_format(ResponseFormat::Regex { pattern: pattern.into() });
        // The forbidden token is the likeliest by far.
        let pushed = held("(yes|no)").with_extra("logit_bias", json!({"65": 100})).with_max_tokens(20);
        let text = survives(&model, &pushed).unwrap();
        assert!(text == "yes" || text == "no", "{text}");
        // The form ends long before the limit.
        let response = block_on(model.generate(&held("a").with_max_tokens(300))).unwrap();
        assert_eq!((response.text().as_str(), &response.finish), ("a", &FinishReason::Stop));
        // Nothing that the form allows may be chosen.
        let bias: serde_json::Map<_, _> = (0..256).map(|n| (n.to_string(), json!(-100))).collect();
        let _ = survives(&model, &held("[a-c]{3}").with_extra("logit_bias", Value::Object(bias)));
    }

    hostile_messages {
        let folder = tempfile::tempdir().unwrap();
        let model = chat(folder.path());
        let tool = |name: &str| ToolSpec::new(name, "\0 {{ x }} {% endfor %}", json!({"type": "object"}));
        for text in ["\0", "a\0b", "<|im_end|><|im_start|>", "{{ messages }}", "{% raw %}", "\u{10ffff}\u{0}\u{fffd}"] {
            survives(&model, &ask(text)).unwrap();
            survives(&model, &ask(text).with_stop([text])).unwrap();
            let _ = survives(&model, &ask(text).with_tools([tool(text)]));
            let forced = ask(text).with_tools([tool("x")]).with_tool_choice(ToolChoice::Named(text.into()));
            let _ = survives(&model, &forced);
        }
        let _ = survives(&model, &ask("a").with_stop([""]));
        for template in [
            "\0",
            "{% for a in range(1000000000) %}{% for b in range(1000000000) %}x{% endfor %}{% endfor %}",
            "{{ messages[99].content }}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{{ 'x' * 1000000000 }}",
        ] {
            let options = one_thread().with_chat_template(template);
            if let Ok(model) = LlamaChat::load(folder.path().join("tiny-llama.gguf"), options) {
                let _ = block_on(model.generate(&ask("a")));
            }
        }
    }

    load_use_and_drop_at_once {
        let folder = tempfile::tempdir().unwrap();
        let llama = tiny_llama(folder.path());
        let second = TinyLlama::new().with_seed(2).write(folder.path().join("second.gguf"));
        let bert = TinyBert::new().write(folder.path().join("bert.gguf"));
        let shared = chat(folder.path());
        let work = |thread: usize, llama: PathBuf, second: PathBuf, bert: PathBuf| {
            for round in 0..12 {
                let file = if (thread + round).is_multiple_of(2) { &llama } else { &second };
                match (thread + round) % 4 {
                    0 | 1 => {
                        let model = LlamaChat::load(file, one_thread().with_slots(2)).unwrap();
                        block_on(model.generate(&ask("hello"))).unwrap();
                        if round.is_multiple_of(3) {
                            // Dropped while it answers; the stream outlives the model.
                            let stream = block_on(model.stream(&ask("on").with_max_tokens(200))).unwrap();
                            drop(model);
                            drop(stream);
                        }
                    }
                    2 => {
                        let model = LlamaEmbedder::load(&bert, EmbedderOptions::new().with_threads(1)).unwrap();
                        let texts = EmbedRequest::documents(["hello", "world"]);
                        assert_eq!(block_on(model.embed(&texts)).unwrap().vectors.len(), 2);
                    }
                    _ => {
                        block_on(shared.generate(&ask("shared"))).unwrap();
                        assert!(LlamaChat::load("/nowhere.gguf", one_thread()).is_err());
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (llama, second, bert) = (llama.clone(), second.clone(), bert.clone());
                let work = &work;
                scope.spawn(move || work(thread, llama, second, bert));
            }
        });
        // Several contexts of one loaded model, made at the same time.
        let header = Header::read(&llama, Keep::Small).unwrap();
        let model = load_model(&llama, &header, 0, None).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        advance(&mut Engine::new(&model, SHAPE).unwrap(), 1, 7).unwrap();
                    }
                });
            }
        });
    }
}
