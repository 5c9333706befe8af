use std::time::UNIX_EPOCH;

use super::*;
use crate::endpoint::Endpoint;

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_440_938_160)
}

fn signer() -> Signer {
    Signer::new(
        Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        "us-east-1",
        "service",
    )
}

#[test]
fn the_documented_example() {
    let headers = [("Host", "example.amazonaws.com")];
    let request = Signable { method: "GET", path: "/", query: "", headers: &headers, body: b"" };
    let signed = signer().with_content_hash(ContentHash::NotSent).sign_parts(request, at());
    assert_eq!(signed.signature, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

#[test]
fn paths() {
    let twice = |p| canonical_path(p, PathEncoding::Twice);
    assert_eq!(twice("/model/amazon.nova-lite-v1%3A0/converse"), "/model/amazon.nova-lite-v1%253A0/converse");
    assert_eq!(twice(""), "/");
    assert_eq!(twice("/a/../../b/./c//"), "/b/c/");
    assert_eq!(twice("/a/.."), "/");
    assert_eq!(canonical_path("//a b/%2F", PathEncoding::AsSent), "//a%20b/%2F");
    assert_eq!(canonical_query("b=+%20&a&a=1&=x&%E1%88%B4=%zz"), "=x&%E1%88%B4=%25zz&a=&a=1&b=%20%20");
}

#[test]
fn a_request_is_signed_with_all_its_headers_and_again() {
    let endpoint = Endpoint::new("http://localhost:8080/base?x=1").unwrap().with_header("accept", "a/b");
    let request = HttpRequest::post(&endpoint, "model/m%3A0/converse").unwrap();
    let request = request.with_json(&serde_json::json!({"a": 1})).unwrap();
    let signer = signer();
    let first = signer.sign(request.clone(), at()).unwrap();
    let authorization = first.header("authorization").unwrap().expose();
    assert!(
        authorization.contains("SignedHeaders=accept;content-type;host;x-amz-content-sha256;x-amz-date,"),
        "{authorization}"
    );
    assert_eq!(first.header("x-amz-date").unwrap().expose(), "20150830T123600Z");
    // Signing what is signed already gives the same as signing anew.
    let again = signer.sign(first.clone(), at()).unwrap();
    assert_eq!(again.header("authorization"), first.header("authorization"));
    let later = signer.sign(first.clone(), at() + Duration::from_secs(5)).unwrap();
    assert_ne!(later.header("authorization"), first.header("authorization"));
    assert_eq!(later.body(), request.body());
}

#[test]
fn nothing_prints_a_secret() {
    let signer =
        Signer::new(Credentials::new("AKID", "hidden-key").with_session_token("hidden-token"), "r", "s");
    let request = HttpRequest::get(&Endpoint::new("https://h").unwrap(), "x").unwrap();
    let headers = [("host", "h")];
    let parts = Signable { method: "GET", path: "/", query: "", headers: &headers, body: b"hidden" };
    let signed = signer.sign_parts(parts, at());
    let request = signer.sign(request, at()).unwrap();
    let shown = format!("{signer:?} {parts:?} {signed:?} {request:?}");
    assert!(!shown.contains("hidden") && !shown.contains(&signed.signature), "{shown}");
}
