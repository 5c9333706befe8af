use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::*;
use crate::tools::PageReader;
use crate::tools::test_server::{reply, serve};

katena_testkit::tool_contract!(fetch_contract, async { HttpFetch::new() });
katena_testkit::tool_contract!(page_contract, async { PageReader::new() });

fn local() -> OutboundGuard {
    default_guard().with_allowed_host("127.0.0.1")
}

async fn call(tool: &dyn Tool, url: &str) -> Result<String> {
    let call = ToolCall::new("1", &tool.spec().name, json!({"url": url, "method": "DELETE"}).to_string());
    tool.call(call, &Run::new()).await.map(|o| o.text())
}

#[tokio::test]
async fn the_table_of_bad_addresses_is_refused_by_both_tools() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evals/ssrf/url_verdicts.json");
    let Ok(table) = std::fs::read_to_string(table) else {
        println!("skipped: the shared table is not beside this checkout");
        return;
    };
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert!(rows.len() >= 50);
    // A deadline that is over keeps those that are let through from being called.
    let (fetch, page) = (HttpFetch::new(), PageReader::new());
    let tools: [&dyn Tool; 2] = [&fetch, &page];
    let mut blocked = 0;
    for row in rows {
        let url = row["url"].as_str().unwrap();
        if row["must"] == "allow" {
            assert!(default_guard().check(url).is_ok(), "{url}");
            continue;
        }
        for tool in tools {
            let error = call(tool, url).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::InvalidInput),
                "{url}: {error}"
            );
            blocked += 1;
        }
    }
    assert!(blocked >= 60, "{blocked}");
}

#[tokio::test]
async fn private_addresses_stay_private_after_redirects_too() {
    let url = serve(|_| {
        "HTTP/1.1 302 Found\r\nlocation: http://10.0.0.1/secret\r\ncontent-length: 0\r\n\r\n".to_owned()
    })
    .await;
    assert_eq!(call(&HttpFetch::new(), &url).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    let allowed = HttpFetch::new().with_guard(local());
    assert_eq!(call(&allowed, &url).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    // A host outside of the list, reached by a redirect.
    let url = serve(|_| {
        "HTTP/1.1 302 Found\r\nlocation: https://example.com/\r\ncontent-length: 0\r\n\r\n".to_owned()
    })
    .await;
    let only = HttpFetch::new().with_guard(local()).with_host("127.0.0.1");
    assert_eq!(call(&only, &url).await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn pages_are_given_raw_or_as_text_and_quoted() {
    let url = serve(|seen| {
        assert!(seen.starts_with("GET /"), "{seen}");
        reply(
            "text/html; charset=utf-8",
            "<title>Tea</title><nav>Home</nav><p>Hot.</p>\n<script>x</script>\n[2] forged",
        )
    })
    .await;
    let raw = call(&HttpFetch::new().with_guard(local()), &url).await.unwrap();
    assert_eq!(
        raw,
        format!(
            "{url}/\n> <title>Tea</title><nav>Home</nav><p>Hot.</p>\n> <script>x</script>\n> [2] forged\n"
        )
    );
    let read = call(&PageReader::new().with_guard(local()), &url).await.unwrap();
    assert_eq!(read, format!("{url}/ (Tea)\n> Hot.\n> \n> [2] forged\n"));
    let short = call(&PageReader::new().with_guard(local()).with_max_text(3), &url).await.unwrap();
    assert!(short.contains("> Hot\n(cut: 3 of "), "{short}");
}

#[tokio::test]
async fn what_is_no_text_is_refused_and_sizes_hold() {
    for (kind, body) in [("image/png", "x"), ("application/octet-stream", "x"), ("text/plain", "a\0b")] {
        let url = serve(move |_| reply(kind, body)).await;
        assert_eq!(
            call(&HttpFetch::new().with_guard(local()), &url).await.unwrap_err().kind(),
            ErrorKind::Tool,
            "{kind}"
        );
    }
    let url = serve(|_| reply("application/json", &"x".repeat(5000))).await;
    let tool = HttpFetch::new().with_guard(local().with_max_bytes(4000));
    assert_eq!(call(&tool, &url).await.unwrap_err().kind(), ErrorKind::InvalidOutput);
    let url = serve(|_| "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()).await;
    assert_eq!(call(&tool, &url).await.unwrap_err().kind(), ErrorKind::NotFound);
    let megabyte = format!("https://example.com/{}", "x".repeat(1 << 20));
    assert_eq!(call(&tool, &megabyte).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    let late = Run::from(Context::new().with_deadline(Instant::now()));
    let call = ToolCall::new("1", "http_fetch", json!({"url": url}).to_string());
    assert_eq!(tool.call(call.clone(), &late).await.unwrap_err().kind(), ErrorKind::Timeout);
    let over = Run::new();
    over.context().cancel.cancel();
    assert_eq!(tool.call(call, &over).await.unwrap_err().kind(), ErrorKind::Cancelled);
}
