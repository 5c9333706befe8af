//! Budgets: what may be spent in a day or a month, who is told, and what happens when it is spent.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use katena_core::{Error, ErrorKind, Labels, Result};
use serde::Serialize;

use super::ledger::{LedgerEntry, Outcome};
use crate::prices::Cost;
use crate::wall::Date;

/// How long a budget lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next.
    Month,
}

impl Period {
    fn start(self, time: SystemTime, offset_minutes: i32) -> Date {
        let day = Date::of(time, offset_minutes);
        match self {
            Self::Day => day,
            Self::Month => day.first_of_month(),
        }
    }
}

/// A threshold was reached; its JSON form is what a webhook gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BudgetAlert {
    /// The budget's name.
    pub budget: String,
    /// How long it lasts.
    pub period: Period,
    /// The first day of the period, as `2026-01-31`.
    pub since: String,
    /// The label that it is for, and its value; `None` for all calls.
    pub label: Option<(String, String)>,
    /// The threshold, in percent.
    pub threshold: u32,
    /// Spent so far.
    pub spent_nanos: u64,
    /// The budget.
    pub limit_nanos: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Scope {
    All,
    Each(String),
    One(String, String),
}

type OnAlert = dyn Fn(&BudgetAlert) + Send + Sync;

/// An amount that may be spent in each day or month, of all calls or of those with a label.
///
/// - A period begins at midnight UTC, or at another offset ([`with_utc_offset`](Budget::with_utc_offset)). A clock that is
///   set back opens no earlier period and gives no new credit.
/// - Thresholds (50, 80 and 100 % unless set) are told once each and period, by callback and webhook; nothing waits for
///   either.
/// - With [`with_hard_stop`](Budget::with_hard_stop), a call that might exceed the budget is refused before it is made, with
///   kind `Budget`. Each call reserves an estimate until it ends: its prompt as guessed from its length and its
///   `max_tokens` (1,024 if unset) at the table's price, but at least [`with_reserve`](Budget::with_reserve). The budget is
///   exceeded at most by what the calls under way cost beyond their estimates, so set `max_tokens`.
/// - A call that failed costs nothing. One that was dropped or cut midway, whose cost nobody tells, counts as its estimate. A
///   finished call of unknown price counts as nothing, unless [`with_unknown_refused`](Budget::with_unknown_refused).
///
/// ```
/// use katena_layers::{Budget, Cost};
/// let per_tenant = Budget::daily("tenants", Cost::dollars(5.0)).for_each("tenant").with_hard_stop();
/// let whole = Budget::monthly("all", Cost::dollars(500.0))
///     .with_thresholds([80, 100])
///     .with_alert(|alert| eprintln!("{} % of {} spent", alert.threshold, alert.budget));
/// ```
#[derive(Clone)]
pub struct Budget {
    name: String,
    limit: Cost,
    period: Period,
    scope: Scope,
    thresholds: Vec<u32>,
    hard_stop: bool,
    refuse_unknown: bool,
    reserve: Cost,
    offset_minutes: i32,
    alerts: Vec<Arc<OnAlert>>,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("period", &self.period)
            .field("hard_stop", &self.hard_stop)
            .finish_non_exhaustive()
    }
}

impl Budget {
    fn new(name: impl Into<String>, limit: Cost, period: Period) -> Self {
        Self {
            name: name.into(),
            limit,
            period,
            scope: Scope::All,
            thresholds: vec![50, 80, 100],
            hard_stop: false,
            refuse_unknown: false,
            reserve: Cost::ZERO,
            offset_minutes: 0,
            alerts: Vec::new(),
        }
    }

    /// For each day.
    pub fn daily(name: impl Into<String>, limit: Cost) -> Self {
        Self::new(name, limit, Period::Day)
    }

    /// For each month.
    pub fn monthly(name: impl Into<String>, limit: Cost) -> Self {
        Self::new(name, limit, Period::Month)
    }

    /// Each value of this label has the whole amount for itself; calls without the label are not counted.
    pub fn for_each(mut self, label: impl Into<String>) -> Self {
        self.scope = Scope::Each(label.into());
        self
    }

    /// Only calls with this value of a label are counted.
    pub fn for_label(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.scope = Scope::One(label.into(), value.into());
        self
    }

    /// Sets the thresholds, in percent of the limit.
    pub fn with_thresholds(mut self, percent: impl IntoIterator<Item = u32>) -> Self {
        self.thresholds = percent.into_iter().collect();
        self.thresholds.sort_unstable();
        self.thresholds.dedup();
        self
    }

    /// Refuses calls that might exceed it.
    pub fn with_hard_stop(mut self) -> Self {
        self.hard_stop = true;
        self
    }

    /// Refuses calls of models whose price is unknown.
    pub fn with_unknown_refused(mut self) -> Self {
        self.refuse_unknown = true;
        self
    }

    /// Each call reserves at least this.
    pub fn with_reserve(mut self, cost: Cost) -> Self {
        self.reserve = cost;
        self
    }

    /// Begins periods at midnight of another time zone: minutes east of Greenwich, such as 60 or −300.
    pub fn with_utc_offset(mut self, minutes: i32) -> Self {
        self.offset_minutes = minutes;
        self
    }

    /// Calls this at each threshold, on the task of the call that reached it: it must not block.
    pub fn with_alert(mut self, alert: impl Fn(&BudgetAlert) + Send + Sync + 'static) -> Self {
        self.alerts.push(Arc::new(alert));
        self
    }

    /// The account that a call goes to, by the label's value.
    fn account(&self, labels: &Labels) -> Option<String> {
        match &self.scope {
            Scope::All => Some(String::new()),
            Scope::Each(label) => labels.get(label).map(str::to_owned),
            Scope::One(label, value) => labels.get(label).filter(|v| v == value).map(str::to_owned),
        }
    }

    fn alert(&self, since: Date, account: &str, threshold: u32, spent: Cost) -> BudgetAlert {
        let label = match &self.scope {
            Scope::All => None,
            Scope::Each(label) | Scope::One(label, _) => Some((label.clone(), account.to_owned())),
        };
        BudgetAlert {
            budget: self.name.clone(),
            period: self.period,
            since: since.to_string(),
            label,
            threshold,
            spent_nanos: spent.as_nanos(),
            limit_nanos: self.limit.as_nanos(),
        }
    }
}

/// What a budget has seen in this period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BudgetStatus {
    /// Spent.
    pub spent: Cost,
    /// Reserved by calls under way.
    pub reserved: Cost,
    /// Finished calls of unknown price.
    pub unknown: u64,
}

#[derive(Default)]
struct Account {
    status: BudgetStatus,
    /// How many of the thresholds were told.
    told: usize,
}

/// A budget and its accounts.
pub(super) struct Purse {
    budget: Budget,
    state: Mutex<State>,
}

struct State {
    since: Date,
    accounts: HashMap<String, Account>,
}

/// What one call holds in one purse.
pub(super) struct Hold {
    account: String,
    since: Date,
    amount: Cost,
}

impl Purse {
    pub(super) fn new(budget: Budget, now: SystemTime) -> Self {
        let since = budget.period.start(now, budget.offset_minutes);
        Self { budget, state: Mutex::new(State { since, accounts: HashMap::new() }) }
    }

    pub(super) fn name(&self) -> &str {
        &self.budget.name
    }

    /// When the period under way began.
    pub(super) fn begin(&self, now: SystemTime) -> SystemTime {
        self.state(now).since.midnight(self.budget.offset_minutes)
    }

    fn state(&self, now: SystemTime) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let since = self.budget.period.start(now, self.budget.offset_minutes);
        if since > state.since {
            state.since = since;
            state.accounts.clear();
        }
        state
    }

    /// Reserves for a call; `None` if the budget is not for it.
    pub(super) fn hold(
        &self,
        labels: &Labels,
        estimate: Option<Cost>,
        now: SystemTime,
    ) -> Result<Option<Hold>> {
        let budget = &self.budget;
        let Some(name) = budget.account(labels) else { return Ok(None) };
        if budget.refuse_unknown && estimate.is_none() {
            return Err(Error::new(
                ErrorKind::Budget,
                "the model's price is unknown and the budget refuses such calls",
            )
            .with_context("budget", budget.name.clone()));
        }
        let amount = estimate.unwrap_or_default().max(budget.reserve);
        let mut state = self.state(now);
        let since = state.since;
        let account = state.accounts.entry(name.clone()).or_default();
        let status = &mut account.status;
        // A call of unknown price passes only while something is left.
        let needed = status.spent + status.reserved + amount.max(Cost::nanos(1));
        if budget.hard_stop && needed > budget.limit {
            let spent = status.spent;
            // As good as spent: nobody would else hear that calls are refused.
            let told = self.tell(account, since, &name, budget.limit.max(spent), spent);
            drop(state);
            self.call(&told);
            return Err(Error::new(ErrorKind::Budget, "the budget is spent")
                .with_context("budget", budget.name.clone())
                .with_context("since", since.to_string())
                .with_context("limit", budget.limit.to_string()));
        }
        status.reserved += amount;
        Ok(Some(Hold { account: name, since, amount }))
    }

    /// Gives back what a call held, and counts what it cost.
    pub(super) fn settle(&self, hold: Hold, entry: &LedgerEntry) {
        let mut state = self.state(entry.time);
        let since = state.since;
        let account = state.accounts.entry(hold.account.clone()).or_default();
        if hold.since == since {
            account.status.reserved = account.status.reserved.saturating_sub(hold.amount);
        }
        count(account, entry, hold.amount);
        let spent = account.status.spent;
        let told = self.tell(account, since, &hold.account, spent, spent);
        drop(state);
        self.call(&told);
    }

    /// Gives back what a call held that was not made.
    pub(super) fn release(&self, hold: &Hold) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since == hold.since
            && let Some(account) = state.accounts.get_mut(&hold.account)
        {
            account.status.reserved = account.status.reserved.saturating_sub(hold.amount);
        }
    }

    /// Counts an earlier process's call; thresholds that it reached were told then.
    pub(super) fn restore(&self, entry: &LedgerEntry, now: SystemTime) {
        let mut state = self.state(now);
        if self.budget.period.start(entry.time, self.budget.offset_minutes) != state.since {
            return;
        }
        let Some(name) = self.budget.account(&entry.labels) else { return };
        let since = state.since;
        let account = state.accounts.entry(name.clone()).or_default();
        count(account, entry, entry.estimate.unwrap_or_default().max(self.budget.reserve));
        let spent = account.status.spent;
        self.tell(account, since, &name, spent, spent);
    }

    pub(super) fn status(&self, value: &str, now: SystemTime) -> BudgetStatus {
        self.state(now).accounts.get(value).map(|a| a.status).unwrap_or_default()
    }

    /// The alerts that are due once `reached` is.
    fn tell(
        &self,
        account: &mut Account,
        since: Date,
        name: &str,
        reached: Cost,
        spent: Cost,
    ) -> Vec<BudgetAlert> {
        let budget = &self.budget;
        let limit = u128::from(budget.limit.as_nanos());
        let due = |percent: &&u32| u128::from(reached.as_nanos()) * 100 >= limit * u128::from(**percent);
        let due: Vec<u32> = budget.thresholds[account.told..].iter().take_while(due).copied().collect();
        account.told += due.len();
        due.into_iter().map(|percent| budget.alert(since, name, percent, spent)).collect()
    }

    fn call(&self, alerts: &[BudgetAlert]) {
        for alert in alerts {
            tracing::warn!(
                budget = %alert.budget,
                threshold = alert.threshold,
                since = %alert.since,
                "a budget's threshold is reached"
            );
            for tell in &self.budget.alerts {
                tell(alert);
            }
        }
    }
}

fn count(account: &mut Account, entry: &LedgerEntry, held: Cost) {
    let status = &mut account.status;
    match (entry.cost, entry.outcome) {
        (Some(cost), _) => status.spent += cost,
        (None, Outcome::Failed(_)) => {}
        (None, Outcome::Finished) => status.unknown += 1,
        (None, Outcome::Cut(_) | Outcome::Dropped) => status.spent += held,
    }
}
