use serde_json::json;

use super::*;

#[test]
fn the_environment_says_where_it_is() {
    let with = |pairs: &'static [(&str, &str)]| {
        let lookup = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        OllamaChat::from_lookup("m".into(), lookup)
    };
    assert_eq!(with(&[]).unwrap().endpoint.base().as_str(), "http://127.0.0.1:11434/");
    let far = with(&[("OLLAMA_HOST", "example.com:80"), ("OLLAMA_API_KEY", "secret-9")]).unwrap();
    assert_eq!(far.endpoint.base().as_str(), "http://example.com/");
    let shown = format!("{far:?}");
    assert!(shown.contains("authorization") && !shown.contains("secret-9"), "{shown}");
    assert!(with(&[("OLLAMA_HOST", "unix:///run/x")]).is_err());
}

#[test]
fn the_list_of_models() {
    let list =
        models(&json!({"models": [{"name": "a:latest", "model": "a:latest"}, {"name": "b"}, {}]})).unwrap();
    assert_eq!(list.iter().map(|m| m.model.as_str()).collect::<Vec<_>>(), ["a:latest", "b"]);
    assert!(models(&json!({"models": null})).unwrap().is_empty());
    assert!(models(&json!({"data": []})).is_err());
}
