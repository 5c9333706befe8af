//! Adapters: checked against the model before llama.cpp sees them.
//!
//! llama.cpp throws for most of what can be wrong with an adapter, but stops the process for a key of another type than it
//! expects, for tensors of types that it can't multiply with, and for an embedding's pair whose ranks differ. What it merely
//! skips (norms) is refused here too: an adapter counts as a whole or not at all.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use katena_core::{Error, ErrorKind, Result};
use katena_gguf::{Header, Keep, TensorInfo};
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};

use crate::settings::Lora;

/// ggml's types that a matrix can be multiplied with on every device: F32, F16, `Q8_0`, BF16.
const TYPES: [u32; 4] = [0, 1, 8, 30];
/// The largest rank that is taken; real ones have 4 to 512.
const MAX_RANK: u64 = 8192;

/// An adapter that was loaded for a model, and how strongly it counts. It lives as long as the model.
#[derive(Debug)]
pub(crate) struct Adapter {
    pub(crate) raw: LlamaLoraAdapter,
    pub(crate) scale: f32,
}

/// The bytes of an adapter's file.
///
/// # Errors
/// `NotFound` if it's not there.
pub(crate) fn bytes(path: &Path) -> Result<u64> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.len()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::new(ErrorKind::NotFound, "there is no such adapter file")
                .with_context("file", path.display().to_string())
                .with_source(e))
        }
        Err(e) => Err(e.into()),
    }
}

/// Loads the adapters asked for; call it before the first context is made.
///
/// # Errors
/// `Unsupported` for several adapters or one of a kind that can't be used, `Config` for a scale that is no number,
/// `NotFound`, `InvalidInput` for an adapter that is broken or made for another model.
pub(crate) fn load(model: &mut LlamaModel, header: &Header, wanted: &[Lora]) -> Result<Option<Adapter>> {
    let lora = match wanted {
        [] => return Ok(None),
        [lora] => lora,
        _ => return Err(Error::unsupported("only one adapter can be used; merge them into one first")),
    };
    let named = |e: Error| e.with_context("adapter", lora.path.display().to_string());
    if !lora.scale.is_finite() {
        return Err(named(Error::config("an adapter's scale must be a number")));
    }
    bytes(&lora.path)?;
    let adapter = Header::read(&lora.path, Keep::Small).map_err(named)?;
    check(&adapter, header).map_err(named)?;
    let raw = model.lora_adapter_init(PathBuf::from(&lora.path)).map_err(|e| {
        named(Error::invalid_input("llama.cpp can't use this adapter; its log says why").with_source(e))
    })?;
    Ok(Some(Adapter { raw, scale: lora.scale }))
}

fn bad(why: &'static str) -> Error {
    Error::invalid_input(why)
}

/// Checks an adapter's head against its model's.
fn check(adapter: &Header, model: &Header) -> Result<()> {
    if adapter.text("general.type") != Some("adapter") || adapter.text("adapter.type") != Some("lora") {
        return Err(bad("the file is not a LoRA adapter"));
    }
    if adapter.architecture()? != model.architecture()? {
        return Err(bad("the adapter is for a model of another architecture")
            .with_context("adapter_architecture", adapter.architecture()?.to_owned())
            .with_context("model_architecture", model.architecture()?.to_owned()));
    }
    if !adapter.is_float32("adapter.lora.alpha") {
        return Err(bad("the adapter's alpha is missing or no 32-bit float"));
    }
    if !adapter.float("adapter.lora.alpha").is_some_and(f64::is_finite) {
        return Err(bad("the adapter's alpha is not a number"));
    }
    if adapter.length("adapter.alora.invocation_tokens").is_some() {
        return Err(Error::unsupported("adapters that begin at certain tokens (aLoRA) are not supported"));
    }
    let theirs: HashMap<&str, &TensorInfo> =
        model.tensor_infos().iter().map(|t| (t.name.as_str(), t)).collect();
    let mut pairs: HashMap<&str, [Option<&TensorInfo>; 2]> = HashMap::new();
    for tensor in adapter.tensor_infos() {
        let (name, place) = if let Some(name) = tensor.name.strip_suffix(".lora_a") {
            (name, 0)
        } else if let Some(name) = tensor.name.strip_suffix(".lora_b") {
            (name, 1)
        } else {
            return Err(Error::unsupported("the adapter changes what is not a matrix")
                .with_context("tensor", tensor.name.clone()));
        };
        if name.contains(".lora_") {
            return Err(bad("the adapter names a tensor in a way that llama.cpp reads otherwise"));
        }
        if !TYPES.contains(&tensor.kind) {
            return Err(Error::unsupported("a tensor of the adapter has a type that is not supported")
                .with_context("tensor", tensor.name.clone())
                .with_context("type", tensor.kind.to_string()));
        }
        pairs.entry(name).or_default()[place] = Some(tensor);
    }
    if pairs.is_empty() {
        return Err(bad("the adapter is empty"));
    }
    for (name, pair) in pairs {
        let at = |e: Error| e.with_context("tensor", name.to_owned());
        let [Some(a), Some(b)] = pair else {
            return Err(at(bad("a matrix of the adapter has one half only")));
        };
        let Some(base) = theirs.get(name) else {
            return Err(at(bad("the adapter is for another model: the model has no such tensor")));
        };
        // Such a model's output is its embedding, whose pair stands the other way round: llama.cpp stops the process.
        if name.ends_with("token_embd.weight") && !theirs.contains_key("output.weight") {
            return Err(at(Error::unsupported("the adapter changes an embedding that is the output too")));
        }
        check_pair(name, a, b, base).map_err(at)?;
    }
    Ok(())
}

/// Size `n` of a tensor; beyond its dimensions 1.
fn size(tensor: &TensorInfo, n: usize) -> u64 {
    tensor.dims.get(n).copied().unwrap_or(1)
}

fn check_pair(name: &str, a: &TensorInfo, b: &TensorInfo, base: &TensorInfo) -> Result<()> {
    if base.dims.len() < 2 {
        return Err(Error::unsupported("the adapter changes what is not a matrix"));
    }
    // The rows of an embedding are taken from the first half, which therefore stands upright.
    let (input, output, rank) = if name.ends_with("token_embd.weight") {
        (size(b, 1) == size(base, 0), size(a, 1) == size(base, 1), size(a, 0))
    } else {
        (size(a, 0) == size(base, 0), size(b, 1) == size(base, 1), size(a, 1))
    };
    let outer = (2..4).all(|n| size(a, n) == size(base, n) && size(b, n) == size(base, n));
    if !(input && output && outer && rank == size(b, 0)) {
        return Err(bad("the adapter is for another model: a matrix has another shape")
            .with_context("model_shape", format!("{:?}", base.dims))
            .with_context("adapter_shapes", format!("{:?} and {:?}", a.dims, b.dims)));
    }
    if rank > MAX_RANK {
        return Err(bad("the adapter's rank is too large").with_context("rank", rank.to_string()));
    }
    Ok(())
}
