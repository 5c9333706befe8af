//! Google's access tokens: service accounts, authorized users, the metadata server, and the application's default
//! of them.
//!
//! Each source keeps its token and gets a new one five minutes before the old one ends, one call at a time. A new
//! one that can't be had while the old one is still good is no failure yet.
//!
//! ```no_run
//! use katena_http::google::{GoogleServiceAccount, application_default};
//! # fn f() -> katena_core::Result<()> {
//! let tokens = application_default()?;
//! let of_file = GoogleServiceAccount::from_json(&std::fs::read_to_string("key.json").unwrap())?;
//! # Ok(()) }
//! ```

mod default;
mod jwt;
mod metadata;
mod service_account;
mod user;

pub use default::{GoogleCredentials, application_default};
pub use metadata::GoogleMetadata;
pub use service_account::GoogleServiceAccount;
pub use user::GoogleUser;

use std::time::Duration;

use bytes::Bytes;
use katena_core::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::token_cache::Fresh;
use crate::{Endpoint, HttpClient, HttpOptions, HttpRequest, Proxy, Secret};

const VENDOR: &str = "google";
/// What the tokens are good for, unless set otherwise: all services of the cloud that the account may use.
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

fn client(proxy: Proxy) -> HttpClient {
    let options = HttpOptions::new().with_timeout(Duration::from_secs(30)).with_max_body(1 << 20);
    HttpClient::with_options(options.with_proxy(proxy))
}

fn unauthenticated(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Unauthenticated, message).with_vendor(VENDOR)
}

/// The text of a field that must be there.
fn field(value: &Value, name: &'static str) -> Result<String> {
    let text = value.get(name).and_then(Value::as_str).map(str::trim).filter(|t| !t.is_empty());
    text.map(str::to_owned)
        .ok_or_else(|| unauthenticated("the credentials lack a field").with_context("field", name))
}

fn parse(json: &str) -> Result<Value> {
    // The parser's error can quote what it read, which is a secret here.
    serde_json::from_str(json).map_err(|_| unauthenticated("the credentials are no JSON"))
}

/// Where tokens are had; a plain address only on this machine.
fn token_endpoint(uri: &str) -> Result<Endpoint> {
    let endpoint = Endpoint::new(uri)?.with_vendor(VENDOR);
    let local = matches!(endpoint.base().host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if endpoint.base().scheme() != "https" && !local {
        return Err(Error::config("the credentials' token address is not https").with_vendor(VENDOR));
    }
    Ok(endpoint)
}

/// Asks for a token by a form.
async fn exchange(
    client: &HttpClient,
    endpoint: &Endpoint,
    form: &[(&str, &str)],
    secrets: &[&Secret],
) -> Result<Fresh> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let call = HttpRequest::post(endpoint, "")?;
    // The endpoint's address is the whole address; joining nothing to it would add a slash.
    let call = HttpRequest { url: endpoint.base().clone(), ..call };
    let call = call.with_body("application/x-www-form-urlencoded", Bytes::from(body));
    let call = secrets.iter().fold(call, |call, secret| call.with_hidden((*secret).clone()));
    let reply = client.send(call).await.map_err(refused)?;
    Fresh::of(&reply.json()?).map_err(|e| reply.mark(e))
}

/// An answer of 400 or 401 here means that the credentials are not accepted.
fn refused(error: Error) -> Error {
    match error.status() {
        Some(status @ (400 | 401 | 403)) => {
            unauthenticated(format!("the credentials are not accepted: {}", error.message()))
                .with_status(status)
        }
        _ => error,
    }
}

#[cfg(test)]
#[path = "google_tests.rs"]
mod tests;
