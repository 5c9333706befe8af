use std::time::Duration;

use super::*;

fn history(folder: &Path) -> JsonlHistory {
    JsonlHistory::open(folder, HistoryOptions::new()).unwrap()
}

fn turn(n: usize) -> Vec<Message> {
    vec![Message::user(format!("q{n}")), Message::assistant(format!("a{n}"))]
}

#[test]
fn names_are_safe_on_every_file_system() {
    let long = "x".repeat(5000);
    let names = [
        "a",
        "A",
        "",
        "../x",
        "/etc/passwd",
        "a\0b",
        "CON",
        "con",
        "a.",
        "a ",
        "é",
        "e\u{301}",
        &long,
        &long[1..],
    ];
    let mut stems: Vec<String> = names.iter().map(|n| stem(n)).collect();
    for stem in &stems {
        assert!(stem.len() <= MAX_NAME, "{stem}");
        assert!(stem.starts_with("s-") || stem.starts_with("h-"));
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_=".contains(c);
        assert!(stem.chars().all(plain), "{stem}");
    }
    stems.sort();
    stems.dedup();
    assert_eq!(stems.len(), names.len());
}

#[tokio::test]
async fn a_line_that_was_cut_off_is_dropped_and_the_next_call_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let history = history(dir.path());
    history.append("s", turn(1)).await.unwrap();
    history.append("s", turn(2)).await.unwrap();
    let path = history.path(&stem("s"));
    let whole = std::fs::read(&path).unwrap();
    let first = whole_lines(&whole[..whole.len() - 1]);
    for cut in first + 1..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(history.messages("s").await.unwrap(), turn(1), "{cut}");
        assert_eq!(history.count("s").await.unwrap(), 2);
        history.append("s", turn(3)).await.unwrap();
        assert_eq!(history.messages("s").await.unwrap(), [turn(1), turn(3)].concat(), "{cut}");
    }
    // Cut in the first line: nothing was kept yet.
    std::fs::write(&path, &whole[..5]).unwrap();
    assert!(history.messages("s").await.unwrap().is_empty());
    assert!(history.sessions(None, 9).await.unwrap().is_empty());
    history.append("s", turn(4)).await.unwrap();
    assert_eq!(history.messages("s").await.unwrap(), turn(4));
}

#[tokio::test]
async fn damage_in_the_middle_and_newer_files_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let history = history(dir.path());
    history.append("s", turn(1)).await.unwrap();
    history.append("s", turn(2)).await.unwrap();
    let path = history.path(&stem("s"));
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replacen("[{\"role", "[{\"rule", 1)).unwrap();
    let error = history.messages("s").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unexpected);
    assert_eq!(error.context("line"), Some("2"));
    std::fs::write(&path, whole.replacen("\"katena_history\":1", "\"katena_history\":2", 1)).unwrap();
    assert_eq!(history.messages("s").await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn idle_sessions_expire_by_the_time_of_their_file() {
    let dir = tempfile::tempdir().unwrap();
    let options = HistoryOptions::new().with_ttl(Duration::from_secs(3600));
    let history = JsonlHistory::open(dir.path(), options).unwrap();
    history.append("old", turn(1)).await.unwrap();
    history.append("new", turn(2)).await.unwrap();
    let age = |name: &str| {
        let file = OpenOptions::new().write(true).open(history.path(&stem(name))).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3601)).unwrap();
    };
    age("old");
    assert!(history.messages("old").await.unwrap().is_empty());
    assert_eq!(history.sessions(None, 9).await.unwrap(), ["new"]);
    history.append("old", turn(3)).await.unwrap();
    assert_eq!(history.messages("old").await.unwrap(), turn(3), "what had expired does not come back");
    age("old");
    assert_eq!(history.remove_expired().await.unwrap(), 1);
    assert_eq!(history.messages("new").await.unwrap(), turn(2));
}

/// Another process may clear a session between the listing of the files and the look at one.
#[tokio::test]
async fn a_session_that_vanished_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    for options in [HistoryOptions::new(), HistoryOptions::new().with_ttl(Duration::from_secs(3600))] {
        let history = JsonlHistory::open(dir.path(), options).unwrap();
        history.append("s", turn(1)).await.unwrap();
        let path = history.path(&stem("s"));
        assert!(history.is_live(&path).unwrap());
        history.clear("s").await.unwrap();
        assert!(!history.is_live(&path).unwrap());
    }
}
