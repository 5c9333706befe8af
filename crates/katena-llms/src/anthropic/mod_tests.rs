use super::*;

fn with(vars: &[(&str, &str)]) -> Result<AnthropicChat> {
    AnthropicChat::from_lookup("claude-x".into(), |name| {
        vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    })
}

fn path(model: &AnthropicChat, reply: Reply) -> String {
    let path = model.place.path(&model.endpoint, &model.info.model, reply);
    model.endpoint.join(&path).unwrap().to_string()
}

#[test]
fn the_environment_decides_key_and_address() {
    let kind = |vars: &[(&str, &str)]| with(vars).unwrap_err().kind();
    assert_eq!(kind(&[]), ErrorKind::Unauthenticated);
    assert_eq!(kind(&[("ANTHROPIC_API_KEY", " ")]), ErrorKind::Unauthenticated);
    assert_eq!(kind(&[("ANTHROPIC_BASE_URL", "localhost"), ("ANTHROPIC_API_KEY", "k")]), ErrorKind::Config);

    let own = with(&[("ANTHROPIC_API_KEY", "sk-hidden"), ("ANTHROPIC_AUTH_TOKEN", "other")]).unwrap();
    assert_eq!(path(&own, Reply::Whole), "https://api.anthropic.com/v1/messages");
    let shown = format!("{own:?}");
    assert!(shown.contains("x-api-key") && !shown.contains("authorization") && !shown.contains("hidden"));
    let token = with(&[("ANTHROPIC_AUTH_TOKEN", "t")]).unwrap();
    assert!(format!("{token:?}").contains("authorization"));
    let local = with(&[("ANTHROPIC_BASE_URL", "http://localhost:8080/v1/")]).unwrap();
    assert_eq!(path(&local, Reply::Stream), "http://localhost:8080/v1/messages");
    assert!(!format!("{local:?}").contains("x-api-key"));
    assert_eq!(path(&local, Reply::Count), "http://localhost:8080/v1/messages/count_tokens");
}

#[cfg(feature = "vertex")]
#[test]
fn vertex_has_a_host_for_each_kind_of_location() {
    use std::sync::Arc;
    let model = |location: &str| {
        let tokens = Arc::new(katena_http::StaticToken::new("t"));
        AnthropicChat::vertex("claude-sonnet-4-5@20250929", "p", location, tokens)
    };
    let tail = |location: &str, call: &str| {
        format!("/v1/projects/p/locations/{location}/publishers/anthropic/models/{call}")
    };
    for (location, host) in [
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("us-east5", "https://us-east5-aiplatform.googleapis.com"),
    ] {
        let model = model(location).unwrap();
        let whole = tail(location, "claude-sonnet-4-5@20250929:rawPredict");
        assert_eq!(path(&model, Reply::Whole), format!("{host}{whole}"));
        let stream = tail(location, "claude-sonnet-4-5@20250929:streamRawPredict");
        assert_eq!(path(&model, Reply::Stream), format!("{host}{stream}"));
        assert_eq!(
            path(&model, Reply::Count),
            format!("{host}{}", tail(location, "count-tokens:rawPredict"))
        );
    }
    for bad in ["", "evil.com/", "a b", "..", "eu\r\n"] {
        assert_eq!(model(bad).unwrap_err().kind(), ErrorKind::Config, "{bad}");
    }
}
