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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F32,
    F16,
    BF16,
    /// Known sizes that hold no weights.
    Other(u64),
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "F64" | "I64" | "U64" => Self::Other(8),
            "I32" | "U32" => Self::Other(4),
            "I16" | "U16" => Self::Other(2),
            "I8" | "U8" | "BOOL" => Self::Other(1),
            _ => return None,
        })
    }

    fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Other(n) => n,
        }
    }
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    shape: Vec<u64>,
    /// From the file's beginning.
    start: u64,
    bytes: u64,
}

/// An open file whose header was checked.
#[derive(Debug)]
pub(super) struct SafeTensors {
    file: File,
    entries: BTreeMap<String, Entry>,
}

fn bad(message: &'static str) -> Error {
    Error::invalid_input(message)
}

impl SafeTensors {
    /// # Errors
    /// `NotFound` if there is no file, `InvalidInput` if its header is broken or tensors overlap or reach past its end.
    pub(super) fn open(path: &Path) -> Result<Self> {
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
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// A tensor's shape, outermost dimension first.
    pub(super) fn shape(&self, name: &str) -> Option<&[u64]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// A tensor's numbers.
    ///
    /// # Errors
    /// `InvalidInput` if it holds no floating point numbers, or one that is not finite.
    pub(super) fn numbers(&mut self, name: &str) -> Result<Vec<f32>> {
        let wrong = |what: &'static str| bad(what).with_context("tensor", name.to_owned());
        let entry = self.entries.get(name).ok_or_else(|| wrong("there is no such tensor"))?;
        self.file.seek(SeekFrom::Start(entry.start))?;
        let mut bytes = vec![0; entry.bytes as usize];
        self.file.read_exact(&mut bytes)?;
        let two = |c: &[u8]| u16::from_le_bytes([c[0], c[1]]);
        let numbers: Vec<f32> = match entry.kind {
            Kind::F32 => {
                bytes.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
            }
            Kind::F16 => bytes.chunks_exact(2).map(|c| from_f16(two(c))).collect(),
            Kind::BF16 => bytes.chunks_exact(2).map(|c| from_bf16(two(c))).collect(),
            Kind::Other(_) => return Err(wrong("a tensor holds no floating point numbers")),
        };
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(wrong("a tensor holds a number that is not finite"));
        }
        Ok(numbers)
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
    let kind = Kind::of(value.get("dtype")?.as_str()?)?;
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
