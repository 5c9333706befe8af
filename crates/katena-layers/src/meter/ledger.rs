//! Where the meter writes, and the sums of what it wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use katena_core::{ErrorKind, Labels, Result, Usage};

use crate::prices::Cost;
use crate::wall::Date;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// A chat model's answer.
    Chat,
    /// Vectors.
    Embed,
    /// A reranking.
    Rerank,
}

impl Operation {
    /// The name in `snake_case`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Rerank => "rerank",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// With an answer.
    Finished,
    /// With an error, before any answer.
    Failed(ErrorKind),
    /// With an error in the midst of a stream; the vendor may well be paid for it.
    Cut(ErrorKind),
    /// The caller went away before the end; the vendor may well be paid for it.
    Dropped,
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LedgerEntry {
    /// When it ended.
    pub time: SystemTime,
    /// What was asked for.
    pub operation: Operation,
    /// Who answered, or was to answer; empty if unknown.
    pub vendor: String,
    /// The model that answered, as the vendor names it, or was asked; empty if unknown.
    pub model: String,
    /// On whose behalf.
    pub labels: Labels,
    /// Token counts, as far as they are known.
    pub usage: Usage,
    /// What it cost; `None` is unknown, never nothing.
    pub cost: Option<Cost>,
    /// What budgets count where the cost is unknown and the vendor may be paid: a guess made before the call.
    pub estimate: Option<Cost>,
    /// How it ended.
    pub outcome: Outcome,
}

impl LedgerEntry {
    /// A finished call of unknown cost.
    pub fn new(
        time: SystemTime,
        operation: Operation,
        vendor: impl Into<String>,
        model: impl Into<String>,
    ) -> Self {
        Self {
            time,
            operation,
            vendor: vendor.into(),
            model: model.into(),
            labels: Labels::new(),
            usage: Usage::default(),
            cost: None,
            estimate: None,
            outcome: Outcome::Finished,
        }
    }

    /// Sets the labels.
    pub fn with_labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }

    /// Sets the token counts.
    pub fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }

    /// Sets the cost.
    pub fn with_cost(mut self, cost: Cost) -> Self {
        self.cost = Some(cost);
        self
    }

    /// Sets how it ended.
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }
}

/// Keeps entries in the order in which they were written.
///
/// `append` is called at the end of every call, also when a stream is dropped, where nothing can be awaited: it takes the
/// entry and returns; a ledger that writes to a disk or network does so behind it and tells by `flush`.
#[async_trait]
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Takes an entry.
    ///
    /// # Errors
    /// If it can't be taken; the meter logs this, the call goes on.
    fn append(&self, entry: LedgerEntry) -> Result<()>;

    /// Returns once all entries so far are kept as safely as this ledger can.
    async fn flush(&self) -> Result<()>;

    /// The entries with `from <= time < to`.
    async fn entries(&self, from: SystemTime, to: SystemTime) -> Result<Vec<LedgerEntry>>;
}

#[async_trait]
impl<L: Ledger + ?Sized> Ledger for Arc<L> {
    fn append(&self, entry: LedgerEntry) -> Result<()> {
        (**self).append(entry)
    }
    async fn flush(&self) -> Result<()> {
        (**self).flush().await
    }
    async fn entries(&self, from: SystemTime, to: SystemTime) -> Result<Vec<LedgerEntry>> {
        (**self).entries(from, to).await
    }
}

/// A ledger that lives as long as the process. Clones share it. It grows with every call: for servers that run for long,
/// use one on disk.
///
/// ```
/// use katena_layers::{Ledger, LedgerEntry, MemoryLedger, Operation};
/// let ledger = MemoryLedger::new();
/// let now = std::time::SystemTime::now();
/// ledger.append(LedgerEntry::new(now, Operation::Chat, "openai", "gpt-5-mini")).unwrap();
/// assert_eq!(ledger.all().len(), 1);
/// ```
#[derive(Clone, Default)]
pub struct MemoryLedger(Arc<Mutex<Vec<LedgerEntry>>>);

impl fmt::Debug for MemoryLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryLedger")
    }
}

impl MemoryLedger {
    /// Without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// All entries.
    pub fn all(&self) -> Vec<LedgerEntry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    fn append(&self, entry: LedgerEntry) -> Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn entries(&self, from: SystemTime, to: SystemTime) -> Result<Vec<LedgerEntry>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(entries.iter().filter(|e| e.time >= from && e.time < to).cloned().collect())
    }
}

/// What the rows of a report stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupBy {
    /// The value of a label; entries without it have an empty one.
    Label(String),
    /// Vendor and model, as `openai/gpt-5-mini`.
    Model,
    /// What was asked for.
    Operation,
    /// The day, UTC, as `2026-01-31`.
    Day,
    /// The month, UTC, as `2026-01`.
    Month,
}

impl GroupBy {
    fn of(&self, entry: &LedgerEntry) -> String {
        let day = || Date::of(entry.time, 0);
        match self {
            Self::Label(name) => entry.labels.get(name).unwrap_or_default().to_owned(),
            Self::Model => format!("{}/{}", entry.vendor, entry.model),
            Self::Operation => entry.operation.as_str().to_owned(),
            Self::Day => day().to_string(),
            Self::Month => day().to_string()[..7].to_owned(),
        }
    }
}

/// A row of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReportRow {
    /// What it stands for, in the order of the groups asked for.
    pub group: Vec<String>,
    /// All calls.
    pub calls: u64,
    /// Those that failed before any answer.
    pub failed: u64,
    /// Those whose cost is unknown though the vendor may be paid.
    pub unknown: u64,
    /// The known token counts.
    pub usage: Usage,
    /// The known costs; if `unknown` is not 0, it was more.
    pub cost: Cost,
}

/// Sums entries by group, in the groups' order.
///
/// ```
/// use katena_core::{Labels, Usage};
/// use katena_layers::{Cost, GroupBy, LedgerEntry, Operation, report};
/// let entry = LedgerEntry::new(std::time::UNIX_EPOCH, Operation::Chat, "openai", "gpt-5-mini")
///     .with_labels(Labels::new().with("tenant", "acme"))
///     .with_usage(Usage::new(10, 5))
///     .with_cost(Cost::nanos(12_500));
/// let rows = report(&[entry.clone(), entry], &[GroupBy::Label("tenant".into()), GroupBy::Day]);
/// assert_eq!(rows[0].group, ["acme", "1970-01-01"]);
/// assert_eq!((rows[0].calls, rows[0].cost), (2, Cost::nanos(25_000)));
/// ```
pub fn report(entries: &[LedgerEntry], by: &[GroupBy]) -> Vec<ReportRow> {
    let mut rows: BTreeMap<Vec<String>, ReportRow> = BTreeMap::new();
    for entry in entries {
        let group: Vec<String> = by.iter().map(|b| b.of(entry)).collect();
        let row =
            rows.entry(group).or_insert_with_key(|g| ReportRow { group: g.clone(), ..ReportRow::default() });
        row.calls += 1;
        let failed = matches!(entry.outcome, Outcome::Failed(_));
        row.failed += u64::from(failed);
        row.unknown += u64::from(entry.cost.is_none() && !failed);
        row.usage += entry.usage;
        row.cost += entry.cost.unwrap_or_default();
    }
    rows.into_values().collect()
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
