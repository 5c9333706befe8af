//! Spans and metrics with the names of OpenTelemetry's GenAI conventions.

mod chat;
#[cfg(feature = "otel")]
mod metrics;
mod others;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use katena_core::{Clock, Error, Labels, Usage};
use tracing::{Span, field};

use crate::clock::Time;
use crate::prices::PriceTable;

#[derive(Clone, Default)]
struct Settings {
    contents: Contents,
    prices: Option<PriceTable>,
    time: Time,
    /// Labels that metrics carry.
    labels: Vec<String>,
    #[cfg(feature = "otel")]
    metrics: Option<metrics::Metrics>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Contents {
    #[default]
    Hidden,
    Shown,
}

/// Makes a `tracing` span of every call, with the names of
/// [OpenTelemetry's GenAI conventions](https://opentelemetry.io/docs/specs/semconv/gen-ai/); a subscriber such as
/// `tracing-opentelemetry` sends them on. For chat models, embedders, rerankers, retrievers, vector stores and tools.
///
/// - A chat span (`otel.name` is `chat MODEL`) has `gen_ai.operation.name`, `gen_ai.provider.name`, `gen_ai.request.*`,
///   `gen_ai.response.model`, `.id`, `.finish_reasons`, `gen_ai.usage.input_tokens`, `.output_tokens`,
///   `gen_ai.usage.cache_read.input_tokens`, `.cache_creation.input_tokens`, and `error.type` (the error's kind, or
///   `dropped` if the caller went away). Beside the conventions: `katena.labels`, `katena.time_to_first_token` in seconds,
///   `katena.cost` in dollars (with [`with_prices`](Trace::with_prices)), `katena.attempts`.
/// - A stream's span lasts until its end or its drop, and what happens while the stream is read lies inside of it.
/// - Prompts, answers, arguments and passages are recorded only [`with_contents`](Trace::with_contents): as events of target
///   `katena::contents`.
/// - Feature `otel`: metrics through a meter that you hand in.
///
/// Place it outermost, so that the span covers waits and retries too; a second one inside of `Retry` shows each try.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use katena_core::{ChatModel, ChatModelExt, ChatRequest, Message, fake::EchoChat};
/// use katena_layers::Trace;
/// let model = EchoChat::new().layer(Trace::new());
/// model.generate(&ChatRequest::new([Message::user("hello")])).await.unwrap();
/// # });
/// ```
#[derive(Clone, Default)]
pub struct Trace(Arc<Settings>);

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("contents", &(self.0.contents == Contents::Shown))
            .field("prices", &self.0.prices)
            .finish_non_exhaustive()
    }
}

impl Trace {
    /// Spans without contents and cost.
    pub fn new() -> Self {
        Self::default()
    }

    fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Records prompts, answers, arguments and passages too.
    pub fn with_contents(self) -> Self {
        self.set(|s| s.contents = Contents::Shown)
    }

    /// Records what each call cost by these prices, where that is known.
    pub fn with_prices(self, prices: PriceTable) -> Self {
        self.set(|s| s.prices = Some(prices))
    }

    /// Sets the clock that durations are taken by.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        self.set(|s| s.time = clock.into())
    }

    /// Metrics carry these labels, as `katena.label.NAME`. Few values each: every combination is a series.
    pub fn with_metric_labels<S: Into<String>>(self, labels: impl IntoIterator<Item = S>) -> Self {
        self.set(|s| s.labels = labels.into_iter().map(Into::into).collect())
    }

    /// Also records metrics through this meter: `gen_ai.client.token.usage`, `gen_ai.client.operation.duration`,
    /// `gen_ai.server.time_to_first_token`, and `katena.client.cost` in the prices' currency.
    #[cfg(feature = "otel")]
    pub fn with_meter(self, meter: &opentelemetry::metrics::Meter) -> Self {
        self.set(|s| s.metrics = Some(metrics::Metrics::new(meter)))
    }

    fn shows_contents(&self) -> bool {
        self.0.contents == Contents::Shown
    }

    fn observe(&self, span: Span, what: What) -> Observed {
        let started = self.0.time.now();
        Observed { trace: self.clone(), span, what, started, first: None, done: false }
    }
}

/// What is called.
#[cfg_attr(
    not(feature = "otel"),
    expect(dead_code, reason = "metrics alone tell operation and labels again")
)]
struct What {
    operation: &'static str,
    vendor: String,
    model: String,
    labels: Labels,
}

/// What is known of an answer.
#[derive(Default)]
struct Answer<'a> {
    usage: Usage,
    vendor: Option<&'a str>,
    model: Option<&'a str>,
}

/// A call under way. Its span and metrics end with it.
struct Observed {
    trace: Trace,
    span: Span,
    what: What,
    started: Instant,
    /// Seconds to the first token.
    first: Option<f64>,
    done: bool,
}

impl Observed {
    fn seconds(&self) -> f64 {
        self.trace.0.time.now().saturating_duration_since(self.started).as_secs_f64()
    }

    /// The first token came.
    fn first_token(&mut self) {
        if self.first.is_none() {
            let seconds = self.seconds();
            self.first = Some(seconds);
            self.span.record("katena.time_to_first_token", seconds);
        }
    }

    fn finish(&mut self, answer: &Answer<'_>) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let usage = &answer.usage;
        for (name, tokens) in [
            ("gen_ai.usage.input_tokens", usage.input_tokens),
            ("gen_ai.usage.output_tokens", usage.output_tokens),
            ("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens),
            ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens),
        ] {
            if let Some(tokens) = tokens {
                self.span.record(name, tokens);
            }
        }
        let vendor = answer.vendor.unwrap_or(&self.what.vendor);
        let cost = self.trace.0.prices.as_ref().and_then(|prices| {
            let by_answer = answer.model.and_then(|m| prices.cost(vendor, m, usage));
            by_answer.or_else(|| prices.cost(vendor, &self.what.model, usage))
        });
        if let Some(cost) = cost {
            self.span.record("katena.cost", cost.as_dollars());
        }
        #[cfg(feature = "otel")]
        self.measure(Some(answer), cost, None);
    }

    fn fail(&mut self, error: &Error) {
        self.end(error.kind().as_str());
    }

    fn end(&mut self, kind: &'static str) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        self.span.record("error.type", kind);
        self.span.record("otel.status_code", "ERROR");
        #[cfg(feature = "otel")]
        self.measure(None, None, Some(kind));
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.end("dropped");
    }
}

/// The conventions' name of a vendor.
fn provider(vendor: &str) -> &str {
    match vendor {
        "gemini" => "gcp.gemini",
        "vertex" => "gcp.vertex_ai",
        "bedrock" => "aws.bedrock",
        "azure" | "azure-openai" => "azure.ai.openai",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        other => other,
    }
}

/// Labels as one field: `feature=ask,tenant=acme`.
fn labels(labels: &Labels) -> Option<field::DisplayValue<String>> {
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    (!pairs.is_empty()).then(|| field::display(pairs.join(",")))
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
