//! Hostile and broken files.

use std::io::Cursor;

use katena_core::{Error, ErrorKind, Result};

use super::value::code;
use super::*;
use katena_testkit::tiny as testing;

fn parse(bytes: &[u8]) -> Result<Header> {
    Header::parse(Cursor::new(bytes), bytes.len() as u64, Keep::Vocabulary)
}

fn refused(bytes: &[u8]) -> Error {
    match parse(bytes) {
        Ok(_) => panic!("a bad file was accepted"),
        Err(e) => e,
    }
}

/// A head with these counts and what follows.
fn head(tensors: u64, pairs: u64, rest: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &3u32.to_le_bytes(), &tensors.to_le_bytes(), &pairs.to_le_bytes(), rest].concat()
}

fn text(t: &str) -> Vec<u8> {
    [&(t.len() as u64).to_le_bytes()[..], t.as_bytes()].concat()
}

fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
}

fn tensor(name: &str, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut t = text(name);
    t.extend((dims.len() as u32).to_le_bytes());
    for d in dims {
        t.extend(d.to_le_bytes());
    }
    t.extend(kind.to_le_bytes());
    t.extend(offset.to_le_bytes());
    t
}

#[test]
fn what_is_written_is_read() {
    let bytes = testing::bytes(&testing::tiny_llama_writer());
    let header = parse(&bytes).unwrap();
    assert_eq!(header.architecture().unwrap(), "llama");
    assert_eq!(header.arch_number("block_count"), Some(1));
    assert_eq!(header.texts("tokenizer.ggml.tokens").unwrap().len(), testing::WORDS);
    assert_eq!(header.flag("tokenizer.ggml.add_bos_token"), Some(false));
    assert!(header.float("llama.attention.layer_norm_rms_epsilon").is_some_and(|x| (x - 1e-5).abs() < 1e-9));
    assert!(header.tensors.contains("blk.0.ffn_down.weight"));
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let bytes = testing::bytes(&testing::tiny_llama_writer());
    let cuts = (0..4096).chain((4096..bytes.len()).step_by(997)).chain([bytes.len() - 1]);
    for cut in cuts {
        assert_eq!(refused(&bytes[..cut]).kind(), ErrorKind::InvalidInput, "cut at {cut}");
    }
}

#[test]
fn flipped_header_bytes_never_panic() {
    let bytes = testing::bytes(&testing::tiny_llama_writer());
    for at in 0..7000 {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = bytes.clone();
            bad[at] ^= flip;
            let _ = parse(&bad);
        }
    }
}

#[test]
fn a_file_that_is_no_gguf_says_so() {
    for bytes in [&b""[..], b"GGU", b"GGML", b"PK\x03\x04 a zip", b"\x89PNG\r\n\x1a\n........"] {
        assert!(refused(bytes).to_string().contains("not a GGUF file"));
    }
    for version in [0u32, 1, 4, 0x0300_0000] {
        let bytes = [&MAGIC[..], &version.to_le_bytes(), &[0; 16]].concat();
        refused(&bytes);
    }
}

#[test]
fn hostile_counts_and_lengths_allocate_nothing() {
    let many = u64::MAX;
    for bytes in [
        head(many, 0, &[]),
        head(0, many, &[]),
        head(0, 1, &many.to_le_bytes()),
        head(0, 1, &(1u64 << 62).to_le_bytes()),
        head(0, 1, &pair("k", code::STRING, &many.to_le_bytes())),
        head(0, 1, &pair("k", code::ARRAY, &[&code::U32.to_le_bytes()[..], &many.to_le_bytes()].concat())),
        head(
            0,
            1,
            &pair("k", code::ARRAY, &[&code::U32.to_le_bytes()[..], &(1u64 << 62).to_le_bytes()].concat()),
        ),
        head(0, 1, &pair("k", code::ARRAY, &[&code::STRING.to_le_bytes()[..], &many.to_le_bytes()].concat())),
        head(0, 1, &pair("k", code::ARRAY, &[&code::ARRAY.to_le_bytes()[..], &1u64.to_le_bytes()].concat())),
        head(0, 1, &pair("k", 99, &[0; 16])),
        head(0, 1, &pair("", code::U8, &[0; 16])),
        head(0, 2, &[pair("k", code::U8, &[1]), pair("k", code::U8, &[1]), vec![0; 16]].concat()),
    ] {
        assert_eq!(refused(&bytes).kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn tensors_must_lie_inside_the_file() {
    let file = |t: Vec<u8>| head(1, 0, &[t, vec![0; 256]].concat());
    assert!(parse(&file(tensor("t", &[8, 4], 0, 0))).is_ok());
    for t in [
        tensor("t", &[8, 8], 0, 64),
        tensor("t", &[u64::MAX, 2], 0, 0),
        tensor("t", &[1 << 62, 4], 0, 0),
        tensor("t", &[0, 4], 0, 0),
        tensor("t", &[8], 0, u64::MAX - 31),
        tensor("t", &[8], 0, 1),
        tensor("t", &[1, 1, 1, 1, 1], 0, 0),
        tensor("t", &[33], 8, 0),
    ] {
        assert_eq!(refused(&file(t)).kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(refused(&file(tensor("t", &[8], 77, 0))).kind(), ErrorKind::Unsupported);
    let twice = [tensor("t", &[8], 0, 0), tensor("t", &[8], 0, 32), vec![0; 256]].concat();
    refused(&head(2, 0, &twice));
}

#[test]
fn alignment_must_be_a_power_of_two() {
    for bad in [0u32, 3, 33, u32::MAX] {
        let file = head(0, 1, &pair("general.alignment", code::U32, &bad.to_le_bytes()));
        assert_eq!(refused(&file).kind(), ErrorKind::InvalidInput);
    }
    let file = head(0, 1, &pair("general.alignment", code::STRING, &text("x")));
    refused(&file);
}
