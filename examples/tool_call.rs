//! A typed tool from an async closure, called by a scripted model: `cargo run -p katena-examples --example tool_call`.
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use katena::fake::ScriptedChat;
use katena::prelude::*;
use katena::{FinishReason, ToolCall, ToolResult};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Forecast {
    /// Name of the city.
    city: String,
}

#[tokio::main]
async fn main() -> Result<()> {
    let tool = FnTool::new("forecast", "Tomorrow's weather in a city.", async |args: Forecast, _run: Run| {
        Ok(format!("{}: 21 degrees, dry", args.city))
    });

    let call = ToolCall::new("call_1", "forecast", r#"{"city": "Bern"}"#);
    let asks =
        ChatResponse::new(Message::new(Role::Assistant, vec![Part::ToolCall(call)]), FinishReason::ToolCalls);
    let answers =
        ChatResponse::new(Message::assistant("It will be dry in Bern, at 21 degrees."), FinishReason::Stop);
    let model = ScriptedChat::new([Ok(asks), Ok(answers)]);

    let run = Run::new();
    let mut messages = vec![Message::user("Do I need an umbrella in Bern tomorrow?")];
    loop {
        let request = ChatRequest::new(messages.clone()).with_tools([tool.spec().clone()]);
        let response = run.chat(&model, request).await?;
        messages.push(response.message.clone());
        if response.finish != FinishReason::ToolCalls {
            println!("{}", response.text());
            return Ok(());
        }
        for call in response.tool_calls() {
            // An error goes back to the model as text; it may try again.
            let result = match tool.call(call.clone(), &run).await {
                Ok(output) => ToolResult::text(call, output.text()),
                Err(error) => ToolResult::text(call, error.to_string()).with_error(),
            };
            messages.push(Message::tool(result));
        }
    }
}
