//! Options of a chat request that are more than a number.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How hard a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as possible.
    Minimal,
    /// A little.
    Low,
    /// Neither little nor much.
    Medium,
    /// Much.
    High,
}

impl Effort {
    /// The word that most vendors use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// How much a model thinks before it answers: by effort, or by a number of tokens. Vendors that know one of the two
/// answer `Unsupported` to the other.
///
/// ```
/// use katena_core::{Effort, Reasoning};
/// assert_eq!(Reasoning::effort(Effort::Low).effort, Some(Effort::Low));
/// assert_eq!(Reasoning::budget(2048).budget_tokens, Some(2048));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reasoning {
    /// How hard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// At most this many tokens; 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_tokens: Option<u32>,
}

impl Reasoning {
    /// By effort.
    pub fn effort(effort: Effort) -> Self {
        Self { effort: Some(effort), budget_tokens: None }
    }

    /// By tokens.
    pub fn budget(tokens: u32) -> Self {
        Self { effort: None, budget_tokens: Some(tokens) }
    }
}

/// A place in the prompt up to which it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CachePoint {
    /// After the tools.
    Tools,
    /// After the system messages.
    System,
    /// After this message, counted from 0 in the request's messages.
    Message(usize),
}

/// What of a prompt the vendor shall keep for the next call.
///
/// Without points, vendors that want marks get one after the last system message (or the tools) and one after the last
/// message; vendors that cache by themselves need none.
///
/// ```
/// use katena_core::{CachePoint, PromptCache};
/// let cache = PromptCache::new().with_point(CachePoint::System).with_key("tenant-7");
/// assert_eq!(cache.points, [CachePoint::System]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PromptCache {
    /// Where to cut.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<CachePoint>,
    /// Calls with the same key are sent to the same cache, or the name of a stored prompt, as the vendor has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How long to keep it; vendors round to what they offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
}

impl PromptCache {
    /// The usual places, the vendor's usual time.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a place.
    pub fn with_point(mut self, point: CachePoint) -> Self {
        self.points.push(point);
        self
    }

    /// Sets the key.
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets how long to keep it.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}
