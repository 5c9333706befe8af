//! What a model file says about itself.

use std::path::Path;

use katena_core::Result;
use katena_gguf::{Header, Keep};

use katena_gguf::Pooling;

/// What a GGUF file says about its model, read without loading it.
///
/// ```
/// # let folder = katena_testkit::fixtures::temp_dir();
/// # let path = katena_testkit::tiny::tiny_llama(folder.path());
/// let model = katena_llama_cpp::ModelMetadata::read(&path)?;
/// assert_eq!(model.architecture, "llama");
/// assert_eq!(model.context_tokens, Some(512));
/// assert!(model.chat_template && !model.embedder);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelMetadata {
    /// `general.name`, or nothing.
    pub name: Option<String>,
    /// The architecture, such as `llama` or `bert`.
    pub architecture: String,
    /// What the file holds, if not a model: `adapter`, `mmproj`, …
    pub kind: Option<String>,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// How most of the weights are stored, such as `Q4_K_M`: what the file says, else the type that most bytes have.
    pub quantisation: String,
    /// Tokens that the model was trained for.
    pub context_tokens: Option<u64>,
    /// Layers.
    pub layers: Option<u64>,
    /// Width of a token's vector.
    pub embedding_width: Option<u64>,
    /// Words.
    pub vocabulary: Option<u64>,
    /// `general.license`.
    pub license: Option<String>,
    /// True if the file has a chat template.
    pub chat_template: bool,
    /// How token vectors become one, for embedders that say so.
    pub pooling: Option<Pooling>,
    /// True if the model makes vectors: it pools, or does not look at earlier tokens only.
    pub embedder: bool,
    /// True if the model scores pairs of texts.
    pub reranker: bool,
    /// Files that the model is split into.
    pub parts: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

impl ModelMetadata {
    /// Reads a file's head: some milliseconds, whatever its size.
    ///
    /// # Errors
    /// `NotFound` or `InvalidInput` for a missing or broken file, `Unsupported` for one in another byte order.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let named = |e: katena_core::Error| e.with_context("file", path.display().to_string());
        Self::of(&Header::read(path, Keep::Small).map_err(named)?).map_err(named)
    }

    /// What a head says.
    ///
    /// # Errors
    /// `InvalidInput` if it names no architecture.
    pub(crate) fn of(header: &Header) -> Result<Self> {
        let architecture = header.architecture()?.to_owned();
        let text = |key: &str| header.text(key).map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
        let pooling = header.arch_number("pooling_type");
        let causal = header.flag(&format!("{architecture}.attention.causal"));
        let infos = header.tensor_infos();
        let parameters = infos
            .iter()
            .fold(0u64, |sum, t| sum.saturating_add(t.dims.iter().fold(1u64, |n, d| n.saturating_mul(*d))));
        let reranker = pooling == Some(4);
        Ok(Self {
            name: text("general.name"),
            kind: text("general.type").filter(|t| t != "model"),
            parameters,
            quantisation: quantisation(header),
            context_tokens: header.arch_number("context_length"),
            layers: header.arch_number("block_count"),
            embedding_width: header.arch_number("embedding_length"),
            vocabulary: header.length("tokenizer.ggml.tokens"),
            license: text("general.license"),
            chat_template: header.text("tokenizer.chat_template").is_some(),
            pooling: Pooling::of(header),
            embedder: !reranker && (matches!(pooling, Some(1..=3)) || causal == Some(false)),
            reranker,
            parts: header.number("split.count").unwrap_or(1).max(1),
            file_bytes: header.file_bytes,
            architecture,
        })
    }
}

/// `general.file_type` by llama.cpp's names (`llama_ftype` in `llama.h`); without it the type that most bytes have.
fn quantisation(header: &Header) -> String {
    if let Some(name) = header.number("general.file_type").and_then(file_type) {
        return name.to_owned();
    }
    let mut bytes = std::collections::BTreeMap::<u32, u64>::new();
    for tensor in header.tensor_infos() {
        *bytes.entry(tensor.kind).or_default() += tensor.bytes;
    }
    let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
    most.map_or_else(|| "?".into(), |(kind, _)| tensor_type(kind))
}

fn file_type(number: u64) -> Option<&'static str> {
    Some(match number {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        19 => "IQ2_XXS",
        20 => "IQ2_XS",
        21 => "Q2_K_S",
        22 => "IQ3_XS",
        23 => "IQ3_XXS",
        24 => "IQ1_S",
        25 => "IQ4_NL",
        26 => "IQ3_S",
        27 => "IQ3_M",
        28 => "IQ2_S",
        29 => "IQ2_M",
        30 => "IQ4_XS",
        31 => "IQ1_M",
        32 => "BF16",
        36 => "TQ1_0",
        37 => "TQ2_0",
        38 => "MXFP4",
        _ => return None,
    })
}

/// ggml's names of tensor types (`ggml_type` in `ggml.h`).
fn tensor_type(number: u32) -> String {
    match number {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        30 => "BF16",
        39 => "MXFP4",
        other => return format!("type {other}"),
    }
    .into()
}
