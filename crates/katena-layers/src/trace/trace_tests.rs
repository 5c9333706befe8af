use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use katena_core::fake::{EchoChat, FlakyChat, HashEmbedder, ScriptedChat};
use katena_core::{
    ChatModelExt as _, ChatRequest, ChatResponse, Context, EmbedRequest, Embedder as _, EmbedderExt as _,
    FinishReason, ManualClock, Message, Run, Tool as _, ToolCall, ToolExt as _,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;
use crate::Price;

type Fields = BTreeMap<String, String>;

/// Keeps spans and events with their fields.
#[derive(Clone, Default)]
struct Seen(Arc<Inner>);

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    spans: Mutex<Vec<(String, Fields, bool)>>,
    events: Mutex<Vec<(String, Fields)>>,
    inside: Mutex<Vec<u64>>,
    /// The span that each event lay in.
    parents: Mutex<Vec<Option<u64>>>,
}

struct Write<'a>(&'a mut Fields);

impl Visit for Write<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").unwrap();
        self.0.insert(field.name().to_owned(), text);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Seen {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::new();
        span.record(&mut Write(&mut fields));
        self.0.spans.lock().unwrap().push((span.metadata().name().to_owned(), fields, false));
        Id::from_u64(self.0.next.fetch_add(1, Ordering::SeqCst) + 1)
    }
    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.0.spans.lock().unwrap();
        values.record(&mut Write(&mut spans[span.into_u64() as usize - 1].1));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Write(&mut fields));
        let inside = self.0.inside.lock().unwrap().last().copied();
        self.0.parents.lock().unwrap().push(inside);
        self.0.events.lock().unwrap().push((event.metadata().target().to_owned(), fields));
    }
    fn enter(&self, span: &Id) {
        self.0.inside.lock().unwrap().push(span.into_u64());
    }
    fn exit(&self, _: &Id) {
        self.0.inside.lock().unwrap().pop();
    }
    fn try_close(&self, span: Id) -> bool {
        // Good enough here: each of our spans is cloned once or twice and closed in the end.
        self.0.spans.lock().unwrap()[span.into_u64() as usize - 1].2 = true;
        true
    }
}

impl Seen {
    fn span(&self, at: usize) -> Fields {
        self.0.spans.lock().unwrap()[at].1.clone()
    }

    fn all(&self) -> String {
        format!("{:?} {:?}", self.0.spans.lock().unwrap(), self.0.events.lock().unwrap())
    }
}

fn ask() -> ChatRequest {
    let labels = Labels::new().with("tenant", "acme").with("feature", "ask");
    ChatRequest::new([Message::user("planted-prompt")])
        .with_temperature(0.5)
        .with_max_tokens(9)
        .with_context(Context::new().with_labels(labels))
}

fn answer() -> ChatResponse {
    ChatResponse::new(Message::assistant("planted answer here"), FinishReason::Stop)
        .with_usage(Usage::new(10, 3).with_cached_tokens(4))
        .with_model("m-2026-01-01")
        .with_vendor("gemini")
        .with_id("resp-1")
        .with_attempts(2)
}

fn prices() -> PriceTable {
    PriceTable::empty("2026-01-31").with_price("gemini", "m", Price::new(1.0, 10.0))
}

#[tokio::test]
async fn a_chat_span_has_the_conventions_names_and_no_contents() {
    let seen = Seen::default();
    let _guard = tracing::subscriber::set_default(seen.clone());
    let model = ScriptedChat::new([Ok(answer())]).layer(Trace::new().with_prices(prices()));
    model.generate(&ask()).await.unwrap();
    let span = seen.span(0);
    for (name, value) in [
        ("otel.name", "chat scripted"),
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "fake"),
        ("gen_ai.request.model", "scripted"),
        ("gen_ai.request.temperature", "0.5"),
        ("gen_ai.request.max_tokens", "9"),
        ("gen_ai.response.model", "m-2026-01-01"),
        ("gen_ai.response.id", "resp-1"),
        ("gen_ai.response.finish_reasons", "[\"stop\"]"),
        ("gen_ai.usage.input_tokens", "10"),
        ("gen_ai.usage.output_tokens", "3"),
        ("gen_ai.usage.cache_read.input_tokens", "4"),
        ("katena.labels", "feature=ask,tenant=acme"),
        ("katena.cost", "4e-5"),
        ("katena.attempts", "2"),
    ] {
        assert_eq!(span.get(name).map(String::as_str), Some(value), "{name} in {span:?}");
    }
    assert!(!span.contains_key("error.type") && !span.contains_key("gen_ai.request.seed"), "{span:?}");
    assert!(!seen.all().contains("planted"), "{}", seen.all());
}

#[tokio::test]
async fn a_streams_span_lasts_until_its_end_and_times_its_first_token() {
    let seen = Seen::default();
    let _guard = tracing::subscriber::set_default(seen.clone());
    let clock = ManualClock::new();
    let trace = Trace::new().with_clock(Arc::new(clock.clone()));
    let model = ScriptedChat::new([Ok(answer()), Ok(answer())]).layer(trace);
    let mut stream = model.stream(&ask()).await.unwrap();
    clock.advance(Duration::from_millis(250));
    assert!(!seen.span(0).contains_key("katena.time_to_first_token"));
    stream.next().await.unwrap().unwrap();
    clock.advance(Duration::from_secs(1));
    while stream.next().await.is_some() {}
    let span = seen.span(0);
    assert_eq!(span["katena.time_to_first_token"], "0.25");
    assert_eq!(span["gen_ai.usage.output_tokens"], "3");
    let mut half = model.stream(&ask()).await.unwrap();
    half.next().await.unwrap().unwrap();
    drop(half);
    assert_eq!(seen.span(1)["error.type"], "dropped");
}

#[tokio::test]
async fn errors_are_typed() {
    let seen = Seen::default();
    let _guard = tracing::subscriber::set_default(seen.clone());
    let down = FlakyChat::new(EchoChat::new(), 1).layer(Trace::new());
    assert!(down.generate(&ask()).await.is_err());
    let cut = FlakyChat::new(EchoChat::new(), 1).with_failures_mid_stream().layer(Trace::new());
    let _items: Vec<_> = cut.stream(&ask()).await.unwrap().collect().await;
    for at in 0..2 {
        assert_eq!(seen.span(at)["error.type"], "unavailable");
        assert_eq!(seen.span(at)["otel.status_code"], "ERROR");
    }
}

#[tokio::test]
async fn contents_come_only_if_asked_for_and_lie_inside_of_the_span() {
    let seen = Seen::default();
    let _guard = tracing::subscriber::set_default(seen.clone());
    let model = ScriptedChat::new([Ok(answer())]).layer(Trace::new().with_contents());
    model.generate(&ask()).await.unwrap();
    let events = seen.0.events.lock().unwrap().clone();
    assert!(events.iter().all(|(target, _)| target == "katena::contents"));
    assert!(events[0].1["gen_ai.input.messages"].contains("planted-prompt"));
    assert!(events[1].1["gen_ai.output.messages"].contains("planted answer"));
    assert_eq!(*seen.0.parents.lock().unwrap(), [Some(1), Some(1)]);
}

#[derive(Debug)]
struct Noop(katena_core::ToolSpec);

#[async_trait::async_trait]
impl katena_core::Tool for Noop {
    fn spec(&self) -> &katena_core::ToolSpec {
        &self.0
    }
    async fn call(&self, _: ToolCall, _: &Run) -> katena_core::Result<katena_core::ToolOutput> {
        tracing::info!("inside");
        Ok("planted output".into())
    }
}

#[tokio::test]
async fn embedders_and_tools_have_spans() {
    let seen = Seen::default();
    let _guard = tracing::subscriber::set_default(seen.clone());
    let trace = Trace::new();
    let embedder = HashEmbedder::new(4).layer(trace.clone());
    embedder.embed(&EmbedRequest::documents(["planted", "x"])).await.unwrap();
    let tool = Noop(katena_core::ToolSpec::new("look_up", "d", serde_json::json!({}))).layer(trace);
    tool.call(ToolCall::new("c1", "look_up", "planted"), &Run::new()).await.unwrap();
    assert_eq!(seen.span(0)["gen_ai.operation.name"], "embeddings");
    assert_eq!(seen.span(0)["gen_ai.embeddings.dimension.count"], "4");
    assert_eq!(seen.span(1)["otel.name"], "execute_tool look_up");
    assert_eq!(seen.span(1)["gen_ai.tool.call.id"], "c1");
    assert_eq!(*seen.0.parents.lock().unwrap(), [Some(2)], "what a tool logs lies in its span");
    assert!(!seen.all().contains("planted"));
}

#[cfg(feature = "otel")]
mod otel {
    use opentelemetry::KeyValue;
    use opentelemetry::metrics::{
        Counter, Histogram, HistogramBuilder, InstrumentBuilder, InstrumentProvider, Meter, SyncInstrument,
    };

    use super::*;

    type Points = Arc<Mutex<Vec<(String, f64, BTreeMap<String, String>)>>>;

    /// A meter that keeps what it is told; a double, as the SDK is no dependency.
    #[derive(Default)]
    struct Kept(Points);

    struct Instrument(String, Points);

    impl Instrument {
        fn keep(&self, value: f64, attributes: &[KeyValue]) {
            let attributes = attributes.iter().map(|a| (a.key.to_string(), a.value.to_string())).collect();
            self.1.lock().unwrap().push((self.0.clone(), value, attributes));
        }
    }

    impl SyncInstrument<u64> for Instrument {
        fn measure(&self, value: u64, attributes: &[KeyValue]) {
            self.keep(value as f64, attributes);
        }
    }
    impl SyncInstrument<f64> for Instrument {
        fn measure(&self, value: f64, attributes: &[KeyValue]) {
            self.keep(value, attributes);
        }
    }

    impl InstrumentProvider for Kept {
        fn u64_histogram(&self, builder: HistogramBuilder<'_, Histogram<u64>>) -> Histogram<u64> {
            Histogram::new(Arc::new(Instrument(builder.name.to_string(), self.0.clone())))
        }
        fn f64_histogram(&self, builder: HistogramBuilder<'_, Histogram<f64>>) -> Histogram<f64> {
            Histogram::new(Arc::new(Instrument(builder.name.to_string(), self.0.clone())))
        }
        fn f64_counter(&self, builder: InstrumentBuilder<'_, Counter<f64>>) -> Counter<f64> {
            Counter::new(Arc::new(Instrument(builder.name.to_string(), self.0.clone())))
        }
    }

    #[tokio::test]
    async fn metrics_go_to_the_meter_that_was_handed_in() {
        let points = Points::default();
        let meter = Meter::new(Arc::new(Kept(points.clone())));
        let trace = Trace::new()
            .with_meter(&meter)
            .with_prices(prices())
            .with_metric_labels(["tenant"])
            .with_clock(Arc::new(ManualClock::new()));
        let model = ScriptedChat::new([Ok(answer()), Err(Error::cancelled())]).layer(trace);
        let _events: Vec<_> = model.stream(&ask()).await.unwrap().collect().await;
        assert!(model.generate(&ask()).await.is_err());
        let points = points.lock().unwrap();
        let find = |name: &str, key: &str, value: &str| {
            let fits = |p: &&(String, f64, BTreeMap<String, String>)| {
                p.0 == name && p.2.get(key).is_some_and(|v| v == value)
            };
            points.iter().find(fits).map(|p| p.1)
        };
        assert_eq!(find("gen_ai.client.token.usage", "gen_ai.token.type", "input"), Some(10.0));
        assert_eq!(find("gen_ai.client.token.usage", "gen_ai.token.type", "output"), Some(3.0));
        assert_eq!(find("gen_ai.server.time_to_first_token", "katena.label.tenant", "acme"), Some(0.0));
        assert_eq!(find("katena.client.cost", "gen_ai.provider.name", "gcp.gemini"), Some(0.000_04));
        assert_eq!(
            find("gen_ai.client.operation.duration", "gen_ai.response.model", "m-2026-01-01"),
            Some(0.0)
        );
        assert_eq!(find("gen_ai.client.operation.duration", "error.type", "cancelled"), Some(0.0));
        assert_eq!(points.len(), 6);
    }
}
