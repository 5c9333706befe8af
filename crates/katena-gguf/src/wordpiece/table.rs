//! A hash table of vocabulary pieces that is asked for every prefix of a word with one running hash.

const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Where a piece stands in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At its beginning.
    Start,
    /// After another piece.
    Inside,
}

impl Place {
    fn seed(self) -> u64 {
        match self {
            Self::Start => 0xcbf2_9ce4_8422_2325,
            Self::Inside => 0x9e37_79b9_7f4a_7c15,
        }
    }
}

struct Entry {
    id: i32,
    offset: u32,
    len: u32,
    place: Place,
}

/// Pieces by text and place.
pub(super) struct Table {
    slots: Vec<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    longest: usize,
}

fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(PRIME)
}

impl Table {
    /// A table of `pieces`; the first of two equal ones counts.
    pub(super) fn new<'a>(pieces: impl Iterator<Item = (i32, Place, &'a str)>) -> Self {
        let mut table = Self { slots: Vec::new(), entries: Vec::new(), bytes: Vec::new(), longest: 0 };
        for (id, place, text) in pieces.filter(|p| !p.2.is_empty()) {
            table.longest = table.longest.max(text.len());
            let (Ok(offset), Ok(len)) = (u32::try_from(table.bytes.len()), u32::try_from(text.len())) else {
                break;
            };
            table.entries.push(Entry { id, offset, len, place });
            table.bytes.extend(text.as_bytes());
        }
        table.slots = vec![u32::MAX; (table.entries.len() * 4).next_power_of_two().max(8)];
        for n in 0..table.entries.len() {
            let e = &table.entries[n];
            let text = &table.bytes[e.offset as usize..][..e.len as usize];
            let hash = text.iter().fold(e.place.seed(), |h, b| step(h, *b));
            if table.find(hash, text, e.place).is_some() {
                continue;
            }
            let mask = table.slots.len() - 1;
            let mut at = Self::slot(hash, mask);
            while table.slots[at] != u32::MAX {
                at = (at + 1) & mask;
            }
            table.slots[at] = n as u32;
        }
        table
    }

    #[inline]
    fn slot(hash: u64, mask: usize) -> usize {
        (hash ^ (hash >> 29)) as usize & mask
    }

    #[inline]
    fn find(&self, hash: u64, text: &[u8], place: Place) -> Option<i32> {
        let mask = self.slots.len() - 1;
        let mut at = Self::slot(hash, mask);
        loop {
            let n = self.slots[at];
            if n == u32::MAX {
                return None;
            }
            let e = &self.entries[n as usize];
            if e.len as usize == text.len()
                && e.place == place
                && &self.bytes[e.offset as usize..][..text.len()] == text
            {
                return Some(e.id);
            }
            at = (at + 1) & mask;
        }
    }

    /// The longest piece that `text` begins with: its id and length. `hashes` is scratch space.
    #[inline]
    pub(super) fn longest(&self, text: &[u8], place: Place, hashes: &mut Vec<u64>) -> Option<(i32, usize)> {
        hashes.clear();
        let most = text.len().min(self.longest);
        let mut hash = place.seed();
        for byte in &text[..most] {
            hash = step(hash, *byte);
            hashes.push(hash);
        }
        // Pieces are whole characters, so a cut inside a character never matches.
        (1..=most).rev().find_map(|len| Some((self.find(hashes[len - 1], &text[..len], place)?, len)))
    }
}
