//! `docs/providers.md` says what the components themselves say.
//!
//! `KATENA_UPDATE=1 cargo test -p katena-docs --test providers` writes the table anew.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use katena::llms::anthropic::AnthropicChat;
use katena::llms::bedrock::{BedrockChat, BedrockClaude};
use katena::llms::cohere::CohereChat;
use katena::llms::gemini::GeminiChat;
use katena::llms::mistral::MistralChat;
use katena::llms::ollama::OllamaChat;
use katena::llms::{AzureOpenAi, OpenAiChat, OpenAiResponses, Preset};
use katena_core::{ChatCapabilities, ChatModel, ModelCatalog, TokenCounter};

const START: &str = "<!-- generated: do not edit by hand -->\n";
const END: &str = "<!-- end of the generated part -->";
const KEY: &str = "a-key";

struct Row {
    name: String,
    feature: &'static str,
    component: &'static str,
    can: ChatCapabilities,
    lists_models: bool,
    counts_tokens: bool,
}

/// A row of a component; `models` and `tokens` only compile where it has that trait.
macro_rules! row {
    ($name:expr, $feature:literal, $component:literal, $model:expr $(, $ability:ident)*) => {{
        let model = $model;
        #[allow(unused_mut)]
        let mut row = Row {
            name: $name.into(), feature: $feature, component: $component, can: model.info().capabilities,
            lists_models: false, counts_tokens: false,
        };
        $(row!(@ row model $ability);)*
        row
    }};
    (@ $row:ident $model:ident models) => {{
        let _: &dyn ModelCatalog = &$model;
        $row.lists_models = true;
    }};
    (@ $row:ident $model:ident tokens) => {{
        let _: &dyn TokenCounter = &$model;
        $row.counts_tokens = true;
    }};
}

fn rows() -> Vec<Row> {
    let token = || Arc::new(katena_http::StaticToken::new(KEY));
    let azure = AzureOpenAi::new("https://example.com").with_api_key(KEY);
    let mut rows = vec![
        row!("OpenAI Chat Completions", "openai", "OpenAiChat", OpenAiChat::new("m", KEY), models),
        row!(
            "OpenAI Responses",
            "responses",
            "OpenAiResponses",
            OpenAiResponses::new("m", KEY),
            models,
            tokens
        ),
        row!(
            "Anthropic Messages",
            "anthropic",
            "AnthropicChat",
            AnthropicChat::new("m", KEY),
            models,
            tokens
        ),
        row!(
            "Claude on Vertex AI",
            "vertex",
            "AnthropicChat::vertex",
            AnthropicChat::vertex("m", "p", "global", token()).unwrap(),
            tokens
        ),
        row!(
            "Claude on Bedrock (InvokeModel)",
            "bedrock",
            "BedrockClaude",
            BedrockClaude::with_bearer("m", "us-east-1", KEY),
            tokens
        ),
        row!(
            "Bedrock Converse (Claude)",
            "bedrock",
            "BedrockChat",
            BedrockChat::with_bearer("anthropic.m", "us-east-1", KEY),
            models,
            tokens
        ),
        row!("Gemini Developer API", "gemini", "GeminiChat", GeminiChat::new("m", KEY), models, tokens),
        row!(
            "Gemini on Vertex AI",
            "vertex",
            "GeminiChat::vertex",
            GeminiChat::vertex("m", "p", "global", token()).unwrap(),
            models,
            tokens
        ),
        row!(
            "Azure OpenAI, Chat Completions",
            "openai",
            "OpenAiChat::azure",
            OpenAiChat::azure(&azure, "m").unwrap(),
            models
        ),
        row!(
            "Azure OpenAI, Responses",
            "responses",
            "OpenAiResponses::azure",
            OpenAiResponses::azure(&azure, "m").unwrap(),
            models,
            tokens
        ),
        row!("Ollama", "ollama", "OllamaChat", OllamaChat::new("m"), models),
        row!("Cohere v2", "cohere", "CohereChat", CohereChat::new("m", KEY), models),
        row!("Mistral", "mistral", "MistralChat", MistralChat::new("m", KEY), models),
    ];
    for preset in Preset::all() {
        let model = match preset {
            Preset::Cloudflare => OpenAiChat::cloudflare("an-account", "m", KEY),
            other => OpenAiChat::preset(other, "m", KEY),
        };
        rows.push(row!(format!("{preset:?}"), "openai", "OpenAiChat::preset", model.unwrap(), models));
    }
    rows
}

fn table() -> String {
    let mut text =
        "| provider | feature | component | tools | schema | images | audio | video | files | reasoning | \
                    prompt cache | seed | logprobs | stop | top_k | usage | lists models | counts tokens |\n|"
            .to_owned();
    text.push_str(&"---|".repeat(18));
    text.push('\n');
    for row in rows() {
        let can = row.can;
        let _ = write!(text, "| {} | `{}` | `{}` |", row.name, row.feature, row.component);
        for ability in [
            can.tools,
            can.json_schema,
            can.images,
            can.audio,
            can.video,
            can.files,
            can.reasoning,
            can.prompt_cache,
            can.seed,
            can.logprobs,
            can.stop,
            can.top_k,
            can.usage,
            row.lists_models,
            row.counts_tokens,
        ] {
            text.push_str(if ability { " yes |" } else { " – |" });
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_table_of_providers_is_true() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("providers.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(START).expect("the start of the table");
    let (table_there, tail) = rest.split_once(END).expect("the end of the table");
    let table = table();
    if std::env::var_os("KATENA_UPDATE").is_some() {
        std::fs::write(&path, format!("{head}{START}{table}{END}{tail}")).unwrap();
        return;
    }
    assert_eq!(table_there, table, "run this test with KATENA_UPDATE=1 to write the table anew");
}
