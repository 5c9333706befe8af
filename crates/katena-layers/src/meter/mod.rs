//! What calls cost: tokens and money by label, budgets.

mod budget;
mod layers;
mod ledger;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "http")]
mod webhook;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use katena_core::{Error, ErrorKind, Labels, Result, Usage};

pub use budget::{Budget, BudgetAlert, BudgetStatus, Period};
pub use ledger::{GroupBy, Ledger, LedgerEntry, MemoryLedger, Operation, Outcome, ReportRow, report};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteLedger;
#[cfg(feature = "http")]
pub use webhook::Webhook;

use crate::prices::{Cost, PriceTable};
use crate::wall::{SystemWallClock, WallClock};
use budget::{Hold, Purse};

/// Tokens that an answer is thought to have, for reservations, if the request sets no limit.
const ANSWER_TOKENS: u64 = 1_024;

#[derive(Clone)]
struct Settings {
    prices: PriceTable,
    wall: Arc<dyn WallClock>,
    /// Vendor and model of components that don't name them.
    name: Option<(String, String)>,
}

/// Writes down tokens and cost of every call, by label, and watches budgets. For chat models, embedders and rerankers.
///
/// Each call makes one entry in the [`Ledger`], whatever becomes of it: finished, failed, cut midway, or dropped by its
/// caller (then its usage and cost are unknown, not nothing). A stream's entry is there before its `Finished` is seen. The
/// price is that of the vendor and model that answered, as far as the response names them, else of the model asked; a price or
/// a count that is unknown makes the cost unknown.
///
/// Hosted embedders tell vendor and model in the name of their vector space; rerankers tell neither: say both with
/// [`named`](Meter::named).
///
/// Place it inside of the cache (a stored answer costs nothing) and outside of retry and fallback; inside of them it makes an
/// entry for each try.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::EchoChat};
/// use katena_layers::{Cost, MemoryLedger, Meter, Price, PriceTable};
/// let prices = PriceTable::empty("2026-01-31").with_price("fake", "echo", Price::new(1.0, 2.0));
/// let ledger = MemoryLedger::new();
/// let model = EchoChat::new().layer(Meter::new(ledger.clone()).with_prices(prices));
/// model.generate(&ChatRequest::new([Message::user("two words")])).await.unwrap();
/// assert_eq!(ledger.all()[0].cost, Some(Cost::nanos(2 * 1_000 + 2 * 2_000)));
/// # });
/// ```
#[derive(Clone)]
pub struct Meter {
    settings: Arc<Settings>,
    ledger: Arc<dyn Ledger>,
    purses: Arc<Mutex<Arc<[Arc<Purse>]>>>,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("ledger", &self.ledger)
            .field("prices", &self.settings.prices)
            .field("budgets", &self.purses().len())
            .finish_non_exhaustive()
    }
}

impl Meter {
    /// Writes to this ledger, with the built-in prices and no budget.
    pub fn new(ledger: impl Ledger + 'static) -> Self {
        let settings =
            Settings { prices: PriceTable::builtin(), wall: Arc::new(SystemWallClock), name: None };
        let purses = Arc::new(Mutex::new(Arc::from([])));
        Self { settings: Arc::new(settings), ledger: Arc::new(ledger), purses }
    }

    /// Sets the prices.
    pub fn with_prices(mut self, prices: PriceTable) -> Self {
        Arc::make_mut(&mut self.settings).prices = prices;
        self
    }

    /// Sets the clock that dates entries and ends periods; before the budgets.
    pub fn with_wall_clock(mut self, clock: Arc<dyn WallClock>) -> Self {
        Arc::make_mut(&mut self.settings).wall = clock;
        self
    }

    /// Watches a budget, beside those that are there.
    pub fn with_budget(self, budget: Budget) -> Self {
        let purse = Arc::new(Purse::new(budget, self.settings.wall.now()));
        {
            let mut purses = self.purses.lock().unwrap_or_else(PoisonError::into_inner);
            *purses = purses.iter().cloned().chain([purse]).collect();
        }
        self
    }

    /// The same meter for a component that does not name its vendor and model itself (embedder, reranker).
    pub fn named(&self, vendor: impl Into<String>, model: impl Into<String>) -> Self {
        let mut meter = self.clone();
        Arc::make_mut(&mut meter.settings).name = Some((vendor.into(), model.into()));
        meter
    }

    /// The ledger.
    pub fn ledger(&self) -> &dyn Ledger {
        &*self.ledger
    }

    /// Counts what the ledger already has of the periods under way; to be called once at the start of a process whose
    /// ledger outlives it. Thresholds that were reached before are not told again.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn restore(&self) -> Result<()> {
        let (now, purses) = (self.settings.wall.now(), self.purses());
        let Some(from) = purses.iter().map(|p| p.begin(now)).min() else { return Ok(()) };
        let entries = self.ledger.entries(from, now + std::time::Duration::from_nanos(1)).await?;
        for entry in &entries {
            purses.iter().for_each(|p| p.restore(entry, now));
        }
        Ok(())
    }

    /// What a budget has seen in the period under way, by its name; `value` is the label's value of a budget for labels, else
    /// empty. `None` if there is no such budget.
    pub fn status(&self, budget: &str, value: &str) -> Option<BudgetStatus> {
        let now = self.settings.wall.now();
        self.purses().iter().find(|p| p.name() == budget).map(|p| p.status(value, now))
    }

    /// The sums of all calls with `from <= time < to`.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn report(&self, from: SystemTime, to: SystemTime, by: &[GroupBy]) -> Result<Vec<ReportRow>> {
        self.ledger.flush().await?;
        Ok(report(&self.ledger.entries(from, to).await?, by))
    }

    fn purses(&self) -> Arc<[Arc<Purse>]> {
        self.purses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a call: refuses it or reserves for it.
    fn open(
        &self,
        operation: Operation,
        (vendor, model): (&str, &str),
        labels: &Labels,
        guess: impl FnOnce() -> Usage,
    ) -> Result<Ticket> {
        let (vendor, model) = match &self.settings.name {
            Some((vendor, model)) => (vendor.as_str(), model.as_str()),
            None => (vendor, model),
        };
        let purses = self.purses();
        let mut ticket = Ticket {
            meter: self.clone(),
            operation,
            vendor: vendor.to_owned(),
            model: model.to_owned(),
            labels: labels.clone(),
            estimate: None,
            holds: Vec::new(),
            begun: false,
            done: true,
        };
        if !purses.is_empty() {
            ticket.estimate = self.settings.prices.cost(vendor, model, &guess());
            let now = self.settings.wall.now();
            for purse in purses.iter() {
                match purse.hold(labels, ticket.estimate, now) {
                    Ok(Some(hold)) => ticket.holds.push((purse.clone(), hold)),
                    Ok(None) => {}
                    Err(error) => {
                        ticket.holds.iter().for_each(|(purse, hold)| purse.release(hold));
                        return Err(error);
                    }
                }
            }
        }
        ticket.done = false;
        Ok(ticket)
    }
}

/// A call under way; makes exactly one entry, at the latest when it is dropped.
struct Ticket {
    meter: Meter,
    operation: Operation,
    vendor: String,
    model: String,
    labels: Labels,
    estimate: Option<Cost>,
    holds: Vec<(Arc<Purse>, Hold)>,
    /// A stream has had its first event.
    begun: bool,
    done: bool,
}

impl Ticket {
    /// The call gave an answer, by this vendor and model if it says so.
    fn finish(&mut self, usage: Usage, vendor: Option<&str>, model: Option<&str>) {
        let vendor = vendor.unwrap_or(&self.vendor);
        let prices = &self.meter.settings.prices;
        // What the vendor calls the model is more exact, but may not be in the table.
        let by_answer = model.and_then(|m| prices.cost(vendor, m, &usage));
        let cost = by_answer.or_else(|| prices.cost(vendor, &self.model, &usage));
        let (vendor, model) = (vendor.to_owned(), model.unwrap_or(&self.model).to_owned());
        self.write(vendor, model, usage, cost, Outcome::Finished);
    }

    fn fail(&mut self, kind: ErrorKind) {
        let outcome = if self.begun { Outcome::Cut(kind) } else { Outcome::Failed(kind) };
        self.write(self.vendor.clone(), self.model.clone(), Usage::default(), None, outcome);
    }

    fn write(&mut self, vendor: String, model: String, usage: Usage, cost: Option<Cost>, outcome: Outcome) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let entry = LedgerEntry {
            time: self.meter.settings.wall.now(),
            operation: self.operation,
            vendor,
            model,
            labels: self.labels.clone(),
            usage,
            cost,
            estimate: self.estimate,
            outcome,
        };
        for (purse, hold) in self.holds.drain(..) {
            purse.settle(hold, &entry);
        }
        if let Err(error) = self.meter.ledger.append(entry) {
            tracing::error!(%error, "the ledger did not take an entry");
        }
    }

    /// The error of a call, written down.
    fn failed(&mut self, error: Error) -> Error {
        self.fail(error.kind());
        error
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            self.write(self.vendor.clone(), self.model.clone(), Usage::default(), None, Outcome::Dropped);
        }
    }
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
