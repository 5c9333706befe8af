use serde_json::json;

use super::*;

#[test]
fn the_environment_has_the_key() {
    assert_eq!(
        MistralChat::from_lookup("m".into(), |_| None).unwrap_err().kind(),
        ErrorKind::Unauthenticated
    );
    let key = |name: &str| (name == "MISTRAL_API_KEY").then(|| " k-secret ".to_owned());
    let model = MistralChat::from_lookup("m".into(), key).unwrap();
    let shown = format!("{model:?}");
    assert!(shown.contains("authorization") && !shown.contains("k-secret"), "{shown}");
    assert_eq!(model.endpoint.base().as_str(), "https://api.mistral.ai/v1");
}

#[test]
fn models_tell_their_abilities() {
    let list = models(&json!({"data": [
        {"id": "a", "max_context_length": 131_072,
         "capabilities": {"completion_chat": true, "function_calling": false, "vision": true}},
        {"id": "embed", "capabilities": {"completion_chat": false}},
        {"id": "b"},
    ]}))
    .unwrap();
    assert_eq!(list.iter().map(|m| m.model.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(list[0].context_tokens, Some(131_072));
    assert!(!list[0].capabilities.tools && list[0].capabilities.images && list[1].capabilities.tools);
    assert!(models(&json!({"detail": "Invalid API Key"})).is_err());
}
