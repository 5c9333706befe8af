use super::*;

fn call(number: i64, anew: bool, written: i64) -> Call {
    Call { number, anew, written, messages: vec![format!("m{number}\0"), "{}".to_owned()] }
}

#[test]
fn a_call_survives_its_document() {
    for anew in [true, false] {
        let one = call(7, anew, 1_700_000_000_123);
        assert_eq!(Call::read(&one.document("s\0é")).unwrap(), one);
    }
    let mut newer = call(0, false, 0).document("s");
    newer.insert("v", VERSION + 1);
    assert_eq!(Call::read(&newer).unwrap_err().kind(), ErrorKind::Unsupported);
    for field in ["number", "anew", "written", "messages"] {
        let mut damaged = call(0, false, 0).document("s");
        damaged.insert(field, Bson::Null);
        assert_eq!(Call::read(&damaged).unwrap_err().kind(), ErrorKind::Unexpected, "{field}");
    }
}

#[test]
fn what_was_replaced_or_expired_does_not_count() {
    let all = vec![call(0, false, 10), call(1, true, 20), call(2, false, 30)];
    assert_eq!(standing(all.clone(), None, 1_000), all[1..]);
    assert_eq!(standing(all.clone(), Some(100), 129), all[1..]);
    assert_eq!(standing(all, Some(100), 130), []);
    assert_eq!(standing(Vec::new(), None, 0), []);
}

#[tokio::test]
async fn the_password_is_never_shown_and_plain_text_stays_here() {
    for url in
        ["mongodb://u:hunter2@[/x", "http://u:hunter2@localhost/x", "mongodb://u:hunter2@db.example.com/x"]
    {
        let error = MongoHistory::connect(url, HistoryOptions::new()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported), "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let options = |url: &'static str| async move { ClientOptions::parse(url).await.unwrap() };
    assert!(encryption(&options("mongodb://localhost/x").await).is_ok());
    assert!(encryption(&options("mongodb://127.0.0.1:7,localhost:8/x").await).is_ok());
    assert!(encryption(&options("mongodb://db.example.com/x?tls=true").await).is_ok());
    assert!(encryption(&options("mongodb://localhost,db.example.com/x").await).is_err());
}
