//! A subset of Jinja: strict names, no loader, bounded work.

use std::collections::BTreeMap;

use katena_core::{Error, Result};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};

use super::{Limited, MAX_SOURCE};
use crate::partials::Partials;
use crate::template::{Scope, missing};
use crate::vars::Var;

const MAIN: &str = "prompt";
/// Instructions of one rendering.
const FUEL: u64 = 1_000_000;

pub(crate) struct Compiled {
    env: Environment<'static>,
    names: Vec<String>,
}

impl Compiled {
    pub(crate) fn new(text: &str, partials: &Partials) -> Result<Self> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_keep_trailing_newline(true);
        env.set_fuel(Some(FUEL));
        env.set_recursion_limit(100);
        let globals: Vec<String> = env.globals().map(|(name, _)| name.to_owned()).collect();
        for (name, text) in partials.iter().chain([(MAIN, text)]) {
            let told = |error: Error| if name == MAIN { error } else { error.with_context("partial", name) };
            if text.len() > MAX_SOURCE {
                return Err(told(Error::config("the template is larger than 1 MiB")));
            }
            env.add_template_owned(name.to_owned(), text.to_owned()).map_err(|e| told(wrong(&e)))?;
        }
        // Included templates see the same names.
        let mut names = Vec::new();
        let mut open = vec![MAIN];
        while let Some(name) = open.pop() {
            let template = env.get_template(name).map_err(|e| wrong(&e))?;
            names.extend(template.undeclared_variables(false).into_iter().filter(|n| !globals.contains(n)));
            if name == MAIN {
                open.extend(partials.iter().map(|(n, _)| n).filter(|n| {
                    let source = template.source();
                    source.contains(&format!("\"{n}\"")) || source.contains(&format!("'{n}'"))
                }));
            }
        }
        names.sort();
        names.dedup();
        Ok(Self { env, names })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn render(&self, scope: &Scope<'_>, max_bytes: usize) -> Result<String> {
        let mut data = BTreeMap::new();
        for name in &self.names {
            match scope.find(name) {
                Some(Var::Value(value)) => {
                    data.insert(name.as_str(), value);
                }
                Some(Var::Messages(_) | Var::Part(_)) => return Err(crate::template::no_text(name)),
                None => return Err(missing(name)),
            }
        }
        let template = self.env.get_template(MAIN).map_err(|e| wrong(&e))?;
        let mut out = Limited::new(max_bytes);
        let done = template.render_captured_to(data, &mut out).map(|_| ());
        out.finish(done, |e| {
            let error = match e.kind() {
                ErrorKind::UndefinedError => {
                    Error::invalid_input("the template uses a value that is not there")
                }
                ErrorKind::OutOfFuel => Error::invalid_input("the template does more work than allowed"),
                _ => Error::invalid_input("the template can't be filled"),
            };
            match e.line() {
                Some(line) => error.with_context("line", line.to_string()).with_source(e),
                None => error.with_source(e),
            }
        })
    }
}

fn wrong(e: &minijinja::Error) -> Error {
    let why = e.detail().map_or_else(|| e.kind().to_string(), str::to_owned);
    let error = Error::config(format!("the template can't be read: {why}"));
    match e.line() {
        Some(line) => error.with_context("line", line.to_string()),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{Format, Partials, PromptTemplate, Vars};

    fn render(template: &str, vars: Value) -> katena_core::Result<String> {
        PromptTemplate::jinja(template)?.render(&Vars::of(&vars)?)
    }

    #[test]
    fn logic_works_strictly() {
        let text = "{% for x in items %}{{ loop.index }}. {{ x|upper }}\n{% endfor %}{{ s }}\n";
        let vars = json!({"items": ["a", "b"], "s": "<{{ s }}>"});
        assert_eq!(render(text, vars).unwrap(), "1. A\n2. B\n<{{ s }}>\n");
        assert_eq!(PromptTemplate::jinja(text).unwrap().variables(), ["items", "s"]);
        assert_eq!(render("{{ a }}", json!({})).unwrap_err().context("variable"), Some("a"));
        assert!(render("{{ a.b }}", json!({"a": {}})).is_err());
        assert_eq!(PromptTemplate::jinja("x\n{% if %}").unwrap_err().context("line"), Some("2"));
        assert!(render("{% include 'etc' %}", json!({})).is_err());
    }

    #[test]
    fn work_and_output_are_limited() {
        let spin = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(render(spin, json!({})).is_err());
        let text = PromptTemplate::jinja("{% for a in range(2000) %}{{ b }}{% endfor %}").unwrap();
        let vars = crate::vars! { "b" => "x".repeat(1000) };
        assert_eq!(text.render(&vars).unwrap_err().context("max_bytes"), Some("1048576"));
        let partials = Partials::new().with("a", "{{ x }}").with("me", "{% include 'me' %}");
        let text = PromptTemplate::with_partials(Format::Jinja, "{% include 'a' %}!", &partials).unwrap();
        assert_eq!(text.variables(), ["x"]);
        assert_eq!(text.render(&crate::vars! { "x" => 1 }).unwrap(), "1!");
        let text = PromptTemplate::with_partials(Format::Jinja, "{% include 'me' %}!", &partials).unwrap();
        assert!(text.render(&Vars::new()).is_err());
    }
}
