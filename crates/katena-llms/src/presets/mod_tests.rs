use std::collections::BTreeSet;

use katena_core::{ChatModel as _, ChatRequest, Message};
use serde_json::json;

use super::*;

fn of(preset: Preset, vars: &[(&str, &str)]) -> Result<OpenAiChat> {
    OpenAiChat::preset_from_lookup(preset, "m", |name| {
        vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    })
}

#[test]
fn every_row_makes_a_model_with_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for preset in Preset::all() {
        let made = match preset {
            Preset::Cloudflare => OpenAiChat::cloudflare("0123abc", "m", "key-hidden"),
            _ => OpenAiChat::preset(preset, "m", "key-hidden"),
        };
        let model = made.unwrap();
        assert_eq!(
            (model.info().vendor.as_str(), Preset::of_name(preset.name())),
            (preset.name(), Some(preset))
        );
        assert!(names.insert(preset.name()), "{preset:?}");
        assert!(!format!("{model:?}").contains("hidden"), "{model:?}");
        let url = model.link.endpoint.base();
        assert!(url.scheme() == "https" || url.host_str() == Some("localhost"), "{url}");
    }
    assert_eq!(names.len(), rows().len());
}

#[test]
fn keys_are_needed_where_they_are_needed() {
    for row in rows() {
        let kind = of(row.preset, &[("CLOUDFLARE_ACCOUNT_ID", "abc")]).err().map(|e| e.kind());
        let want = (row.needs_key == NeedsKey::Yes).then_some(ErrorKind::Unauthenticated);
        assert_eq!(kind, want, "{}", row.name);
    }
    let groq = of(Preset::Groq, &[("GROQ_API_KEY", "k"), ("GROQ_BASE_URL", "http://h/v1")]).unwrap();
    assert_eq!(groq.link.endpoint.base().as_str(), "http://h/v1");
    assert!(format!("{groq:?}").contains("authorization"));
}

#[test]
fn the_account_is_part_of_cloudflares_address() {
    let error = |vars: &[(&str, &str)]| of(Preset::Cloudflare, vars).unwrap_err().kind();
    assert_eq!(error(&[("CLOUDFLARE_API_TOKEN", "k")]), ErrorKind::Config);
    assert_eq!(error(&[("CLOUDFLARE_API_TOKEN", "k"), ("CLOUDFLARE_ACCOUNT_ID", "../x")]), ErrorKind::Config);
    let model =
        of(Preset::Cloudflare, &[("CLOUDFLARE_API_TOKEN", "k"), ("CLOUDFLARE_ACCOUNT_ID", "abc")]).unwrap();
    assert!(model.link.endpoint.base().path().contains("/accounts/abc/ai/v1"));
}

#[test]
fn openrouters_options_are_extras_and_headers() {
    let options = OpenRouterOptions::new()
        .with_fallback("a/b")
        .with_max_price(1.0, 2.5)
        .with_provider(ProviderPreferences::new().with_order(["x"]).without_fallbacks())
        .with_app("https://example.com", "Example");
    let want =
        json!({"order": ["x"], "allow_fallbacks": false, "max_price": {"prompt": 1.0, "completion": 2.5}});
    assert_eq!(options.extras()["provider"], want);
    assert_eq!(options.extras()["models"], json!(["a/b"]));
    let model = OpenAiChat::preset(Preset::OpenRouter, "m", "k").unwrap().with_openrouter(options);
    let shown = format!("{model:?}");
    assert!(shown.contains("http-referer") && shown.contains("x-title"), "{shown}");
    assert!(OpenRouterOptions::new().extras().is_empty());
    // The component's options are no part of a request.
    assert!(ChatRequest::new([Message::user("x")]).extra.is_empty());
}
