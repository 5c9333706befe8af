//! A projector file's head, checked before llama.cpp's loader sees it.
//!
//! That loader asserts the types of keys and computes with the shapes of tensors as they come; each surprise stops the
//! process. So only what is known here passes: each `clip.*` key and each tensor is on a list, with its type or shape.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use katena_core::{Error, Result};
use katena_gguf::Header;

const U32: u32 = 4;
const F32: u32 = 6;
const BOOL: u32 = 7;
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// Keys that may be there, and their types; the second number is the type of an array's elements.
const KEYS: &[(&str, u32, u32)] = &[
    ("general.architecture", TEXT, 0),
    ("general.name", TEXT, 0),
    ("general.description", TEXT, 0),
    ("general.alignment", U32, 0),
    ("clip.projector_type", TEXT, 0),
    ("clip.vision.projector_type", TEXT, 0),
    ("clip.has_vision_encoder", BOOL, 0),
    ("clip.has_audio_encoder", BOOL, 0),
    ("clip.has_text_encoder", BOOL, 0),
    ("clip.has_llava_projector", BOOL, 0),
    ("clip.use_gelu", BOOL, 0),
    ("clip.use_silu", BOOL, 0),
    ("clip.vision.embedding_length", U32, 0),
    ("clip.vision.feed_forward_length", U32, 0),
    ("clip.vision.block_count", U32, 0),
    ("clip.vision.projection_dim", U32, 0),
    ("clip.vision.attention.head_count", U32, 0),
    ("clip.vision.attention.layer_norm_epsilon", F32, 0),
    ("clip.vision.image_size", U32, 0),
    ("clip.vision.patch_size", U32, 0),
    ("clip.vision.mm_patch_merge_type", TEXT, 0),
    ("clip.vision.image_mean", ARRAY, F32),
    ("clip.vision.image_std", ARRAY, F32),
];

/// Longest key or small array that is read.
const MAX_KEY: u64 = 1 << 16;
const MAX_ARRAY: u64 = 64;
/// Bounds of the encoder.
const MAX_WIDTH: u64 = 1 << 14;
const MAX_LAYERS: u64 = 128;
const MAX_SIDE: u64 = 2048;
const MAX_PATCHES: u64 = 4096;

/// What a checked projector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Projector {
    /// Numbers of one token that it makes.
    pub(super) width: u64,
    /// Tokens of an image.
    pub(super) tokens: usize,
    /// Bytes of its weights.
    pub(super) weights_bytes: u64,
    /// Bytes that it computes in, about.
    pub(super) buffer_bytes: u64,
}

/// Where the types of tensors matter.
#[derive(Clone, Copy)]
enum Kind {
    /// Multiplied with: floats, or blocks of them.
    Matrix,
    /// A convolution's kernel: floats of 32 or 16 bits.
    Kernel,
    /// Added or multiplied one by one: floats of 32 bits.
    Plain,
}

impl Kind {
    fn takes(self, kind: u32) -> bool {
        match self {
            Self::Matrix => matches!(kind, 0..=3 | 6..=8 | 10..=14 | 30),
            Self::Kernel => matches!(kind, 0 | 1),
            Self::Plain => kind == 0,
        }
    }
}

fn bad(words: &'static str) -> Error {
    Error::invalid_input(words)
}

/// Checks the file at `path`, whose head has been read.
///
/// # Errors
/// `Unsupported` for projectors other than LLaVA's two layers (`mlp`), and for parts of one that are not known here;
/// `InvalidInput` for a file that contradicts itself.
pub(super) fn check(path: &Path, header: &Header) -> Result<Projector> {
    if header.architecture()? != "clip" {
        return Err(bad("this file is no projector for images")
            .with_context("architecture", header.architecture()?.to_owned()));
    }
    let floats = keys(path)?;
    let kind = header.text("clip.projector_type").filter(|t| !t.is_empty());
    let kind = kind.or(header.text("clip.vision.projector_type")).unwrap_or("none");
    if kind != "mlp" {
        return Err(Error::unsupported("only LLaVA's projectors of two layers (`mlp`) are understood here")
            .with_context("projector", kind.to_owned()));
    }
    if header.flag("clip.has_vision_encoder") != Some(true) {
        return Err(bad("the projector has no encoder for images"));
    }
    if header.flag("clip.has_audio_encoder") == Some(true) {
        return Err(Error::unsupported("encoders for sound are not understood here"));
    }
    let number = |key: &'static str, most: u64| match header.number(&format!("clip.vision.{key}")) {
        Some(n) if (1..=most).contains(&n) => Ok(n),
        n => Err(bad("a number of the projector is missing or out of range")
            .with_context("key", key)
            .with_context("value", n.map_or_else(|| "none".to_owned(), |n| n.to_string()))
            .with_context("most", most.to_string())),
    };
    let width = number("embedding_length", MAX_WIDTH)?;
    let inner = number("feed_forward_length", MAX_WIDTH * 4)?;
    let layers = number("block_count", MAX_LAYERS)?;
    let heads = number("attention.head_count", 512)?;
    let side = number("image_size", MAX_SIDE)?;
    let patch = number("patch_size", MAX_SIDE)?;
    number("projection_dim", 1 << 20)?;
    let head = width / heads;
    if width % heads != 0 || head % 8 != 0 || head > 256 {
        return Err(Error::unsupported("the projector's attention heads have an unknown length")
            .with_context("head_length", head.to_string()));
    }
    let across = side / patch;
    let tokens = across * across;
    if side % patch != 0 || tokens > MAX_PATCHES {
        return Err(bad("the projector's image is not cut into whole patches, or into too many")
            .with_context("image_size", side.to_string())
            .with_context("patch_size", patch.to_string()));
    }
    let epsilon = header.float("clip.vision.attention.layer_norm_epsilon");
    if !epsilon.is_some_and(|e| e > 0.0 && e < 1.0) {
        return Err(bad("the projector's norm has no usable epsilon"));
    }
    for (key, least) in [("clip.vision.image_mean", f32::MIN), ("clip.vision.image_std", 1e-6)] {
        let fits = |n: &f32| n.is_finite() && *n >= least && *n < 1e6;
        if !floats.get(key).is_some_and(|list| list.len() == 3 && list.iter().all(fits)) {
            return Err(bad("the projector does not say how colours are scaled").with_context("key", key));
        }
    }
    let out = Tensors::of(header).check(width, layers, patch, tokens)?;
    let places = tokens + 1;
    let numbers = places * (width * 12 + inner * 3) + places * places * heads + side * side * 3 * 4;
    Ok(Projector {
        width: out,
        tokens: tokens as usize,
        weights_bytes: header.tensor_infos().iter().map(|t| t.bytes).sum(),
        buffer_bytes: numbers * 4,
    })
}

/// The file's tensors by name; those that were looked at are taken out.
struct Tensors<'h>(HashMap<&'h str, (&'h [u64], u32)>);

impl<'h> Tensors<'h> {
    fn of(header: &'h Header) -> Self {
        let entry = |t: &'h katena_gguf::TensorInfo| {
            let ones = t.dims.iter().rev().take_while(|d| **d == 1).count();
            (t.name.as_str(), (&t.dims[..t.dims.len() - ones], t.kind))
        };
        Self(header.tensor_infos().iter().map(entry).collect())
    }

    fn dims(&self, name: &str) -> Option<&'h [u64]> {
        Some(self.0.get(name)?.0)
    }

    /// Takes a tensor out, if it is there.
    fn may(&mut self, name: &str, dims: &[u64], kind: Kind) -> Result<bool> {
        let Some((found, code)) = self.0.remove(name) else { return Ok(false) };
        if found != dims || !kind.takes(code) {
            return Err(bad("a tensor of the projector has an unknown shape or type")
                .with_context("tensor", name.to_owned())
                .with_context("shape", format!("{found:?}"))
                .with_context("expected", format!("{dims:?}"))
                .with_context("type", code.to_string()));
        }
        Ok(true)
    }

    fn must(&mut self, name: &str, dims: &[u64], kind: Kind) -> Result<()> {
        if self.may(name, dims, kind)? {
            return Ok(());
        }
        Err(bad("a tensor of the projector is missing").with_context("tensor", name.to_owned()))
    }

    /// Weights and biases of a norm.
    fn norm(&mut self, name: &str, width: u64) -> Result<()> {
        self.must(&format!("{name}.weight"), &[width], Kind::Plain)?;
        self.must(&format!("{name}.bias"), &[width], Kind::Plain)
    }

    /// A matrix with a bias that may be missing.
    fn linear(&mut self, name: &str, from: u64, to: u64) -> Result<()> {
        self.must(&format!("{name}.weight"), &[from, to], Kind::Matrix)?;
        self.may(&format!("{name}.bias"), &[to], Kind::Plain)?;
        Ok(())
    }

    /// All of them; gives the width of what comes out.
    fn check(mut self, width: u64, layers: u64, patch: u64, tokens: u64) -> Result<u64> {
        self.must("v.patch_embd.weight", &[patch, patch, 3, width], Kind::Kernel)?;
        self.may("v.patch_embd.bias", &[width], Kind::Plain)?;
        let class = self.may("v.class_embd", &[width], Kind::Plain)?;
        let places = tokens + u64::from(class);
        self.must("v.position_embd.weight", &[width, places], Kind::Plain)?;
        for name in ["v.pre_ln", "v.post_ln"] {
            if self.0.contains_key(format!("{name}.weight").as_str()) {
                self.norm(name, width)?;
            }
        }
        for n in 0..layers {
            let name = |part: &str| format!("v.blk.{n}.{part}");
            for part in ["attn_q", "attn_k", "attn_v", "attn_out"] {
                self.linear(&name(part), width, width)?;
            }
            self.norm(&name("ln1"), width)?;
            self.norm(&name("ln2"), width)?;
            // Older files have the two the wrong way round; the loader tells by the second one's shape.
            let down = self.dims(&name("ffn_down.weight")).unwrap_or_default();
            let turned = down.first() == Some(&width);
            let (up, down) = if turned { ("ffn_down", "ffn_up") } else { ("ffn_up", "ffn_down") };
            let inner =
                self.dims(&name(&format!("{up}.weight"))).and_then(|d| d.get(1)).copied().unwrap_or(0);
            self.linear(&name(up), width, inner)?;
            self.linear(&name(down), inner, width)?;
        }
        let middle = self.dims("mm.0.weight").and_then(|d| d.get(1)).copied().unwrap_or(0);
        let out = self.dims("mm.2.weight").and_then(|d| d.get(1)).copied().unwrap_or(0);
        for (name, from, to) in [("mm.0", width, middle), ("mm.2", middle, out)] {
            self.must(&format!("{name}.weight"), &[from, to], Kind::Matrix)?;
            self.must(&format!("{name}.bias"), &[to], Kind::Plain)?;
        }
        match self.0.keys().min() {
            Some(name) => Err(Error::unsupported("the projector has a tensor that is not known here")
                .with_context("tensor", (*name).to_owned())),
            None => Ok(out),
        }
    }
}

/// Checks each key's type; gives the small arrays of floats.
fn keys(path: &Path) -> Result<HashMap<String, Vec<f32>>> {
    let mut s = Scan(BufReader::new(File::open(path)?));
    let (_, version, _) = (s.u32()?, s.u32()?, s.u64()?);
    if !matches!(version, 2 | 3) {
        return Err(Error::unsupported("this version of the file format is not understood"));
    }
    let count = s.u64()?;
    let mut floats = HashMap::new();
    for _ in 0..count {
        let key = s.text()?;
        let kind = s.u32()?;
        let (element, length) = if kind == ARRAY { (s.u32()?, s.u64()?) } else { (0, 1) };
        match KEYS.iter().find(|(name, ..)| *name == key) {
            Some((_, wanted, inside)) if (*wanted, *inside) != (kind, element) => {
                return Err(bad("a key of the projector has another type than it must have")
                    .with_context("key", key)
                    .with_context("type", kind.to_string()));
            }
            None if key.starts_with("clip.") => {
                return Err(Error::unsupported("the projector has a key that is not known here")
                    .with_context("key", key));
            }
            _ => {}
        }
        if (kind, element) == (ARRAY, F32) && length <= MAX_ARRAY {
            let mut list = Vec::new();
            for _ in 0..length {
                list.push(f32::from_bits(s.u32()?));
            }
            floats.insert(key, list);
        } else {
            s.skip(if kind == ARRAY { element } else { kind }, length)?;
        }
    }
    Ok(floats)
}

/// Reads little-endian values.
struct Scan(BufReader<File>);

impl Scan {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u64()?;
        if length > MAX_KEY {
            return Err(bad("a key of the projector is too long"));
        }
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Passes over `count` values of this type.
    fn skip(&mut self, kind: u32, count: u64) -> Result<()> {
        let size: u64 = match kind {
            0 | 1 | BOOL => 1,
            2 | 3 => 2,
            U32 | 5 | F32 => 4,
            10..=12 => 8,
            TEXT => {
                for _ in 0..count {
                    let length = self.u64()?;
                    self.forward(length)?;
                }
                return Ok(());
            }
            _ => return Err(bad("the projector has a value of an unknown type")),
        };
        self.forward(size.saturating_mul(count))
    }

    fn forward(&mut self, bytes: u64) -> Result<()> {
        let bytes = i64::try_from(bytes).map_err(|_| bad("the projector is cut off"))?;
        self.0.seek_relative(bytes)?;
        // A place behind the end is no error until it is read.
        if self.0.stream_position()? > self.0.get_ref().metadata()?.len() {
            return Err(bad("the projector is cut off"));
        }
        Ok(())
    }
}
