//! Rules about source lines: length of files, tests that don't run, printing in libraries.

use std::path::{Path, PathBuf};

/// A source file may have so many lines besides its tests.
const LIMIT: usize = 800;

/// All files below `dir` with one of the endings, sorted; build outputs and hidden folders left out.
pub(crate) fn files(dir: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let kind = entry.file_type();
            if kind.as_ref().is_ok_and(|k| k.is_dir()) {
                if !name.starts_with('.') && name != "target" {
                    open.push(path);
                }
            } else if kind.is_ok_and(|k| k.is_file()) && endings.iter().any(|e| name.ends_with(e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Files below `src/` that are compiled for tests only, by their names.
fn is_test(name: &str) -> bool {
    name.ends_with("tests.rs") || name.ends_with("/testing.rs") || name.contains("/tests/")
}

/// What a Rust file breaks; `name` is its path for people.
pub(crate) fn rust(name: &str, text: &str) -> Vec<String> {
    let mut found = doc(name, text);
    let in_library = !is_test(name)
        && name.starts_with("crates/")
        && name.contains("/src/")
        && !["crates/katena-cli/", "crates/katena-testkit/"].iter().any(|p| name.starts_with(p))
        && !name.ends_with("/main.rs")
        && !name.contains("/bin/");
    let mut lines = 0;
    let mut test_module = false;
    let mut attribute = false;
    for (n, line) in text.lines().enumerate() {
        let at = n + 1;
        let code = line.trim_start();
        if test_module {
            test_module = line != "}";
            continue;
        }
        if attribute && code.starts_with("mod ") && code.ends_with('{') {
            test_module = true;
            lines -= 1;
            attribute = false;
            continue;
        }
        attribute = line == "#[cfg(test)]" || (attribute && code.starts_with("#["));
        lines += 1;
        if code.starts_with("//") {
            continue;
        }
        if in_library && ["println!", "print!", "dbg!"].iter().any(|p| calls(code, p)) {
            found.push(format!("{name}:{at}: printing in a library"));
        }
    }
    if lines > LIMIT && name.contains("src/") && !is_test(name) {
        found.push(format!("{name}: {lines} lines besides its tests; split it (limit {LIMIT})"));
    }
    for (n, line) in text.lines().enumerate() {
        if line.trim_start().starts_with(concat!("#[", "ignore")) {
            found.push(format!("{name}:{}: an ignored test never runs", n + 1));
        }
    }
    found
}

/// True if `macro_call` stands in the line and not inside a longer name; the `e` of `eprintln!` counts as printing.
fn calls(code: &str, macro_call: &str) -> bool {
    code.match_indices(macro_call).any(|(at, _)| {
        let before = code[..at].strip_suffix('e').unwrap_or(&code[..at]);
        !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '"')
    })
}

/// Examples in doc comments and guides that are shown but never run.
pub(crate) fn doc(name: &str, text: &str) -> Vec<String> {
    let is_rust = Path::new(name).extension().is_some_and(|e| e == "rs");
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let comment = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")).map(str::trim_start);
        let Some(line) = (if is_rust { comment } else { Some(line) }) else { continue };
        let Some(info) = line.strip_prefix("```") else { continue };
        if info.split([',', ' ']).any(|word| word == "ignore" || word.starts_with("ignore-")) {
            found.push(format!("{name}:{}: a doc example that never runs", n + 1));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_modules_do_not_count() {
        let long = "fn f() {}\n".repeat(LIMIT);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    fn f() {}\n".repeat(300));
        assert_eq!(rust("crates/a/src/lib.rs", &format!("{long}{tests}")), [""; 0]);
        assert_eq!(rust("crates/a/src/lib.rs", &format!("{long}{tests}fn g() {{}}\n")).len(), 1);
        assert_eq!(rust("crates/a/tests/all.rs", &long.repeat(2)), [""; 0], "tests may be long");
    }

    #[test]
    fn printing_is_found_in_code_only() {
        let text = "/// println!(\"in a doc\");\nfn f() { eprintln!(\"x\"); }\nfn g() { my_print!(1); }\n";
        assert_eq!(rust("crates/a/src/b.rs", text), ["crates/a/src/b.rs:2: printing in a library"]);
        assert_eq!(rust("crates/katena-cli/src/b.rs", text), [""; 0]);
        assert_eq!(rust("crates/a/examples/b.rs", text), [""; 0]);
    }

    #[test]
    fn tests_and_examples_that_never_run_are_found() {
        let text =
            concat!("//! ```rust,ign", "ore\n//! x\n//! ```\n    #[ign", "ore = \"slow\"]\nfn f() {}\n");
        assert_eq!(rust("crates/a/tests/t.rs", text).len(), 2);
        assert_eq!(doc("docs/a.md", concat!("```ign", "ore\nx\n```\n```no_run\n```\n")).len(), 1);
    }
}
