//! The model's own chat template, rendered as Jinja.

use katena_core::{ChatRequest, Error, Message, Part, Result, Role, ToolCall};
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, ErrorKind as JinjaError, UndefinedBehavior, context};

use super::calls::Format;
use super::strftime::strftime_now;

/// Steps of the template engine; real templates take some thousand for a long conversation.
const FUEL: u64 = 20_000_000;
/// Longest template, in bytes.
const MAX_TEMPLATE: usize = 1 << 20;

/// A compiled template.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    env: Environment<'static>,
    bos: String,
    eos: String,
    format: Option<&'static Format>,
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
        env.set_fuel(Some(FUEL));
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
        Ok(Self { env, bos, eos, format })
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
        let template = self
            .env
            .get_template("chat")
            .map_err(|e| Error::unexpected("the chat template is gone").with_source(e))?;
        let messages: Vec<Value> = request.messages.iter().map(|m| message(m, &content)).collect();
        let tools = if tools {
            request
                .tools
                .iter()
                .map(|tool| {
                    let function = object([
                        ("name", Value::from(tool.name.as_str())),
                        ("description", Value::from(tool.description.as_str())),
                        ("parameters", Value::from_serialize(&tool.parameters)),
                    ]);
                    object([("type", Value::from("function")), ("function", function)])
                })
                .collect()
        } else {
            Value::from(())
        };
        template
            .render(context! {
                messages => messages,
                tools => tools,
                documents => Value::from(()),
                add_generation_prompt => true,
                bos_token => self.bos,
                eos_token => self.eos,
            })
            .map_err(|e| {
                let words = e.detail().unwrap_or("it could not be rendered").to_owned();
                Error::invalid_input("the model's chat template refuses these messages")
                    .with_context("reason", words)
                    .with_source(e)
            })
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::from_iter(fields.map(|(k, v)| (k.to_owned(), v)))
}

fn message(message: &Message, content: &impl Fn(&str) -> String) -> Value {
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
            Part::ToolCall(call) => calls.push(tool_call(call, content)),
            Part::ToolResult(result) => {
                fields.push(("name".into(), Value::from(result.name.as_str())));
                fields.push(("tool_call_id".into(), Value::from(result.call_id.as_str())));
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
    fields.push(("content".into(), Value::from(content(&text))));
    if !reasoning.is_empty() {
        fields.push(("reasoning_content".into(), Value::from(content(&reasoning))));
    }
    if !calls.is_empty() {
        fields.push(("tool_calls".into(), Value::from(calls)));
    }
    Value::from_iter(fields)
}

fn tool_call(call: &ToolCall, content: &impl Fn(&str) -> String) -> Value {
    let text = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
    // The model's own text may be broken JSON; then it goes back as text.
    let arguments = match serde_json::from_str::<serde_json::Value>(&content(text)) {
        Ok(value) => Value::from_serialize(&value),
        Err(_) => Value::from(content(text)),
    };
    let function = object([("name", Value::from(content(&call.name))), ("arguments", arguments)]);
    object([("id", Value::from(call.id.as_str())), ("type", Value::from("function")), ("function", function)])
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
mod tests {
    use super::*;
    use katena_core::{ErrorKind, ToolResult, ToolSpec};

    fn render(source: &str, request: &ChatRequest, tools: bool) -> Result<String> {
        ChatTemplate::new(source, "<s>".into(), "</s>".into())?.render(request, tools, str::to_owned)
    }

    const PLAIN: &str = "{{ bos_token }}{%- for message in messages %}\n    {% if message['role'] == 'tool' %}\n{{ raise_exception('no tools') }}\n    {% endif %}\n[{{ message.role }}] {{ message['content'].strip() }}{{ eos_token }}\n{% endfor %}\n{% if add_generation_prompt %}\n[assistant]{% endif %}";

    #[test]
    fn blocks_are_trimmed_and_python_methods_work() {
        let request = ChatRequest::new([Message::system("S "), Message::user(" U")]);
        assert_eq!(render(PLAIN, &request, false).unwrap(), "<s>[system] S</s>\n[user] U</s>\n[assistant]");
    }

    #[test]
    fn a_template_may_refuse() {
        let call = ToolCall::new("1", "f", "{}");
        let error = render(PLAIN, &ChatRequest::new([Message::tool(ToolResult::text(&call, "x"))]), false)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.context("reason"), Some("no tools"));
        assert_eq!(
            render("{% if %}", &ChatRequest::default(), false).unwrap_err().kind(),
            ErrorKind::Unsupported
        );
    }

    #[test]
    fn an_endless_template_ends() {
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}x{% endfor %}{% endfor %}{% endfor %}";
        assert!(render(source, &ChatRequest::default(), false).is_err());
    }

    #[test]
    fn tools_are_written_as_json() {
        let source = "{% if tools %}<tool_call>{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.name }}:{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}";
        let tool = ToolSpec::new(
            "find",
            "Finds <b> \"it\" für dich",
            serde_json::json!({"type": "object", "properties": {}}),
        );
        let said =
            Message::new(Role::Assistant, vec![Part::ToolCall(ToolCall::new("1", "find", "{\"q\":[1,{}]}"))]);
        let request = ChatRequest::new([said]).with_tools([tool]);
        let template = ChatTemplate::new(source, String::new(), String::new()).unwrap();
        assert_eq!(template.format().unwrap().name, "hermes");
        let text = template.render(&request, true, str::to_owned).unwrap();
        assert_eq!(
            text,
            "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"find\", \"description\": \"Finds <b> \\\"it\\\" für dich\", \
             \"parameters\": {\"type\": \"object\", \"properties\": {}}}}\nfind:{\"q\": [1, {}]}"
        );
        let without = template.render(&request, false, str::to_owned).unwrap();
        assert!(!without.contains("function"));
    }
}
