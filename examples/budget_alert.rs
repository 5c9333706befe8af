//! What calls cost, by tenant and feature; an alert when half of a day's budget is spent, and a stop before it is exceeded:
//! `cargo run -p katena-examples --example budget_alert`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use katena::fake::EchoChat;
use katena::layers::{Budget, Cost, Date, GroupBy, ManualWallClock, MemoryLedger, Price, PriceTable};
use katena::prelude::*;

/// Five words in; the fake answers with the same five. A word is a token, and costs a cent.
const QUESTION: &str = "Where is my order please?";

async fn ask(model: &impl ChatModel, tenant: &str, feature: &str) -> Result<ChatResponse> {
    let labels = Labels::new().with("tenant", tenant).with("feature", feature);
    let request = ChatRequest::new([Message::user(QUESTION)]).with_max_tokens(5);
    model.generate(&request.with_context(Context::new().with_labels(labels))).await
}

#[tokio::main]
async fn main() -> Result<()> {
    // 10,000 dollars a million tokens. A model that is not in the table has an unknown cost, never none.
    let prices = PriceTable::empty("2026-01-31").with_price("fake", "echo", Price::new(10_000.0, 10_000.0));

    let alerts = Arc::new(Mutex::new(Vec::new()));
    let told = alerts.clone();
    let budget = Budget::daily("tenants", Cost::dollars(0.6))
        .for_each("tenant")
        .with_thresholds([50, 80])
        .with_alert(move |alert| {
            println!("alert: {:?} has spent {} % of its {:?}", alert.label, alert.threshold, alert.period);
            told.lock().expect("nobody panics with it").push(alert.threshold);
        })
        .with_hard_stop();

    // Programs leave the clock as it is; the ledger outlives them in `SqliteLedger` (feature `layers-sqlite`).
    let clock = ManualWallClock::at(Date::new(2026, 1, 31), Duration::from_secs(12 * 3600));
    let meter = Meter::new(MemoryLedger::new())
        .with_prices(prices)
        .with_wall_clock(Arc::new(clock.clone()))
        .with_budget(budget);
    let model = EchoChat::new().layer(meter.clone());

    // A call costs ten cents, and is guessed at sixteen before it is made: of sixty cents, acme may make five.
    for feature in ["search", "chat", "chat", "chat"] {
        ask(&model, "acme", feature).await?;
    }
    let other = ask(&model, "umbrella", "chat").await?;
    println!("umbrella has a budget of its own: {:?}", other.text());
    ask(&model, "acme", "search").await?;
    let refused = ask(&model, "acme", "chat").await.expect_err("the day's budget is spent");
    println!("refused, and not asked: {refused}");
    assert_eq!(refused.kind(), ErrorKind::Budget);
    assert_eq!(*alerts.lock().expect("nobody panics with it"), [50, 80]);

    clock.advance(Duration::from_secs(24 * 3600));
    ask(&model, "acme", "chat").await?;

    let by = [GroupBy::Day, GroupBy::Label("tenant".into()), GroupBy::Label("feature".into())];
    let (from, to) = (Date::new(2026, 1, 1).midnight(0), Date::new(2026, 3, 1).midnight(0));
    let rows = meter.report(from, to, &by).await?;
    for row in &rows {
        println!(
            "{:<32} {} calls, {:?} tokens in, {}",
            row.group.join(" "),
            row.calls,
            row.usage.input_tokens,
            row.cost
        );
    }
    assert_eq!(rows.iter().map(|r| r.cost).sum::<Cost>(), Cost::dollars(0.7));
    Ok(())
}
