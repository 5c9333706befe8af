//! Handlebars, strict: what a template names must be there, and what it calls must exist when it is compiled.

use std::collections::BTreeMap;

use handlebars::template::{BlockParam, DecoratorTemplate, HelperTemplate, Parameter, TemplateElement};
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, Path, PathSeg, RenderContext,
    RenderErrorReason, Template,
};
use katena_core::{Error, Result};
use serde_json::{Map, Value};

use super::{Limited, MAX_DEPTH, MAX_SOURCE};
use crate::partials::Partials;
use crate::template::{Scope, missing};
use crate::vars::Var;

const MAIN: &str = "";
/// A template with more inclusions than this, counted through, is refused.
const MAX_INCLUSIONS: usize = 1000;
const HELPERS: [&str; 18] = [
    "if", "unless", "each", "with", "lookup", "raw", "eq", "ne", "gt", "gte", "lt", "lte", "and", "or",
    "not", "len", "json", "join",
];

pub(crate) struct Compiled {
    registry: Handlebars<'static>,
    names: Vec<String>,
    /// Variables that are written as they are.
    written: Vec<String>,
}

/// `{{json value}}`: the value as JSON text.
struct Json;
impl HelperDef for Json {
    fn call<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let value = h.param(0).filter(|v| !v.is_value_missing());
        let value = value.ok_or(RenderErrorReason::ParamNotFoundForIndex("json", 0))?;
        Ok(out.write(&value.value().to_string())?)
    }
}

/// `{{join list ", "}}`: the items with a text between them.
struct Join;
impl HelperDef for Join {
    fn call<'reg: 'rc, 'rc>(
        &self,
        h: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let list = h.param(0).and_then(|v| v.value().as_array());
        let list = list.ok_or(RenderErrorReason::ParamNotFoundForIndex("join", 0))?;
        let between = h.param(1).and_then(|v| v.value().as_str()).unwrap_or(", ");
        for (n, item) in list.iter().enumerate() {
            if n > 0 {
                out.write(between)?;
            }
            match item {
                Value::String(text) => out.write(text)?,
                other => out.write(&other.to_string())?,
            }
        }
        Ok(())
    }
}

impl Compiled {
    pub(crate) fn new(text: &str, partials: &Partials) -> Result<Self> {
        let mut templates = BTreeMap::new();
        templates.insert(MAIN, compile(MAIN, text)?);
        for (name, text) in partials.iter() {
            templates.insert(name, compile(name, text)?);
        }
        let mut reader = Reader {
            templates: &templates,
            names: Vec::new(),
            written: Vec::new(),
            inclusions: 0,
            path: Vec::new(),
        };
        reader.template(&templates[MAIN], &Place::default())?;
        let (names, written) = (reader.names, reader.written);
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        registry.set_prevent_indent(true);
        registry.register_escape_fn(handlebars::no_escape);
        registry.unregister_helper("log");
        registry.register_helper("json", Box::new(Json));
        registry.register_helper("join", Box::new(Join));
        for (name, template) in templates {
            registry.register_template(name, template);
        }
        Ok(Self { registry, names, written })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn render(&self, scope: &Scope<'_>, max_bytes: usize) -> Result<String> {
        let mut data = Map::new();
        for name in &self.names {
            match scope.find(name) {
                Some(Var::Value(Value::Array(_) | Value::Object(_))) if self.written.contains(name) => {
                    return Err(Error::invalid_input(
                        "the variable is a list or an object; write it with json, join or each",
                    )
                    .with_context("variable", name.clone()));
                }
                Some(Var::Value(value)) => data.insert(name.clone(), value.clone()),
                Some(Var::Messages(_) | Var::Part(_)) => return Err(crate::template::no_text(name)),
                None => return Err(missing(name)),
            };
        }
        let mut out = Limited::new(max_bytes);
        let context = Context::from(Value::Object(data));
        let done = self.registry.render_with_context_to_write(MAIN, &context, &mut out);
        out.finish(done, |e| {
            let mut error = Error::invalid_input("the template can't be filled");
            if let RenderErrorReason::MissingVariable(Some(path)) = e.reason() {
                error = missing(path);
            }
            if let Some(partial) = e.template_name.as_deref().filter(|n| !n.is_empty()) {
                error = error.with_context("partial", partial);
            }
            match e.line_no {
                Some(line) => error.with_context("line", line.to_string()).with_source(e),
                None => error.with_source(e),
            }
        })
    }
}

fn compile(name: &str, text: &str) -> Result<Template> {
    let told = |error: Error| if name == MAIN { error } else { error.with_context("partial", name) };
    if text.len() > MAX_SOURCE {
        return Err(told(Error::config("the template is larger than 1 MiB")));
    }
    if too_deep(text) {
        return Err(told(Error::config("the template is nested deeper than 64 levels")));
    }
    Template::compile(text).map_err(|e| {
        let mut error = Error::config(format!("the template can't be read: {}", e.reason()));
        if let Some((line, column)) = e.pos() {
            error = error.with_context("line", line.to_string()).with_context("column", column.to_string());
        }
        told(error)
    })
}

/// The engine reads nested blocks, chains of `else if`, and brackets by recursion.
fn too_deep(text: &str) -> bool {
    // How many `else if` each open block has.
    let mut open: Vec<usize> = Vec::new();
    let mut chained = 0;
    for (at, _) in text.match_indices("{{") {
        let tag = &text[at + 2..];
        let tag = &tag[..tag.find("}}").unwrap_or(tag.len())];
        let mut brackets = 0_usize;
        for byte in tag.bytes() {
            match byte {
                b'(' => brackets += 1,
                b')' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            if brackets > MAX_DEPTH {
                return true;
            }
        }
        let tag = tag.trim_matches(['{', '~']).trim();
        if tag.starts_with('#') || tag.starts_with('^') && tag.len() > 1 {
            open.push(0);
        } else if tag.starts_with('/') {
            chained -= open.pop().unwrap_or(0);
        } else if tag.strip_prefix("else").is_some_and(|rest| rest.starts_with(char::is_whitespace))
            && let Some(last) = open.last_mut()
        {
            *last += 1;
            chained += 1;
        }
        if open.len() + chained > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// What relative names mean at a place in a template.
#[derive(Clone, Default)]
struct Place {
    /// How many `{{#each}}` or `{{#with}}` stand around.
    depth: usize,
    /// Names that blocks and inclusions give.
    local: Vec<String>,
}

struct Reader<'t> {
    templates: &'t BTreeMap<&'t str, Template>,
    names: Vec<String>,
    written: Vec<String>,
    inclusions: usize,
    path: Vec<String>,
}

impl Reader<'_> {
    fn template(&mut self, template: &Template, place: &Place) -> Result<()> {
        for (n, element) in template.elements.iter().enumerate() {
            let line = template.mapping.get(n).map(|m| m.0);
            self.element(element, place).map_err(|e| match line {
                Some(line) if e.context("line").is_none() => e.with_context("line", line.to_string()),
                _ => e,
            })?;
        }
        Ok(())
    }

    fn element(&mut self, element: &TemplateElement, place: &Place) -> Result<()> {
        match element {
            TemplateElement::RawString(_) | TemplateElement::Comment(_) => Ok(()),
            TemplateElement::Expression(helper) | TemplateElement::HtmlExpression(helper) => {
                self.expression(helper, place)
            }
            TemplateElement::HelperBlock(helper) => self.block(helper, place),
            TemplateElement::PartialExpression(partial) => self.partial(partial, place),
            _ => Err(Error::unsupported("partial blocks, inline partials and decorators are not supported")),
        }
    }

    fn expression(&mut self, helper: &HelperTemplate, place: &Place) -> Result<()> {
        if !helper.block && helper.params.is_empty() && helper.hash.is_empty() {
            let name = helper.name.as_name().unwrap_or_default();
            if HELPERS.contains(&name) {
                return Err(
                    Error::config("a helper is called without what it works on").with_context("helper", name)
                );
            }
            if let Parameter::Path(Path::Relative((segments, _))) = &helper.name
                && let [PathSeg::Named(name)] = segments.as_slice()
                && place.depth == 0
                && !place.local.contains(name)
            {
                self.written.push(name.clone());
            }
            return self.parameter(&helper.name, place);
        }
        known(&helper.name)?;
        self.parameters(helper, place)
    }

    fn block(&mut self, helper: &HelperTemplate, place: &Place) -> Result<()> {
        let name = known(&helper.name)?;
        self.parameters(helper, place)?;
        let mut inner = place.clone();
        if matches!(name.as_str(), "each" | "with") {
            inner.depth += 1;
        }
        let mut bind = |p: &Parameter| inner.local.extend(p.as_name().map(str::to_owned));
        match &helper.block_param {
            Some(BlockParam::Single(a)) => bind(a),
            Some(BlockParam::Pair((a, b))) => {
                bind(a);
                bind(b);
            }
            _ => {}
        }
        if let Some(template) = &helper.template {
            self.template(template, &inner)?;
        }
        helper.inverse.as_ref().map_or(Ok(()), |t| self.template(t, place))
    }

    fn partial(&mut self, partial: &DecoratorTemplate, place: &Place) -> Result<()> {
        let name = match &partial.name {
            Parameter::Name(name) => name.clone(),
            Parameter::Path(path) => Parameter::Path(path.clone()).as_name().unwrap_or_default().to_owned(),
            _ => return Err(Error::unsupported("the name of a partial is fixed, not computed")),
        };
        for parameter in partial.params.iter().chain(partial.hash.values()) {
            self.parameter(parameter, place)?;
        }
        let Some(template) = self.templates.get(name.as_str()).filter(|_| name != MAIN) else {
            return Err(Error::config("the template includes a partial that does not exist")
                .with_context("includes", name));
        };
        self.inclusions += 1;
        if self.path.contains(&name) || self.inclusions > MAX_INCLUSIONS {
            return Err(Error::config("a partial includes itself, or the inclusions are more than 1000")
                .with_context("includes", name));
        }
        let mut inner = place.clone();
        inner.depth += usize::from(!partial.params.is_empty());
        inner.local.extend(partial.hash.keys().cloned());
        self.path.push(name.clone());
        let done = self.template(template, &inner).map_err(|e| match e.context("partial") {
            None => e.with_context("partial", name),
            Some(_) => e,
        });
        self.path.pop();
        done
    }

    fn parameters(&mut self, helper: &HelperTemplate, place: &Place) -> Result<()> {
        helper.params.iter().chain(helper.hash.values()).try_for_each(|p| self.parameter(p, place))
    }

    fn parameter(&mut self, parameter: &Parameter, place: &Place) -> Result<()> {
        match parameter {
            Parameter::Name(name) => {
                self.name(name, 0, false, place);
            }
            Parameter::Path(Path::Relative((segments, _))) => {
                let (mut up, mut root) = (0, false);
                for segment in segments {
                    match segment {
                        PathSeg::Named(name) => {
                            self.name(name, up, root, place);
                            return Ok(());
                        }
                        PathSeg::Ruled(rule) => match format!("{rule:?}").as_str() {
                            "path_up" => up += 1,
                            "path_root" => root = true,
                            _ => {}
                        },
                        _ => {}
                    }
                }
            }
            Parameter::Path(_) | Parameter::Literal(_) => {}
            _ => {
                let Parameter::Subexpression(sub) = parameter else {
                    return Err(Error::unsupported("this kind of expression is not supported"));
                };
                if let TemplateElement::Expression(helper) = sub.as_element() {
                    known(&helper.name)?;
                    self.parameters(helper, place)?;
                }
            }
        }
        Ok(())
    }

    /// A name is a variable of the prompt where no block stands between.
    fn name(&mut self, name: &str, up: usize, root: bool, place: &Place) {
        let local = up == 0 && !root && place.local.iter().any(|n| n == name);
        if (root || up >= place.depth) && !local && !self.names.iter().any(|n| n == name) {
            self.names.push(name.to_owned());
        }
    }
}

fn known(name: &Parameter) -> Result<String> {
    let name = name.as_name().unwrap_or_default();
    if HELPERS.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(Error::config("the template calls a helper that does not exist").with_context("helper", name))
}

#[cfg(test)]
#[path = "handlebars_tests.rs"]
mod tests;
