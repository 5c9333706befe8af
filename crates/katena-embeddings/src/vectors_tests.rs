use katena_core::ErrorKind;
use serde_json::json;

use super::*;

fn vector(raw: Value) -> Result<Vec<f32>> {
    from_value::<Vector>(raw).map(|v| v.0)
}

#[test]
fn both_forms_are_read() {
    assert_eq!(vector(json!([1, -0.5, 2e-3])).unwrap(), [1.0, -0.5, 0.002]);
    // 1.0 and -2.0, little-endian, with and without padding.
    assert_eq!(vector(json!("AACAPwAAAMA=")).unwrap(), [1.0, -2.0]);
    assert_eq!(vector(json!("AACAPwAAAMA")).unwrap(), [1.0, -2.0]);
    for bad in
        [json!("AACAPw=A"), json!("AAAA"), json!([1, null]), json!(["1"]), json!({}), json!(null), json!(1)]
    {
        assert_eq!(vector(bad.clone()).unwrap_err().kind(), ErrorKind::InvalidOutput, "{bad}");
    }
}

#[test]
fn nested_vectors_are_unwrapped_once() {
    let nested = |raw| from_value::<Nested>(raw).map(|n| n.0.0);
    assert_eq!(nested(json!([[1, 2]])).unwrap(), [1.0, 2.0]);
    assert_eq!(nested(json!([1, 2])).unwrap(), [1.0, 2.0]);
    assert!(format!("{:?}", nested(json!([[1], [2]])).unwrap_err()).contains("pooling"));
}

#[test]
fn numbers_decide_the_order() {
    assert_eq!(in_order(vec![(Some(1), 'b'), (Some(0), 'a')]).unwrap(), ['a', 'b']);
    assert_eq!(in_order(vec![(None, 'b'), (None, 'a')]).unwrap(), ['b', 'a']);
    for bad in [
        vec![(Some(0), 'a'), (Some(0), 'b')],
        vec![(Some(0), 'a'), (Some(2), 'b')],
        vec![(Some(0), 'a'), (None, 'b')],
    ] {
        assert_eq!(in_order(bad).unwrap_err().kind(), ErrorKind::InvalidOutput);
    }
}

#[test]
fn wrong_batches_are_refused() {
    let good = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
    assert!(check(&good, 2, Some(2)).is_ok() && check(&good, 2, None).is_ok());
    for (vectors, texts, dimensions) in [
        (good.clone(), 3, Some(2)),
        (good.clone(), 1, Some(2)),
        (good.clone(), 2, Some(3)),
        (vec![vec![1.0], vec![1.0, 2.0]], 2, None),
        (vec![vec![f32::NAN, 0.0]], 1, Some(2)),
        (vec![vec![1e300_f64 as f32, 0.0]], 1, Some(2)),
        (vec![vec![]], 1, None),
    ] {
        assert_eq!(check(&vectors, texts, dimensions).unwrap_err().kind(), ErrorKind::InvalidOutput);
    }
}

#[test]
fn lengths_become_one() {
    let mut vector = [3.0, 4.0];
    normalize(&mut vector).unwrap();
    assert_eq!(vector, [0.6, 0.8]);
    assert!(normalize(&mut [0.0, 0.0]).is_err());
    let mut tiny = [1e-30_f32, 0.0];
    normalize(&mut tiny).unwrap();
    assert_eq!(tiny, [1.0, 0.0]);
}

#[test]
fn an_error_in_a_reply_of_success_is_one() {
    assert!(no_error(None).is_ok() && no_error(Some(&Value::Null)).is_ok());
    let error = no_error(Some(&json!({"message": "slow down", "code": "rate_limit_exceeded"}))).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::RateLimited, "slow down"));
    assert_eq!(no_error(Some(&json!("broken"))).unwrap_err().message(), "broken");
}
