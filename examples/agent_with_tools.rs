//! An agent with typed tools: two run in parallel, one is not allowed by a person; all of it streams.
//! `cargo run -p katena-examples --example agent_with_tools`
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use futures_util::StreamExt as _;
use katena::agents::{Agent, ApprovalRequest, Decision, FnApprover, Needs, tool};
use katena::fake::ScriptedChat;
use katena::prelude::*;
use katena::{ChatEvent, FinishReason, ToolCall};

/// Tomorrow's weather in a city.
#[tool]
async fn forecast(
    /// Name of the city.
    city: String,
) -> Result<String> {
    Ok(format!("{city}: 21 degrees, dry"))
}

/// Trains between two cities.
#[tool]
async fn trains(
    /// Where it starts.
    from: String,
    /// Where it goes.
    to: String,
    /// How many to list.
    #[default = 2]
    most: usize,
) -> Result<String> {
    let trains = ["08:02", "08:32", "09:02"];
    Ok(format!("{from} to {to}: {}", trains[..most.min(trains.len())].join(", ")))
}

/// Books a train. It costs money.
#[tool]
async fn book(
    /// When it leaves, as HH:MM.
    time: String,
) -> Result<String> {
    Ok(format!("booked the train at {time}"))
}

/// Stands for a real model: `OpenAiChat::from_env("gpt-5-mini")?`, `LlamaChat::load("model.gguf")?`, …
fn model() -> ScriptedChat {
    let asks = |said: &str, calls: &[(&str, &str, &str)]| {
        let calls = calls.iter().map(|(id, name, args)| Part::ToolCall(ToolCall::new(*id, *name, *args)));
        let parts = std::iter::once(Part::text(said)).chain(calls).collect();
        Ok(ChatResponse::new(Message::new(Role::Assistant, parts), FinishReason::ToolCalls))
    };
    let first: &[_] =
        &[("c1", "forecast", r#"{"city":"Bern"}"#), ("c2", "trains", r#"{"from":"Basel","to":"Bern"}"#)];
    let answer = Message::assistant(
        "It stays dry in Bern. Trains leave at 08:02 and 08:32; I booked none, since you said no.",
    );
    ScriptedChat::new([
        asks("I look up the weather and the trains. ", first),
        asks("The first one fits. ", &[("c3", "book", r#"{"time":"08:02"}"#)]),
        Ok(ChatResponse::new(answer, FinishReason::Stop)),
    ])
}

#[tokio::main]
async fn main() -> Result<()> {
    // In a real program this asks a person.
    let careful = FnApprover::new(async |request: ApprovalRequest, _run: Run| {
        println!("? may `{}` run with {}? No.", request.call.name, request.call.arguments);
        Ok(Decision::deny("ask me again tomorrow"))
    });
    let agent = Agent::new(model())
        .with_instructions("You plan trips. Be brief.")
        .with_tools([forecast_tool(), trains_tool(), book_tool()])
        .with_approval(Needs::tools(["book"]), careful);

    let mut events = agent.stream("I want to go from Basel to Bern tomorrow morning. Do I need an umbrella?");
    let mut text = Vec::new();
    while let Some(item) = events.next().await {
        match item? {
            Streamed::Event(event) => match event.event {
                Event::Model(ChatEvent::Start { part, kind: katena::PartKind::Text, .. }) => text.push(part),
                Event::Model(ChatEvent::Delta { part, text: piece }) if text.contains(&part) => {
                    print!("{piece}");
                }
                Event::Model(ChatEvent::Finished(_)) => {
                    text.clear();
                    println!();
                }
                Event::Custom { name, value } if name == "tool_call" => {
                    println!("> {} {}", value["name"].as_str().unwrap_or("?"), value["arguments"]);
                }
                Event::Custom { name, value } if name == "tool_result" => {
                    println!("< {} {}", value["id"].as_str().unwrap_or("?"), value["text"]);
                }
                _ => {}
            },
            Streamed::Output(output) => println!("({} model calls, {:?})", output.steps, output.finish),
        }
    }
    Ok(())
}
