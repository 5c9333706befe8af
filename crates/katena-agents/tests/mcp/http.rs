//! Over real HTTP on this machine.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use katena_agents::mcp::{McpClient, McpHttpOptions, McpHttpService, McpLimits, McpOptions, McpServerLimits};
use katena_core::{Error, ErrorKind, FnTool, Labels, Result, Run};
use katena_http::{Endpoint, HttpClient, HttpRequest, Secret};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

use crate::support::{call, server};

/// Serves until the test is over; gives the address.
async fn serve(service: McpHttpService) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let handle = service_fn(move |request| {
                    let service = service.clone();
                    async move { Ok::<_, std::convert::Infallible>(service.handle(request).await) }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), handle)
                    .await;
            });
        }
    });
    format!("http://{address}/mcp")
}

async fn client(url: &str) -> Result<McpClient> {
    McpClient::http(Endpoint::new(url).unwrap(), McpOptions::new("web")).await
}

/// Posts a message by hand.
async fn post(url: &str, headers: &[(&'static str, &str)], body: String) -> Result<u16> {
    let endpoint = Endpoint::new(url.trim_end_matches("/mcp")).unwrap();
    let mut request = HttpRequest::post(&endpoint, "mcp")
        .unwrap()
        .with_body("application/json", body)
        .with_header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.with_header(*name, *value);
    }
    HttpClient::new().send(request).await.map(|reply| reply.status())
}

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn status(result: Result<u16>) -> u16 {
    result.unwrap_or_else(|e: Error| e.status().unwrap_or_else(|| panic!("{e:?}")))
}

#[tokio::test]
async fn tools_are_listed_and_called() {
    let url = serve(server().into_http(McpHttpOptions::new(), Run::new()).unwrap()).await;
    let client = client(&url).await.unwrap();
    assert_eq!(client.tools().await.unwrap().len(), 6);
    let run = Run::new();
    assert_eq!(call(&client, "web__add", r#"{"a":2,"b":3}"#, &run).await.unwrap(), "5");
    let error = call(&client, "web__fail", "{}", &run).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Tool, "no such city"));
    let error = call(&client, "web__leak", "{}", &run).await.unwrap_err();
    assert_eq!(error.message(), "the tool failed: unexpected");
    let many = (0..50).map(|n| {
        let client = client.clone();
        async move { call(&client, "web__add", &format!(r#"{{"a":{n},"b":0}}"#), &Run::new()).await.unwrap() }
    });
    let sums = futures_util::future::join_all(many).await;
    assert!(sums.iter().enumerate().all(|(n, sum)| *sum == n.to_string()));
}

#[tokio::test]
async fn keys_are_checked_and_give_labels() {
    let options = McpHttpOptions::new().with_bearer_check(|token| {
        let tenant = token.strip_prefix("key-of-")?;
        Some(Labels::new().with("tenant", tenant))
    });
    let url = serve(server().into_http(options, Run::new()).unwrap()).await;
    let with_key = |key: &str| Endpoint::new(&url).unwrap().with_bearer(Secret::new(key));
    let client = McpClient::http(with_key("key-of-acme"), McpOptions::new("web")).await.unwrap();
    let found = call(&client, "web__search", r#"{"query":"tea"}"#, &Run::new()).await.unwrap();
    assert!(found.contains("tea for acme"), "{found}");
    let error = McpClient::http(with_key("stolen-key"), McpOptions::new("web")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
    assert!(!format!("{error:?}").contains("stolen-key"));
    let error = McpClient::http(Endpoint::new(&url).unwrap(), McpOptions::new("web")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);

    let fixed = McpHttpOptions::new().with_bearer(Secret::new("s3cret"));
    let url = serve(server().into_http(fixed, Run::new()).unwrap()).await;
    for (key, wanted) in
        [("Bearer s3cret", 200), ("bearer s3cret", 200), ("Bearer s3cre", 401), ("Basic s3cret", 401)]
    {
        assert_eq!(status(post(&url, &[("authorization", key)], PING.into()).await), wanted, "{key}");
    }
}

#[tokio::test]
async fn other_names_of_the_host_and_web_pages_are_refused() {
    let url = serve(server().into_http(McpHttpOptions::new(), Run::new()).unwrap()).await;
    assert_eq!(status(post(&url, &[], PING.into()).await), 200);
    assert_eq!(status(post(&url, &[("host", "evil.example.com")], PING.into()).await), 403);
    assert_eq!(status(post(&url, &[("origin", "http://evil.example.com")], PING.into()).await), 403);
    assert_eq!(status(post(&url, &[("origin", "null")], PING.into()).await), 403);

    let options = McpHttpOptions::new()
        .with_allowed_hosts(["mcp.example.com"])
        .with_allowed_origins(["https://app.example.com:443"]);
    let url = serve(server().into_http(options, Run::new()).unwrap()).await;
    assert_eq!(status(post(&url, &[], PING.into()).await), 403);
    let host = ("host", "mcp.example.com");
    assert_eq!(status(post(&url, &[host], PING.into()).await), 200);
    assert_eq!(status(post(&url, &[host, ("origin", "https://app.example.com")], PING.into()).await), 200);
    assert_eq!(status(post(&url, &[host, ("origin", "http://app.example.com")], PING.into()).await), 403);
    let error = client(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");

    let nobody = McpHttpOptions::new().with_allowed_hosts(Vec::<String>::new());
    let url = serve(server().into_http(nobody, Run::new()).unwrap()).await;
    assert_eq!(status(post(&url, &[], PING.into()).await), 403);
}

#[tokio::test]
async fn bodies_and_requests_have_limits() {
    let limits = McpServerLimits::new().with_max_message_bytes(1000);
    let service = server().with_limits(limits).into_http(McpHttpOptions::new(), Run::new()).unwrap();
    let url = serve(service).await;
    let long =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#, "x".repeat(2000));
    assert_eq!(status(post(&url, &[], long).await), 413);
    for bad in ["", "{", "7", "[]", r#"{"jsonrpc":"2.0"}"#, &"[".repeat(900)] {
        let status = status(post(&url, &[], bad.into()).await);
        assert!((400..500).contains(&status), "{bad:.20}: {status}");
    }

    let (service, called, mut stopped) = waiting(McpHttpOptions::new().with_max_requests(1));
    let url = serve(service).await;
    let other = url.clone();
    let first = tokio::spawn(async move {
        let body =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","arguments":{}}}"#;
        post(&other, &[], body.into()).await
    });
    called.notified().await;
    assert_eq!(status(post(&url, &[], PING.into()).await), 503);
    // The client goes away: its call is cancelled, and there is room again.
    first.abort();
    assert_eq!(stopped.recv().await, Some(()));
    while status(post(&url, &[], PING.into()).await) == 503 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn waiting(options: McpHttpOptions) -> (McpHttpService, Arc<Notify>, mpsc::UnboundedReceiver<()>) {
    let called = Arc::new(Notify::new());
    let (tell, told) = mpsc::unbounded_channel();
    let state = (called.clone(), tell);
    let wait = FnTool::with_state(
        "wait",
        "Waits.",
        state,
        |(called, tell): (Arc<Notify>, mpsc::UnboundedSender<()>), _: serde_json::Value, run: Run| async move {
            tokio::spawn(async move {
                run.context().cancel.cancelled().await;
                let _ = tell.send(());
            });
            called.notify_one();
            std::future::pending::<Result<String>>().await
        },
    );
    let server = katena_agents::mcp::McpServer::new("waiting", "1").with_tool(wait);
    (server.into_http(options, Run::new()).unwrap(), called, told)
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_the_server() {
    let (service, called, mut stopped) = waiting(McpHttpOptions::new());
    let url = serve(service).await;
    let client = client(&url).await.unwrap();
    let asked = client.clone();
    let task = tokio::spawn(async move { call(&asked, "web__wait", "{}", &Run::new()).await });
    called.notified().await;
    task.abort();
    drop(client);
    assert_eq!(stopped.recv().await, Some(()));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(client(&url).await.unwrap_err().kind(), ErrorKind::Unavailable);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let limits = McpLimits::new().with_connect_timeout(Duration::from_millis(200));
    let options = McpOptions::new("web").with_limits(limits);
    let error = McpClient::http(Endpoint::new(&url).unwrap(), options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    drop(listener);

    let run = Run::new();
    let url = serve(server().into_http(McpHttpOptions::new(), run.clone()).unwrap()).await;
    let client = client(&url).await.unwrap();
    assert_eq!(call(&client, "web__add", r#"{"a":1,"b":1}"#, &Run::new()).await.unwrap(), "2");
    run.context().cancel.cancel();
    let error = call(&client, "web__add", r#"{"a":1,"b":1}"#, &Run::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}
