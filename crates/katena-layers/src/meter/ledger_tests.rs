use std::time::Duration;

use katena_core::fake::EchoChat;
use katena_core::{ChatModelExt as _, ChatRequest, Message};

use super::*;
use crate::{Budget, ManualWallClock, Meter, Price, PriceTable};

fn after_midnight(micros: u64) -> SystemTime {
    Date::new(2026, 1, 30).midnight(0) + Duration::from_micros(micros)
}

async fn entries_are_those_of_the_range(ledger: impl Ledger) {
    let times = [("a", 0), ("b", 10_500), ("c", 20_000)];
    for (model, micros) in times {
        let entry = LedgerEntry::new(after_midnight(micros), Operation::Chat, "fake", model);
        ledger.append(entry).unwrap();
    }
    let moment = Duration::from_nanos(1);
    let [a, b, c] = times.map(|(_, micros)| after_midnight(micros));
    for (from, to, expected) in [
        (a, c, "ab"),
        (a, c + moment, "abc"),
        (a, b + moment, "ab"),
        (a, a + moment, "a"),
        (b, c, "b"),
        (a, a, ""),
        (c + Duration::from_millis(1), c + Duration::from_secs(1), ""),
    ] {
        let entries = ledger.entries(from, to).await.unwrap();
        let found: String = entries.into_iter().map(|e| e.model).collect();
        assert_eq!(found, expected, "{from:?} to {to:?}");
    }
}

async fn a_restart_counts_the_present_moment(ledger: impl Ledger + Clone + 'static) {
    let clock = ManualWallClock::new(after_midnight(1_500));
    let meter = || {
        Meter::new(ledger.clone())
            .with_prices(PriceTable::empty("2026-01-31").with_price("fake", "echo", Price::new(1e6, 1e6)))
            .with_wall_clock(Arc::new(clock.clone()))
            .with_budget(Budget::daily("day", Cost::dollars(100.0)))
    };
    let model = EchoChat::new().layer(meter());
    model.generate(&ChatRequest::new([Message::user("x")])).await.unwrap();
    let again = meter();
    again.restore().await.unwrap();
    assert_eq!(again.status("day", "").unwrap().spent, Cost::dollars(2.0));
}

#[tokio::test]
async fn in_memory() {
    entries_are_those_of_the_range(MemoryLedger::new()).await;
    a_restart_counts_the_present_moment(MemoryLedger::new()).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn in_a_file() {
    use crate::SqliteLedger;
    use katena_sqlite::Database;
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| SqliteLedger::new(Database::open(dir.path().join(name)).unwrap()).unwrap();
    entries_are_those_of_the_range(open("a.katena")).await;
    a_restart_counts_the_present_moment(open("b.katena")).await;
}
