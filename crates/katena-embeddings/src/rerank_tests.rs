use katena_core::ErrorKind;
use serde_json::json;

use super::*;

fn pairs(raw: Value) -> Vec<(usize, f32)> {
    decode_rerank(raw).unwrap().into_iter().map(|r| (r.item, r.score)).collect()
}

#[test]
fn all_shapes_are_read_and_sorted() {
    let want = [(1, 0.75), (0, 0.5), (2, 0.5)];
    assert_eq!(
        pairs(json!({"results": [
            {"index": 2, "relevance_score": 0.5}, {"index": 1, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.5}
        ], "id": "x", "unknown": 1})),
        want
    );
    assert_eq!(
        pairs(json!({"object": "list", "data": [
            {"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": 0.75}, {"index": 2, "relevance_score": 0.5}
        ]})),
        want
    );
    assert_eq!(
        pairs(json!([{"index": 0, "score": 0.5}, {"index": 1, "score": 0.75}, {"index": 2, "score": 0.5}])),
        want
    );
    assert_eq!(pairs(json!({"results": [{"index": 0, "relevanceScore": -3}]})), [(0, -3.0)]);
    assert_eq!(pairs(json!({"results": []})), []);
}

#[test]
fn anything_else_is_an_error() {
    for bad in [
        json!({}),
        json!({"results": 1}),
        json!("x"),
        json!([{"index": 0}]),
        json!([{"score": 1}]),
        json!([{"index": -1, "score": 1}]),
        json!([{"index": 0, "score": 1}, {"index": 0, "score": 2}]),
        json!([{"index": 0, "score": 1e300}]),
        json!([{"index": 0, "score": null}]),
    ] {
        assert_eq!(decode_rerank(bad.clone()).unwrap_err().kind(), ErrorKind::InvalidOutput, "{bad}");
    }
    let error =
        decode_rerank(json!({"error": {"message": "no", "type": "authentication_error"}})).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
}
