use katena_core::ErrorKind;

use super::*;

fn table() -> PriceTable {
    PriceTable::empty("2026-01-31")
        .with_price("v", "m", Price::new(3.0, 15.0).with_cached(0.3).with_cache_write(3.75))
        .with_price("v", "m-mini", Price::new(1.0, 2.0))
        .with_price("v", "ft:*", Price::new(7.0, 7.0))
        .with_price("v", "ft:m:*", Price::new(8.0, 8.0))
        .with_price("v", "rank", Price::default().with_per_request(0.002))
        .with_price("v", "embed", Price { output: None, ..Price::new(0.02, 0.0) })
}

#[test]
fn the_builtin_table_is_read() {
    let table = PriceTable::builtin();
    assert_eq!(table.as_of().len(), "2025-01-01".len());
    let cost = table.cost("openai", "gpt-4o-mini-2024-07-18", &Usage::new(1_000_000, 1_000_000));
    assert_eq!(cost, Some(Cost::dollars(0.75)));
    assert_eq!(table.cost("azure", "gpt-4o-mini", &Usage::new(1_000_000, 0)), Some(Cost::dollars(0.15)));
    assert_eq!(table.cost("openai", "gpt-4o-audio-preview", &Usage::new(1, 1)), None, "no price by a prefix");
    assert_eq!(table.cost("anthropic", "claude-opus-4-9", &Usage::new(1, 1)), None);
    assert_eq!(table.cost("llama.cpp", "anything", &Usage::new(5, 5)), Some(Cost::ZERO));
    let above = table.price("gemini", "gemini-2.5-pro", 200_001).unwrap();
    assert_eq!((above.input, above.output), (Some(Cost::dollars(2.5)), Some(Cost::dollars(15.0))));
    assert_eq!(table.price("gemini", "gemini-2.5-pro", 200_000).unwrap().output, Some(Cost::dollars(10.0)));
}

#[test]
fn names_fit_exactly_by_version_or_by_star() {
    let table = table();
    let input = |model: &str| table.price("v", model, 0).map(|p| p.input.unwrap().as_dollars());
    for (model, price) in [
        ("m", Some(3.0)),
        ("m-20250101", Some(3.0)),
        ("m-2025-01-01", Some(3.0)),
        ("m@20250101", Some(3.0)),
        ("m-001", Some(3.0)),
        ("m-latest", Some(3.0)),
        ("m:latest", Some(3.0)),
        ("m-mini", Some(1.0)),
        ("m-mini-2025-01-01", Some(1.0)),
        ("m-maxi", None),
        ("mm", None),
        ("m-2025-01", None),
        ("ft:x", Some(7.0)),
        ("ft:m:x", Some(8.0)),
        ("", None),
    ] {
        assert_eq!(input(model), price, "{model}");
    }
    assert_eq!(table.price("w", "m", 0), None);
}

#[test]
fn cached_and_written_tokens_are_part_of_the_prompt() {
    let price = table().price("v", "m", 0).unwrap();
    let usage = Usage::new(1_000_000, 1_000_000).with_cached_tokens(400_000).with_cache_write_tokens(100_000);
    let expected = Cost::dollars(0.5 * 3.0 + 0.4 * 0.3 + 0.1 * 3.75 + 15.0);
    assert_eq!(price.cost(&usage), Some(expected));
    let plain = table().price("v", "m-mini", 0).unwrap();
    assert_eq!(plain.cost(&Usage::new(10, 0).with_cached_tokens(10)), Some(Cost::nanos(10_000)));
}

#[test]
fn unknown_is_never_nothing() {
    let table = table();
    assert_eq!(table.cost("v", "m", &Usage::default()), None);
    let mut half = Usage::new(1, 1);
    half.output_tokens = None;
    assert_eq!(table.cost("v", "m", &half), None);
    assert_eq!(table.cost("v", "embed", &half), Some(Cost::nanos(20)));
    assert_eq!(table.cost("v", "embed", &Usage::new(1, 1)), None, "answers have no price in this row");
    assert_eq!(table.cost("v", "rank", &Usage::default()), Some(Cost::dollars(0.002)));
    assert_eq!(table.cost("v", "other", &Usage::new(1, 1)), None);
    assert_eq!(Price::default().cost(&Usage::new(0, 0)), None);
}

#[test]
fn sums_are_exact_and_do_not_overflow() {
    let one = Price::new(0.1, 0.0).cost(&Usage::new(1, 0)).unwrap();
    assert_eq!(one, Cost::nanos(100));
    assert_eq!((0..30_000_000).map(|_| one).sum::<Cost>(), Cost::dollars(3.0));
    assert_eq!(Cost::nanos(u64::MAX) + one, Cost::nanos(u64::MAX));
    assert_eq!(Price::new(1e6, 1e6).cost(&Usage::new(u64::MAX, u64::MAX)), Some(Cost::nanos(u64::MAX)));
    assert_eq!(Cost::dollars(f64::NAN), Cost::ZERO);
    assert_eq!(Cost::nanos(1_500_000_000).to_string(), "$1.50");
    assert_eq!(Cost::ZERO.to_string(), "$0.00");
}

#[test]
fn a_bad_table_is_refused_with_its_place() {
    for (json, place) in [
        (r"[]", "/"),
        (r#"{"vendors":{}}"#, "as_of"),
        (r#"{"as_of":"x","vendors":{"v":{"m":{"input":-1}}}}"#, "v/m"),
        (r#"{"as_of":"x","vendors":{"v":{"m":{"input":"NaN"}}}}"#, "v/m"),
        (r#"{"as_of":"x","vendors":{"v":{"m":{"inptu":1}}}}"#, "v/m/inptu"),
        (r#"{"as_of":"x","vendors":{"v":{"m":{"above":{"input":1}}}}}"#, "v/m"),
        (r#"{"as_of":"x","extra":1}"#, "extra"),
    ] {
        let error = PriceTable::from_json(json).unwrap_err();
        assert_eq!((error.kind(), error.context("place")), (ErrorKind::InvalidInput, Some(place)), "{json}");
    }
    assert!(PriceTable::from_json("{").is_err());
}
