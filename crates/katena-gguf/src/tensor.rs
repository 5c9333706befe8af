//! Reads a tensor's numbers.

use std::io::{Read, Seek, SeekFrom};

use katena_core::{Error, Result};

use crate::TensorInfo;
use crate::convert::half::{from_bf16, from_f16};

/// Bytes that are read at a time; a multiple of each type's block.
const CHUNK: u64 = 34 << 10;

/// A tensor's numbers in 32 bits, the innermost dimension first.
///
/// `file` is the one that `info` comes from. Types F32, F16, BF16 and `Q8_0`.
///
/// ```no_run
/// use katena_gguf::{Header, Keep, tensor_numbers};
/// let header = Header::read("model.gguf".as_ref(), Keep::Small)?;
/// let mut file = std::fs::File::open("model.gguf")?;
/// for info in header.tensor_infos() {
///     println!("{}: {} numbers", info.name, tensor_numbers(&mut file, info)?.len());
/// }
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// `Unsupported` for other types; `InvalidInput` if a number is not finite or the file has become shorter. Both name the tensor.
pub fn tensor_numbers(file: &mut (impl Read + Seek), info: &TensorInfo) -> Result<Vec<f32>> {
    let named = |e: Error| e.with_context("tensor", info.name.clone());
    let half = |c: &[u8]| from_f16(u16::from_le_bytes([c[0], c[1]]));
    file.seek(SeekFrom::Start(info.start))?;
    // The header's check has bounded the bytes by the file's size.
    let mut numbers = Vec::with_capacity(info.dims.iter().product::<u64>() as usize);
    let mut buffer = vec![0; info.bytes.min(CHUNK) as usize];
    let mut left = info.bytes;
    while left > 0 {
        let bytes = &mut buffer[..left.min(CHUNK) as usize];
        file.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                named(Error::invalid_input("the GGUF file became shorter while it was read"))
            }
            _ => named(e.into()),
        })?;
        left -= bytes.len() as u64;
        match info.kind {
            0 => numbers.extend(bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))),
            1 => numbers.extend(bytes.chunks_exact(2).map(half)),
            30 => {
                numbers.extend(bytes.chunks_exact(2).map(|c| from_bf16(u16::from_le_bytes([c[0], c[1]]))));
            }
            // A 16-bit scale, then 32 numbers of 8 bits (`block_q8_0` in ggml).
            8 => {
                for block in bytes.chunks_exact(34) {
                    let scale = half(block);
                    numbers.extend(block[2..].iter().map(|b| f32::from(b.cast_signed()) * scale));
                }
            }
            kind => {
                return Err(named(
                    Error::unsupported("a tensor is of a type that cannot be read here")
                        .with_context("type", kind.to_string()),
                ));
            }
        }
    }
    if numbers.iter().any(|x| !x.is_finite()) {
        return Err(named(Error::invalid_input("a tensor has a number that is not finite")));
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use katena_core::ErrorKind;

    use super::*;

    fn info(kind: u32, dims: &[u64], bytes: usize) -> TensorInfo {
        TensorInfo { name: "t".into(), dims: dims.to_vec(), kind, start: 3, bytes: bytes as u64 }
    }

    fn read(kind: u32, dims: &[u64], data: &[u8]) -> Result<Vec<f32>> {
        tensor_numbers(&mut Cursor::new([&[9; 3], data].concat()), &info(kind, dims, data.len()))
    }

    #[test]
    fn numbers_of_each_type() {
        let data: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(read(0, &[2], &data).unwrap(), [1.5, -2.0]);
        assert_eq!(read(1, &[2], &[0x00, 0x3c, 0x00, 0xc0]).unwrap(), [1.0, -2.0]);
        assert_eq!(read(30, &[2], &[0x80, 0x3f, 0x00, 0xc0]).unwrap(), [1.0, -2.0]);
        // A scale of 0.5 and the numbers -16 to 15, in more blocks than are read at a time.
        let block: Vec<u8> = [0x00, 0x38].into_iter().chain((-16i8..16).map(i8::cast_unsigned)).collect();
        let numbers = read(8, &[32, 2000], &block.repeat(2000)).unwrap();
        assert_eq!((numbers.len(), numbers[0], numbers[63_999]), (64_000, -8.0, 7.5));
    }

    #[test]
    fn what_cannot_be_read() {
        assert_eq!(read(2, &[32], &[0; 18]).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(read(1, &[1], &[0x00, 0x7c]).unwrap_err().kind(), ErrorKind::InvalidInput);
        let cut = tensor_numbers(&mut Cursor::new([0; 6]), &info(0, &[1], 4)).unwrap_err();
        assert_eq!(cut.kind(), ErrorKind::InvalidInput);
    }
}
