//! The traps of llama.cpp, each tried on a tiny model: an `Err`, and the process lives on.

use std::path::Path;

use katena_core::ErrorKind;

use super::*;
use katena_gguf::{Header, Keep};
use katena_testkit::tiny::{CONTEXT, WORDS, tiny_llama};

fn model(folder: &Path) -> LlamaModel {
    let path = tiny_llama(folder);
    let header = Header::read(&path, Keep::Small).unwrap();
    load_model(&path, &header, 0, None).unwrap()
}

const SHAPE: Shape = Shape {
    context_tokens: 256,
    sequences: 2,
    batch_tokens: 32,
    threads: 1,
    purpose: Purpose::Generate { cache_tokens: 512 },
};

fn with_engine(test: impl FnOnce(&mut Engine<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    test(&mut Engine::new(&model, SHAPE).unwrap());
}

fn token(id: i32) -> LlamaToken {
    LlamaToken::new(id)
}

/// Pushes `count` tokens and computes them; the last one's output.
fn advance(engine: &mut Engine<'_>, sequence: usize, count: usize) -> Output {
    for _ in 1..count {
        engine.push(token(65), sequence, Want::Nothing).unwrap();
    }
    let output = engine.push(token(66), sequence, Want::Logits).unwrap().unwrap();
    engine.decode().unwrap();
    output
}

#[test]
fn a_batch_cannot_be_longer_than_allowed() {
    with_engine(|engine| {
        for _ in 0..32 {
            engine.push(token(1), 0, Want::Nothing).unwrap();
        }
        assert_eq!(engine.room(), 0);
        assert_eq!(engine.push(token(1), 0, Want::Nothing).unwrap_err().kind(), ErrorKind::Unexpected);
        engine.decode().unwrap();
        assert_eq!(engine.room(), 32);
    });
}

#[test]
fn an_empty_batch_is_an_error() {
    with_engine(|engine| {
        assert_eq!(engine.decode().unwrap_err().kind(), ErrorKind::InvalidInput);
        advance(engine, 0, 2);
        assert_eq!(engine.decode().unwrap_err().kind(), ErrorKind::InvalidInput, "the same batch twice");
        advance(engine, 0, 2);
    });
}

#[test]
fn tokens_and_sequences_out_of_range_are_errors() {
    with_engine(|engine| {
        for bad in [-1, i32::MIN, WORDS as i32, i32::MAX] {
            let error = engine.push(token(bad), 0, Want::Logits).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
        for bad in [2, 255, 256, usize::MAX] {
            assert_eq!(engine.push(token(1), bad, Want::Logits).unwrap_err().kind(), ErrorKind::InvalidInput);
            engine.clear(bad);
        }
        advance(engine, 1, 3);
    });
}

#[test]
fn a_full_context_is_an_error_and_can_be_used_again() {
    with_engine(|engine| {
        for _ in 0..8 {
            advance(engine, 0, 32);
        }
        assert_eq!(engine.push(token(1), 0, Want::Logits).unwrap_err().kind(), ErrorKind::ContextTooLong);
        advance(engine, 1, 32);
        engine.clear(0);
        advance(engine, 0, 32);
        engine.clear_all();
        advance(engine, 0, 32);
    });
}

#[test]
fn logits_are_only_where_they_are() {
    with_engine(|engine| {
        assert_eq!(engine.push(token(1), 0, Want::Nothing).unwrap(), None, "no place without logits");
        let early = engine.push(token(2), 0, Want::Logits).unwrap().unwrap();
        assert!(engine.logits(early).is_err(), "before the batch is computed");
        engine.decode().unwrap();
        assert_eq!(engine.logits(early).unwrap().len(), WORDS);
        let late = advance(engine, 0, 1);
        assert!(engine.logits(early).is_err(), "the batch is gone");
        assert!(engine.logits(late).is_ok());
        assert!(engine.embedding(0).is_err(), "no vectors from a generating context");
    });
}

#[test]
fn impossible_shapes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    for shape in [
        Shape { batch_tokens: 0, ..SHAPE },
        Shape { batch_tokens: u32::MAX, ..SHAPE },
        Shape { sequences: 0, ..SHAPE },
        Shape { sequences: 100_000, ..SHAPE },
        Shape { threads: 0, ..SHAPE },
        Shape { threads: u32::MAX, ..SHAPE },
        Shape { context_tokens: 0, ..SHAPE },
        Shape { context_tokens: 2_000_000_000, ..SHAPE },
        Shape { purpose: Purpose::Generate { cache_tokens: 0 }, ..SHAPE },
        Shape { purpose: Purpose::Generate { cache_tokens: u32::MAX }, ..SHAPE },
    ] {
        assert_eq!(Engine::new(&model, shape).err().map(|e| e.kind()), Some(ErrorKind::Config), "{shape:?}");
    }
}

#[test]
fn a_decoder_can_make_vectors_without_being_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let shape = Shape { purpose: Purpose::Embed(Some(Pooling::Last)), context_tokens: 32, ..SHAPE };
    let mut engine = Engine::new(&model, shape).unwrap();
    assert!(engine.embedding(0).is_err());
    advance(&mut engine, 0, 5);
    assert_eq!(engine.embedding(0).unwrap().len(), 32);
    assert!(engine.embedding(1).is_err(), "nothing was computed there");
    assert!(engine.embedding(99).is_err());
}

#[test]
fn the_trained_context_is_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny_llama(folder.path());
    let load = |tokens| {
        crate::LlamaChat::load(&path, crate::LlamaOptions::new().with_threads(1).with_context_tokens(tokens))
    };
    for tokens in [0, 15, CONTEXT as u32 + 1, 2_000_000_000, u32::MAX] {
        let error = load(tokens).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.context("context_tokens"), Some(tokens.to_string().as_str()));
        assert_eq!(error.context("trained_tokens"), Some("512"));
    }
    assert!(load(CONTEXT as u32).is_ok());
}

#[test]
fn a_shared_beginning_is_as_good_as_a_computed_one() {
    with_engine(|engine| {
        advance(engine, 0, 20);
        engine.share(0, 1, 12).unwrap();
        assert_eq!((engine.length(0), engine.length(1)), (20, 12));
        let output = advance(engine, 1, 3);
        let shared = engine.logits(output).unwrap().to_vec();
        engine.clear_all();
        advance(engine, 1, 12);
        engine.trim(1, 11).unwrap();
        // As in `advance`, all but the last are the same token.
        engine.push(token(65), 1, Want::Nothing).unwrap();
        let output = advance(engine, 1, 3);
        let computed = engine.logits(output).unwrap();
        let far = shared.iter().zip(computed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far < 0.01, "{far}");
        // Another beginning makes another answer: the comparison can fail.
        for n in 0..14 {
            engine.push(token(80 + n), 0, Want::Nothing).unwrap();
        }
        let other = advance(engine, 0, 1);
        let other = engine.logits(other).unwrap();
        assert!(shared.iter().zip(other).any(|(a, b)| (a - b).abs() > 0.05));
    });
}

#[test]
fn sharing_and_cutting_out_of_range_are_errors() {
    with_engine(|engine| {
        advance(engine, 0, 10);
        for (from, to, end) in [
            (0, 0, 5),
            (0, 2, 5),
            (2, 0, 5),
            (usize::MAX, 1, 5),
            (0, usize::MAX, 5),
            (0, 1, 11),
            (0, 1, 0),
            (1, 0, 5),
        ] {
            let error = engine.share(from, to, end).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{from} {to} {end}");
        }
        assert_eq!(engine.trim(2, 0).unwrap_err().kind(), ErrorKind::InvalidInput);
        engine.trim(0, 99).unwrap();
        engine.push(token(1), 0, Want::Nothing).unwrap();
        assert!(engine.share(0, 1, 5).is_err() && engine.trim(0, 5).is_err(), "while a batch is filled");
        engine.decode().unwrap();
        engine.share(0, 1, 11).unwrap();
        engine.trim(0, 0).unwrap();
        assert_eq!((engine.length(0), engine.length(1)), (0, 11), "what is shared stays with the other");
        advance(engine, 1, 3);
    });
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let mut engine = Engine::new(&model, Shape { purpose: Purpose::Embed(None), ..SHAPE }).unwrap();
    engine.push(token(1), 0, Want::Logits).unwrap();
    engine.decode().unwrap();
    assert!(engine.share(0, 1, 1).is_err(), "only for caches that are shared");
}

#[test]
fn a_full_cache_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let shape = Shape { sequences: 3, purpose: Purpose::Generate { cache_tokens: 256 }, ..SHAPE };
    let mut engine = Engine::new(&model, shape).unwrap();
    assert_eq!(engine.cache_tokens(), 256);
    for _ in 0..4 {
        advance(&mut engine, 0, 32);
        advance(&mut engine, 1, 31);
    }
    for _ in 0..20 {
        engine.push(token(1), 2, Want::Nothing).unwrap();
    }
    assert_eq!(engine.try_decode().unwrap(), Decoded::NoRoom);
    assert_eq!([engine.length(0), engine.length(1), engine.length(2)], [128, 124, 0]);
    advance(&mut engine, 2, 4);
    engine.clear(1);
    advance(&mut engine, 2, 20);
}
