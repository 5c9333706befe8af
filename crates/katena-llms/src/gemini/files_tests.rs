use super::*;

#[test]
fn files_of_replies() {
    let file = |state: &str| json!({"name": "files/a", "uri": "https://x/files/a", "mimeType": "video/mp4", "sizeBytes": "12", "state": state});
    let got = file_of(&file("PROCESSING")).unwrap();
    assert_eq!((got.name.as_str(), got.bytes, got.ready), ("files/a", Some(12), false));
    assert!(file_of(&file("ACTIVE")).unwrap().ready);
    assert!(
        matches!(got.part(), Part::Video { media: Media::Url { mime: Some(m), .. } } if m == "video/mp4")
    );
    let mut failed = file("FAILED");
    failed["error"] = json!({"message": "no frames"});
    let error = file_of(&failed).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidOutput && error.message().contains("no frames"), "{error}");
    assert!(file_of(&json!({})).is_err());
}

#[test]
fn names_lead_nowhere_else() {
    assert_eq!(path("files/a-1").unwrap(), "files/a-1");
    assert_eq!(path("a-1").unwrap(), "files/a-1");
    for bad in ["", "files/", "files/a/b", "a/../b"] {
        assert_eq!(path(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
    }
}

#[test]
fn the_base_address_moves_both_routes() {
    let files = GeminiFiles::new("k").with_base_url("http://localhost:1/v1beta/").unwrap();
    assert_eq!(files.endpoint.base().as_str(), "http://localhost:1/v1beta/");
    assert_eq!(files.upload.join("files").unwrap().as_str(), "http://localhost:1/upload/v1beta/files");
}
