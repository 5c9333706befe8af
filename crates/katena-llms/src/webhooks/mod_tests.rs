use serde_json::json;

use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const TIME: u64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
/// The example of the standard's own libraries.
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(TIME)
}

fn verifier() -> WebhookVerifier {
    WebhookVerifier::new(SECRET).unwrap()
}

fn check(id: &str, time: &str, signature: &str, body: &[u8]) -> Result<WebhookEvent> {
    let headers = [("webhook-id", id), ("WEBHOOK-TIMESTAMP", time), ("Webhook-Signature", signature)];
    verifier().verify(headers, body, now())
}

#[test]
fn the_example_of_the_standard() {
    assert_eq!(verifier().sign(ID, TIME, BODY), SIGNATURE);
    let event = check(ID, &TIME.to_string(), SIGNATURE, BODY).unwrap();
    assert_eq!((event.webhook_id.as_str(), event.sent_at), (ID, now()));
    assert_eq!(event.kind, WebhookKind::Other(String::new()));
}

#[test]
fn every_changed_byte_is_refused() {
    let time = TIME.to_string();
    let flip = |text: &str, at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1;
        String::from_utf8(bytes).unwrap()
    };
    for at in 0..BODY.len() {
        let mut body = BODY.to_vec();
        body[at] ^= 1;
        assert!(check(ID, &time, SIGNATURE, &body).is_err(), "body {at}");
    }
    for at in 0..ID.len() {
        assert!(check(&flip(ID, at), &time, SIGNATURE, BODY).is_err(), "id {at}");
    }
    for at in 0..time.len() {
        assert!(check(ID, &flip(&time, at), SIGNATURE, BODY).is_err(), "time {at}");
    }
    for at in 0..SIGNATURE.len() {
        assert!(check(ID, &time, &flip(SIGNATURE, at), BODY).is_err(), "signature {at}");
    }
    let other = WebhookVerifier::new("whsec_AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let headers = [("webhook-id", ID), ("webhook-timestamp", &time), ("webhook-signature", SIGNATURE)];
    assert_eq!(other.verify(headers, BODY, now()).unwrap_err().kind(), ErrorKind::Unauthenticated);
    assert!(other.with_secret(SECRET).unwrap().verify(headers, BODY, now()).is_ok());
}

#[test]
fn several_signatures() {
    let time = TIME.to_string();
    let many = format!("v2,abc v1,bm90IGl0 {SIGNATURE} v1,");
    assert!(check(ID, &time, &many, BODY).is_ok());
    assert!(check(ID, &time, &SIGNATURE.replace("v1,", "v2,"), BODY).is_err());
    assert!(check(ID, &time, "", BODY).is_err());
    // Beyond the limit nothing is looked at.
    let flood = format!("{}{SIGNATURE}", "v1,AAAA ".repeat(MAX_SIGNATURES));
    assert!(check(ID, &time, &flood, BODY).is_err());
}

#[test]
fn five_minutes_both_ways() {
    let at = |seconds: i64| {
        let sent = TIME.checked_add_signed(seconds).unwrap();
        let signature = verifier().sign(ID, sent, BODY);
        check(ID, &sent.to_string(), &signature, BODY).is_ok()
    };
    assert!(at(-300) && at(300) && at(0));
    assert!(!at(-301) && !at(301));
    for bad in ["", "-1", "+1614265330", "1614265330.0", "0x6037", "99999999999999999999", " "] {
        assert!(check(ID, bad, SIGNATURE, BODY).is_err(), "{bad}");
    }
}

#[test]
fn headers_that_are_missing_or_doubled() {
    let time = TIME.to_string();
    let all = [("webhook-id", ID), ("webhook-timestamp", time.as_str()), ("webhook-signature", SIGNATURE)];
    for missing in 0..3 {
        let some = all.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, h)| *h);
        assert!(verifier().verify(some, BODY, now()).is_err());
    }
    let doubled = all.into_iter().chain([("Webhook-Id", ID)]);
    assert!(verifier().verify(doubled, BODY, now()).is_err());
    let bytes = all.into_iter().map(|(n, v)| (n.to_owned(), v.as_bytes().to_vec()));
    assert!(verifier().verify(bytes, BODY, now()).is_ok());
}

#[test]
fn secrets() {
    let kind = |secret: &str| WebhookVerifier::new(secret).err().map(|e| e.kind());
    assert_eq!(kind("whsec_c2hvcnQ="), Some(ErrorKind::Config));
    assert_eq!(kind("whsec_not base64"), Some(ErrorKind::Config));
    assert_eq!(kind("  "), Some(ErrorKind::Config));
    assert_eq!(kind("a plain secret of any form"), None);
    let plain = WebhookVerifier::new("hidden-secret").unwrap();
    assert!(!format!("{plain:?}").contains("hidden"));
    let bad = WebhookVerifier::new("whsec_hidden!").unwrap_err();
    assert!(!format!("{bad:?}").contains("hidden"));
    let from = |value: &'static str| WebhookVerifier::from_lookup("X", move |_| Some(value.to_owned()));
    assert!(from(SECRET).is_ok());
    assert_eq!(from(" ").unwrap_err().kind(), ErrorKind::Unauthenticated);
}

#[test]
fn events_of_both_vendors() {
    let read = |body: serde_json::Value| {
        let body = body.to_string();
        let signature = verifier().sign(ID, TIME, body.as_bytes());
        check(ID, &TIME.to_string(), &signature, body.as_bytes()).unwrap()
    };
    let event = read(json!({"id": "evt_1", "object": "event", "type": "response.completed", "created_at": 1,
        "data": {"id": "resp_1"}}));
    assert_eq!((event.kind, event.subject.as_deref()), (WebhookKind::ResponseCompleted, Some("resp_1")));
    let event = read(json!({"id": "evt_2", "type": "realtime.call.incoming", "data": {"call_id": "rtc_1"}}));
    assert_eq!((event.kind, event.subject.as_deref()), (WebhookKind::RealtimeCallIncoming, Some("rtc_1")));
    let event = read(json!({"id": "whe_1", "type": "event", "created_at": "2026-01-01T00:00:00Z",
        "data": {"type": "session.status_idled", "id": "sesn_1", "organization_id": "o", "workspace_id": "w"}}));
    assert_eq!((event.kind, event.subject.as_deref()), (WebhookKind::SessionStatusIdled, Some("sesn_1")));
    let event = read(json!({"type": "thing.happened", "data": {"x": 1}}));
    assert_eq!((event.kind, event.id), (WebhookKind::Other("thing.happened".into()), None));
    assert_eq!(event.data, json!({"x": 1}));
    assert!(!format!("{:?}", read(json!({"type": "a", "data": {"note": "hidden"}}))).contains("hidden"));
}

#[test]
fn a_verified_body_that_is_no_object() {
    for body in [&b"not json"[..], b"[1]", b"", b"\xFF"] {
        let signature = verifier().sign(ID, TIME, body);
        let error = check(ID, &TIME.to_string(), &signature, body).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{body:?}");
    }
}

#[test]
fn every_kind_has_its_word() {
    for kind in WebhookKind::KNOWN {
        assert_eq!(WebhookKind::of(kind.as_str()), *kind);
    }
    let openai = WebhookKind::KNOWN.iter().filter(|k| {
        ["response.", "batch.", "fine_tuning.", "eval.", "realtime.", "live."]
            .iter()
            .any(|start| k.as_str().starts_with(start))
    });
    assert_eq!(openai.count(), 16);
}
