use super::*;

fn with(vars: &[(&str, &str)]) -> Result<OpenAiResponses> {
    OpenAiResponses::from_lookup("m".into(), |name| {
        vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    })
}

#[test]
fn the_environment_decides_key_and_address() {
    let kind = |vars: &[(&str, &str)]| with(vars).unwrap_err().kind();
    assert_eq!(kind(&[]), ErrorKind::Unauthenticated);
    assert_eq!(kind(&[("OPENAI_BASE_URL", "https://api.openai.com/v1")]), ErrorKind::Unauthenticated);
    assert_eq!(kind(&[("OPENAI_BASE_URL", "localhost:8080"), ("OPENAI_API_KEY", "k")]), ErrorKind::Config);
    let own = with(&[("OPENAI_API_KEY", "sk-hidden"), ("OPENAI_ORG_ID", "org")]).unwrap();
    let shown = format!("{own:?}");
    assert!(shown.contains("openai-organization") && !shown.contains("hidden"), "{shown}");
    let local = with(&[("OPENAI_BASE_URL", "http://localhost:8080/v1")]).unwrap();
    assert_eq!(local.info.vendor, "openai-compatible");
    assert!(!format!("{local:?}").contains("authorization"));
    assert_eq!(local.with_base_url("https://api.openai.com/v1").unwrap().info.vendor, "openai");
}

#[test]
fn models_that_never_reason_are_not_asked_for_reasoning() {
    let reasons = |model: &str| OpenAiResponses::new(model, "k").info().capabilities.reasoning;
    for model in ["gpt-5-mini", "o4-mini", "gpt-6", "codex-mini-latest"] {
        assert!(reasons(model), "{model}");
    }
    for model in ["gpt-4o", "gpt-4.1-nano", "gpt-3.5-turbo", "gpt-5-chat-latest"] {
        assert!(!reasons(model), "{model}");
    }
}
