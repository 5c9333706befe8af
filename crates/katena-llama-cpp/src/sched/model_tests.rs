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

/// A unified cache as llama.cpp's: cells, each marked with its sequences.
struct Cache(Vec<Option<Cell>>);

impl Cache {
    fn length(&self, sequence: usize) -> usize {
        self.0.iter().flatten().filter(|c| c.sequences >> sequence & 1 == 1).count()
    }

    fn tokens(&self, sequence: usize) -> Vec<i32> {
        let mine = self.0.iter().flatten().filter(|c| c.sequences >> sequence & 1 == 1);
        let sorted: BTreeMap<usize, i32> = mine.map(|c| (c.position, c.token)).collect();
        assert!(sorted.keys().copied().eq(0..sorted.len()), "positions without a gap");
        assert_eq!(sorted.len(), self.length(sequence), "a position once");
        sorted.into_values().collect()
    }

    fn apply(&mut self, op: CacheOp) {
        match op {
            CacheOp::Copy { from, to, start, end } => {
                assert!(start < end && end <= self.length(from) && start == self.length(to), "{op:?}");
                for cell in self.0.iter_mut().flatten() {
                    if cell.sequences >> from & 1 == 1 && (start..end).contains(&cell.position) {
                        cell.sequences |= 1 << to;
                    }
                }
            }
            CacheOp::Trim { sequence, length } => {
                for slot in &mut self.0 {
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
        }
    }

    fn used(&self) -> usize {
        self.0.iter().flatten().count()
    }

    fn compute(&mut self, items: &[Item]) -> bool {
        if self.used() + items.len() > self.0.len() {
            return false;
        }
        let mut free = 0;
        for item in items {
            assert_eq!(item.position, self.length(item.sequence), "the next position");
            while self.0[free].is_some() {
                free += 1;
            }
            self.0[free] =
                Some(Cell { position: item.position, token: item.token, sequences: 1 << item.sequence });
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
        let limits = Limits {
            slots,
            sequences: slots + random.below(8),
            cache_tokens: random.within(context_tokens, context_tokens * (slots + 1)),
            context_tokens,
            batch_tokens: random.within(1, 40),
            prefill_cap: random.within(1, 20),
            queue: random.within(1, 12),
            kept_tokens: random.below(100),
            reuse: if random.one_in(8) { Reuse::Off } else { Reuse::Prefixes },
        };
        let themes = (0..3).map(|_| (0..40).map(|_| random.within(1, 4) as i32).collect()).collect();
        let moody = random.one_in(10);
        Self {
            scheduler: Scheduler::new(limits),
            cache: Cache(vec![None; limits.cache_tokens]),
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
        let waiting = self.scheduler.waiting.iter().filter(|r| !r.started).count();
        let fits = self.scheduler.longest();
        let length = prompt.len() + most;
        match self.scheduler.submit(self.next, prompt.clone(), most) {
            Ok(()) => assert!(length <= fits && waiting < self.limits.queue),
            Err(Refusal::TooLong(n)) => {
                assert!(n == fits && length > fits);
                return;
            }
            Err(Refusal::QueueFull) => {
                assert_eq!(waiting, self.limits.queue);
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
            self.cache.apply(*op);
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
        // Nobody passes by: who comes later begins later.
        for request in &self.scheduler.running {
            let first = self.scheduler.waiting.iter().find(|r| !r.started);
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

    fn disturb(&mut self) {
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
        for kept in &self.scheduler.kept {
            assert_eq!(self.cache.tokens(kept.sequence), self.scheduler.cells.tokens(kept.sequence));
        }
        let ids = self.scheduler.free.len() + self.scheduler.kept.len() + self.scheduler.running.len();
        assert_eq!(ids, self.limits.sequences.max(self.limits.slots), "no sequence is lost");
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
    assert_eq!(world.scheduler.cells.live(), 0);
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
