use serde_json::json;

use super::*;

#[test]
fn the_environment_says_key_and_place() {
    let with = |pairs: &'static [(&str, &str)]| {
        let lookup = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        CohereChat::from_lookup("m".into(), lookup)
    };
    assert_eq!(with(&[]).unwrap_err().kind(), ErrorKind::Unauthenticated);
    for name in [&[("CO_API_KEY", "k-secret")][..], &[("COHERE_API_KEY", "k-secret")]] {
        let model = with(name).unwrap();
        assert_eq!(model.endpoint.base().as_str(), "https://api.cohere.com/");
        let shown = format!("{model:?}");
        assert!(shown.contains("authorization") && !shown.contains("k-secret"), "{shown}");
    }
    let own = with(&[("CO_API_URL", "http://localhost:1")]).unwrap();
    assert_eq!(own.endpoint.base().as_str(), "http://localhost:1/");
    assert!(!format!("{own:?}").contains("authorization"));
}

#[test]
fn models_tell_their_abilities() {
    let list = models(&json!({"models": [
        {"name": "a", "context_length": 128_000, "features": ["tools", "vision"]},
        {"name": "b", "context_length": 0.0},
        {},
    ]}))
    .unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0].context_tokens, Some(128_000));
    let can = list[0].capabilities;
    assert!(can.tools && can.images && !can.reasoning && !can.json_schema);
    assert!(list[1].capabilities.json_schema && list[1].context_tokens.is_none());
    assert!(models(&json!({"message": "x"})).is_err());
}
