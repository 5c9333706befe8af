//! What a reply's headers say about the account's limits.

use std::time::{Duration, SystemTime};

use katena_core::RateLimits;

/// Reads the headers in use; `None` if there are none of them.
///
/// OpenAI and those who follow it: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, resets as `6m0s` or `17ms`.
pub(crate) fn read(header: &impl Fn(&str) -> Option<String>, _now: SystemTime) -> Option<RateLimits> {
    let number = |name: &str| header(name)?.trim().parse().ok();
    let mut limits = RateLimits::default();
    limits.requests = number("x-ratelimit-limit-requests");
    limits.requests_left = number("x-ratelimit-remaining-requests");
    limits.requests_reset = header("x-ratelimit-reset-requests").as_deref().and_then(span);
    limits.tokens = number("x-ratelimit-limit-tokens");
    limits.tokens_left = number("x-ratelimit-remaining-tokens");
    limits.tokens_reset = header("x-ratelimit-reset-tokens").as_deref().and_then(span);
    (limits != RateLimits::default()).then_some(limits)
}

/// A span such as `1h2m3.5s`, `17ms` or plain seconds.
fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| digits + n);
        seconds += number
            * match &rest[digits..unit_end] {
                "d" => 86_400.0,
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                "us" | "\u{b5}s" => 1e-6,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, want) in
            [("6m0s", Some(360.0)), ("17ms", Some(0.017)), ("1h2m3.5s", Some(3723.5)), ("2", Some(2.0))]
        {
            assert_eq!(span(text).map(|d| d.as_secs_f64()), want, "{text}");
        }
        for bad in ["", "m", "1x", "-1", "inf", "1e400"] {
            assert!(bad.is_empty() || span(bad).is_none(), "{bad}");
        }
    }
}
