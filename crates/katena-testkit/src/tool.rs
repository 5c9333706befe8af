//! The contract of [`Tool`].

use katena_core::{ErrorKind, Run, Tool, ToolCall};
use serde_json::Value;

use crate::harness::Law;

/// The schema describes a JSON object.
#[expect(clippy::unused_async, reason = "all suites are called alike")]
pub async fn spec_is_an_object(tool: &dyn Tool) {
    let law = Law("Tool: spec_is_an_object");
    let spec = tool.spec();
    law.check(!spec.name.is_empty() && spec.name.len() <= 64, format!("the name is {:?}", spec.name));
    law.check(!spec.description.trim().is_empty(), "the tool has no description");
    law.same("the schema's type", &spec.parameters.get("type").and_then(Value::as_str), &Some("object"));
    let properties = spec.parameters.get("properties").and_then(Value::as_object);
    for required in spec.parameters.get("required").and_then(Value::as_array).into_iter().flatten() {
        let known = required.as_str().is_some_and(|r| properties.is_some_and(|p| p.contains_key(r)));
        law.check(known, format!("{required} is required but not described"));
    }
}

/// Arguments that don't fit are `InvalidOutput`, never a panic.
pub async fn bad_arguments_are_invalid_output(tool: &dyn Tool) {
    let law = Law("Tool: bad_arguments_are_invalid_output");
    let deep = "[".repeat(100_000);
    for bad in
        ["not json", "{", "{\"a\": 1", "7", "\"text\"", "{} trailing", "\0", "[1, \"\u{1f980}\"", &deep]
    {
        let call = ToolCall::new("call_1", &tool.spec().name, bad);
        let shown: String = bad.chars().take(20).collect();
        law.fails(
            &format!("arguments {shown:?}"),
            ErrorKind::InvalidOutput,
            tool.call(call, &Run::new()).await,
        );
    }
}
