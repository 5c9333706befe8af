use futures_util::FutureExt as _;

use super::*;

fn chain(pairs: &'static [(&'static str, &'static str)]) -> Result<DefaultCredentials> {
    DefaultCredentials::from_lookup(move |name| {
        pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
    })
}

const NO_FILES: (&str, &str) = ("HOME", "/nowhere");
const NO_MACHINE: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "TRUE");

#[test]
fn the_order() {
    let all = chain(&[
        ("AWS_ACCESS_KEY_ID", "A"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"),
        ("AWS_ROLE_ARN", "r"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x"),
        NO_FILES,
    ]);
    let names = format!("{:?}", all.unwrap());
    assert_eq!(names, r#"["environment", "profile", "web identity", "container", "machine"]"#);
}

#[test]
fn nothing_is_found_and_what_is_there_must_work() {
    let get =
        |chain: DefaultCredentials| chain.credentials().now_or_never().expect("no network").unwrap_err();
    let nothing = get(chain(&[NO_FILES, NO_MACHINE]).unwrap());
    assert_eq!((nothing.kind(), nothing.context("looked at")), (ErrorKind::Unauthenticated, Some("profile")));
    let named = get(chain(&[NO_FILES, NO_MACHINE, ("AWS_PROFILE", "work")]).unwrap());
    assert_eq!((named.kind(), named.context("profile")), (ErrorKind::NotFound, Some("work")));
    assert!(chain(&[("AWS_ACCESS_KEY_ID", "A")]).is_err());
}
