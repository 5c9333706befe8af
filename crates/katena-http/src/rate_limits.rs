//! What a reply's headers say about the account's limits.

use std::time::{Duration, SystemTime};

use katena_core::RateLimits;

/// Reads the headers in use; `None` if there are none of them.
///
/// OpenAI and those who follow it: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, resets as `6m0s` or `17ms`.
/// Anthropic: `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`, resets as RFC 3339 times; without a limit of
/// all tokens that of the input's.
pub(crate) fn read(header: &impl Fn(&str) -> Option<String>, now: SystemTime) -> Option<RateLimits> {
    let number = |name: &str| header(name)?.trim().parse().ok();
    let until = |name: &str| Some(moment(&header(name)?)?.duration_since(now).unwrap_or_default());
    let mut limits = RateLimits::default();
    limits.requests =
        number("x-ratelimit-limit-requests").or_else(|| number("anthropic-ratelimit-requests-limit"));
    limits.requests_left =
        number("x-ratelimit-remaining-requests").or_else(|| number("anthropic-ratelimit-requests-remaining"));
    limits.requests_reset = header("x-ratelimit-reset-requests")
        .as_deref()
        .and_then(span)
        .or_else(|| until("anthropic-ratelimit-requests-reset"));
    limits.tokens = number("x-ratelimit-limit-tokens");
    limits.tokens_left = number("x-ratelimit-remaining-tokens");
    limits.tokens_reset = header("x-ratelimit-reset-tokens").as_deref().and_then(span);
    for kind in ["tokens", "input-tokens"] {
        if limits.tokens.is_none() && limits.tokens_left.is_none() {
            limits.tokens = number(&format!("anthropic-ratelimit-{kind}-limit"));
            limits.tokens_left = number(&format!("anthropic-ratelimit-{kind}-remaining"));
            limits.tokens_reset =
                limits.tokens_reset.or_else(|| until(&format!("anthropic-ratelimit-{kind}-reset")));
        }
    }
    (limits != RateLimits::default()).then_some(limits)
}

/// A time of RFC 3339, such as `2026-01-02T03:04:05.5Z` or `2026-01-02T05:04:05+02:00`, from 1970 to 9999.
fn moment(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let digits = |from: usize, to: usize| {
        let part = text.get(from..to).filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<u64>().ok()
    };
    let sign = |at: usize, of: &[u8]| text.as_bytes().get(at).filter(|b| of.contains(b)).copied();
    sign(4, b"-").and(sign(7, b"-")).and(sign(10, b"Tt ")).and(sign(13, b":")).and(sign(16, b":"))?;
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    if year < 1970
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days since 1970-01-01 with years that begin in March, so that a leap day is a year's last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = (365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1).checked_sub(719_468)?;
    let rest = text.get(19..)?;
    let fraction =
        rest.strip_prefix('.').map_or("", |f| &f[..f.find(|c: char| !c.is_ascii_digit()).unwrap_or(f.len())]);
    let zone = &rest[if fraction.is_empty() { 0 } else { fraction.len() + 1 }..];
    let at = Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second)
        + if fraction.is_empty() {
            Duration::ZERO
        } else {
            Duration::try_from_secs_f64(format!("0.{fraction}").parse().ok()?).ok()?
        };
    let at = SystemTime::UNIX_EPOCH + at;
    if zone.eq_ignore_ascii_case("z") {
        return Some(at);
    }
    let from = text.len().checked_sub(6).filter(|n| text.len() - zone.len() == *n)?;
    sign(from + 3, b":")?;
    let off = Duration::from_secs(digits(from + 1, from + 3)? * 3600 + digits(from + 4, from + 6)? * 60);
    match sign(from, b"+-")? {
        b'+' => at.checked_sub(off),
        _ => at.checked_add(off),
    }
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

    #[test]
    fn moments() {
        let seconds =
            |text: &str| moment(text)?.duration_since(SystemTime::UNIX_EPOCH).ok().map(|d| d.as_secs_f64());
        for (text, want) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2000-02-29T12:00:00Z", 951_825_600.0),
            ("2026-01-02T03:04:05.5Z", 1_767_323_045.5),
            ("2026-01-02T05:04:05+02:00", 1_767_323_045.0),
            ("2026-01-01T22:04:05-05:00", 1_767_323_045.0),
        ] {
            assert_eq!(seconds(text), Some(want), "{text}");
        }
        for bad in [
            "",
            "now",
            "2026-01-02",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05+0é:00",
            "1969-12-31T00:00:00Z",
            "2026-01-02T03:04:05.5",
            "é026-01-02T03:04:05Z",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn limits_of_anthropic() {
        let headers = [
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "49"),
            ("anthropic-ratelimit-requests-reset", "1970-01-01T00:01:00Z"),
            ("anthropic-ratelimit-input-tokens-limit", "1000"),
            ("anthropic-ratelimit-input-tokens-remaining", "990"),
            ("anthropic-ratelimit-input-tokens-reset", "1970-01-01T00:00:05Z"),
        ];
        let header = |name: &str| headers.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let limits = read(&header, now).unwrap();
        assert_eq!((limits.requests, limits.requests_left), (Some(50), Some(49)));
        assert_eq!(limits.requests_reset, Some(Duration::from_secs(50)));
        assert_eq!((limits.tokens, limits.tokens_left), (Some(1000), Some(990)));
        // What has passed is no wait.
        assert_eq!(limits.tokens_reset, Some(Duration::ZERO));
        assert_eq!(read(&|_: &str| None, now), None);
    }
}
