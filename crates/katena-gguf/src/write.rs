//! Writes GGUF files, version 3.

use std::io::{self, Write};

use super::value::{TensorType, Value, code};
use super::{DEFAULT_ALIGNMENT, MAGIC};

/// A tensor to be written: name, shape (innermost dimension first) and type.
#[derive(Debug, Clone)]
pub struct TensorPlan {
    /// Its name.
    pub name: String,
    /// Its shape, innermost dimension first.
    pub dims: Vec<u64>,
    /// How its numbers are stored.
    pub kind: TensorType,
}

impl TensorPlan {
    fn bytes(&self) -> u64 {
        self.dims.iter().product::<u64>() * self.kind.bytes()
    }
}

/// Collects what a file shall say, then writes it in one go.
#[derive(Debug, Default)]
pub struct Writer {
    pairs: Vec<(String, Value)>,
    tensors: Vec<TensorPlan>,
}

impl Writer {
    /// Adds a key-value; whole numbers are written as 32 bits.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        self.pairs.push((key.into(), value));
    }

    /// Puts another value in a key's place; false if the key is not there.
    pub fn replace(&mut self, key: &str, value: Value) -> bool {
        let found = self.pairs.iter_mut().find(|(k, _)| k == key);
        found.map(|pair| pair.1 = value).is_some()
    }

    /// Adds a tensor.
    pub fn tensor(&mut self, plan: TensorPlan) {
        self.tensors.push(plan);
    }

    /// Writes the file; `data` gives each tensor's bytes, in the order of the plans.
    pub fn write<E: From<io::Error>>(
        &self,
        out: &mut impl Write,
        mut data: impl FnMut(usize, &TensorPlan) -> Result<Vec<u8>, E>,
    ) -> Result<(), E> {
        let head = self.head()?;
        out.write_all(&head)?;
        pad(out, head.len() as u64)?;
        for (n, plan) in self.tensors.iter().enumerate() {
            let bytes = data(n, plan)?;
            if bytes.len() as u64 != plan.bytes() {
                return Err(io::Error::other("a tensor's data does not fit its shape").into());
            }
            out.write_all(&bytes)?;
            pad(out, bytes.len() as u64)?;
        }
        Ok(())
    }

    fn head(&self) -> io::Result<Vec<u8>> {
        let mut h = Vec::new();
        h.extend(MAGIC);
        h.extend(3u32.to_le_bytes());
        h.extend((self.tensors.len() as u64).to_le_bytes());
        h.extend((self.pairs.len() as u64).to_le_bytes());
        for (key, value) in &self.pairs {
            text(&mut h, key);
            put(&mut h, value)?;
        }
        let mut offset = 0u64;
        for plan in &self.tensors {
            text(&mut h, &plan.name);
            h.extend((plan.dims.len() as u32).to_le_bytes());
            for d in &plan.dims {
                h.extend(d.to_le_bytes());
            }
            h.extend(plan.kind.code().to_le_bytes());
            h.extend(offset.to_le_bytes());
            offset += plan.bytes().next_multiple_of(DEFAULT_ALIGNMENT);
        }
        Ok(h)
    }
}

fn pad(out: &mut impl Write, written: u64) -> io::Result<()> {
    let fill = written.next_multiple_of(DEFAULT_ALIGNMENT) - written;
    out.write_all(&[0; DEFAULT_ALIGNMENT as usize][..fill as usize])
}

fn text(h: &mut Vec<u8>, text: &str) {
    h.extend((text.len() as u64).to_le_bytes());
    h.extend(text.as_bytes());
}

fn too_large<E>(_: E) -> io::Error {
    io::Error::other("a number does not fit into 32 bits")
}

fn put(h: &mut Vec<u8>, value: &Value) -> io::Result<()> {
    let array = |h: &mut Vec<u8>, kind: u32, len: usize| {
        h.extend(code::ARRAY.to_le_bytes());
        h.extend(kind.to_le_bytes());
        h.extend((len as u64).to_le_bytes());
    };
    match value {
        Value::Unsigned(n) => {
            h.extend(code::U32.to_le_bytes());
            h.extend(u32::try_from(*n).map_err(too_large)?.to_le_bytes());
        }
        Value::Signed(n) => {
            h.extend(code::I32.to_le_bytes());
            h.extend(i32::try_from(*n).map_err(too_large)?.to_le_bytes());
        }
        Value::Float(n) => {
            h.extend(code::F32.to_le_bytes());
            h.extend((*n as f32).to_le_bytes());
        }
        Value::Bool(b) => {
            h.extend(code::BOOL.to_le_bytes());
            h.push(u8::from(*b));
        }
        Value::Text(t) => {
            h.extend(code::STRING.to_le_bytes());
            text(h, t);
        }
        Value::Numbers(numbers) => {
            array(h, code::I32, numbers.len());
            for n in numbers {
                h.extend(i32::try_from(*n).map_err(too_large)?.to_le_bytes());
            }
        }
        Value::Floats(numbers) => {
            array(h, code::F32, numbers.len());
            h.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
        }
        Value::Texts(texts) => {
            array(h, code::STRING, texts.len());
            for t in texts {
                text(h, t);
            }
        }
        Value::Skipped(_) => return Err(io::Error::other("a skipped value can't be written")),
    }
    Ok(())
}
