//! Files that are sent once and named later: `/files`.

use bytes::Bytes;
use katena_core::{Context, Error, MediaFile, Part, Result};
use katena_http::multipart::Form;
use katena_http::{HttpRequest, Secret};
use serde_json::{Value, json};

use super::service::{Service, builders};
use crate::fields::{count, word};

/// The files of an account at OpenAI, or at a server with the same routes.
///
/// ```no_run
/// use katena_core::{ChatModel, ChatRequest, Context, MediaFile, Message, Part, Role};
/// use katena_llms::{OpenAiChat, media::OpenAiFiles};
/// # async fn f(pdf: Vec<u8>) -> katena_core::Result<()> {
/// let files = OpenAiFiles::from_env()?;
/// let file = files.upload(MediaFile::new("a.pdf", "application/pdf", pdf), "user_data", &Context::new()).await?;
/// let question = Message::new(Role::User, vec![Part::text("What is this?"), file.chat_part()]);
/// let answer = OpenAiChat::from_env("gpt-5-mini")?.generate(&ChatRequest::new([question])).await?;
/// files.delete(&file.id, &Context::new()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct OpenAiFiles {
    service: Service,
}

builders!(OpenAiFiles);

/// A file at a vendor.
///
/// ```
/// use katena_core::Part;
/// use katena_llms::media::UploadedFile;
/// let file = UploadedFile::new("openai", "file-1");
/// assert!(matches!(file.chat_part(), Part::Opaque { vendor, .. } if vendor == "openai"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadedFile {
    /// Who has it.
    pub vendor: String,
    /// Its id there.
    pub id: String,
    /// Its name.
    pub name: Option<String>,
    /// Its size in bytes.
    pub bytes: Option<u64>,
    /// What it is for, in the vendor's words.
    pub purpose: Option<String>,
    /// How far the vendor is with it, in its words.
    pub status: Option<String>,
    /// When it will be removed, in seconds since 1970.
    pub expires_at: Option<u64>,
}

impl UploadedFile {
    /// A file of which only the id is known.
    pub fn new(vendor: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            vendor: vendor.into(),
            id: id.into(),
            name: None,
            bytes: None,
            purpose: None,
            status: None,
            expires_at: None,
        }
    }

    /// The part of a user's message that names this file to `OpenAiChat`.
    pub fn chat_part(&self) -> Part {
        let value = json!({"type": "file", "file": {"file_id": self.id}});
        Part::Opaque { vendor: self.vendor.clone(), value }
    }

    /// The part of a user's message that names this file to `OpenAiResponses`.
    pub fn responses_part(&self) -> Part {
        Part::Opaque { vendor: self.vendor.clone(), value: json!({"type": "input_file", "file_id": self.id}) }
    }

    fn read(value: &Value, vendor: &str) -> Result<Self> {
        let Some(id) = word(value, "id") else {
            return Err(Error::invalid_output("the server's reply is no file"));
        };
        let mut file = Self::new(vendor, id);
        file.name = word(value, "filename");
        file.bytes = count(value, "bytes");
        file.purpose = word(value, "purpose");
        file.status = word(value, "status");
        file.expires_at = count(value, "expires_at");
        Ok(file)
    }
}

impl OpenAiFiles {
    /// The files of an account at OpenAI's own service.
    ///
    /// ```
    /// let files = katena_llms::media::OpenAiFiles::new("sk-123");
    /// assert!(!format!("{files:?}").contains("sk-123"));
    /// ```
    pub fn new(key: impl Into<Secret>) -> Self {
        Self { service: Service::official("").with_key(key.into()) }
    }

    /// The files of a server with the same routes, without a key; [`with_api_key`](Self::with_api_key) adds one.
    ///
    /// # Errors
    /// Kind `Config` if `base_url` is no `http` or `https` address, or has a user name or password in it.
    pub fn compatible(base_url: impl AsRef<str>) -> Result<Self> {
        Ok(Self { service: Service::official("").with_base(base_url)? })
    }

    /// By the environment, as [`OpenAiImages::from_env`](super::OpenAiImages::from_env).
    ///
    /// # Errors
    /// Kind `Unauthenticated` if the key is missing, `Config` for a bad base URL.
    pub fn from_env() -> Result<Self> {
        Ok(Self { service: Service::from_lookup(String::new(), |name| std::env::var(name).ok())? })
    }

    /// Sends a file, for a purpose in the vendor's words: `user_data` for files in messages, `batch`, `vision`, …
    ///
    /// # Errors
    /// Kind `InvalidInput` for a file beyond the limit of forms; else those of the call.
    pub async fn upload(&self, file: MediaFile, purpose: &str, context: &Context) -> Result<UploadedFile> {
        let form = Form::new().with_text("purpose", purpose);
        let form = form.with_file("file", file.name, file.mime, Bytes::from_owner(file.bytes));
        self.read(self.service.post_form("files", &form, context)?).await
    }

    /// What is known of a file.
    ///
    /// # Errors
    /// Kind `NotFound` if there is none of this id; else those of the call.
    pub async fn get(&self, id: &str, context: &Context) -> Result<UploadedFile> {
        context.check()?;
        let call = HttpRequest::get(&self.service.endpoint, &path(id)?)?;
        self.read(call.with_context(context.clone())).await
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Kind `NotFound` if there is none of this id; `InvalidOutput` if the server does not confirm it; else those of the
    /// call.
    pub async fn delete(&self, id: &str, context: &Context) -> Result<()> {
        context.check()?;
        let call = HttpRequest::new(katena_http::Method::Delete, &self.service.endpoint, &path(id)?)?;
        let (value, reply) = self.service.json(call.with_context(context.clone())).await?;
        // Some servers say `"type": "file_deleted"` in place of `"deleted": true`.
        let gone = value.get("deleted").and_then(Value::as_bool).unwrap_or(value.get("id").is_some());
        if gone {
            return Ok(());
        }
        Err(reply.mark(Error::invalid_output("the server does not confirm that the file is removed")))
    }

    async fn read(&self, call: HttpRequest) -> Result<UploadedFile> {
        let (value, reply) = self.service.json(call).await?;
        UploadedFile::read(&value, &self.service.info.vendor).map_err(|e| reply.mark(e))
    }
}

/// The path of a file; an id that could lead elsewhere is refused.
fn path(id: &str) -> Result<String> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if id.is_empty() || id.starts_with('.') || !id.bytes().all(fine) {
        return Err(Error::invalid_input("this is no id of a file"));
    }
    Ok(format!("files/{id}"))
}
