//! Rewrites a model with its weight matrices as `Q8_0`.
//!
//! llama.cpp has fast kernels for `Q8_0` on every processor, but none for `Q4_1` and `Q5_1` with AVX2: such a file answers
//! prompts about twice as fast after this, at the price of its size.

mod blocks;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use katena_core::{Error, Result};

use crate::value::code;
use crate::{Header, Keep, MAGIC, TensorInfo};
use blocks::{Q8_0, Q8_0_BYTES, ROW, decoder, encode};

/// What llama.cpp calls a file whose matrices are mostly `Q8_0`, in `general.file_type`.
const MOSTLY_Q8_0: u32 = 7;
/// ggml's version of its quantised formats, in `general.quantization_version`.
const QUANTIZATION_VERSION: u32 = 2;
/// Blocks that are converted at a time.
const CHUNK: u64 = 2048;

/// What [`quantize`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quantized {
    /// Tensors that are `Q8_0` now and were not.
    pub rewritten: usize,
    /// Tensors that were copied.
    pub copied: usize,
    /// The new file's size in bytes.
    pub bytes: u64,
}

/// Writes the model file `input` to `output` with its weight matrices as `Q8_0`: 8 bits a weight and a 16-bit scale for
/// 32 of them, 34 bytes in all (`block_q8_0` in ggml).
///
/// Rewritten are matrices (two dimensions, named `….weight`) of F32, F16, BF16, `Q4_0`, `Q4_1`, `Q5_0` and `Q5_1` with rows of
/// a multiple of 32. Copied as they are: vectors, norms, position and token-type embeddings, expert routers, matrices in
/// other types, and all that the file says about itself except `general.file_type`.
/// The same input gives the same bytes; some 300 KiB are in memory at a time; the file appears whole or not at all.
///
/// ```no_run
/// let done = katena_gguf::quantize("model-q4_1.gguf", "model-q8_0.gguf")?;
/// println!("{} matrices rewritten, {} bytes", done.rewritten, done.bytes);
/// # Ok::<(), katena_core::Error>(())
/// ```
///
/// # Errors
/// `NotFound` or `InvalidInput` for a missing or broken file, or one with weights that are not finite or too large for 16-bit
/// scales, naming the file and the tensor; what the file system says.
pub fn quantize(input: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<Quantized> {
    let (input, output) = (input.as_ref(), output.as_ref());
    let header = Header::read(input, Keep::Small)?;
    let parent = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".quantize-").suffix(".gguf");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any new file, not private as temporary ones are.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let temp = builder.tempfile_in(parent)?;
    let done = {
        let mut source = BufReader::with_capacity(1 << 17, File::open(input)?);
        let mut out = BufWriter::with_capacity(1 << 17, temp.as_file());
        let done = rewrite(&header, &mut source, &mut out)
            .map_err(|e| e.with_context("file", input.display().to_string()))?;
        out.flush()?;
        done
    };
    temp.as_file().sync_all()?;
    temp.persist(output)
        .map_err(|e| Error::from(e.error).with_context("file", output.display().to_string()))?;
    Ok(done)
}

/// Whether a tensor is a matrix that becomes `Q8_0`.
fn wanted(info: &TensorInfo) -> bool {
    // llama.cpp's own quantiser leaves these alone too: they are small, and some kernels want them in full.
    let special = ["position_embd", "token_types", "_norm.", "ffn_gate_inp", "ssm_", "attn_rel_b"];
    info.dims.len() == 2
        && info.dims[0].is_multiple_of(ROW as u64)
        && info.name.ends_with(".weight")
        && decoder(info.kind).is_some()
        && !special.iter().any(|part| info.name.contains(part))
}

/// The bytes of a tensor in the new file.
fn new_bytes(info: &TensorInfo) -> u64 {
    if wanted(info) {
        // As many as fit in the old file, at most 34/18 times: no overflow.
        info.dims.iter().product::<u64>() / ROW as u64 * Q8_0_BYTES as u64
    } else {
        info.bytes
    }
}

fn rewrite(header: &Header, source: &mut (impl Read + Seek), out: &mut impl Write) -> Result<Quantized> {
    let alignment = header.layout.alignment;
    let head = head(header, source)?;
    out.write_all(&head)?;
    let mut done = Quantized { bytes: head.len() as u64, ..Quantized::default() };
    done.bytes += pad(out, done.bytes, alignment)?;
    for info in header.tensor_infos() {
        source.seek(SeekFrom::Start(info.start))?;
        let bytes = new_bytes(info);
        if wanted(info) {
            convert(info, source, out).map_err(|e| e.with_context("tensor", info.name.clone()))?;
            done.rewritten += 1;
        } else {
            if std::io::copy(&mut source.take(bytes), out)? != bytes {
                return Err(Error::invalid_input("the GGUF file became shorter while it was read"));
            }
            done.copied += 1;
        }
        done.bytes += bytes;
        done.bytes += pad(out, bytes, alignment)?;
    }
    Ok(done)
}

/// The new file's head: the key-values as they are but for the file's type, the tensors with their new types and places.
fn head(header: &Header, source: &mut (impl Read + Seek)) -> Result<Vec<u8>> {
    let layout = &header.layout;
    let (from, to) = layout.pairs_at;
    // The reader has bounded all but the vocabulary, which llama.cpp holds in memory as well.
    let mut pairs = vec![0; (to - from) as usize];
    source.seek(SeekFrom::Start(from))?;
    source.read_exact(&mut pairs)?;
    let mut count = layout.pairs;
    let mut add = |key: &str, value: u32| {
        pairs.extend((key.len() as u64).to_le_bytes());
        pairs.extend(key.as_bytes());
        pairs.extend(code::U32.to_le_bytes());
        pairs.extend(value.to_le_bytes());
        count += 1;
    };
    if header.number("general.file_type").is_none() {
        add("general.file_type", MOSTLY_Q8_0);
    }
    if header.number("general.quantization_version").is_none() {
        add("general.quantization_version", QUANTIZATION_VERSION);
    }
    if let Some(at) = layout.file_type_at {
        let at = (at - from) as usize;
        pairs[at..at + 4].copy_from_slice(&MOSTLY_Q8_0.to_le_bytes());
    }

    let mut h = Vec::with_capacity(pairs.len() + 1024);
    h.extend(MAGIC);
    h.extend(3u32.to_le_bytes());
    h.extend((header.tensor_infos().len() as u64).to_le_bytes());
    h.extend(count.to_le_bytes());
    h.append(&mut pairs);
    let mut offset = 0u64;
    for info in header.tensor_infos() {
        h.extend((info.name.len() as u64).to_le_bytes());
        h.extend(info.name.as_bytes());
        h.extend((info.dims.len() as u32).to_le_bytes());
        h.extend(info.dims.iter().flat_map(|d| d.to_le_bytes()));
        h.extend(if wanted(info) { Q8_0 } else { info.kind }.to_le_bytes());
        h.extend(offset.to_le_bytes());
        offset += new_bytes(info).next_multiple_of(layout.alignment);
    }
    Ok(h)
}

/// Fills up to the next multiple of `alignment`; says with how many bytes.
fn pad(out: &mut impl Write, written: u64, alignment: u64) -> Result<u64> {
    let fill = written.next_multiple_of(alignment) - written;
    std::io::copy(&mut std::io::repeat(0).take(fill), out)?;
    Ok(fill)
}

fn convert(info: &TensorInfo, source: &mut impl Read, out: &mut impl Write) -> Result<()> {
    // `wanted` has found one.
    let Some(decoder) = decoder(info.kind) else {
        return Err(Error::unexpected("a tensor's type can't be read"));
    };
    let mut left = info.dims.iter().product::<u64>() / ROW as u64;
    let mut raw = vec![0; CHUNK as usize * decoder.bytes];
    let mut done = Vec::with_capacity(CHUNK as usize * Q8_0_BYTES);
    while left > 0 {
        let blocks = left.min(CHUNK);
        let raw = &mut raw[..blocks as usize * decoder.bytes];
        source.read_exact(raw)?;
        done.clear();
        let mut numbers = [0.0; ROW];
        for block in raw.chunks_exact(decoder.bytes) {
            (decoder.decode)(block, &mut numbers);
            encode(&numbers, &mut done)?;
        }
        out.write_all(&done)?;
        left -= blocks;
    }
    Ok(())
}
