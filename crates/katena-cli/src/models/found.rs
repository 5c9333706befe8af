//! What lies in the models folder: each GGUF file's own words about itself.

use std::path::{Path, PathBuf};

use katena_llama_cpp::ModelMetadata;

use crate::failure::Result;
use crate::output::printable;

/// How deep the folder is looked through: a hub's files lie four folders down.
const MAX_DEPTH: usize = 6;
/// Most files that are listed.
const MAX_FILES: usize = 1000;

/// One paragraph a file, in the order of their paths; nothing if there is none.
pub(super) fn text(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(folder, MAX_DEPTH, &mut files)?;
    files.sort();
    let mut text = String::new();
    for path in files {
        if text.is_empty() {
            text.push_str("GGUF files in the folder\n");
        }
        text.extend(["  ", &printable(&path.display().to_string()), "\n    ", &line(&path), "\n"]);
    }
    Ok(text)
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // A link may lead back up.
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, files)?;
        } else if !kind.is_dir() && path.extension().is_some_and(|e| e == "gguf") && files.len() < MAX_FILES {
            files.push(path);
        }
    }
    Ok(())
}

/// `llama, Q4_1, 134515008 parameters, 8192 tokens of context, 98362432 bytes`.
fn line(path: &Path) -> String {
    let model = match ModelMetadata::read(path) {
        Ok(model) => model,
        Err(error) => return format!("not readable: {}", printable(&error.to_string())),
    };
    let context = model.context_tokens.map_or_else(String::new, |n| format!(", {n} tokens of context"));
    let role = match (model.embedder, model.reranker) {
        (true, _) => ", embedder",
        (_, true) => ", reranker",
        _ => "",
    };
    let (architecture, kind) = (printable(&model.architecture), &model.quantisation);
    let (parameters, bytes) = (model.parameters, model.file_bytes);
    format!("{architecture}, {kind}, {parameters} parameters{context}, {bytes} bytes{role}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_listed_wherever_they_lie_and_broken_ones_say_so() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(text(&dir.path().join("none")).unwrap(), "");
        assert_eq!(text(dir.path()).unwrap(), "");
        let deep = dir.path().join("owner/model/main");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("broken.gguf"), "hello").unwrap();
        std::fs::write(deep.join("other.txt"), "hello").unwrap();
        let listed = text(dir.path()).unwrap();
        assert!(listed.contains("broken.gguf\n    not readable: "), "{listed}");
        assert!(!listed.contains("other.txt"));
    }
}
