//! `#[tool]` as its users write it.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]
#![cfg(feature = "macros")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use katena_agents::{Json, tool};
use katena_core::{Error, ErrorKind, Labels, Result, Run, Tool, ToolCall, ToolOutput};
use serde_json::json;

async fn call(tool: &dyn Tool, args: &str) -> Result<String> {
    let run = Run::new().with_labels(Labels::new().with("tenant", "acme"));
    Ok(tool.call(ToolCall::new("1", "x", args), &run).await?.text())
}

/// Unit of temperature.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Unit {
    Celsius,
    Fahrenheit,
}

/// Tomorrow's weather
/// in a city.
///
/// Only for Europe.
#[tool(name = "weather")]
async fn forecast(
    /// Name of the city.
    city: String,
    unit: Option<Unit>,
    #[default = 1] days: u8,
    #[default] detail: bool,
    #[default = "none"] note: String,
    #[schemars(range(min = 1, max = 9))]
    #[default(5)]
    stars: u32,
) -> Result<String> {
    let unit = match unit {
        Some(Unit::Fahrenheit) => "F",
        Some(Unit::Celsius) | None => "C",
    };
    Ok(format!("{city} {unit} {days} {detail} {note} {stars}"))
}

#[tokio::test]
async fn the_schema_comes_from_the_signature_and_the_comments() {
    let tool = forecast_tool();
    let spec = tool.spec();
    assert_eq!(
        (spec.name.as_str(), spec.description.as_str()),
        ("weather", "Tomorrow's weather in a city.\nOnly for Europe.")
    );
    let parameters = &spec.parameters;
    assert_eq!(parameters["type"], "object");
    assert_eq!(parameters["required"], json!(["city"]));
    assert_eq!(parameters["properties"]["city"]["description"], "Name of the city.");
    assert_eq!(parameters["properties"]["stars"]["minimum"], 1);
    assert_eq!(parameters["properties"]["days"]["default"], 1);
    assert!(parameters["properties"]["unit"].to_string().contains("fahrenheit"));
    assert_eq!(call(&tool, r#"{"city":"Bern"}"#).await.unwrap(), "Bern C 1 false none 5");
    let all = r#"{"city":"Bern","unit":"fahrenheit","days":3,"detail":true,"note":"n","stars":2}"#;
    assert_eq!(call(&tool, all).await.unwrap(), "Bern F 3 true n 2");
    assert_eq!(call(&tool, r#"{"city":7}"#).await.unwrap_err().kind(), ErrorKind::InvalidOutput);
    assert_eq!(
        forecast("Ulm".to_owned(), None, 1, false, String::new(), 1).await.unwrap(),
        "Ulm C 1 false  1"
    );
}

/// Counts.
#[tool]
async fn count(#[state] counter: Arc<AtomicU32>, by: u32, run: &Run) -> u32 {
    assert_eq!(run.context().labels.get("tenant"), Some("acme"));
    counter.fetch_add(by, Ordering::Relaxed) + by
}

#[tokio::test]
async fn state_is_shared_and_the_run_is_given() {
    let counter = Arc::new(AtomicU32::new(0));
    let tool = count_tool(counter.clone());
    assert!(tool.spec().parameters["properties"].get("counter").is_none());
    call(&tool, r#"{"by":2}"#).await.unwrap();
    assert_eq!(call(&tool, r#"{"by":3}"#).await.unwrap(), "5");
    assert_eq!(counter.load(Ordering::Relaxed), 5);
}

/// Nothing to say.
#[tool]
async fn nothing() {}

/// A list.
#[tool(description = "Gives a list.")]
async fn list(run: Run) -> Json<Vec<u8>> {
    let _ = run.step_id();
    Json(vec![1, 2])
}

/// Reads a file that is not there.
#[tool]
async fn missing() -> std::io::Result<String> {
    Err(std::io::Error::from(std::io::ErrorKind::NotFound))
}

/// Parts.
#[tool]
async fn parts() -> Result<ToolOutput, Error> {
    Ok("text".into())
}

#[tokio::test]
async fn all_kinds_of_values_come_back() {
    assert_eq!(call(&nothing_tool(), "").await.unwrap(), "done");
    assert_eq!(call(&list_tool(), "{}").await.unwrap(), "[1,2]");
    assert_eq!(list_tool().spec().description, "Gives a list.");
    assert_eq!(call(&missing_tool(), "{}").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(call(&parts_tool(), "{}").await.unwrap(), "text");
}

#[tokio::test]
async fn tools_may_be_made_inside_a_function() {
    /// Adds.
    #[tool]
    async fn add(a: i64, b: i64) -> i64 {
        a + b
    }
    assert_eq!(call(&add_tool(), r#"{"a":2,"b":3}"#).await.unwrap(), "5");
}
