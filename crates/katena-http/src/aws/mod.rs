//! Amazon Web Services: signatures, credentials, binary event streams.
//!
//! Our own code, since the vendor's crates would more than double what a program has to build; `docs/adr/0008` has the
//! figures.
//!
//! - [`Signer`] signs a request with Signature Version 4.
//! - [`AwsAuth`] is what a component holds: a bearer key, or a [`CredentialsProvider`] and signatures.
//! - [`DefaultCredentials`] looks where AWS's own tools look; [`CachedCredentials`] keeps what was found.
//! - [`EventStreamDecoder`] reads the frames of streamed replies.

mod auth;
mod canonical;
mod chain;
mod credentials;
mod event_stream;
mod metadata;
mod profile;
mod sigv4;
mod sts;
mod time;

pub use auth::{AuthChoice, AuthSource, AwsAuth};
pub use chain::DefaultCredentials;
pub use credentials::{CachedCredentials, Credentials, CredentialsProvider};
pub use event_stream::{EventStream, EventStreamDecoder, Frame, HeaderValue, MAX_FRAME_BYTES};
pub use metadata::{ContainerCredentials, InstanceCredentials};
pub use profile::{ProfileCredentials, ProfileFiles};
pub use sigv4::{ContentHash, PathEncoding, SessionToken, Signable, Signed, Signer};
pub use sts::WebIdentityCredentials;

use katena_core::{Error, Result};

/// The region by `AWS_REGION` or `AWS_DEFAULT_REGION`, else the one that the profile's files name.
///
/// ```
/// use katena_http::aws::region_from;
/// let lookup = |name: &str| (name == "AWS_DEFAULT_REGION").then(|| "eu-west-1".to_owned());
/// assert_eq!(region_from(lookup).as_deref(), Some("eu-west-1"));
/// ```
pub fn region_from(lookup: impl Fn(&str) -> Option<String>) -> Option<String> {
    let get = |name| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION")).or_else(|| {
        let profile = get("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
        // Files that can't be read have no region; where credentials are wanted of them, that is said.
        ProfileCredentials::new(profile, ProfileFiles::from_lookup(&lookup)).region().ok().flatten()
    })
}

/// Says whether `region` may stand in the name of a host.
///
/// # Errors
/// Kind `Config` if it holds anything but letters, digits and hyphens.
pub fn check_region(region: &str) -> Result<()> {
    let fine = !region.is_empty()
        && region.len() <= 40
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fine { Ok(()) } else { Err(Error::config("this is no region of AWS").with_context("region", region)) }
}

/// The domain of a region's services.
pub fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// `text` with everything but letters, digits and `-._~` percent-encoded, as one segment of a path.
pub fn path_segment(text: &str) -> String {
    canonical::encode(text.as_bytes())
}
