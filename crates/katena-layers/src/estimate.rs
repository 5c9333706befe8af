//! Tokens of a request, guessed before it is sent.

use katena_core::{ChatRequest, EmbedRequest, Part, RerankRequest};
use serde_json::Value;

/// Bytes of text that make a token, for the usual tokenizers over English; other scripts have more bytes a character and
/// more tokens a character, which about evens out.
const BYTES_A_TOKEN: u64 = 4;

/// What a picture, a sound or a file counts. Vendors count from 85 to several thousand; this is the middle of it.
const TOKENS_A_MEDIUM: u64 = 1000;

/// What a message costs beside its text.
const TOKENS_A_MESSAGE: u64 = 4;

pub(crate) fn of_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_A_TOKEN)
}

/// Tokens of the whole prompt: messages, tools, schema.
pub(crate) fn of_chat(request: &ChatRequest) -> u64 {
    let messages: u64 =
        request.messages.iter().map(|m| TOKENS_A_MESSAGE + m.parts.iter().map(of_part).sum::<u64>()).sum();
    let tools: u64 = request
        .tools
        .iter()
        .map(|t| of_bytes((t.name.len() + t.description.len()) as u64 + bytes_of(&t.parameters)))
        .sum();
    let schema = match &request.response_format {
        Some(katena_core::ResponseFormat::JsonSchema { schema, .. }) => of_bytes(bytes_of(schema)),
        _ => 0,
    };
    messages + tools + schema
}

fn of_part(part: &Part) -> u64 {
    match part {
        Part::Text { text } | Part::Refusal { text } | Part::Reasoning { text, .. } => of_text(text),
        Part::ToolCall(call) => of_bytes((call.name.len() + call.arguments.len()) as u64),
        Part::ToolResult(result) => result.parts.iter().map(of_part).sum(),
        Part::Opaque { value, .. } => of_bytes(bytes_of(value)),
        _ => TOKENS_A_MEDIUM,
    }
}

fn of_text(text: &str) -> u64 {
    of_bytes(text.len() as u64)
}

/// About as many bytes as the value has when written.
fn bytes_of(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64 + 2,
        Value::Array(items) => items.iter().map(|v| bytes_of(v) + 1).sum(),
        Value::Object(fields) => fields.iter().map(|(k, v)| k.len() as u64 + 4 + bytes_of(v)).sum(),
        _ => 4,
    }
}

pub(crate) fn of_embed(request: &EmbedRequest) -> u64 {
    request.texts.iter().map(|text| of_text(text)).sum()
}

/// Rerankers read the query beside each document.
pub(crate) fn of_rerank(request: &RerankRequest) -> u64 {
    let query = of_text(&request.query);
    request.documents.iter().map(|document| query + of_text(&document.text)).sum()
}

#[cfg(test)]
mod tests {
    use katena_core::{Media, Message, Role, ToolSpec};

    use super::*;

    #[test]
    fn text_tools_and_schema_count_but_not_the_bytes_of_a_picture() {
        let plain = of_chat(&ChatRequest::new([Message::user("x".repeat(400))]));
        assert_eq!(plain, 104);
        let media = Media::Base64 { mime: "image/png".to_owned(), data: "A".repeat(4_000_000) };
        let seen = of_chat(&ChatRequest::new([Message::new(Role::User, vec![Part::Image { media }])]));
        assert_eq!(seen, 1004);
        let schema = serde_json::json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let bytes = schema.to_string().len() as u64;
        assert!(bytes_of(&schema).abs_diff(bytes) <= bytes / 4);
        let tool = ToolSpec::new("weather", "What it is like.", schema);
        assert!(of_chat(&ChatRequest::new([Message::user("")]).with_tools([tool])) > 15);
    }

    #[test]
    fn a_reranker_reads_the_query_again_and_again() {
        let document = |text: &str| katena_core::Document::new(text, katena_core::Source::default());
        let request = RerankRequest::new("12345678", vec![document("1234"), document("12")]);
        assert_eq!(of_rerank(&request), 2 * 2 + 1 + 1);
    }
}
