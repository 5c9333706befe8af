//! OpenTelemetry metrics.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::{Answer, Observed, provider};
use crate::prices::Cost;

#[derive(Clone)]
pub(super) struct Metrics {
    tokens: Histogram<u64>,
    duration: Histogram<f64>,
    first_token: Histogram<f64>,
    cost: Counter<f64>,
}

impl Metrics {
    /// Names, units and borders are those of the conventions.
    pub(super) fn new(meter: &Meter) -> Self {
        let powers =
            |from: f64, factor: f64, n: i32| (0..n).map(|i| from * factor.powi(i)).collect::<Vec<f64>>();
        let seconds = powers(0.01, 2.0, 14);
        Self {
            tokens: meter
                .u64_histogram("gen_ai.client.token.usage")
                .with_unit("{token}")
                .with_description("Number of input and output tokens used.")
                .with_boundaries(powers(1.0, 4.0, 14))
                .build(),
            duration: meter
                .f64_histogram("gen_ai.client.operation.duration")
                .with_unit("s")
                .with_description("GenAI operation duration.")
                .with_boundaries(seconds.clone())
                .build(),
            first_token: meter
                .f64_histogram("gen_ai.server.time_to_first_token")
                .with_unit("s")
                .with_description("Time to generate the first token.")
                .with_boundaries(seconds)
                .build(),
            cost: meter
                .f64_counter("katena.client.cost")
                .with_unit("{currency}")
                .with_description(
                    "What calls cost, by the price table; calls of unknown price are not counted.",
                )
                .build(),
        }
    }
}

impl Observed {
    pub(super) fn measure(
        &self,
        answer: Option<&Answer<'_>>,
        cost: Option<Cost>,
        error: Option<&'static str>,
    ) {
        let settings = &self.trace.0;
        let Some(metrics) = &settings.metrics else { return };
        let vendor = answer.and_then(|a| a.vendor).unwrap_or(&self.what.vendor);
        let mut attributes = vec![KeyValue::new("gen_ai.operation.name", self.what.operation)];
        let mut add = |name: &'static str, value: &str| {
            if !value.is_empty() {
                attributes.push(KeyValue::new(name, value.to_owned()));
            }
        };
        add("gen_ai.provider.name", provider(vendor));
        add("gen_ai.request.model", &self.what.model);
        add("gen_ai.response.model", answer.and_then(|a| a.model).unwrap_or_default());
        add("error.type", error.unwrap_or_default());
        for name in &settings.labels {
            if let Some(value) = self.what.labels.get(name) {
                attributes.push(KeyValue::new(format!("katena.label.{name}"), value.to_owned()));
            }
        }
        metrics.duration.record(self.seconds(), &attributes);
        if let Some(first) = self.first {
            metrics.first_token.record(first, &attributes);
        }
        if let Some(cost) = cost {
            metrics.cost.add(cost.as_dollars(), &attributes);
        }
        let usage = answer.map(|a| a.usage).unwrap_or_default();
        for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            if let Some(tokens) = tokens {
                attributes.push(KeyValue::new("gen_ai.token.type", kind));
                metrics.tokens.record(tokens, &attributes);
                attributes.pop();
            }
        }
    }
}
