//! The scheduler's rules, one by one.

use super::*;

const LIMITS: Limits = Limits {
    slots: 2,
    sequences: 6,
    cache_tokens: 100,
    context_tokens: 50,
    batch_tokens: 16,
    prefill_cap: 4,
    queue: 3,
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
fn what_never_fits_and_what_is_too_much_is_refused_at_once() {
    let mut s = Scheduler::new(LIMITS);
    assert_eq!(s.submit(0, list(0, 41), 10), Err(Refusal::TooLong(50)));
    assert_eq!(s.submit(0, list(0, 5), usize::MAX), Err(Refusal::TooLong(50)));
    assert_eq!(s.submit(0, Vec::new(), 1), Err(Refusal::Empty));
    assert_eq!(s.submit(0, list(0, 1), 0), Err(Refusal::Empty));
    for id in 0..3 {
        assert_eq!(s.submit(id, list(100 * id as i32, 5), 5), Ok(()));
    }
    assert_eq!(s.submit(3, list(0, 5), 5), Err(Refusal::QueueFull));
    plan(&mut s);
    assert_eq!(s.submit(3, list(0, 5), 5), Ok(()), "two have slots now");
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
    assert!(step.ops.iter().any(|op| matches!(op, CacheOp::Copy { start: 0, end: 9, .. })));
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
    let mut s = Scheduler::new(Limits { cache_tokens: 50, ..LIMITS });
    for id in 0..3 {
        s.submit(id, list(100 * id as i32, 10), 5).unwrap();
        advance(&mut s);
        s.finished(id);
    }
    // The first is used again; 30 tokens are kept, 20 are free.
    s.submit(3, list(0, 10), 1).unwrap();
    advance(&mut s);
    s.finished(3);
    s.submit(4, list(500, 40), 5).unwrap();
    for _ in 0..3 {
        advance(&mut s);
    }
    s.finished(4);
    s.submit(5, list(0, 10), 1).unwrap();
    plan(&mut s);
    assert_eq!(s.reused(5), 9, "the least recently used ones made room");
    s.computed(Outcome::Done);
    s.finished(5);
    s.submit(6, list(100, 10), 1).unwrap();
    plan(&mut s);
    assert_eq!(s.reused(6), 0);
}

#[test]
fn what_is_kept_stays_within_its_budget_but_the_last_is_always_kept() {
    let mut s = Scheduler::new(Limits { kept_tokens: 8, ..LIMITS });
    s.submit(1, list(0, 15), 5).unwrap();
    advance(&mut s);
    s.finished(1);
    assert_eq!(s.counts().cache_kept, 15);
    s.submit(2, list(100, 6), 5).unwrap();
    advance(&mut s);
    s.finished(2);
    assert_eq!(s.counts().cache_kept, 6, "the older one is gone");
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
    let mut s = Scheduler::new(Limits { slots: 1, ..LIMITS });
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
