//! From an operation and arguments to a call.

use std::fmt::Write as _;

use katena_core::{Error, Result};
use katena_http::{Endpoint, HttpRequest, Method};
use serde_json::{Map, Value, json};

use super::schema::fault;
use super::spec::{Operation, Place};

/// Most bytes of one value in the address.
const MOST_VALUE: usize = 2000;
/// Most values of a list in the query.
const MOST_LIST: usize = 100;
/// Most bytes of a body.
const MOST_BODY: usize = 256 << 10;

/// A call that is ready, and what may be told of it: no headers, nothing of the endpoint.
pub(super) struct Call {
    pub(super) request: HttpRequest,
    pub(super) told: Value,
}

pub(super) fn method_name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
        _ => "?",
    }
}

/// All but RFC 3986's unreserved characters percent-encoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A value as text in an address or header.
fn scalar(value: &Value) -> Result<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        _ => return Err(Error::invalid_input("a parameter takes a text, a number or a truth value")),
    };
    if text.len() > MOST_VALUE || text.chars().any(char::is_control) {
        return Err(Error::invalid_input("a parameter is too long or has control characters"));
    }
    Ok(text)
}

/// Checks arguments by the operation's schema and puts them into a call below the endpoint.
pub(super) fn build(
    operation: &Operation,
    arguments: &Map<String, Value>,
    endpoint: &Endpoint,
) -> Result<Call> {
    // Some models fill what they leave out with null.
    let schema = &operation.arguments;
    let optional = |name: &str| !schema["required"].as_array().is_some_and(|r| r.iter().any(|n| n == name));
    let given: Map<String, Value> = arguments
        .iter()
        .filter(|(name, value)| !(value.is_null() && optional(name)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let given = Value::Object(given);
    if let Some(why) = fault(&given, schema, "arguments") {
        return Err(Error::invalid_input(why));
    }
    let mut path = operation.path.clone();
    for parameter in operation.parameters.iter().filter(|p| p.place == Place::Path) {
        let text = scalar(&given[&parameter.argument])?;
        if text.is_empty() || text == "." || text == ".." {
            return Err(Error::invalid_input(format!("{} can't be a part of the path", parameter.argument)));
        }
        // What a value holds is encoded: no brace of another parameter is in it.
        path = path.replace(&format!("{{{}}}", parameter.name), &encoded(&text));
    }
    let mut request = HttpRequest::new(operation.method, endpoint, &path)?;
    for (name, value) in endpoint.base().query_pairs() {
        // A name that the application sets is not the model's.
        let taken = operation
            .parameters
            .iter()
            .any(|p| p.place == Place::Query && *p.name == *name && !given[&p.argument].is_null());
        if taken {
            return Err(Error::invalid_input(format!("{name} can't be set")));
        }
        drop(value);
    }
    let mut query = Vec::new();
    for parameter in &operation.parameters {
        let value = &given[&parameter.argument];
        match parameter.place {
            _ if value.is_null() => {}
            Place::Path => {}
            Place::Query => {
                let list: Vec<&Value> = match value {
                    Value::Array(list) => list.iter().collect(),
                    one => vec![one],
                };
                if list.len() > MOST_LIST {
                    return Err(Error::invalid_input(format!("{} has too many values", parameter.argument)));
                }
                for value in list {
                    let text = scalar(value)?;
                    request = request.with_query(&parameter.name, &text);
                    query.push(json!([parameter.name, text]));
                }
            }
            Place::Header => {
                let text = scalar(value)?;
                if request.header(&parameter.name).is_some() {
                    return Err(Error::invalid_input(format!("{} can't be set", parameter.argument)));
                }
                request = request.with_header(parameter.name.clone(), text);
            }
        }
    }
    if operation.has_body && !given["body"].is_null() {
        let size = given["body"].to_string().len();
        if size > MOST_BODY {
            return Err(Error::invalid_input("the body is larger than the limit"));
        }
        request = request.with_json(&given["body"])?;
    }
    let told = json!({"operation": operation.id, "method": method_name(operation.method), "path": path, "query": query, "body": given["body"]});
    Ok(Call { request, told })
}
