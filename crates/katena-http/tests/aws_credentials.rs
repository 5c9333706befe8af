//! Credentials over HTTP, from doubles of AWS's services on loopback.

#![cfg(feature = "aws")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::PathBuf;

use katena_core::ErrorKind;
use katena_http::aws::{
    ContainerCredentials, Credentials, CredentialsProvider as _, InstanceCredentials, ProfileCredentials,
    ProfileFiles, WebIdentityCredentials,
};
use support::{Reply, Server};

const KEY: &str = r#"{"Code":"Success","AccessKeyId":"AKID","SecretAccessKey":"s3cret","Token":"t0ken","Expiration":"2099-01-01T00:00:00Z"}"#;

struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("katena-aws-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
    fn path(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn check(found: &Credentials) {
    assert_eq!((found.access_key_id(), found.secret_access_key().expose()), ("AKID", "s3cret"));
    assert_eq!(found.session_token().unwrap().expose(), "t0ken");
    assert!(found.expires_at().is_some());
}

#[tokio::test]
async fn a_container() {
    let server = Server::always(Reply::json(KEY)).await;
    let token = File::new("container-token", "Token 1\n");
    let url = format!("{}/v2/role?id=7", server.url);
    let path = token.path();
    let lookup = |name: &str| match name {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI" => Some(url.clone()),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" => Some(path.clone()),
        _ => None,
    };
    let provider = ContainerCredentials::from_lookup(lookup).unwrap().unwrap();
    check(&provider.credentials().await.unwrap());
    let seen = &server.requests()[0];
    assert_eq!((seen.path.as_str(), seen.headers["authorization"].as_str()), ("/v2/role?id=7", "Token 1"));
}

#[tokio::test]
async fn a_machine_by_version_two_of_its_service() {
    let server = Server::start(|seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("PUT", "/latest/api/token") => Reply::new(200, "text/plain", "session-1"),
        ("GET", "/latest/meta-data/iam/security-credentials/") => Reply::new(200, "text/plain", "my-role\n"),
        ("GET", "/latest/meta-data/iam/security-credentials/my-role") => Reply::json(KEY),
        _ => Reply::new(404, "text/plain", ""),
    })
    .await;
    let url = server.url.clone();
    let lookup = move |name: &str| (name == "AWS_EC2_METADATA_SERVICE_ENDPOINT").then(|| url.clone());
    let provider = InstanceCredentials::from_lookup(lookup).unwrap().unwrap();
    check(&provider.credentials().await.unwrap());
    let seen = server.requests();
    assert_eq!(seen[0].headers["x-aws-ec2-metadata-token-ttl-seconds"], "21600");
    assert!(seen[1..].iter().all(|r| r.headers["x-aws-ec2-metadata-token"] == "session-1"));
}

#[tokio::test]
async fn a_machine_without_a_role() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "PUT" => Reply::new(200, "text/plain", "session-1"),
        _ => Reply::new(404, "text/html", "<html>"),
    })
    .await;
    let url = server.url.clone();
    let lookup = move |name: &str| (name == "AWS_EC2_METADATA_SERVICE_ENDPOINT").then(|| url.clone());
    let provider = InstanceCredentials::from_lookup(lookup).unwrap().unwrap();
    assert_eq!(provider.credentials().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_refusal_of_the_service_is_said_without_secrets() {
    let reply = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"no trust"}"#;
    let server = Server::always(Reply::json(reply)).await;
    let url = server.url.clone();
    let lookup = move |name: &str| (name == "AWS_CONTAINER_CREDENTIALS_FULL_URI").then(|| url.clone());
    let error = ContainerCredentials::from_lookup(lookup).unwrap().unwrap().credentials().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("no trust"), "{error}");
}

const ROLE: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKID</AccessKeyId>\
    <SecretAccessKey>s3cret</SecretAccessKey><SessionToken>t0ken</SessionToken>\
    <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";

#[tokio::test]
async fn a_web_identity() {
    let server = Server::always(Reply::new(200, "text/xml", ROLE)).await;
    let token = File::new("web-token", "ey.J+a=");
    let (path, url) = (token.path(), server.url.clone());
    let lookup = move |name: &str| match name {
        "AWS_WEB_IDENTITY_TOKEN_FILE" => Some(path.clone()),
        "AWS_ROLE_ARN" => Some("arn:aws:iam::1:role/r".to_owned()),
        "AWS_ENDPOINT_URL_STS" => Some(url.clone()),
        _ => None,
    };
    let provider = WebIdentityCredentials::from_lookup(lookup).unwrap().unwrap();
    check(&provider.credentials().await.unwrap());
    let seen = &server.requests()[0];
    let form = String::from_utf8(seen.body.clone()).unwrap();
    assert!(form.contains("Action=AssumeRoleWithWebIdentity&Version=2011-06-15"), "{form}");
    assert!(form.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"), "{form}");
    assert!(form.ends_with("WebIdentityToken=ey.J%2Ba%3D"), "{form}");
    assert!(!seen.headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_profile_that_takes_a_role() {
    let server = Server::always(Reply::new(200, "text/xml", ROLE)).await;
    let credentials = File::new("credentials", "[base]\naws_access_key_id=BASE\naws_secret_access_key=b\n");
    let config = "[profile role]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=base\nregion=eu-west-1\nexternal_id=x y\n";
    let config = File::new("config", config);
    let files = ProfileFiles::new(credentials.path(), config.path());
    let provider = ProfileCredentials::new("role", files).with_sts_url(&server.url);
    check(&provider.credentials().await.unwrap());
    let seen = &server.requests()[0];
    assert!(seen.headers["authorization"].contains("Credential=BASE/"), "{:?}", seen.headers);
    assert!(seen.headers["authorization"].contains("/eu-west-1/sts/aws4_request"));
    assert!(String::from_utf8(seen.body.clone()).unwrap().ends_with("ExternalId=x%20y"));
}

#[tokio::test]
async fn a_refused_role_names_no_secret() {
    let body =
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>";
    let server = Server::always(Reply::new(403, "text/xml", body)).await;
    let token = File::new("refused-token", "hidden-token");
    let provider = WebIdentityCredentials::new(token.path(), "arn:r", "us-east-1").unwrap();
    let error = provider.with_base_url(&server.url).unwrap().credentials().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
}
