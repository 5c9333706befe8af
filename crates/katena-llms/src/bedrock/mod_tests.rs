use katena_core::{ErrorKind, Message};

use super::*;

fn lookup(
    pairs: &'static [(&'static str, &'static str)],
) -> impl Fn(&str) -> Option<String> + Clone + Send + Sync {
    move |name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
}

#[test]
fn the_environment() {
    const KEY: (&str, &str) = ("AWS_BEARER_TOKEN_BEDROCK", "hidden-key");
    let link = Link::from_lookup(lookup(&[("AWS_REGION", "eu-central-1"), KEY])).unwrap();
    let shown = format!("{link:?}");
    let fine = shown.contains("eu-central-1") && shown.contains("Environment") && !shown.contains("hidden");
    assert!(fine, "{shown}");
    let kind = |pairs| Link::from_lookup(lookup(pairs)).unwrap_err().kind();
    assert_eq!(kind(&[("HOME", "/nowhere"), KEY]), ErrorKind::Config);
    assert_eq!(
        kind(&[("AWS_REGION", "r"), KEY, ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "no url")]),
        ErrorKind::Config
    );
}

#[tokio::test]
async fn a_bad_region_asks_nobody() {
    for region in ["", "us east", "evil.example.com/", "US-EAST-1"] {
        let model = BedrockChat::with_bearer("m", region, "k");
        let error = model.generate(&ChatRequest::new([Message::user("x")])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{region}");
    }
}
