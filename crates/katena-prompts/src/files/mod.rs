//! Prompts in files: front matter, body, partials; a folder of them; a lint.

mod front;
mod library;
mod lint;
mod schema;

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use katena_core::{Chain, ChatRequest, Context, Error, Labels, Message, ResponseFormat, Result, Run};
use serde_json::Value;

pub use library::{PromptLibrary, Reloaded};
pub use lint::{Finding, LintReport, Severity, lint};

use self::front::{Piece, shifted};
use self::schema::InputSchema;
use crate::chat::ChatPrompt;
use crate::format::Format;
use crate::partials::Partials;
use crate::template::PromptTemplate;
use crate::vars::Vars;

/// Larger files are refused.
const MAX_FILE: u64 = 1 << 20;

/// A prompt from a file: name, version, model, options, input and output schema, and messages. A chain from [`Vars`] to a
/// [`ChatRequest`] whose labels `prompt` and `prompt_hash` tell ledgers and traces what was asked.
///
/// The file has front matter in YAML between two lines of three dashes, then messages, each after a mark:
///
/// ```
/// # futures_util::FutureExt::now_or_never(async {
/// use katena_core::{ChainExt, fake::EchoChat};
/// use katena_prompts::{Partials, PromptFile, vars};
/// let prompt = PromptFile::parse("\
/// ---
/// name: greet
/// version: 1.2.0
/// model: gpt-5-mini
/// options: {temperature: 0.2, max_tokens: 100}
/// input:
///   properties:
///     name: {type: string}
///     formal: {type: boolean, default: false}
///   required: [name]
/// ---
/// <<<system>>>
/// You greet people.
/// <<<user>>>
/// {{#if formal}}Good day{{else}}Hi{{/if}}, {{name}}
/// ", &Partials::new())?;
/// assert_eq!((prompt.name(), prompt.version()), (Some("greet"), Some("1.2.0")));
/// let request = prompt.run(vars! { "name" => "Ada" }).await?;
/// assert_eq!((request.messages.len(), request.max_tokens), (2, Some(100)));
/// assert_eq!(request.context.labels.get("prompt"), Some("greet@1.2.0"));
/// assert_eq!(prompt.chat(EchoChat::new()).text().run(vars! { "name" => "Ada", "formal" => true }).await?, "Good day, Ada");
/// # Ok::<(), katena_core::Error>(()) }).unwrap().unwrap();
/// ```
///
/// - Front matter: `name`, `version`, `description`, `format` (`handlebars` if it is not set, `jinja`, `f-string`,
///   `mustache`), `model`, `options` (`temperature`, `top_p`, `top_k`, `max_tokens`, `stop`, `seed`, `presence_penalty`,
///   `frequency_penalty`, `logprobs`, `reasoning_effort`, `reasoning_tokens`, `extra`), `input` and `output` (JSON Schemas).
///   Unknown fields are errors.
/// - Marks, each a line of its own: `<<<system>>>`, `<<<user>>>`, `<<<assistant>>>`, `<<<messages NAME>>>` (a placeholder;
///   `NAME?` may be left out), `<<<image NAME>>>`. A line that begins with `\<<<` is text. A body without marks is one user
///   message. Empty lines around a message are left out.
/// - Inputs are checked against `input`: required ones, and on the first level `type`, `enum`, and other names if
///   `additionalProperties` is false. Ones that are not given become their `default`, or null in Handlebars and Jinja.
/// - `output` becomes the request's response format.
#[derive(Clone)]
pub struct PromptFile {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    model: Option<String>,
    format: Format,
    input: Option<InputSchema>,
    output: Option<Value>,
    prompt: ChatPrompt,
    labels: Labels,
    hash: String,
    lines: Vec<(String, usize)>,
}

impl fmt::Debug for PromptFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptFile")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("hash", &self.hash)
            .field("prompt", &self.prompt)
            .finish_non_exhaustive()
    }
}

impl PromptFile {
    /// Reads a file. Its partials are those in a folder `partials` beside it and files `_name.hbs` beside it.
    ///
    /// # Errors
    /// Kind `NotFound` and others of the file system; `InvalidInput` if it is larger than 1 MiB or no UTF-8; `Config` with
    /// the line if it is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let told = |e: Error| e.with_context("file", path.display().to_string());
        let text = library::read(path).map_err(told)?;
        let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let partials = library::partials_beside(beside).map_err(told)?;
        Self::parse(&text, &partials).map_err(told)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// Kind `Config` with the line if it is wrong.
    pub fn parse(text: &str, partials: &Partials) -> Result<Self> {
        let (front, body, first) = front::split(text)?;
        let format = match &front.format {
            None => Format::Handlebars,
            Some(name) => Format::from_name(name).ok_or_else(|| {
                Error::config("the prompt's format is none of handlebars, jinja, f-string, mustache")
                    .with_context("format", name.clone())
            })?,
        };
        let mut builder = ChatPrompt::builder();
        let mut lines = Vec::new();
        for (piece, line) in front::body(body, first)? {
            builder = match piece {
                Piece::Message(role, text) => {
                    let template = PromptTemplate::with_partials(format, &text, partials)
                        .map_err(|e| shifted(&e, line))?;
                    lines.extend(template.variables().iter().map(|v| (v.clone(), line)));
                    builder.template(role, template)
                }
                Piece::Messages { name, optional: true } => builder.optional_placeholder(name),
                Piece::Messages { name, .. } => builder.placeholder(name),
                Piece::Image(name) => builder.image(name),
            };
        }
        let mut request = front.options.request()?;
        let input = front.input.map(InputSchema::new).transpose()?;
        let version = front.version.map(|v| v.to_string());
        if let Some(schema) = &front.output {
            if !schema.is_object() {
                return Err(Error::config("the output schema is an object"));
            }
            let name = front.name.clone().unwrap_or_else(|| "answer".to_owned());
            request.response_format = Some(ResponseFormat::JsonSchema { name, schema: schema.clone() });
        }
        let hash = hash(text, partials);
        let mut labels = Labels::new().with("prompt_hash", &hash);
        if let Some(name) = &front.name {
            let version = version.as_ref().map_or_else(String::new, |v| format!("@{v}"));
            labels = labels.with("prompt", format!("{name}{version}"));
        }
        request.context = Context::new().with_labels(labels.clone());
        Ok(Self {
            name: front.name,
            version,
            description: front.description,
            model: front.model,
            format,
            input,
            output: front.output,
            prompt: builder.build()?.with_request(request),
            labels,
            hash,
            lines,
        })
    }

    /// The prompt's name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The prompt's version.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// What it is for.
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// The model that it was written for, as the file names it.
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The language of its templates.
    pub fn format(&self) -> Format {
        self.format
    }

    /// BLAKE3 of the file and of the partials that it may include, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The labels that its requests carry: `prompt` (name and version) and `prompt_hash`.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The schema of the inputs.
    pub fn input_schema(&self) -> Option<&Value> {
        self.input.as_ref().map(|i| &i.schema)
    }

    /// The schema of the answer.
    pub fn output_schema(&self) -> Option<&Value> {
        self.output.as_ref()
    }

    /// The messages, with the options as [request](ChatPrompt::request); inputs are not checked by it.
    pub fn prompt(&self) -> &ChatPrompt {
        &self.prompt
    }

    fn checked(&self, vars: Vars) -> Result<Vars> {
        let nulls = matches!(self.format, Format::Handlebars | Format::Jinja);
        let checked = self.input.as_ref().map_or(Ok(vars.clone()), |input| input.apply(vars, nulls));
        checked.map_err(|e| self.told(e))
    }

    fn told(&self, error: Error) -> Error {
        match &self.name {
            Some(name) => error.with_context("prompt", name.clone()),
            None => error,
        }
    }

    /// Checks the inputs and fills the messages.
    ///
    /// # Errors
    /// Kind `InvalidInput` naming the variable and the prompt.
    pub fn render(&self, vars: &Vars) -> Result<Vec<Message>> {
        self.prompt.render(&self.checked(vars.clone())?).map_err(|e| self.told(e))
    }

    /// Checks the inputs and gives the request: messages, options, response format, labels.
    ///
    /// # Errors
    /// As [`render`](PromptFile::render).
    pub fn request(&self, vars: &Vars) -> Result<ChatRequest> {
        self.prompt.request(&self.checked(vars.clone())?).map_err(|e| self.told(e))
    }
}

#[async_trait]
impl Chain for PromptFile {
    type Input = Vars;
    type Output = ChatRequest;
    async fn call(&self, input: Vars, _run: &Run) -> Result<ChatRequest> {
        let span = tracing::debug_span!(
            "prompt",
            katena.prompt = self.name.as_deref().unwrap_or_default(),
            katena.prompt.version = self.version.as_deref().unwrap_or_default(),
            katena.prompt.hash = self.hash.as_str(),
        );
        span.in_scope(|| self.request(&input))
    }
}

/// The hash of a text and of those partials whose names it, or one of them, mentions.
fn hash(text: &str, partials: &Partials) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.as_bytes());
    let mut open = vec![text];
    let mut left: Vec<(&str, &str)> = partials.iter().collect();
    let mut used = std::collections::BTreeMap::new();
    while let Some(text) = open.pop() {
        left.retain(|(name, partial)| {
            let mentioned = text.contains(name);
            if mentioned {
                open.push(partial);
                used.insert(*name, *partial);
            }
            !mentioned
        });
    }
    for (name, partial) in used {
        for piece in [name, partial] {
            hasher.update(&(piece.len() as u64).to_le_bytes());
            hasher.update(piece.as_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
