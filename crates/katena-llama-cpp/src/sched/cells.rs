//! How many cells of the cache the sequences take. In a unified cache sequences share a cell after a copy; in a split one
//! each has its own.

/// The tokens of one sequence and the cells they are in.
#[derive(Debug, Default)]
struct Sequence {
    tokens: Vec<i32>,
    cells: Vec<u32>,
}

/// Cells and sequences, counted exactly.
#[derive(Debug)]
pub(super) struct Cells {
    unified: bool,
    /// How many sequences hold each cell.
    holders: Vec<u16>,
    free: Vec<u32>,
    sequences: Vec<Sequence>,
}

impl Cells {
    pub(super) fn new(sequences: usize, unified: bool) -> Self {
        Self {
            unified,
            holders: Vec::new(),
            free: Vec::new(),
            sequences: (0..sequences).map(|_| Sequence::default()).collect(),
        }
    }

    /// Cells in use.
    pub(super) fn used(&self) -> usize {
        self.holders.len() - self.free.len()
    }

    pub(super) fn tokens(&self, sequence: usize) -> &[i32] {
        &self.sequences[sequence].tokens
    }

    /// Puts a token at the end of a sequence, in a cell of its own.
    pub(super) fn push(&mut self, sequence: usize, token: i32) {
        let cell = self.free.pop().unwrap_or_else(|| {
            self.holders.push(0);
            (self.holders.len() - 1) as u32
        });
        self.holders[cell as usize] = 1;
        self.sequences[sequence].tokens.push(token);
        self.sequences[sequence].cells.push(cell);
    }

    /// Gives `to` the tokens of `from` up to `end`, and in a unified cache their cells; `to` holds the same tokens up to
    /// its own length.
    pub(super) fn copy(&mut self, from: usize, to: usize, end: usize) {
        let start = self.sequences[to].cells.len();
        let source = &self.sequences[from];
        let (tokens, cells) = (source.tokens[start..end].to_vec(), source.cells[start..end].to_vec());
        if !self.unified {
            for token in tokens {
                self.push(to, token);
            }
            return;
        }
        for cell in &cells {
            self.holders[*cell as usize] += 1;
        }
        self.sequences[to].tokens.extend(tokens);
        self.sequences[to].cells.extend(cells);
    }

    /// Shortens a sequence.
    pub(super) fn trim(&mut self, sequence: usize, length: usize) {
        let sequence = &mut self.sequences[sequence];
        sequence.tokens.truncate(length);
        for cell in sequence.cells.drain(length.min(sequence.cells.len())..) {
            let holders = &mut self.holders[cell as usize];
            *holders -= 1;
            if *holders == 0 {
                self.free.push(cell);
            }
        }
    }
}
