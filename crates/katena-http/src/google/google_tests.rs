use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::json;

use super::*;
use crate::TokenSource as _;

const TEST_KEY: &str = include_str!("test_key.pem");

fn account() -> String {
    json!({
        "type": "service_account", "client_email": "robot@example.com", "private_key_id": "k1", "private_key": TEST_KEY,
        "project_id": "acme", "token_uri": "https://tokens.example.com/token",
    })
    .to_string()
}

#[test]
fn a_statement_is_signed_so_that_its_public_key_says_yes() {
    let statement = GoogleServiceAccount::from_json(&account()).unwrap().assertion(1_700_000_000).unwrap();
    let (said, signature) = statement.rsplit_once('.').unwrap();
    let unpack = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    let key = jwt::key(TEST_KEY).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public().as_ref().to_vec());
    public.verify(said.as_bytes(), &unpack(signature)).unwrap();
    assert!(public.verify(b"something else", &unpack(signature)).is_err());
    let (header, claims) = said.split_once('.').unwrap();
    let read = |text: &str| serde_json::from_slice::<Value>(&unpack(text)).unwrap();
    assert_eq!(read(header), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims = read(claims);
    assert_eq!(claims["iss"], "robot@example.com");
    assert_eq!(claims["aud"], "https://tokens.example.com/token");
    assert_eq!(claims["scope"], CLOUD_PLATFORM);
    assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_700_000_000), &json!(1_700_003_600)));
}

#[test]
fn keys_in_both_forms_and_what_is_none() {
    use base64::prelude::BASE64_STANDARD;
    let packed: String = TEST_KEY.lines().filter(|l| !l.contains(['-', ' '])).collect();
    let pkcs8 = BASE64_STANDARD.decode(packed).unwrap();
    // The older form is what the newer one wraps, behind 26 bytes of envelope.
    let older = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
        BASE64_STANDARD.encode(&pkcs8[26..])
    );
    assert_eq!(jwt::key(&older).unwrap().public().as_ref(), jwt::key(TEST_KEY).unwrap().public().as_ref());
    for bad in [
        "",
        "secret",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n",
    ] {
        let error = jwt::key(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(!format!("{error:?}").contains("secret"));
    }
}

#[test]
fn nothing_secret_is_shown() {
    let account = GoogleServiceAccount::from_json(&account()).unwrap();
    assert!(!format!("{account:?}").contains("PRIVATE") && format!("{account:?}").contains("acme"));
    // The parser would quote what it read.
    let error = GoogleCredentials::from_json("hidden-secret").unwrap_err();
    assert!(!format!("{error:?} {error}").contains("hidden"), "{error:?}");
}

#[test]
fn credentials_by_type() {
    let kind = |json: Value| GoogleCredentials::from_json(&json.to_string()).unwrap_err().kind();
    assert_eq!(kind(json!({"type": "external_account"})), ErrorKind::Unsupported);
    assert_eq!(kind(json!({})), ErrorKind::Unauthenticated);
    assert_eq!(kind(json!({"type": "authorized_user", "client_id": "x"})), ErrorKind::Unauthenticated);
    let mut plain: Value = serde_json::from_str(&account()).unwrap();
    plain["token_uri"] = json!("http://tokens.example.com/");
    assert_eq!(kind(plain), ErrorKind::Config);
    assert_eq!(GoogleCredentials::from_json(&account()).unwrap().project.as_deref(), Some("acme"));
}

#[test]
fn the_environment_is_asked_in_order() {
    let folder = std::env::temp_dir().join(format!("katena-google-{}", std::process::id()));
    // Left by a run that was killed.
    let _ = std::fs::remove_dir_all(&folder);
    let gcloud = folder.join(".config/gcloud");
    std::fs::create_dir_all(&gcloud).unwrap();
    let named = folder.join("named.json");
    std::fs::write(&named, account()).unwrap();
    let signed_in = json!({"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r",
        "quota_project_id": "theirs"});
    let home = folder.to_string_lossy().into_owned();
    let find = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        GoogleCredentials::from_lookup(move |name| {
            pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())
        })
    };
    // Neither file: the metadata server, which nobody has asked yet.
    let machine = find(&[("HOME", &home), ("GCE_METADATA_HOST", "127.0.0.1:1")]).unwrap();
    assert!(
        format!("{machine:?}").contains("GoogleMetadata") && format!("{machine:?}").contains("127.0.0.1")
    );
    std::fs::write(gcloud.join("application_default_credentials.json"), signed_in.to_string()).unwrap();
    let person = find(&[("HOME", &home)]).unwrap();
    assert_eq!(person.quota_project.as_deref(), Some("theirs"));
    let named = named.to_string_lossy().into_owned();
    let by_name = find(&[
        ("HOME", &home),
        ("GOOGLE_APPLICATION_CREDENTIALS", &named),
        ("GOOGLE_CLOUD_QUOTA_PROJECT", "ours"),
    ]);
    let by_name = by_name.unwrap();
    assert_eq!((by_name.project.as_deref(), by_name.quota_project.as_deref()), (Some("acme"), Some("ours")));
    // A file that was named must be there.
    let error =
        find(&[("HOME", &home), ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/at/all.json")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn without_any_credentials_the_error_says_so() {
    let error = GoogleMetadata::at("http://127.0.0.1:1").unwrap().token().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
    assert!(format!("{:?}", GoogleMetadata::default()).contains("metadata.google.internal"));
}
