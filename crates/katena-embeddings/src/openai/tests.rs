use katena_core::{EmbedRole, Embedder as _, ErrorKind};

use super::*;

fn body(embedder: &OpenAiEmbedder) -> Value {
    let request = embedder.0.request(&["a".into(), "b".into()], EmbedRole::Query).unwrap();
    serde_json::from_slice(request.body()).unwrap()
}

fn env(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())
}

#[test]
fn bodies_are_as_documented() {
    let official = OpenAiEmbedder::new("text-embedding-3-small", "k").unwrap();
    let want = json!({"model": "text-embedding-3-small", "input": ["a", "b"], "encoding_format": "base64"});
    assert_eq!(body(&official), want);
    let small = official.with_dimensions(256).with_encoding(Encoding::Floats).with_extra("user", "u");
    assert_eq!(
        body(&small),
        json!({"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 256, "user": "u"})
    );
    assert_eq!(small.info().dimensions, 256);
    let local = OpenAiEmbedder::compatible(EmbedModel::new("m", 3), "http://h/v1")
        .unwrap()
        .with_prefixes("query: ", "");
    assert_eq!(body(&local), json!({"model": "m", "input": ["query: a", "query: b"]}));
}

#[test]
fn an_extra_does_not_repeat_a_field() {
    let embedder = OpenAiEmbedder::new("text-embedding-3-small", "k").unwrap().with_extra("model", "x");
    let error = embedder.0.request(&["a".into()], EmbedRole::Query).unwrap_err();
    assert_eq!((error.kind(), error.context("field")), (ErrorKind::InvalidInput, Some("model")));
}

#[test]
fn the_space_names_what_changes_vectors() {
    let embedder = OpenAiEmbedder::new("text-embedding-3-large", "k").unwrap();
    assert_eq!(embedder.info().model, "openai/text-embedding-3-large?dimensions=3072");
    let changed = embedder.with_dimensions(64).with_prefixes("q", "d").with_raw_vectors().with_vendor("v");
    assert_eq!(changed.info().model, "v/text-embedding-3-large?dimensions=64&query=\"q\"&document=\"d\"&raw");
    assert!(!changed.info().normalized);
    assert_eq!(changed.with_space("mine").with_concurrency(2).info().model, "mine");
}

#[test]
fn unknown_dimensions_are_said() {
    for error in [
        OpenAiEmbedder::new("text-embedding-9", "k").unwrap_err(),
        OpenAiEmbedder::new(EmbedModel::new("x", 0), "k").unwrap_err(),
        OpenAiEmbedder::new("", "k").unwrap_err(),
        OpenAiEmbedder::compatible("bge-m3", "ftp://h").unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    assert_eq!(OpenAiEmbedder::compatible("BAAI/bge-m3", "http://h").unwrap().info().dimensions, 1024);
}

#[test]
fn the_environment_is_read_on_request() {
    let make =
        |pairs: &[(&str, &str)]| OpenAiEmbedder::from_lookup("text-embedding-3-small".into(), env(pairs));
    assert_eq!(make(&[]).unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert_eq!(make(&[("OPENAI_API_KEY", " sk ")]).unwrap().0.vendor, "openai");
    let local = make(&[("OPENAI_BASE_URL", "http://h/v1")]).unwrap();
    assert_eq!(
        (local.0.vendor.as_str(), local.0.endpoint.base().as_str()),
        ("openai-compatible", "http://h/v1")
    );
    let preset = |pairs: &[(&str, &str)]| {
        OpenAiEmbedder::preset_from_lookup(Preset::TOGETHER, "BAAI/bge-m3".into(), env(pairs))
    };
    assert_eq!(preset(&[]).unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(preset(&[("TOGETHER_API_KEY", "k")]).is_ok());
}

#[test]
fn azure_has_two_addresses() {
    let url = |e: &OpenAiEmbedder| e.0.endpoint.join("embeddings").unwrap().to_string();
    let dated =
        OpenAiEmbedder::azure_dated("text-embedding-3-small", "https://x.openai.azure.com/", "2024-10-21")
            .unwrap();
    assert_eq!(
        url(&dated),
        "https://x.openai.azure.com/openai/deployments/text-embedding-3-small/embeddings?api-version=2024-10-21"
    );
    let v1 = OpenAiEmbedder::azure(EmbedModel::new("own", 3), "https://x.openai.azure.com").unwrap();
    assert_eq!(url(&v1), "https://x.openai.azure.com/openai/v1/embeddings");
    assert_eq!(body(&v1)["encoding_format"], Value::Null);
    let keyed = v1.with_api_key("sk-hidden");
    let shown = format!("{keyed:?}");
    assert!(
        shown.contains("api-key") && !shown.contains("hidden") && !shown.contains("authorization"),
        "{shown}"
    );
    assert!(OpenAiEmbedder::azure_dated(EmbedModel::new("a/b", 3), "https://x", "1").is_err());
    let by_env =
        |pairs: &[(&str, &str)]| OpenAiEmbedder::azure_from_lookup(EmbedModel::new("d", 3), env(pairs));
    assert_eq!(by_env(&[]).unwrap_err().kind(), ErrorKind::Config);
    let endpoint = ("AZURE_OPENAI_ENDPOINT", "https://x");
    assert_eq!(by_env(&[endpoint]).unwrap_err().kind(), ErrorKind::Unauthenticated);
    let all = [endpoint, ("AZURE_OPENAI_API_KEY", "k"), ("OPENAI_API_VERSION", "2024-10-21")];
    assert!(url(&by_env(&all).unwrap()).contains("deployments/d/"));
}

#[test]
fn presets_are_addresses() {
    for preset in Preset::ALL {
        Endpoint::new(preset.base_url).unwrap();
        assert!(preset.key_variable.is_some() || preset.base_url.starts_with("http://localhost"));
    }
}
