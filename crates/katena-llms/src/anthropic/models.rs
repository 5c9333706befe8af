//! What is known of a model by its name. A name that tells no version is taken for the newest.

use katena_core::ChatCapabilities;

/// What an answer may have at most if nobody says: room for a long answer, within every model's own limit.
const ROOM: u32 = 16_384;

/// The version in a name such as `claude-3-5-sonnet-20241022`, `anthropic.claude-opus-4-1-20250805-v1:0` or
/// `claude-sonnet-4@20250514`: (3, 5), (4, 1), (4, 0).
fn version(model: &str) -> Option<(u32, u32)> {
    let small = |word: &str| word.parse::<u32>().ok().filter(|_| word.len() <= 2);
    let rest = &model[model.find("claude")?..];
    let mut words = rest.split(['-', '.', '@', ':', '_']).skip_while(|w| small(w).is_none());
    let major = small(words.next()?)?;
    Some((major, words.next().and_then(small).unwrap_or(0)))
}

fn at_least(model: &str, wanted: (u32, u32)) -> bool {
    version(model).is_none_or(|v| v >= wanted)
}

/// True if the model decides by itself how long it thinks, guided by effort.
pub(super) fn is_adaptive(model: &str) -> bool {
    at_least(model, (4, 6))
}

/// What the model can do, by the vendor's table of models.
pub(crate) fn capabilities(model: &str) -> ChatCapabilities {
    let mut can = ChatCapabilities::none()
        .with_tools()
        .with_images()
        .with_prompt_cache()
        .with_top_k()
        .with_stop()
        .with_usage();
    can.json_schema = at_least(model, (4, 1));
    can.files = at_least(model, (3, 5));
    can.reasoning = at_least(model, (3, 7));
    can
}

/// The context window in tokens, where the name tells it for sure.
pub(crate) fn context_tokens(model: &str) -> Option<u32> {
    version(model).filter(|v| ((3, 0)..=(4, 5)).contains(v)).map(|_| 200_000)
}

/// The token limit of an answer if the request has none: room beyond the thinking, up to the model's own limit.
pub(super) fn default_max_tokens(model: &str, thinking: u32) -> u32 {
    let most = match version(model) {
        Some(v) if v < (3, 5) => 4096,
        Some(v) if v < (3, 7) => 8192,
        Some((4, 0 | 1)) if model.contains("opus") => 32_000,
        _ => 64_000,
    };
    ROOM.saturating_add(thinking).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_versions() {
        for (name, want) in [
            ("claude-3-5-sonnet-20241022", Some((3, 5))),
            ("claude-3-haiku-20240307", Some((3, 0))),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", Some((4, 1))),
            ("claude-sonnet-4@20250514", Some((4, 0))),
            ("anthropic/claude-sonnet-4.5", Some((4, 5))),
            ("claude-opus-5", Some((5, 0))),
            ("claude-latest", None),
            ("gpt-5", None),
        ] {
            assert_eq!(version(name), want, "{name}");
        }
    }

    #[test]
    fn names_tell_what_a_model_can() {
        assert!(!capabilities("claude-3-5-haiku-20241022").reasoning);
        assert!(!capabilities("claude-sonnet-4-20250514").json_schema);
        assert!(capabilities("claude-haiku-4-5").json_schema && !is_adaptive("claude-haiku-4-5"));
        assert!(is_adaptive("claude-opus-4-6") && is_adaptive("my-alias"));
        assert_eq!(context_tokens("claude-opus-4-6"), None);
    }

    #[test]
    fn there_is_room_beyond_the_thinking() {
        assert_eq!(default_max_tokens("claude-3-haiku-20240307", 0), 4096);
        assert_eq!(default_max_tokens("claude-sonnet-4-5", 0), 16_384);
        assert_eq!(default_max_tokens("claude-sonnet-4-5", 10_000), 26_384);
        assert_eq!(default_max_tokens("claude-opus-4-1-20250805", 31_000), 32_000);
    }
}
