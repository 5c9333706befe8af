//! Messages and their parts, in order, as users store them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Instructions from the application.
    System,
    /// The person (or the program in their place).
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// Image, audio, video or file content: inline base64 data or an address.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Media {
    /// The bytes, as standard base64 with padding.
    Base64 {
        /// MIME type, such as `image/png`.
        mime: String,
        /// Base64 text.
        data: String,
    },
    /// An address that the vendor fetches itself.
    Url {
        /// MIME type if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mime: Option<String>,
        /// The address.
        url: String,
    },
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Base64 { mime, data } => write!(f, "Media({mime}, {} base64 bytes)", data.len()),
            Self::Url { mime, .. } => write!(f, "Media({}, url)", mime.as_deref().unwrap_or("?")),
        }
    }
}

/// A request by the model to call a tool. The arguments are kept as the model's text, so that nothing is lost when it was cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// The call's id, referred to by its result.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments as the model wrote them: JSON text, empty for none.
    pub arguments: String,
}

impl ToolCall {
    /// A call.
    pub fn new(id: impl Into<String>, name: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self { id: id.into(), name: name.into(), arguments: arguments.into() }
    }

    /// The arguments parsed; empty text counts as `{}`.
    ///
    /// # Errors
    /// Kind `InvalidOutput` if the text is not JSON of the expected shape.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> crate::Result<T> {
        let text = if self.arguments.trim().is_empty() { "{}" } else { &self.arguments };
        serde_json::from_str(text).map_err(|e| {
            crate::Error::invalid_output("the tool call's arguments don't fit its schema")
                .with_context("tool", self.name.clone())
                .with_source(e)
        })
    }
}

/// What a tool gave back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolResult {
    /// Id of the call that this answers.
    pub call_id: String,
    /// The tool's name.
    pub name: String,
    /// Text and media, in order.
    pub parts: Vec<Part>,
    /// True if the tool failed and the text says why.
    #[serde(default)]
    pub is_error: bool,
}

impl ToolResult {
    /// A text result for `call`.
    pub fn text(call: &ToolCall, text: impl Into<String>) -> Self {
        Self {
            call_id: call.id.clone(),
            name: call.name.clone(),
            parts: vec![Part::text(text)],
            is_error: false,
        }
    }

    /// The same result, marked as a failure.
    pub fn with_error(mut self) -> Self {
        self.is_error = true;
        self
    }
}

/// One piece of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// A picture.
    Image {
        /// Where it is.
        media: Media,
    },
    /// Sound.
    Audio {
        /// Where it is.
        media: Media,
    },
    /// A video.
    Video {
        /// Where it is.
        media: Media,
    },
    /// A file, such as a PDF.
    File {
        /// Where it is.
        media: Media,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The model's reasoning, with the vendor's opaque signature where there is one.
    Reasoning {
        /// Readable reasoning; may be empty.
        text: String,
        /// Opaque proof that must be sent back unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
    },
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// A tool's answer.
    ToolResult(ToolResult),
    /// The model declined, in its own words.
    Refusal {
        /// The words.
        text: String,
    },
    /// Something only its vendor understands; kept and sent back unchanged.
    Opaque {
        /// The vendor's name.
        vendor: String,
        /// The item.
        value: Value,
    },
}

impl Part {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// What kind of part this is.
    pub fn kind(&self) -> PartKind {
        match self {
            Self::Text { .. } => PartKind::Text,
            Self::Reasoning { .. } => PartKind::Reasoning,
            Self::ToolCall(_) => PartKind::ToolCall,
            Self::Refusal { .. } => PartKind::Refusal,
            _ => PartKind::Other,
        }
    }
}

/// The kind of a streamed part; says what its deltas are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PartKind {
    /// Deltas are text of the answer.
    Text,
    /// Deltas are reasoning.
    Reasoning,
    /// Deltas are pieces of the arguments' JSON text.
    ToolCall,
    /// Deltas are text of a refusal.
    Refusal,
    /// No deltas; the part comes whole at its end.
    Other,
}

/// The version of the stored form; [`Message`]'s JSON carries it as `v` when it is not 1.
pub const MESSAGE_FORMAT: u32 = 1;

/// One turn: a role and its parts in order.
///
/// ```
/// use katena_core::Message;
/// let message = Message::user("What is a catena?");
/// let json = serde_json::to_string(&message).unwrap();
/// assert_eq!(json, r#"{"role":"user","parts":[{"type":"text","text":"What is a catena?"}]}"#);
/// assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub parts: Vec<Part>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<PartKind> = self.parts.iter().map(Part::kind).collect();
        f.debug_struct("Message").field("role", &self.role).field("parts", &kinds).finish()
    }
}

impl Message {
    /// A message of any role.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts }
    }

    /// Instructions from the application.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, vec![Part::text(text)])
    }

    /// A person's text.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, vec![Part::text(text)])
    }

    /// The model's text.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, vec![Part::text(text)])
    }

    /// A tool's result.
    pub fn tool(result: ToolResult) -> Self {
        Self::new(Role::Tool, vec![Part::ToolResult(result)])
    }

    /// All text parts joined; reasoning, refusals and tool parts are left out.
    pub fn text(&self) -> String {
        self.parts
            .iter()
            .filter_map(|p| if let Part::Text { text } = p { Some(text.as_str()) } else { None })
            .collect()
    }

    /// The tool calls, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|p| if let Part::ToolCall(call) = p { Some(call) } else { None })
    }
}
