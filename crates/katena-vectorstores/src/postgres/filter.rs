//! Filters as SQL on the `facts` column, every key and value bound.

use katena_core::{Error, Filter, Result};
use serde_json::Value;

use super::text;

/// PostgreSQL takes 65,535 bound values in a statement; the rest of the statement needs a few.
const MAX_VALUES: usize = 60_000;
/// Deeper nesting is refused here rather than by the server's stack.
const MAX_DEPTH: usize = 200;

/// Bound text values, `$1` first.
#[derive(Default)]
pub(super) struct Values(pub(super) Vec<String>);

impl Values {
    /// Binds a text; returns its place in the statement.
    pub(super) fn bind(&mut self, value: impl Into<String>) -> String {
        self.0.push(value.into());
        format!("${}", self.0.len())
    }
}

/// A condition that is true exactly where [`Filter::matches`] is, and false elsewhere (never null).
pub(super) fn condition(filter: &Filter, values: &mut Values) -> Result<String> {
    let sql = translate(filter, values, 0)?;
    if values.0.len() > MAX_VALUES {
        return Err(Error::invalid_input(format!("a filter of more than {MAX_VALUES} values")));
    }
    Ok(sql)
}

fn translate(filter: &Filter, values: &mut Values, depth: usize) -> Result<String> {
    if depth > MAX_DEPTH {
        return Err(Error::invalid_input(format!("a filter nested deeper than {MAX_DEPTH}")));
    }
    let mut fact = |key: &str| format!("(facts -> {})", values.bind(text::encode(key)));
    Ok(match filter {
        Filter::Eq(key, value) => sure(&same(&fact(key), value, values)),
        Filter::Ne(key, value) => format!("(NOT {})", sure(&same(&fact(key), value, values))),
        Filter::Lt(key, value) => sure(&ordered(&fact(key), "<", value, values)),
        Filter::Lte(key, value) => sure(&ordered(&fact(key), "<=", value, values)),
        Filter::Gt(key, value) => sure(&ordered(&fact(key), ">", value, values)),
        Filter::Gte(key, value) => sure(&ordered(&fact(key), ">=", value, values)),
        Filter::In(key, wanted) => {
            let fact = fact(key);
            let any: Vec<String> = wanted.iter().map(|v| same(&fact, v, values)).collect();
            if any.is_empty() { "FALSE".into() } else { sure(&any.join(" OR ")) }
        }
        Filter::Contains(key, value) => sure(&contains(&fact(key), value, values)),
        Filter::Exists(key, wanted) => {
            let exists = format!("jsonb_exists(facts, {})", values.bind(text::encode(key)));
            if *wanted { exists } else { format!("(NOT {exists})") }
        }
        Filter::And(all) => join(all, " AND ", "TRUE", values, depth)?,
        Filter::Or(any) => join(any, " OR ", "FALSE", values, depth)?,
        Filter::Not(inner) => format!("(NOT {})", translate(inner, values, depth + 1)?),
        _ => return Err(Error::unsupported("this kind of filter")),
    })
}

fn join(filters: &[Filter], word: &str, empty: &str, values: &mut Values, depth: usize) -> Result<String> {
    if filters.is_empty() {
        return Ok(empty.into());
    }
    let parts = filters.iter().map(|f| translate(f, values, depth + 1)).collect::<Result<Vec<_>>>()?;
    Ok(format!("({})", parts.join(word)))
}

/// A missing key makes its comparisons null.
fn sure(sql: &str) -> String {
    format!("coalesce({sql}, FALSE)")
}

fn same(fact: &str, value: &Value, values: &mut Values) -> String {
    match value {
        Value::Null => format!("(jsonb_typeof({fact}) = 'null')"),
        Value::Bool(b) => format!("({fact} = '{b}'::jsonb)"),
        Value::Number(n) => number(fact, "=", n, values),
        Value::String(s) => {
            let s = values.bind(text::encode(s));
            format!("(jsonb_typeof({fact}) = 'string' AND ({fact} #>> '{{}}') COLLATE \"C\" = {s}::text)")
        }
        Value::Array(_) | Value::Object(_) => {
            format!("({fact}::text = {}::text::jsonb::text)", values.bind(text::json(value)))
        }
    }
}

fn ordered(fact: &str, operator: &str, value: &Value, values: &mut Values) -> String {
    match value {
        Value::Number(n) => number(fact, operator, n, values),
        Value::String(s) => {
            let s = values.bind(text::encode(s));
            format!(
                "(jsonb_typeof({fact}) = 'string' AND ({fact} #>> '{{}}') COLLATE \"C\" {operator} {s}::text)"
            )
        }
        _ => "FALSE".into(),
    }
}

fn number(fact: &str, operator: &str, number: &serde_json::Number, values: &mut Values) -> String {
    let bound = values.bind(text::number(number));
    let as_floats = format!("{fact}::float8 {operator} {bound}::text::float8");
    let compared = if number.is_f64() {
        as_floats
    } else {
        // Two integers compare exactly, everything else as floats; integers are written without a point.
        let exactly = format!("{fact}::numeric {operator} {bound}::text::numeric");
        format!("CASE WHEN strpos({fact}::text, '.') = 0 THEN {exactly} ELSE {as_floats} END")
    };
    format!("(CASE WHEN jsonb_typeof({fact}) = 'number' THEN {compared} END)")
}

fn contains(fact: &str, value: &Value, values: &mut Values) -> String {
    let element = same("element", value, values);
    let part = match value {
        Value::String(s) => {
            let s = values.bind(text::encode(s));
            format!("WHEN 'string' THEN strpos({fact} #>> '{{}}', {s}::text) > 0")
        }
        _ => String::new(),
    };
    format!(
        "(CASE jsonb_typeof({fact}) WHEN 'array' THEN
         EXISTS (SELECT 1 FROM jsonb_array_elements({fact}) AS list (element) WHERE {element}) {part} END)"
    )
}
