//! HTTP for Katena: one shared client with timeouts and limits, endpoints and secrets, a server-sent-events decoder,
//! and the mapping from HTTP status to [`katena_core::Error`].
//!
//! This is the only crate of the workspace that names an HTTP client; none of its public types shows which one. Calls
//! need a tokio runtime with I/O and time enabled; without a runtime they fail with an error of kind `Config`.
//!
//! # Certificates
//! TLS is rustls with ring. Certificates are checked against the system's store, so that a company's own authority
//! works; where the system has none, as in an empty container, Mozilla's roots that are built into the program are used.
//!
//! # What is not done here
//! No call is repeated: retrying is a layer's task. Redirects are not followed, since an API does not redirect and a
//! followed redirect could carry a key elsewhere. HTTP/1.1 only: dropping a response stops it by closing its connection.

#[cfg(feature = "aws")]
pub mod aws;
mod body;
mod client;
mod endpoint;
#[cfg(feature = "entra")]
mod entra;
#[cfg(feature = "google")]
pub mod google;
pub mod guard;
pub mod multipart;
pub mod ndjson;
mod options;
mod rate_limits;
mod request;
mod secret;
#[cfg(feature = "signatures")]
pub mod signatures;
pub mod sse;
mod status;
mod tls;
mod token;
#[cfg(any(feature = "entra", feature = "google"))]
mod token_cache;

pub use body::{HttpReply, HttpStream, Shape};
pub use client::HttpClient;
pub use endpoint::Endpoint;
#[cfg(feature = "entra")]
pub use entra::EntraToken;
pub use options::{HttpOptions, Proxy};
pub use request::{HttpRequest, Method};
pub use secret::Secret;
pub use status::{ErrorDetails, parse_retry_after};
pub use token::{StaticToken, TokenSource};
