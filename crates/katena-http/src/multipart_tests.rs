use katena_core::ErrorKind;

use super::*;

fn text(form: &Form) -> (String, String) {
    let body = form.encode().unwrap();
    let boundary = body.content_type.split_once("boundary=").unwrap().1.to_owned();
    (String::from_utf8(body.bytes.to_vec()).unwrap(), boundary)
}

#[test]
fn fields_and_files_in_order() {
    let form =
        Form::new().with_text("purpose", "user_data").with_file("file", "ü a.pdf", "application/pdf", "%PDF");
    let (body, boundary) = text(&form);
    let expected = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"ü a.pdf\"\r\n\
         Content-Type: application/pdf\r\n\r\n%PDF\r\n--{boundary}--\r\n"
    );
    assert_eq!(body, expected);
}

#[test]
fn no_name_adds_a_header_or_a_part() {
    let evil = "a\"\r\nContent-Type: text/html\r\n\r\n<b>\0";
    let (body, boundary) = text(&Form::new().with_file(evil, evil, "text/plain", "x"));
    assert_eq!(body.matches("Content-Type").count(), 3, "twice as part of a name, once as a header");
    assert_eq!(body.lines().filter(|l| l.starts_with("Content-")).count(), 2);
    assert_eq!(body.matches(&boundary).count(), 2);
    assert!(body.contains("name=\"a%22%0D%0AContent-Type: text/html%0D%0A%0D%0A<b>\""), "{body}");
}

#[test]
fn what_cant_be_sent_is_invalid_input() {
    let kinds = [
        Form::new().with_file("f", "n", "text/plain\r\nX: y", "x").encode(),
        Form::new().with_file("f", "n", "", "x").encode(),
        Form::new().with_max_bytes(64).with_text("f", "x".repeat(64)).encode(),
    ];
    for result in kinds {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn debug_shows_no_content() {
    let form = Form::new().with_text("prompt", "secret words");
    let shown = format!("{form:?} {:?}", form.encode().unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}
