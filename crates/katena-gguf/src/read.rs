//! Reads and checks the head of a GGUF file within limits.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use katena_core::{Error, ErrorKind, Result};

use super::value::{Value, block, code, fixed_size};
use super::{DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS};

/// Most key-values of a file; real ones have a few dozen.
const MAX_PAIRS: u64 = 65_536;
/// Most tensors of a file; the largest known have a few thousand.
const MAX_TENSORS: u64 = 1 << 20;
/// Longest key and tensor name, in bytes.
const MAX_NAME: u64 = 65_535;
/// Longest text value that is kept, in bytes (a chat template has some 10 KiB).
const MAX_TEXT: u64 = 4 << 20;
/// Arrays of numbers up to this length are kept.
const MAX_NUMBERS: u64 = 65_536;
/// Most elements of an array of texts (vocabularies have up to some 260,000).
const MAX_TEXTS: u64 = 16 << 20;

/// Which large arrays the reader keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// None.
    Small,
    /// The vocabulary's texts.
    Vocabulary,
}

/// What a file says about itself.
#[derive(Debug)]
pub struct Header {
    values: HashMap<String, Value>,
    /// Names of the tensors.
    pub tensors: HashSet<String>,
    /// The file's size in bytes.
    pub file_bytes: u64,
    /// The tensors in the file's order.
    infos: Vec<TensorInfo>,
    pub(crate) layout: Layout,
}

/// A tensor of a file: its shape and where its data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its shape, innermost dimension first; at most four dimensions, none of them 0.
    pub dims: Vec<u64>,
    /// ggml's number of its type: 0 is F32, 1 is F16, 8 is `Q8_0`.
    pub kind: u32,
    /// Where its data begins, in bytes from the file's beginning.
    pub start: u64,
    /// How many bytes its data has; they lie inside the file.
    pub bytes: u64,
}

/// Where the parts of the head are.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// How many key-values there are.
    pub(crate) pairs: u64,
    /// From where to where they are.
    pub(crate) pairs_at: (u64, u64),
    /// Where the value of `general.file_type` is, if it's there as 32 bits.
    pub(crate) file_type_at: Option<u64>,
    /// How tensor data is aligned.
    pub(crate) alignment: u64,
    /// Keys whose values are floating point numbers of 64 bits.
    pub(crate) doubles: HashSet<String>,
}

struct Source<R> {
    inner: R,
    at: u64,
    len: u64,
}

impl<R: Read + Seek> Source<R> {
    fn left(&self) -> u64 {
        self.len - self.at
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        if buffer.len() as u64 > self.left() {
            return Err(bad("the GGUF file ends in the middle of its header"));
        }
        self.inner.read_exact(buffer)?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.left() {
            return Err(bad("the GGUF file ends in the middle of its header"));
        }
        let step = i64::try_from(bytes).map_err(|_| bad("the GGUF file's header is too long"))?;
        self.inner.seek_relative(step)?;
        self.at += bytes;
        Ok(())
    }

    /// A length and that many bytes; `None` if longer than `keep`.
    fn text(&mut self, keep: u64) -> Result<Option<String>> {
        let len = self.u64()?;
        if len > self.left() {
            return Err(bad("the GGUF file names a text longer than itself"));
        }
        if len > keep {
            self.skip(len)?;
            return Ok(None);
        }
        let mut buffer = vec![0; len as usize];
        self.fill(&mut buffer)?;
        Ok(Some(match String::from_utf8(buffer) {
            Ok(text) => text,
            Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
        }))
    }

    fn name(&mut self) -> Result<String> {
        match self.text(MAX_NAME)? {
            Some(name) if !name.is_empty() => Ok(name),
            _ => Err(bad("the GGUF file has an empty or overlong name")),
        }
    }

    fn scalar(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            code::U8 => Value::Unsigned(u64::from(u8::from_le_bytes(self.bytes()?))),
            code::I8 => Value::Signed(i64::from(i8::from_le_bytes(self.bytes()?))),
            code::U16 => Value::Unsigned(u64::from(u16::from_le_bytes(self.bytes()?))),
            code::I16 => Value::Signed(i64::from(i16::from_le_bytes(self.bytes()?))),
            code::U32 => Value::Unsigned(u64::from(self.u32()?)),
            code::I32 => Value::Signed(i64::from(i32::from_le_bytes(self.bytes()?))),
            code::F32 => Value::Float(f64::from(f32::from_le_bytes(self.bytes()?))),
            code::BOOL => Value::Bool(self.bytes::<1>()?[0] != 0),
            code::U64 => Value::Unsigned(self.u64()?),
            code::I64 => Value::Signed(i64::from_le_bytes(self.bytes()?)),
            code::F64 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            _ => return Err(bad("the GGUF file has a value of an unknown type")),
        })
    }

    fn array(&mut self, keep_texts: bool) -> Result<Value> {
        let kind = self.u32()?;
        let count = self.u64()?;
        if kind == code::STRING {
            // Each text takes at least its 8-byte length.
            if count > MAX_TEXTS || count.checked_mul(8).is_none_or(|b| b > self.left()) {
                return Err(bad("the GGUF file names an array longer than itself"));
            }
            let mut texts = Vec::new();
            for _ in 0..count {
                let text = self.text(if keep_texts { MAX_TEXT } else { 0 })?;
                if keep_texts {
                    texts.push(text.unwrap_or_default());
                }
            }
            return Ok(if keep_texts { Value::Texts(texts) } else { Value::Skipped(count) });
        }
        if kind == code::ARRAY {
            return Err(bad("the GGUF file has an array of arrays"));
        }
        let size = fixed_size(kind).ok_or_else(|| bad("the GGUF file has an array of an unknown type"))?;
        let bytes = count.checked_mul(size).filter(|b| *b <= self.left());
        let bytes = bytes.ok_or_else(|| bad("the GGUF file names an array longer than itself"))?;
        if count > MAX_NUMBERS || matches!(kind, code::F32 | code::F64 | code::BOOL) {
            self.skip(bytes)?;
            return Ok(Value::Skipped(count));
        }
        let mut numbers = Vec::with_capacity(count as usize);
        for _ in 0..count {
            numbers.push(match self.scalar(kind)? {
                Value::Unsigned(n) => i64::try_from(n).unwrap_or(i64::MAX),
                Value::Signed(n) => n,
                _ => return Err(bad("the GGUF file has an array of an unknown type")),
            });
        }
        Ok(Value::Numbers(numbers))
    }
}

fn bad(message: &'static str) -> Error {
    Error::invalid_input(message)
}

impl Header {
    /// Reads and checks the head of the file at `path`: magic, version, counts, key-values, and that every tensor lies
    /// inside the file.
    ///
    /// # Errors
    /// `NotFound` if there is no file, `InvalidInput` if it is no GGUF file or a broken one; both name the file.
    pub fn read(path: &Path, keep: Keep) -> Result<Self> {
        Self::open(path, keep).map_err(|e| e.with_context("file", path.display().to_string()))
    }

    fn open(path: &Path, keep: Keep) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::new(ErrorKind::NotFound, "there is no such model file").with_source(e));
            }
            Err(e) => return Err(e.into()),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(bad("the model path is not a file"));
        }
        Self::parse(BufReader::with_capacity(1 << 16, file), meta.len(), keep)
    }

    /// The same for any source of `len` bytes.
    pub fn parse(inner: impl Read + Seek, len: u64, keep: Keep) -> Result<Self> {
        let mut s = Source { inner, at: 0, len };
        if len < 4 || s.bytes::<4>()? != MAGIC {
            return Err(bad("this is not a GGUF file"));
        }
        let version = s.u32()?;
        if version.swap_bytes() <= 3 && version > 3 {
            return Err(Error::unsupported("the GGUF file is big endian"));
        }
        if !(2..=3).contains(&version) {
            return Err(
                bad("the GGUF file has an unknown version").with_context("version", version.to_string())
            );
        }
        let (tensors, pairs) = (s.u64()?, s.u64()?);
        // A pair takes at least 8 + 1 + 4 + 1 bytes, a tensor info at least 8 + 1 + 4 + 8 + 4 + 8.
        if pairs > MAX_PAIRS || pairs * 14 > s.left() {
            return Err(bad("the GGUF file claims more key-values than it can hold")
                .with_context("count", pairs.to_string()));
        }
        if tensors > MAX_TENSORS || tensors * 33 > s.left() {
            return Err(bad("the GGUF file claims more tensors than it can hold")
                .with_context("count", tensors.to_string()));
        }
        let mut values = HashMap::new();
        let mut layout = Layout { pairs, pairs_at: (s.at, s.at), ..Layout::default() };
        for _ in 0..pairs {
            let key = s.name()?;
            let kind = s.u32()?;
            if kind == code::U32 && key == "general.file_type" {
                layout.file_type_at = Some(s.at);
            }
            if kind == code::F64 {
                layout.doubles.insert(key.clone());
            }
            let value = match kind {
                code::STRING => s.text(MAX_TEXT)?.map_or(Value::Skipped(1), Value::Text),
                code::ARRAY => s.array(keep == Keep::Vocabulary && key == "tokenizer.ggml.tokens")?,
                _ => s.scalar(kind)?,
            };
            if values.insert(key, value).is_some() {
                return Err(bad("the GGUF file has a key twice"));
            }
        }
        layout.pairs_at.1 = s.at;
        let mut header = Self { values, tensors: HashSet::new(), file_bytes: len, infos: Vec::new(), layout };
        header.check_tensors(&mut s, tensors)?;
        Ok(header)
    }

    fn check_tensors(&mut self, s: &mut Source<impl Read + Seek>, count: u64) -> Result<()> {
        let alignment = match self.values.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= 1 << 20 => *n,
            Some(_) => return Err(bad("the GGUF file's alignment is not a power of two")),
        };
        self.layout.alignment = alignment;
        for _ in 0..count {
            let name = s.name()?;
            let count = s.u32()? as usize;
            if count > MAX_DIMS {
                return Err(
                    bad("a tensor of the GGUF file has too many dimensions").with_context("tensor", name)
                );
            }
            let mut elements = 1u64;
            let mut dims = Vec::with_capacity(count);
            for _ in 0..count {
                let d = s.u64()?;
                dims.push(d);
                elements = match elements.checked_mul(d) {
                    Some(e) if e > 0 && i64::try_from(e).is_ok() => e,
                    _ => {
                        return Err(bad("a tensor of the GGUF file has an impossible shape")
                            .with_context("tensor", name));
                    }
                };
            }
            let kind = s.u32()?;
            let offset = s.u64()?;
            if offset % alignment != 0 {
                return Err(bad("a tensor of the GGUF file is not aligned").with_context("tensor", name));
            }
            let row = dims.first().copied().unwrap_or(1);
            let bytes = match block(kind) {
                Some((per, size)) if row.is_multiple_of(per) => (elements / per).checked_mul(size),
                Some(_) => None,
                None => {
                    return Err(Error::unsupported("a tensor of the GGUF file has an unknown type")
                        .with_context("tensor", name)
                        .with_context("type", kind.to_string()));
                }
            };
            let Some(bytes) = bytes.filter(|b| b.checked_add(offset).is_some()) else {
                return Err(
                    bad("a tensor of the GGUF file has an impossible shape").with_context("tensor", name)
                );
            };
            self.infos.push(TensorInfo { name: name.clone(), dims, kind, start: offset, bytes });
            if !self.tensors.insert(name) {
                return Err(bad("the GGUF file has a tensor twice"));
            }
        }
        let start = s.at.next_multiple_of(alignment);
        for info in &mut self.infos {
            // The offset and the size together fit, as checked above.
            if start.checked_add(info.start + info.bytes).is_none_or(|e| e > s.len) {
                return Err(bad("the GGUF file is cut off: a tensor reaches past its end")
                    .with_context("tensor", info.name.clone())
                    .with_context("file_bytes", s.len.to_string()));
            }
            info.start += start;
        }
        Ok(())
    }

    /// The tensors in the file's order.
    pub fn tensor_infos(&self) -> &[TensorInfo] {
        &self.infos
    }

    /// A whole number that is not negative.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Unsigned(n) => Some(*n),
            Value::Signed(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    /// A floating point number.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.values.get(key)? {
            Value::Float(n) => Some(*n),
            _ => None,
        }
    }

    /// True if the value is a floating point number of 32 bits: llama.cpp's reader of adapters stops the process for 64.
    pub fn is_float32(&self, key: &str) -> bool {
        self.float(key).is_some() && !self.layout.doubles.contains(key)
    }

    /// True or false.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.values.get(key)? {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The vocabulary's texts, if they were kept.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        match self.values.get(key)? {
            Value::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// How many elements an array has.
    pub fn length(&self, key: &str) -> Option<u64> {
        match self.values.get(key)? {
            Value::Texts(texts) => Some(texts.len() as u64),
            Value::Numbers(numbers) => Some(numbers.len() as u64),
            Value::Skipped(n) => Some(*n),
            _ => None,
        }
    }

    /// A number given once for all layers, or once a layer. The caller has bounded `layers`.
    pub fn per_layer(&self, key: &str, layers: u64) -> Option<Vec<u64>> {
        match self.values.get(key)? {
            Value::Numbers(numbers) => Some(numbers.iter().map(|n| u64::try_from(*n).unwrap_or(0)).collect()),
            _ => Some(vec![self.number(key)?; usize::try_from(layers).ok()?]),
        }
    }

    /// The architecture's name, such as `llama` or `bert`.
    ///
    /// # Errors
    /// `InvalidInput` if the file names none.
    pub fn architecture(&self) -> Result<&str> {
        self.text("general.architecture").ok_or_else(|| bad("the GGUF file names no architecture"))
    }

    /// A number under the architecture's prefix.
    pub fn arch_number(&self, key: &str) -> Option<u64> {
        self.number(&format!("{}.{key}", self.text("general.architecture")?))
    }
}
