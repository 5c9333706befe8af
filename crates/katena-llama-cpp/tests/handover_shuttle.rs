//! The hand-over between callers and a model's thread, under thousands of interleavings: the very file that the crate
//! compiles, with shuttle's locks. A lost wake-up shows as a deadlock, which shuttle reports.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "tests; the file is shared with the crate"
)]

mod sync {
    pub(crate) use shuttle::sync::{Arc, Condvar, Mutex};
}

#[path = "../src/handover.rs"]
mod handover;

use handover::{TrySend, channel};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

const ROUNDS: usize = 3000;

/// Both schedulers; each prints a seed that repeats a failure.
fn explore(test: fn()) {
    shuttle::Runner::new(RandomScheduler::new(ROUNDS), shuttle::Config::default()).run(test);
    shuttle::Runner::new(PctScheduler::new(3, ROUNDS), shuttle::Config::default()).run(test);
}

/// Sends until there is room.
fn send(sender: &handover::Sender<usize>, item: usize) {
    let mut item = item;
    loop {
        match sender.try_send(item) {
            Ok(()) => return,
            Err(TrySend::Full(back)) => item = back,
            Err(TrySend::Closed(_)) => panic!("closed under a living receiver"),
        }
        thread::yield_now();
    }
}

#[test]
fn nothing_is_lost_doubled_or_out_of_order() {
    explore(|| {
        let (sender, mut receiver) = channel(2);
        let senders: Vec<_> = (0..3)
            .map(|who| {
                let sender = sender.clone();
                thread::spawn(move || (0..3).for_each(|n| send(&sender, who * 10 + n)))
            })
            .collect();
        drop(sender);
        let mut items = Vec::new();
        loop {
            let closed = receiver.closed();
            let before = items.len();
            let taken = receiver.take(&mut items, 2);
            assert_eq!(items.len(), before + taken);
            assert!(taken <= 2);
            if closed && taken == 0 {
                break;
            }
            receiver.wait(None);
        }
        for who in 0..3 {
            let of: Vec<_> = items.iter().copied().filter(|i| i / 10 == who).collect();
            assert_eq!(of, [who * 10, who * 10 + 1, who * 10 + 2]);
        }
        assert_eq!(items.len(), 9);
        for thread in senders {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_wake_is_never_lost() {
    explore(|| {
        let (sender, mut receiver) = channel::<usize>(1);
        let room = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (sender, room) = (sender.clone(), room.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        room.fetch_add(1, Ordering::SeqCst);
                        sender.wake();
                    }
                })
            })
            .collect();
        // The sender stays, so that only wakes can end a wait.
        while room.load(Ordering::SeqCst) < 4 {
            receiver.wait(None);
        }
        for thread in readers {
            thread.join().unwrap();
        }
        drop(sender);
    });
}

#[test]
fn the_end_is_always_seen() {
    explore(|| {
        let (sender, mut receiver) = channel::<usize>(4);
        let others: Vec<_> = (0..3)
            .map(|n| {
                let sender = sender.clone();
                thread::spawn(move || {
                    let again = sender.clone();
                    drop(sender);
                    if n == 1 {
                        again.wake();
                    }
                })
            })
            .collect();
        drop(sender);
        while !receiver.closed() {
            receiver.wait(None);
        }
        for thread in others {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_full_queue_says_so_and_never_holds_more() {
    explore(|| {
        let (sender, mut receiver) = channel(2);
        let refused = Arc::new(AtomicUsize::new(0));
        let senders: Vec<_> = (0..3)
            .map(|who| {
                let (sender, refused) = (sender.clone(), refused.clone());
                thread::spawn(move || {
                    for n in 0..2 {
                        if matches!(sender.try_send(who * 10 + n), Err(TrySend::Full(_))) {
                            refused.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mut items = Vec::new();
        loop {
            let closed = receiver.closed();
            let mut some = Vec::new();
            receiver.take(&mut some, usize::MAX);
            assert!(some.len() <= 2, "more than the capacity: {some:?}");
            let done = closed && some.is_empty();
            items.extend(some);
            if done {
                break;
            }
            receiver.wait(None);
        }
        for thread in senders {
            thread.join().unwrap();
        }
        assert_eq!(items.len() + refused.load(Ordering::SeqCst), 6);
        items.sort_unstable();
        items.dedup();
        assert_eq!(items.len() + refused.load(Ordering::SeqCst), 6, "an item twice");
    });
}

#[test]
fn a_receiver_that_goes_leaves_nobody_waiting() {
    explore(|| {
        let (sender, receiver) = channel(1);
        let held = Arc::new(());
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (sender, held) = (sender.clone(), held.clone());
                thread::spawn(move || {
                    let mut item = held;
                    loop {
                        match sender.try_send(item) {
                            Ok(()) => return,
                            Err(TrySend::Closed(_)) => return,
                            Err(TrySend::Full(back)) => item = back,
                        }
                        thread::yield_now();
                    }
                })
            })
            .collect();
        let end = thread::spawn(move || drop(receiver));
        for thread in senders {
            thread.join().unwrap();
        }
        end.join().unwrap();
        assert_eq!(Arc::strong_count(&held), 1, "what waited is dropped");
        drop(sender);
    });
}
