//! The hand-over on real threads; all interleavings are in `tests/handover_shuttle.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handover::*;

fn all(receiver: &mut Receiver<u32>) -> Vec<u32> {
    let mut items = Vec::new();
    receiver.take(&mut items, usize::MAX);
    items
}

#[test]
fn items_come_in_order_and_at_most_as_many_as_asked() {
    let (sender, mut receiver) = channel(8);
    for n in 0..5 {
        sender.try_send(n).unwrap();
    }
    let mut some = Vec::new();
    assert_eq!(receiver.take(&mut some, 2), 2);
    assert_eq!(some, [0, 1]);
    assert_eq!(receiver.take(&mut some, 0), 0);
    assert_eq!(all(&mut receiver), [2, 3, 4]);
    assert_eq!(receiver.take(&mut some, 9), 0);
}

#[test]
fn a_full_queue_gives_the_item_back() {
    let (sender, mut receiver) = channel(2);
    sender.try_send(1).unwrap();
    sender.clone().try_send(2).unwrap();
    assert_eq!(sender.try_send(3), Err(TrySend::Full(3)));
    assert_eq!(all(&mut receiver), [1, 2]);
    sender.try_send(3).unwrap();
    let (least, _receiver) = channel(0);
    least.try_send(1).unwrap();
    assert_eq!(least.try_send(2), Err(TrySend::Full(2)), "a capacity of 0 is 1");
}

#[test]
fn the_last_sender_closes_and_leaves_its_items() {
    let (sender, mut receiver) = channel(2);
    let second = sender.clone();
    drop(sender);
    assert!(!receiver.closed());
    second.try_send(7).unwrap();
    drop(second);
    assert!(receiver.closed());
    receiver.wait(None);
    assert_eq!(all(&mut receiver), [7]);
    receiver.wait(None);
}

#[test]
fn without_a_receiver_nothing_is_taken_and_nothing_stays() {
    // An item that holds a sender, as jobs do.
    struct Job(
        #[expect(dead_code, reason = "held")] Sender<Job>,
        #[expect(dead_code, reason = "held")] Arc<()>,
    );
    let (sender, receiver) = channel(4);
    let alive = Arc::new(());
    sender.try_send(Job(sender.clone(), alive.clone())).unwrap();
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(receiver);
    assert_eq!(Arc::strong_count(&alive), 1, "what waited is dropped");
    assert!(matches!(sender.try_send(Job(sender.clone(), alive)), Err(TrySend::Closed(_))));
    sender.wake();
}

#[test]
fn a_wake_before_the_wait_counts_once() {
    let (sender, mut receiver) = channel::<u32>(1);
    sender.wake();
    sender.wake();
    receiver.wait(None);
    let soon = Instant::now() + Duration::from_millis(1);
    receiver.wait(Some(soon));
    assert!(Instant::now() >= soon, "the second wait had nothing to end it");
    sender.wake();
    sender.try_send(1).unwrap();
    receiver.wait(None);
    assert_eq!(all(&mut receiver), [1]);
    let soon = Instant::now() + Duration::from_millis(1);
    receiver.wait(Some(soon));
    assert!(Instant::now() >= soon, "one wait sees both");
}

#[test]
fn a_waiting_thread_hears_items_wakes_and_the_end() {
    let (sender, mut receiver) = channel(1);
    let (told, heard) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut items = Vec::new();
        while !receiver.closed() {
            receiver.wait(None);
            receiver.take(&mut items, usize::MAX);
            told.send(items.len()).unwrap();
        }
        items
    });
    for n in 0..100u32 {
        let mut item = n;
        while let Err(TrySend::Full(back)) = sender.try_send(item) {
            item = back;
            std::thread::yield_now();
        }
    }
    while heard.recv().unwrap() < 100 {}
    sender.wake();
    assert_eq!(heard.recv().unwrap(), 100);
    drop(sender);
    assert_eq!(thread.join().unwrap(), (0..100).collect::<Vec<_>>());
}
