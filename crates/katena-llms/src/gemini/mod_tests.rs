use katena_http::StaticToken;

use katena_core::ErrorKind;

use super::env::Found;
use super::*;

fn tokens() -> Arc<dyn TokenSource> {
    Arc::new(StaticToken::new("hidden-token"))
}

#[test]
fn constants_are_good_addresses() {
    let model = GeminiChat::new("m", "k");
    assert_eq!(model.endpoint.base().as_str(), DEVELOPER_BASE);
    assert_eq!(GeminiChat::vertex_express("m", "k").endpoint.base().as_str(), VERTEX_BASE);
    let _ = GeminiFiles::new("k");
}

#[test]
fn paths_of_models_on_both_services() {
    let developer = |model: &str| GeminiChat::new(model, "k").path();
    assert_eq!(developer("gemini-2.5-flash"), "models/gemini-2.5-flash");
    assert_eq!(developer("models/gemini-2.5-flash"), "models/gemini-2.5-flash");
    assert_eq!(developer("tunedModels/mine"), "tunedModels/mine");
    let vertex = |model: &str| GeminiChat::vertex(model, "acme", "europe-west4", tokens()).unwrap().path();
    let at = "projects/acme/locations/europe-west4";
    assert_eq!(vertex("g"), format!("{at}/publishers/google/models/g"));
    assert_eq!(vertex("models/g"), format!("{at}/publishers/google/models/g"));
    assert_eq!(vertex("meta/llama"), format!("{at}/publishers/meta/models/llama"));
    assert_eq!(vertex("publishers/google/models/g"), format!("{at}/publishers/google/models/g"));
    assert_eq!(vertex("projects/1/locations/us/endpoints/2"), "projects/1/locations/us/endpoints/2");
    assert_eq!(GeminiChat::vertex_express("g", "k").path(), "publishers/google/models/g");
}

#[test]
fn hosts_of_locations() {
    let host = |location: &str| {
        let model = GeminiChat::vertex("g", "example.com:acme", location, tokens()).unwrap();
        model.endpoint.base().host_str().unwrap().to_owned()
    };
    assert_eq!(host("global"), "aiplatform.googleapis.com");
    assert_eq!(host("us-central1"), "us-central1-aiplatform.googleapis.com");
    assert_eq!(host("eu"), "aiplatform.eu.rep.googleapis.com");
    for (project, location) in
        [("acme", "evil.example/"), ("acme", ""), ("", "global"), ("a/b", "global"), ("a", "x@y")]
    {
        assert_eq!(
            GeminiChat::vertex("g", project, location, tokens()).unwrap_err().kind(),
            ErrorKind::Config
        );
    }
}

#[test]
fn the_environment_chooses() {
    let find = |pairs: &[(&str, &str)]| {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let lookup = move |name: &str| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        GeminiChat::from_lookup("m".to_owned(), lookup, || {
            Ok(Found { tokens: tokens(), project: None, quota_project: Some("payer".to_owned()) })
        })
    };
    let kind = |pairs: &[(&str, &str)]| find(pairs).unwrap_err().kind();
    assert_eq!(kind(&[]), ErrorKind::Unauthenticated);
    assert_eq!(kind(&[("GOOGLE_API_KEY", " ")]), ErrorKind::Unauthenticated);
    assert_eq!(kind(&[("GOOGLE_GENAI_USE_VERTEXAI", "1")]), ErrorKind::Unauthenticated);
    let model = find(&[("GEMINI_API_KEY", "k"), ("GOOGLE_CLOUD_PROJECT", "acme")]).unwrap();
    assert_eq!((model.info.vendor.as_str(), model.service.clone()), ("gemini", Service::Developer));
    let model =
        find(&[("GOOGLE_API_KEY", "k"), ("GOOGLE_GEMINI_BASE_URL", "http://localhost:1/v1beta")]).unwrap();
    assert_eq!(model.endpoint.base().as_str(), "http://localhost:1/v1beta");
    assert_eq!(kind(&[("GOOGLE_API_KEY", "k"), ("GOOGLE_GEMINI_BASE_URL", "ftp://x")]), ErrorKind::Config);
    let vertex = ("GOOGLE_GENAI_USE_VERTEXAI", "True");
    let model = find(&[vertex, ("GOOGLE_CLOUD_PROJECT", "acme"), ("GOOGLE_API_KEY", "k")]).unwrap();
    assert_eq!(model.service, Service::Vertex(Some("projects/acme/locations/global".into())));
    assert!(model.tokens.is_some());
    let model =
        find(&[vertex, ("GOOGLE_CLOUD_PROJECT", "acme"), ("GOOGLE_CLOUD_LOCATION", "us-east1")]).unwrap();
    assert_eq!(model.endpoint.base().host_str(), Some("us-east1-aiplatform.googleapis.com"));
    let model = find(&[vertex, ("GOOGLE_API_KEY", "k")]).unwrap();
    assert_eq!((model.service, model.info.vendor.as_str()), (Service::Vertex(None), "vertex"));
}

#[test]
fn debug_hides_keys_and_tokens() {
    let shown = format!(
        "{:?} {:?}",
        GeminiChat::new("m", "hidden-key").with_header("x-extra", "hidden-extra"),
        GeminiChat::vertex("m", "p", "global", tokens()).unwrap()
    );
    assert!(!shown.contains("hidden"), "{shown}");
}
