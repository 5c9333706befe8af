//! Where Ollama is, as its own variable says it.

use katena_core::{Error, Result};

/// Where Ollama listens unless told otherwise.
pub(super) const LOCAL: &str = "http://127.0.0.1:11434";

/// The address that a value of `OLLAMA_HOST` means.
///
/// Scheme, host and port may each be missing; a path is kept. The port is 11434 without a scheme, else the scheme's. An
/// address to listen on everywhere is reached at this machine. After `envconfig.Host` of Ollama.
pub(super) fn base_of(value: &str) -> Result<String> {
    let value = value.trim().trim_matches(['"', '\'']).trim();
    let (scheme, rest, port) = match value.split_once("://") {
        None => ("http", value, "11434"),
        Some(("http", rest)) => ("http", rest, "80"),
        Some(("https", rest)) => ("https", rest, "443"),
        Some((scheme, _)) => {
            return Err(Error::config("OLLAMA_HOST must begin with http:// or https://, or with a host")
                .with_context("scheme", scheme.chars().take(20).collect::<String>()));
        }
    };
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, given) = match place.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((host, after)) => (host, after.strip_prefix(':')),
            None => (inner, None),
        },
        // More than one colon: an address of IPv6 without brackets.
        None if place.matches(':').count() > 1 => (place, None),
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = given.filter(|p| p.parse::<u16>().is_ok()).unwrap_or(port);
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        six if six.contains(':') => format!("[{six}]"),
        other => other.to_owned(),
    };
    let path = path.trim_end_matches('/');
    Ok(if path.is_empty() {
        format!("{scheme}://{host}:{port}")
    } else {
        format!("{scheme}://{host}:{port}/{path}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_a_host() {
        for (value, base) in [
            ("", "http://127.0.0.1:11434"),
            ("1.2.3.4", "http://1.2.3.4:11434"),
            ("1.2.3.4:1234", "http://1.2.3.4:1234"),
            (":1234", "http://127.0.0.1:1234"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("example.com", "http://example.com:11434"),
            ("http://example.com", "http://example.com:80"),
            ("https://example.com", "https://example.com:443"),
            ("https://example.com:1/ollama/", "https://example.com:1/ollama"),
            ("example.com/ollama", "http://example.com:11434/ollama"),
            ("example.com:99999", "http://example.com:11434"),
            ("[::1]", "http://[::1]:11434"),
            ("[::1]:1337", "http://[::1]:1337"),
            ("::1", "http://[::1]:11434"),
            ("[::]:1", "http://[::1]:1"),
            (" \"1.2.3.4\" ", "http://1.2.3.4:11434"),
            ("'1.2.3.4'", "http://1.2.3.4:11434"),
        ] {
            assert_eq!(base_of(value).unwrap(), base, "{value:?}");
        }
        assert!(base_of("ftp://example.com").is_err());
    }
}
