//! How model families write tool calls, one row each.
//!
//! Sources: the models' own chat templates and model cards. Qwen 2.5 and 3, Hermes, Granite 4: JSON in `<tool_call>`;
//! Qwen3-Coder, Qwen 3.5, Nemotron 3, Seed-OSS, MiniMax-M2 and GLM 4.5: parameters in tags; Llama 3.1 to 3.3: JSON that is
//! the whole answer; Mistral: `[TOOL_CALLS]`, first with a list, since 2025 with a name and `[ARGS]`.

use super::json::Keys;
use super::tags::{Lines, Tags};

/// How one family writes calls.
#[derive(Debug)]
pub(crate) struct Format {
    /// The family.
    pub(crate) name: &'static str,
    /// All of these stand in its chat templates.
    shown: &'static [&'static str],
    /// None of these does.
    hidden: &'static [&'static str],
    /// Marks that begin a call, none of which begins another.
    pub(crate) opens: &'static [&'static str],
    /// Marks around several calls; neither text nor call.
    pub(crate) around: &'static [&'static str],
    /// A call may stand without any mark.
    pub(crate) bare: Bare,
    /// Members of a call that is a JSON object.
    pub(crate) keys: Keys,
    /// Finds the name in what stands between the opening mark and the `{` of the arguments.
    pub(crate) header: Option<fn(&str) -> Option<&str>>,
    /// Parameters in tags.
    pub(crate) tags: Option<&'static Tags>,
    /// What may stand between arguments and closing mark.
    pub(crate) fence: Option<&'static str>,
    /// Marks that end a call; it may end without.
    pub(crate) closes: &'static [&'static str],
    /// How a call is begun for the model, around its name, and what completes it after its arguments; for parameters in
    /// tags only the text before the name.
    pub(crate) forced: [&'static str; 3],
    /// Which ids the template takes.
    pub(crate) ids: Ids,
    /// What the template takes as the content of a message that has only calls.
    pub(crate) content: Content,
}

/// Whether a call may be the whole answer, without any mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    Never,
    /// If it is JSON with the name of a tool that was offered.
    Whole,
    /// The same; but it is a habit of small models, and only one call is looked for.
    Once,
}

/// Which ids of calls a template takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    Any,
    /// Nine letters and digits.
    Nine,
}

/// What stands for the text of a message that has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Empty,
    Null,
}

const ARGUMENTS: Keys = Keys { name: &["name"], arguments: &["arguments", "parameters"] };

const ROW: Format = Format {
    name: "",
    shown: &[],
    hidden: &[],
    opens: &[],
    around: &[],
    bare: Bare::Never,
    keys: ARGUMENTS,
    header: None,
    tags: None,
    fence: None,
    closes: &[],
    forced: ["", "", ""],
    ids: Ids::Any,
    content: Content::Empty,
};

const FUNCTION_TAGS: Tags = Tags {
    name: ("<function=", ">"),
    key: ("<parameter=", ">"),
    value: ("", "</parameter>"),
    ends: &["</function>", "</tool_call>", "</seed:tool_call>"],
    lines: Lines::Own,
};
const INVOKE_TAGS: Tags = Tags {
    name: ("<invoke name=\"", "\">"),
    key: ("<parameter name=\"", "\">"),
    value: ("", "</parameter>"),
    ends: &["</invoke>", "</minimax:tool_call>"],
    lines: Lines::Same,
};
const ARG_TAGS: Tags = Tags {
    name: ("", ""),
    key: ("<arg_key>", "</arg_key>"),
    value: ("<arg_value>", "</arg_value>"),
    ends: &["</tool_call>"],
    lines: Lines::Same,
};

/// All that are known; the first whose marks fit a template is its.
pub(crate) static FORMATS: &[Format] = &[
    Format {
        name: "qwen3-coder",
        shown: &["<tool_call>", "<function=", "<parameter="],
        opens: &["<tool_call>"],
        tags: Some(&FUNCTION_TAGS),
        closes: &["</tool_call>"],
        forced: ["<tool_call>\n<function=", ">\n", ""],
        ..ROW
    },
    Format {
        name: "seed-oss",
        shown: &["<seed:tool_call>", "<function=", "<parameter="],
        opens: &["<seed:tool_call>"],
        tags: Some(&FUNCTION_TAGS),
        closes: &["</seed:tool_call>"],
        forced: ["<seed:tool_call>\n<function=", ">\n", ""],
        ..ROW
    },
    Format {
        name: "minimax-m2",
        shown: &["<minimax:tool_call>", "<invoke name="],
        opens: &["<minimax:tool_call>"],
        tags: Some(&INVOKE_TAGS),
        closes: &["</minimax:tool_call>"],
        forced: ["<minimax:tool_call>\n<invoke name=\"", "\">\n", ""],
        ..ROW
    },
    Format {
        name: "glm-4.5",
        shown: &["<tool_call>", "<arg_key>", "<arg_value>"],
        opens: &["<tool_call>"],
        tags: Some(&ARG_TAGS),
        closes: &["</tool_call>"],
        forced: ["<tool_call>", "\n", ""],
        ..ROW
    },
    Format {
        name: "hermes",
        bare: Bare::Once,
        shown: &["<tool_call>", "tools"],
        hidden: &["<function=", "<arg_key>", "<invoke", "<tool_calls>", "ns_token"],
        opens: &["<tool_call>"],
        closes: &["</tool_call>"],
        forced: ["<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>"],
        ..ROW
    },
    Format {
        name: "mistral-args",
        shown: &["[TOOL_CALLS]", "[ARGS]"],
        opens: &["[TOOL_CALLS]"],
        header: Some(mistral_name),
        forced: ["[TOOL_CALLS]", "[ARGS]", ""],
        ids: Ids::Nine,
        ..ROW
    },
    Format {
        name: "mistral",
        shown: &["[TOOL_CALLS]"],
        opens: &["[TOOL_CALLS]"],
        header: Some(mistral_name),
        forced: ["[TOOL_CALLS][{\"name\": \"", "\", \"arguments\": ", "}]"],
        ids: Ids::Nine,
        ..ROW
    },
    Format {
        name: "functionary-3.1",
        shown: &["<function=", "</function>", "<|start_header_id|>"],
        hidden: &["<parameter="],
        opens: &["<function="],
        header: Some(tag_name),
        closes: &["</function>"],
        forced: ["<function=", ">", "</function>"],
        ..ROW
    },
    Format {
        name: "llama-3",
        shown: &["<|start_header_id|>", "ipython", "\"parameters\"", "tools"],
        opens: &["<|python_tag|>"],
        bare: Bare::Whole,
        keys: Keys { name: &["name"], arguments: &["parameters", "arguments"] },
        forced: ["{\"name\": \"", "\", \"parameters\": ", "}"],
        ..ROW
    },
    Format {
        name: "deepseek-3",
        shown: &["<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "```json"],
        opens: &["<｜tool▁call▁begin｜>"],
        around: &["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
        header: Some(deepseek_name),
        fence: Some("```"),
        closes: &["<｜tool▁call▁end｜>"],
        forced: [
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>",
            "\n```json\n",
            "\n```<｜tool▁call▁end｜>",
        ],
        content: Content::Null,
        ..ROW
    },
    Format {
        name: "deepseek-3.1",
        shown: &["<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"],
        opens: &["<｜tool▁call▁begin｜>"],
        around: &["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"],
        header: Some(deepseek_name),
        closes: &["<｜tool▁call▁end｜>"],
        forced: ["<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"],
        ..ROW
    },
    Format {
        name: "kimi-k2",
        shown: &["<|tool_call_begin|>", "<|tool_call_argument_begin|>"],
        opens: &["<|tool_call_begin|>"],
        around: &["<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"],
        header: Some(kimi_name),
        closes: &["<|tool_call_end|>"],
        forced: [
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.",
            ":0<|tool_call_argument_begin|>",
            "<|tool_call_end|>",
        ],
        ..ROW
    },
    Format {
        name: "command-r7b",
        shown: &["<|START_ACTION|>", "\"tool_name\""],
        opens: &["<|START_ACTION|>"],
        around: &["<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"],
        keys: Keys { name: &["tool_name"], arguments: &["parameters"] },
        closes: &["<|END_ACTION|>"],
        forced: [
            "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"",
            "\", \"parameters\": ",
            "}\n]<|END_ACTION|>",
        ],
        ..ROW
    },
    Format {
        name: "nemotron-2",
        shown: &["<TOOLCALL>", "</TOOLCALL>"],
        opens: &["<TOOLCALL>"],
        closes: &["</TOOLCALL>"],
        forced: ["<TOOLCALL>[{\"name\": \"", "\", \"arguments\": ", "}]</TOOLCALL>"],
        ..ROW
    },
    Format {
        name: "granite-3",
        shown: &["<|tool_call|>", "JSON list of tools"],
        opens: &["<|tool_call|>", "<tool_call>"],
        forced: ["<|tool_call|>[{\"name\": \"", "\", \"arguments\": ", "}]"],
        ..ROW
    },
    Format {
        name: "apriel",
        shown: &["<tool_calls>[", "\"arguments\""],
        opens: &["<tool_calls>"],
        closes: &["</tool_calls>"],
        forced: ["<tool_calls>[{\"name\": \"", "\", \"arguments\": ", "}]</tool_calls>"],
        ..ROW
    },
    Format {
        name: "minimax-m1",
        shown: &["<tool_calls>\\n{", "\"arguments\""],
        opens: &["<tool_calls>"],
        closes: &["</tool_calls>"],
        forced: ["<tool_calls>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_calls>"],
        ..ROW
    },
    Format {
        name: "firefunction-2",
        shown: &["functools["],
        opens: &["functools"],
        forced: [" functools[{\"name\": \"", "\", \"arguments\": ", "}]"],
        ..ROW
    },
];

impl Format {
    /// The format that a chat template's text shows.
    pub(crate) fn of_template(source: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| {
            format.shown.iter().all(|mark| source.contains(mark))
                && !format.hidden.iter().any(|mark| source.contains(mark))
        })
    }

    /// Marks that begin or surround calls.
    pub(super) fn starts(&self) -> impl Iterator<Item = &'static str> + Clone {
        self.opens.iter().chain(self.around).copied()
    }

    /// All marks: text that a vocabulary may have as control tokens.
    pub(crate) fn marks(&self) -> impl Iterator<Item = &'static str> {
        const WITHIN: [&str; 4] = ["[ARGS]", "[CALL_ID]", "<｜tool▁sep｜>", "<|tool_call_argument_begin|>"];
        let within = self.header.is_some().then_some(WITHIN).into_iter().flatten();
        self.starts().chain(self.closes.iter().copied()).chain(within)
    }
}

/// A name that is surely one.
pub(super) fn plain_name(name: &str) -> Option<&str> {
    let odd = |c: char| c.is_whitespace() || c.is_control() || "<>{}[]()\"'`|,;".contains(c);
    (!name.is_empty() && name.len() <= 256 && !name.contains(odd)).then_some(name)
}

/// `name`, `name[ARGS]`, `name[CALL_ID]id[ARGS]`.
fn mistral_name(header: &str) -> Option<&str> {
    let header = header.trim();
    let header = header.strip_suffix("[ARGS]").unwrap_or(header);
    match header.split_once("[CALL_ID]") {
        Some((name, id)) => plain_name(id).and(plain_name(name)),
        None => plain_name(header),
    }
}

/// `name>`.
fn tag_name(header: &str) -> Option<&str> {
    plain_name(header.trim().strip_suffix('>')?)
}

/// ``function<sep>name\n```json`` or `name<sep>`.
fn deepseek_name(header: &str) -> Option<&str> {
    let (first, second) = header.split_once("<｜tool▁sep｜>")?;
    let second = second.trim();
    if second.is_empty() {
        return plain_name(first.trim());
    }
    plain_name(second.strip_suffix("```json")?.trim_end())
}

/// `functions.name:0<|tool_call_argument_begin|>`.
fn kimi_name(header: &str) -> Option<&str> {
    let name = header.trim().strip_suffix("<|tool_call_argument_begin|>")?.trim();
    let name = name.strip_prefix("functions.").unwrap_or(name);
    let digits = |n: &str| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    plain_name(name.rsplit_once(':').filter(|(_, n)| digits(n)).map_or(name, |(name, _)| name))
}
