//! Numbers of every type, read from a file made by hand.

use super::*;
use katena_core::ErrorKind;

fn open(entries: &[(&str, &str, Vec<u8>, usize)]) -> Result<(tempfile::NamedTempFile, SafeTensors)> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, kind, bytes, count) in entries {
        let start = data.len();
        data.extend(bytes);
        let value = serde_json::json!({"dtype": kind, "shape": [count], "data_offsets": [start, data.len()]});
        header.insert((*name).to_owned(), value);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()).unwrap();
    let tensors = SafeTensors::open(file.path())?;
    Ok((file, tensors))
}

#[test]
fn numbers_of_each_type() {
    let f64s = [1.5f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let f32s = [1.5f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let (_file, mut t) = open(&[
        ("f64", "F64", f64s, 2),
        ("f32", "F32", f32s, 2),
        ("f16", "F16", vec![0, 0x3e, 0, 0xc0], 2),
        ("bf16", "BF16", vec![0xc0, 0x3f, 0, 0xc0], 2),
        ("i8", "I8", vec![1, 0xff, 0x80], 3),
        ("i32", "I32", vec![0xfe, 0xff, 0xff, 0xff, 7, 0, 0, 0], 2),
        ("u8", "U8", vec![0xff], 1),
        ("i64", "I64", (-5i64).to_le_bytes().to_vec(), 1),
        ("u64", "U64", u64::MAX.to_le_bytes().to_vec(), 1),
        ("bool", "BOOL", vec![1], 1),
    ])
    .unwrap();
    for name in ["f64", "f32", "f16", "bf16"] {
        assert_eq!(t.numbers(name).unwrap(), [1.5, -2.0], "{name}");
        assert!(t.kind(name).unwrap().is_float());
        assert_eq!(t.whole_numbers(name).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(t.whole_numbers("i8").unwrap(), [1, -1, -128]);
    assert_eq!(t.whole_numbers("i32").unwrap(), [-2, 7]);
    assert_eq!(t.whole_numbers("u8").unwrap(), [255]);
    assert_eq!(t.whole_numbers("i64").unwrap(), [-5]);
    assert_eq!(t.kind("i64"), Some(SafeType::Signed(8)));
    for name in ["u64", "bool", "none"] {
        assert_eq!(t.whole_numbers(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
        assert_eq!(t.numbers(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
    assert_eq!(t.names().count(), 10);
    assert_eq!(t.shape("i8"), Some(&[3][..]));
}

#[test]
fn sizes_are_checked_for_each_type() {
    for kind in ["F64", "I8", "U64", "BOOL"] {
        assert!(open(&[("x", kind, vec![0; 3], 2)]).is_err(), "{kind}");
    }
    assert!(open(&[("x", "F8_E4M3", vec![0; 2], 2)]).is_err());
}
