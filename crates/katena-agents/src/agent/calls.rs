//! What a tool's outcome looks like to the model.

use katena_core::{ChatCapabilities, Error, ErrorKind, Part, ToolCall, ToolOutput, ToolResult};
use serde_json::json;

use super::limits::Limits;

/// Why a call was not run, for the model.
pub(crate) fn told(
    call: &ToolCall,
    kind: &str,
    message: impl Into<String>,
    retryable: bool,
    hint: &str,
) -> ToolResult {
    let (message, mut text) = (message.into(), json!({"ok": false}));
    text["error"] = json!({"kind": kind, "message": message, "retryable": retryable});
    if !hint.is_empty() {
        text["hint"] = json!(hint);
    }
    ToolResult::text(call, text.to_string()).with_error()
}

/// A tool's error, for the model.
pub(crate) fn failed(call: &ToolCall, error: &Error, limits: &Limits) -> ToolResult {
    let mut message = match error.kind() {
        ErrorKind::Unexpected => "the tool failed unexpectedly".to_owned(),
        _ => error.message().to_owned(),
    };
    let wrong_arguments = matches!(error.kind(), ErrorKind::InvalidOutput | ErrorKind::InvalidInput);
    if let (true, Some(source)) = (wrong_arguments, std::error::Error::source(error)) {
        message = format!("{message}: {source}");
    }
    shorten(&mut message, limits.output_bytes.min(4096));
    let hint = match error.kind() {
        _ if wrong_arguments => "Call the tool again with arguments that fit its schema.",
        _ if error.is_temporary() => "The same call may work later.",
        _ => "The same call will fail again; try something else, or say that it can't be done.",
    };
    told(call, error.kind().as_str(), message, error.is_temporary() || wrong_arguments, hint)
}

/// A tool's output, held to the limits.
pub(crate) fn output(
    call: &ToolCall,
    output: ToolOutput,
    limits: &Limits,
    bytes: usize,
    can: ChatCapabilities,
) -> ToolResult {
    let mut result = ToolResult::text(call, "");
    result.parts.clear();
    let (mut left, mut media, mut cut, mut left_out) = (bytes, 0, 0, 0);
    for part in output.parts {
        match part {
            Part::Text { mut text } => {
                let whole = text.len();
                shorten(&mut text, left);
                left -= text.len();
                cut += whole - text.len();
                if !text.is_empty() {
                    result.parts.push(Part::text(text));
                }
            }
            // Anything else that a message can hold is the model's or the vendor's to say, not a tool's.
            part if media < limits.output_media && fits(&part, can) => {
                media += 1;
                result.parts.push(part);
            }
            _ => left_out += 1,
        }
    }
    if cut > 0 {
        result.parts.push(Part::text(format!("\n[cut off: {cut} more bytes]")));
    }
    if left_out > 0 {
        result.parts.push(Part::text(format!("\n[left out: {left_out} parts that can't be shown here]")));
    }
    if result.parts.is_empty() {
        result.parts.push(Part::text("[no output]"));
    }
    result
}

fn fits(part: &Part, can: ChatCapabilities) -> bool {
    match part {
        Part::Image { .. } => can.images,
        Part::Audio { .. } => can.audio,
        Part::Video { .. } => can.video,
        Part::File { .. } => can.files,
        _ => false,
    }
}

/// Cuts a text to at most `bytes`, between two characters.
pub(crate) fn shorten(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let mut at = bytes;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.truncate(at);
    }
}
