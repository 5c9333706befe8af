use super::*;

fn with(vars: &[(&str, &str)]) -> Result<OpenAiChat> {
    OpenAiChat::from_lookup("m".into(), |name| {
        vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    })
}

#[test]
fn the_environment_decides_key_address_and_dialect() {
    let kind = |vars: &[(&str, &str)]| with(vars).unwrap_err().kind();
    assert_eq!(kind(&[]), ErrorKind::Unauthenticated);
    assert_eq!(kind(&[("OPENAI_API_KEY", " ")]), ErrorKind::Unauthenticated);
    assert_eq!(kind(&[("OPENAI_BASE_URL", "https://api.openai.com/v1")]), ErrorKind::Unauthenticated);
    assert_eq!(kind(&[("OPENAI_BASE_URL", "localhost:8080"), ("OPENAI_API_KEY", "k")]), ErrorKind::Config);

    let own = with(&[("OPENAI_API_KEY", "sk-hidden"), ("OPENAI_ORG_ID", "org")]).unwrap();
    assert_eq!((own.quirks, own.info.vendor.as_str()), (Quirks::OPENAI, "openai"));
    assert_eq!(own.link.endpoint.base().as_str(), "https://api.openai.com/v1");
    assert!(format!("{own:?}").contains("openai-organization"));
    assert!(!format!("{own:?}").contains("hidden"));

    let local = with(&[("OPENAI_BASE_URL", "http://localhost:8080/v1")]).unwrap();
    assert_eq!((local.quirks, local.info.vendor.as_str()), (Quirks::COMPATIBLE, "openai-compatible"));
    assert!(local.info.capabilities.top_k);
    assert!(!format!("{local:?}").contains("authorization"));
}

#[test]
fn moving_to_another_server_keeps_what_was_set() {
    let model = OpenAiChat::new("m", "k").with_vendor("acme").with_base_url("http://h/v1").unwrap();
    assert_eq!((model.quirks, model.info.vendor.as_str()), (Quirks::COMPATIBLE, "acme"));
    let model = OpenAiChat::new("m", "k").with_base_url("http://h").unwrap().with_dialect(Dialect::OpenAi);
    assert_eq!((model.quirks, model.info.vendor.as_str()), (Quirks::OPENAI, "openai-compatible"));
    assert!(!model.info.capabilities.top_k);
    let own = ChatCapabilities::none().with_tools();
    let model = OpenAiChat::new("m", "k").with_capabilities(own).with_base_url("http://h").unwrap();
    assert_eq!(model.info.capabilities, own);
    assert!(model.with_base_url("h").is_err());
}
