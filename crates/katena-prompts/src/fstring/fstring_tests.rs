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

#[test]
fn specifications_are_pythons() {
    let vars = json!({"s": "héllo", "n": 1_234_567, "m": -42, "x": 1.23456, "y": 1e16, "z": -0.0, "t": true, "u": null,
        "l": [1, "it's", 2.0], "q": "a\n\u{200b}'\""});
    for (template, expected) in [
        ("{s:*^9.3}", "***hél***"),
        ("{s:05}", "héllo"),
        (
            "{n:,} {n:_} {n:015,} {n:x} {n:#X} {n:_b}",
            "1,234,567 1_234_567 000,001,234,567 12d687 0X12D687 1_0010_1101_0110_1000_0111",
        ),
        ("{m:+d} {m:=6} {m:<6}| {m:^6}| {m:06}", "-42 -   42 -42   |  -42  | -00042"),
        (
            "{x} {x:.3} {x:.2f} {x:e} {x:10.3g}| {x:%}",
            "1.23456 1.23 1.23 1.234560e+00       1.23| 123.456000%",
        ),
        ("{y} {y:g} {y:,.1f}", "1e+16 1e+16 10,000,000,000,000,000.0"),
        ("{z} {z:z.1f} {z:+.0f}", "-0.0 0.0 -0"),
        ("{t} {t:d} {t!r:>6} {u}", "True 1   True None"),
        ("{l} {q!r} {s!a}", "[1, \"it's\", 2.0] 'a\\n\\u200b\\'\"' 'h\\xe9llo'"),
    ] {
        assert_eq!(render(template, &vars).unwrap(), expected, "{template}");
    }
    for wrong in ["{s:d}", "{s:+}", "{s:=9}", "{n:.2}", "{n:s}", "{x:d}", "{u:5}", "{l:>9}", "{m:c}", "{n:z}"]
    {
        assert_eq!(render(wrong, &vars).expect_err(wrong).kind(), katena_core::ErrorKind::InvalidInput);
    }
    for wrong in ["{n:,_}", "{n:5.}", "{n:5dd}", "{s:,s}", "{n:9999999999}"] {
        assert!(PromptTemplate::fstring(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn random_templates_are_refused_or_filled() {
    let mut random = crate::test_random::Random::new(5);
    let parts = ["{", "}", "{{", "}}", "x", "!", "r", ":", ">5", ".2f", " ", "é", "[", ".", "0", "\n"];
    let (mut filled, value) = (0, "{x} {{y}}");
    for _ in 0..20_000 {
        let text: String = (0..random.below(9)).map(|_| *random.pick(&parts)).collect();
        let Ok(template) = PromptTemplate::fstring(&text) else { continue };
        let given = template.variables().iter().fold(Vars::new(), |v, n| v.with(n.clone(), value));
        if let Ok(out) = template.render(&given) {
            filled += 1;
            if !text.contains(['{', '}']) {
                assert_eq!(out, text);
            }
            assert!(
                template.variables().is_empty()
                    || text.contains('!')
                    || text.contains(':')
                    || out.contains(value)
            );
        }
    }
    assert!(filled > 1000);
}
