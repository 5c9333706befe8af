//! The README's component of a third party passes its suite; so do the forms that a maker can have.

use katena_core::{Chunk, Result, TextSplitter};

/// One chunk a line.
#[derive(Debug)]
struct LineSplitter;

impl TextSplitter for LineSplitter {
    fn split<'t>(&self, text: &'t str) -> Result<Vec<Chunk<'t>>> {
        let lines = text.split_inclusive('\n').scan(0, |at, line| {
            let offset = *at;
            *at += line.len();
            Some(Chunk { text: line, offset })
        });
        Ok(lines.filter(|line| !line.text.trim().is_empty()).collect())
    }

    fn fingerprint(&self) -> String {
        "lines/1".to_owned()
    }
}

katena_testkit::text_splitter_contract!(line_splitter, async { LineSplitter });
katena_testkit::text_splitter_contract!(boxed, async {
    Some(Box::new(LineSplitter) as Box<dyn TextSplitter>)
});
katena_testkit::text_splitter_contract!(with_a_folder, async {
    let folder = katena_testkit::fixtures::temp_dir();
    std::fs::write(folder.path().join("a"), "b").map(|()| (LineSplitter, folder))
});

#[test]
fn a_temporary_folder_is_removed() {
    let folder = katena_testkit::fixtures::temp_dir();
    let path = folder.path().to_owned();
    assert!(path.is_dir());
    drop(folder);
    assert!(!path.exists());
}
