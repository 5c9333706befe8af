//! What a folder's loader takes, leaves and reports.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::path::Path;

use futures_util::StreamExt;
use katena_core::{DocumentLoader, ErrorKind};
use katena_loaders::{DirectoryLoader, Format, Limits, TextLoader};

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

async fn uris(loader: &DirectoryLoader) -> Vec<String> {
    let (documents, errors) = support::load(loader).await;
    assert!(errors.is_empty(), "{errors:?}");
    documents.into_iter().map(|d| d.source.uri).collect()
}

#[tokio::test]
async fn order_globs_depth_ignore_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(
        root,
        &[
            ("b.md", "b"),
            ("a/z.txt", "z"),
            ("a/deep/er/x.md", "x"),
            ("B.md", "B"),
            (".hidden.md", "h"),
            (".git/c.md", "c"),
            ("skip/me.md", "m"),
            ("drafts/d.md", "d"),
            ("a/drafts/d.md", "d"),
            (".gitignore", "skip/\n"),
            ("photo.jpeg", "j"),
            ("notes.xyz", "n"),
        ],
    );
    let all = DirectoryLoader::new(root);
    assert_eq!(
        uris(&all).await,
        ["B.md", "a/deep/er/x.md", "a/drafts/d.md", "a/z.txt", "b.md", "drafts/d.md"]
    );
    assert_eq!((all.counts().loaded, all.counts().unknown), (6, 2));
    assert_eq!(all.list().len(), 6);

    let make = || DirectoryLoader::new(root);
    assert_eq!(uris(&make().with_glob("*.txt")).await, ["a/z.txt"]);
    assert_eq!(
        uris(&make().with_glob("a/**/*.md").with_glob("b.md")).await,
        ["a/deep/er/x.md", "a/drafts/d.md", "b.md"]
    );
    assert_eq!(
        uris(&make().with_exclude("drafts").with_exclude("a/deep/**")).await,
        ["B.md", "a/z.txt", "b.md"]
    );
    assert_eq!(uris(&make().with_max_depth(1)).await, ["B.md", "b.md"]);
    assert_eq!(uris(&make().with_glob("*.xyz").with_format("xyz", Format::Text)).await, ["notes.xyz"]);
    assert_eq!(uris(&DirectoryLoader::new(root.join("a/z.txt"))).await, ["z.txt"], "a file is a root of one");

    let (documents, errors) = support::load(&make().with_glob("[")).await;
    assert!(documents.is_empty());
    assert_eq!((errors.len(), errors[0].kind()), (1, ErrorKind::Config));
}

#[tokio::test]
async fn a_missing_root_is_an_incomplete_listing() {
    let (documents, errors) = support::load(&DirectoryLoader::new("/no/such/folder")).await;
    assert!(documents.is_empty());
    assert_eq!((errors.len(), errors[0].kind(), errors[0].context("uri")), (1, ErrorKind::NotFound, None));
}

#[tokio::test]
async fn limits_are_the_files_own() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a.txt", "four"), ("b.txt", "more than four"), ("c.txt", "c")]);
    let loader = DirectoryLoader::new(folder.path()).with_limits(Limits::default().with_max_bytes(4));
    for loader in [loader.clone(), loader.with_parser(support::workers())] {
        let (documents, errors) = support::load(&loader).await;
        assert_eq!(documents.len(), 2);
        assert_eq!(errors[0].context("uri"), Some("b.txt"));
        assert!(errors[0].message().contains("4 bytes"));
        assert_eq!((loader.counts().loaded, loader.counts().failed), (2, 1));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn links_and_pipes() {
    use std::os::unix::fs::symlink;

    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), &[("secret.txt", "secret"), ("sub/secret.md", "secret")]);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write(root, &[("a.txt", "a"), ("in/b.txt", "b")]);
    symlink(outside.path().join("secret.txt"), root.join("out.txt")).unwrap();
    symlink(outside.path().join("sub"), root.join("outfolder")).unwrap();
    symlink("../a.txt", root.join("in/to-a.txt")).unwrap();
    symlink(".", root.join("in/loop")).unwrap();
    symlink("nowhere.txt", root.join("dangling.txt")).unwrap();
    let pipe = root.join("pipe.txt");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());

    let loader = DirectoryLoader::new(root);
    assert_eq!(uris(&loader).await, ["a.txt", "in/b.txt", "in/to-a.txt"]);
    assert_eq!((loader.counts().links, loader.counts().special), (4, 1));

    let (_, errors) = support::load(&TextLoader::new(&pipe)).await;
    assert!(errors[0].message().contains("pipe"), "{errors:?}");
    let (_, errors) = support::load(&TextLoader::new(root)).await;
    assert!(errors[0].message().contains("folder"), "{errors:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_can_not_be_read_is_reported() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a.txt", "a"), ("locked/b.txt", "b"), ("c.txt", "c")]);
    let chmod = |name: &str, mode| {
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    chmod("locked", 0o000);
    chmod("a.txt", 0o000);
    let root_may = std::fs::read(folder.path().join("a.txt")).is_ok();
    let (documents, errors) = support::load(&DirectoryLoader::new(folder.path())).await;
    chmod("locked", 0o700);
    if root_may {
        // The superuser reads everything.
        assert_eq!((documents.len(), errors.len()), (3, 0));
        return;
    }
    assert_eq!(documents.len(), 1);
    assert_eq!(errors.iter().filter(|e| e.kind() == ErrorKind::PermissionDenied).count(), 2, "{errors:?}");
    assert!(errors.iter().any(|e| e.context("uri") == Some("a.txt")));
    assert!(errors.iter().any(|e| e.context("uri").is_none()));
}

#[test]
fn without_a_runtime_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a.txt", "a")]);
    for loader in [
        Box::new(DirectoryLoader::new(folder.path())) as Box<dyn DocumentLoader>,
        Box::new(TextLoader::new(folder.path().join("a.txt"))),
        Box::new(TextLoader::new(folder.path().join("a.txt")).with_parser(support::workers())),
    ] {
        let items: Vec<_> = futures_util::FutureExt::now_or_never(loader.load().collect()).unwrap();
        let items: Vec<katena_core::Result<_>> = items;
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].as_ref().unwrap_err().kind(), ErrorKind::Config);
    }
}
