//! Reads safetensors files: a length, a JSON header, then the data. Headers are checked before anything is allocated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use katena_core::{Error, ErrorKind, Result};
use serde_json::Value;

use super::half::{from_bf16, from_f16};

/// Longest header; the format's own limit is 100 MB, real ones have some KiB.
const MAX_HEADER: u64 = 16 << 20;
/// Most dimensions of a tensor.
const MAX_DIMS: usize = 8;

/// How a tensor's numbers are stored in a safetensors file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SafeType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit floats with the exponent of 32-bit ones.
    BF16,
    /// 64-bit floats.
    F64,
    /// Signed whole numbers of so many bytes: 1, 2, 4 or 8.
    Signed(u8),
    /// Unsigned whole numbers of so many bytes: 1, 2, 4 or 8.
    Unsigned(u8),
    /// True or false, a byte each.
    Bool,
}

impl SafeType {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "F64" => Self::F64,
            "I8" => Self::Signed(1),
            "I16" => Self::Signed(2),
            "I32" => Self::Signed(4),
            "I64" => Self::Signed(8),
            "U8" => Self::Unsigned(1),
            "U16" => Self::Unsigned(2),
            "U32" => Self::Unsigned(4),
            "U64" => Self::Unsigned(8),
            "BOOL" => Self::Bool,
            _ => return None,
        })
    }

    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Bool => 1,
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Signed(n) | Self::Unsigned(n) => u64::from(n),
        }
    }

    /// Whether these are floating point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16 | Self::F64)
    }
}

#[derive(Debug)]
struct Entry {
    kind: SafeType,
    shape: Vec<u64>,
    /// From the file's beginning.
    start: u64,
    bytes: u64,
}

/// A safetensors file whose header was checked: types known, every tensor inside the file, none over another.
///
/// The format: 8 bytes little-endian length, a JSON header, then the data
/// (<https://github.com/huggingface/safetensors#format>). Nothing is read but the header until a tensor is asked for.
///
/// ```no_run
/// let mut file = katena_gguf::SafeTensors::open("model.safetensors".as_ref())?;
/// let shape = file.shape("embeddings").map(<[u64]>::to_vec);
/// let numbers = file.numbers("embeddings")?;
/// # let _ = (shape, numbers);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug)]
pub struct SafeTensors {
    file: File,
    entries: BTreeMap<String, Entry>,
}

fn bad(message: &'static str) -> Error {
    Error::invalid_input(message)
}

impl SafeTensors {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// `NotFound` if there is no file, `InvalidInput` if its header is broken or tensors overlap or reach past its end.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(path).map_err(|e| e.with_context("file", path.display().to_string()))
    }

    fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(ErrorKind::NotFound, "there is no such model file").with_source(e)
            }
            _ => e.into(),
        })?;
        let len = file.metadata()?.len();
        let mut size = [0; 8];
        if len < 8 {
            return Err(bad("this is not a safetensors file"));
        }
        file.read_exact(&mut size)?;
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER || size > len - 8 {
            return Err(bad(
                "this is not a safetensors file: its header is longer than allowed or than the file",
            ));
        }
        let mut text = vec![0; size as usize];
        file.read_exact(&mut text)?;
        let header: BTreeMap<String, Value> = serde_json::from_slice(&text)
            .map_err(|e| bad("the safetensors file's header is not JSON").with_source(e))?;
        let entries = entries(&header, 8 + size, len)?;
        Ok(Self { file, entries })
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// A tensor's shape, outermost dimension first.
    pub fn shape(&self, name: &str) -> Option<&[u64]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// How a tensor's numbers are stored.
    pub fn kind(&self, name: &str) -> Option<SafeType> {
        self.entries.get(name).map(|e| e.kind)
    }

    /// A tensor's floating point numbers, in 32 bits.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such tensor, it holds no floating point numbers, or one that is not finite.
    pub fn numbers(&mut self, name: &str) -> Result<Vec<f32>> {
        let wrong = |what: &'static str| bad(what).with_context("tensor", name.to_owned());
        let (kind, bytes) = self.bytes(name)?;
        let two = |c: &[u8]| u16::from_le_bytes([c[0], c[1]]);
        let eight = |c: &[u8]| f64::from_le_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]);
        let numbers: Vec<f32> = match kind {
            SafeType::F32 => {
                bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
            }
            SafeType::F16 => bytes.chunks_exact(2).map(|c| from_f16(two(c))).collect(),
            SafeType::BF16 => bytes.chunks_exact(2).map(|c| from_bf16(two(c))).collect(),
            SafeType::F64 => bytes.chunks_exact(8).map(|c| eight(c) as f32).collect(),
            _ => return Err(wrong("a tensor holds no floating point numbers")),
        };
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(wrong("a tensor holds a number that is not finite"));
        }
        Ok(numbers)
    }

    /// A tensor's whole numbers.
    ///
    /// # Errors
    /// `InvalidInput` if there is no such tensor, it holds no whole numbers, or one beyond 63 bits.
    pub fn whole_numbers(&mut self, name: &str) -> Result<Vec<i64>> {
        let wrong = |what: &'static str| bad(what).with_context("tensor", name.to_owned());
        let (kind, bytes) = self.bytes(name)?;
        let (SafeType::Signed(width) | SafeType::Unsigned(width)) = kind else {
            return Err(wrong("a tensor holds no whole numbers"));
        };
        let signed = matches!(kind, SafeType::Signed(_));
        let width = usize::from(width);
        let number = |c: &[u8]| {
            let negative = signed && c[width - 1] & 0x80 != 0;
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide[..width].copy_from_slice(c);
            let number = i64::from_le_bytes(wide);
            (signed || number >= 0).then_some(number)
        };
        let numbers: Option<Vec<i64>> = bytes.chunks_exact(width).map(number).collect();
        numbers.ok_or_else(|| wrong("a tensor holds a number that is too large"))
    }

    fn bytes(&mut self, name: &str) -> Result<(SafeType, Vec<u8>)> {
        let missing = || bad("there is no such tensor").with_context("tensor", name.to_owned());
        let entry = self.entries.get(name).ok_or_else(missing)?;
        self.file.seek(SeekFrom::Start(entry.start))?;
        let mut bytes = vec![0; entry.bytes as usize];
        self.file.read_exact(&mut bytes)?;
        Ok((entry.kind, bytes))
    }
}

/// Checks each tensor's description; `data` is where the data begins, `len` the file's length.
fn entries(header: &BTreeMap<String, Value>, data: u64, len: u64) -> Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    let mut ranges = Vec::new();
    for (name, value) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let entry = entry(value, data, len).ok_or_else(|| {
            bad("the safetensors file's header describes an impossible tensor")
                .with_context("tensor", name.clone())
        })?;
        ranges.push((entry.start, entry.start + entry.bytes));
        entries.insert(name.clone(), entry);
    }
    ranges.sort_unstable();
    if ranges.windows(2).any(|w| w[0].1 > w[1].0) {
        return Err(bad("tensors of the safetensors file overlap"));
    }
    Ok(entries)
}

fn entry(value: &Value, data: u64, len: u64) -> Option<Entry> {
    let kind = SafeType::of(value.get("dtype")?.as_str()?)?;
    let shape: Vec<u64> = value.get("shape")?.as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
    let offsets = value.get("data_offsets")?.as_array()?;
    let [start, end] = [offsets.first()?.as_u64()?, offsets.get(1)?.as_u64()?];
    let bytes = end.checked_sub(start)?;
    let elements = shape.iter().try_fold(1u64, |product, n| product.checked_mul(*n))?;
    let fits = offsets.len() == 2
        && shape.len() <= MAX_DIMS
        && elements.checked_mul(kind.bytes())? == bytes
        && data.checked_add(end)? <= len;
    fits.then_some(Entry { kind, shape, start: data + start, bytes })
}

#[cfg(test)]
#[path = "safetensors_tests.rs"]
mod tests;
