use serde_json::{Value, json};

use crate::{PromptTemplate, Vars};

fn render(template: &str, vars: &Value) -> katena_core::Result<String> {
    PromptTemplate::fstring(template)?.render(&Vars::of(vars)?)
}

#[test]
fn braces_and_names_are_exact() {
    assert_eq!(render("{{a}} { x }", &json!({" x ": 1, "x": 2})).unwrap(), "{a} 1");
    assert_eq!(render("{x}", &json!({"x": "{y}", "y": "no"})).unwrap(), "{y}");
    for wrong in
        ["{", "}", "{}", "{0}", "{a.b}", "{a[0]}", "{a", "{a:{b}}", "{a!}", "{a!q}", "{a!r x}", "{{{"]
    {
        let error = PromptTemplate::fstring(wrong).expect_err(wrong);
        assert_eq!(error.kind(), katena_core::ErrorKind::Config, "{wrong}");
    }
    assert_eq!(PromptTemplate::fstring("a\nb {").unwrap_err().context("line"), Some("2"));
}

#[test]
fn bound_variables_stay_bound_within_a_chat_prompt() {
    use katena_core::Role;
    let template = PromptTemplate::fstring("{a} {b} {c}")
        .unwrap()
        .with_partial_value("b", "own")
        .with_partial_fn("c", || 3);
    assert_eq!(template.variables(), ["a"]);
    assert_eq!(template.render(&crate::vars! { "a" => 1 }).unwrap(), "1 own 3");
    assert_eq!(template.render(&crate::vars! { "a" => 1, "b" => 2, "c" => "C" }).unwrap(), "1 2 C");
    let prompt = crate::ChatPrompt::builder().template(Role::User, template).user("{d}").build().unwrap();
    assert_eq!(prompt.variables(), ["a", "d"]);
    let prompt = prompt.with_partial_value("d", "D");
    let messages = prompt.render(&crate::vars! { "a" => 1 }).unwrap();
    assert_eq!((messages[0].text(), messages[1].text()), ("1 own 3".into(), "D".into()));
    assert_eq!(prompt.ensure_given(&["x"]).unwrap_err().context("variable"), Some("a"));
    assert!(prompt.ensure_uses(&["a", "d"]).is_ok() && prompt.ensure_uses(&["x"]).is_err());
}
