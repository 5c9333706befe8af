//! Static embedders: a vector for each token, a text is their mean. No server, no C++, no threads.
//!
//! The format is model2vec's: `model.safetensors` with the matrix `embeddings` (tokens × dimensions, or fewer rows and a
//! tensor `mapping` from token to row) and perhaps `weights` of tokens, `tokenizer.json`, and `config.json` with
//! `normalize`. Unknown tokens do not count, marks are not added, the mean is over all tokens that count
//! (<https://github.com/MinishLab/model2vec>, `model2vec/model.py`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{
    EmbedRequest, EmbedResponse, Embedder, EmbedderInfo, Error, ErrorKind, Result, Tokenizer, Usage,
};
use katena_gguf::{SafeTensors, WordPiece};
use sha2::{Digest, Sha256};

/// Longest JSON file.
const MAX_JSON: u64 = 64 << 20;
/// Longest vector.
const MAX_WIDTH: u64 = 65_536;
/// Largest matrix, in numbers of four bytes.
const MAX_NUMBERS: u64 = 1 << 30;
/// Bytes of text after which other tasks have a turn and the context is asked.
const TURN_BYTES: usize = 64 << 10;

/// How a static embedder is loaded.
///
/// ```
/// use katena_embeddings::StaticOptions;
/// let options = StaticOptions::new().with_max_tokens(512).with_unit_vectors();
/// assert_eq!(options.max_tokens, Some(512));
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StaticOptions {
    /// Only so many known tokens of a text count, from its beginning. Unset: all. model2vec's own `encode` counts 512.
    pub max_tokens: Option<usize>,
    /// Whether vectors get length 1 even if `config.json` does not ask for it.
    pub unit_vectors: bool,
}

impl StaticOptions {
    /// All tokens count, lengths as `config.json` says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many known tokens of a text count.
    pub fn with_max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Gives vectors length 1 whatever `config.json` says.
    pub fn with_unit_vectors(mut self) -> Self {
        self.unit_vectors = true;
        self
    }
}

/// A static embedding model in this process, such as those that model2vec distils.
///
/// It knows no context and no order of words, and is some hundred times faster than a transformer. Computed on the
/// caller's thread, with turns for other tasks in between. A text without any known token has no vector: `InvalidInput`,
/// or a vector of zeros if vectors are not normalised. Clones share the matrix.
///
/// ```no_run
/// # async fn f() -> katena_core::Result<()> {
/// use katena_core::{EmbedRequest, Embedder};
/// use katena_embeddings::{StaticEmbedder, StaticOptions};
/// let embedder = StaticEmbedder::load("potion-base-8M", StaticOptions::new())?;
/// let response = embedder.embed(&EmbedRequest::documents(["A chain.", "A commentary."])).await?;
/// assert_eq!(response.vectors.len(), 2);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct StaticEmbedder(Arc<Model>);

struct Model {
    info: EmbedderInfo,
    words: Arc<WordPiece>,
    matrix: Vec<f32>,
    /// The row of each token; the token itself if there is none.
    rows: Option<Vec<u32>>,
    weights: Option<Vec<f32>>,
}

impl fmt::Debug for StaticEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticEmbedder").field("info", &self.0.info).finish_non_exhaustive()
    }
}

fn bad(message: &'static str) -> Error {
    Error::invalid_input(message)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let open = || -> Result<Vec<u8>> {
        let length = std::fs::metadata(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::new(ErrorKind::NotFound, "a file of the model is missing"),
            _ => e.into(),
        })?;
        if length.len() > MAX_JSON {
            return Err(bad("a file of the model is too large"));
        }
        Ok(std::fs::read(path)?)
    };
    open().map_err(|e| e.with_context("file", path.display().to_string()))
}

impl StaticEmbedder {
    /// Loads `model.safetensors`, `tokenizer.json` and `config.json` of a folder. Blocks while it reads; the matrix takes
    /// four bytes a number in memory.
    ///
    /// # Errors
    /// `NotFound` if a file is missing, `InvalidInput` if one is broken or they don't fit together, `Unsupported` for
    /// tokenizers other than BERT's `WordPiece`; each names the file. `Config` if `max_tokens` is 0.
    pub fn load(folder: impl AsRef<Path>, options: StaticOptions) -> Result<Self> {
        let folder = folder.as_ref();
        if options.max_tokens == Some(0) {
            return Err(Error::config("a static embedder needs a token to count"));
        }
        let name =
            folder.file_name().map_or_else(|| "static".to_owned(), |n| n.to_string_lossy().into_owned());
        let [weights, tokenizer, config] =
            ["model.safetensors", "tokenizer.json", "config.json"].map(|file| folder.join(file));
        let (json, settings) = (read(&tokenizer)?, read(&config)?);
        let named = |path: &Path| {
            let path = path.display().to_string();
            move |e: Error| e.with_context("file", path)
        };
        let words = WordPiece::from_tokenizer_json(&json, name.clone()).map_err(named(&tokenizer))?;
        let normalized = options.unit_vectors || normalize(&settings).map_err(named(&config))?;
        let mut file = SafeTensors::open(&weights)?;
        let (matrix, width) = matrix(&mut file).map_err(named(&weights))?;
        let rows = mapping(&mut file, words.words(), matrix.len() / width).map_err(named(&weights))?;
        let factors = factors(&mut file, words.words()).map_err(named(&weights))?;

        let mut hasher = Sha256::new();
        for part in [&json, &settings] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        std::io::copy(&mut std::fs::File::open(&weights)?, &mut hasher)?;
        let digest = hasher.finalize();
        let hash = u128::from_be_bytes(std::array::from_fn(|n| digest[n]));
        let length = if normalized { "unit" } else { "raw" };
        let tokens = options.max_tokens.map_or_else(String::new, |n| format!("/{n}"));
        let mut info = EmbedderInfo::new(format!("{name}@{hash:032x}/{length}{tokens}"), width);
        info.max_tokens = options.max_tokens;
        info.normalized = normalized;
        Ok(Self(Arc::new(Model { info, words: Arc::new(words), matrix, rows, weights: factors })))
    }
}

/// Whether `config.json` asks for vectors of length 1; model2vec takes a missing key for no.
fn normalize(config: &[u8]) -> Result<bool> {
    let config: serde_json::Value =
        serde_json::from_slice(config).map_err(|e| bad("config.json is not JSON").with_source(e))?;
    match config.get("normalize") {
        None | Some(serde_json::Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or_else(|| bad("`normalize` in config.json is not true or false")),
    }
}

/// The matrix and its width.
fn matrix(file: &mut SafeTensors) -> Result<(Vec<f32>, usize)> {
    // sentence-transformers writes the second name.
    let name = ["embeddings", "embedding.weight"]
        .into_iter()
        .find(|name| file.kind(name).is_some())
        .ok_or_else(|| bad("the file has no tensor `embeddings`"))?;
    let wrong = || bad("the matrix of vectors has an impossible shape");
    let &[rows, width] = file.shape(name).ok_or_else(wrong)? else { return Err(wrong()) };
    if rows == 0
        || width == 0
        || width > MAX_WIDTH
        || rows.checked_mul(width).is_none_or(|n| n > MAX_NUMBERS)
        || u32::try_from(rows).is_err()
    {
        return Err(wrong());
    }
    let floats = file.kind(name).is_some_and(katena_gguf::SafeType::is_float);
    let numbers = if floats {
        file.numbers(name)?
    } else {
        // model2vec keeps 8-bit models as numbers from -127 to 127 without a scale; only directions count then.
        file.whole_numbers(name)?.into_iter().map(|n| n as f32).collect()
    };
    Ok((numbers, usize::try_from(width).map_err(|_| wrong())?))
}

/// The row of each token, if the file has a mapping; checks that each token has a row.
fn mapping(file: &mut SafeTensors, words: usize, rows: usize) -> Result<Option<Vec<u32>>> {
    let fits = |found: usize| {
        if found < words {
            return Err(bad("the model has fewer vectors than its tokenizer has tokens")
                .with_context("tokens", words.to_string())
                .with_context("vectors", found.to_string()));
        }
        Ok(())
    };
    if file.kind("mapping").is_none() {
        return fits(rows).map(|()| None);
    }
    let mapping = file.whole_numbers("mapping")?;
    fits(mapping.len())?;
    let row = |n: &i64| u32::try_from(*n).ok().filter(|n| (*n as usize) < rows);
    let mapping: Option<Vec<u32>> = mapping.iter().map(row).collect();
    mapping.map(Some).ok_or_else(|| bad("the mapping names a row that is not there"))
}

/// The weight of each token, if the file has weights.
fn factors(file: &mut SafeTensors, words: usize) -> Result<Option<Vec<f32>>> {
    if file.kind("weights").is_none() {
        return Ok(None);
    }
    let weights = file.numbers("weights")?;
    if weights.len() < words {
        return Err(bad("the model has fewer weights than its tokenizer has tokens"));
    }
    Ok(Some(weights))
}

impl Model {
    /// The vector of text number `index`, and how many of its tokens count.
    fn vector(&self, index: usize, text: &str) -> Result<(Vec<f32>, usize)> {
        let width = self.info.dimensions;
        let mut sum = vec![0.0f32; width];
        let mut count = 0;
        let most = self.info.max_tokens.unwrap_or(usize::MAX);
        let unknown = self.words.unknown();
        for id in self.words.ids(text).into_iter().filter(|id| *id != unknown).take(most) {
            // Ids are smaller than `words`, which mapping, matrix and weights were checked against.
            let id = id as usize;
            let row = self.rows.as_ref().map_or(id, |rows| rows[id] as usize);
            let row = &self.matrix[row * width..][..width];
            let weight = self.weights.as_ref().map_or(1.0, |w| w[id]);
            for (sum, x) in sum.iter_mut().zip(row) {
                *sum += x * weight;
            }
            count += 1;
        }
        if count > 0 {
            let part = 1.0 / count as f32;
            for x in &mut sum {
                *x *= part;
            }
        }
        let of_text = |e: Error| e.with_context("text", index.to_string());
        if sum.iter().any(|x| !x.is_finite()) {
            return Err(of_text(Error::invalid_output("a vector holds a number that is not finite")));
        }
        if self.info.normalized {
            let length = sum.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            if length == 0.0 {
                return Err(of_text(bad("a text has no token that the model knows, so it has no direction")));
            }
            for x in &mut sum {
                *x = (f64::from(*x) / length) as f32;
            }
        }
        Ok((sum, count))
    }
}

#[async_trait]
impl Embedder for StaticEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.0.info
    }

    fn tokenizer(&self) -> Option<Arc<dyn Tokenizer>> {
        Some(self.0.words.clone())
    }

    async fn embed(&self, request: &EmbedRequest) -> Result<EmbedResponse> {
        request.context.check()?;
        let (mut vectors, mut tokens) = (Vec::with_capacity(request.texts.len()), 0);
        let mut bytes = 0;
        for (n, text) in request.texts.iter().enumerate() {
            let (vector, count) = self.0.vector(n, text)?;
            vectors.push(vector);
            tokens += count as u64;
            bytes += text.len();
            if bytes >= TURN_BYTES {
                bytes = 0;
                tokio::task::yield_now().await;
                request.context.check()?;
            }
        }
        let mut usage = Usage::default();
        usage.input_tokens = Some(tokens);
        Ok(EmbedResponse::new(vectors).with_usage(usage))
    }
}
