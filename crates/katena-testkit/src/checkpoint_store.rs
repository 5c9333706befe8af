//! The contract of [`CheckpointStore`]. Each law wants an empty store.

use katena_core::{
    Checkpoint, CheckpointInfo, CheckpointStatus, CheckpointStore, EffectKey, ErrorKind, Result,
};

use crate::harness::{Law, parallel};

const STRANGE: [&str; 11] = [
    "a",
    "A",
    "a ",
    "",
    "user/zürich ☕",
    "it's \"quoted\" \\ $1 ?1 %_*",
    "'; DROP TABLE checkpoints; --",
    "line\nbreak",
    "nul\0byte",
    "nul\u{1}byte",
    "e\u{301}",
];

fn checkpoint(step: u64, owner: u64) -> Checkpoint {
    let info = CheckpointInfo::new(step, owner, format!("node {step}"))
        .with_time_ms(1_700_000_000_000 + step % 1000);
    Checkpoint::new(info, format!("{{\"step\":{step},\"owner\":{owner}}}"))
}

async fn put(law: Law, store: &dyn CheckpointStore, thread: &str, step: u64, owner: u64) {
    law.ok("putting", store.put(thread, checkpoint(step, owner)).await);
}

fn conflict<T>(law: Law, what: &str, result: Result<T>) {
    let error = law.fails(what, ErrorKind::Unavailable, result);
    law.check(!error.is_temporary(), format!("{what}: a conflict is not temporary"));
}

async fn steps(law: Law, store: &dyn CheckpointStore, thread: &str) -> Vec<u64> {
    law.ok("listing", store.list(thread).await).iter().map(|i| i.step).collect()
}

fn key(place: &str, name: &str) -> EffectKey {
    EffectKey::new(place, name)
}

/// An unknown thread has no checkpoints and no effects; deleting it is no error.
pub async fn starts_empty(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: starts_empty");
    law.same("the newest", &law.ok("reading", store.latest("t").await), &None);
    law.same("a step", &law.ok("reading", store.get("t", 0).await), &None);
    law.same("the list", &steps(law, store, "t").await, &vec![]);
    conflict(law, "an effect of an unknown thread", store.effect("t", 0, &key("0", "e")).await);
    law.ok("deleting what is not there", store.delete("t").await);
}

/// A checkpoint comes back as it went in, by its step and as the newest.
pub async fn put_then_get(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: put_then_get");
    let with = |step: u64, owner: u64, status, parent| {
        let mut checkpoint = checkpoint(step, owner);
        checkpoint.info = checkpoint.info.with_status(status).with_parent(parent);
        checkpoint
    };
    let all = [
        with(0, 0, CheckpointStatus::Running, None),
        with(1, 0, CheckpointStatus::Interrupted, Some(0)),
        with(2, 2, CheckpointStatus::Running, Some(0)),
        with(3, 2, CheckpointStatus::Finished, Some(2)),
    ];
    for wanted in &all {
        law.ok("putting", store.put("t", wanted.clone()).await);
        let newest = law.ok("reading", store.latest("t").await);
        law.same("the newest", &newest.as_ref(), &Some(wanted));
        law.same("its body", &newest.map(|c| c.body), &Some(wanted.body.clone()));
    }
    for (step, wanted) in (0..).zip(&all) {
        law.same("by its step", &law.ok("reading", store.get("t", step).await).as_ref(), &Some(wanted));
    }
    for missing in [4, u64::MAX, u64::MAX / 2 + 1] {
        law.same("a step that is not there", &law.ok("reading", store.get("t", missing).await), &None);
    }
    let list = law.ok("listing", store.list("t").await);
    law.same("the list", &list, &all.iter().map(|c| c.info.clone()).collect());
}

/// The first step is 0, each next one more; any other is a conflict and changes nothing.
pub async fn put_is_compare_and_set(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: put_is_compare_and_set");
    for first in [1, 2, u64::MAX] {
        conflict(law, "a first step that is not 0", store.put("t", checkpoint(first, 0)).await);
        conflict(law, "a first step that is not 0", store.put("t", checkpoint(first, first)).await);
    }
    put(law, store, "t", 0, 0).await;
    put(law, store, "t", 1, 0).await;
    for other in [0, 1, 3, 4, u64::MAX] {
        conflict(law, &format!("step {other} after step 1"), store.put("t", checkpoint(other, 0)).await);
        conflict(law, &format!("step {other} after step 1"), store.put("t", checkpoint(other, other)).await);
    }
    law.same("the list", &steps(law, store, "t").await, &vec![0, 1]);
    let kept = law.ok("reading", store.get("t", 1).await);
    law.same("the kept one", &kept, &Some(checkpoint(1, 0)));
    put(law, store, "t", 2, 0).await;
}

/// After a take-over the former owner's checkpoints and effects are conflicts.
pub async fn only_the_owner_writes(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: only_the_owner_writes");
    put(law, store, "t", 0, 0).await;
    law.ok("recording", store.record_effect("t", 0, key("0", "e"), "1".into()).await);
    put(law, store, "t", 1, 1).await;
    conflict(law, "the former owner's checkpoint", store.put("t", checkpoint(2, 0)).await);
    conflict(law, "an owner that never was", store.put("t", checkpoint(2, 7)).await);
    conflict(law, "the former owner's question", store.effect("t", 0, &key("0", "e")).await);
    let effect = store.record_effect("t", 0, key("0", "f"), "2".into()).await;
    conflict(law, "the former owner's effect", effect);
    let known = law.ok("asking", store.effect("t", 1, &key("0", "e")).await);
    law.same("what the former owner had recorded", &known.as_deref(), &Some("1"));
    let refused = law.ok("asking", store.effect("t", 1, &key("0", "f")).await);
    law.same("what was refused", &refused, &None);
    law.same("the list", &steps(law, store, "t").await, &vec![0, 1]);
    put(law, store, "t", 2, 1).await;
    put(law, store, "t", 3, 3).await;
    conflict(law, "the second owner's checkpoint", store.put("t", checkpoint(4, 1)).await);
}

/// All steps, oldest first.
pub async fn list_is_in_order(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: list_is_in_order");
    for step in 0..25 {
        put(law, store, "t", step, 0).await;
    }
    law.same("the list", &steps(law, store, "t").await, &(0..25).collect());
}

/// A recorded result comes back; recording its key again is a conflict, the first stays.
pub async fn effects_are_recorded_once(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: effects_are_recorded_once");
    put(law, store, "t", 0, 0).await;
    law.same("an unknown one", &law.ok("asking", store.effect("t", 0, &key("0", "e")).await), &None);
    for (place, name) in [("0", "e"), ("0", "f"), ("1", "e"), ("0.1/0", "e"), ("0e", ""), ("", "0e")] {
        let result = format!("[{place:?},{name:?}]");
        law.ok("recording", store.record_effect("t", 0, key(place, name), result.clone()).await);
        let again = store.record_effect("t", 0, key(place, name), "null".into()).await;
        conflict(law, "recording again", again);
        let known = law.ok("asking", store.effect("t", 0, &key(place, name)).await);
        law.same("the recorded one", &known, &Some(result));
    }
    let first = law.ok("asking", store.effect("t", 0, &key("0", "e")).await);
    law.same("the first of all", &first.as_deref(), &Some("[\"0\",\"e\"]"));
    law.same("the checkpoints", &steps(law, store, "t").await, &vec![0]);
}

/// Writing or deleting one leaves the others.
pub async fn threads_are_apart(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: threads_are_apart");
    for (n, thread) in (1..).zip(STRANGE) {
        for step in 0..n {
            put(law, store, thread, step, 0).await;
        }
        law.ok("recording", store.record_effect(thread, 0, key("0", "e"), n.to_string()).await);
    }
    law.ok("deleting", store.delete("a").await);
    for (n, thread) in (1_u64..).zip(STRANGE) {
        let wanted = if thread == "a" { vec![] } else { (0..n).collect() };
        law.same(&format!("the list of {thread:?}"), &steps(law, store, thread).await, &wanted);
        if thread != "a" {
            let effect = law.ok("asking", store.effect(thread, 0, &key("0", "e")).await);
            law.same(&format!("the effect of {thread:?}"), &effect, &Some(n.to_string()));
        }
    }
}

/// Checkpoints and effects; the thread can begin anew, its former owner is refused.
pub async fn delete_forgets(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: delete_forgets");
    put(law, store, "t", 0, 0).await;
    put(law, store, "t", 1, 0).await;
    law.ok("recording", store.record_effect("t", 0, key("0", "e"), "1".into()).await);
    for _ in 0..2 {
        law.ok("deleting", store.delete("t").await);
    }
    law.same("the newest", &law.ok("reading", store.latest("t").await), &None);
    law.same("the list", &steps(law, store, "t").await, &vec![]);
    conflict(law, "the former owner's checkpoint", store.put("t", checkpoint(2, 0)).await);
    let effect = store.record_effect("t", 0, key("0", "f"), "1".into()).await;
    conflict(law, "the former owner's effect", effect);
    put(law, store, "t", 0, 0).await;
    let effect = law.ok("asking", store.effect("t", 0, &key("0", "e")).await);
    law.same("the effect of the old thread", &effect, &None);
}

/// The others get conflicts.
pub async fn concurrent_puts_have_one_winner(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: concurrent_puts_have_one_winner");
    put(law, store, "t", 0, 0).await;
    for round in 1..8 {
        // Every second round all of them take the thread over, in the others one owner has several writers.
        let owner = if round % 2 == 0 { round } else { round - 1 };
        let results = parallel(6, |n| async move {
            let mut mine = checkpoint(round, owner);
            mine.body = format!("{{\"writer\":{n}}}");
            (mine.body.clone(), store.put("t", mine).await)
        });
        let mut winners = Vec::new();
        for (body, result) in results {
            if result.is_ok() {
                winners.push(body);
            } else {
                conflict(law, "a loser", result);
            }
        }
        law.same("winners", &winners.len(), &1);
        let kept = law.ok("reading", store.latest("t").await).map(|c| c.body);
        law.same("what is kept", &kept.as_ref(), &winners.first());
    }
    let results =
        parallel(6, |n| async move { store.record_effect("t", 6, key("0", "e"), n.to_string()).await });
    let mut won = 0;
    for result in results {
        if result.is_ok() {
            won += 1;
        } else {
            conflict(law, "a loser", result);
        }
    }
    law.same("recorded effects", &won, &1);
}

/// In names, bodies and results, up to megabytes.
pub async fn any_text_survives(store: &dyn CheckpointStore) {
    let law = Law("CheckpointStore: any_text_survives");
    let large = "☕ \\\"{}\\u0000".repeat(200_000);
    for (n, text) in STRANGE.into_iter().chain([large.as_str()]).enumerate() {
        let thread = if text.len() > 1000 { "large" } else { text };
        // JSON has no control characters as they are.
        let body = format!("\"{}\"", text.replace(char::is_control, "\\u0000"));
        let info = CheckpointInfo::new(0, 0, thread);
        let checkpoint = Checkpoint::new(info, body.clone());
        law.ok("putting", store.put(thread, checkpoint.clone()).await);
        let newest = law.ok("reading", store.latest(thread).await);
        law.check(newest == Some(checkpoint), format!("checkpoint {n} comes back"));
        let key = key(thread, thread);
        law.ok("recording", store.record_effect(thread, 0, key.clone(), body.clone()).await);
        let effect = law.ok("asking", store.effect(thread, 0, &key).await);
        law.check(effect == Some(body), format!("effect {n} comes back"));
    }
}
