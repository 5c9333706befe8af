//! The model's own chat template, rendered as Jinja.

use std::io;

use katena_core::{ChatRequest, Error, Message, Part, Result, Role, ToolCall, ToolSpec};
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, ErrorKind as JinjaError, UndefinedBehavior, context};

use super::calls::{Content, Format, Ids};
use super::strftime::strftime_now;

/// Steps of the template engine; real templates take some thousand for a long conversation.
const FUEL: u64 = 20_000_000;
/// Steps of a try, when a model is loaded.
const TRY_FUEL: u64 = 200_000;
/// Longest prompt, in bytes.
const MAX_PROMPT: usize = 256 << 20;
/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 1 << 20;

/// A compiled template.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    env: Environment<'static>,
    bos: String,
    eos: String,
    format: Option<&'static Format>,
    arguments: Arguments,
}

/// How a template takes the arguments of earlier calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arguments {
    Object,
    /// As JSON text.
    Text,
}

/// What a template wants of messages.
#[derive(Debug, Clone, Copy)]
struct Wants {
    ids: Ids,
    content: Content,
    arguments: Arguments,
}

impl ChatTemplate {
    /// Compiles `source`.
    ///
    /// # Errors
    /// `Unsupported` if it is no template that is understood here.
    pub(crate) fn new(source: &str, bos: String, eos: String) -> Result<Self> {
        if source.len() > MAX_TEMPLATE {
            return Err(Error::unsupported("the chat template is too long")
                .with_context("bytes", source.len().to_string()));
        }
        let mut env = Environment::new();
        env.set_trim_blocks(true);
        env.set_lstrip_blocks(true);
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        env.set_fuel(Some(TRY_FUEL));
        env.set_recursion_limit(200);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_filter("tojson", to_json);
        env.add_function("raise_exception", |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(JinjaError::InvalidOperation, message))
        });
        env.add_function("strftime_now", |format: String| strftime_now(&format));
        // Marks for training only; Jinja proper knows them by an extension.
        let mut source = source.to_owned();
        for mark in ["{% generation %}", "{%- generation %}", "{%- generation -%}", "{% generation -%}"] {
            source = source.replace(mark, "").replace(&mark.replace("generation", "endgeneration"), "");
        }
        let format = Format::of_template(&source);
        env.add_template_owned("chat", source)
            .map_err(|e| Error::unsupported("the model's chat template is not understood").with_source(e))?;
        let mut template = Self { env, bos, eos, format, arguments: Arguments::Object };
        if format.is_some() && !template.takes(Arguments::Object) && template.takes(Arguments::Text) {
            template.arguments = Arguments::Text;
        }
        template.env.set_fuel(Some(FUEL));
        Ok(template)
    }

    /// True if a call's arguments appear in the prompt when they are given this way.
    fn takes(&self, arguments: Arguments) -> bool {
        let call = ToolCall::new("abcdefghi", "probe", r#"{"katena":"probe"}"#);
        let messages = [Message::user("Hi"), Message::new(Role::Assistant, vec![Part::ToolCall(call)])];
        let wants = Wants { arguments, ..self.wants() };
        let messages = messages.iter().map(|m| message(m, wants, &str::to_owned)).collect();
        let text = self.write(messages, Value::from(()));
        text.is_ok_and(|text| text.contains("katena") && text.contains("probe"))
    }

    fn wants(&self) -> Wants {
        Wants {
            ids: self.format.map_or(Ids::Any, |f| f.ids),
            content: self.format.map_or(Content::Empty, |f| f.content),
            arguments: self.arguments,
        }
    }

    /// How tool calls are written for it, if that is known.
    pub(crate) fn format(&self) -> Option<&'static Format> {
        self.format
    }

    /// The prompt: all messages, then the beginning of the answer. `content` is applied to each text before it goes in.
    ///
    /// # Errors
    /// `InvalidInput` if the template refuses the messages (such as two system messages), with its words.
    pub(crate) fn render(
        &self,
        request: &ChatRequest,
        tools: bool,
        content: impl Fn(&str) -> String,
    ) -> Result<String> {
        let wants = self.wants();
        let messages: Vec<Value> = request.messages.iter().map(|m| message(m, wants, &content)).collect();
        let tools = if tools {
            request.tools.iter().map(|tool| tool_spec(tool, &content)).collect()
        } else {
            Value::from(())
        };
        self.write(messages, tools)
    }

    fn write(&self, messages: Vec<Value>, tools: Value) -> Result<String> {
        let template = self
            .env
            .get_template("chat")
            .map_err(|e| Error::unexpected("the chat template is gone").with_source(e))?;
        let mut prompt = Bounded(Vec::new());
        template
            .render_captured_to(
                context! {
                    messages => messages,
                    tools => tools,
                    documents => Value::from(()),
                    add_generation_prompt => true,
                    bos_token => self.bos,
                    eos_token => self.eos,
                },
                &mut prompt,
            )
            .map_err(|e| {
                let words = e.detail().unwrap_or("it could not be rendered").to_owned();
                Error::invalid_input("the model's chat template refuses these messages")
                    .with_context("reason", words)
                    .with_source(e)
            })?;
        String::from_utf8(prompt.0).map_err(|e| Error::unexpected("the prompt is no text").with_source(e))
    }
}

/// A prompt of bounded length.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > MAX_PROMPT - self.0.len() {
            return Err(io::Error::other("the chat template writes too much"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON that templates write with `tojson`: its texts are fenced as well, and it stays JSON.
fn json_value(json: &str, content: &impl Fn(&str) -> String) -> Option<Value> {
    let value: serde_json::Value = serde_json::from_str(&content(json)).ok()?;
    Some(Value::from_serialize(&value))
}

fn tool_spec(tool: &ToolSpec, content: &impl Fn(&str) -> String) -> Value {
    let parameters = json_value(&tool.parameters.to_string(), content);
    let function = object([
        ("name", Value::from(content(&tool.name))),
        ("description", Value::from(content(&tool.description))),
        ("parameters", parameters.unwrap_or_else(|| Value::from_serialize(&tool.parameters))),
    ]);
    object([("type", Value::from("function")), ("function", function)])
}

/// An id as the template takes it; equal ids stay equal.
fn call_id(id: &str, ids: Ids) -> String {
    let fits = id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    match ids {
        Ids::Nine if !fits => blake3::hash(id.as_bytes()).to_hex()[..9].to_owned(),
        _ => id.to_owned(),
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::from_iter(fields.map(|(k, v)| (k.to_owned(), v)))
}

fn message(message: &Message, wants: Wants, content: &impl Fn(&str) -> String) -> Value {
    let mut text = String::new();
    let mut reasoning = String::new();
    let mut calls = Vec::new();
    let mut fields: Vec<(String, Value)> = Vec::new();
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Tool => "tool",
        _ => "assistant",
    };
    fields.push(("role".into(), Value::from(role)));
    for part in &message.parts {
        match part {
            Part::Text { text: t } | Part::Refusal { text: t } => text.push_str(t),
            Part::Reasoning { text: t, .. } => reasoning.push_str(t),
            Part::ToolCall(call) => calls.push(tool_call(call, wants, content)),
            Part::ToolResult(result) => {
                fields.push(("name".into(), Value::from(content(&result.name))));
                fields.push((
                    "tool_call_id".into(),
                    Value::from(content(&call_id(&result.call_id, wants.ids))),
                ));
                for part in &result.parts {
                    if let Part::Text { text: t } = part {
                        text.push_str(t);
                    }
                }
            }
            // Refused before a prompt is made.
            _ => {}
        }
    }
    let nothing = text.is_empty() && !calls.is_empty() && wants.content == Content::Null;
    fields.push(("content".into(), if nothing { Value::from(()) } else { Value::from(content(&text)) }));
    if !reasoning.is_empty() {
        fields.push(("reasoning_content".into(), Value::from(content(&reasoning))));
    }
    if !calls.is_empty() {
        fields.push(("tool_calls".into(), Value::from(calls)));
    }
    Value::from_iter(fields)
}

fn tool_call(call: &ToolCall, wants: Wants, content: &impl Fn(&str) -> String) -> Value {
    let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    // The model's own text may be broken JSON; then it goes back as text.
    let parsed = match wants.arguments {
        Arguments::Object => json_value(text, content),
        Arguments::Text => None,
    };
    let arguments = parsed.unwrap_or_else(|| Value::from(content(text)));
    let function = object([("name", Value::from(content(&call.name))), ("arguments", arguments)]);
    let id = Value::from(content(&call_id(&call.id, wants.ids)));
    object([("id", id), ("type", Value::from("function")), ("function", function)])
}

/// JSON as Python's `json.dumps(ensure_ascii=False)` writes it, which templates were made for.
fn to_json(value: &Value, kwargs: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    for other in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = kwargs.get(other)?;
    }
    kwargs.assert_all_used()?;
    let mut out = String::new();
    write_json(value, indent.map(|n| n.min(16)), 0, &mut out)?;
    Ok(Value::from_safe_string(out))
}

fn write_json(
    value: &Value,
    indent: Option<usize>,
    depth: usize,
    out: &mut String,
) -> Result<(), minijinja::Error> {
    if depth > 128 {
        return Err(minijinja::Error::new(JinjaError::InvalidOperation, "JSON is nested too deeply"));
    }
    let (open, close, is_map) = match value.kind() {
        ValueKind::Map => ('{', '}', true),
        ValueKind::Seq | ValueKind::Iterable => ('[', ']', false),
        _ => {
            let plain = serde_json::to_string(value)
                .map_err(|e| minijinja::Error::new(JinjaError::BadSerialization, e.to_string()))?;
            out.push_str(&plain);
            return Ok(());
        }
    };
    let line = |out: &mut String, depth: usize| {
        if let Some(n) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', n * depth));
        }
    };
    out.push(open);
    let mut first = true;
    for key in value.try_iter()? {
        if !first {
            out.push_str(if indent.is_some() { "," } else { ", " });
        }
        first = false;
        line(out, depth + 1);
        if is_map {
            let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
            out.push_str(&serde_json::Value::from(name).to_string());
            out.push_str(": ");
            write_json(&value.get_item(&key)?, indent, depth + 1, out)?;
        } else {
            write_json(&key, indent, depth + 1, out)?;
        }
    }
    if !first {
        line(out, depth);
    }
    out.push(close);
    Ok(())
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
