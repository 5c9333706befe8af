//! What of a prompt the server shall keep, in the forms that servers of the protocol know.

use std::time::Duration;

use katena_core::{CachePoint, Error, PromptCache, Result};
use serde_json::{Map, Value, json};

use super::encode::{Content, WireMessage};

/// Up to this time a prompt is kept in memory; the other choice is a day. Source: OpenAI's guide to prompt caching.
const IN_MEMORY: Duration = Duration::from_secs(3600);
/// Anthropic's shorter time; the other choice is an hour.
const SHORT: Duration = Duration::from_secs(300);
/// Anthropic takes no more marks.
const MAX_MARKS: usize = 4;

/// `prompt_cache_key` and `prompt_cache_retention`.
pub(super) fn named(cache: &PromptCache) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(key) = &cache.key {
        fields.insert("prompt_cache_key".into(), json!(key));
    }
    if let Some(ttl) = cache.ttl {
        let word = if ttl > IN_MEMORY { "24h" } else { "in_memory" };
        fields.insert("prompt_cache_retention".into(), json!(word));
    }
    fields
}

/// Puts `cache_control` marks where the points are. `ends` says where each message of the request ends in the list.
pub(super) fn mark(
    cache: &PromptCache,
    tools: &mut [Value],
    messages: &mut [WireMessage<'_>],
    ends: &[usize],
) -> Result<()> {
    if cache.key.is_some() {
        return Err(Error::unsupported("this server keeps prompts by marks, not by a key"));
    }
    let mut control = json!({"type": "ephemeral"});
    if let Some(ttl) = cache.ttl {
        control["ttl"] = json!(if ttl > SHORT { "1h" } else { "5m" });
    }
    let last_system = messages.iter().rposition(WireMessage::is_system);
    let usual = [
        if last_system.is_some() { CachePoint::System } else { CachePoint::Tools },
        CachePoint::Message(ends.len().saturating_sub(1)),
    ];
    let points = if cache.points.is_empty() { &usual[..] } else { &cache.points };
    if points.len() > MAX_MARKS {
        return Err(Error::unsupported("this server takes at most four cache points"));
    }
    for point in points {
        match *point {
            CachePoint::Tools => {
                if let Some(Value::Object(tool)) = tools.last_mut() {
                    tool.insert("cache_control".into(), control.clone());
                }
            }
            CachePoint::System => {
                if let Some(n) = last_system {
                    mark_content(&mut messages[..=n], &control);
                }
            }
            CachePoint::Message(n) => match ends.get(n) {
                Some(end) => mark_content(&mut messages[..*end], &control),
                None => return Err(Error::invalid_input("a cache point names a message that isn't there")),
            },
            _ => return Err(Error::unsupported("this cache point is not known to the protocol")),
        }
    }
    Ok(())
}

/// Marks the last content there is; a message of tool calls alone has none.
fn mark_content(messages: &mut [WireMessage<'_>], control: &Value) {
    for message in messages.iter_mut().rev() {
        match &mut message.content {
            Some(Content::Text(text)) if !text.is_empty() => {
                let part = json!({"type": "text", "text": text, "cache_control": control});
                message.content = Some(Content::Parts(vec![part]));
                return;
            }
            Some(Content::Parts(parts)) => {
                if let Some(Value::Object(part)) = parts.last_mut() {
                    part.insert("cache_control".into(), control.clone());
                    return;
                }
            }
            _ => {}
        }
    }
}
