//! The records of a file, as pure functions.
//!
//! A file is a row of records: the mark `KEV1`, the number of floats (u32), the key (32 bytes), the floats, and the first
//! 8 bytes of the SHA-256 of all that comes before; numbers are little-endian. There is no header, so files can be joined.

use sha2::{Digest as _, Sha256};

/// Names a text of a model in a role.
pub(super) type Key = [u8; 32];

const MARK: &[u8; 4] = b"KEV1";
/// Mark, number of floats, key.
const HEAD: usize = 4 + 4 + 32;
const SUM: usize = 8;
/// No embedding model gives longer vectors; a larger number is damage.
const MAX_FLOATS: usize = 1 << 16;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) floats: u32,
}

impl Place {
    pub(super) fn bytes(self) -> usize {
        HEAD + self.floats as usize * 4 + SUM
    }
}

fn sum(bytes: &[u8]) -> [u8; SUM] {
    let hash = Sha256::digest(bytes);
    let mut sum = [0; SUM];
    sum.copy_from_slice(&hash[..SUM]);
    sum
}

/// Appends a record to `out`; `None` if the vector is too long to be kept.
pub(super) fn write(out: &mut Vec<u8>, key: &Key, vector: &[f32]) -> Option<Place> {
    let floats = u32::try_from(vector.len()).ok().filter(|n| *n as usize <= MAX_FLOATS)?;
    let place = Place { offset: out.len() as u64, floats };
    let start = out.len();
    out.extend_from_slice(MARK);
    out.extend_from_slice(&floats.to_le_bytes());
    out.extend_from_slice(key);
    out.extend(vector.iter().flat_map(|x| x.to_le_bytes()));
    let sum = sum(&out[start..]);
    out.extend_from_slice(&sum);
    Some(place)
}

/// The record at the start of `bytes`, if it is whole and undamaged.
pub(super) fn read(bytes: &[u8]) -> Option<(Key, Place, Vec<f32>)> {
    let (key, floats) = head(bytes)?;
    let place = Place { offset: 0, floats };
    let record = bytes.get(..place.bytes())?;
    let (body, check) = record.split_at(record.len() - SUM);
    if sum(body) != check {
        return None;
    }
    let float = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    Some((key, place, body[HEAD..].chunks_exact(4).map(float).collect()))
}

fn head(bytes: &[u8]) -> Option<(Key, u32)> {
    let head = bytes.get(..HEAD)?;
    let floats = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let mut key = Key::default();
    key.copy_from_slice(&head[8..]);
    (&head[..4] == MARK && floats as usize <= MAX_FLOATS).then_some((key, floats))
}

/// Finds all whole records of `bytes`, which begin at `base` in the file. Gives how many bytes need not be looked at
/// again: all but a tail that may be a record still being written. Damage is passed over.
pub(super) fn scan(bytes: &[u8], base: u64, mut found: impl FnMut(Key, Place)) -> usize {
    let mut at = 0;
    let mut settled = 0;
    while let Some(next) = find_mark(&bytes[at..]) {
        at += next;
        match read(&bytes[at..]) {
            Some((key, place, _)) => {
                found(key, Place { offset: base + at as u64, ..place });
                at += place.bytes();
                settled = at;
            }
            None => at += 1,
        }
    }
    settled
}

fn find_mark(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MARK.len()).position(|w| w == MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (Vec<u8>, Vec<Place>) {
        let mut bytes = Vec::new();
        let places = (0..4_u8).map(|n| write(&mut bytes, &[n; 32], &[f32::from(n), -1.5]).unwrap()).collect();
        (bytes, places)
    }

    fn scanned(bytes: &[u8]) -> (Vec<u8>, usize) {
        let mut keys = Vec::new();
        let settled = scan(bytes, 0, |key, _| keys.push(key[0]));
        (keys, settled)
    }

    #[test]
    fn records_come_back() {
        let (bytes, places) = file();
        assert_eq!(scanned(&bytes), (vec![0, 1, 2, 3], bytes.len()));
        let (key, _, vector) = read(&bytes[places[2].offset as usize..]).unwrap();
        assert_eq!((key, vector), ([2; 32], vec![2.0, -1.5]));
    }

    #[test]
    fn a_torn_tail_is_ignored_at_every_length() {
        let (bytes, places) = file();
        let last = places[3].offset as usize;
        for cut in last..bytes.len() {
            assert_eq!(scanned(&bytes[..cut]), (vec![0, 1, 2], last), "{cut}");
        }
        // What another run appends after the torn record is found.
        let mut torn = bytes[..bytes.len() - 5].to_vec();
        write(&mut torn, &[9; 32], &[1.0]);
        assert_eq!(scanned(&torn).0, [0, 1, 2, 9]);
    }

    #[test]
    fn every_flipped_byte_loses_one_record_only() {
        let (bytes, places) = file();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let hit = places.iter().rposition(|p| p.offset as usize <= at).unwrap() as u8;
            let want: Vec<u8> = (0..4).filter(|n| *n != hit).collect();
            assert_eq!(scanned(&damaged).0, want, "byte {at}");
        }
    }

    #[test]
    fn too_long_vectors_are_not_kept() {
        assert!(write(&mut Vec::new(), &[0; 32], &vec![0.0; MAX_FLOATS + 1]).is_none());
    }
}
