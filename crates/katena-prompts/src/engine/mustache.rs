//! Mustache as LangChain has it, for templates that exist already: what is missing is empty, `{{x}}` is escaped for HTML.
//!
//! The rules are those of the Mustache manual (mustache.5), with Python's way of writing values and its idea of what is
//! empty: an item of a list that is empty, zero or false is left out.

use katena_core::{Error, Result};
use serde_json::{Map, Value};

use super::{MAX_DEPTH, MAX_SOURCE};
use crate::fstring::to_str;
use crate::partials::Partials;
use crate::template::{Scope, too_long};
use crate::vars::Var;

/// Nodes looked at in one rendering.
const MAX_WORK: usize = 1_000_000;
/// Partials within partials.
const MAX_PARTIALS: usize = 16;

enum Node {
    Literal(String),
    Variable { path: String, escape: bool },
    Section { path: String, inverted: bool, children: Vec<Node> },
    Partial { name: String, indent: String },
}

pub(crate) struct Mustache {
    nodes: Vec<Node>,
    partials: Vec<(String, Vec<Node>)>,
    names: Vec<String>,
}

impl Mustache {
    pub(crate) fn compile(text: &str, partials: &Partials) -> Result<Self> {
        let nodes = parse(text)?;
        let partials: Result<Vec<_>> = partials
            .iter()
            .map(|(name, text)| {
                let nodes = parse(text).map_err(|e| e.with_context("partial", name))?;
                Ok((name.to_owned(), nodes))
            })
            .collect();
        let mut names = Vec::new();
        for node in &nodes {
            if let Node::Variable { path, .. } | Node::Section { path, .. } = node
                && path != "."
            {
                names.push(path.split('.').next().unwrap_or(path).to_owned());
            }
        }
        Ok(Self { nodes, partials: partials?, names })
    }

    /// The names at the top level; those within sections may belong to an item.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn render(&self, scope: &Scope<'_>, max_bytes: usize) -> Result<String> {
        let mut root = Map::new();
        for vars in [scope.bound, scope.vars] {
            for name in vars.names() {
                match vars.find(name) {
                    Some(Var::Value(value)) => {
                        root.insert(name.to_owned(), value.clone());
                    }
                    _ if self.names.iter().any(|n| n == name) => return Err(crate::template::no_text(name)),
                    _ => {}
                }
            }
        }
        let root = Value::Object(root);
        let mut writer = Writer { template: self, out: String::new(), max_bytes, work: 0, depth: 0 };
        writer.nodes(&self.nodes, &mut vec![&root], "")?;
        Ok(writer.out)
    }
}

/// What starts a tag decides what it is.
#[derive(PartialEq)]
enum Kind {
    Variable,
    Raw,
    Section,
    Inverted,
    End,
    Partial,
    Comment,
    Delimiters,
}

fn bad(line: usize, why: &'static str) -> Error {
    Error::config(why).with_context("line", line.to_string())
}

fn blank(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

/// An open section: its path, whether it is inverted, its line, and what stands before it.
struct Open {
    path: String,
    inverted: bool,
    line: usize,
    before: Vec<Node>,
}

fn parse(text: &str) -> Result<Vec<Node>> {
    if text.len() > MAX_SOURCE {
        return Err(Error::config("the template is larger than 1 MiB"));
    }
    let mut rest = text;
    let (mut left, mut right) = ("{{".to_owned(), "}}".to_owned());
    let mut nodes: Vec<Node> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut line = 1;
    // Whether only white space stands between the line's start and here.
    let mut fresh = true;
    while let Some((literal, after)) = rest.split_once(left.as_str()) {
        let last_line = literal.rsplit('\n').next().unwrap_or(literal);
        fresh = (fresh || literal.contains('\n')) && blank(last_line);
        line += literal.matches('\n').count();
        let Some((tag, after)) = after.split_once(right.as_str()) else {
            return Err(bad(line, "a tag is not closed"));
        };
        rest = after;
        let Some(first) = tag.chars().next().filter(|_| !blank(tag)) else {
            return Err(bad(line, "a tag is empty"));
        };
        let mut body = &tag[first.len_utf8()..];
        let kind = match first {
            '!' => Kind::Comment,
            '#' => Kind::Section,
            '^' => Kind::Inverted,
            '/' => Kind::End,
            '>' => Kind::Partial,
            '&' => Kind::Raw,
            '{' if left == "{{" && right == "}}" && rest.starts_with('}') => {
                rest = &rest[1..];
                Kind::Raw
            }
            '{' => return Err(bad(line, "a tag with three braces is not closed by three")),
            '=' => {
                body = body
                    .strip_suffix('=')
                    .ok_or_else(|| bad(line, "a tag that sets delimiters ends with '='"))?;
                Kind::Delimiters
            }
            _ => {
                body = tag;
                Kind::Variable
            }
        };
        line += tag.matches('\n').count();
        let body = body.trim();
        let mut literal = literal;
        let mut indent = "";
        if fresh && !matches!(kind, Kind::Variable | Kind::Raw) {
            let (to_line_end, next) = rest.split_once('\n').unwrap_or((rest, rest));
            if blank(to_line_end) {
                line += usize::from(rest.contains('\n'));
                rest = next;
                indent = last_line;
                if kind != Kind::Partial {
                    literal = literal.trim_end_matches(' ');
                }
            } else {
                fresh = false;
            }
        } else {
            fresh = false;
        }
        if !literal.is_empty() {
            nodes.push(Node::Literal(literal.to_owned()));
        }
        match kind {
            Kind::Comment => {}
            Kind::Variable | Kind::Raw => {
                nodes.push(Node::Variable { path: body.to_owned(), escape: kind == Kind::Variable });
            }
            Kind::Partial => nodes.push(Node::Partial { name: body.to_owned(), indent: indent.to_owned() }),
            Kind::Section | Kind::Inverted => {
                if open.len() >= MAX_DEPTH {
                    return Err(bad(line, "sections are nested deeper than 64 levels"));
                }
                let before = std::mem::take(&mut nodes);
                open.push(Open { path: body.to_owned(), inverted: kind == Kind::Inverted, line, before });
            }
            Kind::End => {
                let Some(section) = open.pop().filter(|o| o.path == body) else {
                    return Err(bad(line, "a section is closed that was not opened last"));
                };
                let children = std::mem::replace(&mut nodes, section.before);
                nodes.push(Node::Section { path: section.path, inverted: section.inverted, children });
            }
            Kind::Delimiters => {
                let mut words = body.split(' ');
                let first = words.next().unwrap_or_default();
                let last = words.next_back().unwrap_or(first);
                if first.is_empty() || last.is_empty() {
                    return Err(bad(line, "a tag that sets delimiters names two"));
                }
                (left, right) = (first.to_owned(), last.to_owned());
            }
        }
    }
    if let Some(section) = open.pop() {
        return Err(bad(section.line, "a section is not closed"));
    }
    if !rest.is_empty() {
        nodes.push(Node::Literal(rest.to_owned()));
    }
    Ok(nodes)
}

/// Python's idea of an empty value.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

fn is_zero(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_)) && is_empty(value)
}

static TRUE: Value = Value::Bool(true);
static NOTHING: Value = Value::Null;

/// The value of a dotted name in the nearest scope that has all of it; zero and false stop the search.
fn find<'v>(path: &str, scopes: &[&'v Value]) -> &'v Value {
    if path == "." {
        return match scopes {
            // A section that only asks whether: the value is the one outside.
            [.., outer, Value::Bool(true)] => outer,
            [.., top] => top,
            [] => &NOTHING,
        };
    }
    for scope in scopes.iter().rev() {
        let mut at = *scope;
        let mut found = true;
        for name in path.split('.') {
            if is_zero(at) {
                return at;
            }
            let next = match at {
                Value::Object(map) => map.get(name),
                Value::Array(items) => name.parse::<i64>().ok().and_then(|n| {
                    let n = if n < 0 { n + i64::try_from(items.len()).unwrap_or(0) } else { n };
                    items.get(usize::try_from(n).ok()?)
                }),
                _ => None,
            };
            match next {
                Some(value) => at = value,
                None => {
                    found = false;
                    break;
                }
            }
        }
        if found {
            return at;
        }
    }
    &NOTHING
}

struct Writer<'t> {
    template: &'t Mustache,
    out: String,
    max_bytes: usize,
    work: usize,
    depth: usize,
}

impl Writer<'_> {
    fn push(&mut self, text: &str, escape: bool) -> Result<()> {
        if escape && text.contains(['&', '<', '>', '"']) {
            for c in text.chars() {
                match c {
                    '&' => self.out.push_str("&amp;"),
                    '<' => self.out.push_str("&lt;"),
                    '>' => self.out.push_str("&gt;"),
                    '"' => self.out.push_str("&quot;"),
                    c => self.out.push(c),
                }
            }
        } else {
            self.out.push_str(text);
        }
        if self.out.len() > self.max_bytes { Err(too_long(self.max_bytes)) } else { Ok(()) }
    }

    fn nodes(&mut self, nodes: &[Node], scopes: &mut Vec<&Value>, indent: &str) -> Result<()> {
        for node in nodes {
            self.work += 1;
            if self.work > MAX_WORK {
                return Err(Error::invalid_input("the template does more work than allowed"));
            }
            match node {
                Node::Literal(text) if indent.is_empty() => self.push(text, false)?,
                Node::Literal(text) => self.push(&text.replace('\n', &format!("\n{indent}")), false)?,
                Node::Variable { path, escape } => {
                    let value = find(path, scopes);
                    match value {
                        Value::String(text) => self.push(text, *escape)?,
                        value if is_empty(value) && !is_zero(value) => {}
                        value => self.push(&to_str(value), *escape)?,
                    }
                }
                Node::Section { path, inverted: true, children } => {
                    if is_empty(find(path, scopes)) {
                        scopes.push(&TRUE);
                        self.nodes(children, scopes, indent)?;
                        scopes.pop();
                    }
                }
                Node::Section { path, children, .. } => {
                    let value = find(path, scopes);
                    let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    for item in items.iter().filter(|i| !is_empty(i)) {
                        scopes.push(item);
                        self.nodes(children, scopes, indent)?;
                        scopes.pop();
                    }
                }
                Node::Partial { name, indent: own } => self.partial(name, own, scopes, indent)?,
            }
        }
        Ok(())
    }

    fn partial(&mut self, name: &str, own: &str, scopes: &mut Vec<&Value>, indent: &str) -> Result<()> {
        let template = self.template;
        let Some((_, nodes)) = template.partials.iter().find(|(n, _)| n == name) else { return Ok(()) };
        if self.depth >= MAX_PARTIALS {
            return Err(Error::invalid_input("partials are nested deeper than 16 levels")
                .with_context("partial", name));
        }
        self.depth += 1;
        self.nodes(nodes, scopes, &format!("{indent}{own}"))?;
        self.depth -= 1;
        if !own.is_empty() {
            let kept = self.out.trim_end_matches([' ', '\t']).len();
            self.out.truncate(kept);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{Format, PromptTemplate, Vars};

    fn render(template: &str, vars: &Value) -> String {
        PromptTemplate::new(Format::Mustache, template).unwrap().render(&Vars::of(vars).unwrap()).unwrap()
    }

    #[test]
    fn sections_and_scopes() {
        let vars = json!({"l": [{"n": 1}, {"n": 2}, {}], "o": {"n": 3, "d": {"e": "x"}}, "n": 9, "z": 0, "s": ["a", 0, ""]});
        assert_eq!(render("{{#l}}{{n}};{{/l}}", &vars), "1;2;");
        assert_eq!(render("{{#o}}{{n}}{{d.e}}{{q}}{{z}}{{/o}}{{z}}", &vars), "3x00");
        assert_eq!(render("{{#s}}<{{.}}>{{/s}}{{^z}}none{{/z}}{{^q}}{{n}}{{/q}}", &vars), "<a>none9");
        assert_eq!(render("{{l.1.n}}{{l.-3.n}}{{l.7.n}}", &vars), "21");
    }

    #[test]
    fn lines_with_a_section_alone_vanish() {
        let vars = json!({"l": [1, 2]});
        assert_eq!(render("a\n  {{#l}}\n- {{.}}\n  {{/l}}\nb\n{{! gone }}\nc", &vars), "a\n- 1\n- 2\nb\nc");
    }

    #[test]
    fn wrong_ones_are_refused() {
        for wrong in ["{{", "{{a", "{{}}", "{{#a}}", "{{/a}}", "{{#a}}{{/b}}", "{{{a}}", "{{=a}}", "{{= =}}"]
        {
            assert!(PromptTemplate::new(Format::Mustache, wrong).is_err(), "{wrong}");
        }
        assert!(PromptTemplate::new(Format::Mustache, &"{{#a}}".repeat(100)).is_err());
    }
}
