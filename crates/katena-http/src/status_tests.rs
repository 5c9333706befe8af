use serde_json::json;

use super::*;

fn kind(status: u16, body: &Value) -> ErrorKind {
    ErrorDetails::from_value(body).unwrap_or_default().kind(Some(status))
}

#[test]
fn statuses_become_kinds() {
    let table = [
        (400, ErrorKind::InvalidInput),
        (401, ErrorKind::Unauthenticated),
        (402, ErrorKind::QuotaExceeded),
        (403, ErrorKind::PermissionDenied),
        (404, ErrorKind::NotFound),
        (405, ErrorKind::Config),
        (408, ErrorKind::Timeout),
        (409, ErrorKind::Unavailable),
        (413, ErrorKind::InvalidInput),
        (422, ErrorKind::InvalidInput),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
        (529, ErrorKind::Unavailable),
        (301, ErrorKind::Config),
    ];
    for (status, expected) in table {
        assert_eq!(kind(status, &json!({"error": {"message": "x"}})), expected, "{status}");
        assert_eq!(kind(status, &json!(null)), expected, "{status} without a body");
    }
}

#[test]
fn codes_say_more_than_the_status() {
    let long = json!({"error": {"message": "too long", "code": "context_length_exceeded"}});
    assert_eq!(kind(400, &long), ErrorKind::ContextTooLong);
    assert_eq!(kind(413, &long), ErrorKind::ContextTooLong);
    let llama = json!({"error": {"code": 400, "type": "exceed_context_size_error", "n_ctx": 4096,
        "message": "request (9000 tokens) exceeds the available context size (4096 tokens)"}});
    assert_eq!(kind(400, &llama), ErrorKind::ContextTooLong);
    let quota =
        json!({"error": {"message": "pay", "type": "insufficient_quota", "code": "insufficient_quota"}});
    assert_eq!(kind(429, &quota), ErrorKind::QuotaExceeded);
    let filter = json!({"error": {"message": "no", "code": "content_filter"}});
    assert_eq!(kind(400, &filter), ErrorKind::Refused);
    // A rate limit that mentions tokens is none of these.
    let rate = json!({"error": {"message": "Rate limit reached: tokens per min", "type": "tokens", "code": "rate_limit_exceeded"}});
    assert_eq!(kind(429, &rate), ErrorKind::RateLimited);
}

#[test]
fn every_shape_of_error_is_read() {
    let message = |v: Value| ErrorDetails::from_value(&v).map(|d| d.message);
    assert_eq!(message(json!({"error": {"message": "a"}})).as_deref(), Some("a"));
    assert_eq!(message(json!({"error": "b"})).as_deref(), Some("b"));
    assert_eq!(message(json!({"message": "c"})).as_deref(), Some("c"));
    assert_eq!(message(json!({"detail": [{"msg": "d"}]})).as_deref(), Some(r#"[{"msg":"d"}]"#));
    assert_eq!(message(json!([{"error": {"message": "e"}}])).as_deref(), Some("e"));
    assert_eq!(message(json!({"error": {"odd": 1}})).as_deref(), Some(r#"{"odd":1}"#));
    assert_eq!(message(json!({"error": null, "choices": []})), None);
    assert_eq!(message(json!("x")), None);
    let code = ErrorDetails::from_value(&json!({"error": {"message": "m", "code": 429}})).unwrap();
    assert_eq!(code.kind(None), ErrorKind::RateLimited);
    assert_eq!(code.into_error(None).status(), Some(429));
}

#[test]
fn retry_after_in_all_forms() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_696_004_797);
    let table = [
        (Some("20"), Some(20.0)),
        (Some("0"), Some(0.0)),
        (Some("0.25"), Some(0.25)),
        (Some("-10"), None),
        (Some("121"), Some(121.0)),
        (Some("Fri, 29 Sep 2023 16:26:57 GMT"), Some(20.0)),
        (Some("Fri, 29 Sep 2023 16:26:27 GMT"), Some(0.0)),
        (Some("99999999999999999999999999999999999"), None),
        (Some("inf"), None),
        (Some("nan"), None),
        (Some("Zun, 29 Sep 2023 16:26:27 GMT"), None),
        (Some("Fri, 29 Sep 100000 16:26:57 GMT"), None),
        (Some(""), None),
        (None, None),
    ];
    for (value, expected) in table {
        let expected = expected.map(Duration::from_secs_f64);
        assert_eq!(parse_retry_after(None, value, now), expected, "{value:?}");
    }
    assert_eq!(parse_retry_after(Some("1500"), Some("20"), now), Some(Duration::from_millis(1500)));
    assert_eq!(parse_retry_after(Some("soon"), Some("20"), now), Some(Duration::from_secs(20)));
    let many = format!("2{}", "0".repeat(299));
    assert_eq!(parse_retry_after(Some(&many), None, now), None);
}

#[test]
fn what_googles_errors_say_beside_the_message() {
    let details = |list: serde_json::Value| {
        let body =
            json!({"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT", "details": list}});
        ErrorDetails::from_value(&body).unwrap()
    };
    let retry =
        json!([{"@type": "x/google.rpc.Help"}, {"@type": "x/google.rpc.RetryInfo", "retryDelay": "34.5s"}]);
    assert_eq!(details(retry).into_error(Some(429)).retry_after(), Some(Duration::from_millis(34_500)));
    assert_eq!(details(json!([{"retryDelay": "soon"}])).into_error(Some(429)).retry_after(), None);
    assert_eq!(details(json!([{"retryDelay": 3}, 7, null])).retry_after, None);
    let key =
        json!([{"@type": "x/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]);
    assert_eq!(details(key).kind(Some(400)), ErrorKind::Unauthenticated);
    assert_eq!(details(json!("text")).kind(Some(400)), ErrorKind::InvalidInput);
}

#[test]
fn exceptions_of_aws() {
    let kind = |name: &str, status| {
        let body = json!({"__type": format!("com.amazon.coral.service#{name}"), "Message": "why"});
        let details = ErrorDetails::from_value(&body).unwrap();
        assert_eq!(details.message, "why");
        details.kind(status)
    };
    assert_eq!(kind("ThrottlingException", Some(400)), ErrorKind::RateLimited);
    assert_eq!(kind("throttlingException:http://x/", None), ErrorKind::RateLimited);
    assert_eq!(kind("ServiceQuotaExceededException", Some(400)), ErrorKind::QuotaExceeded);
    assert_eq!(kind("ExpiredTokenException", Some(403)), ErrorKind::Unauthenticated);
    assert_eq!(kind("SignatureDoesNotMatch", Some(403)), ErrorKind::Unauthenticated);
    assert_eq!(kind("ModelErrorException", Some(424)), ErrorKind::Unavailable);
    assert_eq!(kind("AccessDeniedException", Some(400)), ErrorKind::PermissionDenied);
    // Names that are no exception of AWS say nothing: the status counts.
    assert_eq!(kind("validation", Some(401)), ErrorKind::Unauthenticated);
    assert_eq!(kind("NewException", Some(503)), ErrorKind::Unavailable);
}
