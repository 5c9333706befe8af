//! What tokens cost: money in whole nano-dollars, and a dated table of prices.

use std::collections::BTreeMap;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::sync::Arc;

use katena_core::{Error, Result, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const NANO: u64 = 1_000_000_000;
const MILLION: u128 = 1_000_000;

/// An amount of money in whole nano-units (10⁻⁹) of the price table's currency, which is the US dollar unless the table
/// says otherwise. Sums are exact; they stop at the largest amount, 18 billion dollars.
///
/// ```
/// use katena_layers::Cost;
/// let cost = Cost::dollars(0.25) + Cost::nanos(500);
/// assert_eq!(cost.to_string(), "$0.2500005");
/// assert_eq!(cost.as_nanos(), 250_000_500);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cost(u64);

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Whole nano-dollars.
    pub const fn nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Dollars, rounded to nano-dollars; what is no amount (negative, not a number) is nothing.
    pub fn dollars(dollars: f64) -> Self {
        Self((dollars * NANO as f64).round() as u64)
    }

    /// In nano-dollars.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// In dollars, for display and metrics.
    pub fn as_dollars(self) -> f64 {
        self.0 as f64 / NANO as f64
    }

    /// The difference, not below nothing.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:09}", self.0 % NANO);
        let part = part.trim_end_matches('0');
        write!(f, "${}.{part:0<2}", self.0 / NANO)
    }
}

/// The prices of one model, per million tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Price {
    /// Tokens of the prompt.
    pub input: Option<Cost>,
    /// Tokens generated, reasoning included.
    pub output: Option<Cost>,
    /// Prompt tokens from a cache; those of `input` if unset.
    pub cached: Option<Cost>,
    /// Prompt tokens written to a cache; those of `input` if unset.
    pub cache_write: Option<Cost>,
    /// Each call, whatever its tokens (rerankers).
    pub per_request: Option<Cost>,
}

impl Price {
    /// Prices of prompt and answer, in dollars per million tokens.
    pub fn new(input: f64, output: f64) -> Self {
        Self { input: Some(Cost::dollars(input)), output: Some(Cost::dollars(output)), ..Self::default() }
    }

    /// Sets the price of prompt tokens from a cache.
    pub fn with_cached(mut self, dollars: f64) -> Self {
        self.cached = Some(Cost::dollars(dollars));
        self
    }

    /// Sets the price of prompt tokens written to a cache.
    pub fn with_cache_write(mut self, dollars: f64) -> Self {
        self.cache_write = Some(Cost::dollars(dollars));
        self
    }

    /// Sets the price of each call.
    pub fn with_per_request(mut self, dollars: f64) -> Self {
        self.per_request = Some(Cost::dollars(dollars));
        self
    }

    /// What a call costs, rounded to the nearest nano-dollar; `None` if the price or the count of something is unknown.
    pub fn cost(&self, usage: &Usage) -> Option<Cost> {
        let mut nanos = u128::from(self.per_request.unwrap_or_default().0) * MILLION;
        let mut add = |tokens: u64, price: Cost| nanos += u128::from(tokens) * u128::from(price.0);
        if let Some(input) = self.input {
            let cached = usage.cached_tokens.unwrap_or(0);
            let written = usage.cache_write_tokens.unwrap_or(0);
            add(usage.input_tokens?.saturating_sub(cached).saturating_sub(written), input);
            add(cached, self.cached.unwrap_or(input));
            add(written, self.cache_write.unwrap_or(input));
        }
        match (self.output, usage.output_tokens) {
            (Some(price), tokens) => add(tokens?, price),
            (None, None | Some(0)) => {}
            // Rerankers that are paid by the call may well report tokens.
            (None, Some(_)) if self.input.is_none() && self.per_request.is_some() => {}
            (None, Some(_)) => return None,
        }
        if self.input.is_none() && self.output.is_none() && self.per_request.is_none() {
            return None;
        }
        Some(Cost(u64::try_from((nanos + MILLION / 2) / MILLION).unwrap_or(u64::MAX)))
    }
}

#[derive(Debug, Clone, Copy)]
struct Row {
    price: Price,
    /// Other prices for prompts of more than so many tokens.
    above: Option<(u64, Price)>,
}

/// Prices by vendor and model, as of a date.
///
/// The built-in table is a snapshot for a start: replace it by your contract's prices. Its JSON form:
///
/// ```json
/// {
///   "as_of": "2026-01-31",
///   "currency": "USD",
///   "aliases": { "azure": "openai" },
///   "vendors": {
///     "openai": {
///       "gpt-5-mini": { "input": 0.25, "cached": 0.025, "output": 2 },
///       "ft:gpt-4o:*": { "input": "3.75", "output": "15" }
///     },
///     "cohere": { "rerank-v3.5": { "per_request": 0.002 } },
///     "gemini": { "gemini-2.5-pro": { "input": 1.25, "output": 10,
///                 "above": { "input_tokens": 200000, "input": 2.5, "output": 15 } } }
///   }
/// }
/// ```
///
/// Prices are dollars per million tokens, numbers or texts; `per_request` is dollars a call. A model is looked up so:
/// 1. the row of exactly its name;
/// 2. the row of its name without a version at the end: `-2024-08-06`, `-20250514`, `@20250514`, `-001`, `-latest`, `:latest`;
/// 3. the longest row that ends in `*` and whose beginning fits.
///
/// Otherwise its price is unknown. `gpt-4o` is no price of `gpt-4o-audio-preview`.
///
/// ```
/// use katena_core::Usage;
/// use katena_layers::{Cost, PriceTable};
/// let prices = PriceTable::from_json(r#"{
///     "as_of": "2026-01-31",
///     "vendors": { "openai": { "gpt-5-mini": { "input": 0.25, "output": 2 } } }
/// }"#)?;
/// let usage = Usage::new(1_000, 100);
/// assert_eq!(prices.cost("openai", "gpt-5-mini-2025-08-07", &usage), Some(Cost::dollars(0.000_45)));
/// assert_eq!(prices.cost("openai", "gpt-6", &usage), None);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct PriceTable(Arc<Table>);

#[derive(Clone, Default)]
struct Table {
    as_of: String,
    currency: String,
    aliases: BTreeMap<String, String>,
    vendors: BTreeMap<String, BTreeMap<String, Row>>,
}

impl fmt::Debug for PriceTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models: usize = self.0.vendors.values().map(BTreeMap::len).sum();
        f.debug_struct("PriceTable").field("as_of", &self.0.as_of).field("models", &models).finish()
    }
}

impl PriceTable {
    /// No prices: every cost is unknown.
    pub fn empty(as_of: impl Into<String>) -> Self {
        Self(Arc::new(Table { as_of: as_of.into(), currency: "USD".to_owned(), ..Table::default() }))
    }

    /// The snapshot that comes with this version; see [`as_of`](PriceTable::as_of).
    pub fn builtin() -> Self {
        Self::from_json(include_str!("prices.json")).unwrap_or_else(|_| Self::empty(""))
    }

    /// Reads a table.
    ///
    /// # Errors
    /// Kind `InvalidInput`, with the place, if it is no such JSON, a price is no amount from 0 to 1,000,000, or a field
    /// is unknown: a misspelt price would else be a price of nothing.
    pub fn from_json(json: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(json)
            .map_err(|e| Error::invalid_input("the price table is no JSON").with_source(e))?;
        read_table(&value).map(|table| Self(Arc::new(table)))
    }

    /// Adds a price, or replaces one; `model` as in the JSON form.
    pub fn with_price(mut self, vendor: impl Into<String>, model: impl Into<String>, price: Price) -> Self {
        let table = Arc::make_mut(&mut self.0);
        table.vendors.entry(vendor.into()).or_default().insert(model.into(), Row { price, above: None });
        self
    }

    /// The day on which these were the prices, as the table says.
    pub fn as_of(&self) -> &str {
        &self.0.as_of
    }

    /// The currency, such as `USD`.
    pub fn currency(&self) -> &str {
        &self.0.currency
    }

    /// What `input_tokens` of prompt and its answer are paid at; `None` is unknown.
    pub fn price(&self, vendor: &str, model: &str, input_tokens: u64) -> Option<Price> {
        let table = &*self.0;
        let rows = table.vendors.get(vendor).or_else(|| table.vendors.get(table.aliases.get(vendor)?))?;
        let row = find(rows, model)?;
        Some(match row.above {
            Some((limit, price)) if input_tokens > limit => price,
            _ => row.price,
        })
    }

    /// What a call cost; `None` is unknown.
    pub fn cost(&self, vendor: &str, model: &str, usage: &Usage) -> Option<Cost> {
        self.price(vendor, model, usage.input_tokens.unwrap_or(0))?.cost(usage)
    }
}

fn find<'t>(rows: &'t BTreeMap<String, Row>, model: &str) -> Option<&'t Row> {
    let exact = rows.get(model).or_else(|| rows.get(without_version(model)?));
    exact.or_else(|| {
        let stars = rows.iter().filter_map(|(name, row)| Some((name.strip_suffix('*')?, row)));
        let fitting = stars.filter(|(start, _)| model.starts_with(start));
        fitting.max_by_key(|(start, _)| start.len()).map(|(_, row)| row)
    })
}

/// The name without a version or date at its end.
fn without_version(model: &str) -> Option<&str> {
    let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
    if let Some(name) = model.strip_suffix("-latest").or_else(|| model.strip_suffix(":latest")) {
        return Some(name);
    }
    if let Some((name, version)) = model.rsplit_once(['-', '@'])
        && (digits(version, 8) || digits(version, 3))
    {
        return Some(name);
    }
    let mut end = model.rsplitn(4, '-');
    let (day, month, year, name) = (end.next()?, end.next()?, end.next()?, end.next()?);
    (digits(day, 2) && digits(month, 2) && digits(year, 4)).then_some(name)
}

fn bad(what: &'static str, place: &str) -> Error {
    Error::invalid_input(what).with_context("place", place)
}

fn read_table(value: &Value) -> Result<Table> {
    let object = value.as_object().ok_or_else(|| bad("the price table must be an object", "/"))?;
    let mut table = Table { currency: "USD".to_owned(), ..Table::default() };
    let text = |v: &Value, at: &str| v.as_str().map(str::to_owned).ok_or_else(|| bad("must be a text", at));
    for (key, value) in object {
        match key.as_str() {
            "as_of" => table.as_of = text(value, "as_of")?,
            "currency" => table.currency = text(value, "currency")?,
            "aliases" => {
                for (name, to) in value.as_object().ok_or_else(|| bad("must be an object", "aliases"))? {
                    table.aliases.insert(name.clone(), text(to, name)?);
                }
            }
            "vendors" => {
                for (vendor, models) in
                    value.as_object().ok_or_else(|| bad("must be an object", "vendors"))?
                {
                    let models = models.as_object().ok_or_else(|| bad("must be an object", vendor))?;
                    let rows = table.vendors.entry(vendor.clone()).or_default();
                    for (model, row) in models {
                        rows.insert(model.clone(), read_row(row, &format!("{vendor}/{model}"))?);
                    }
                }
            }
            _ => return Err(bad("the price table has an unknown field", key)),
        }
    }
    if table.as_of.is_empty() {
        return Err(bad("the price table must say as of which day it is", "as_of"));
    }
    Ok(table)
}

fn read_row(value: &Value, place: &str) -> Result<Row> {
    let object = value.as_object().ok_or_else(|| bad("a price must be an object", place))?;
    let mut row = Row { price: Price::default(), above: None };
    for (key, value) in object {
        if key == "above" {
            let limit = value.get("input_tokens").and_then(Value::as_u64);
            let limit = limit.ok_or_else(|| bad("must say above how many input_tokens", place))?;
            let mut prices = value.as_object().cloned().unwrap_or_default();
            prices.remove("input_tokens");
            let upper = read_row(&Value::Object(prices), place)?;
            if upper.above.is_some() {
                return Err(bad("`above` inside of `above`", place));
            }
            row.above = Some((limit, upper.price));
            continue;
        }
        let field = match key.as_str() {
            "input" => &mut row.price.input,
            "output" => &mut row.price.output,
            "cached" => &mut row.price.cached,
            "cache_write" => &mut row.price.cache_write,
            "per_request" => &mut row.price.per_request,
            _ => return Err(bad("a price has an unknown field", &format!("{place}/{key}"))),
        };
        let dollars = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        let sane = dollars.filter(|d| (0.0..=1e6).contains(d));
        *field =
            Some(Cost::dollars(sane.ok_or_else(|| bad("a price must be 0 to 1,000,000 dollars", place))?));
    }
    Ok(row)
}

#[cfg(test)]
#[path = "prices_tests.rs"]
mod tests;
