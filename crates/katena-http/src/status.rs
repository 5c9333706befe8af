//! From a vendor's error reply to Katena's error.

use std::time::{Duration, SystemTime};

use katena_core::{Error, ErrorKind};
use serde_json::Value;

/// Messages of vendors are cut to this many characters.
const MAX_MESSAGE: usize = 2000;

/// What an error reply says: the message, and the vendor's words for the kind of error.
///
/// ```
/// use katena_core::ErrorKind;
/// use katena_http::ErrorDetails;
/// let body = serde_json::json!({"error": {"message": "Slow down", "type": "tokens", "code": "rate_limit_exceeded"}});
/// let details = ErrorDetails::from_value(&body).unwrap();
/// assert_eq!(details.kind(Some(429)), ErrorKind::RateLimited);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErrorDetails {
    /// The message for people; empty if there was none.
    pub message: String,
    /// The vendor's `type`.
    pub error_type: Option<String>,
    /// The vendor's `code`.
    pub code: Option<String>,
    /// The parameter that was wrong.
    pub param: Option<String>,
    /// An HTTP status given in the body.
    pub status: Option<u16>,
    /// How long the body asks to wait, as Google's errors do.
    pub retry_after: Option<Duration>,
    /// Why, as Google's errors say it in a word, such as `API_KEY_INVALID`.
    pub reason: Option<String>,
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

impl ErrorDetails {
    /// Reads the shapes in use: `{"error": {…}}`, `{"error": "…"}`, `{"message": …}`, `{"detail": …}`, `{"errors": […]}`
    /// and a list of one of these. `None` if the value holds no error; `"error": null` is none.
    pub fn from_value(value: &Value) -> Option<Self> {
        let object = match value {
            Value::Array(list) => return Self::from_value(list.first()?),
            Value::Object(object) => object,
            _ => return None,
        };
        match object.get("error").filter(|e| !e.is_null()) {
            Some(Value::Object(inner)) => {
                let mut details = Self::from_object(inner);
                if details.message.is_empty() {
                    details.message = Value::Object(inner.clone()).to_string();
                }
                return Some(details);
            }
            Some(Value::String(message)) => {
                // OAuth's form: a word, and what it means.
                let message = match object.get("error_description").and_then(Value::as_str) {
                    Some(meaning) => format!("{message}: {meaning}"),
                    None => message.clone(),
                };
                return Some(Self { message, ..Self::from_object(object) });
            }
            Some(other) => return Some(Self { message: other.to_string(), ..Self::default() }),
            None => {}
        }
        let details = Self::from_object(object);
        (!details.message.is_empty()).then_some(details)
    }

    fn from_object(object: &serde_json::Map<String, Value>) -> Self {
        let message = ["message", "detail", "msg", "error_description", "errors", "Message"]
            .into_iter()
            .filter_map(|key| object.get(key).filter(|v| !v.is_null()))
            .map(|v| match v {
                Value::String(s) => s.clone(),
                other => other.to_string(),
            })
            .find(|m| !m.is_empty())
            .unwrap_or_default();
        let code = text(object.get("code"));
        let status = ["status", "status_code", "code"].into_iter().find_map(|key| match object.get(key)? {
            Value::Number(n) => {
                n.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| (400..600).contains(n))
            }
            _ => None,
        });
        Self {
            message,
            error_type: ["type", "status", "__type"].into_iter().find_map(|key| text(object.get(key))),
            code,
            param: text(object.get("param")),
            status,
            ..google_details(object)
        }
    }

    /// What kind of error this is, with the reply's HTTP status where there was an error status.
    pub fn kind(&self, status: Option<u16>) -> ErrorKind {
        let word = |w: &str| {
            let has = |s: &Option<String>| s.as_deref().is_some_and(|s| s.to_ascii_lowercase().contains(w));
            has(&self.code) || has(&self.error_type)
        };
        let status = status.or(self.status);
        if matches!(status, None | Some(400 | 413 | 422 | 500)) && self.is_context_too_long(&word) {
            return ErrorKind::ContextTooLong;
        }
        if word("insufficient_quota")
            || word("billing")
            || word("insufficient_balance")
            || word("quota_exceeded")
        {
            return ErrorKind::QuotaExceeded;
        }
        if self.reason.as_deref() == Some("API_KEY_INVALID") {
            return ErrorKind::Unauthenticated;
        }
        if matches!(status, None | Some(400 | 403 | 422))
            && (word("content_filter") || word("content_policy") || word("moderation_blocked"))
        {
            return ErrorKind::Refused;
        }
        if let Some(kind) = self.error_type.as_deref().and_then(aws_exception) {
            return kind;
        }
        match status {
            Some(status) => kind_of_status(status),
            None if word("rate_limit") || word("too_many_requests") => ErrorKind::RateLimited,
            None if word("authentication") || word("invalid_api_key") => ErrorKind::Unauthenticated,
            None if word("permission") => ErrorKind::PermissionDenied,
            None if word("not_found") => ErrorKind::NotFound,
            None if word("invalid_request") || word("invalid_value") => ErrorKind::InvalidInput,
            // An error in the midst of an answer is the server's trouble unless it says otherwise.
            None => ErrorKind::Unavailable,
        }
    }

    fn is_context_too_long(&self, word: &impl Fn(&str) -> bool) -> bool {
        if word("context_length") || word("exceed_context") || word("context_window") {
            return true;
        }
        let message = self.message.to_ascii_lowercase();
        [
            "maximum context length",
            "context length exceeded",
            "exceeds the context",
            "exceeds the available context",
            "exceeds the model's context",
            "exceeds the maximum number of tokens",
            "prompt is too long",
            "exceed context limit",
            "input is too long for requested model",
        ]
        .iter()
        .any(|m| message.contains(m))
    }

    /// The error of this reply. `status` is the HTTP status if that told of an error.
    pub fn into_error(self, status: Option<u16>) -> Error {
        let kind = self.kind(status);
        let message = match (self.message.trim(), status) {
            ("", Some(status)) => format!("the server answered with status {status}"),
            ("", None) => "the server sent an error without a message".to_owned(),
            (message, _) => message.chars().take(MAX_MESSAGE).collect(),
        };
        let mut error = Error::new(kind, message);
        if let Some(status) = status.or(self.status) {
            error = error.with_status(status);
        }
        if let Some(wait) = self.retry_after {
            error = error.with_retry_after(wait);
        }
        let words =
            [("type", self.error_type), ("code", self.code), ("param", self.param), ("reason", self.reason)];
        for (key, value) in words {
            if let Some(value) = value {
                error = error.with_context(key, value.chars().take(200).collect::<String>());
            }
        }
        error
    }
}

/// What Google's errors say beside the message, as `google.rpc.RetryInfo` and `google.rpc.ErrorInfo`.
fn google_details(object: &serde_json::Map<String, Value>) -> ErrorDetails {
    let list = object.get("details").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let find = |key: &str| list.iter().find_map(|d| d.get(key)?.as_str());
    let wait = find("retryDelay").and_then(|delay| delay.strip_suffix('s'));
    ErrorDetails {
        retry_after: wait.and_then(|seconds| parse_retry_after(None, Some(seconds), SystemTime::UNIX_EPOCH)),
        reason: find("reason").map(str::to_owned),
        ..ErrorDetails::default()
    }
}

/// The kind of an exception as AWS names it: `ThrottlingException`, `throttlingException`, with or without a namespace
/// before `#` and an address after `:`. What is wrong with a signature has names without the ending.
fn aws_exception(name: &str) -> Option<ErrorKind> {
    let name = name.rsplit('#').next()?.split(':').next()?.trim().to_ascii_lowercase();
    let unauthenticated = [
        "expiredtoken",
        "incompletesignature",
        "invalidclienttokenid",
        "invalididentitytoken",
        "invalidsignature",
        "missingauthenticationtoken",
        "signaturedoesnotmatch",
        "unrecognizedclient",
    ];
    let ended = name.strip_suffix("exception");
    if unauthenticated.contains(&ended.unwrap_or(&name)) {
        return Some(ErrorKind::Unauthenticated);
    }
    Some(match ended? {
        "throttling" | "throttled" | "toomanyrequests" => ErrorKind::RateLimited,
        "servicequotaexceeded" => ErrorKind::QuotaExceeded,
        "accessdenied" => ErrorKind::PermissionDenied,
        "resourcenotfound" => ErrorKind::NotFound,
        "validation" => ErrorKind::InvalidInput,
        "modeltimeout" => ErrorKind::Timeout,
        "internalserver" | "serviceunavailable" | "modelnotready" | "modelerror" | "modelstreamerror" => {
            ErrorKind::Unavailable
        }
        _ => return None,
    })
}

fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        401 | 407 => ErrorKind::Unauthenticated,
        402 => ErrorKind::QuotaExceeded,
        403 | 451 => ErrorKind::PermissionDenied,
        404 | 410 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        // A conflict or an early request passes by itself; the vendors' own clients repeat it.
        409 | 425 => ErrorKind::Unavailable,
        429 => ErrorKind::RateLimited,
        501 => ErrorKind::Unsupported,
        500..=599 => ErrorKind::Unavailable,
        // Not followed, so the address is wrong.
        300..=399 | 405 => ErrorKind::Config,
        400..=499 => ErrorKind::InvalidInput,
        _ => ErrorKind::Unexpected,
    }
}

/// How long the server asks to wait: `Retry-After-Ms`, else `Retry-After` as seconds or as a date.
///
/// `None` for what is neither, for infinite or negative numbers, and for more than ten years; a date that has passed is
/// no wait.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use katena_http::parse_retry_after;
/// assert_eq!(parse_retry_after(None, Some("1.5"), SystemTime::now()), Some(Duration::from_millis(1500)));
/// assert_eq!(parse_retry_after(None, Some("inf"), SystemTime::now()), None);
/// ```
pub fn parse_retry_after(millis: Option<&str>, value: Option<&str>, now: SystemTime) -> Option<Duration> {
    const LONGEST: f64 = 10.0 * 366.0 * 86_400.0;
    let seconds = |s: f64| (0.0..=LONGEST).contains(&s).then(|| Duration::from_secs_f64(s));
    if let Some(ms) = millis.and_then(|v| v.trim().parse::<f64>().ok()).and_then(|ms| seconds(ms / 1000.0)) {
        return Some(ms);
    }
    let value = value?.trim();
    if let Ok(number) = value.parse::<f64>() {
        return seconds(number);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let wait = date.duration_since(now).unwrap_or_default();
    seconds(wait.as_secs_f64())
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
