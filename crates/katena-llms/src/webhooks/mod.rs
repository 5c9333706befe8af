//! Webhooks of OpenAI and Anthropic: verified by the rules of Standard Webhooks, then read.
//!
//! ```
//! use std::time::{Duration, UNIX_EPOCH};
//! use katena_llms::webhooks::{WebhookKind, WebhookVerifier};
//! let verifier = WebhookVerifier::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
//! let body = br#"{"id":"evt_1","type":"batch.completed","data":{"id":"batch_1"}}"#;
//! let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
//! // As the sender does it, and as tests may.
//! let signature = verifier.sign("wh_1", 1_700_000_000, body);
//! let headers = [("Webhook-Id", "wh_1"), ("Webhook-Timestamp", "1700000000"), ("Webhook-Signature", &*signature)];
//! let event = verifier.verify(headers, body, now)?;
//! assert_eq!((event.kind, event.subject.as_deref()), (WebhookKind::BatchCompleted, Some("batch_1")));
//! # Ok::<(), katena_core::Error>(())
//! ```

mod event;

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use katena_core::{Error, ErrorKind, Result};
use katena_http::Secret;
use katena_http::signatures::{hmac_sha256, verify_hmac_sha256};

pub use event::{WebhookEvent, WebhookKind};

/// How old, or how far ahead, a webhook may be.
const TOLERANCE: Duration = Duration::from_secs(300);
/// The least bytes of a secret that is written as `whsec_…`.
const MIN_SECRET: usize = 24;
/// More signatures than a sender who changes its key has.
const MAX_SIGNATURES: usize = 32;

/// Verifies webhooks by the rules of [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks): an
/// HMAC-SHA256 over id, time and the raw bytes of the body, compared in constant time.
///
/// Give it the body as it came: one that was parsed and written again no longer fits its signature. That an event was
/// not seen before is for the caller to check, by [`WebhookEvent::webhook_id`].
#[derive(Clone)]
pub struct WebhookVerifier {
    keys: Vec<Vec<u8>>,
    tolerance: Duration,
}

impl fmt::Debug for WebhookVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookVerifier")
            .field("keys", &self.keys.len())
            .field("tolerance", &self.tolerance)
            .finish()
    }
}

fn refused(message: &'static str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message)
}

fn key(secret: &Secret) -> Result<Vec<u8>> {
    let text = secret.expose();
    let Some(packed) = text.strip_prefix("whsec_") else {
        return if text.is_empty() {
            Err(Error::config("the webhook's secret is empty"))
        } else {
            Ok(text.as_bytes().to_vec())
        };
    };
    // No source is kept: it would tell of the secret's characters.
    let key = BASE64_STANDARD
        .decode(packed)
        .map_err(|_| Error::config("the webhook's secret is no base64 after whsec_"))?;
    if key.len() < MIN_SECRET {
        return Err(Error::config("the webhook's secret is shorter than 24 bytes"));
    }
    Ok(key)
}

impl WebhookVerifier {
    /// By the secret that the vendor shows once: `whsec_` and base64 of at least 24 bytes; other text is the key itself.
    ///
    /// # Errors
    /// Kind `Config` if the secret can't be one.
    pub fn new(secret: impl Into<Secret>) -> Result<Self> {
        Ok(Self { keys: vec![key(&secret.into())?], tolerance: TOLERANCE })
    }

    /// By the environment, as OpenAI names it: `OPENAI_WEBHOOK_SECRET`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if it is not set; as [`new`](Self::new).
    pub fn openai_from_env() -> Result<Self> {
        Self::from_lookup("OPENAI_WEBHOOK_SECRET", |name| std::env::var(name).ok())
    }

    /// By the environment, as Anthropic names it: `ANTHROPIC_WEBHOOK_SIGNING_KEY`.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if it is not set; as [`new`](Self::new).
    pub fn anthropic_from_env() -> Result<Self> {
        Self::from_lookup("ANTHROPIC_WEBHOOK_SIGNING_KEY", |name| std::env::var(name).ok())
    }

    fn from_lookup(name: &'static str, lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        match lookup(name).filter(|v| !v.trim().is_empty()) {
            Some(secret) => Self::new(secret),
            None => {
                Err(refused("the variable with the webhook's secret is not set")
                    .with_context("variable", name))
            }
        }
    }

    /// Takes a second secret too, while the old one is being replaced.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_secret(mut self, secret: impl Into<Secret>) -> Result<Self> {
        self.keys.push(key(&secret.into())?);
        Ok(self)
    }

    /// Sets how old, or how far ahead, a webhook may be: 5 minutes without it.
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The value of `webhook-signature` for a body, as the sender makes it.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let key = self.keys.first().map(Vec::as_slice).unwrap_or_default();
        let tag = hmac_sha256(key, &signed(id, &timestamp.to_string(), body));
        format!("v1,{}", BASE64_STANDARD.encode(tag))
    }

    /// Verifies a webhook by its headers and the raw bytes of its body, and reads it. Names of headers count in any case;
    /// a map of headers' iterator will do.
    ///
    /// # Errors
    /// Kind `Unauthenticated` if a header is missing or doubled, the time is out of tolerance, or no signature fits;
    /// `InvalidInput` if the body is verified but no JSON object.
    pub fn verify(
        &self,
        headers: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<[u8]>)>,
        body: &[u8],
        now: SystemTime,
    ) -> Result<WebhookEvent> {
        let (mut id, mut timestamp, mut signatures) = (None, None, Vec::new());
        for (name, value) in headers {
            let name = name.as_ref();
            let text = || String::from_utf8(value.as_ref().to_vec()).map(|t| t.trim().to_owned());
            let text = || text().map_err(|_| refused("a header of the webhook is no text"));
            if name.eq_ignore_ascii_case("webhook-signature") {
                signatures.push(text()?);
                continue;
            }
            let slot = if name.eq_ignore_ascii_case("webhook-id") {
                &mut id
            } else if name.eq_ignore_ascii_case("webhook-timestamp") {
                &mut timestamp
            } else {
                continue;
            };
            if slot.replace(text()?).is_some() {
                return Err(refused("a header of the webhook came twice"));
            }
        }
        let (Some(id), Some(timestamp)) = (id.filter(|i| !i.is_empty()), timestamp) else {
            return Err(refused("the webhook has no id or no time"));
        };
        let sent_at = self.time(&timestamp, now)?;
        if !self.fits(&signed(&id, &timestamp, body), &signatures) {
            return Err(refused("no signature of the webhook fits").with_context("webhook id", short(&id)));
        }
        let raw: serde_json::Value = serde_json::from_slice(body)
            .map_err(|e| Error::invalid_input("the webhook's body is no JSON").with_source(e))?;
        if !raw.is_object() {
            return Err(Error::invalid_input("the webhook's body is no JSON object"));
        }
        Ok(WebhookEvent::read(id, sent_at, raw))
    }

    fn time(&self, text: &str, now: SystemTime) -> Result<SystemTime> {
        let digits = !text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
        let seconds = text.parse::<u64>().ok().filter(|_| digits);
        let sent = seconds.and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s)));
        let sent = sent.ok_or_else(|| refused("the webhook's time is no number of seconds"))?;
        let apart = now.duration_since(sent).unwrap_or_else(|ahead| ahead.duration());
        if apart > self.tolerance {
            return Err(refused("the webhook is too old or too far ahead; is the clock right?")
                .with_context("apart", format!("{} s", apart.as_secs())));
        }
        Ok(sent)
    }

    /// True if one of the signatures is that of one of the keys. All are looked at, so that the time tells nothing.
    fn fits(&self, message: &[u8], signatures: &[String]) -> bool {
        let mut fits = false;
        for signature in signatures.iter().flat_map(|list| list.split(' ')).take(MAX_SIGNATURES) {
            let Some(tag) = signature.strip_prefix("v1,") else { continue };
            let Ok(tag) = BASE64_STANDARD.decode(tag) else { continue };
            for key in &self.keys {
                fits |= verify_hmac_sha256(key, message, &tag);
            }
        }
        fits
    }
}

fn signed(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
#[path = "mod_tests.rs"]
mod tests;
