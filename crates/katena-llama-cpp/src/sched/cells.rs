//! Which cells of the cache each sequence holds. Sequences share a cell after a copy, as in llama.cpp's unified cache.

/// How many sequences hold a cell, and how many of them are of running requests.
#[derive(Debug, Clone, Copy, Default)]
struct Holders {
    all: u16,
    live: u16,
}

/// The tokens of one sequence and the cells they are in.
#[derive(Debug, Default)]
struct Sequence {
    tokens: Vec<i32>,
    cells: Vec<u32>,
    live: bool,
}

/// Cells and sequences, counted exactly.
#[derive(Debug)]
pub(super) struct Cells {
    holders: Vec<Holders>,
    free: Vec<u32>,
    /// Cells that a running request holds.
    live: usize,
    sequences: Vec<Sequence>,
}

impl Cells {
    pub(super) fn new(sequences: usize) -> Self {
        Self {
            holders: Vec::new(),
            free: Vec::new(),
            live: 0,
            sequences: (0..sequences).map(|_| Sequence::default()).collect(),
        }
    }

    /// Cells in use.
    pub(super) fn used(&self) -> usize {
        self.holders.len() - self.free.len()
    }

    /// Cells that running requests hold.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Cells that are only kept for reuse.
    pub(super) fn idle(&self) -> usize {
        self.used() - self.live
    }

    pub(super) fn tokens(&self, sequence: usize) -> &[i32] {
        &self.sequences[sequence].tokens
    }

    /// Cells among the first `length` of a sequence that no running request holds.
    pub(super) fn idle_in(&self, sequence: usize, length: usize) -> usize {
        let cells = &self.sequences[sequence].cells;
        cells[..length.min(cells.len())].iter().filter(|c| self.holders[**c as usize].live == 0).count()
    }

    /// True if shortening the sequence could free a cell: a running request shares none of its end.
    pub(super) fn end_is_idle(&self, sequence: usize) -> bool {
        self.sequences[sequence].cells.last().is_some_and(|c| self.holders[*c as usize].live == 0)
    }

    /// Puts a token at the end of a sequence, in a cell of its own.
    pub(super) fn push(&mut self, sequence: usize, token: i32) {
        let cell = self.free.pop().unwrap_or_else(|| {
            self.holders.push(Holders::default());
            (self.holders.len() - 1) as u32
        });
        let sequence = &mut self.sequences[sequence];
        sequence.tokens.push(token);
        sequence.cells.push(cell);
        self.holders[cell as usize] = Holders { all: 1, live: u16::from(sequence.live) };
        self.live += usize::from(sequence.live);
    }

    /// Lets `to` share the cells of `from` up to `end`; `to` holds the same tokens up to its own length.
    pub(super) fn copy(&mut self, from: usize, to: usize, end: usize) {
        let start = self.sequences[to].cells.len();
        let source = &self.sequences[from];
        let (tokens, cells) = (source.tokens[start..end].to_vec(), source.cells[start..end].to_vec());
        let live = self.sequences[to].live;
        for cell in &cells {
            let holders = &mut self.holders[*cell as usize];
            holders.all += 1;
            if live {
                self.live += usize::from(holders.live == 0);
                holders.live += 1;
            }
        }
        let target = &mut self.sequences[to];
        target.tokens.extend(tokens);
        target.cells.extend(cells);
    }

    /// Shortens a sequence; how many cells are free now that were not.
    pub(super) fn trim(&mut self, sequence: usize, length: usize) -> usize {
        let sequence = &mut self.sequences[sequence];
        let mut freed = 0;
        sequence.tokens.truncate(length);
        while sequence.cells.len() > length {
            let Some(cell) = sequence.cells.pop() else { break };
            let holders = &mut self.holders[cell as usize];
            holders.all -= 1;
            if sequence.live {
                holders.live -= 1;
                self.live -= usize::from(holders.live == 0);
            }
            if holders.all == 0 {
                self.free.push(cell);
                freed += 1;
            }
        }
        freed
    }

    /// The length at which `wanted` cells would be free after a trim; never cuts into what a running request shares.
    pub(super) fn length_to_free(&self, sequence: usize, wanted: usize) -> usize {
        let cells = &self.sequences[sequence].cells;
        let (mut length, mut freed) = (cells.len(), 0);
        while length > 0 && freed < wanted {
            let holders = self.holders[cells[length - 1] as usize];
            if holders.live > 0 {
                break;
            }
            freed += usize::from(holders.all == 1);
            length -= 1;
        }
        length
    }

    /// Says whether a running request holds the sequence.
    pub(super) fn set_live(&mut self, sequence: usize, live: bool) {
        let sequence = &mut self.sequences[sequence];
        if sequence.live == live {
            return;
        }
        sequence.live = live;
        for cell in &sequence.cells {
            let holders = &mut self.holders[*cell as usize];
            if live {
                self.live += usize::from(holders.live == 0);
                holders.live += 1;
            } else {
                holders.live -= 1;
                self.live -= usize::from(holders.live == 0);
            }
        }
    }
}
