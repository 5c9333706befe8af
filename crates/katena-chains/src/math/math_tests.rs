use katena_core::fake::ScriptedChat;
use katena_core::{ChainExt, ChatResponse, ErrorKind, FinishReason, Message, Part, Role};
use katena_prompts::ChatPrompt;

use super::*;

fn value(expression: &str) -> String {
    match evaluate(expression) {
        Ok(number) => number.to_string(),
        Err(error) => format!("error: {}", error.message()),
    }
}

#[test]
fn expressions_have_their_values() {
    for (expression, want) in [
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("2 - 3 - 4", "-5"),
        ("24 / 4 / 3", "2"),
        ("-2^2", "-4"),
        ("(-2)^2", "4"),
        ("2^-1", "0.5"),
        ("2^3^2", "512"),
        ("2**10", "1024"),
        ("--3", "3"),
        ("-+-3", "3"),
        ("2 * -3", "-6"),
        ("0.1 + 0.2", "0.3"),
        ("1.10 * 3", "3.3"),
        ("1/3 * 3", "1"),
        ("1/3", "0.333333333333333"),
        ("10 % 3", "1"),
        ("-10 % 3", "2"),
        ("10 % -3", "-2"),
        ("5.5 mod 2", "1.5"),
        ("1e3 + 1E-2", "1000.01"),
        (".5 + 5.", "5.5"),
        ("2e", "error: an operator was expected"),
        ("9007199254740993 + 1", "9007199254740994"),
        ("2^100", "1267650600228229401496703205376"),
        ("2^200", "1.60693804425899e60"),
        ("factorial(20)", "2432902008176640000"),
        ("factorial(170)", "7.25741561530799e306"),
        ("sqrt(144)", "12"),
        ("sqrt(2)", "1.4142135623731"),
        ("cbrt(27)", "3"),
        ("2 × 3 ÷ 4 − 1", "0.5"),
        ("PI", "3.14159265358979"),
        ("π * 0", "0"),
        ("sin(pi/6)", "0.5"),
        ("round(2.5) + round(-2.5)", "0"),
        ("round(3.14159, 2)", "3.14"),
        ("round(1234.5, -2)", "1200"),
        ("floor(-1.5) + ceil(-1.5) + trunc(-1.5)", "-4"),
        ("min(3, 1/3, 2)", "0.333333333333333"),
        ("max(1, 2, 3) + sum(1, 2) + avg(1, 2)", "7.5"),
        ("log(1000) + log(8, 2) + ln(e)", "7"),
        ("gcd(12, 18) + lcm(4, 6)", "18"),
        ("ncr(5, 2) + npr(5, 2) + ncr(2, 5)", "30"),
        ("ncr(1000, 500) / ncr(1000, 499)", "1.002"),
        ("hypot(3, 4)", "5"),
        ("abs(-7) * sign(-2)", "-7"),
        ("mod(7, 3) + pow(2, 5)", "33"),
        ("0.000001", "0.000001"),
        ("1/10^9", "0.000000001"),
        ("sqrt(2) * 1e-9", "1.4142135623731e-9"),
        ("1e22", "10000000000000000000000"),
        ("0 - 0", "0"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: division by zero"),
        ("0 ^ -1", "error: the power is no real number"),
        ("(-1)^0.5", "error: the power is no real number"),
        ("sqrt(-1)", "error: the function has no real value there"),
        ("ln(0)", "error: the function has no real value there"),
        ("10^1000", "error: the result is no finite number"),
        ("1e999", "error: the result is no finite number"),
        ("9^9^9", "error: the power is larger than the limit"),
        ("factorial(171)", "error: the factorial is larger than the limit"),
        ("factorial(1.5)", "error: the function takes integers only"),
        ("1,000 + 1", "error: a comma stands outside of a function; write numbers without separators"),
        ("2(3)", "error: an operator was expected"),
        ("2 3", "error: an operator was expected"),
        ("1.2.3", "error: this is no number"),
        ("1_000", "error: this is no number"),
        ("", "error: the expression ends too early"),
        ("1 +", "error: the expression ends too early"),
        ("(1", "error: a closing parenthesis was expected"),
        ("1)", "error: an operator was expected"),
        ("sin", "error: there is no constant of this name"),
        ("sin()", "error: the function takes another number of arguments"),
        ("sin(1, 2)", "error: the function takes another number of arguments"),
        ("min()", "error: the function takes another number of arguments"),
        ("eval(1)", "error: there is no function of this name"),
        ("__import__('os').system('id')", "error: a number, a function or a parenthesis was expected"),
        ("os.system", "error: there is no constant of this name"),
        ("1; 2", "error: an operator was expected"),
        ("x = 3", "error: there is no constant of this name"),
        ("'a' + 'b'", "error: a number, a function or a parenthesis was expected"),
        ("5!", "error: an operator was expected"),
        ("1 << 2", "error: an operator was expected"),
        ("NaN", "error: there is no constant of this name"),
        ("1e99999999999", "error: the exponent is larger than the limit"),
    ] {
        assert_eq!(value(expression), want, "{expression}");
    }
    assert_eq!(evaluate("12 + x").unwrap_err().context("at"), Some("5"));
    assert_eq!(serde_json::Value::from(evaluate("6 * 7").unwrap()), serde_json::json!(42));
}

#[test]
fn long_and_deep_expressions_end() {
    let body = || {
        for n in [60, 100, 4000, 100_000] {
            for text in [
                format!("{}1{}", "(".repeat(n), ")".repeat(n)),
                format!("{}1{}", "abs(".repeat(n), ")".repeat(n)),
                format!("{}1", "-".repeat(n)),
                format!("2{}", "^2".repeat(n)),
                format!("1{}", "+1".repeat(n)),
                format!("1{}", "*9".repeat(n)),
                "9".repeat(n),
                format!("0.{}", "1".repeat(n)),
            ] {
                let result = evaluate(&text);
                assert!(n < 5000 || result.is_err());
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 18).spawn(body).unwrap().join().unwrap();
}

/// Random texts of the grammar's own pieces: no panic, and a value is finite and prints as a number.
#[test]
fn random_expressions_have_finite_values_or_errors() {
    const PIECES: [&str; 36] = [
        "1",
        "0",
        "2.5",
        "1e10",
        "-",
        "+",
        "*",
        "/",
        "%",
        "^",
        "(",
        ")",
        ",",
        "pi",
        "e",
        "sqrt(",
        "round(",
        "log(",
        "max(",
        " ",
        "factorial(",
        "170",
        "mod",
        "340282366920938463463374607431768211455",
        "170141183460469231731687303715884105727",
        ".5",
        "gcd(",
        "lcm(",
        "ncr(",
        "1e-300",
        "1e308",
        "é",
        "∞",
        "pow(",
        "tan(",
        "99999",
    ];
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut values = 0;
    for _ in 0..40_000 {
        let mut text = String::new();
        for _ in 0..=(state >> 60) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(PIECES[(state % PIECES.len() as u64) as usize]);
        }
        state = state.wrapping_add(0x9e37_79b9);
        if let Ok(value) = evaluate(&text) {
            values += 1;
            assert!(value.as_f64().is_finite(), "{text}");
            assert!(value.to_string().parse::<f64>().is_ok(), "{text} gives {value}");
        }
    }
    assert!(values > 1000, "{values}");
}

fn written(expression: &str) -> String {
    serde_json::json!({"expression": expression}).to_string()
}

#[tokio::test]
async fn the_model_writes_and_the_grammar_calculates() {
    let model = ScriptedChat::texts([written("1,200 * 1.035"), written("1200 * 1.035")]);
    let chain = MathChain::new(model.clone()).reported();
    let report = chain.run("What are 1,200 euros with 3.5% more?").await.unwrap();
    assert_eq!(report.output, MathAnswer::new("1200 * 1.035", evaluate("1242").unwrap()));
    assert_eq!(report.notes("expression").collect::<Vec<_>>(), ["1,200 * 1.035", "1200 * 1.035"]);
    assert_eq!(report.usage.output_tokens, Some(6));
    let asked = model.requests();
    assert!(asked[0].messages[0].text().contains("hypot(x, y)"));
    assert_eq!(asked[0].messages[1].text(), "What are 1,200 euros with 3.5% more?");
    assert!(asked[1].messages[3].text().contains("a comma stands outside of a function"));
    assert!(!format!("{chain:?}").contains("euros"));
}

#[tokio::test]
async fn bad_models_are_clear_errors() {
    let kind = async |model: ScriptedChat| MathChain::new(model).run("2 + 2?").await.unwrap_err().kind();
    let refusal = Message::new(Role::Assistant, vec![Part::Refusal { text: "No.".into() }]);
    let cut = ChatResponse::new(Message::assistant("{\"expression\": \"1 +"), FinishReason::Length);
    assert_eq!(
        kind(ScriptedChat::new([Ok(ChatResponse::new(refusal, FinishReason::Stop))])).await,
        ErrorKind::Refused
    );
    assert_eq!(kind(ScriptedChat::new([Ok(cut)])).await, ErrorKind::InvalidOutput);
    for text in [
        String::new(),
        "four".to_owned(),
        "{\"expression\": ".to_owned(),
        written(""),
        written("import os"),
        written(&"1+".repeat(500_000)),
        format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)),
    ] {
        assert_eq!(kind(ScriptedChat::texts(vec![text; 3])).await, ErrorKind::InvalidOutput);
    }
    assert_eq!(kind(ScriptedChat::texts(["x"; 0])).await, ErrorKind::Unexpected);
    let empty = MathChain::new(ScriptedChat::texts(["x"; 0])).run(" ").await.unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::InvalidInput);
}

#[tokio::test]
async fn another_prompt_must_ask_the_question() {
    let chain = || MathChain::new(ScriptedChat::texts([written("1")]));
    let prompt = |text| ChatPrompt::fstring([(Role::User, text)]).unwrap();
    assert_eq!(chain().with_prompt(prompt("Calculate.")).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(chain().with_prompt(prompt("{question} {mood}")).unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(chain().with_prompt(prompt("{question}")).unwrap().run("one").await.unwrap().to_string(), "1");
}
