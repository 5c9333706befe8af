//! Rows of numbers in memory and the exact search over them.
//!
//! Rows lie one after another in segments that clones share, so that a search works on a snapshot while a writer goes
//! on: a writer copies at most the segments that it changes.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use katena_core::Metric;

/// Numbers per segment, as far as one row fits: about 1 MiB.
const SEGMENT_VALUES: usize = 256 * 1024;

#[derive(Clone)]
struct Segment<P> {
    keys: Vec<i64>,
    payloads: Vec<P>,
    /// 1 / length of the row; what makes a dot product a cosine.
    inverse_norms: Vec<f32>,
    values: Vec<f32>,
}

/// Rows of `dimensions` numbers, each with a key (rising) and a payload.
#[derive(Clone)]
pub(crate) struct Matrix<P> {
    dimensions: usize,
    rows: usize,
    segments: Vec<Arc<Segment<P>>>,
}

impl<P: Clone> Matrix<P> {
    pub(crate) fn new(dimensions: usize) -> Self {
        Self { dimensions, rows: 0, segments: Vec::new() }
    }

    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Adds a row; `key` is greater than all before, `vector` has the matrix's dimensions.
    pub(crate) fn push(&mut self, key: i64, payload: P, vector: &[f32]) {
        debug_assert_eq!(vector.len(), self.dimensions);
        let full = |s: &Arc<Segment<P>>| s.values.len() + vector.len() > SEGMENT_VALUES;
        if self.segments.last().is_none_or(full) {
            self.segments.push(Arc::new(Segment {
                keys: Vec::new(),
                payloads: Vec::new(),
                inverse_norms: Vec::new(),
                values: Vec::new(),
            }));
        }
        if let Some(segment) = self.segments.last_mut() {
            let segment = Arc::make_mut(segment);
            segment.keys.push(key);
            segment.payloads.push(payload);
            segment.inverse_norms.push((1.0 / norm(vector)) as f32);
            segment.values.extend_from_slice(vector);
            self.rows += 1;
        }
    }

    fn find(&self, key: i64) -> Option<(usize, usize)> {
        let segment = self.segments.partition_point(|s| s.keys.last().is_some_and(|last| *last < key));
        let row = self.segments.get(segment)?.keys.binary_search(&key).ok()?;
        Some((segment, row))
    }

    pub(crate) fn get(&self, key: i64) -> Option<(&P, &[f32])> {
        let (s, row) = self.find(key)?;
        let segment = &self.segments[s];
        let values = &segment.values[row * self.dimensions..(row + 1) * self.dimensions];
        Some((&segment.payloads[row], values))
    }

    pub(crate) fn remove(&mut self, key: i64) -> Option<P> {
        let (s, row) = self.find(key)?;
        let d = self.dimensions;
        let segment = Arc::make_mut(&mut self.segments[s]);
        segment.keys.remove(row);
        segment.inverse_norms.remove(row);
        segment.values.drain(row * d..(row + 1) * d);
        let payload = segment.payloads.remove(row);
        self.rows -= 1;
        self.tidy();
        Some(payload)
    }

    /// Keeps the rows whose key `keep` wants; asked in rising order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(i64) -> bool) {
        for shared in &mut self.segments {
            let kept: Vec<bool> = shared.keys.iter().map(|k| keep(*k)).collect();
            if kept.iter().all(|k| *k) {
                continue;
            }
            let d = self.dimensions;
            let segment = Arc::make_mut(shared);
            let mut to = 0;
            for (from, keep) in kept.iter().enumerate() {
                if *keep {
                    segment.values.copy_within(from * d..(from + 1) * d, to * d);
                    to += 1;
                }
            }
            segment.values.truncate(to * d);
            let flags = || kept.iter().copied();
            let (mut a, mut b, mut c) = (flags(), flags(), flags());
            segment.keys.retain(|_| a.next().unwrap_or(true));
            segment.payloads.retain(|_| b.next().unwrap_or(true));
            segment.inverse_norms.retain(|_| c.next().unwrap_or(true));
        }
        self.rows = self.segments.iter().map(|s| s.keys.len()).sum();
        self.tidy();
    }

    /// Drops empty segments, and packs the rest once most of their room is empty.
    fn tidy(&mut self) {
        self.segments.retain(|s| !s.keys.is_empty());
        let per_segment = (SEGMENT_VALUES / self.dimensions.max(1)).max(1);
        if self.segments.len() > 2 * self.rows.div_ceil(per_segment) + 2 {
            let old = std::mem::take(&mut self.segments);
            self.rows = 0;
            let d = self.dimensions;
            for segment in old {
                for (row, key) in segment.keys.iter().enumerate() {
                    self.push(*key, segment.payloads[row].clone(), &segment.values[row * d..(row + 1) * d]);
                }
            }
        }
    }

    /// The score of every row that reaches `min_score`; the heap gives the best first.
    pub(crate) fn scores(&self, metric: Metric, query: &[f32], min_score: Option<f32>) -> BinaryHeap<Hit> {
        let unit: Vec<f32>;
        let query = if metric == Metric::Cosine {
            let norm = norm(query);
            if norm == 0.0 {
                unit = query.to_vec();
            } else {
                unit = query.iter().map(|x| (f64::from(*x) / norm) as f32).collect();
            }
            &unit[..]
        } else {
            query
        };
        let mut hits = Vec::with_capacity(self.rows);
        for segment in &self.segments {
            let rows = segment.values.chunks_exact(self.dimensions);
            for ((row, key), inverse_norm) in rows.zip(&segment.keys).zip(&segment.inverse_norms) {
                let score = match metric {
                    Metric::Cosine => {
                        let score = dot(row, query) * inverse_norm;
                        if score.is_finite() { score.clamp(-1.0, 1.0) } else { exact_cosine(row, query) }
                    }
                    Metric::Dot => dot(row, query),
                    _ => -squared_distance(row, query).sqrt(),
                };
                if min_score.is_none_or(|m| score >= m) {
                    hits.push(Hit { score, key: *key });
                }
            }
        }
        hits.into()
    }
}

/// A row's score; the greatest is the best, the older of equal ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hit {
    pub(crate) score: f32,
    pub(crate) key: i64,
}

impl Eq for Hit {}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.key.cmp(&self.key))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// For lengths that overflow or vanish in single precision.
fn exact_cosine(row: &[f32], query: &[f32]) -> f32 {
    let norm = norm(row);
    if norm == 0.0 {
        return 0.0;
    }
    let dot: f64 = row.iter().zip(query).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    (dot / norm).clamp(-1.0, 1.0) as f32
}

/// Independent sums that the compiler keeps in vector registers.
const LANES: usize = 32;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |x, y| x * y)
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |x, y| (x - y) * (x - y))
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "the closure must be known where the loop is compiled")]
fn lanes(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| term(*x, *y)).sum();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.zip(b) {
        for ((sum, x), y) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(*x, *y);
        }
    }
    rest + sums.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(seed: usize, d: usize) -> Vec<f32> {
        (0..d).map(|i| ((seed * 31 + i * 17) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn scores_equal_the_plain_formulas() {
        for d in [1, 31, 32, 33, 384] {
            let (a, b) = (row(1, d), row(2, d));
            let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                a.iter().zip(&b).map(|(x, y)| f(f64::from(*x), f64::from(*y))).sum()
            };
            let dot = sum(&|x, y| x * y);
            let wanted = [
                (Metric::Cosine, dot / (norm(&a) * norm(&b))),
                (Metric::Dot, dot),
                (Metric::Euclidean, -sum(&|x, y| (x - y) * (x - y)).sqrt()),
            ];
            let mut matrix = Matrix::new(d);
            matrix.push(1, (), &a);
            for (metric, wanted) in wanted {
                let got = matrix.scores(metric, &b, None).pop().unwrap().score;
                assert!(
                    (f64::from(got) - wanted).abs() < 1e-4 * wanted.abs().max(1.0),
                    "{metric:?} {got} {wanted}"
                );
            }
        }
    }

    #[test]
    fn extreme_lengths_keep_their_cosine() {
        let mut matrix = Matrix::new(2);
        for (key, scale) in (0..).zip([1e-42_f32, 1e-30, 1.0, 1e30, 3e38]) {
            matrix.push(key, (), &[scale, 0.0]);
        }
        matrix.push(9, (), &[0.0, 0.0]);
        for query in [[2e38, 2e38], [1e-41, 1e-41]] {
            let mut hits = matrix.scores(Metric::Cosine, &query, None);
            for _ in 0..5 {
                assert!((hits.pop().unwrap().score - 0.5_f32.sqrt()).abs() < 1e-3);
            }
            assert_eq!(hits.pop().unwrap(), Hit { score: 0.0, key: 9 });
        }
    }

    #[test]
    fn a_snapshot_stays_while_rows_come_and_go() {
        let d = SEGMENT_VALUES / 4;
        let mut matrix = Matrix::new(d);
        for key in 0..40 {
            matrix.push(key, key, &row(key as usize, d));
        }
        assert_eq!(matrix.segments.len(), 10);
        let snapshot = matrix.clone();
        matrix.retain(|key| key % 2 == 0);
        assert_eq!(matrix.remove(4), Some(4));
        assert_eq!(matrix.remove(5), None);
        matrix.push(40, 40, &row(40, d));
        assert_eq!((matrix.len(), snapshot.len()), (20, 40));
        for key in 0..=40 {
            let here = key % 2 == 0 && key != 4;
            assert_eq!(
                matrix.get(key).map(|(p, v)| (*p, v.to_vec())),
                here.then(|| (key, row(key as usize, d)))
            );
        }
        matrix.retain(|key| key == 12);
        assert_eq!((matrix.len(), matrix.segments.len()), (1, 1));
        assert_eq!(matrix.get(12).unwrap().1, row(12, d));
        assert_eq!(snapshot.get(5).unwrap().1, row(5, d));
    }
}
