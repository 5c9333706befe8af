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
    purpose: Purpose::Generate { cache_tokens: 512, unified: true },
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
        Shape { purpose: Purpose::Generate { cache_tokens: 0, unified: true }, ..SHAPE },
        Shape { purpose: Purpose::Generate { cache_tokens: u32::MAX, unified: true }, ..SHAPE },
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

/// A prompt of tokens that are all different.
fn read(engine: &mut Engine<'_>, sequence: usize, range: std::ops::Range<i32>) -> Vec<f32> {
    let mut last = None;
    for n in range {
        last = engine.push(token(60 + n), sequence, Want::Logits).unwrap();
    }
    engine.decode().unwrap();
    engine.logits(last.unwrap()).unwrap().to_vec()
}

/// Full precision, with transposed values and without; a unified cache and a split one.
fn with_each_cache(test: impl Fn(&mut Engine<'_>)) {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny_llama(folder.path());
    let header = Header::read(&path, Keep::Small).unwrap();
    let model = load_model(&path, &header, 0, None).unwrap();
    for flash in [crate::FlashAttention::On, crate::FlashAttention::Off] {
        let options = crate::LlamaOptions::new()
            .with_cache_types(crate::CacheType::F32, crate::CacheType::F32)
            .with_flash_attention(flash);
        for unified in [true, false] {
            let purpose = Purpose::Generate { cache_tokens: 768, unified };
            let shape = Shape { sequences: 3, purpose, ..SHAPE };
            let tuning = Tuning::of(&options, &header).unwrap();
            let mut engine = Engine::tuned(&model, shape, tuning, None).unwrap();
            assert!(engine.rows(0, 0..1).is_err(), "before the form is known");
            let form = engine.learn_form().unwrap();
            assert_eq!(engine.length(0), 0);
            let bytes =
                crate::memory::cache_bytes_per_token(&header, crate::CacheType::F32, crate::CacheType::F32);
            assert_eq!(Some(form.token_bytes() as u64), bytes);
            test(&mut engine);
        }
    }
}

#[test]
fn states_can_be_cut_and_put_together() {
    with_each_cache(|engine| {
        read(engine, 0, 0..20);
        let whole = read(engine, 0, 20..24);
        let all = engine.rows(0, 0..24).unwrap();
        assert_eq!(all.tokens(), 24);
        engine.clear_all();
        // Cells of two sequences in turn: none is in one piece.
        for n in 0..10 {
            read(engine, 1, 2 * n..2 * n + 2);
            read(engine, 2, n..n + 1);
        }
        let (early, late) = (engine.rows(1, 0..7).unwrap(), engine.rows(1, 7..20).unwrap());
        assert_eq!(early.tokens() + late.tokens(), 20);
        let mixed = engine.rows(2, 0..10).unwrap();
        // Cut elsewhere, and put into another sequence.
        let parts = [&early.part(0..3), &early.part(3..7), &late.part(0..13)];
        engine.restore(0, &parts, 20).unwrap();
        assert_eq!(engine.length(0), 20);
        assert_eq!(engine.rows(0, 0..20).unwrap().bytes(), engine.rows(1, 0..20).unwrap().bytes());
        let again = read(engine, 0, 20..24);
        let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far(&whole, &again) < 1e-4, "{}", far(&whole, &again));
        // A part of what is there, in place of what the sequence held.
        engine.restore(0, &[&all], 11).unwrap();
        assert_eq!(engine.length(0), 11);
        let shorter = read(engine, 0, 20..24);
        assert!(far(&whole, &shorter) > 1e-3, "the comparison can fail");
        assert_eq!(engine.rows(2, 0..10).unwrap().bytes(), mixed.bytes(), "the others are as they were");
        engine.clear(0);
        engine.share(1, 0, 12).unwrap();
        assert_eq!(engine.rows(0, 0..12).unwrap().bytes(), engine.rows(1, 0..12).unwrap().bytes());
        engine.clear(1);
        assert_eq!([engine.length(0), engine.length(1)], [12, 0]);
    });
}

#[test]
fn states_that_are_not_there_are_errors() {
    with_each_cache(|engine| {
        read(engine, 1, 0..8);
        for (sequence, range) in [(1, 0..9), (1, 3..3), (0, 0..1), (3, 0..1), (usize::MAX, 0..1)] {
            assert_eq!(engine.rows(sequence, range).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let rows = engine.rows(1, 0..8).unwrap();
        for (sequence, end) in [(0, 0), (0, 9), (3, 8), (usize::MAX, 8)] {
            assert_eq!(engine.restore(sequence, &[&rows], end).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        let long: Vec<&Rows> = std::iter::repeat_n(&rows, 33).collect();
        assert!(engine.restore(0, &long, 257).is_err(), "longer than the context");
        engine.push(token(1), 0, Want::Nothing).unwrap();
        assert!(
            engine.rows(1, 0..8).is_err() && engine.restore(2, &[&rows], 8).is_err(),
            "while a batch is filled"
        );
        engine.decode().unwrap();
        engine.restore(0, &long, 256).unwrap();
        assert!(engine.push(token(1), 0, Want::Logits).is_err(), "the sequence is full");
    });
}

#[test]
fn a_state_that_the_cache_has_no_room_for_is_an_error() {
    with_engine(|engine| {
        engine.learn_form().unwrap();
        for _ in 0..8 {
            advance(engine, 0, 32);
        }
        let rows = engine.rows(0, 0..256).unwrap();
        engine.restore(1, &[&rows], 256).unwrap();
        engine.clear(1);
        let mut small = SHAPE;
        small.purpose = Purpose::Generate { cache_tokens: 256, unified: true };
        let folder = tempfile::tempdir().unwrap();
        let model = model(folder.path());
        let mut other = Engine::new(&model, small).unwrap();
        other.learn_form().unwrap();
        advance(&mut other, 0, 8);
        assert_eq!(other.restore(1, &[&rows], 256).unwrap_err().kind(), ErrorKind::Unexpected);
        assert_eq!([other.length(0), other.length(1)], [8, 0]);
        advance(&mut other, 1, 8);
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
    let shape =
        Shape { sequences: 3, purpose: Purpose::Generate { cache_tokens: 256, unified: true }, ..SHAPE };
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
