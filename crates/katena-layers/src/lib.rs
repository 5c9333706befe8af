//! Layers: what makes a call survive production. Each wraps a component in one of the same kind.
//!
//! ```
//! # futures_util::FutureExt::now_or_never(async {
//! use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::EchoChat};
//! use katena_layers::{Concurrency, Retry, Timeout};
//!
//! let model = EchoChat::new().layer(Timeout::default()).layer(Concurrency::new(8)).layer(Retry::default());
//! let answer = model.generate(&ChatRequest::new([Message::user("hello")])).await.unwrap();
//! assert_eq!((answer.text().as_str(), answer.attempts), ("hello", Some(1)));
//! # }).unwrap();
//! ```
//!
//! State (windows, permits, random numbers) lives in the layer: its clones, and the components under them, share it. The
//! one exception is [`CircuitBreaker`], whose state belongs to the component that it wraps. Nothing is global.
//!
//! # In which order
//!
//! `.layer(x)` puts `x` outside of what is there, so the last one is asked first. From the outside in:
//!
//! | layer | why there |
//! |---|---|
//! | [`Trace`] | sees the call as the caller does: with its waits, its retries and its price |
//! | [`Guard`] | what it redacts is in no cache, ledger, recording or vendor's log; a new rule holds for old cached answers too |
//! | [`Cache`] | a hit costs nothing, takes no permit and is no tokens a minute |
//! | [`Meter`] | counts what was paid for, which a cache hit is not; a budget that is spent refuses before anything is waited for |
//! | [`Fallback`] | each vendor below it has limits, a breaker and retries of its own; the answer that comes up names who gave it, for the meter |
//! | [`CircuitBreaker`] | outside `Retry`: a vendor known to be down is not tried again and again, and the fallback moves on at once |
//! | [`Retry`] | outside the limits: each try counts as a request, and no permit is held while waiting for the next |
//! | [`RateLimit`] | outside `Concurrency`: who waits for the next minute holds no permit that another key could use |
//! | [`Concurrency`] | next to the call, so that waiting for a permit is not counted as the vendor's slowness |
//! | [`Timeout`] | limits one try; all tries together are limited by the context's deadline, which `Retry` and every wait keep |
//! | [`Record`] | writes what the vendor said, once a try |
//!
//! Two rules follow from it. Whatever repeats a call stands outside what counts calls. Whatever waits stands outside what
//! holds something scarce.
//!
//! # Time
//!
//! Layers that wait use tokio's clock and take another by `with_clock`. Without a runtime (or with one without timers) a
//! wait is an error of kind `Config`, not a panic; a call that needs no wait needs no runtime.

mod around;
mod around_storage;
mod bounded;
mod breaker;
mod cache;
mod clock;
mod concurrency;
mod estimate;
mod fallback;
mod guard;
mod lanes;
mod meter;
mod prices;
mod rate_limit;
mod record;
mod retry;
mod stored;
mod timeout;
mod trace;
mod wall;
mod watch;

pub use breaker::*;
pub use cache::*;
pub use clock::TokioClock;
pub use concurrency::*;
pub use fallback::*;
pub use guard::*;
pub use meter::*;
pub use prices::*;
pub use rate_limit::*;
pub use record::*;
pub use retry::*;
pub use timeout::*;
pub use trace::*;
pub use wall::*;
