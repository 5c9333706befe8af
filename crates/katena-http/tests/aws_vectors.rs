//! Shared vectors: signatures, event streams, which proof of identity counts.

#![cfg(feature = "aws")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says what it skips"
)]

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use katena_http::aws::{
    AuthChoice, AuthSource, ContentHash, Credentials, EventStreamDecoder, PathEncoding, SessionToken,
    Signable, Signed, Signer,
};
use katena_http::signatures::sha256_hex;
use katena_http::{Endpoint, HttpRequest};
use serde_json::Value;

fn vectors(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/aws").join(name);
    let bytes = std::fs::read(path).ok();
    if bytes.is_none() {
        println!("skipped: the shared vectors are not beside this checkout");
    }
    bytes
}

fn json(name: &str) -> Option<Value> {
    vectors(name).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// The files of a tar archive: 512-byte blocks, a name and an octal size in front of each file.
fn untar(bytes: &[u8]) -> Vec<(String, String)> {
    let (mut files, mut at) = (Vec::new(), 0);
    while bytes[at..].iter().take(512).any(|b| *b != 0) {
        let word = |from: usize, to: usize| {
            let field = &bytes[at + from..at + to];
            String::from_utf8_lossy(field).trim_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(&word(124, 136), 8).unwrap();
        let start = at + 512;
        if bytes[at + 156] == b'0' {
            let text = String::from_utf8(bytes[start..start + size].to_vec()).unwrap();
            files.push((word(0, 100), text));
        }
        at = start + size.div_ceil(512) * 512;
        if at >= bytes.len() {
            break;
        }
    }
    files
}

/// A request as the suite writes it: a continued header begins with white space.
struct Case {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn parse(text: &str) -> Case {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap();
    let (method, rest) = first.split_once(' ').unwrap();
    let target = rest.rsplit_once(" HTTP/").map_or(rest, |(target, _)| target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines.filter(|l| !l.is_empty()) {
        if line.starts_with(' ') {
            headers.last_mut().unwrap().1.push_str(line);
        } else {
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let [method, path, query, body] = [method, path, query, body].map(str::to_owned);
    Case { method, path, query, headers, body }
}

impl Case {
    fn with<T>(&self, f: impl FnOnce(Signable<'_>) -> T) -> T {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        f(Signable {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
            body: self.body.as_bytes(),
        })
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn compare(name: &str, kind: &str, signed: &Signed, get: impl Fn(&str) -> Option<String>) -> Vec<String> {
    [
        ("canonical-request.txt", &signed.canonical_request),
        ("string-to-sign.txt", &signed.string_to_sign),
        ("signature.txt", &signed.signature),
    ]
    .into_iter()
    .filter_map(|(file, got)| {
        let file = format!("{kind}-{file}");
        let want = get(&file)?;
        (want.trim() != got.trim()).then(|| format!("{name}/{file}:\n{want}\n--- got\n{got}"))
    })
    .collect()
}

#[test]
fn the_suite_of_signatures() {
    let Some(packed) = vectors("sigv4-test-suite.tar.gz") else { return };
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed[..]), &mut bytes).unwrap();
    let files = untar(&bytes);
    let mut names: Vec<&str> = files.iter().filter_map(|(n, _)| n.split('/').nth(2)).collect();
    names.sort_unstable();
    names.dedup();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for name in &names {
        let get = |file: &str| {
            let path = format!("/{name}/{file}");
            files.iter().find(|(n, _)| n.ends_with(&path)).map(|(_, text)| text.clone())
        };
        let Some(context) = get("context.json") else { continue };
        let context: Value = serde_json::from_str(&context).unwrap();
        let case = parse(&get("request.txt").unwrap());
        let word = |key: &str| context["credentials"][key].as_str().unwrap_or_default().to_owned();
        let key = Credentials::new(word("access_key_id"), word("secret_access_key"));
        let path = if context["normalize"] == true { PathEncoding::Once } else { PathEncoding::AsSent };
        let hash = if context["sign_body"] == true { ContentHash::Sent } else { ContentHash::NotSent };
        let late = context["omit_session_token"] == true;
        let signer = Signer::new(key.with_session_token(word("token")), "us-east-1", "service")
            .with_path_encoding(path)
            .with_content_hash(hash)
            .with_session_token(if late { SessionToken::Unsigned } else { SessionToken::Signed });
        let by_header = case.with(|r| signer.sign_parts(r, at(1_440_938_160)));
        let lifetime = Duration::from_secs(context["expiration_in_seconds"].as_u64().unwrap());
        let by_query = case.with(|r| signer.presign_parts(r, at(1_440_938_160), lifetime));
        wrong.extend(compare(name, "header", &by_header, get));
        wrong.extend(compare(name, "query", &by_query, get));
        // What is sent: the same headers, and the same query but for its order.
        let sent = parse(&get("header-signed-request.txt").unwrap());
        for (name_of, value) in &by_header.additions {
            let found = sent.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name_of));
            if found.map(|(_, v)| v.trim()) != Some(value.expose()) {
                wrong.push(format!("{name}: header {name_of}"));
            }
        }
        let sent = parse(&get("query-signed-request.txt").unwrap());
        for (name_of, value) in &by_query.additions {
            let pair = format!("{name_of}={}", katena_http::aws::path_segment(value.expose()));
            if !sent.query.split('&').any(|p| p == pair) {
                wrong.push(format!("{name}: query {name_of}"));
            }
        }
        checked += 1;
    }
    // Two more cases have no context: the path is encoded twice.
    for name in ["double-encode-path", "double-url-encode"] {
        let get = |file: &str| {
            let path = format!("/{name}/{file}");
            files.iter().find(|(n, _)| n.ends_with(&path)).map(|(_, text)| text.clone())
        };
        let case = parse(&get("request.txt").unwrap());
        let key = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let signer = Signer::new(key, "us-east-2", "lambda").with_content_hash(ContentHash::NotSent);
        let signed = case.with(|r| signer.sign_parts(r, at(1_620_747_645)));
        wrong.extend(compare(name, "header", &signed, get));
        checked += 1;
    }
    println!("signatures: {checked} cases");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(checked, names.len());
}

fn header<'r>(request: &'r HttpRequest, name: &str) -> &'r str {
    request.header(name).unwrap().expose()
}

#[test]
fn a_signed_request_of_the_mantle_endpoint() {
    let Some(case) = json("openai_bedrock_sigv4.json") else { return };
    let word = |v: &Value| v.as_str().unwrap().to_owned();
    let key = Credentials::new(
        word(&case["credentials"]["accessKeyId"]),
        word(&case["credentials"]["secretAccessKey"]),
    )
    .with_session_token(word(&case["credentials"]["sessionToken"]));
    let signer = Signer::new(key, word(&case["region"]), word(&case["service"]));
    let url = word(&case["request"]["url"]);
    let (base, path) = url.split_at(url.find("/openai").unwrap());
    let request = HttpRequest::post(&Endpoint::new(base).unwrap(), path).unwrap();
    let request = request.with_body("application/json", word(&case["request"]["body"]));
    // 2025-01-02T03:04:05Z.
    let signed = signer.sign(request, at(1_735_787_045)).unwrap();
    assert_eq!(header(&signed, "x-amz-date"), case["expected"]["date"]);
    assert_eq!(header(&signed, "x-amz-content-sha256"), case["expected"]["payloadHash"]);
    assert_eq!(header(&signed, "authorization"), case["expected"]["authorization"]);
}

#[test]
fn the_cases_of_authentication() {
    let Some(suite) = json("openai_bedrock_auth_cases.json") else { return };
    let mut checked = 0;
    for case in suite["cases"].as_array().unwrap() {
        let (given, want, id) = (&case["given"], &case["expected"], &case["id"]);
        match case["kind"].as_str().unwrap() {
            "auth_selection" => {
                let explicit = &given["explicit"];
                let mut choice = AuthChoice::new();
                if let Some(key) = explicit["bearer"].as_str() {
                    choice = choice.with_bearer(key);
                }
                if let Some(id) = explicit["aws"]["access_key_id"].as_str() {
                    let secret = explicit["aws"]["secret_access_key"].as_str().unwrap();
                    choice = choice.with_credentials(Credentials::new(id, secret));
                }
                if let Some(profile) = explicit["profile"].as_str() {
                    choice = choice.with_profile(profile);
                }
                let environment = given["environment"].clone();
                let lookup = move |name: &str| environment[name].as_str().map(str::to_owned);
                match choice.resolve("AWS_BEARER_TOKEN_BEDROCK", lookup) {
                    Err(error) => {
                        assert_eq!(want["error"], "bedrock_conflicting_auth", "{id}");
                        assert!(error.message().contains("conflicting"), "{id}");
                    }
                    Ok(auth) => {
                        let mode = if auth.is_bearer() { "bearer" } else { "sigv4" };
                        let source = match auth.source() {
                            AuthSource::Explicit => "explicit",
                            AuthSource::Environment => "environment",
                            AuthSource::Static => "static",
                            AuthSource::Profile => "profile",
                            AuthSource::Default => "default",
                            _ => "?",
                        };
                        assert_eq!(
                            (mode, source),
                            (want["auth_mode"].as_str().unwrap(), want["auth_source"].as_str().unwrap()),
                            "{id}"
                        );
                    }
                }
            }
            "sigv4" => {
                let word = |key: &str| given["credentials"][key].as_str().unwrap_or_default().to_owned();
                let key = Credentials::new(word("access_key_id"), word("secret_access_key"))
                    .with_session_token(word("session_token"));
                let signing = |key: &str| given["signing"][key].as_str().unwrap().to_owned();
                let signer = Signer::new(key, signing("region"), signing("service"));
                let body = given["request"]["body_base64"].as_str().unwrap();
                let body = base64::prelude::BASE64_STANDARD.decode(body).unwrap();
                let headers = given["request"]["headers"].as_object().unwrap();
                let headers: Vec<(&str, &str)> =
                    headers.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())).collect();
                let request = Signable {
                    method: "POST",
                    path: "/openai/v1/responses",
                    query: "",
                    headers: &headers,
                    body: &body,
                };
                assert_eq!(signing("timestamp"), "2026-06-01T12:34:56Z");
                let signed = signer.sign_parts(request, at(1_780_317_296));
                let canonical = sha256_hex(signed.canonical_request.as_bytes());
                assert_eq!(canonical, want["canonical_request_sha256"], "{id}");
                for (name, value) in want["headers"].as_object().unwrap() {
                    let got = signed.additions.iter().find(|(n, _)| n == name).map(|(_, v)| v.expose());
                    assert_eq!(got, value.as_str(), "{id}: {name}");
                }
            }
            // Fresh keys and time at each try, and that nothing is shown: unit tests of `AwsAuth` and `Signer`.
            // A body is always bytes, so one that can be sent only once can't be made.
            "retry_signing" | "body_replay" | "redaction" => {}
            other => panic!("unknown kind {other}"),
        }
        checked += 1;
    }
    assert!(checked >= 14, "{checked}");
}

/// The texts of a Converse stream, its frames, and how it ended.
fn read(body: &[u8], split: usize) -> (String, Vec<(String, Value)>, katena_core::Result<()>) {
    let mut decoder = EventStreamDecoder::new();
    let (mut text, mut frames) = (String::new(), Vec::new());
    let mut end = Ok(());
    for piece in body.chunks(split) {
        end = decoder.push(piece);
        while let Some(frame) = decoder.next_frame() {
            let value: Value = serde_json::from_slice(&frame.payload).unwrap_or_default();
            text.push_str(value["delta"]["text"].as_str().unwrap_or_default());
            frames.push((format!("{} {}", frame.message_type(), frame.event_type()), value));
        }
        if end.is_err() {
            break;
        }
    }
    (text, frames, end.and_then(|()| decoder.finish()))
}

#[test]
fn event_streams() {
    let Some(cases) = json("eventstream_vectors.json") else { return };
    for case in cases.as_array().unwrap() {
        let (name, want) = (case["name"].as_str().unwrap(), &case["expect"]);
        let body = base64::prelude::BASE64_STANDARD.decode(case["body_b64"].as_str().unwrap()).unwrap();
        for split in [1, 7, 100, body.len()] {
            let (text, frames, end) = read(&body, split);
            match want["error"].as_str() {
                Some(word) if name == "exception_frame" => {
                    assert!(end.is_ok(), "{name}");
                    assert!(frames.iter().any(|(n, _)| n == &format!("exception {word}")), "{frames:?}");
                }
                Some(word) => {
                    let error = end.expect_err(name);
                    assert!(error.message().contains(word), "{name}: {error}");
                    if let Some(before) = want["text_before"].as_str() {
                        assert_eq!(text, before, "{name}");
                    }
                }
                None => {
                    end.unwrap();
                    assert_eq!(text, want["text"].as_str().unwrap(), "{name}");
                }
            }
        }
    }
}
