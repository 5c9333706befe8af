//! Signature Version 4.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use katena_core::{Error, Result};

use super::canonical::{
    canonical_headers, canonical_path, canonical_query, encode, joined, query_pairs, signed_names,
};
use super::credentials::Credentials;
use super::time::stamp;
use crate::request::{HttpRequest, Method};
use crate::secret::Secret;
use crate::signatures::{hex, hmac_sha256, sha256_hex};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How a path is written where it is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathEncoding {
    /// Normalized and percent-encoded once more than it is sent, as every service but S3 wants it.
    #[default]
    Twice,
    /// Normalized, and encoded as it is sent.
    Once,
    /// Exactly as it is sent, as S3 wants it.
    AsSent,
}

/// What is done with the hash of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContentHash {
    /// Sent as a signed header, `x-amz-content-sha256`.
    #[default]
    Sent,
    /// Only part of what is signed.
    NotSent,
}

/// What is done with the session token of temporary credentials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionToken {
    /// It is signed.
    #[default]
    Signed,
    /// It is sent beside what is signed, as a few services want it.
    Unsigned,
}

/// What is signed: the parts of a request as they are sent.
///
/// Path and query are the request's own text, percent-encoded or not.
///
/// ```
/// use katena_http::aws::{Credentials, Signable, Signer};
/// let signer = Signer::new(Credentials::new("AKIDEXAMPLE", "secret"), "us-east-1", "s3");
/// let headers = [("host", "example.amazonaws.com")];
/// let request = Signable { method: "GET", path: "/", query: "a=1", headers: &headers, body: b"" };
/// let signed = signer.sign_parts(request, std::time::SystemTime::now());
/// assert!(signed.canonical_request.starts_with("GET\n/\na=1\nhost:example.amazonaws.com\n"));
/// assert_eq!(signed.signature.len(), 64);
/// ```
#[derive(Clone, Copy)]
pub struct Signable<'a> {
    /// `GET`, `POST` and so on.
    pub method: &'a str,
    /// The path, from its first slash.
    pub path: &'a str,
    /// The query without its question mark; empty for none.
    pub query: &'a str,
    /// Names and values in the order of sending; `host` must be among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl fmt::Debug for Signable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Signable")
            .field("method", &self.method)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// A signature with the steps that led to it, as AWS's error replies show them.
#[derive(Clone)]
#[non_exhaustive]
pub struct Signed {
    /// The request in its canonical form.
    pub canonical_request: String,
    /// What was signed in the end.
    pub string_to_sign: String,
    /// The signature as lower-case hex.
    pub signature: String,
    /// Headers to add (for a presigned address: names and values to add to its query).
    pub additions: Vec<(&'static str, Secret)>,
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.additions.iter().map(|(name, _)| *name).collect();
        f.debug_struct("Signed").field("additions", &names).finish_non_exhaustive()
    }
}

/// Signs requests to one service in one region with AWS Signature Version 4.
///
/// After [the documentation](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
/// A signature is good for five minutes, so each try of a request is signed anew.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use katena_http::aws::{Credentials, Signer};
/// use katena_http::{Endpoint, HttpRequest};
/// let signer = Signer::new(Credentials::new("AKIDEXAMPLE", "secret"), "us-east-1", "bedrock");
/// let endpoint = Endpoint::new("https://bedrock-runtime.us-east-1.amazonaws.com")?;
/// let request = HttpRequest::post(&endpoint, "model/m%3A0/converse")?.with_json(&serde_json::json!({}))?;
/// let signed = signer.sign(request, UNIX_EPOCH + Duration::from_secs(1_700_000_000))?;
/// assert!(signed.header("authorization").unwrap().expose().starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"));
/// # Ok::<(), katena_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Signer {
    credentials: Credentials,
    region: Cow<'static, str>,
    service: Cow<'static, str>,
    path: PathEncoding,
    content_hash: ContentHash,
    session_token: SessionToken,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("region", &self.region)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer for `service` (as its signatures name it, such as `bedrock`) in `region`.
    pub fn new(
        credentials: Credentials,
        region: impl Into<Cow<'static, str>>,
        service: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            credentials,
            region: region.into(),
            service: service.into(),
            path: PathEncoding::default(),
            content_hash: ContentHash::default(),
            session_token: SessionToken::default(),
        }
    }

    /// Sets how paths are written where they are signed.
    pub fn with_path_encoding(mut self, path: PathEncoding) -> Self {
        self.path = path;
        self
    }

    /// Sets whether the hash of the body is sent.
    pub fn with_content_hash(mut self, content_hash: ContentHash) -> Self {
        self.content_hash = content_hash;
        self
    }

    /// Sets whether the session token is signed.
    pub fn with_session_token(mut self, session_token: SessionToken) -> Self {
        self.session_token = session_token;
        self
    }

    /// The request with the headers that prove who sends it. Headers that were set before are signed too.
    ///
    /// # Errors
    /// Kind `Config` if the request's address has no host.
    pub fn sign(&self, request: HttpRequest, at: SystemTime) -> Result<HttpRequest> {
        let host = request
            .url
            .host_str()
            .ok_or_else(|| Error::config("an address without a host can't be signed"))?;
        let host = match request.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        // What an earlier signature left is replaced, not signed.
        let ours = ["x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "host"];
        let given = request.headers.iter().map(|(name, value)| (&**name, value.expose()));
        let given = given.filter(|(name, _)| !ours.iter().any(|own| name.eq_ignore_ascii_case(own)));
        let headers: Vec<(&str, &str)> = given.chain([("host", host.as_str())]).collect();
        let signed = self.sign_parts(
            Signable {
                method: method_name(request.method),
                path: request.url.path(),
                query: request.url.query().unwrap_or_default(),
                headers: &headers,
                body: &request.body,
            },
            at,
        );
        Ok(signed
            .additions
            .into_iter()
            .fold(request, |request, (name, value)| request.with_header(name, value)))
    }

    /// The headers to add to a request: `x-amz-date`, `authorization` and, as the settings say, the body's hash and the
    /// session token.
    pub fn sign_parts(&self, request: Signable<'_>, at: SystemTime) -> Signed {
        let date = stamp(at);
        let payload = sha256_hex(request.body);
        let mut headers = canonical_headers(request.headers);
        let mut additions: Vec<(&'static str, Secret)> = vec![("x-amz-date", Secret::new(&date))];
        if self.content_hash == ContentHash::Sent {
            additions.push(("x-amz-content-sha256", Secret::new(&payload)));
        }
        if let (Some(token), SessionToken::Signed) = (self.credentials.session_token(), self.session_token) {
            additions.push(("x-amz-security-token", token.clone()));
        }
        for (name, value) in &additions {
            headers.retain(|(n, _)| n != name);
            headers.push(((*name).to_owned(), value.expose().to_owned()));
        }
        headers.sort();
        let (canonical_request, names) =
            self.canonical(&request, &canonical_query(request.query), &headers, &payload);
        let (string_to_sign, signature) = self.signature(&canonical_request, &date);
        let authorization = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={names}, Signature={signature}",
            self.credentials.access_key_id(),
            self.scope(&date)
        );
        additions.push(("authorization", Secret::new(authorization)));
        if let (Some(token), SessionToken::Unsigned) = (self.credentials.session_token(), self.session_token)
        {
            additions.push(("x-amz-security-token", token.clone()));
        }
        Signed { canonical_request, string_to_sign, signature, additions }
    }

    /// What to add to a request's query so that the address alone is enough for `lifetime` (at most seven days).
    pub fn presign_parts(&self, request: Signable<'_>, at: SystemTime, lifetime: Duration) -> Signed {
        let date = stamp(at);
        let mut headers = canonical_headers(request.headers);
        headers.sort();
        let names = signed_names(&headers);
        let mut additions: Vec<(&'static str, Secret)> = vec![
            ("X-Amz-Algorithm", Secret::new(ALGORITHM)),
            (
                "X-Amz-Credential",
                Secret::new(format!("{}/{}", self.credentials.access_key_id(), self.scope(&date))),
            ),
            ("X-Amz-Date", Secret::new(&date)),
            ("X-Amz-Expires", Secret::new(lifetime.as_secs().to_string())),
            ("X-Amz-SignedHeaders", Secret::new(&names)),
        ];
        let token = self.credentials.session_token().map(|token| ("X-Amz-Security-Token", token.clone()));
        if self.session_token == SessionToken::Signed {
            additions.extend(token.clone());
        }
        let mut query = query_pairs(request.query);
        let added = additions
            .iter()
            .map(|(name, value)| (encode(name.as_bytes()), encode(value.expose().as_bytes())));
        query.extend(added);
        let payload = sha256_hex(request.body);
        let (canonical_request, _) = self.canonical(&request, &joined(query), &headers, &payload);
        let (string_to_sign, signature) = self.signature(&canonical_request, &date);
        if self.session_token == SessionToken::Unsigned {
            additions.extend(token);
        }
        additions.push(("X-Amz-Signature", Secret::new(&signature)));
        Signed { canonical_request, string_to_sign, signature, additions }
    }

    fn canonical(
        &self,
        request: &Signable<'_>,
        query: &str,
        headers: &[(String, String)],
        payload: &str,
    ) -> (String, String) {
        let names = signed_names(headers);
        let path = canonical_path(request.path, self.path);
        let mut text = format!("{}\n{path}\n{query}\n", request.method);
        for (name, value) in headers {
            text.extend([name, ":", value, "\n"]);
        }
        text.extend(["\n", &names, "\n", payload]);
        (text, names)
    }

    fn scope(&self, date: &str) -> String {
        format!("{}/{}/{}/aws4_request", &date[..8], self.region, self.service)
    }

    fn signature(&self, canonical_request: &str, date: &str) -> (String, String) {
        let scope = self.scope(date);
        let text = format!("{ALGORITHM}\n{date}\n{scope}\n{}", sha256_hex(canonical_request.as_bytes()));
        let first = format!("AWS4{}", self.credentials.secret_access_key().expose());
        let steps = [&date[..8], &*self.region, &*self.service, "aws4_request", &text];
        let mut key = first.into_bytes();
        for step in steps {
            key = hmac_sha256(&key, step.as_bytes()).to_vec();
        }
        (text, hex(&key))
    }
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}

#[cfg(test)]
#[path = "sigv4_tests.rs"]
mod tests;
