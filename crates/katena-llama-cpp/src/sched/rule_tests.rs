//! The scheduler's rules, one by one.

use super::*;

const LIMITS: Limits = Limits {
    slots: 2,
    cache_tokens: 100,
    unified: true,
    context_tokens: 50,
    batch_tokens: 16,
    prefill_cap: 4,
    kept_tokens: 100,
    reuse: Reuse::Prefixes,
};

fn plan(scheduler: &mut Scheduler) -> Step {
    let mut step = Step::default();
    scheduler.plan(&mut step);
    step
}

/// Plans and computes a step; requests with logits generate `7`.
fn advance(scheduler: &mut Scheduler) -> Step {
    let step = plan(scheduler);
    scheduler.computed(Outcome::Done);
    for item in step.items.iter().filter(|i| i.logits) {
        scheduler.generated(item.id, 7);
    }
    step
}

fn count(step: &Step, id: Id) -> usize {
    step.items.iter().filter(|i| i.id == id).count()
}

fn list(from: i32, length: usize) -> Vec<i32> {
    (from..from + length as i32).collect()
}

#[test]
fn what_never_fits_is_refused_at_once() {
    let mut s = Scheduler::new(LIMITS);
    assert_eq!(s.submit(0, list(0, 41), 10), Err(Refusal::TooLong(50)));
    assert_eq!(s.submit(0, list(0, 5), usize::MAX), Err(Refusal::TooLong(50)));
    assert_eq!(s.submit(0, Vec::new(), 1), Err(Refusal::Empty));
    assert_eq!(s.submit(0, list(0, 1), 0), Err(Refusal::Empty));
    assert_eq!(s.submit(0, list(0, 40), 10), Ok(()));
}

#[test]
fn prompts_fill_the_batch_and_are_capped_while_a_stream_runs() {
    let mut s = Scheduler::new(LIMITS);
    s.submit(1, list(0, 12), 20).unwrap();
    s.submit(2, list(100, 20), 20).unwrap();
    let step = advance(&mut s);
    assert_eq!((count(&step, 1), count(&step, 2)), (12, 4), "nobody streams: the whole batch");
    assert!(step.items[11].logits && !step.items[15].logits);
    let step = advance(&mut s);
    assert_eq!((count(&step, 1), count(&step, 2)), (1, 4), "a stream runs: the cap");
    assert_eq!(step.items[0].id, 1, "generated tokens first");
    s.pause(1);
    assert_eq!(count(&advance(&mut s), 2), 12, "it pauses: no cap");
}

#[test]
fn a_common_beginning_is_computed_once_even_if_all_come_at_once() {
    let mut s = Scheduler::new(Limits { slots: 3, ..LIMITS });
    let prompt = |tail| [list(0, 20), vec![tail; 3]].concat();
    for id in 1..=3 {
        s.submit(id, prompt(200 + id as i32), 5).unwrap();
    }
    let mut computed = 0;
    for _ in 0..12 {
        computed += advance(&mut s).items.iter().filter(|i| i.position < 23).count();
    }
    assert_eq!(computed, 23 + 3 + 3);
    assert_eq!([s.reused(1), s.reused(2), s.reused(3)], [0, 20, 20]);
    assert_eq!(s.counts().reused_tokens, 40);
}

#[test]
fn the_same_prompt_again_computes_one_token() {
    let mut s = Scheduler::new(LIMITS);
    s.submit(1, list(0, 10), 5).unwrap();
    advance(&mut s);
    s.finished(1);
    s.submit(2, list(0, 10), 5).unwrap();
    let step = advance(&mut s);
    assert_eq!(step.items.len(), 1);
    assert!(step.ops.iter().any(|op| matches!(op, CacheOp::Restore { end: 9, .. })));
    let mut s = Scheduler::new(Limits { reuse: Reuse::Off, ..LIMITS });
    s.submit(1, list(0, 10), 5).unwrap();
    advance(&mut s);
    s.finished(1);
    s.submit(2, list(0, 10), 5).unwrap();
    assert_eq!(advance(&mut s).items.len(), 10);
    assert_eq!(s.counts().cache_kept, 0);
}

#[test]
fn the_least_recently_used_goes_first() {
    let mut s = Scheduler::new(Limits { kept_tokens: 30, ..LIMITS });
    let mut ask = |id: Id, from| {
        s.submit(id, list(from, 10), 5).unwrap();
        advance(&mut s);
        let reused = s.reused(id);
        s.finished(id);
        reused
    };
    assert_eq!([ask(0, 0), ask(1, 100), ask(2, 200)], [0, 0, 0]);
    assert_eq!(ask(3, 0), 9, "the first is used again");
    assert_eq!(ask(4, 300), 0, "room is made");
    assert_eq!([ask(5, 0), ask(6, 200), ask(7, 300)], [9, 9, 9]);
    assert_eq!(ask(8, 100), 0, "it was the least recently used");
}

#[test]
fn a_beginning_that_is_a_small_part_is_computed_again() {
    let mut s = Scheduler::new(LIMITS);
    s.submit(1, list(0, 3), 5).unwrap();
    advance(&mut s);
    s.submit(2, [list(0, 1), list(100, 33)].concat(), 5).unwrap();
    assert_eq!(count(&advance(&mut s), 2), 4, "it does not wait, and shares nothing");
    s.submit(3, [list(0, 1), list(200, 30)].concat(), 5).unwrap();
    s.finished(2);
    advance(&mut s);
    assert_eq!([s.reused(2), s.reused(3)], [0, 1]);
}

#[test]
fn a_split_cache_has_no_gaps_and_copies_what_is_shared() {
    let mut s = Scheduler::new(Limits { slots: 3, cache_tokens: 150, unified: false, ..LIMITS });
    for id in 1..=3 {
        s.submit(id, [list(0, 10), vec![100 + id as i32]].concat(), 20).unwrap();
    }
    let copies = |step: &Step| {
        let copies = step.ops.iter().filter(|op| matches!(op, CacheOp::Copy { start: 0, end: 10, .. }));
        copies.count()
    };
    advance(&mut s);
    assert_eq!(copies(&advance(&mut s)), 2, "both get what the first computed");
    advance(&mut s);
    assert_eq!(s.counts().cache_used, 13 + 12 + 12, "each has its own");
    s.finished(1);
    let step = advance(&mut s);
    let moved = CacheOp::Copy { from: 2, to: 0, start: 0, end: 12 };
    assert!(step.ops.contains(&moved), "{:?}", step.ops);
    assert_eq!(step.items.iter().map(|i| (i.id, i.sequence)).collect::<Vec<_>>(), [(3, 0), (2, 1)]);
}

#[test]
fn with_one_slot_the_next_request_goes_on_where_the_last_one_ended() {
    let mut s = Scheduler::new(Limits { slots: 1, cache_tokens: 50, unified: false, ..LIMITS });
    s.submit(1, list(0, 10), 5).unwrap();
    advance(&mut s);
    s.finished(1);
    assert_eq!(s.counts().cache_kept, 0, "it stays where it is");
    s.submit(2, list(0, 14), 5).unwrap();
    let step = advance(&mut s);
    assert!(step.ops.is_empty(), "{:?}", step.ops);
    assert_eq!((s.reused(2), step.items.len()), (10, 4));
    s.finished(2);
    s.submit(3, [list(0, 4), list(90, 4)].concat(), 5).unwrap();
    let step = advance(&mut s);
    let save = CacheOp::Save { sequence: 0, start: 0, end: 14, node: 1 };
    assert_eq!(step.ops, [save, CacheOp::Trim { sequence: 0, length: 4 }]);
    s.finished(3);
    s.submit(4, list(0, 14), 5).unwrap();
    assert!(advance(&mut s).ops.contains(&CacheOp::Restore { sequence: 0, nodes: vec![1, 2], end: 13 }));
}

#[test]
fn what_is_kept_stays_within_its_budget() {
    let mut s = Scheduler::new(Limits { kept_tokens: 8, ..LIMITS });
    let mut ask = |id: Id, prompt: Vec<i32>| {
        s.submit(id, prompt, 5).unwrap();
        advance(&mut s);
        let reused = s.reused(id);
        s.finished(id);
        (reused, s.counts().cache_kept)
    };
    assert_eq!(ask(1, list(0, 15)), (0, 8), "its beginning");
    assert_eq!(ask(2, list(100, 6)), (0, 6), "the older one is gone");
    assert_eq!(ask(3, [list(100, 3), list(300, 2)].concat()), (3, 8), "what is common is kept once");
}

#[test]
fn the_youngest_gives_way_and_goes_on_later() {
    let mut s = Scheduler::new(Limits { cache_tokens: 60, kept_tokens: 0, ..LIMITS });
    s.submit(1, list(0, 8), 40).unwrap();
    s.submit(2, list(100, 8), 40).unwrap();
    let mut seen = [0; 2];
    while !s.is_idle() {
        let step = plan(&mut s);
        s.computed(Outcome::Done);
        for item in step.items.iter().filter(|i| i.logits) {
            let n = (item.id - 1) as usize;
            seen[n] += 1;
            if seen[n] == 40 {
                s.finished(item.id);
            } else {
                s.generated(item.id, seen[n]);
            }
        }
        assert!(s.counts().preemptions == 0 || seen[0] > 0);
    }
    assert!(s.counts().preemptions >= 1);
    assert_eq!(seen, [40, 40]);
}

#[test]
fn an_unread_answer_gives_way_to_those_who_wait() {
    let mut s = Scheduler::new(Limits { slots: 1, cache_tokens: 50, unified: false, ..LIMITS });
    s.submit(1, list(0, 8), 20).unwrap();
    advance(&mut s);
    s.pause(1);
    assert!(advance(&mut s).items.is_empty(), "nobody waits: it keeps its slot");
    s.submit(2, list(100, 8), 20).unwrap();
    assert_eq!(count(&advance(&mut s), 2), 8);
    assert_eq!(s.counts().parked, 1);
    s.resume(1);
    assert_eq!(count(&advance(&mut s), 1), 0, "it waits for a slot as others do");
    s.finished(2);
    let step = advance(&mut s);
    assert_eq!((count(&step, 1), step.items[0].position), (1, 8), "it goes on from what was kept");
}

#[test]
fn cancelling_takes_effect_in_the_next_step() {
    let mut s = Scheduler::new(LIMITS);
    for id in 1..=3 {
        s.submit(id, list(100 * id as i32, 12), 20).unwrap();
    }
    advance(&mut s);
    s.cancel(1);
    let step = advance(&mut s);
    assert_eq!(count(&step, 1), 0);
    assert!(count(&step, 3) > 0, "its slot is free");
    s.cancel(2);
    s.cancel(3);
    s.cancel(99);
    assert!(s.is_idle() && advance(&mut s).items.is_empty());
    assert_eq!(s.counts().cancels, 3);
}

#[test]
fn a_cache_that_is_smaller_than_it_said_is_learnt() {
    let mut s = Scheduler::new(LIMITS);
    s.submit(1, list(0, 10), 30).unwrap();
    advance(&mut s);
    assert_eq!(plan(&mut s).items.len(), 1);
    s.computed(Outcome::NoRoom);
    let step = plan(&mut s);
    assert_eq!((step.items.len(), step.failed), (0, vec![1]), "given up instead of tried for ever");
    assert_eq!(s.longest(), 10);
}

#[test]
fn what_was_computed_elsewhere_is_not_computed_again() {
    let mut s = Scheduler::new(LIMITS);
    assert!(matches!(s.learn(&list(0, 20)), Some(New { start: 0, .. })));
    assert!(s.learn(&list(0, 20)).is_none(), "it is there");
    assert!(matches!(s.learn(&[list(0, 20), list(50, 5)].concat()), Some(New { start: 20, .. })));
    s.submit(1, [list(0, 20), list(50, 10)].concat(), 5).unwrap();
    assert_eq!(advance(&mut s).items.len(), 5);
    assert_eq!(s.reused(1), 25);
}

#[test]
fn beginning_again_forgets_all_but_the_counts() {
    let mut s = Scheduler::new(LIMITS);
    s.submit(1, list(0, 10), 5).unwrap();
    advance(&mut s);
    s.finished(1);
    s.submit(2, list(0, 10), 5).unwrap();
    advance(&mut s);
    let before = s.counts();
    s.begin_again(Limits { reuse: Reuse::Off, ..LIMITS });
    let after = s.counts();
    assert_eq!((after.running, after.cache_used, after.cache_kept), (0, 0, 0));
    assert_eq!((after.steps, after.reused_tokens), (before.steps, before.reused_tokens));
    s.submit(3, list(0, 10), 5).unwrap();
    assert_eq!(advance(&mut s).items.len(), 10);
}
