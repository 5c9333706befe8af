//! Blocks against values computed by hand, and whole files.

use std::io::Cursor;

use katena_core::ErrorKind;
use katena_testkit::tiny;

use super::*;
use crate::convert::half::{from_f16, to_f16};
use crate::{TensorPlan, TensorType, Value, Writer};

fn decode(kind: u32, bytes: &[u8]) -> [f32; ROW] {
    let decoder = decoder(kind).unwrap();
    assert_eq!(decoder.bytes, bytes.len());
    let mut numbers = [f32::NAN; ROW];
    (decoder.decode)(bytes, &mut numbers);
    numbers
}

/// A scale of 0.5, a least value of -2 where `least`, the fifth bits if any, then 16 bytes of which byte n has the low half n and the
/// high half 15 - n.
fn block(least: bool, fifth: Option<u32>) -> Vec<u8> {
    let mut b = to_f16(0.5).to_le_bytes().to_vec();
    if least {
        b.extend(to_f16(-2.0).to_le_bytes());
    }
    if let Some(bits) = fifth {
        b.extend(bits.to_le_bytes());
    }
    b.extend((0..16u8).map(|n| n | (15 - n) << 4));
    b
}

#[test]
fn four_bits_are_read() {
    let x = decode(2, &block(false, None));
    assert_eq!((x[0], x[1], x[15], x[16], x[31]), (-4.0, -3.5, 3.5, 3.5, -4.0));
    let x = decode(3, &block(true, None));
    assert_eq!((x[0], x[1], x[15], x[16], x[31]), (-2.0, -1.5, 5.5, 5.5, -2.0));
}

#[test]
fn five_bits_are_read() {
    // The fifth bit of numbers 0 and 31.
    let x = decode(6, &block(false, Some(1 | 1 << 31)));
    assert_eq!((x[0], x[1], x[15], x[16], x[31]), (0.0, -7.5, -0.5, -0.5, 0.0));
    let x = decode(7, &block(true, Some(1 | 1 << 31)));
    assert_eq!((x[0], x[1], x[15], x[16], x[31]), (6.0, -1.5, 5.5, 5.5, 6.0));
}

#[test]
fn plain_numbers_are_read() {
    let numbers: [f32; ROW] = std::array::from_fn(|n| n as f32 - 7.25);
    let plain: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(decode(0, &plain), numbers);
    let halves: Vec<u8> = numbers.iter().flat_map(|x| to_f16(*x).to_le_bytes()).collect();
    assert_eq!(decode(1, &halves), numbers);
    let brains: Vec<u8> = numbers.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect();
    assert_eq!(decode(30, &brains), numbers);
    assert!(decoder(Q8_0).is_none() && decoder(12).is_none());
}

#[test]
fn eight_bits_are_written() {
    let mut numbers = [0.0; ROW];
    // 254 / 127 = 2: -3 is -1.5 scales, which goes away from zero; 0.9 is 0.45.
    (numbers[0], numbers[1], numbers[2], numbers[31]) = (254.0, -3.0, 0.9, -254.0);
    let mut bytes = Vec::new();
    encode(&numbers, &mut bytes).unwrap();
    assert_eq!(bytes.len(), Q8_0_BYTES);
    assert_eq!(from_f16(u16::from_le_bytes([bytes[0], bytes[1]])), 2.0);
    let quants: Vec<i8> = bytes[2..].iter().map(|b| i8::from_le_bytes([*b])).collect();
    assert_eq!((quants[0], quants[1], quants[2], quants[3], quants[31]), (127, -2, 0, 0, -127));

    bytes.clear();
    encode(&[0.0; ROW], &mut bytes).unwrap();
    assert_eq!(bytes, [0; Q8_0_BYTES]);
    for bad in [f32::NAN, f32::INFINITY, 1e20] {
        let mut numbers = [0.0; ROW];
        numbers[5] = bad;
        assert_eq!(encode(&numbers, &mut Vec::new()).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_small_number_costs_at_most_half_a_scale() {
    let numbers = tiny::numbers(3, ROW, 4.0);
    let numbers: [f32; ROW] = numbers.try_into().unwrap();
    let mut bytes = Vec::new();
    encode(&numbers, &mut bytes).unwrap();
    let scale = from_f16(u16::from_le_bytes([bytes[0], bytes[1]]));
    for (x, q) in numbers.iter().zip(&bytes[2..]) {
        let back = f32::from(i8::from_le_bytes([*q])) * scale;
        // Half a step, and what 11 bits of the scale lose.
        assert!((x - back).abs() <= 0.5 * scale + x.abs() / 1024.0, "{x} {back}");
    }
}

/// A file with made-up weights.
fn file(writer: &Writer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let data = |n: usize, plan: &TensorPlan| {
        let numbers = tiny::numbers(n as u64, plan.dims.iter().product::<u64>() as usize, 1.0);
        Ok::<_, std::io::Error>(match plan.kind {
            TensorType::F32 => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorType::F16 => numbers.iter().flat_map(|x| to_f16(*x).to_le_bytes()).collect(),
        })
    };
    writer.write(&mut bytes, data).unwrap();
    bytes
}

fn rewritten(bytes: &[u8]) -> Result<(Vec<u8>, Quantized)> {
    let header = Header::parse(Cursor::new(bytes), bytes.len() as u64, Keep::Vocabulary)?;
    let mut out = Vec::new();
    let done = rewrite(&header, &mut Cursor::new(bytes), &mut out)?;
    Ok((out, done))
}

#[test]
fn a_model_keeps_all_but_the_types_of_its_matrices() {
    let bytes = tiny::bytes(&tiny::tiny_llama_writer());
    let (out, done) = rewritten(&bytes).unwrap();
    assert_eq!(out.len() as u64, done.bytes);
    assert_eq!(rewritten(&bytes).unwrap().0, out, "the same input gives the same bytes");
    let read = |b: &[u8]| Header::parse(Cursor::new(b), b.len() as u64, Keep::Vocabulary).unwrap();
    let (old, new) = (read(&bytes), read(&out));
    assert_eq!(new.texts("tokenizer.ggml.tokens"), old.texts("tokenizer.ggml.tokens"));
    assert_eq!(new.text("tokenizer.chat_template"), old.text("tokenizer.chat_template"));
    assert_eq!(new.number("general.file_type"), Some(7));
    assert_eq!(new.number("general.quantization_version"), Some(2));
    assert_eq!((old.tensor_infos().len(), new.tensors == old.tensors), (new.tensor_infos().len(), true));
    let mut changed = 0;
    for (a, b) in old.tensor_infos().iter().zip(new.tensor_infos()) {
        assert_eq!((&a.name, &a.dims), (&b.name, &b.dims));
        let range = |i: &TensorInfo| i.start as usize..(i.start + i.bytes) as usize;
        let (before, after) = (&bytes[range(a)], &out[range(b)]);
        if a.dims.len() < 2 {
            assert_eq!((a.kind, before), (b.kind, after), "{}", a.name);
            continue;
        }
        changed += 1;
        assert_eq!(b.kind, Q8_0, "{}", a.name);
        // Near what they were.
        let old_block: [f32; ROW] =
            decode(a.kind, &before[..before.len() / (a.dims[0] * a.dims[1]) as usize * ROW]);
        let scale = from_f16(u16::from_le_bytes([after[0], after[1]]));
        for (x, q) in old_block.iter().zip(&after[2..]) {
            assert!((x - f32::from(i8::from_le_bytes([*q])) * scale).abs() <= scale, "{}", a.name);
        }
    }
    assert_eq!((changed, changed), (done.rewritten, new.tensor_infos().len() - done.copied));
    // What is Q8_0 already stays.
    let (again, done) = rewritten(&out).unwrap();
    assert_eq!((again == out, done.rewritten), (true, 0));
}

#[test]
fn what_must_stay_stays() {
    let mut w = Writer::default();
    w.set("general.architecture", Value::Text("bert".into()));
    w.set("general.file_type", Value::Unsigned(1));
    let names = [
        ("a.weight", vec![32, 2], true),
        ("odd.weight", vec![31, 2], false),
        ("flat.weight", vec![64], false),
        ("experts.weight", vec![32, 2, 2], false),
        ("blk.0.ffn_gate_inp.weight", vec![32, 2], false),
        ("position_embd.weight", vec![32, 2], false),
        ("a.bias", vec![32, 2], false),
    ];
    for (name, dims, _) in &names {
        w.tensor(TensorPlan { name: (*name).to_owned(), dims: dims.clone(), kind: TensorType::F16 });
    }
    let bytes = file(&w);
    let (out, done) = rewritten(&bytes).unwrap();
    let header = Header::parse(Cursor::new(&out), out.len() as u64, Keep::Small).unwrap();
    for (info, (name, _, changes)) in header.tensor_infos().iter().zip(&names) {
        assert_eq!(info.kind, if *changes { Q8_0 } else { 1 }, "{name}");
    }
    assert_eq!((done.rewritten, done.copied), (1, 6));
    assert_eq!(header.number("general.file_type"), Some(7));
}

#[test]
fn broken_files_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.gguf"), folder.path().join("out.gguf"));
    assert_eq!(quantize(&input, &output).unwrap_err().kind(), ErrorKind::NotFound);
    let mut w = Writer::default();
    w.set("general.architecture", Value::Text("llama".into()));
    w.tensor(TensorPlan { name: "a.weight".into(), dims: vec![32, 1], kind: TensorType::F32 });
    let mut bytes = file(&w);
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&input, &bytes).unwrap();
    let error = quantize(&input, &output).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("a.weight"), "{error}");
    std::fs::write(&input, &bytes[..end - 1]).unwrap();
    assert_eq!(quantize(&input, &output).unwrap_err().kind(), ErrorKind::InvalidInput);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["in.gguf"]);

    // A good one, over itself.
    bytes[end - 4..].copy_from_slice(&1.0f32.to_le_bytes());
    std::fs::write(&input, &bytes).unwrap();
    let done = quantize(&input, &input).unwrap();
    assert_eq!((done.rewritten, done.bytes), (1, std::fs::metadata(&input).unwrap().len()));
}
