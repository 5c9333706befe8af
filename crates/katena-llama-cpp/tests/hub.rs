//! Downloads from a hub, against a double of one: a small HTTP server on this machine, not the real thing.
#![cfg(feature = "hub")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::type_complexity,
    reason = "tests stop at once"
)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use katena_core::{Context, ErrorKind};
use katena_llama_cpp::hub::{Hub, HubFile};
use katena_testkit::fixtures::temp_dir;
use sha2::{Digest, Sha256};

/// A request as the double saw it: path and headers.
type Seen = (String, HashMap<String, String>);
type Handler = dyn Fn(&str, &HashMap<String, String>, usize) -> Vec<u8> + Send + Sync;

/// A server that answers each connection once. It ends with the process.
struct Double {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Double {
    /// `host` is how the address is written; both `127.0.0.1` and `localhost` are this machine.
    fn start(
        host: &str,
        handler: impl Fn(&str, &HashMap<String, String>, usize) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{host}:{}", listener.local_addr().unwrap().port());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let handler: Arc<Handler> = Arc::new(handler);
        let log = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (handler, log) = (handler.clone(), log.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &*handler, &log));
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn hub(&self, folder: &std::path::Path) -> Hub {
        Hub::new(&self.address, folder).unwrap()
    }
}

fn serve(stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Seen>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let headers: HashMap<String, String> = lines
        .map_while(|l| l.ok().filter(|l| !l.is_empty()))
        .filter_map(|l| l.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_owned())))
        .collect();
    let count = {
        let mut log = log.lock().unwrap();
        log.push((path.clone(), headers.clone()));
        log.len()
    };
    let mut stream = stream;
    // The client may have gone.
    let _ = stream.write_all(&handler(&path, &headers, count));
}

fn reply(status: &str, headers: &[(&str, String)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    if !headers.iter().any(|(k, _)| *k == "content-length") {
        out += &format!("content-length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        out += &format!("{name}: {value}\r\n");
    }
    let mut out = (out + "\r\n").into_bytes();
    out.extend_from_slice(body);
    out
}

fn data() -> Vec<u8> {
    (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn facts(bytes: &[u8]) -> Vec<(&'static str, String)> {
    vec![("x-linked-etag", format!("\"{}\"", sha(bytes))), ("x-linked-size", bytes.len().to_string())]
}

/// Where the wanted range begins.
fn start(headers: &HashMap<String, String>) -> usize {
    headers.get("range").map_or(0, |r| r.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap())
}

fn file() -> HubFile {
    HubFile::new("owner/model", "sub/model-q8_0.gguf")
}

#[tokio::test]
async fn a_file_comes_whole_once_and_tells_how_far_it_is() {
    let bytes = data();
    let body = bytes.clone();
    let double = Double::start("127.0.0.1", move |_, _, _| reply("200 OK", &facts(&body), &body));
    let folder = temp_dir();
    let told: Arc<Mutex<Vec<(u64, Option<u64>)>>> = Arc::default();
    let log = told.clone();
    let wanted =
        file().with_revision("refs/pr/1").with_progress(move |n, of| log.lock().unwrap().push((n, of)));
    let hub = double.hub(folder.path());
    let path = hub.download(&wanted).await.unwrap();
    assert_eq!(path, folder.path().join("owner/model/refs--pr--1/sub/model-q8_0.gguf"));
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert_eq!(double.seen()[0].0, "/owner/model/resolve/refs%2Fpr%2F1/sub/model-q8_0.gguf");
    let told = told.lock().unwrap().clone();
    assert_eq!(told.last(), Some(&(3_000_000, Some(3_000_000))));
    assert!(told.len() > 2 && told.is_sorted(), "{told:?}");
    hub.download(&wanted).await.unwrap();
    assert_eq!(double.seen().len(), 1, "what is there is not asked for again");
    assert!(hub.remove(&wanted).unwrap() && !path.exists() && !hub.remove(&wanted).unwrap());
}

#[tokio::test]
async fn a_connection_that_breaks_is_gone_on_with() {
    let bytes = data();
    let body = bytes.clone();
    let double = Double::start("127.0.0.1", move |_, headers, count| {
        let from = start(headers);
        let rest = &body[from..];
        let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
        let mut head = facts(&body);
        head.push(("content-length", rest.len().to_string()));
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        if from > 0 {
            head.push(("content-range", range));
        }
        // The first two end in the middle.
        let until = if count < 3 { 1_200_000 } else { rest.len() };
        reply(status, &head, &rest[..until.min(rest.len())])
    });
    let folder = temp_dir();
    let path = double.hub(folder.path()).download(&file()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    let starts: Vec<usize> = double.seen().iter().map(|(_, h)| start(h)).collect();
    assert_eq!(starts, [0, 1_200_000, 2_400_000]);
    let left: Vec<_> =
        std::fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "file and record: {left:?}");
}

#[tokio::test]
async fn what_is_there_of_another_version_or_without_ranges_starts_anew() {
    let bytes = data();
    for ranges in [false, true] {
        let body = bytes.clone();
        let double = Double::start("127.0.0.1", move |_, headers, _| {
            let from = start(headers);
            if ranges && from > 0 {
                let mut head = facts(&body);
                head.push(("content-range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())));
                return reply("206 Partial Content", &head, &body[from..]);
            }
            reply("200 OK", &facts(&body), &body)
        });
        let folder = temp_dir();
        let hub = double.hub(folder.path());
        let place = hub.place(&file()).unwrap();
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(format!("{}.part", place.display()), vec![7u8; 1000]).unwrap();
        std::fs::write(format!("{}.part-tag", place.display()), "another version").unwrap();
        let path = hub.download(&file()).await.unwrap();
        assert_eq!(std::fs::read(path).unwrap(), bytes, "ranges: {ranges}");
    }
}

#[tokio::test]
async fn a_wrong_hash_is_refused_and_nothing_is_left() {
    let body = data();
    let double = Double::start("127.0.0.1", move |_, _, _| reply("200 OK", &facts(b"another"), &body[..7]));
    let folder = temp_dir();
    let hub = double.hub(folder.path());
    let e = hub.download(&file()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput, "{e}");
    assert_eq!(e.context("expected_sha256"), Some(sha(b"another").as_str()));
    // The caller's hash counts before the hub's.
    let e = hub.download(&file().with_sha256(sha(b"mine"))).await.unwrap_err();
    assert_eq!(e.context("expected_sha256"), Some(sha(b"mine").as_str()));
    let place = hub.place(&file()).unwrap();
    assert!(!place.exists() && !place.with_file_name("model-q8_0.gguf.part").exists());
}

#[tokio::test]
async fn the_token_goes_to_the_hub_alone() {
    let body = data();
    let facts = facts(&body);
    let store = Double::start("localhost", {
        let body = body.clone();
        move |_, _, _| reply("200 OK", &[("etag", format!("\"{}\"", "0".repeat(64)))], &body)
    });
    let there = format!("{}/bucket/blob?signature=s", store.address);
    let hub = Double::start("127.0.0.1", move |path, _, _| {
        let mut head = facts.clone();
        if path.contains("/resolve/main/") && !path.starts_with("/renamed") {
            return reply("307 Temporary Redirect", &[("location", format!("/renamed{path}"))], b"");
        }
        head.push(("location", there.clone()));
        reply("302 Found", &head, b"")
    });
    let folder = temp_dir();
    let with_token = hub.hub(folder.path()).with_token("hf_secret");
    assert!(!format!("{with_token:?}").contains("hf_secret"));
    let path = with_token.download(&file()).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), body);
    let seen = hub.seen();
    assert_eq!(seen.len(), 2, "the hub's own redirect is followed with the token");
    assert!(seen.iter().all(|(_, h)| h.get("authorization").is_some_and(|a| a == "Bearer hf_secret")));
    let (path, headers) = &store.seen()[0];
    assert_eq!(path, "/bucket/blob?signature=s");
    assert!(!headers.contains_key("authorization") && !format!("{headers:?}").contains("hf_secret"));
}

#[tokio::test]
async fn refusals_say_what_to_do_and_are_not_repeated() {
    for (status, kind, hint) in [
        ("401 Unauthorized", ErrorKind::Unauthenticated, true),
        ("403 Forbidden", ErrorKind::PermissionDenied, true),
        ("404 Not Found", ErrorKind::NotFound, false),
    ] {
        let double = Double::start("127.0.0.1", move |_, _, _| reply(status, &[], b"{\"error\":\"no\"}"));
        let folder = temp_dir();
        let e = double.hub(folder.path()).download(&file()).await.unwrap_err();
        assert_eq!((e.kind(), e.context("hint").is_some()), (kind, hint), "{e}");
        assert_eq!(e.context("repo"), Some("owner/model"));
        assert_eq!(double.seen().len(), 1);
    }
    // Without end: redirects, and a server that never sends a byte.
    let circle =
        Double::start("127.0.0.1", |path, _, _| reply("302 Found", &[("location", path.to_owned())], b""));
    let folder = temp_dir();
    let e = circle.hub(folder.path()).download(&file()).await.unwrap_err();
    assert_eq!((e.kind(), circle.seen().len()), (ErrorKind::InvalidOutput, 6));
    let mute = Double::start("127.0.0.1", |_, _, _| reply("200 OK", &[("content-length", "10".into())], b""));
    let e = mute.hub(folder.path()).download(&file()).await.unwrap_err();
    assert_eq!((e.kind(), mute.seen().len()), (ErrorKind::Unavailable, 3), "{e}");
}

#[tokio::test]
async fn limits_and_names_are_checked() {
    let double = Double::start("127.0.0.1", |_, _, _| {
        reply("200 OK", &[("x-linked-size", "5".into()), ("content-length", "10".into())], b"0123456789")
    });
    let folder = temp_dir();
    let hub = double.hub(folder.path());
    let e = hub.clone().with_max_bytes(4).download(&file()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config, "{e}");
    assert_eq!(hub.download(&file()).await.unwrap_err().kind(), ErrorKind::InvalidOutput, "more than it has");
    let seen = double.seen().len();
    for bad in [
        HubFile::new("../up", "a.gguf"),
        HubFile::new("a/b/c", "a.gguf"),
        HubFile::new("owner/model", "../../a.gguf"),
        HubFile::new("owner/model", "/etc/passwd"),
        HubFile::new("owner/model", "a//b"),
        HubFile::new("owner/model", "a\\..\\b"),
        HubFile::new("owner/model", "a?b#c%2e"),
        HubFile::new("owner/model", ".hidden"),
        HubFile::new("owner/model", "a.gguf.part"),
        HubFile::new("owner/model", ""),
        HubFile::new("owner/model", "a.gguf").with_revision(".."),
        HubFile::new("owner/model", "a.gguf").with_sha256("12"),
    ] {
        let e = hub.download(&bad).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput, "{bad:?}");
    }
    assert_eq!(double.seen().len(), seen, "nothing was asked");
    let cancelled = Context::new();
    cancelled.cancel.cancel();
    let e = hub.download(&file().with_context(cancelled)).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn two_at_once_fetch_it_once() {
    let bytes = data();
    let body = bytes.clone();
    let double = Double::start("127.0.0.1", move |_, _, _| reply("200 OK", &facts(&body), &body));
    let folder = temp_dir();
    let hub = double.hub(folder.path());
    let file = file();
    let (a, b) = futures_util::join!(hub.download(&file), hub.download(&file));
    assert_eq!(std::fs::read(a.unwrap()).unwrap(), bytes);
    assert!(b.unwrap().exists());
    assert_eq!(double.seen().len(), 1);
}
