//! One error type for all of Katena: small, cloneable, classified.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Result with Katena's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A component was put together wrongly (missing runtime, unusable setting).
    Config,
    /// The caller's input can't be processed as it is.
    InvalidInput,
    /// Credentials are missing or wrong.
    Unauthenticated,
    /// The credentials don't allow this.
    PermissionDenied,
    /// The named thing doesn't exist.
    NotFound,
    /// Too many requests; see [`Error::retry_after`].
    RateLimited,
    /// The account's quota is used up; waiting a moment does not help.
    QuotaExceeded,
    /// A deadline or timeout passed.
    Timeout,
    /// The other side is down, overloaded or was cut off.
    Unavailable,
    /// The prompt doesn't fit the model's context window.
    ContextTooLong,
    /// The model or a policy refused to answer.
    Refused,
    /// The other side's reply can't be understood.
    InvalidOutput,
    /// This component can't do what was asked; nothing was dropped silently.
    Unsupported,
    /// A budget that the caller set is spent.
    Budget,
    /// A tool failed.
    Tool,
    /// The call was cancelled.
    Cancelled,
    /// Anything else; a defect or an environment failure.
    Unexpected,
}

impl ErrorKind {
    /// The kind's name in `snake_case`, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::InvalidInput => "invalid_input",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::QuotaExceeded => "quota_exceeded",
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::ContextTooLong => "context_too_long",
            Self::Refused => "refused",
            Self::InvalidOutput => "invalid_output",
            Self::Unsupported => "unsupported",
            Self::Budget => "budget",
            Self::Tool => "tool",
            Self::Cancelled => "cancelled",
            Self::Unexpected => "unexpected",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

type Source = Arc<dyn std::error::Error + Send + Sync + 'static>;

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    temporary: Option<bool>,
    retry_after: Option<Duration>,
    status: Option<u16>,
    vendor: Option<Cow<'static, str>>,
    request_id: Option<String>,
    context: Vec<(&'static str, String)>,
    source: Option<Source>,
}

/// Katena's error: 8 bytes, `Clone`, with a [kind](Error::kind), whether trying again may help, and context.
///
/// Secrets are never put into it.
///
/// ```
/// use katena_core::{Error, ErrorKind};
/// let error = Error::new(ErrorKind::NotFound, "no such file").with_context("uri", "a.md");
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert!(!error.is_temporary());
/// assert_eq!(error.to_string(), "not_found: no such file (uri: a.md)");
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

impl Error {
    /// An error of `kind` with a message for people.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            temporary: None,
            retry_after: None,
            status: None,
            vendor: None,
            request_id: None,
            context: Vec::new(),
            source: None,
        }))
    }

    fn with(mut self, f: impl FnOnce(&mut Inner)) -> Self {
        f(Arc::make_mut(&mut self.0));
        self
    }

    /// Adds the lower-level error that caused this one.
    pub fn with_source(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.with(|i| i.source = Some(Arc::new(source)))
    }

    /// Adds a named fact, such as `("uri", "docs/a.pdf")`.
    pub fn with_context(self, key: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        self.with(|i| i.context.push((key, value)))
    }

    /// Says whether trying again may help; without it the kind decides.
    pub fn with_temporary(self, temporary: bool) -> Self {
        self.with(|i| i.temporary = Some(temporary))
    }

    /// Adds how long the other side asked us to wait.
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.with(|i| i.retry_after = Some(wait))
    }

    /// Adds the HTTP (or mapped gRPC) status.
    pub fn with_status(self, status: u16) -> Self {
        self.with(|i| i.status = Some(status))
    }

    /// Adds the vendor's name, such as `openai`.
    pub fn with_vendor(self, vendor: impl Into<Cow<'static, str>>) -> Self {
        let vendor = vendor.into();
        self.with(|i| i.vendor = Some(vendor))
    }

    /// Adds the vendor's id of the failed request.
    pub fn with_request_id(self, id: impl Into<String>) -> Self {
        let id = id.into();
        self.with(|i| i.request_id = Some(id))
    }

    /// Changes every text in it: the message, the context's values, the request's id, and what caused it. `change` gives
    /// the new text, or `None` for one that stays. A cause that changes is kept as text alone.
    ///
    /// ```
    /// use katena_core::{Error, ErrorKind};
    /// let error = Error::new(ErrorKind::Unauthenticated, "bad key sk-123").with_context("param", "sk-123");
    /// let error = error.map_texts(|text| text.contains("sk-123").then(|| text.replace("sk-123", "***")));
    /// assert_eq!(error.to_string(), "unauthenticated: bad key *** (param: ***)");
    /// ```
    pub fn map_texts(self, change: impl Fn(&str) -> Option<String>) -> Self {
        let mut this = self;
        if let Some(message) = change(&this.0.message) {
            this = this.with(|i| i.message = Cow::Owned(message));
        }
        if let Some(id) = this.0.request_id.as_deref().and_then(&change) {
            this = this.with(|i| i.request_id = Some(id));
        }
        for n in 0..this.0.context.len() {
            if let Some(value) = change(&this.0.context[n].1) {
                this = this.with(|i| i.context[n].1 = value);
            }
        }
        if let Some(cause) = this.0.source.as_deref().and_then(|s| told(s, &change)) {
            this = this.with(|i| i.source = Some(Arc::new(cause)));
        }
        this
    }

    /// What went wrong, as far as a caller can act on it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without kind, context and source.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// True if the same call may succeed later: rate limits, timeouts and unavailable services unless said otherwise.
    pub fn is_temporary(&self) -> bool {
        self.0.temporary.unwrap_or(matches!(
            self.0.kind,
            ErrorKind::RateLimited | ErrorKind::Timeout | ErrorKind::Unavailable
        ))
    }

    /// How long the other side asked us to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The HTTP (or mapped gRPC) status of the reply, if there was one.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The vendor whose reply this is.
    pub fn vendor(&self) -> Option<&str> {
        self.0.vendor.as_deref()
    }

    /// The vendor's id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// The first context value of that name; loaders put the failed document's address under `uri`.
    pub fn context(&self, key: &str) -> Option<&str> {
        self.0.context.iter().find(|(k, _)| *k == key).map(|(_, v)| v.as_str())
    }

    /// All context values with their names, in the order in which they were added.
    ///
    /// ```
    /// use katena_core::Error;
    /// let error = Error::config("too large").with_context("bytes", "9").with_context("most", "5");
    /// assert_eq!(error.contexts().collect::<Vec<_>>(), [("bytes", "9"), ("most", "5")]);
    /// ```
    pub fn contexts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// Shorthand for [`ErrorKind::Config`].
    pub fn config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Shorthand for [`ErrorKind::InvalidInput`].
    pub fn invalid_input(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidInput, message)
    }

    /// Shorthand for [`ErrorKind::InvalidOutput`].
    pub fn invalid_output(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidOutput, message)
    }

    /// Shorthand for [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Shorthand for [`ErrorKind::Unexpected`].
    pub fn unexpected(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unexpected, message)
    }

    /// Shorthand for [`ErrorKind::Cancelled`].
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "the call was cancelled")
    }
}

/// A cause of which only a changed text is left, with its own causes.
struct Told(String);

/// The text of a cause and of its causes, if `change` changes it. What `Debug` shows counts too: it may tell more.
fn told(cause: &(dyn std::error::Error + 'static), change: impl Fn(&str) -> Option<String>) -> Option<Told> {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(deeper) = next {
        text.push_str("; caused by: ");
        text.push_str(&deeper.to_string());
        next = deeper.source();
    }
    match change(&text) {
        Some(text) => Some(Told(text)),
        None => change(&format!("{cause:?}")).map(|_| Told(text)),
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Told {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let i = &*self.0;
        write!(f, "{}: {}", i.kind, i.message)?;
        let mut facts: Vec<(&str, String)> = Vec::new();
        if let Some(vendor) = &i.vendor {
            facts.push(("vendor", vendor.to_string()));
        }
        if let Some(status) = i.status {
            facts.push(("status", status.to_string()));
        }
        if let Some(id) = &i.request_id {
            facts.push(("request id", id.clone()));
        }
        facts.extend(i.context.iter().map(|(k, v)| (*k, v.clone())));
        if !facts.is_empty() {
            f.write_str(" (")?;
            for (n, (key, value)) in facts.iter().enumerate() {
                write!(f, "{}{key}: {value}", if n == 0 { "" } else { ", " })?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(f, "; caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| &**s as &(dyn std::error::Error + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Unexpected,
        };
        Self::new(kind, error.to_string()).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_pointer_and_cloneable() {
        assert_eq!(size_of::<Error>(), 8);
        let error = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(2));
        let copy = error.clone().with_temporary(false);
        assert!(error.is_temporary() && !copy.is_temporary());
        assert_eq!(copy.retry_after(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn texts_change_in_the_causes_too() {
        let deep = Error::config("outer").with_source(Error::config("the key is hidden"));
        let error = Error::config("fine").with_source(deep).with_request_id("hidden");
        let same = error.clone().map_texts(|_| None);
        assert!(format!("{same:?}").contains("hidden"));
        let hide = |text: &str| text.contains("hidden").then(|| text.replace("hidden", "***"));
        let changed = error.map_texts(hide);
        assert_eq!(changed.request_id(), Some("***"));
        assert!(!format!("{changed:?}").contains("hidden"), "{changed:?}");
        assert!(format!("{changed:?}").contains("the key is ***"), "{changed:?}");
    }
}
