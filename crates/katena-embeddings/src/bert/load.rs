//! A network from a GGUF file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

use katena_core::{Error, Result};
use katena_gguf::{Header, MAX_TOKENS_KEY, Pooling, TensorInfo, tensor_numbers};

use super::forward::{Layer, Network};
use super::linear::Linear;
use super::math::Norm;
use super::options::BertOptions;

/// Most layers and largest width; real models have 48 and 1024.
const MAX_LAYERS: u64 = 512;
const MAX_WIDTH: u64 = 65_536;

fn bad(message: &'static str) -> Error {
    Error::invalid_input(message)
}

/// What the file says of the network's shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    layers: usize,
    width: usize,
    inner: usize,
    heads: usize,
    epsilon: f32,
    pooling: Pooling,
    /// Most tokens of a text, marks included.
    pub(super) window: usize,
}

impl Shape {
    /// Reads and checks the file's numbers.
    pub(super) fn new(header: &Header, options: &BertOptions) -> Result<Self> {
        let architecture = header.architecture()?;
        if architecture != "bert" {
            return Err(Error::unsupported("the model is no BERT")
                .with_context("architecture", architecture.to_owned()));
        }
        if header.flag("bert.attention.causal") == Some(true) {
            return Err(Error::unsupported("the model's tokens see only those before them"));
        }
        let number = |key: &'static str, most: u64| {
            let n = header.arch_number(key).filter(|n| (1..=most).contains(n));
            n.map(|n| n as usize).ok_or_else(|| {
                bad("the model file lacks a number or it is out of range").with_context("key", key)
            })
        };
        let (width, heads) = (number("embedding_length", MAX_WIDTH)?, number("attention.head_count", 4096)?);
        if width % heads != 0 {
            return Err(bad("the model's width is no multiple of its heads"));
        }
        let epsilon = header.float("bert.attention.layer_norm_epsilon").filter(|e| (0.0..1.0).contains(e));
        Ok(Self {
            layers: number("block_count", MAX_LAYERS)?,
            width,
            // Four times the width as a rule; buffers grow with it, so a file must not name any number.
            inner: number("feed_forward_length", 64 * width as u64)?,
            heads,
            epsilon: epsilon.ok_or_else(|| bad("the model file's layer norm is out of range"))? as f32,
            pooling: Pooling::choose(header, options.pooling)?,
            window: window(header, options.max_tokens)?,
        })
    }

    /// Length of the vectors.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Bytes of weights and of all threads' buffers.
    fn memory(&self, header: &Header, options: &BertOptions, batch: usize) -> u64 {
        let numbers = |info: &TensorInfo| info.dims.iter().product::<u64>();
        // No tensor reaches past the file's end and none has less than 2 bits a number.
        let weights: u64 = header.tensor_infos().iter().map(numbers).sum();
        let work = Network::work(self.width, self.inner, batch, self.window) as u64;
        (weights + work * options.threads as u64) * 4
    }

    /// Refuses what needs more memory than allowed.
    pub(super) fn check_memory(&self, header: &Header, options: &BertOptions, batch: usize) -> Result<()> {
        let needed = self.memory(header, options, batch);
        match options.memory_limit {
            Some(limit) if needed > limit => {
                Err(Error::config("the embedder needs more memory than it may have")
                    .with_context("bytes", needed.to_string())
                    .with_context("limit", limit.to_string()))
            }
            _ => Ok(()),
        }
    }
}

/// Most tokens of one text, marks included.
fn window(header: &Header, asked: Option<usize>) -> Result<usize> {
    let positions = header.tensor_infos().iter().find(|t| t.name == "position_embd.weight");
    let positions = positions.and_then(|t| t.dims.get(1).copied()).unwrap_or(0);
    let most = header.arch_number("context_length").filter(|n| *n > 0).unwrap_or(512).min(positions);
    let chosen = match asked {
        Some(tokens) => tokens as u64,
        None => header.number(MAX_TOKENS_KEY).unwrap_or(most).min(most),
    };
    if !(4..=most).contains(&chosen) {
        return Err(Error::config("the embedder's token limit is out of range")
            .with_context("max_tokens", chosen.to_string())
            .with_context("most", most.to_string()));
    }
    Ok(chosen as usize)
}

/// Takes tensors out of the file; each once.
struct Tensors<'a, R> {
    infos: HashMap<&'a str, &'a TensorInfo>,
    file: R,
}

impl<R: Read + Seek> Tensors<'_, R> {
    /// The numbers of a tensor of this shape, innermost dimension first; `None` for a dimension of any size.
    fn take(&mut self, name: &str, shape: &[Option<usize>]) -> Result<Vec<f32>> {
        let named = |e: Error| e.with_context("tensor", name.to_owned());
        let info = self.infos.remove(name).ok_or_else(|| named(bad("the model file lacks a tensor")))?;
        let mut dims = info.dims.as_slice();
        while dims.len() > shape.len() && dims.last() == Some(&1) {
            dims = &dims[..dims.len() - 1];
        }
        let fits = |(dim, wanted): (&u64, &Option<usize>)| wanted.is_none_or(|w| w as u64 == *dim);
        if dims.len() != shape.len() || !dims.iter().zip(shape).all(fits) {
            return Err(named(bad("a tensor's shape doesn't fit the model's")));
        }
        tensor_numbers(&mut self.file, info)
    }

    fn pair(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<(Vec<f32>, Vec<f32>)> {
        Ok((
            self.take(&format!("{name}.weight"), &[Some(inputs), Some(outputs)])?,
            self.take(&format!("{name}.bias"), &[Some(outputs)])?,
        ))
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear> {
        Ok(Linear::new(inputs, &[self.pair(name, inputs, outputs)?]))
    }

    fn norm(&mut self, name: &str, shape: Shape) -> Result<Norm> {
        Ok(Norm {
            weight: self.take(&format!("{name}.weight"), &[Some(shape.width)])?,
            bias: self.take(&format!("{name}.bias"), &[Some(shape.width)])?,
            epsilon: shape.epsilon,
        })
    }
}

/// Reads the weights.
pub(super) fn network(path: &Path, header: &Header, shape: Shape) -> Result<Network> {
    let file = BufReader::with_capacity(1 << 16, File::open(path)?);
    let infos = header.tensor_infos().iter().map(|t| (t.name.as_str(), t)).collect();
    let mut tensors = Tensors { infos, file };
    let (width, inner) = (shape.width, shape.inner);

    let words = tensors.take("token_embd.weight", &[Some(width), None])?;
    let mut positions = tensors.take("position_embd.weight", &[Some(width), None])?;
    // No text here is a pair of two: all tokens are of the first type.
    let types = tensors.take("token_types.weight", &[Some(width), None])?;
    for row in positions.chunks_exact_mut(width) {
        row.iter_mut().zip(&types).for_each(|(x, t)| *x += t);
    }
    let norm = tensors.norm("token_embd_norm", shape)?;
    let mut layers = Vec::new();
    for n in 0..shape.layers {
        let name = |part: &str| format!("blk.{n}.{part}");
        let qkv = [
            tensors.pair(&name("attn_q"), width, width)?,
            tensors.pair(&name("attn_k"), width, width)?,
            tensors.pair(&name("attn_v"), width, width)?,
        ];
        layers.push(Layer {
            qkv: Linear::new(width, &qkv),
            output: tensors.linear(&name("attn_output"), width, width)?,
            output_norm: tensors.norm(&name("attn_output_norm"), shape)?,
            up: tensors.linear(&name("ffn_up"), width, inner)?,
            down: tensors.linear(&name("ffn_down"), inner, width)?,
            norm: tensors.norm(&name("layer_output_norm"), shape)?,
        });
    }
    // A classifier's head has no part in vectors. Anything else would.
    if let Some(name) = tensors.infos.keys().find(|name| !name.starts_with("cls")) {
        return Err(Error::unsupported("the model has a tensor that BERT embedders don't have")
            .with_context("tensor", (*name).to_owned()));
    }
    Ok(Network { width, heads: shape.heads, inner, words, positions, norm, layers, pooling: shape.pooling })
}
