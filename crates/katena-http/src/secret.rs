//! Secrets that don't print themselves.

use std::fmt;
use std::sync::Arc;

/// A key, token or password. `Debug` and `Display` print `***`; only [`expose`](Secret::expose) gives the text.
///
/// ```
/// use katena_http::Secret;
/// let key = Secret::new("sk-123");
/// assert_eq!(format!("{key} {key:?}"), "*** ***");
/// assert_eq!(key.expose(), "sk-123");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Keeps `text`, without white space around it, as a key that was read from a file often has.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(Arc::from(text.as_ref().trim()))
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True if there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a call sent that must not come back in errors: some servers repeat the key that they did not accept.
#[derive(Clone, Default)]
pub(crate) struct Redaction(Arc<[Secret]>);

impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// Headers whose values everybody may know.
const PLAIN: [&str; 12] = [
    "accept",
    "anthropic-beta",
    "anthropic-version",
    "content-length",
    "content-type",
    "host",
    "http-referer",
    "user-agent",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-goog-user-project",
    "x-title",
];

impl Redaction {
    /// The secrets among these headers, in this address, and others.
    pub(crate) fn of<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a Secret)>,
        url: &url::Url,
        others: impl IntoIterator<Item = Secret>,
    ) -> Self {
        let mut secrets: Vec<Secret> = others.into_iter().collect();
        for (name, value) in headers {
            if !PLAIN.iter().any(|plain| name.eq_ignore_ascii_case(plain)) {
                // Without the scheme, and of a signature the signature alone.
                let bare = value.expose().rsplit(' ').next().unwrap_or_default();
                secrets.push(Secret::new(bare.strip_prefix("Signature=").unwrap_or(bare)));
            }
        }
        for (name, value) in url.query_pairs() {
            let name = name.to_ascii_lowercase();
            if ["key", "token", "secret", "signature", "password"].iter().any(|word| name.contains(word)) {
                secrets.push(Secret::new(value));
            }
        }
        // A very short "secret" would only garble the message.
        secrets.retain(|secret| secret.0.len() >= 6);
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.0.len()));
        Self(secrets.into())
    }

    /// `text` with `***` in place of each secret; `None` if it has none.
    pub(crate) fn text(&self, text: &str) -> Option<String> {
        let mut changed: Option<String> = None;
        for Secret(secret) in self.0.iter() {
            let now = changed.as_deref().unwrap_or(text);
            if now.contains(&**secret) {
                changed = Some(now.replace(&**secret, "***"));
            }
            // A long message is cut, maybe within the secret.
            let now = changed.as_deref().unwrap_or(text);
            let cut = (8..secret.len()).rev().filter(|n| secret.is_char_boundary(*n));
            if let Some(n) = cut.into_iter().find(|n| now.ends_with(&secret[..*n])) {
                changed = Some(format!("{}***", &now[..now.len() - n]));
            }
        }
        changed
    }

    /// [`text`](Self::text), or the text itself.
    pub(crate) fn or_same(&self, text: String) -> String {
        self.text(&text).unwrap_or(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_hidden_whole_or_cut() {
        let headers = [
            ("Authorization", Secret::new("Bearer sk-0123456789abcdef")),
            ("accept", Secret::new("application/json")),
            ("x-short", Secret::new("on")),
        ];
        let url = url::Url::parse("http://h/x?key=query-secret&alt=sse-and-more").unwrap();
        let sent = Redaction::of(headers.iter().map(|(n, v)| (*n, v)), &url, [Secret::new("pass-word")]);
        for (text, want) in [
            ("no sk-0123456789abcdef!", Some("no ***!")),
            ("a query-secret and pass-word", Some("a *** and ***")),
            ("cut off: sk-01234567", Some("cut off: ***")),
            ("Bearer application/json on sse-and-more sk-0", None),
        ] {
            assert_eq!(sent.text(text).as_deref(), want, "{text}");
        }
        assert!(!format!("{sent:?}").contains("sk-"));
    }
}
