//! Random calls and texts: what is found does not depend on how the text is cut.

use serde_json::json;

use super::tests::{call, format, read, tools};
use super::*;
use crate::chat::calls::formats::FORMATS;
use crate::chat::calls::tags::Lines;

/// Pseudo-random numbers (G. Marsaglia, "Xorshift RNGs").
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn words(&mut self, most: usize) -> String {
        const WORDS: [&str; 16] = [
            "a",
            " b ",
            "<",
            "</",
            "tool_call>",
            "<tool_call",
            "[TOOL_CALLS",
            "{\"",
            "\\\"",
            "ü",
            "日本",
            "\n\n",
            "}]",
            "🦙",
            "<|",
            "functools ",
        ];
        (0..self.below(most + 1)).map(|_| self.pick(&WORDS)).collect()
    }

    fn json(&mut self, depth: usize) -> serde_json::Value {
        match self.below(if depth > 3 { 3 } else { 5 }) {
            0 => json!(self.below(1000)),
            1 => json!(self.words(6)),
            2 => json!(self.below(2) == 0),
            3 => (0..self.below(4)).map(|_| self.json(depth + 1)).collect(),
            _ => self.object(depth + 1),
        }
    }

    fn object(&mut self, depth: usize) -> serde_json::Value {
        let members = (0..self.below(4)).map(|n| (format!("{}{n}", self.words(2)), self.json(depth)));
        members.collect::<serde_json::Map<_, _>>().into()
    }

    fn cut(&mut self, text: &str) -> Vec<String> {
        let most = 1 + self.below(12);
        let mut pieces = vec![String::new()];
        for c in text.chars() {
            if self.below(most) == 0 {
                pieces.push(String::new());
            }
            pieces.last_mut().unwrap().push(c);
        }
        pieces
    }
}

/// One call as `format` writes it, or `None` if its parameters stand in tags.
fn written(format: &Format, name: &str, arguments: &str) -> String {
    let [open, between, after] = format.forced;
    format!("{open}{name}{between}{arguments}{after}")
}

#[test]
fn random_calls_among_text_are_found_however_they_are_cut() {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut calls = 0;
    for round in 0..3000 {
        let format = &FORMATS[round % FORMATS.len()];
        if format.tags.is_some() {
            continue;
        }
        let (mut all, mut want) = (String::new(), Vec::new());
        for n in 0..random.below(4) {
            let words = random.words(8);
            // A bare call is the whole answer; a mark's beginning at the end of a text would join the mark.
            if format.bare != Bare::Whole && !words.trim().is_empty() {
                let trimmed = format!("{}.", words.trim());
                all.push_str(&trimmed);
                match want.last_mut() {
                    Some(Found::Text(last)) => last.push_str(&trimmed),
                    _ => want.push(Found::Text(trimmed)),
                }
            } else if format.bare == Bare::Whole && n > 0 {
                all.push_str("; ");
            }
            let (name, arguments) =
                (random.pick(&["find", "now", "get_weather"]), random.object(0).to_string());
            if format.around.is_empty() {
                all.push_str(random.pick(&["", " ", "\n\n"]));
            }
            all.push_str(&written(format, name, &arguments));
            want.extend(call(name, &arguments));
            calls += 1;
        }
        let pieces = random.cut(&all);
        assert_eq!(read(format, &pieces), want, "{}: {all:?} as {pieces:?}", format.name);
    }
    assert!(calls > 2000, "{calls} calls");
}

#[test]
fn random_parameters_in_tags_are_found_however_they_are_cut() {
    let mut random = Random(7);
    for round in 0..1000 {
        let format =
            [format("qwen3-coder"), format("glm-4.5"), format("minimax-m2"), format("seed-oss")][round % 4];
        let tags = format.tags.unwrap();
        let mut body = String::new();
        let mut want = serde_json::Map::new();
        for n in 0..random.below(4) {
            let value = match random.below(2) {
                0 => json!(random.words(6).trim()),
                _ => random.json(2),
            };
            // Of tools that are not known, only values that are no JSON are surely text.
            let value = match value {
                serde_json::Value::String(text) => json!(format!("t{text}.")),
                other => other,
            };
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let line = if tags.lines == Lines::Own { "\n" } else { "" };
            let key = format!("k{n}");
            let (key_open, key_close) = tags.key;
            let (open, close) = tags.value;
            body.extend([key_open, &key, key_close, open, line, &shown, line, close, "\n"]);
            want.insert(key, value);
        }
        let (open, between) = (format.forced[0], format.forced[1]);
        let end = tags.ends[0];
        let close = format.closes.first().filter(|c| **c != end).copied().unwrap_or_default();
        let all = format!("{open}other{between}{body}{end}\n{close}");
        let found = read(format, random.cut(&all));
        let arguments: String = found
            .iter()
            .filter_map(|f| if let Found::Arguments(a) = f { Some(a.as_str()) } else { None })
            .collect();
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&arguments).unwrap(),
            serde_json::Value::Object(want),
            "{}: {all:?}",
            format.name
        );
        assert_eq!((found.first(), found.last()), (Some(&Found::Start("other".into())), Some(&Found::End)));
        assert_eq!(found.len(), 3, "{all:?} {found:?}");
    }
}

/// Whatever is written: the cuts do not matter, and no visible character is lost but marks, fences and members of calls.
#[test]
fn any_text_is_read_alike_however_it_is_cut() {
    let mut random = Random(99);
    for round in 0..6000 {
        let format = &FORMATS[round % FORMATS.len()];
        let mut pieces: Vec<&str> = vec![
            "{\"name\": \"now\", ",
            "\"arguments\": ",
            "\"parameters\": ",
            "{}",
            "{\"q\": \"x\"}",
            "}",
            "]",
            "[",
            "{",
            "\"",
            ", ",
            "; ",
            "text",
            " ",
            "\n",
            "\\",
            "ü",
            "now",
            "function",
            "\n```json\n",
            "```",
            "[ARGS]",
            ":0",
            "true",
            "7",
            "<parameter=q>",
            "</parameter>",
            "</function>",
            "<function=now>",
            "<arg_key>",
            "</arg_key>",
            "<arg_value>",
        ];
        pieces.extend(format.marks());
        pieces.extend(format.forced);
        let all: String = (0..random.below(14)).map(|_| random.pick(&pieces)).collect();
        let whole = read(format, [&all]);
        for _ in 0..3 {
            let cut = random.cut(&all);
            assert_eq!(read(format, &cut), whole, "{}: {cut:?}", format.name);
        }
        let open = whole.iter().fold(0, |open, found| match found {
            Found::Start(_) => open + 1,
            Found::End => open - 1,
            Found::Arguments(_) => {
                assert_eq!(open, 1, "{whole:?}");
                open
            }
            Found::Text(_) => {
                assert_eq!(open, 0, "{whole:?}");
                open
            }
        });
        assert_eq!(open, 0, "{whole:?}");
        if !whole.iter().any(|f| matches!(f, Found::Start(_))) {
            let shown: String = whole
                .iter()
                .filter_map(|f| if let Found::Text(t) = f { Some(t.as_str()) } else { None })
                .collect();
            let marks = |mut text: String| {
                for mark in format.around {
                    text = text.replace(mark, "");
                }
                text.split_whitespace().collect::<String>()
            };
            assert_eq!(marks(shown), marks(all.clone()), "{}: {all:?}", format.name);
        }
    }
}

/// Each of these is long and comes in pieces of a few bytes: what is not linear does not end.
#[test]
fn hostile_texts_take_linear_time() {
    let many = 100_000;
    for (name, begin, piece) in [
        ("hermes", "<tool_call>{\"name\": \"a\", \"arguments\": {\"x\": \"", "</tool_cal"),
        ("hermes", "<tool_call>{\"name\": \"a\", \"arguments\": ", "{\"a\":["),
        ("hermes", "<tool_call>{\"name\": \"a\", \"arguments\": ]", " x "),
        ("hermes", "<tool_call>{\"name\": \"a\", \"arguments\": {]", "  "),
        ("hermes", "<tool_call>{\"arguments\": {\"x\": \"", "<tool_call>"),
        ("hermes", "", "<tool_call>"),
        ("hermes", "", "<tool_call>{"),
        ("hermes", "", "<tool_call>{\"a\":\""),
        ("hermes", "", "   "),
        ("hermes", "<tool_call>", "\n \n"),
        ("hermes", "", "<tool_call>{\"name\":\"a\",\"arguments\":{}}</tool_call>"),
        ("llama-3", "", "  \n"),
        ("llama-3", "{\"name\": \"", "now"),
        ("llama-3", "{\"name\": \"now\", \"parameters\": {}}", " "),
        ("mistral", "[TOOL_CALLS]", "x"),
        ("mistral-args", "", "[TOOL_CALLS]xxxxxxxxxx"),
        ("qwen3-coder", "<tool_call><function=now><parameter=q>", "\n</param"),
        ("qwen3-coder", "<tool_call><function=now><parameter=other>", "[["),
        ("qwen3-coder", "<tool_call><function=now>", "   "),
        ("qwen3-coder", "<tool_call><function=now>", "<parameter=a>"),
        ("glm-4.5", "<tool_call>", "now"),
        ("glm-4.5", "<tool_call>now", " "),
        ("deepseek-3", "<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}", "```"),
    ] {
        let mut parser = CallParser::new(format(name), tools());
        let mut found = parser.push(begin).len();
        for _ in 0..many {
            found += parser.push(piece).len();
        }
        found += parser.finish().len();
        assert!(found <= 3 * many + 10, "{name} {begin} {piece}: {found}");
    }
}
