//! Prompts of several messages.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use katena_core::{Chain, ChatRequest, Error, Media, Message, Part, Result, Role, Run};
use serde_json::Value;

use crate::format::Format;
use crate::template::{Bound, PromptTemplate, Scope, free, missing};
use crate::vars::{Var, Vars};

/// A piece of a message.
#[derive(Clone)]
enum Piece {
    Text(PromptTemplate),
    /// A variable that holds a part.
    Media(String),
    Fixed(Part),
}

#[derive(Clone)]
enum Item {
    Message { role: Role, pieces: Vec<Piece> },
    Fixed(Message),
    Placeholder { name: String, optional: bool },
}

/// A conversation with variables, compiled once; a chain from [`Vars`] to a [`ChatRequest`], ready for
/// [`.chat(model)`](katena_core::ChainExt::chat).
///
/// A variable that is missing is an error, a missing placeholder too unless it is optional.
///
/// ```
/// use katena_core::{Message, Role};
/// use katena_prompts::{ChatPrompt, vars};
/// let prompt = ChatPrompt::builder()
///     .system("You speak {language}.")
///     .placeholder("history")
///     .user("{question}")
///     .build()?;
/// assert_eq!(prompt.variables(), ["language", "history", "question"]);
/// let vars = vars! { "language" => "Dutch", "question" => "Hoe gaat het?" }
///     .with_messages("history", vec![Message::user("Hoi"), Message::assistant("Dag!")]);
/// let messages = prompt.render(&vars)?;
/// assert_eq!(messages.len(), 4);
/// assert_eq!((messages[0].role, messages[0].text().as_str()), (Role::System, "You speak Dutch."));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ChatPrompt {
    items: Arc<[Item]>,
    variables: Arc<[String]>,
    optional: Arc<[String]>,
    bound: Bound,
    base: Option<Arc<ChatRequest>>,
}

impl fmt::Debug for ChatPrompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatPrompt")
            .field("messages", &self.items.len())
            .field("variables", &self.variables)
            .finish_non_exhaustive()
    }
}

impl ChatPrompt {
    /// Compiles messages of that format.
    ///
    /// # Errors
    /// Kind `Config` with the message's number and the line if a template is wrong.
    pub fn new<S: AsRef<str>>(format: Format, messages: impl IntoIterator<Item = (Role, S)>) -> Result<Self> {
        let builder = Self::builder().with_format(format);
        messages.into_iter().fold(builder, |b, (role, text)| b.message(role, text)).build()
    }

    /// Compiles messages that are [f-strings](Format::FString).
    ///
    /// # Errors
    /// Kind `Config` with the message's number and the line if a template is wrong.
    pub fn fstring<S: AsRef<str>>(messages: impl IntoIterator<Item = (Role, S)>) -> Result<Self> {
        Self::new(Format::FString, messages)
    }

    /// Compiles messages that are [Handlebars templates](Format::Handlebars).
    ///
    /// # Errors
    /// Kind `Config` with the message's number and the line if a template is wrong.
    #[cfg(feature = "handlebars")]
    pub fn handlebars<S: AsRef<str>>(messages: impl IntoIterator<Item = (Role, S)>) -> Result<Self> {
        Self::new(Format::Handlebars, messages)
    }

    /// Compiles messages that are [Jinja templates](Format::Jinja).
    ///
    /// # Errors
    /// Kind `Config` with the message's number and the line if a template is wrong.
    #[cfg(feature = "jinja")]
    pub fn jinja<S: AsRef<str>>(messages: impl IntoIterator<Item = (Role, S)>) -> Result<Self> {
        Self::new(Format::Jinja, messages)
    }

    /// Puts a prompt together piece by piece.
    pub fn builder() -> ChatPromptBuilder {
        ChatPromptBuilder::default()
    }

    /// Binds a variable; a value given at the call wins.
    pub fn with_partial_value(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.bound.set(name.into(), value.into());
        self.rebound()
    }

    /// Binds a variable to what the function gives at each call, such as the day's date.
    pub fn with_partial_fn<V: Into<Value>>(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Fn() -> V + Send + Sync + 'static,
    ) -> Self {
        self.bound.set_maker(name.into(), Arc::new(move || value().into()));
        self.rebound()
    }

    /// Sets what the request carries beside its messages: options, tools, form of the answer. Its own messages come first.
    pub fn with_request(mut self, request: ChatRequest) -> Self {
        self.base = Some(Arc::new(request));
        self
    }

    fn rebound(mut self) -> Self {
        self.variables = free(needed(&self.items).into_iter(), &self.bound);
        self
    }

    /// The variables that must be given, in the order of their first use.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// The placeholders that may be left out.
    pub fn optional_variables(&self) -> &[String] {
        &self.optional
    }

    /// Checks that whoever gives these variables gives all that the prompt needs.
    ///
    /// # Errors
    /// Kind `Config` naming the first variable that would be missing.
    pub fn ensure_given(&self, names: &[&str]) -> Result<()> {
        match self.variables.iter().find(|v| !names.contains(&v.as_str())) {
            Some(name) => Err(Error::config("the prompt needs a variable that is not given here")
                .with_context("variable", name.clone())
                .with_context("given", names.join(", "))),
            None => Ok(()),
        }
    }

    /// Checks that the prompt uses these variables.
    ///
    /// # Errors
    /// Kind `Config` naming the first variable that it does not use.
    pub fn ensure_uses(&self, names: &[&str]) -> Result<()> {
        let used = |name: &str| {
            self.variables.iter().chain(&*self.optional).any(|v| v == name)
                || self.bound.names().any(|v| v == name)
        };
        match names.iter().find(|n| !used(n)) {
            Some(name) => Err(Error::config("the prompt does not use a variable that it must use")
                .with_context("variable", *name)),
            None => Ok(()),
        }
    }

    /// Fills the prompt.
    ///
    /// # Errors
    /// Kind `InvalidInput` if a variable is missing or does not fit its place, or a text becomes too long.
    pub fn render(&self, vars: &Vars) -> Result<Vec<Message>> {
        let mut messages = Vec::with_capacity(self.items.len());
        self.render_into(vars, &mut messages)?;
        Ok(messages)
    }

    fn render_into(&self, vars: &Vars, messages: &mut Vec<Message>) -> Result<()> {
        let bound = self.bound.values(vars);
        let scope = Scope { vars, bound: &bound };
        for item in &*self.items {
            match item {
                Item::Message { role, pieces } => messages.push(message(*role, pieces, &scope)?),
                Item::Fixed(message) => messages.push(message.clone()),
                Item::Placeholder { name, optional } => match scope.find(name) {
                    Some(Var::Messages(list)) => messages.extend_from_slice(list),
                    Some(_) => {
                        return Err(Error::invalid_input("a placeholder takes messages")
                            .with_context("variable", name.clone()));
                    }
                    None if *optional => {}
                    None => return Err(missing(name)),
                },
            }
        }
        Ok(())
    }

    /// Fills the prompt as a request, with what [`with_request`](ChatPrompt::with_request) set.
    ///
    /// # Errors
    /// As [`render`](ChatPrompt::render).
    pub fn request(&self, vars: &Vars) -> Result<ChatRequest> {
        let Some(base) = &self.base else {
            return Ok(ChatRequest::new(self.render(vars)?));
        };
        let mut request = ChatRequest::clone(base);
        request.messages.reserve_exact(self.items.len());
        self.render_into(vars, &mut request.messages)?;
        Ok(request)
    }
}

fn needed(items: &[Item]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for item in items {
        match item {
            Item::Message { pieces, .. } => {
                for piece in pieces {
                    match piece {
                        Piece::Text(template) => {
                            names.extend(template.variables().iter().map(String::as_str));
                        }
                        Piece::Media(name) => names.push(name),
                        Piece::Fixed(_) => {}
                    }
                }
            }
            Item::Placeholder { name, optional: false } => names.push(name),
            Item::Placeholder { .. } | Item::Fixed(_) => {}
        }
    }
    names
}

fn message(role: Role, pieces: &[Piece], scope: &Scope<'_>) -> Result<Message> {
    let mut parts = Vec::with_capacity(pieces.len());
    for piece in pieces {
        parts.push(match piece {
            Piece::Text(template) => Part::Text { text: template.render_in(scope)? },
            Piece::Fixed(part) => part.clone(),
            Piece::Media(name) => match scope.find(name) {
                Some(Var::Part(part)) => (**part).clone(),
                Some(Var::Value(Value::String(url))) => {
                    Part::Image { media: Media::Url { mime: None, url: url.clone() } }
                }
                Some(_) => {
                    return Err(Error::invalid_input("this place takes a part, such as an image")
                        .with_context("variable", name.clone()));
                }
                None => return Err(missing(name)),
            },
        });
    }
    Ok(Message::new(role, parts))
}

#[async_trait]
impl Chain for ChatPrompt {
    type Input = Vars;
    type Output = ChatRequest;
    async fn call(&self, input: Vars, _run: &Run) -> Result<ChatRequest> {
        self.request(&input)
    }
}

/// Puts a [`ChatPrompt`] together; what is wrong is told by [`build`](ChatPromptBuilder::build).
///
/// ```
/// use katena_core::{Media, Part};
/// use katena_prompts::{ChatPrompt, vars};
/// let prompt = ChatPrompt::builder().user("What is in this picture of {place}?").image("picture").build()?;
/// let picture = Part::Image { media: Media::Url { mime: None, url: "https://example.org/a.png".into() } };
/// let messages = prompt.render(&vars! { "place" => "Delft" }.with_part("picture", picture))?;
/// assert_eq!(messages[0].parts.len(), 2);
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Default)]
pub struct ChatPromptBuilder {
    format: Format,
    max_bytes: Option<usize>,
    items: Vec<Item>,
    error: Option<Error>,
}

impl fmt::Debug for ChatPromptBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatPromptBuilder").field("messages", &self.items.len()).finish_non_exhaustive()
    }
}

impl ChatPromptBuilder {
    /// Sets the format of the texts that follow; [`Format::FString`] at first.
    pub fn with_format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// Limits each text that follows, in bytes; see [`PromptTemplate::with_max_bytes`].
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Adds a message with variables.
    pub fn message(mut self, role: Role, text: impl AsRef<str>) -> Self {
        match PromptTemplate::new(self.format, text.as_ref()) {
            Ok(mut template) => {
                if let Some(bytes) = self.max_bytes {
                    template = template.with_max_bytes(bytes);
                }
                self.items.push(Item::Message { role, pieces: vec![Piece::Text(template)] });
            }
            Err(error) => {
                let number = (self.items.len() + 1).to_string();
                self.error.get_or_insert(error.with_context("message", number));
            }
        }
        self
    }

    /// Adds a system message with variables.
    pub fn system(self, text: impl AsRef<str>) -> Self {
        self.message(Role::System, text)
    }

    /// Adds a user message with variables.
    pub fn user(self, text: impl AsRef<str>) -> Self {
        self.message(Role::User, text)
    }

    /// Adds an assistant message with variables.
    pub fn assistant(self, text: impl AsRef<str>) -> Self {
        self.message(Role::Assistant, text)
    }

    /// Adds a ready template as a message, with the variables that are bound in it.
    pub fn template(mut self, role: Role, template: PromptTemplate) -> Self {
        self.items.push(Item::Message { role, pieces: vec![Piece::Text(template)] });
        self
    }

    /// Adds a message as it is; braces in it mean nothing.
    pub fn fixed(mut self, message: Message) -> Self {
        self.items.push(Item::Fixed(message));
        self
    }

    /// Adds a place for messages, such as the history. Leaving it out is an error.
    pub fn placeholder(mut self, name: impl Into<String>) -> Self {
        self.items.push(Item::Placeholder { name: name.into(), optional: false });
        self
    }

    /// Adds a place for messages that may be left out.
    pub fn optional_placeholder(mut self, name: impl Into<String>) -> Self {
        self.items.push(Item::Placeholder { name: name.into(), optional: true });
        self
    }

    /// Adds a place for an image, or another part, to the last message if it is the user's, else in a user message of its
    /// own. A text given for it is the image's address.
    pub fn image(self, name: impl Into<String>) -> Self {
        self.piece(Piece::Media(name.into()))
    }

    /// Adds a part that is always the same, where [`image`](ChatPromptBuilder::image) would put it.
    pub fn part(self, part: Part) -> Self {
        self.piece(Piece::Fixed(part))
    }

    fn piece(mut self, piece: Piece) -> Self {
        match self.items.last_mut() {
            Some(Item::Message { role: Role::User, pieces }) => pieces.push(piece),
            _ => self.items.push(Item::Message { role: Role::User, pieces: vec![piece] }),
        }
        self
    }

    /// The prompt.
    ///
    /// # Errors
    /// Kind `Config` with the message's number and the line if a template is wrong.
    pub fn build(self) -> Result<ChatPrompt> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let optional = self.items.iter().filter_map(|item| match item {
            Item::Placeholder { name, optional: true } => Some(name.as_str()),
            _ => None,
        });
        Ok(ChatPrompt {
            variables: free(needed(&self.items).into_iter(), &Bound::default()),
            optional: free(optional, &Bound::default()),
            items: self.items.into(),
            bound: Bound::default(),
            base: None,
        })
    }
}
