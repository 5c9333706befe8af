use super::*;
use katena_core::{ErrorKind, ToolResult};

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
    let error =
        render(PLAIN, &ChatRequest::new([Message::tool(ToolResult::text(&call, "x"))]), false).unwrap_err();
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

fn weather() -> ToolSpec {
    ToolSpec::new(
        "get_weather",
        "Weather",
        serde_json::json!({"type": "object", "properties": {"city": {"type": "string"}}}),
    )
}

/// A question, a call, its result: as an agent has them.
fn conversation() -> ChatRequest {
    let call = ToolCall::new("call_0", "get_weather", r#"{"city":"Bern"}"#);
    let said = Message::new(Role::Assistant, vec![Part::ToolCall(call.clone())]);
    ChatRequest::new([
        Message::system("Be brief."),
        Message::user("Weather in Bern?"),
        said,
        Message::tool(ToolResult::text(&call, "12 degrees")),
    ])
    .with_tools([weather()])
}

/// Short templates of the shape that the families' own have.
#[test]
fn families_get_tools_calls_and_results_in_their_shape() {
    let hermes = "{%- if tools %}{{- '<|im_start|>system\n<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{{- '</tools> <tool_call>\n{\"name\": <function-name>}\n</tool_call><|im_end|>\n' }}{%- endif %}\
        {%- for message in messages %}{%- if message.role == 'assistant' %}{{- '<|im_start|>assistant' }}{%- if message.content %}{{- '\n' + message.content }}{%- endif %}\
        {%- for tool_call in message.tool_calls %}{%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}\
        {{- '\n<tool_call>\n{\"name\": \"' + tool_call.name + '\", \"arguments\": ' }}{{- tool_call.arguments | tojson }}{{- '}\n</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}\
        {%- elif message.role == 'tool' %}{{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}{%- endif %}{%- endfor %}";
    let text = render(hermes, &conversation(), true).unwrap();
    assert!(
        text.contains("<tools>{\"type\": \"function\", \"function\": {\"name\": \"get_weather\""),
        "{text}"
    );
    assert!(text.ends_with(
        "<|im_start|>assistant\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bern\"}}\n</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\n12 degrees\n</tool_response><|im_end|>\n"
    ), "{text}");

    let llama = "{{- bos_token }}{%- if not tools is none %}{{- 'Environment: ipython\n' }}{{- '{\"name\": function name, \"parameters\": dictionary}' }}{%- for t in tools %}{{- t | tojson(indent=4) }}{%- endfor %}{%- endif %}\
        {%- for message in messages %}{%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}\
        {%- elif 'tool_calls' in message %}{%- if not message.tool_calls|length == 1 %}{{- raise_exception('single tool-calls only') }}{%- endif %}{%- set tool_call = message.tool_calls[0].function %}\
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{{- '{\"name\": \"' + tool_call.name + '\", \"parameters\": ' }}{{- tool_call.arguments | tojson }}{{- '}<|eot_id|>' }}\
        {%- elif message.role == 'tool' or message.role == 'ipython' %}{{- '<|start_header_id|>ipython<|end_header_id|>\n\n' }}{%- if message.content is mapping %}{{- message.content | tojson }}{%- else %}{{- message.content }}{%- endif %}{{- '<|eot_id|>' }}{%- endif %}{%- endfor %}";
    let text = render(llama, &conversation(), true).unwrap();
    assert!(text.ends_with(
        "<|start_header_id|>assistant<|end_header_id|>\n\n{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Bern\"}}<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n12 degrees<|eot_id|>"
    ), "{text}");

    let mistral = "{%- for message in messages %}{%- if message.tool_calls is defined and message.tool_calls is not none %}{{- '[TOOL_CALLS][' }}{%- for tool_call in message.tool_calls %}{%- set out = tool_call.function|tojson %}{{- out[:-1] }}\
        {%- if not tool_call.id is defined or tool_call.id|length != 9 %}{{- raise_exception('length 9') }}{%- endif %}{{- ', \"id\": \"' + tool_call.id + '\"}' }}{%- endfor %}{{- ']' + eos_token }}\
        {%- elif message.role == 'tool' %}{%- if message.tool_call_id|length != 9 %}{{- raise_exception('length 9') }}{%- endif %}{{- '[TOOL_RESULTS]{\"content\": ' + message.content|string + ', \"call_id\": \"' + message.tool_call_id + '\"}[/TOOL_RESULTS]' }}{%- else %}{{- message.content }}{%- endif %}{%- endfor %}";
    let text = render(mistral, &conversation(), true).unwrap();
    let id = text.split("\"id\": \"").nth(1).unwrap()[..9].to_owned();
    assert!(id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
    assert!(text.contains(&format!("[TOOL_CALLS][{{\"name\": \"get_weather\", \"arguments\": {{\"city\": \"Bern\"}}, \"id\": \"{id}\"}}]</s>")), "{text}");
    assert!(text.contains(&format!("12 degrees, \"call_id\": \"{id}\"}}")), "{text}");
    assert_eq!(call_id("abcDEF123", Ids::Nine), "abcDEF123");
}

#[test]
fn arguments_go_as_text_where_the_template_joins_texts() {
    let joins = "{% for m in messages %}{% for tool in m.tool_calls or [] %}{{ '<｜tool▁call▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\n```json\n' + tool['function']['arguments'] + '\n```' }}{% endfor %}{% if m.role == 'assistant' and m.content is not none %}<empty turn>{% endif %}{% endfor %}";
    let text = render(joins, &conversation(), true).unwrap();
    assert_eq!(
        text,
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\":\"Bern\"}\n```"
    );
    let items = "<tool_call><arg_key><arg_value>{% for m in messages %}{% for tc in m.tool_calls or [] %}{% for k, v in tc.function.arguments.items() %}<arg_key>{{ k }}</arg_key>{{ v }}{% endfor %}{% endfor %}{% endfor %}";
    assert!(render(items, &conversation(), true).unwrap().ends_with("<arg_key>city</arg_key>Bern"));
}

#[test]
fn marks_in_tools_calls_and_results_are_fenced() {
    let source = "<tool_call>{{ tools | tojson }}{% for m in messages %}{{ m.content }}{{ m.name }}{{ m.tool_call_id }}{% for c in m.tool_calls or [] %}{{ c.id }}{{ c.function | tojson }}{% endfor %}{% endfor %}";
    let mark = "<|im_end|>";
    let call = ToolCall::new(mark, mark, format!("{{\"{mark}\": \"{mark}\"}}"));
    let tool = ToolSpec::new(
        mark,
        mark,
        serde_json::json!({"type": "object", "properties": {mark: {"description": mark}}}),
    );
    let request = ChatRequest::new([
        Message::new(Role::Assistant, vec![Part::ToolCall(call.clone())]),
        Message::tool(ToolResult::text(&call, mark)),
    ])
    .with_tools([tool]);
    let template = ChatTemplate::new(source, String::new(), String::new()).unwrap();
    let text = template.render(&request, true, |text| text.replace(mark, "(mark)")).unwrap();
    assert!(!text.contains(mark), "{text}");
    assert_eq!(text.matches("(mark)").count(), 11, "{text}");
}

#[test]
fn a_template_that_writes_without_end_is_an_error() {
    let source = "{% set big = 'x' * 1000000 %}{% for n in range(1000) %}{{ big }}{% endfor %}";
    assert!(render(source, &ChatRequest::default(), false).is_err());
}
