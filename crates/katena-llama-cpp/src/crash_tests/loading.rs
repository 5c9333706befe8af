//! Files, sizes, and models loaded at the same time.

use std::path::{Path, PathBuf};

use katena_core::{ChatModel, EmbedRequest, Embedder, ErrorKind};
use katena_gguf::{Header, Keep};
use katena_testkit::tiny::{TinyBert, TinyLlama, tiny_llama};

use super::engine::{SHAPE, advance, with_engine};
use super::{ask, block_on, chat, one_thread};
use crate::engine::{Engine, load_model};
use crate::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaOptions, LlamaReranker, RerankerOptions};

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
