//! Reading the vendors' documented variables.

use katena_core::{Error, ErrorKind, Result};
use katena_http::{HttpClient, HttpOptions, Proxy};

/// The process's environment.
pub(crate) fn process(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A variable that is set to more than white space.
pub(crate) fn get(lookup: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
}

/// The first of these variables that is set.
pub(crate) fn required(
    lookup: &impl Fn(&str) -> Option<String>,
    names: &[&'static str],
    vendor: &'static str,
) -> Result<String> {
    names.iter().find_map(|name| get(lookup, name)).ok_or_else(|| {
        let message = format!("the variable {} is not set", names.join(" or "));
        Error::new(ErrorKind::Unauthenticated, message).with_vendor(vendor)
    })
}

/// A client that heeds the usual proxy variables.
pub(crate) fn client() -> HttpClient {
    HttpClient::with_options(HttpOptions::new().with_proxy(Proxy::FromEnv))
}
