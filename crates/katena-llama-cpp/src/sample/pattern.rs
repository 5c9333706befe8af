//! Patterns of JSON Schema (ECMA-262) in the syntax of Rust's regular expressions, where the two differ.

use katena_core::{Error, Result};

use super::weight::regex_fits;

/// Longest pattern, in bytes.
const MAX_BYTES: usize = 16 * 1024;
/// White space of ECMA-262, without Rust's U+0085.
const SPACE: &str =
    r"\t\n\x0B\x0C\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";

/// White space of every dialect.
const PLAIN_SPACE: &str = r"\t\n\x0B\x0C\r ";

/// What a pattern is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Texts that match are written: where dialects differ, only what matches in all of them.
    Text,
    /// Names are told apart by it: exactly ECMA's meaning.
    Names,
}

fn unsupported(what: &'static str) -> Error {
    Error::unsupported("a pattern can't be held to by local models").with_context("pattern_part", what)
}

/// The pattern with the meaning that ECMA-262 gives it. Digits and words (`\d`, `\w`) are left to llguidance, which takes
/// them as ASCII, as ECMA does.
///
/// # Errors
/// `Unsupported` for what the two dialects read differently, `InvalidInput` for a pattern that is cut off or too long.
pub(super) fn rust_pattern(pattern: &str, purpose: Use) -> Result<String> {
    if pattern.len() > MAX_BYTES || !regex_fits(pattern) {
        return Err(Error::invalid_input("a pattern is too long or repeats too much")
            .with_context("most", MAX_BYTES.to_string()));
    }
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let (mut class, mut negated) = (false, false);
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let Some(next) = chars.next() else {
                    return Err(Error::invalid_input("a pattern ends in a backslash"));
                };
                match next {
                    's' if purpose == Use::Text && !(class && negated) => {
                        let (open, close) = if class { ("", "") } else { ("[", "]") };
                        out.extend([open, PLAIN_SPACE, close]);
                    }
                    's' if class => out.push_str(SPACE),
                    's' => out.extend(["[", SPACE, "]"]),
                    'S' if class => return Err(unsupported("\\S in a class")),
                    'S' => out.extend(["[^", SPACE, "]"]),
                    'b' | 'B' => return Err(unsupported("\\b")),
                    '/' => out.push('/'),
                    'x' | 'u' if chars.peek() == Some(&'{') && next == 'x' => {
                        return Err(unsupported("\\x{"));
                    }
                    'd' | 'D' | 'w' | 'W' | 't' | 'n' | 'r' | 'f' | 'v' | 'x' | 'u' | 'p' | 'P' => {
                        out.extend(['\\', next]);
                    }
                    next if next.is_ascii_punctuation() => {
                        // Rust refuses to escape some signs that need none.
                        if matches!(
                            next,
                            '<' | '>' | '"' | '\'' | '=' | '!' | '%' | ',' | ':' | ';' | '@' | '_' | '`'
                        ) {
                            out.push(next);
                        } else {
                            out.extend(['\\', next]);
                        }
                    }
                    _ => return Err(unsupported("an unusual escape")),
                }
            }
            '[' if class => return Err(unsupported("[ in a class")),
            '[' => {
                class = true;
                out.push('[');
                negated = chars.peek() == Some(&'^');
                if negated {
                    chars.next();
                    out.push('^');
                }
                if chars.peek() == Some(&']') {
                    return Err(unsupported("an empty class"));
                }
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '-' | '~' if class && chars.peek() == Some(&c) => {
                return Err(unsupported("a doubled sign in a class"));
            }
            '.' if !class => out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            '(' if !class && chars.peek() == Some(&'?') => {
                chars.next();
                match (chars.next(), chars.peek()) {
                    (Some(':'), _) => out.push_str("(?:"),
                    (Some('<'), Some(c)) if *c != '=' && *c != '!' => out.push_str("(?<"),
                    _ => return Err(unsupported("a group that looks around or sets flags")),
                }
            }
            c => out.push(c),
        }
    }
    if class {
        return Err(Error::invalid_input("a class of a pattern is not closed"));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::ErrorKind;

    #[test]
    fn dialects_are_reconciled() {
        assert_eq!(rust_pattern(r"^\d+\/[a-z\.]$", Use::Text).unwrap(), r"^\d+/[a-z\.]$");
        assert_eq!(rust_pattern(r"a.b[.]", Use::Text).unwrap(), r"a[^\n\r\u{2028}\u{2029}]b[.]");
        assert!(rust_pattern(r"^\s$", Use::Names).unwrap().contains(r"\u{feff}"));
        assert_eq!(rust_pattern(r"(?:a|(?<n>b))", Use::Text).unwrap(), "(?:a|(?<n>b))");
    }

    #[test]
    fn white_space_is_what_all_dialects_agree_on() {
        let text = |pattern| rust_pattern(pattern, Use::Text).unwrap();
        assert_eq!(text(r"\s"), r"[\t\n\x0B\x0C\r ]");
        assert_eq!(text(r"[\s.]"), r"[\t\n\x0B\x0C\r .]");
        assert!(text(r"[^\s]").contains(r"\u{feff}") && text(r"\S").contains(r"\u{feff}"));
    }

    #[test]
    fn what_differs_is_refused() {
        for bad in
            [r"\bword", r"(?=a)", r"(?i)a", r"(?<!a)", r"[a[b]]", r"[a&&b]", r"\Aa", r"[\S]", "[]", r"\x{41}"]
        {
            assert_eq!(rust_pattern(bad, Use::Text).unwrap_err().kind(), ErrorKind::Unsupported, "{bad}");
        }
        for bad in ["a\\", "[a", &"a".repeat(MAX_BYTES + 1)] {
            assert_eq!(rust_pattern(bad, Use::Text).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
}
