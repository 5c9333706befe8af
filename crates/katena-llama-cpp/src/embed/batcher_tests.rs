//! Batches by simulation: nothing lost or doubled, limits kept, lengths similar, waits bounded.

use std::collections::{HashMap, HashSet};

use super::*;

const LIMITS: Limits = Limits { most_tokens: 512, full_tokens: 256, texts: 16 };

/// Repeatable numbers below `most`.
struct Numbers(u64);
impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % most.max(1)
    }
}

fn lengths(picks: &[Pick], known: &HashMap<Pick, usize>) -> Vec<usize> {
    picks.iter().map(|p| known[p]).collect()
}

fn check(picks: &[Pick], known: &HashMap<Pick, usize>, limits: Limits) {
    let lengths = lengths(picks, known);
    let total: usize = lengths.iter().sum();
    let longest = *lengths.iter().max().unwrap();
    assert!(total <= limits.most_tokens && picks.len() <= limits.texts, "{lengths:?}");
    assert!(picks.len() == 1 || total <= limits.full_tokens.max(longest), "{lengths:?}");
    let shortest = *lengths.iter().min().unwrap();
    assert!(longest <= SHORT || shortest >= longest / 2, "{lengths:?} are not of similar length");
}

#[test]
fn each_text_is_computed_once_and_limits_hold() {
    for seed in 1..=300u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let limits =
            Limits { most_tokens: 512, full_tokens: 1 + numbers.below(512), texts: 1 + numbers.below(16) };
        let mut batcher = Batcher::default();
        let (mut known, mut done) = (HashMap::new(), HashSet::new());
        let mut dropped = HashSet::new();
        for _ in 0..60 {
            if numbers.below(3) == 0 {
                let id = batcher.add();
                let texts: Vec<(usize, usize)> =
                    (0..numbers.below(40)).map(|n| (1 + numbers.below(512), n)).collect();
                known.extend(texts.iter().map(|(len, text)| (Pick { request: id, text: *text }, *len)));
                batcher.extend(id, texts);
                if numbers.below(10) == 0 {
                    dropped.insert(id);
                    batcher.remove(id);
                }
            }
            let picks = batcher.pick(limits);
            if !picks.is_empty() {
                check(&picks, &known, limits);
            }
            for pick in picks {
                assert!(!dropped.contains(&pick.request), "a dropped request is computed");
                assert!(done.insert(pick), "computed twice: {pick:?}");
            }
        }
        loop {
            let picks = batcher.pick(limits);
            if picks.is_empty() {
                break;
            }
            check(&picks, &known, limits);
            done.extend(picks);
        }
        let wanted: HashSet<Pick> = known.keys().filter(|p| !dropped.contains(&p.request)).copied().collect();
        assert!(wanted.is_subset(&done), "seed {seed}: a text was lost");
    }
}

#[test]
fn short_texts_of_many_requests_share_a_batch() {
    let mut batcher = Batcher::default();
    for _ in 0..10 {
        let id = batcher.add();
        batcher.extend(id, [(12, 0)]);
    }
    let picks = batcher.pick(LIMITS);
    let requests: HashSet<u64> = picks.iter().map(|p| p.request).collect();
    assert_eq!((picks.len(), requests.len()), (10, 10));
}

#[test]
fn a_short_request_passes_long_ones() {
    let mut batcher = Batcher::default();
    for _ in 0..4 {
        let id = batcher.add();
        batcher.extend(id, (0..1000).map(|n| (200, n)));
    }
    for _ in 0..50 {
        batcher.pick(LIMITS);
    }
    let short = batcher.add();
    batcher.extend(short, [(9, 0)]);
    let waits = (1..100).find(|_| batcher.pick(LIMITS).iter().any(|p| p.request == short)).unwrap();
    assert!(waits <= 6, "it waited for {waits} batches");
}

#[test]
fn long_requests_get_equal_shares_whatever_their_lengths() {
    let mut batcher = Batcher::default();
    let ids: Vec<u64> = [300, 150, 70, 20]
        .map(|len| (batcher.add(), len))
        .into_iter()
        .map(|(id, len)| {
            batcher.extend(id, (0..20_000).map(|n| (len, n)));
            id
        })
        .collect();
    let lens: HashMap<u64, usize> = ids.iter().copied().zip([300, 150, 70, 20]).collect();
    let mut served: HashMap<u64, usize> = HashMap::new();
    for _ in 0..2000 {
        for pick in batcher.pick(LIMITS) {
            *served.entry(pick.request).or_default() += lens[&pick.request];
        }
    }
    let (least, most) = (served.values().min().unwrap(), served.values().max().unwrap());
    assert!(*most < least + least / 10, "{served:?}");
}

#[test]
fn an_endless_stream_of_newcomers_starves_nobody() {
    let mut batcher = Batcher::default();
    let old = batcher.add();
    batcher.extend(old, (0..4).map(|n| (400, n)));
    // It was served, so it stands behind each newcomer.
    batcher.pick(LIMITS);
    let mut newcomers = Vec::new();
    let mut batches = 0;
    while batcher.left(old) > 0 {
        batches += 1;
        assert!(batches < 500, "the old request starves");
        newcomers.retain(|id| batcher.left(*id) > 0);
        // As many as the thread lets in, and always new ones.
        while newcomers.len() < 63 {
            let id = batcher.add();
            batcher.extend(id, [(250, 0)]);
            newcomers.push(id);
        }
        batcher.pick(LIMITS);
    }
    assert!(batches > 20, "the newcomers had their share");
}
