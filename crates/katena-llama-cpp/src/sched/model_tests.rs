//! Random schedules against a simulated model and cache. The model's next token is a function of every token before it, as
//! the cache holds them: a wrong cell, a lost or a doubled token changes the answer.

use std::collections::BTreeMap;

use super::*;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    fn within(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// The token after these.
fn model(tokens: &[i32]) -> i32 {
    let hash =
        tokens.iter().fold(0xcbf2_9ce4_8422_2325u64, |h, t| (h ^ *t as u64).wrapping_mul(0x0100_0000_01b3));
    ((hash >> 20) % 50) as i32
}

/// This token ends an answer.
const END: i32 = 0;

/// What a request must get.
fn answer(prompt: &[i32], most: usize) -> Vec<i32> {
    let mut tokens = prompt.to_vec();
    while tokens.len() < prompt.len() + most {
        let token = model(&tokens);
        if token == END {
            break;
        }
        tokens.push(token);
    }
    tokens.split_off(prompt.len())
}

#[derive(Clone, Copy)]
struct Cell {
    position: usize,
    token: i32,
    /// A bit for each sequence.
    sequences: u128,
}

/// A cache as llama.cpp's: cells, each marked with its sequences. In a split one each has one sequence.
struct Cache {
    cells: Vec<Option<Cell>>,
    unified: bool,
    /// Tokens in main memory, by number.
    kept: BTreeMap<usize, Vec<i32>>,
}

impl Cache {
    fn length(&self, sequence: usize) -> usize {
        self.cells.iter().flatten().filter(|c| c.sequences >> sequence & 1 == 1).count()
    }

    fn tokens(&self, sequence: usize) -> Vec<i32> {
        let mine = self.cells.iter().flatten().filter(|c| c.sequences >> sequence & 1 == 1);
        let sorted: BTreeMap<usize, i32> = mine.map(|c| (c.position, c.token)).collect();
        assert!(sorted.keys().copied().eq(0..sorted.len()), "positions without a gap");
        assert_eq!(sorted.len(), self.length(sequence), "a position once");
        sorted.into_values().collect()
    }

    fn apply(&mut self, op: CacheOp) {
        match op {
            CacheOp::Copy { from, to, start, end } => {
                assert!(start < end && end <= self.length(from) && start == self.length(to), "{op:?}");
                let tokens = self.tokens(from);
                assert_eq!(tokens[..start], self.tokens(to)[..], "the same as far as it goes");
                if !self.unified {
                    self.put(to, start, &tokens[start..end]);
                    return;
                }
                for cell in self.cells.iter_mut().flatten() {
                    if cell.sequences >> from & 1 == 1 && (start..end).contains(&cell.position) {
                        cell.sequences |= 1 << to;
                    }
                }
            }
            CacheOp::Trim { sequence, length } => self.trim(sequence, length),
            CacheOp::Save { sequence, start, end, node } => {
                let tokens = self.tokens(sequence)[start..end].to_vec();
                assert!(!tokens.is_empty() && self.kept.insert(node, tokens).is_none(), "{op:?}");
            }
            CacheOp::Split { node, length, tail } => {
                let rest = self.kept.get_mut(&node).unwrap().split_off(length);
                assert!(!rest.is_empty() && self.kept.insert(tail, rest).is_none(), "{op:?}");
            }
            CacheOp::Forget { node } => assert!(self.kept.remove(&node).is_some()),
            CacheOp::Restore { sequence, ref nodes, end } => {
                let mut tokens: Vec<i32> = nodes.iter().flat_map(|n| self.kept[n].clone()).collect();
                assert!(0 < end && end <= tokens.len(), "{op:?}");
                tokens.truncate(end);
                self.trim(sequence, 0);
                self.put(sequence, 0, &tokens);
            }
        }
    }

    fn trim(&mut self, sequence: usize, length: usize) {
        for slot in &mut self.cells {
            if let Some(cell) = slot
                && cell.position >= length
            {
                cell.sequences &= !(1 << sequence);
                if cell.sequences == 0 {
                    *slot = None;
                }
            }
        }
    }

    fn put(&mut self, sequence: usize, start: usize, tokens: &[i32]) {
        assert!(self.used() + tokens.len() <= self.cells.len(), "there is room for what is copied");
        let mut free = 0;
        for (n, token) in tokens.iter().enumerate() {
            while self.cells[free].is_some() {
                free += 1;
            }
            self.cells[free] = Some(Cell { position: start + n, token: *token, sequences: 1 << sequence });
        }
    }

    fn used(&self) -> usize {
        self.cells.iter().flatten().count()
    }

    fn compute(&mut self, items: &[Item]) -> bool {
        if self.used() + items.len() > self.cells.len() {
            return false;
        }
        for item in items {
            assert_eq!(item.position, self.length(item.sequence), "the next position");
            self.put(item.sequence, item.position, &[item.token]);
        }
        true
    }
}

struct Client {
    prompt: Vec<i32>,
    most: usize,
    got: Vec<i32>,
    paused: bool,
    /// Steps in which it was neither paused nor served.
    waited: usize,
    bound: usize,
}

struct World {
    random: Random,
    limits: Limits,
    scheduler: Scheduler,
    cache: Cache,
    clients: BTreeMap<Id, Client>,
    next: Id,
    served: usize,
    themes: Vec<Vec<i32>>,
    step: Step,
    /// The cache says no now and then, though it has room.
    moody: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let slots = random.within(1, 6);
        let context_tokens = random.within(8, 60);
        let unified = slots > 1 && random.one_in(2);
        let most = slots * context_tokens;
        let limits = Limits {
            slots,
            unified,
            cache_tokens: if unified { random.within(context_tokens, most) } else { most },
            context_tokens,
            batch_tokens: random.within(1, 40),
            prefill_cap: random.within(1, 20),
            kept_tokens: random.below(100),
            reuse: if random.one_in(8) { Reuse::Off } else { Reuse::Prefixes },
        };
        let themes = (0..3).map(|_| (0..40).map(|_| random.within(1, 4) as i32).collect()).collect();
        let moody = random.one_in(10);
        Self {
            scheduler: Scheduler::new(limits),
            cache: Cache { cells: vec![None; limits.cache_tokens], unified, kept: BTreeMap::new() },
            clients: BTreeMap::new(),
            next: 0,
            served: 0,
            step: Step::default(),
            random,
            limits,
            themes,
            moody,
        }
    }

    fn submit(&mut self) {
        let random = &mut self.random;
        let mut prompt = self.themes[random.below(3)].clone();
        prompt.truncate(random.below(40));
        prompt.extend((0..random.within(1, 12)).map(|_| random.within(1, 3) as i32));
        let most = random.within(1, 16);
        let fits = self.scheduler.longest();
        let length = prompt.len() + most;
        match self.scheduler.submit(self.next, prompt.clone(), most) {
            Ok(()) => assert!(length <= fits),
            Err(Refusal::TooLong(n)) => {
                assert!(n == fits && length > fits);
                return;
            }
            Err(Refusal::Empty) => panic!("neither was empty"),
        }
        // At worst it waits for all work that is there, every piece of which may be computed again after preemption.
        let work = |c: &Client| c.prompt.len() + c.most + 2;
        let own = prompt.len() + most;
        let bound = (self.clients.values().map(work).sum::<usize>() + own + 16) * (self.limits.slots + 2);
        let client = Client { prompt, most, got: Vec::new(), paused: false, waited: 0, bound };
        self.clients.insert(self.next, client);
        self.next += 1;
    }

    fn some_client(&mut self) -> Option<Id> {
        let n = self.random.below(self.clients.len());
        self.clients.keys().nth(n).copied()
    }

    /// One step; false if there was nothing to compute.
    fn step(&mut self) -> bool {
        self.scheduler.plan(&mut self.step);
        let step = std::mem::take(&mut self.step);
        for op in &step.ops {
            self.cache.apply(op.clone());
        }
        assert!(step.failed.is_empty() || self.moody, "a request that fits is never given up");
        for id in &step.failed {
            self.clients.remove(id);
        }
        self.check(&step);
        let no = self.moody && self.random.one_in(150);
        let broken = self.moody && self.random.one_in(100);
        if step.items.is_empty() {
            let idle = self.clients.values().all(|c| c.paused);
            assert!(idle || !step.failed.is_empty(), "somebody waits and nothing is computed");
            self.step = step;
            return false;
        }
        if broken {
            for id in self.scheduler.computed(Outcome::Failed) {
                assert!(self.clients.remove(&id).is_some());
            }
        } else if no || !self.cache.compute(&step.items) {
            assert!(no, "the scheduler's count of cells is exact");
            assert!(self.scheduler.computed(Outcome::NoRoom).is_empty());
        } else {
            self.scheduler.computed(Outcome::Done);
            self.answer(&step);
        }
        self.step = step;
        true
    }

    /// What holds for every step.
    fn check(&mut self, step: &Step) {
        assert!(step.items.len() <= self.limits.batch_tokens);
        assert!(self.scheduler.running.len() <= self.limits.slots);
        let streams: Vec<Id> =
            self.scheduler.running.iter().filter(|r| r.planned > 0 && r.generates()).map(|r| r.id).collect();
        let prompts = step.items.iter().filter(|i| !streams.contains(&i.id)).count();
        assert!(streams.is_empty() || prompts <= self.limits.prefill_cap, "prompts stall the streams");
        for item in &step.items {
            assert!(!self.clients[&item.id].paused, "a paused request computes nothing");
        }
        if !self.limits.unified && self.limits.reuse == Reuse::Prefixes {
            let mut used: Vec<usize> = self.scheduler.running.iter().map(|r| r.sequence).collect();
            used.sort_unstable();
            assert!(used.iter().copied().eq(0..used.len()), "no gap: {used:?}");
        }
        // Nobody passes by: who comes later begins later.
        for request in &self.scheduler.running {
            let first = self.scheduler.waiting.iter().find(|r| !r.again);
            assert!(first.is_none_or(|r| r.id > request.id), "admitted in order");
        }
        if !step.items.is_empty() {
            let due: Vec<Id> = step.items.iter().map(|i| i.id).collect();
            for (id, client) in &mut self.clients {
                if !client.paused && !due.contains(id) {
                    client.waited += 1;
                    assert!(client.waited <= client.bound, "{} steps without service", client.waited);
                }
            }
        }
    }

    fn answer(&mut self, step: &Step) {
        for item in step.items.iter().filter(|i| i.logits) {
            let client = self.clients.get_mut(&item.id).unwrap();
            let held = self.cache.tokens(item.sequence);
            let all: Vec<i32> = client.prompt.iter().chain(&client.got).copied().collect();
            assert_eq!(held, all, "the cache holds the request's tokens");
            let token = model(&held);
            if token != END {
                client.got.push(token);
            }
            if token == END || client.got.len() == client.most {
                assert_eq!(client.got, answer(&client.prompt, client.most));
                self.clients.remove(&item.id);
                self.scheduler.finished(item.id);
                self.served += 1;
            } else {
                self.scheduler.generated(item.id, token);
            }
        }
    }

    /// Something was computed elsewhere: a session is loaded.
    fn learn(&mut self) {
        let random = &mut self.random;
        let mut tokens = self.themes[random.below(3)].clone();
        tokens.truncate(random.below(40));
        tokens.extend((0..random.below(12)).map(|_| random.within(1, 3) as i32));
        let new = self.scheduler.learn(&tokens);
        let mut ops = Vec::new();
        self.scheduler.take_ops(&mut ops);
        for op in ops {
            self.cache.apply(op);
        }
        if let Some(New { node, start }) = new {
            let end = tokens.len().min(self.limits.kept_tokens);
            assert!(self.cache.kept.insert(node, tokens[start..end].to_vec()).is_none());
        }
        self.audit();
    }

    fn disturb(&mut self) {
        if self.limits.reuse == Reuse::Prefixes && self.random.one_in(25) {
            self.learn();
        }
        if self.random.one_in(12)
            && let Some(id) = self.some_client()
        {
            self.scheduler.cancel(id);
            self.clients.remove(&id);
        }
        if self.random.one_in(6)
            && let Some(id) = self.some_client()
        {
            let client = self.clients.get_mut(&id).unwrap();
            // A reader has nothing to read before the first token.
            if client.paused {
                client.paused = false;
                self.scheduler.resume(id);
            } else if !client.got.is_empty() {
                client.paused = true;
                self.scheduler.pause(id);
            }
        }
    }

    /// The cache of the scheduler's books is the cache that there is.
    fn audit(&self) {
        assert_eq!(self.scheduler.cells.used(), self.cache.used(), "cells in use");
        for request in &self.scheduler.running {
            let held = self.cache.tokens(request.sequence);
            assert_eq!(held, request.tokens[..request.computed]);
        }
        assert_eq!(self.scheduler.tree.labels(), self.cache.kept, "what is kept");
        assert!(self.scheduler.tree.tokens() <= self.limits.kept_tokens);
        let idle = self.scheduler.idle.iter().count();
        let ids = self.scheduler.free.len() + idle + self.scheduler.running.len();
        assert_eq!(ids, self.limits.slots, "no sequence is lost");
    }
}

/// Plays one schedule; how many answers were complete, and what was counted.
fn play(seed: u64) -> (usize, Counts) {
    let mut world = World::new(seed);
    let rounds = world.random.within(20, 120);
    let rate = world.random.within(1, 6);
    for _ in 0..rounds {
        if world.random.one_in(rate) {
            world.submit();
        }
        world.disturb();
        world.step();
        // Operations that the last step left are made with the next plan.
        if world.scheduler.ops.is_empty() {
            world.audit();
        }
    }
    let ids: Vec<Id> = world.clients.keys().copied().collect();
    for id in ids {
        world.clients.get_mut(&id).unwrap().paused = false;
        world.scheduler.resume(id);
    }
    let mut steps = 0;
    while !world.clients.is_empty() {
        world.step();
        steps += 1;
        assert!(steps < 20_000, "the schedule ends");
    }
    assert!(world.scheduler.is_idle());
    world.step();
    world.audit();
    assert!(world.scheduler.idle.is_some() || world.cache.used() == 0);
    (world.served, world.scheduler.counts())
}

/// Ten thousand schedules; the seed of one that fails is in the message.
#[test]
fn random_schedules_give_every_answer_as_if_it_were_alone() {
    let (mut served, mut total) = (0, Counts::default());
    for seed in 0..10_000 {
        let result = std::panic::catch_unwind(|| play(seed));
        let Ok((n, counts)) = result else { panic!("seed {seed}") };
        served += n;
        total.preemptions += counts.preemptions;
        total.reused_tokens += counts.reused_tokens;
        total.prompt_tokens += counts.prompt_tokens;
        total.cancels += counts.cancels;
    }
    // The schedules are worth their time only if they meet what they are for.
    assert!(served > 50_000, "{served} answers");
    assert!(total.preemptions > 5_000 && total.cancels > 10_000, "{total:?}");
    assert!(total.reused_tokens * 4 > total.prompt_tokens, "{total:?}");
}
