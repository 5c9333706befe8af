//! The subset of OpenAPI 3 that the chain can call.

use std::collections::BTreeSet;
use std::fmt;

use katena_core::{Error, Result};
use katena_http::Method;
use serde_json::{Map, Value, json};

use super::schema::Plainer;

/// The longest description, in bytes.
const MOST_BYTES: usize = 4 << 20;
/// Most operations.
const MOST_OPERATIONS: usize = 500;
/// Most parts of schemas.
const MOST_PARTS: usize = 100_000;

/// Where a parameter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Path,
    Query,
    Header,
}

/// A parameter; its schema stands in the operation's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// Its name among the arguments.
    pub(super) argument: String,
    pub(super) place: Place,
}

/// One thing that an API can do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Operation {
    /// Its id: the description's `operationId`, or made from method and path.
    pub id: String,
    /// The method.
    pub method: Method,
    /// The path, with `{parameters}`.
    pub path: String,
    /// What it does, in the description's words, at most 500 characters.
    pub summary: String,
    /// JSON Schema of the arguments: an object with a property for each parameter, and `body`.
    pub arguments: Value,
    pub(super) parameters: Vec<Parameter>,
    pub(super) has_body: bool,
}

/// An operation that can't be called, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// Method and path.
    pub operation: String,
    /// Why.
    pub reason: String,
}

/// What an API can do, read from an OpenAPI 3 description in JSON.
///
/// Read are paths, parameters in path, query and header (default styles), JSON bodies, and references within
/// `#/components`. Servers and security schemes are not: the application says where to call and with which key. An operation
/// that needs more is [skipped](Self::skipped) with the reason, never called in another way than described.
///
/// Limits: 4 MiB, 500 operations, schemas 8 levels deep.
///
/// ```
/// use katena_chains::api::ApiSpec;
/// let spec = ApiSpec::parse(r##"{"openapi": "3.0.3", "paths": {"/users/{id}": {"get": {
///     "operationId": "user", "summary": "One user", "parameters": [
///         {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}}]}}}}"##)?;
/// assert_eq!(spec.operations()[0].arguments["required"][0], "id");
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ApiSpec {
    operations: Vec<Operation>,
    skipped: Vec<Skipped>,
}

impl fmt::Debug for ApiSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiSpec")
            .field("operations", &self.operations.iter().map(|o| &o.id).collect::<Vec<_>>())
            .field("skipped", &self.skipped.len())
            .finish()
    }
}

impl ApiSpec {
    /// Reads a description.
    ///
    /// # Errors
    /// `InvalidInput` if it is no JSON of the shape, or beyond the limits; `Unsupported` for another version than 3.
    pub fn parse(json: &str) -> Result<Self> {
        if json.len() > MOST_BYTES {
            return Err(Error::invalid_input("the description is longer than the limit")
                .with_context("limit", format!("{MOST_BYTES} bytes")));
        }
        let root: Value = serde_json::from_str(json)
            .map_err(|e| Error::invalid_input("the description is no JSON").with_source(e))?;
        if !root["openapi"].as_str().is_some_and(|v| v.starts_with("3.")) {
            return Err(Error::unsupported("only descriptions by OpenAPI 3 can be read"));
        }
        let paths =
            root["paths"].as_object().ok_or_else(|| Error::invalid_input("the description has no paths"))?;
        let mut plainer = Plainer { root: &root, left: MOST_PARTS };
        let (mut operations, mut skipped) = (Vec::new(), Vec::new());
        let mut ids = BTreeSet::new();
        for (path, item) in paths {
            let item = plainer.resolved(item)?;
            for (word, method) in [
                ("get", Method::Get),
                ("post", Method::Post),
                ("put", Method::Put),
                ("patch", Method::Patch),
                ("delete", Method::Delete),
            ] {
                let Some(found) = item.get(word) else { continue };
                match operation(&mut plainer, path, item, word, method, found)? {
                    Ok(operation) if ids.insert(operation.id.clone()) => operations.push(operation),
                    Ok(_) => skipped.push(Skipped::new(word, path, "another operation has the same id")),
                    Err(reason) => skipped.push(Skipped::new(word, path, reason)),
                }
                if operations.len() + skipped.len() > MOST_OPERATIONS {
                    return Err(Error::invalid_input("the description has more operations than the limit")
                        .with_context("limit", MOST_OPERATIONS.to_string()));
                }
            }
        }
        Ok(Self { operations, skipped })
    }

    /// What can be called, with whatever method.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// What can't be called.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Only these operations, by id.
    pub fn with_only<S: AsRef<str>>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        let ids: Vec<S> = ids.into_iter().collect();
        self.operations.retain(|o| ids.iter().any(|i| i.as_ref() == o.id));
        self
    }
}

impl Skipped {
    fn new(method: &str, path: &str, reason: impl Into<String>) -> Self {
        Self { operation: format!("{method} {path}"), reason: reason.into() }
    }
}

/// Headers that are the application's or the connection's.
fn is_reserved(header: &str) -> bool {
    let name = header.to_ascii_lowercase();
    let starts = [
        "proxy-",
        "sec-",
        "x-forwarded",
        "content-",
        "access-control-",
        "x-http-method",
        "x-original",
        "x-amz-",
        "x-real",
    ];
    let names = [
        "accept",
        "authorization",
        "cookie",
        "set-cookie",
        "host",
        "connection",
        "transfer-encoding",
        "te",
        "upgrade",
        "via",
        "forwarded",
        "expect",
        "trailer",
        "keep-alive",
        "origin",
        "referer",
        "user-agent",
        "x-api-key",
        "api-key",
        "x-auth-token",
        "x-csrf-token",
    ];
    starts.iter().any(|s| name.starts_with(s))
        || names.contains(&name.as_str())
        || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        || name.is_empty()
}

fn clean_id(text: &str) -> String {
    let id: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '_' })
        .take(64)
        .collect();
    id.trim_matches('_').to_owned()
}

/// The operation, or the reason why it can't be called.
fn operation<'s>(
    plainer: &mut Plainer<'s>,
    path: &str,
    item: &'s Value,
    word: &str,
    method: Method,
    found: &'s Value,
) -> Result<Result<Operation, &'static str>> {
    if !path.starts_with('/')
        || path.contains(['?', '#', '\\', '%'])
        || path.split('/').any(|s| s == "." || s == "..")
    {
        return Ok(Err("the path is none"));
    }
    let mut parameters: Vec<&Value> = Vec::new();
    for source in [item, found] {
        for parameter in source.get("parameters").and_then(Value::as_array).into_iter().flatten() {
            let parameter = plainer.resolved(parameter)?;
            parameters.retain(|p| p["name"] != parameter["name"] || p["in"] != parameter["in"]);
            parameters.push(parameter);
        }
    }
    let (mut properties, mut required, mut used) = (Map::new(), Vec::new(), Vec::new());
    for parameter in parameters {
        let needed = parameter["required"] == true;
        let name = parameter["name"].as_str().unwrap_or_default();
        let (place, style) = match parameter["in"].as_str() {
            Some("path") => (Place::Path, "simple"),
            Some("query") => (Place::Query, "form"),
            Some("header") if !is_reserved(name) => (Place::Header, "simple"),
            // The application's own headers are not the model's to set.
            Some("header") => continue,
            _ if needed => return Ok(Err("a parameter stands where none can be set, such as in a cookie")),
            _ => continue,
        };
        let schema =
            parameter.get("schema").filter(|_| parameter["style"].as_str().is_none_or(|s| s == style));
        let Some(schema) = schema.filter(|_| !name.is_empty()) else {
            if needed {
                return Ok(Err("a parameter has a form that can't be written"));
            }
            continue;
        };
        let mut schema = plainer.plain(schema, 0)?;
        if schema["type"] == "object" || place != Place::Query && schema["type"] == "array" {
            if needed {
                return Ok(Err("a parameter has a form that can't be written"));
            }
            continue;
        }
        if let Some(text) = parameter["description"].as_str() {
            schema["description"] = text.chars().take(300).collect::<String>().into();
        }
        let mut argument = clean_id(name);
        if properties.contains_key(&argument) || argument == "body" || argument.is_empty() {
            argument = format!("{argument}_{}", properties.len() + 1);
        }
        if needed || place == Place::Path {
            required.push(argument.clone());
        }
        properties.insert(argument.clone(), schema);
        used.push(Parameter { name: name.to_owned(), argument, place });
    }
    let is_path = |name: &str| used.iter().any(|p| p.place == Place::Path && p.name == name);
    let holes = path.split('{').skip(1).map(|h| h.split('}').next().unwrap_or_default());
    if path.matches('{').count() != path.matches('}').count() || !holes.clone().all(is_path) {
        return Ok(Err("the path has a parameter that is not described"));
    }
    used.retain(|p| p.place != Place::Path || path.contains(&format!("{{{}}}", p.name)));
    let mut has_body = false;
    if let Some(body) = found.get("requestBody") {
        let body = plainer.resolved(body)?;
        let json = body["content"].as_object().and_then(|c| {
            c.iter()
                .find(|(kind, _)| kind.split(';').next() == Some("application/json"))
                .map(|(_, media)| media)
        });
        match json {
            Some(media) if !matches!(method, Method::Get | Method::Delete) => {
                let schema = media.get("schema").map_or(Ok(json!({})), |s| plainer.plain(s, 0))?;
                properties.insert("body".to_owned(), schema);
                has_body = true;
                if body["required"] == true {
                    required.push("body".to_owned());
                }
            }
            _ if body["required"] == true => return Ok(Err("the body is none of JSON")),
            _ => {}
        }
    }
    let id = found["operationId"].as_str().map(clean_id).filter(|id| !id.is_empty());
    let words = [&found["summary"], &found["description"]];
    let words: Vec<&str> = words.into_iter().filter_map(Value::as_str).collect();
    Ok(Ok(Operation {
        id: id.unwrap_or_else(|| clean_id(&format!("{word}{}", path.replace('/', "_")))),
        method,
        path: path.to_owned(),
        summary: words
            .join(". ")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(500)
            .collect(),
        arguments: json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false}),
        parameters: used,
        has_body,
    }))
}
