use serde_json::{Value, json};

use crate::{Format, Partials, PromptTemplate, Vars};

fn render(template: &str, vars: Value) -> katena_core::Result<String> {
    PromptTemplate::handlebars(template)?.render(&Vars::of(&vars)?)
}

#[test]
fn logic_works_and_nothing_is_escaped_or_expanded_twice() {
    let text = "{{#if formal}}Dear{{else}}Hi{{/if}} {{name}}:{{#each items}} {{@index}}={{this.t}}{{/each}}";
    let vars = json!({"formal": false, "name": "<{{name}}>", "items": [{"t": "a"}, {"t": "b"}]});
    assert_eq!(render(text, vars).unwrap(), "Hi <{{name}}>: 0=a 1=b");
    assert_eq!(
        render("{{json a}} {{join b \"; \"}} {{{c}}}", json!({"a": {"x": 1}, "b": [1, "z"], "c": "&"}))
            .unwrap(),
        "{\"x\":1} 1; z &"
    );
}

#[test]
fn variables_are_those_of_the_prompt_not_of_items() {
    let text = "{{a}} {{b.c}} {{#each list as |x i|}}{{x}} {{i}} {{inner}} {{../up}} {{@root.r}} {{@index}}{{/each}}\
        {{#if (eq d 1)}}{{e}}{{/if}}{{#with f}}{{g}}{{else}}{{h}}{{/with}}{{this.k}}{{lookup l m}}";
    let template = PromptTemplate::handlebars(text).unwrap();
    assert_eq!(template.variables(), ["a", "b", "list", "up", "r", "d", "e", "f", "h", "k", "l", "m"]);
}

#[test]
fn what_is_missing_is_an_error() {
    for (text, vars) in [
        ("{{a}}", json!({})),
        ("{{a.b}}", json!({"a": {}})),
        ("{{#if a}}{{/if}}", json!({})),
        ("{{#each a}}{{b}}{{/each}}", json!({"a": [{}]})),
        ("{{#each a}}{{/each}}", json!({"a": null})),
        ("{{a}}", json!({"a": [1]})),
        ("{{a}}", json!({"a": {"b": 1}})),
    ] {
        let error = render(text, vars).expect_err(text);
        assert_eq!(error.kind(), katena_core::ErrorKind::InvalidInput, "{text}: {error}");
    }
    assert_eq!(render("{{a}}", json!({})).unwrap_err().context("variable"), Some("a"));
    assert_eq!(render("{{#if a}}x{{/if}}{{a}}", json!({"a": null})).unwrap(), "");
}

#[test]
fn wrong_templates_are_refused_when_compiled() {
    for text in [
        "{{#if a}}",
        "{{",
        "{{shout a}}",
        "{{#each}}{{unknown x}}{{/each}}",
        "{{len}}",
        "{{> other}}",
        "{{#if (nope a)}}{{/if}}",
        "{{> (lookup a b)}}",
        "{{#*inline \"x\"}}{{/inline}}",
        "{{#> x}}{{/x}}",
        "{{log a}}",
    ] {
        assert!(PromptTemplate::handlebars(text).is_err(), "{text}");
    }
    let error = PromptTemplate::handlebars("a\n{{shout x}}").unwrap_err();
    assert_eq!((error.context("line"), error.context("helper")), (Some("2"), Some("shout")));
    assert_eq!(PromptTemplate::handlebars("a\n\n{{#if}").unwrap_err().context("line"), Some("3"));
    let chain = format!("{{{{#if a}}}}{}{{{{/if}}}}", "{{else if a}}x".repeat(50_000));
    assert!(PromptTemplate::handlebars(chain).is_err());
    let flat = "{{#if a}}x{{else if b}}y{{^}}z{{/if}} (".repeat(200);
    assert!(PromptTemplate::handlebars(flat).is_ok());
    let deep = "{{#if a}}".repeat(100_000);
    assert!(PromptTemplate::handlebars(&deep).is_err());
    assert!(PromptTemplate::handlebars(format!("{{{{len {}", "(".repeat(100_000))).is_err());
}

#[test]
fn partials_are_found_only_where_given_and_never_run_away() {
    let partials = Partials::new()
        .with("row", "[{{x}}{{n}}]")
        .with("loop", "{{> loop}}")
        .with("a", "{{> b}}{{> b}}")
        .with("b", "{{> a}}");
    let compile = |text: &str| PromptTemplate::with_partials(Format::Handlebars, text, &partials);
    let template = compile("{{#each rows}}{{> row n=@index}}{{/each}}{{> row n=1}}").unwrap();
    assert_eq!(template.variables(), ["rows", "x"]);
    let vars = Vars::of(&json!({"rows": [{"x": "p"}, {"x": "q"}], "x": "r"})).unwrap();
    assert_eq!(template.render(&vars).unwrap(), "[p0][q1][r1]");
    assert!(compile("{{> loop}}").is_err());
    assert!(compile("{{> a}}").is_err());
    let mut many = Partials::new().with("p0", "x");
    for n in 1..20 {
        many = many.with(format!("p{n}"), format!("{{{{> p{}}}}}{{{{> p{}}}}}", n - 1, n - 1));
    }
    assert!(PromptTemplate::with_partials(Format::Handlebars, "{{> p19}}", &many).is_err());
}

#[test]
fn the_output_is_limited() {
    let template = PromptTemplate::handlebars("{{#each a}}{{../b}}{{/each}}").unwrap();
    let vars = Vars::of(&json!({"a": vec![0; 2000], "b": "x".repeat(1000)})).unwrap();
    assert_eq!(template.render(&vars).unwrap_err().context("max_bytes"), Some("1048576"));
    assert_eq!(template.with_max_bytes(2_000_000).render(&vars).unwrap().len(), 2_000_000);
}
