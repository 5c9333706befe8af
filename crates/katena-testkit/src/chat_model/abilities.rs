//! Laws of what a model states that it can, and of what it does not state.

use katena_core::{
    ChatModel, ChatRequest, ErrorKind, Media, Message, Part, ResponseFormat, Role, ToolChoice, ToolResult,
    ToolSpec,
};
use serde_json::{Value, json};

use super::{ask, both, both_fail, fold, generate, repeatable};
use crate::harness::Law;

/// One red pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

fn weather() -> ToolSpec {
    let parameters = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": false,
    });
    ToolSpec::new("get_weather", "Tells the weather of a city.", parameters)
}

fn clock() -> ToolSpec {
    let parameters = json!({
        "type": "object",
        "properties": {"zone": {"type": "string", "enum": ["utc", "local"]}},
        "required": ["zone"],
        "additionalProperties": false,
    });
    ToolSpec::new("get_time", "Tells the time of day.", parameters)
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "colour": {"type": "string", "enum": ["red", "green", "blue"]},
            "ready": {"type": "boolean"},
        },
        "required": ["colour", "ready"],
        "additionalProperties": false,
    })
}

fn with_schema(request: ChatRequest) -> ChatRequest {
    request.with_response_format(ResponseFormat::JsonSchema { name: "thing".to_owned(), schema: schema() })
}

/// What the capabilities don't name is `Unsupported`, never dropped.
pub async fn unsupported_is_said(model: &dyn ChatModel) {
    let law = Law("ChatModel: unsupported_is_said");
    let can = model.info().capabilities;
    let media = Media::Base64 { mime: "image/png".to_owned(), data: PIXEL.to_owned() };
    let image = Message::new(Role::User, vec![Part::text("What is this?"), Part::Image { media }]);
    let asked = || ask("Say hello.");
    for (can, what, request) in [
        (can.tools, "tools", asked().with_tools([weather()])),
        (
            can.tools,
            "a required tool",
            asked().with_tools([weather()]).with_tool_choice(ToolChoice::Required),
        ),
        (can.json_schema, "a JSON schema", with_schema(asked())),
        (can.images, "an image", ChatRequest::new([image])),
        (can.seed, "a seed", asked().with_seed(0)),
        (can.logprobs, "log-probabilities", asked().with_logprobs(0)),
        (can.stop, "a stop text", asked().with_stop(["END"])),
    ] {
        if !can {
            both_fail(law, what, ErrorKind::Unsupported, model, &request).await;
        }
    }
    // Saying no breaks nothing.
    generate(law, model, &asked()).await;
}

/// With that capability, both counts are there, streamed or not.
pub async fn usage_is_reported(model: &dyn ChatModel) {
    let law = Law("ChatModel: usage_is_reported");
    if !model.info().capabilities.usage {
        return law.skip("the model does not state `usage`");
    }
    for (way, response) in both(law, model, &ask("Say hello to the whole world.")).await {
        let usage = response.usage;
        law.check(usage.input_tokens.is_some_and(|n| n > 0), format!("{way}: no count of the prompt"));
        law.check(
            usage.output_tokens.is_some_and(|n| n > 0 || response.text().is_empty()),
            format!("{way}: no count of the answer"),
        );
        let part = usage.cached_tokens.unwrap_or(0) <= usage.input_tokens.unwrap_or(0)
            && usage.reasoning_tokens.unwrap_or(0) <= usage.output_tokens.unwrap_or(0);
        law.check(part, format!("{way}: a part is more than its whole: {usage:?}"));
    }
    let short = generate(law, model, &ask("Hi.")).await.usage.input_tokens;
    let long = generate(law, model, &ask(&"The ferry leaves at six. ".repeat(20))).await.usage.input_tokens;
    law.check(short < long, format!("a long prompt counts {long:?} tokens, a short one {short:?}"));
}

/// With that capability, a stop text is not part of the answer.
pub async fn stop_ends_the_answer(model: &dyn ChatModel) {
    let law = Law("ChatModel: stop_ends_the_answer");
    if !model.info().capabilities.stop {
        return law.skip("the model does not state `stop`");
    }
    let prompt =
        "List the numbers from one to nine in words: one, two, three, four, five, six, seven, eight, nine.";
    let whole = generate(law, model, &repeatable(model, prompt)).await.text();
    law.check(whole.chars().count() >= 4, format!("the answer {whole:?} is too short to be stopped"));
    // Pieces of the answer itself, cut anywhere, so that they lie across token borders.
    let chars: Vec<char> = whole.chars().collect();
    let middle = chars.len() / 2;
    for length in [1, 3, 6] {
        let stop: String = chars[middle..].iter().take(length).collect();
        let request = repeatable(model, prompt).with_stop([stop.as_str(), "never said ☕"]);
        for (way, response) in both(law, model, &request).await {
            let text = response.text();
            law.check(!text.contains(&stop), format!("{way}: the stop text {stop:?} stands in {text:?}"));
        }
    }
    let request = repeatable(model, prompt).with_stop(["never said ☕"]);
    let text = fold(law, model, &request).await.text();
    law.check(text.chars().count() >= 4, "a stop text that is never said cuts the answer");
}

/// With that capability, equal seeds give equal answers.
pub async fn seed_repeats(model: &dyn ChatModel) {
    let law = Law("ChatModel: seed_repeats");
    if !model.info().capabilities.seed {
        return law.skip("the model does not state `seed`");
    }
    let seeded =
        |seed| ask("Invent a name for a boat.").with_temperature(0.9).with_max_tokens(12).with_seed(seed);
    for seed in [7, 0] {
        let [(_, first), (_, streamed)] = both(law, model, &seeded(seed)).await;
        // Another call in between must not move the sampler.
        generate(law, model, &seeded(99)).await;
        let second = generate(law, model, &seeded(seed)).await;
        law.same(&format!("seed {seed} again"), &second.text(), &first.text());
        law.same(&format!("seed {seed} streamed"), &streamed.text(), &first.text());
    }
}

/// With that capability, one entry a token, each ≤ 0.
pub async fn logprobs_are_reported(model: &dyn ChatModel) {
    let law = Law("ChatModel: logprobs_are_reported");
    if !model.info().capabilities.logprobs {
        return law.skip("the model does not state `logprobs`");
    }
    for alternatives in [0, 2] {
        let request = ask("Say hello.").with_max_tokens(6).with_logprobs(alternatives);
        for (way, response) in both(law, model, &request).await {
            let Some(tokens) = &response.logprobs else { law.broken(format!("{way}: none came")) };
            for token in tokens {
                law.check(token.logprob <= 0.0, format!("{way}: a log-probability is {}", token.logprob));
                law.check(
                    token.top.len() <= alternatives as usize && token.top.iter().all(|(_, p)| *p <= 0.0),
                    format!("{way}: {:?} are not {alternatives} alternatives, each ≤ 0", token.top),
                );
                law.check(
                    token.top.is_sorted_by(|a, b| a.1 >= b.1),
                    format!("{way}: the alternatives are not likeliest first"),
                );
            }
            law.check(!tokens.is_empty() || response.text().is_empty(), format!("{way}: the list is empty"));
            if let Some(count) = response.usage.output_tokens {
                // Vendors differ in whether the end mark is a token of the answer.
                let off = count.abs_diff(tokens.len() as u64);
                law.check(off <= 1, format!("{way}: {} entries for {count} tokens", tokens.len()));
            }
        }
    }
}

/// With that capability, a required tool call comes with the tool's name and JSON arguments.
pub async fn tools_are_called(model: &dyn ChatModel) {
    let law = Law("ChatModel: tools_are_called");
    if !model.info().capabilities.tools {
        return law.skip("the model does not state `tools`");
    }
    let question = Message::user("What is the weather in Oslo?");
    let base = || ChatRequest::new([question.clone()]).with_temperature(0.0).with_max_tokens(200);
    let request = base().with_tools([weather()]).with_tool_choice(ToolChoice::Required);
    for (way, response) in both(law, model, &request).await {
        let Some(call) = response.tool_calls().next() else {
            law.broken(format!("{way}: no tool is called"))
        };
        law.same(&format!("{way}: the tool's name"), &call.name.as_str(), &"get_weather");
        law.check(!call.id.is_empty(), format!("{way}: the call has no id"));
        let arguments: Value = law.ok(&format!("{way}: parsing the arguments"), call.parse());
        let fits = arguments.get("city").is_some_and(Value::is_string);
        law.check(fits, format!("{way}: the arguments don't fit the schema: {arguments}"));
        let result = Message::tool(ToolResult::text(call, "Rain, 8 °C."));
        let next = ChatRequest::new([question.clone(), response.message.clone(), result])
            .with_tools([weather()])
            .with_max_tokens(48);
        generate(law, model, &next).await;
    }
    let named =
        base().with_tools([weather(), clock()]).with_tool_choice(ToolChoice::Named("get_time".to_owned()));
    match model.generate(&named).await {
        Ok(response) => {
            let names: Vec<&str> = response.tool_calls().map(|c| c.name.as_str()).collect();
            law.same("the named tool", &names.first().copied(), &Some("get_time"));
        }
        Err(error) => law.check(
            error.kind() == ErrorKind::Unsupported,
            format!("a named tool is called or `unsupported`, but it failed so: {error:?}"),
        ),
    }
}

/// With that capability, the answer's text parses and fits.
pub async fn json_schema_is_kept(model: &dyn ChatModel) {
    let law = Law("ChatModel: json_schema_is_kept");
    if !model.info().capabilities.json_schema {
        return law.skip("the model does not state `json_schema`");
    }
    let request = with_schema(
        ask("Describe a traffic light: its colour, and whether it is ready.").with_max_tokens(200),
    );
    for (way, response) in both(law, model, &request).await {
        let text = response.text();
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            law.broken(format!("{way}: the answer is not JSON: {text:?} (finish {:?})", response.finish))
        };
        let fits = value.as_object().is_some_and(|o| o.len() == 2)
            && ["red", "green", "blue"].map(Value::from).contains(&value["colour"])
            && value["ready"].is_boolean();
        law.check(fits, format!("{way}: the answer does not fit the schema: {value}"));
    }
}
