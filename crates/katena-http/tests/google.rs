//! Google's tokens against a scripted token server.

#![cfg(feature = "google")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::sync::atomic::{AtomicUsize, Ordering};

use katena_core::ErrorKind;
use katena_http::TokenSource as _;
use katena_http::google::{GoogleMetadata, GoogleServiceAccount, GoogleUser};
use serde_json::json;

mod support;
use support::{Reply, Server};

fn account(url: &str) -> GoogleServiceAccount {
    let json = json!({
        "client_email": "robot@example.com", "private_key": include_str!("../src/google/test_key.pem"),
        "token_uri": format!("{url}/token"),
    });
    GoogleServiceAccount::from_json(&json.to_string()).unwrap()
}

fn user(url: &str) -> GoogleUser {
    let json = json!({"client_id": "client", "client_secret": "hidden-secret", "refresh_token": "hidden-refresh",
        "token_uri": format!("{url}/token")});
    GoogleUser::from_json(&json.to_string()).unwrap()
}

/// Tokens `t1`, `t2`, … that last so many seconds.
async fn server(lasts: u64) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |_| {
        let n = count.fetch_add(1, Ordering::SeqCst) + 1;
        Reply::json(
            json!({"access_token": format!("t{n}"), "expires_in": lasts, "token_type": "Bearer"}).to_string(),
        )
    })
    .await
}

#[tokio::test]
async fn an_account_sends_its_statement_once_for_all_callers() {
    let server = server(3600).await;
    let account = account(&server.url);
    let all = futures_util::future::join_all((0..10).map(|_| account.token())).await;
    assert!(all.iter().all(|t| t.as_ref().unwrap().expose() == "t1"));
    assert_eq!(account.token().await.unwrap().expose(), "t1");
    let seen = server.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/token"));
    assert_eq!(seen[0].headers["content-type"], "application/x-www-form-urlencoded");
    let form = String::from_utf8(seen[0].body.clone()).unwrap();
    let statement = form
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .expect("the form of RFC 7523");
    assert_eq!(statement.split('.').count(), 3);
}

#[tokio::test]
async fn a_token_is_replaced_five_minutes_before_its_end() {
    let early = server(290).await;
    let user_early = user(&early.url);
    assert_eq!(user_early.token().await.unwrap().expose(), "t1");
    assert_eq!(user_early.token().await.unwrap().expose(), "t2");
    let late = server(400).await;
    let user_late = user(&late.url);
    assert_eq!(user_late.token().await.unwrap().expose(), "t1");
    assert_eq!(user_late.token().await.unwrap().expose(), "t1");
    let form = String::from_utf8(late.requests()[0].body.clone()).unwrap();
    assert_eq!(
        form,
        "grant_type=refresh_token&client_id=client&client_secret=hidden-secret&refresh_token=hidden-refresh"
    );
}

#[tokio::test]
async fn an_old_token_that_is_still_good_outlives_a_failure() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::json(r#"{"access_token": "old", "expires_in": "200"}"#),
        _ => Reply::new(503, "text/plain", "later"),
    })
    .await;
    let user = user(&server.url);
    assert_eq!(user.token().await.unwrap().expose(), "old");
    assert_eq!(user.token().await.unwrap().expose(), "old");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn refused_credentials_are_unauthenticated_and_not_repeated_in_the_error() {
    let body =
        r#"{"error": "invalid_grant", "error_description": "Bad token hidden-refresh of hidden-secret"}"#;
    let server = Server::always(Reply::new(400, "application/json", body)).await;
    let error = user(&server.url).token().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Unauthenticated, Some(400)));
    assert!(!format!("{error:?} {error}").contains("hidden"), "{error:?}");
    let server = Server::always(Reply::json(r#"{"access_token": ""}"#)).await;
    assert_eq!(account(&server.url).token().await.unwrap_err().kind(), ErrorKind::InvalidOutput);
    let server = Server::always(Reply::new(500, "text/plain", "oops")).await;
    assert_eq!(account(&server.url).token().await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn the_machine_asks_its_metadata_server() {
    let server = server(3600).await;
    let metadata = GoogleMetadata::at(&server.url).unwrap();
    assert_eq!(metadata.token().await.unwrap().expose(), "t1");
    assert_eq!(metadata.token().await.unwrap().expose(), "t1");
    let seen = server.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].path, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!(seen[0].headers["metadata-flavor"], "Google");
    let server = Server::always(Reply::new(404, "text/plain", "none")).await;
    let error = GoogleMetadata::at(&server.url).unwrap().token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}
