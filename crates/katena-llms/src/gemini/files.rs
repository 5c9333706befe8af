//! Files that are uploaded once and named in messages.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use katena_core::{Context, Error, ErrorKind, Media, Part, Result};
use katena_http::{Endpoint, HttpClient, HttpRequest, Secret};
use serde_json::{Value, json};

use super::{DEVELOPER, DEVELOPER_BASE};

/// A file in the vendor's store, where it stays for two days.
///
/// ```
/// use katena_core::{Message, Part, Role};
/// use katena_llms::gemini::GeminiFile;
/// let file = GeminiFile::new("files/abc", "https://example.com/v1beta/files/abc", "application/pdf");
/// let message = Message::new(Role::User, vec![file.part(), Part::text("What does it say?")]);
/// assert!(matches!(message.parts[0], Part::File { .. }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GeminiFile {
    /// Its name in the store, such as `files/abc-123`.
    pub name: String,
    /// The address that messages name it by.
    pub uri: String,
    /// Its MIME type.
    pub mime: String,
    /// Its size in bytes, if known.
    pub bytes: Option<u64>,
    /// True once messages may name it.
    pub ready: bool,
}

impl GeminiFile {
    /// A file that is ready.
    pub fn new(name: impl Into<String>, uri: impl Into<String>, mime: impl Into<String>) -> Self {
        Self { name: name.into(), uri: uri.into(), mime: mime.into(), bytes: None, ready: true }
    }

    /// The part of a message that names it, by its type: image, audio, video, or file.
    pub fn part(&self) -> Part {
        let media = Media::Url { mime: Some(self.mime.clone()), url: self.uri.clone() };
        match self.mime.split('/').next() {
            Some("image") => Part::Image { media },
            Some("audio") => Part::Audio { media },
            Some("video") => Part::Video { media },
            _ => Part::File { media, name: None },
        }
    }
}

/// The Developer API's store of files, for media that are too large to be sent with a message (20 MB). Vertex AI
/// has none: there, files lie in Cloud Storage.
///
/// ```no_run
/// use katena_core::{ChatModel, ChatRequest, Context, Message, Part, Role};
/// use katena_llms::GeminiChat;
/// use katena_llms::gemini::GeminiFiles;
/// # async fn f(pdf: Vec<u8>) -> katena_core::Result<()> {
/// let files = GeminiFiles::new("key");
/// let file = files.upload("report.pdf", "application/pdf", pdf, &Context::new()).await?;
/// let question = Message::new(Role::User, vec![file.part(), Part::text("Sum it up.")]);
/// let answer = GeminiChat::new("gemini-2.5-flash", "key").generate(&ChatRequest::new([question])).await?;
/// files.delete(&file.name, &Context::new()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct GeminiFiles {
    client: HttpClient,
    endpoint: Endpoint,
    upload: Endpoint,
    poll: Duration,
    wait: Duration,
}

impl fmt::Debug for GeminiFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeminiFiles").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl GeminiFiles {
    /// The store of this key's project.
    ///
    /// ```
    /// let files = katena_llms::gemini::GeminiFiles::new("key-123");
    /// assert!(!format!("{files:?}").contains("key-123"));
    /// ```
    pub fn new(key: impl Into<Secret>) -> Self {
        // The address is a constant, so this can't fail; a test holds it to that.
        #[allow(clippy::expect_used)]
        let this = Self::at(DEVELOPER_BASE).expect("a good address");
        this.with_api_key(key)
    }

    fn at(base: &str) -> Result<Self> {
        let endpoint = Endpoint::new(base)?.with_vendor(DEVELOPER);
        // Uploads go to the same path below `/upload`.
        let mut up = endpoint.base().clone();
        up.set_path(&format!("/upload{}", endpoint.base().path()));
        let upload = endpoint.clone().with_base(up.as_str())?;
        Ok(Self {
            client: HttpClient::new(),
            endpoint,
            upload,
            poll: Duration::from_secs(2),
            wait: Duration::from_secs(300),
        })
    }

    fn with_api_key(mut self, key: impl Into<Secret>) -> Self {
        let key = key.into();
        self.endpoint = self.endpoint.with_header("x-goog-api-key", key.clone());
        self.upload = self.upload.with_header("x-goog-api-key", key);
        self
    }

    /// Moves to another server, such as a proxy; the key stays. Uploads go to the address's path below `/upload`.
    ///
    /// # Errors
    /// Kind `Config` if `base_url` is no `http` or `https` address, or has a user name or password in it.
    pub fn with_base_url(mut self, base_url: impl AsRef<str>) -> Result<Self> {
        let moved = Self::at(base_url.as_ref())?;
        self.endpoint = self.endpoint.with_base(moved.endpoint.base())?;
        self.upload = self.upload.with_base(moved.upload.base())?;
        Ok(self)
    }

    /// Uses this client, so that components share connections and settings.
    pub fn with_client(mut self, client: HttpClient) -> Self {
        self.client = client;
        self
    }

    /// Sets how often a file that is not ready yet is asked for (2 s), and for how long (300 s).
    pub fn with_polling(mut self, every: Duration, at_most: Duration) -> Self {
        (self.poll, self.wait) = (every, at_most);
        self
    }

    /// Uploads a file and waits until messages may name it. `name` is shown to people only.
    ///
    /// # Errors
    /// `InvalidInput` if the MIME type can't stand in a header; `InvalidOutput` if the vendor could not process the
    /// file; `Timeout` if it is not ready in time; those of the calls.
    pub async fn upload(
        &self,
        name: &str,
        mime: &str,
        content: impl Into<Bytes>,
        context: &Context,
    ) -> Result<GeminiFile> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-/;= ".contains(c);
        if !mime.contains('/') || !mime.chars().all(token) {
            return Err(Error::invalid_input("this is no MIME type").with_context("mime", mime));
        }
        let content = content.into();
        let boundary = boundary(&content);
        let head = json!({"file": {"displayName": name, "mimeType": mime}});
        let mut body = BytesMut::with_capacity(content.len() + 512);
        let head = format!(
            "--{boundary}\r\ncontent-type: application/json; charset=utf-8\r\n\r\n{head}\r\n\
             --{boundary}\r\ncontent-type: {mime}\r\n\r\n"
        );
        body.put_slice(head.as_bytes());
        body.put_slice(&content);
        body.put_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let call = HttpRequest::post(&self.upload, "files")?
            .with_body("multipart/related", body.freeze())
            .with_header("content-type", format!("multipart/related; boundary={boundary}"))
            .with_header("x-goog-upload-protocol", "multipart")
            .with_context(context.clone());
        let reply = self.client.send(call).await?;
        let file = reply.json().and_then(|v: Value| file_of(v.get("file").unwrap_or(&v)));
        let file = file.map_err(|e| reply.mark(e))?;
        self.ready(file, context).await
    }

    /// Looks a file up by its name in the store.
    ///
    /// # Errors
    /// `InvalidOutput` if the vendor could not process the file; those of the call.
    pub async fn get(&self, name: &str, context: &Context) -> Result<GeminiFile> {
        let call = HttpRequest::get(&self.endpoint, &path(name)?)?.with_context(context.clone());
        let reply = self.client.send(call).await?;
        reply.json().and_then(|v: Value| file_of(&v)).map_err(|e| reply.mark(e))
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the call; `NotFound` (or `PermissionDenied`, as the vendor says it) if there is none.
    pub async fn delete(&self, name: &str, context: &Context) -> Result<()> {
        let call = HttpRequest::new(katena_http::Method::Delete, &self.endpoint, &path(name)?)?;
        self.client.send(call.with_context(context.clone())).await?;
        Ok(())
    }

    async fn ready(&self, mut file: GeminiFile, context: &Context) -> Result<GeminiFile> {
        let mut waited = Duration::ZERO;
        while !file.ready {
            if waited >= self.wait {
                return Err(Error::new(ErrorKind::Timeout, "the file was not processed in time")
                    .with_vendor(DEVELOPER)
                    .with_context("file", file.name));
            }
            context.check()?;
            let nap = async {
                tokio::time::sleep(self.poll).await;
                Ok(())
            };
            context.cancel.guard(nap).await?;
            // A poll without a pause still ends.
            waited += self.poll.max(Duration::from_millis(1));
            file = self.get(&file.name, context).await?;
        }
        Ok(file)
    }
}

fn path(name: &str) -> Result<String> {
    let id = name.strip_prefix("files/").unwrap_or(name);
    if id.is_empty() || id.contains('/') {
        return Err(Error::invalid_input("this is no name of a file in the store").with_context("name", name));
    }
    Ok(format!("files/{id}"))
}

fn file_of(value: &Value) -> Result<GeminiFile> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, uri) = (text("name"), text("uri"));
    if name.is_empty() || uri.is_empty() {
        return Err(Error::invalid_output("the server's reply tells of no file"));
    }
    let state = text("state");
    if state == "FAILED" {
        let why = value
            .get("error")
            .and_then(|e| e.get("message"))
            .and_then(Value::as_str)
            .unwrap_or("no reason given");
        let why: String = why.chars().take(500).collect();
        return Err(Error::invalid_output(format!("the file could not be processed: {why}"))
            .with_context("file", name));
    }
    let size = value.get("sizeBytes").and_then(|n| n.as_u64().or_else(|| n.as_str()?.parse().ok()));
    let ready = state.is_empty() || state == "ACTIVE";
    Ok(GeminiFile { name, uri, mime: text("mimeType"), bytes: size, ready })
}

/// A line that does not occur in the content.
fn boundary(content: &[u8]) -> String {
    let mut n = 0_u32;
    loop {
        // The standard library seeds its hasher with random numbers, so nobody can write a file that is full of them.
        let boundary = format!("katena-{:016x}", RandomState::new().hash_one(n));
        if content.len() < boundary.len()
            || !content.windows(boundary.len()).any(|w| w == boundary.as_bytes())
        {
            return boundary;
        }
        n += 1;
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
