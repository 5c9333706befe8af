//! What the cache holds for the tokens of a sequence, in main memory and token by token: it can be cut and put together, as
//! llama.cpp's own form can't.
//!
//! llama.cpp's form (`llama_state_seq_get_data`), numbers little-endian: a mark and the sequence (u32 each); the number of
//! streams (u32); for each stream the number of its cells (u32) and, unless that is 0:
//! - for each cell its position, how many sequences it has (1), with some models 12 bytes more, and the sequence (u32 each);
//! - whether values are transposed, the number of layers, two lengths of rotations (u32 each);
//! - for each layer the keys: type (u32), bytes of a row (u64), a row for each cell;
//! - for each layer the values alike, or transposed: type, bytes of a number, numbers of a row (u32 each), and for each of
//!   these numbers that of each cell. Some models have no values of their own.
//!
//! All this is taken from what llama.cpp gives for one token when a model is loaded; what doesn't look like it is not kept.

use std::ops::Range;
use std::sync::Arc;

/// Bytes that some models have beside each cell's position.
const EXTRA: usize = 12;
/// Position, number of sequences, sequence.
const CELL: usize = 12;
/// What is said of a tensor before its numbers.
const HEAD: usize = 12;
const MAX_LAYERS: usize = 65_536;

/// The numbers of one layer's keys or values: `lines` lines, each with `unit` bytes for each token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tensor {
    head: [u8; HEAD],
    lines: usize,
    unit: usize,
}

/// How a context's states look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    mark: [u8; 4],
    streams: u32,
    extra: usize,
    common: [u8; 16],
    tensors: Vec<Tensor>,
}

/// A state as llama.cpp gives it, looked through.
struct State<'a> {
    form: Form,
    /// The place of each position's cell among the cells; empty if they are in order.
    order: Vec<usize>,
    cells: &'a [u8],
    tensors: Vec<&'a [u8]>,
    tokens: usize,
}

/// Takes pieces from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (piece, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(piece)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (piece, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*piece)
    }

    fn number(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.array()?) as usize)
    }
}

impl Tensor {
    fn read(reader: &mut Reader<'_>, transposed: bool) -> Option<Self> {
        let head: [u8; HEAD] = reader.array()?;
        let mut numbers = Reader(&head[4..]);
        let (first, second) = (numbers.number()?, numbers.number()?);
        // The bytes of a row have 64 bits; no row has more than 32.
        let (unit, lines) = if transposed { (first, second) } else { (first, 1) };
        (unit > 0 && lines > 0 && (transposed || second == 0)).then_some(Self { head, lines, unit })
    }

    fn bytes(&self, tokens: usize) -> Option<usize> {
        self.lines.checked_mul(self.unit)?.checked_mul(tokens)
    }
}

impl<'a> State<'a> {
    fn read(bytes: &'a [u8], extra: usize) -> Option<Self> {
        let mut all = Reader(bytes);
        let (mark, _) = (all.array()?, all.number()?);
        let streams = all.number().filter(|n| (1..=256).contains(n))?;
        let mut before = 0;
        let mut tokens = 0;
        while tokens == 0 {
            tokens = all.number()?;
            before += 1;
            (before <= streams).then_some(())?;
        }
        // The other streams hold nothing of this sequence.
        let (body, rest) = all.0.split_at_checked(all.0.len().checked_sub((streams - before) * 4)?)?;
        rest.iter().all(|byte| *byte == 0).then_some(())?;
        let mut body = Reader(body);
        let cell = CELL + extra;
        let cells = body.take(tokens.checked_mul(cell)?)?;
        let common: [u8; 16] = body.array()?;
        let mut numbers = Reader(&common);
        let (transposed, layers) = (numbers.number()? != 0, numbers.number()?);
        (layers <= MAX_LAYERS).then_some(())?;
        let mut form = Form { mark, streams: streams as u32, extra, common, tensors: Vec::new() };
        let mut tensors = Vec::new();
        while tensors.len() < layers || !body.0.is_empty() {
            let tensor = Tensor::read(&mut body, transposed && tensors.len() >= layers)?;
            tensors.push(body.take(tensor.bytes(tokens)?)?);
            form.tensors.push(tensor);
            (tensors.len() <= 2 * layers).then_some(())?;
        }
        let order = order(cells, cell, tokens)?;
        Some(Self { form, order, cells, tensors, tokens })
    }

    /// The bytes of tokens `range` from `line`, where each token has `unit`.
    fn gather(&self, line: &[u8], unit: usize, range: Range<usize>, into: &mut Vec<u8>) {
        if self.order.is_empty() {
            into.extend_from_slice(&line[range.start * unit..range.end * unit]);
            return;
        }
        for at in &self.order[range] {
            into.extend_from_slice(&line[at * unit..(at + 1) * unit]);
        }
    }
}

/// Which cell each position is in, if each is there once; empty if they are in order.
fn order(cells: &[u8], cell: usize, tokens: usize) -> Option<Vec<usize>> {
    let mut order = vec![usize::MAX; tokens];
    let mut straight = true;
    for (n, bytes) in cells.chunks_exact(cell).enumerate() {
        let mut numbers = Reader(bytes);
        let (position, sequences) = (numbers.number()?, numbers.number()?);
        let place = order.get_mut(position).filter(|place| **place == usize::MAX)?;
        (sequences == 1).then_some(())?;
        *place = n;
        straight &= position == n;
    }
    Some(if straight { Vec::new() } else { order })
}

impl Form {
    /// The form of a state that llama.cpp gave, of any sequence with tokens; `None` if it is none that is known.
    pub(crate) fn of(state: &[u8]) -> Option<Self> {
        [0, EXTRA].into_iter().find_map(|extra| Some(State::read(state, extra)?.form))
    }

    /// Bytes of one token.
    pub(crate) fn token_bytes(&self) -> usize {
        self.extra + self.tensors.iter().map(|t| t.lines * t.unit).sum::<usize>()
    }

    /// What a state must have in common with another to be of use with it: all but the number of streams.
    pub(crate) fn name(&self) -> Vec<u8> {
        let mut name = [&self.mark[..], &[self.extra as u8], &self.common].concat();
        self.tensors.iter().for_each(|t| name.extend(t.head));
        name
    }
}

/// The state of some tokens that follow each other. Bytes: what comes beside each position; then for each tensor and each of
/// its lines the tokens' numbers.
#[derive(Clone)]
pub(crate) struct Rows {
    form: Arc<Form>,
    tokens: usize,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

impl Rows {
    /// The tokens at positions `range` of a state that llama.cpp gave; `None` if they are not there, or it has another form.
    pub(crate) fn of(form: &Arc<Form>, state: &[u8], range: Range<usize>) -> Option<Self> {
        let state = State::read(state, form.extra).filter(|s| s.form == **form)?;
        (range.start < range.end && range.end <= state.tokens).then_some(())?;
        let mut bytes = Vec::with_capacity(range.len() * form.token_bytes());
        for position in range.clone().filter(|_| form.extra > 0) {
            let at = state.order.get(position).copied().unwrap_or(position) * (CELL + EXTRA) + 8;
            bytes.extend_from_slice(&state.cells[at..at + EXTRA]);
        }
        for (tensor, data) in form.tensors.iter().zip(&state.tensors) {
            for line in data.chunks_exact(state.tokens * tensor.unit) {
                state.gather(line, tensor.unit, range.clone(), &mut bytes);
            }
        }
        Some(Self { form: form.clone(), tokens: range.len(), bytes })
    }

    /// From what [`Rows::bytes`] gave; `None` if that is not as long as these tokens' state is.
    pub(crate) fn from_bytes(form: &Arc<Form>, tokens: usize, bytes: Vec<u8>) -> Option<Self> {
        let long = tokens > 0 && tokens.checked_mul(form.token_bytes()) == Some(bytes.len());
        long.then(|| Self { form: form.clone(), tokens, bytes })
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many tokens.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// The lines of all tensors, with the bytes that each token has there.
    fn lines(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let units = self.form.tensors.iter().flat_map(|t| std::iter::repeat_n(t.unit, t.lines));
        let mut rest = &self.bytes[self.tokens * self.form.extra..];
        units.map(move |unit| {
            let (line, after) = rest.split_at(unit * self.tokens);
            rest = after;
            (line, unit)
        })
    }

    /// The tokens of `range`, which are there.
    pub(crate) fn part(&self, range: Range<usize>) -> Self {
        let range = range.start.min(self.tokens)..range.end.min(self.tokens);
        let extra = self.form.extra;
        let mut bytes = Vec::with_capacity(range.len() * self.form.token_bytes());
        bytes.extend_from_slice(&self.bytes[range.start * extra..range.end * extra]);
        for (line, unit) in self.lines() {
            bytes.extend_from_slice(&line[range.start * unit..range.end * unit]);
        }
        Self { form: self.form.clone(), tokens: range.len(), bytes }
    }

    /// Makes of a buffer llama.cpp's form of a sequence with the first `end` tokens of these parts.
    pub(crate) fn write_state(form: &Form, parts: &[&Self], end: usize, state: &mut Vec<u8>) {
        let mut left = end;
        let parts: Vec<(&Self, usize)> = parts
            .iter()
            .map(|part| {
                let taken = part.tokens.min(left);
                left -= taken;
                (*part, taken)
            })
            .collect();
        let heads = HEAD * form.tensors.len() + 28 + 4 * form.streams as usize;
        state.clear();
        state.reserve(heads + end * (CELL + form.token_bytes()));
        state.extend(form.mark);
        state.extend([0; 4]);
        state.extend(form.streams.to_le_bytes());
        state.extend((end as u32).to_le_bytes());
        let mut position = 0u32;
        for (part, taken) in &parts {
            for n in 0..*taken {
                state.extend(position.to_le_bytes());
                state.extend(1u32.to_le_bytes());
                state.extend_from_slice(&part.bytes[n * form.extra..(n + 1) * form.extra]);
                state.extend([0; 4]);
                position += 1;
            }
        }
        state.extend(form.common);
        let mut lines: Vec<_> = parts.iter().map(|(part, taken)| (part.lines(), *taken)).collect();
        for tensor in &form.tensors {
            state.extend(tensor.head);
            for _ in 0..tensor.lines {
                for (lines, taken) in &mut lines {
                    if let Some((line, unit)) = lines.next() {
                        state.extend_from_slice(&line[..*taken * unit]);
                    }
                }
            }
        }
        // The other streams hold nothing.
        state.extend(std::iter::repeat_n(0, 4 * (form.streams as usize - 1)));
    }
}
