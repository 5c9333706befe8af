//! Tokens, sequences and batches.

use katena_core::{ChatModel, ChatRequest, EmbedRequest, Embedder, ErrorKind, Message, Result};
use katena_gguf::{Header, Keep, Pooling};
use katena_testkit::tiny::{TinyBert, TinyLlama, WORDS, tiny_llama};
use llama_cpp_2::token::LlamaToken;

use super::{ask, block_on, chat, one_thread, survives};
use crate::engine::{Engine, Output as Place, Purpose, Shape, Want, load_model};
use crate::{EmbedderOptions, LlamaChat, LlamaEmbedder, LlamaReranker, RerankerOptions};

pub(super) const SHAPE: Shape = Shape {
    context_tokens: 128,
    sequences: 2,
    batch_tokens: 32,
    threads: 1,
    purpose: Purpose::Generate { cache_tokens: 192, unified: true },
};

pub(super) fn with_engine(shape: Shape, test: impl FnOnce(&mut Engine<'_>)) {
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
pub(super) fn advance(engine: &mut Engine<'_>, sequence: usize, count: usize) -> Result<Place> {
    for _ in 1..count {
        push(engine, 65, sequence, Want::Nothing)?;
    }
    let place = push(engine, 66, sequence, Want::Logits)?.unwrap();
    engine.decode()?;
    Ok(place)
}

rows! {
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

    copies_out_of_range {
        // llama.cpp copies between the sequences of a split cache only as a whole.
        for unified in [true, false] {
            let purpose = Purpose::Generate { cache_tokens: 256, unified };
            with_engine(Shape { purpose, ..SHAPE }, |engine| {
                engine.learn_form().unwrap();
                advance(engine, 0, 8).unwrap();
                for (from, to, end) in [(0, 2, 4), (2, 0, 4), (usize::MAX, 0, 1), (0, 0, 4), (0, 1, 9), (0, 1, 0), (0, 1, usize::MAX)] {
                    assert!(engine.share(from, to, end).is_err(), "{from} to {to}, {end}");
                }
                push(engine, 65, 0, Want::Nothing).unwrap();
                assert!(engine.share(0, 1, 4).is_err(), "while a batch is filled");
                engine.decode().unwrap();
                engine.share(0, 1, 4).unwrap();
                advance(engine, 1, 3).unwrap();
                let rows = engine.rows(1, 2..7).unwrap();
                assert!(engine.rows(1, 2..8).is_err() && engine.restore(2, &[&rows], 5).is_err());
                assert!(engine.restore(0, &[&rows], 6).is_err());
                engine.restore(0, &[&rows], 5).unwrap();
                advance(engine, 0, 3).unwrap();
            });
        }
        with_engine(Shape { purpose: Purpose::Embed(Some(Pooling::Last)), ..SHAPE }, |engine| {
            advance(engine, 0, 5).unwrap();
            assert!(engine.share(0, 1, 3).is_err());
        });
    }
}
