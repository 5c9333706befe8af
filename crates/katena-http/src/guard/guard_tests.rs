use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[path = "../../tests/support/mod.rs"]
mod support;
use support::{Reply, Server, Step};

#[test]
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
fn the_shared_table_of_verdicts() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/ssrf/url_verdicts.json");
    let Ok(table) = std::fs::read_to_string(table) else {
        println!("skipped: the shared table is not beside this checkout");
        return;
    };
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert!(rows.len() >= 50);
    let guard = OutboundGuard::new();
    for row in rows {
        let url = row["url"].as_str().unwrap();
        assert_eq!(guard.check(url).is_ok(), row["must"] == "allow", "{url}: {:?}", guard.check(url));
    }
}

#[test]
fn addresses_by_number() {
    let ok = |ip: &str| policy::ip_fault(ip.parse().unwrap()).is_none();
    for public in [
        "8.8.8.8",
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "192.167.0.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450::1",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "2001:4860:4860::8888",
        "2600::5efe:808:808",
    ] {
        assert!(ok(public), "{public}");
    }
    for private in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.0.1",
        "100.64.0.0",
        "100.100.100.200",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.9",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001::1",
        "2001:db8::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "100::1",
        "2600::5efe:a00:1",
        "2600::200:5efe:7f00:1",
        "4000::1",
        "5f00::1",
    ] {
        assert!(!ok(private), "{private}");
    }
}

#[test]
fn addresses_as_they_are_written() {
    let guard = OutboundGuard::new();
    for url in [
        "http://localhost:80/",
        "http://a.localhost/",
        "http://printer/",
        "http://printer./",
        "http://db.internal/",
        "http://nas.local./",
        "http://router.lan",
        "https://example.com:22/",
        "https://example.com:6379/",
        "https://me@example.com/",
        "https://:pw@example.com/",
        "ws://example.com/",
        "http:127.0.0.1",
        "http:\\\\127.0.0.1\\",
        "http://127.0.0.1.:80/",
        "http://0/",
        "http://[::ffff:0:127.0.0.1]/",
        "ht\ntp://127.0.0.1/",
        "http://１２７.0.0.1/",
        "http://kubernetes.default.svc/",
        "http://10.in-addr.arpa/",
        "http://./",
    ] {
        let error = guard.check(url).unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput),
            "{url}: {error:?}"
        );
    }
    for url in [
        "https://example.com/",
        "http://example.com:8080/a?b#c",
        "https://example.com.:443/",
        "https://xn--bcher-kva.de/",
    ] {
        assert!(guard.check(url).is_ok(), "{url}");
    }
    let long = format!("https://example.com/{}", "a".repeat(MAX_URL));
    assert_eq!(guard.check(&long).unwrap_err().kind(), ErrorKind::InvalidInput);
    // What is secret in an address is not shown.
    let error = guard.check("http://10.0.0.1/x?key=hidden").unwrap_err();
    assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
}

#[test]
fn an_allowed_host_is_that_host_alone() {
    let guard = OutboundGuard::new()
        .with_allowed_host("LOCALHOST")
        .with_allowed_host("[::1]")
        .with_allowed_host("10.0.0.7");
    for url in ["http://localhost:22/", "http://localhost./", "http://[0:0::1]:9000/", "http://10.7/"] {
        assert!(guard.check(url).is_ok(), "{url}");
    }
    for url in
        ["http://a.localhost/", "http://10.0.0.8/", "file://localhost/etc/passwd", "http://u@localhost/"]
    {
        assert!(guard.check(url).is_err(), "{url}");
    }
}

fn local() -> OutboundGuard {
    OutboundGuard::new().with_allowed_host("127.0.0.1")
}

async fn kind(guard: &OutboundGuard, url: &str) -> ErrorKind {
    guard.fetch(url, &Context::new()).await.unwrap_err().kind()
}

#[tokio::test]
async fn fetches_and_follows_within_the_limits() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/a" => Reply::new(302, "text/plain", "").with_header("location", "/b?x=1"),
        "/b?x=1" => Reply::new(308, "text/plain", "").with_header("location", "c"),
        "/c" => Reply::new(200, "text/html", "<p>hello</p>"),
        "/loop" => Reply::new(301, "text/plain", "").with_header("location", "/loop"),
        "/bad" => Reply::new(301, "text/plain", "").with_header("location", "http://[::zz]/"),
        "/big" => Reply::new(200, "text/plain", vec![b'x'; 2000]),
        "/stall" => Reply::new(200, "text/plain", "x").then(Step::Stall),
        _ => Reply::new(404, "text/plain", "no"),
    })
    .await;
    let guard = local().with_max_redirects(2).with_max_bytes(1000);
    let at = |path: &str| format!("{}{path}", server.url);
    let got = guard.fetch(&at("/a"), &Context::new()).await.unwrap();
    assert_eq!((got.url.path(), got.redirects, &got.body[..]), ("/c", 2, &b"<p>hello</p>"[..]));
    assert_eq!(got.content_type.as_deref(), Some("text/html"));
    let seen = server.requests();
    assert!(
        seen.iter()
            .all(|s| s.headers["user-agent"].starts_with("katena/") && !s.headers.contains_key("referer"))
    );
    assert_eq!(kind(&guard.clone().with_max_redirects(1), &at("/a")).await, ErrorKind::InvalidOutput);
    assert_eq!(kind(&guard, &at("/loop")).await, ErrorKind::InvalidOutput);
    assert_eq!(kind(&guard, &at("/bad")).await, ErrorKind::InvalidOutput);
    assert_eq!(kind(&guard, &at("/big")).await, ErrorKind::InvalidOutput);
    assert_eq!(kind(&guard, &at("/none")).await, ErrorKind::NotFound);
    assert_eq!(
        kind(&guard.clone().with_timeout(Duration::from_millis(50)), &at("/stall")).await,
        ErrorKind::Timeout
    );
    let cancelled = Context::new();
    cancelled.cancel.cancel();
    assert_eq!(guard.fetch(&at("/c"), &cancelled).await.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test]
async fn a_redirect_into_the_own_network_is_refused() {
    let inner = Server::always(Reply::new(200, "text/plain", "secret")).await;
    let port = inner.url.rsplit_once(':').unwrap().1.to_owned();
    for to in [
        format!("http://localhost:{port}/"),
        "http://169.254.169.254/latest/".into(),
        "file:///etc/passwd".into(),
    ] {
        let to = to.clone();
        let outer =
            Server::start(move |_| Reply::new(302, "text/plain", "").with_header("location", &to)).await;
        assert_eq!(kind(&local(), &outer.url).await, ErrorKind::PermissionDenied);
    }
    assert!(inner.requests().is_empty());
}

#[tokio::test]
async fn a_name_is_looked_up_once_and_all_its_addresses_are_checked() {
    let server = Server::always(Reply::new(200, "text/plain", "inside")).await;
    let port = server.url.rsplit_once(':').unwrap().1.to_owned();
    let url = format!("http://rebind.example.com:{port}/");
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    // A public name with a private address, and one hidden among public ones.
    for addresses in
        [vec![ip("127.0.0.1")], vec![ip("8.8.8.8"), ip("127.0.0.1")], vec![ip("::ffff:127.0.0.1")]]
    {
        let guard = OutboundGuard::new().with_lookup(move |_| Ok(addresses.clone()));
        assert_eq!(kind(&guard, &url).await, ErrorKind::PermissionDenied);
    }
    assert!(server.requests().is_empty());
    // An allowed name may have any address; it is asked for once, and the connection goes where the answer says.
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let guard = OutboundGuard::new().with_allowed_host("rebind.example.com").with_lookup(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(vec!["127.0.0.1".parse().unwrap()])
    });
    let got = guard.fetch(&url, &Context::new()).await.unwrap();
    assert_eq!((&got.body[..], asked.load(Ordering::SeqCst)), (&b"inside"[..], 1));
    // Unknown names are no refusal.
    let guard = OutboundGuard::new().with_lookup(|_| Err(std::io::Error::other("no such name")));
    assert_eq!(kind(&guard, &url).await, ErrorKind::Unavailable);
}

#[test]
fn only_the_named_hosts() {
    let guard = OutboundGuard::new().with_only_host("Docs.example.com.").with_only_host("10.0.0.7");
    assert!(guard.check("https://docs.EXAMPLE.com/a").is_ok());
    assert!(guard.check("https://docs.example.com./a").is_ok());
    for other in [
        "https://example.com/",
        "https://a.docs.example.com/",
        "https://docs.example.com.evil.org/",
        "https://docs.example.com@evil.org/",
        // Named, but private all the same.
        "http://10.0.0.7/",
    ] {
        assert_eq!(guard.check(other).unwrap_err().kind(), ErrorKind::PermissionDenied, "{other}");
    }
    assert!(guard.with_allowed_host("10.0.0.7").check("http://10.0.0.7/").is_ok());
}
