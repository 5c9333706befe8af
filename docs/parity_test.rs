//! `docs/parity.md` and `docs/from-langchain.md` name things that exist.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;

/// Every public name of the workspace's crates: types, traits, functions, macros, methods.
fn names(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for line in text.lines().map(str::trim_start) {
                for word in ["struct", "enum", "trait", "type", "fn", "macro_rules!", "const", "mod"] {
                    let Some((_, rest)) = line.split_once(&format!("{word} ")) else { continue };
                    let name: String =
                        rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    into.insert(name);
                }
                // Enum variants, one a line.
                let variant: String = line.chars().take_while(|c| c.is_alphanumeric()).collect();
                if variant.starts_with(char::is_uppercase) {
                    into.insert(variant);
                }
            }
        }
    }
}

/// The names in backticks of a table's last column: `Type`, `Type::method`, `macro!`.
fn named(line: &str) -> Vec<String> {
    let last = line.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
    let quoted = last.split('`').skip(1).step_by(2);
    let whole =
        quoted.filter(|q| !q.is_empty() && q.chars().all(|c| c.is_alphanumeric() || "_:!#[]".contains(c)));
    whole.flat_map(|q| q.split("::").map(|p| p.trim_matches(['!', '#', '[', ']']).to_owned())).collect()
}

#[test]
fn what_the_tables_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut known = BTreeSet::new();
    names(&root.join("crates"), &mut known);
    let (mut missing, mut checked) = (Vec::new(), 0);
    for file in ["docs/parity.md", "docs/from-langchain.md"] {
        for line in std::fs::read_to_string(root.join(file)).unwrap().lines().filter(|l| l.starts_with('|')) {
            for name in named(line).into_iter().filter(|n| !n.is_empty()) {
                checked += 1;
                if !known.contains(&name) {
                    missing.push(format!("{file}: {name}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "no such name:\n{}", missing.join("\n"));
    assert!(checked > 150, "only {checked} names were found in the tables");
}
