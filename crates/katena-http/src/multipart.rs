//! Bodies of several parts: forms with files, as `multipart/form-data`.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use bytes::{BufMut as _, Bytes, BytesMut};
use katena_core::{Error, Result};

/// The most bytes of a form, unless set otherwise: 512 MiB, the largest file that the large vendors take.
pub const MAX_FORM_BYTES: usize = 512 << 20;

/// A form, after [RFC 7578](https://www.rfc-editor.org/rfc/rfc7578): fields of text and files, in order.
///
/// Names are escaped as browsers do it, so that none can add a header or a part of its own. The boundary is one that
/// stands nowhere in the form.
///
/// ```
/// use katena_http::multipart::Form;
/// let body = Form::new().with_text("purpose", "user_data").with_file("file", "a.txt", "text/plain", "Hello").encode()?;
/// assert!(body.content_type.starts_with("multipart/form-data; boundary="));
/// assert!(std::str::from_utf8(&body.bytes).unwrap().contains("filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nHello\r\n"));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Form {
    parts: Vec<FormPart>,
    limit: usize,
}

#[derive(Clone)]
struct FormPart {
    name: String,
    file: Option<(String, String)>,
    body: Bytes,
}

/// A form as it is sent.
#[derive(Clone)]
#[non_exhaustive]
pub struct FormBody {
    /// The content type, with the boundary.
    pub content_type: String,
    /// The body.
    pub bytes: Bytes,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.parts.iter().map(|p| p.name.as_str()).collect();
        f.debug_struct("Form").field("parts", &names).finish_non_exhaustive()
    }
}

impl fmt::Debug for FormBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormBody").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Default for Form {
    fn default() -> Self {
        Self::new()
    }
}

impl Form {
    /// A form without parts, of at most [`MAX_FORM_BYTES`].
    pub fn new() -> Self {
        Self { parts: Vec::new(), limit: MAX_FORM_BYTES }
    }

    /// Sets the most bytes of the whole form.
    pub fn with_max_bytes(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Adds a field of text.
    pub fn with_text(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.parts.push(FormPart { name: name.into(), file: None, body: Bytes::from(text.into()) });
        self
    }

    /// Adds a file: the field's name, the file's name, its MIME type, its bytes.
    pub fn with_file(
        mut self,
        name: impl Into<String>,
        file_name: impl Into<String>,
        mime: impl Into<String>,
        bytes: impl Into<Bytes>,
    ) -> Self {
        let file = Some((file_name.into(), mime.into()));
        self.parts.push(FormPart { name: name.into(), file, body: bytes.into() });
        self
    }

    /// Writes the form.
    ///
    /// # Errors
    /// Kind `InvalidInput` if it is larger than the limit, or a MIME type has characters that can't be sent.
    pub fn encode(&self) -> Result<FormBody> {
        let boundary = self.boundary()?;
        let mut body = BytesMut::new();
        for part in &self.parts {
            let mut head =
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", escaped(&part.name));
            if let Some((file_name, mime)) = &part.file {
                if mime.is_empty() || !mime.bytes().all(|b| matches!(b, b' '..=b'~')) {
                    return Err(Error::invalid_input("a file's MIME type has characters that can't be sent"));
                }
                head.extend(["; filename=\"", &escaped(file_name), "\"\r\nContent-Type: ", mime]);
            }
            head.push_str("\r\n\r\n");
            if body.len() + head.len() + part.body.len() > self.limit {
                return Err(Error::invalid_input("the form is larger than the limit")
                    .with_context("limit", format!("{} bytes", self.limit)));
            }
            body.put_slice(head.as_bytes());
            body.put_slice(&part.body);
            body.put_slice(b"\r\n");
        }
        body.put_slice(format!("--{boundary}--\r\n").as_bytes());
        let content_type = format!("multipart/form-data; boundary={boundary}");
        Ok(FormBody { content_type, bytes: body.freeze() })
    }

    /// A boundary that stands in no part.
    fn boundary(&self) -> Result<String> {
        for n in 0..64_u32 {
            // The standard library seeds its hasher with random numbers.
            let boundary = format!("katena-{:016x}", RandomState::new().hash_one(n));
            let inside = |p: &FormPart| memchr::memmem::find(&p.body, boundary.as_bytes()).is_some();
            if !self.parts.iter().any(inside) {
                return Ok(boundary);
            }
        }
        Err(Error::unexpected("no boundary for the form was found"))
    }
}

/// As the [HTML standard](https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data)
/// says; other control characters are taken out.
fn escaped(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\n' => safe.push_str("%0A"),
            '\r' => safe.push_str("%0D"),
            '"' => safe.push_str("%22"),
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
#[path = "multipart_tests.rs"]
mod tests;
