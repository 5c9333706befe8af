//! The transfer itself: redirects, ranges, hash, and the move to its place.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoKind, Read, Write};
use std::path::Path;

use futures_util::StreamExt;
use katena_core::{Error, ErrorKind, Result};
use katena_http::guard::OutboundGuard;
use katena_http::{HttpRequest, HttpStream};
use sha2::{Digest, Sha256};

use super::lock::Lock;
use super::{Hub, HubFile, LOCK, PART, PART_TAG, RECORD, beside, is_sha256};

/// Most redirects of one call.
const MAX_REDIRECTS: usize = 5;
/// Calls in a row that bring no byte.
const MAX_IDLE_TRIES: u32 = 3;
/// Bytes that are written at once.
const PIECE: usize = 1 << 20;

/// What the hub says about a file.
#[derive(Debug, Default)]
struct Facts {
    sha256: Option<String>,
    /// What tells one version from another.
    tag: Option<String>,
    size: Option<u64>,
}

/// A part on the disk, and the hash of what it has.
struct Part {
    file: File,
    hash: Sha256,
    bytes: u64,
}

pub(super) async fn fetch(hub: &Hub, wanted: &HubFile, place: &Path) -> Result<()> {
    wanted.context.check()?;
    if is_there(wanted, place)? {
        return Ok(());
    }
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let _lock = Lock::wait(beside(place, LOCK), &wanted.context).await?;
    if is_there(wanted, place)? {
        return Ok(());
    }
    let mut idle = 0;
    loop {
        let before = std::fs::metadata(beside(place, PART)).map_or(0, |m| m.len());
        match attempt(hub, wanted, place).await {
            Ok(()) => return Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::Unavailable) => {
                let after = std::fs::metadata(beside(place, PART)).map_or(0, |m| m.len());
                idle = if after > before { 0 } else { idle + 1 };
                if idle >= MAX_IDLE_TRIES {
                    return Err(e.with_context("kept_bytes", after.to_string()));
                }
            }
            Err(e) => return Err(e),
        }
    }
}

/// True if the whole file is there, with the hash that is asked for.
fn is_there(wanted: &HubFile, place: &Path) -> Result<bool> {
    if !place.is_file() {
        return Ok(false);
    }
    match std::fs::read_to_string(beside(place, RECORD)) {
        Ok(hash) => Ok(wanted.sha256.as_deref().is_none_or(|h| h == hash.trim())),
        Err(e) if e.kind() == IoKind::NotFound => Ok(false),
        Err(e) => Err(e.into()),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::unexpected("the work on a file was broken off").with_source(e))?
}

/// One call, from where the part ends, and the end of it all if it brings the rest.
async fn attempt(hub: &Hub, wanted: &HubFile, place: &Path) -> Result<()> {
    let path = beside(place, PART);
    let (part_path, tag_path) = (path.clone(), beside(place, PART_TAG));
    let mut part = blocking(move || open_part(&part_path)).await?;
    let (mut facts, mut reply) = call(hub, wanted, part.bytes).await?;
    let known = std::fs::read_to_string(&tag_path).ok();
    let tag = facts.tag.clone().unwrap_or_default();
    let mut begun = false;
    if part.bytes > 0 {
        let continues = reply.status() == 206 && range_start(&reply) == Some(part.bytes);
        if !continues || known.as_deref() != Some(&tag) || tag.is_empty() {
            // Another version, or a server that does not give parts.
            part = restart(part)?;
            if reply.status() == 206 {
                (facts, reply) = call(hub, wanted, 0).await?;
            }
            begun = true;
        }
    }
    if part.bytes == 0 || begun {
        std::fs::write(&tag_path, facts.tag.clone().unwrap_or_default())?;
    }
    let told = reply.header("content-length").and_then(|n| n.parse::<u64>().ok());
    let size = facts.size.or_else(|| range_size(&reply)).or(told.map(|n| n.saturating_add(part.bytes)));
    let most = size.unwrap_or(hub.max_bytes);
    if most > hub.max_bytes {
        return Err(Error::config("the file is larger than the limit")
            .with_context("bytes", most.to_string())
            .with_context("max_bytes", hub.max_bytes.to_string()));
    }
    let tell = |bytes: u64| {
        if let Some(progress) = &wanted.progress {
            progress(bytes, size);
        }
    };
    tell(part.bytes);
    let mut buffer = Vec::with_capacity(PIECE);
    let failure = loop {
        let next = reply.next().await;
        let ended = !matches!(next, Some(Ok(_)));
        if let Some(Ok(piece)) = &next {
            buffer.extend_from_slice(piece);
        }
        if buffer.len() >= PIECE || ended {
            if part.bytes.saturating_add(buffer.len() as u64) > most {
                restart(part)?;
                return Err(Error::invalid_output("the server sends more than the file has")
                    .with_context("bytes", most.to_string()));
            }
            let piece = std::mem::replace(&mut buffer, Vec::with_capacity(PIECE));
            part = blocking(move || append(part, &piece)).await?;
            tell(part.bytes);
        }
        match next {
            Some(Ok(_)) => {}
            Some(Err(e)) => break Some(e),
            None => break None,
        }
    };
    if let Some(e) = failure {
        return Err(e);
    }
    if size.is_some_and(|n| part.bytes < n) {
        return Err(Error::new(ErrorKind::Unavailable, "the connection ended before the file did")
            .with_context("bytes", part.bytes.to_string()));
    }
    let expected = wanted.sha256.clone().or(facts.sha256);
    let place = place.to_owned();
    blocking(move || finish(part, &place, expected.as_deref())).await
}

fn open_part(path: &Path) -> Result<Part> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Part { file, hash, bytes }),
            n => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

fn restart(part: Part) -> Result<Part> {
    part.file.set_len(0)?;
    Ok(Part { file: part.file, hash: Sha256::new(), bytes: 0 })
}

fn append(mut part: Part, piece: &[u8]) -> Result<Part> {
    part.file.write_all(piece)?;
    part.hash.update(piece);
    part.bytes += piece.len() as u64;
    Ok(part)
}

/// Checks the hash, and moves the part to its place.
fn finish(part: Part, place: &Path, expected: Option<&str>) -> Result<()> {
    let found = part.hash.finalize().iter().fold(String::new(), |mut hex, byte| {
        use std::fmt::Write as _;
        // Writing to a text never fails.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let path = beside(place, PART);
    if let Some(expected) = expected
        && *expected != found
    {
        std::fs::remove_file(&path)?;
        return Err(Error::invalid_input("the file that came is not the one that was asked for")
            .with_context("expected_sha256", expected.to_owned())
            .with_context("found_sha256", found));
    }
    part.file.sync_all()?;
    drop(part.file);
    // Without its record the file does not count: the old record goes first, the new one comes last.
    for old in [beside(place, RECORD), beside(place, PART_TAG)] {
        match std::fs::remove_file(old) {
            Err(e) if e.kind() != IoKind::NotFound => return Err(e.into()),
            _ => {}
        }
    }
    std::fs::rename(&path, place)?;
    std::fs::write(beside(place, RECORD), found)?;
    Ok(())
}

/// Asks for the file from `start` on, and follows redirects; the facts are from the hub's own replies.
async fn call(hub: &Hub, wanted: &HubFile, start: u64) -> Result<(Facts, HttpStream)> {
    // A slash in a branch's name is not one of the path.
    let path = format!("{}/resolve/{}/{}", wanted.repo, wanted.revision.replace('/', "%2F"), wanted.file);
    let mut request = HttpRequest::get(&hub.endpoint, &path)?
        .with_header("accept-encoding", "identity")
        .with_context(wanted.context.clone())
        .with_redirects_shown();
    if start > 0 {
        request = request.with_header("range", format!("bytes={start}-"));
    }
    if let Some(token) = &hub.token {
        let bearer = format!("Bearer {}", token.expose());
        request = request.with_header("authorization", bearer).with_hidden(token.clone());
    }
    // A hub on the public net may not send this program into a private one.
    let guard = OutboundGuard::new();
    let public = guard.check(hub.endpoint.base().as_str()).is_ok();
    let mut facts = Facts::default();
    for _ in 0..=MAX_REDIRECTS {
        let reply = hub.client.open(request.clone()).await.map_err(|e| explain(e, hub))?;
        facts.add(&reply);
        if reply.status() < 300 {
            return Ok((facts, reply));
        }
        let location = reply
            .header("location")
            .ok_or_else(|| Error::invalid_output("the server redirects to nowhere"))?;
        request = request.redirected(location)?;
        if public {
            guard.check(request.url())?;
        }
    }
    Err(Error::invalid_output("the server redirects too often"))
}

impl Facts {
    /// What a reply tells; what an earlier one told counts.
    fn add(&mut self, reply: &HttpStream) {
        let tag = |name: &str| {
            let text = reply.header(name)?.trim().trim_start_matches("W/").trim_matches('"');
            (!text.is_empty()).then(|| text.to_owned())
        };
        let linked = tag("x-linked-etag");
        // A store's own ETag may be another hash of the same length; only the hub's counts.
        let first = self.tag.is_none();
        let told = linked.clone().or_else(|| tag("etag").filter(|_| first));
        if let Some(told) = told.filter(|_| first || linked.is_some()) {
            if is_sha256(&told) {
                self.sha256 = Some(told.to_ascii_lowercase());
            }
            self.tag = Some(told);
        }
        let size = reply.header("x-linked-size").and_then(|n| n.parse().ok());
        self.size = self.size.or(size);
    }
}

/// `content-range: bytes 5-9/10`: 5.
fn range_start(reply: &HttpStream) -> Option<u64> {
    let range = reply.header("content-range")?.trim().strip_prefix("bytes")?.trim();
    range.split('-').next()?.trim().parse().ok()
}

/// The same: 10.
fn range_size(reply: &HttpStream) -> Option<u64> {
    reply.header("content-range")?.rsplit('/').next()?.trim().parse().ok()
}

/// What a user can do about a refusal.
fn explain(error: Error, hub: &Hub) -> Error {
    match error.kind() {
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied if hub.token.is_none() => error
            .with_context(
                "hint",
                "the repository is gated, private or not there: accept its terms at the hub and give a token",
            ),
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => {
            error.with_context("hint", "the token may not read this repository: accept its terms at the hub")
        }
        _ => error,
    }
}
