//! `cargo xtask tidy`: the rules of the house that a script can see.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::workspace::{self, items, text};
use crate::{Result, Stop, lines};

/// The picture in ARCHITECTURE.md: who may depend on whom. `?` marks an edge that must be optional, behind a feature.
/// A crate that is not here is not in the picture yet: add its row there and here.
const PICTURE: &[(&str, &[&str])] = &[
    ("katena-core", &[]),
    ("katena-http", &["katena-core"]),
    ("katena-gguf", &["katena-core"]),
    ("katena-sqlite", &["katena-core"]),
    ("katena-postgres", &["katena-core"]),
    ("katena-macros", &[]),
    ("katena-llms", &["katena-core", "katena-http"]),
    ("katena-embeddings", &["katena-core", "katena-http", "katena-gguf?"]),
    ("katena-vectorstores", &["katena-core", "katena-sqlite", "katena-postgres?", "katena-http"]),
    ("katena-loaders", &["katena-core", "katena-http?"]),
    ("katena-splitters", &["katena-core"]),
    ("katena-memory", &["katena-core", "katena-sqlite", "katena-postgres?"]),
    ("katena-retrieval", &["katena-core", "katena-sqlite?"]),
    ("katena-layers", &["katena-core", "katena-http?", "katena-sqlite?"]),
    ("katena-prompts", &["katena-core"]),
    ("katena-llama-cpp", &["katena-core", "katena-gguf", "katena-http?"]),
    ("katena-chains", &["katena-core", "katena-prompts", "katena-http?", "katena-postgres?"]),
    ("katena-agents", &["katena-core", "katena-prompts", "katena-chains", "katena-macros?", "katena-http?"]),
    ("katena-evals", &["katena-core", "katena-prompts", "katena-chains"]),
    ("katena-testkit", &["katena-core", "katena-gguf?"]),
    ("katena", &["*"]),
    ("katena-gateway", &["*"]),
    ("katena-cli", &["*"]),
    ("xtask", &[]),
];

/// At the top, beside the packages below `tests/`, `benches/`, `examples/` and `docs/`: nothing may depend on these.
const TOP: &[&str] = &["katena-cli", "xtask"];

/// Packages that are no part of the product: they may use anything, and nothing may use them.
fn is_outside(package: &Value) -> bool {
    let manifest = text(package, "manifest_path");
    let root = workspace::root();
    ["tests", "benches", "examples", "docs"].iter().any(|dir| Path::new(manifest).starts_with(root.join(dir)))
}

/// Crates that open HTTP connections; only katena-http names one.
const HTTP_CLIENTS: &[&str] =
    &["reqwest", "hyper", "hyper-util", "ureq", "isahc", "attohttpc", "curl", "awc"];

/// Runtimes and HTTP types that the vocabulary doesn't know.
const NOT_IN_CORE: &[&str] = &["tokio", "async-std", "smol", "http", "reqwest", "hyper"];

/// Checks the workspace; what is wrong comes back as one line each.
pub(crate) fn run() -> Result<()> {
    let found = findings()?;
    if found.is_empty() { Ok(()) } else { Err(Stop::Failed(format!("tidy:\n{}", found.join("\n")))) }
}

fn findings() -> Result<Vec<String>> {
    let root = workspace::root();
    let metadata = workspace::metadata()?;
    let mut found = edges(&metadata);
    let listed = std::fs::read_to_string(root.join("docs/integrations.md")).unwrap_or_default();
    found.extend(features(&metadata, &listed));
    for path in lines::files(&root, &[".rs", ".md", "Cargo.toml"]) {
        let name = path.strip_prefix(&root).unwrap_or(&path).to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(|e| Stop::Failed(format!("{name}: {e}")))?;
        match name.rsplit('.').next() {
            Some("rs") => found.extend(lines::rust(&name, &text)),
            Some("md") => found.extend(lines::doc(&name, &text)),
            _ => found.extend(lints(&name, &text)),
        }
    }
    Ok(found)
}

/// Every member takes the workspace's lints; katena-llama-cpp, which holds the C++ engine, has its own. `fuzz/` and
/// the benches beside peers are workspaces of their own.
fn lints(name: &str, manifest: &str) -> Option<String> {
    let own = ["Cargo.toml", "fuzz/Cargo.toml", "crates/katena-llama-cpp/Cargo.toml"].contains(&name)
        || name.starts_with("benches/peers");
    let takes = manifest.contains("[lints]\nworkspace = true");
    (!own && !takes).then(|| format!("{name}: add [lints] workspace = true"))
}

/// Edges between crates, and to third parties, that the picture doesn't have.
fn edges(metadata: &Value) -> Vec<String> {
    let picture: BTreeMap<_, _> = PICTURE.iter().copied().collect();
    let members: Vec<_> = items(metadata, "packages").map(|p| text(p, "name")).collect();
    let outside = items(metadata, "packages").filter(|p| is_outside(p)).map(|p| text(p, "name"));
    let top: Vec<_> = outside.chain(TOP.iter().copied()).collect();
    let mut found = Vec::new();
    for package in items(metadata, "packages") {
        let name = text(package, "name");
        let Some(allowed) = (if is_outside(package) { Some(&["*"][..]) } else { picture.get(name).copied() })
        else {
            found.push(format!("{name}: not in the picture (ARCHITECTURE.md, xtask/src/tidy.rs)"));
            continue;
        };
        // What only tests use is free: a crate's tests may bring its neighbours together.
        for edge in items(package, "dependencies").filter(|d| text(d, "kind") != "dev") {
            let to = text(edge, "name");
            let optional = edge["optional"].as_bool().unwrap_or_default();
            if members.contains(&to) {
                if top.contains(&to) || !fits(allowed, to, optional) {
                    found.push(format!("{name} -> {to}: an edge outside the picture"));
                }
            } else if HTTP_CLIENTS.contains(&to) && name != "katena-http" {
                found.push(format!("{name} -> {to}: only katena-http names an HTTP client"));
            } else if name == "katena-core" && NOT_IN_CORE.contains(&to) {
                found.push(format!("{name} -> {to}: the vocabulary names no runtime and no HTTP"));
            }
        }
    }
    found
}

fn fits(allowed: &[&str], to: &str, optional: bool) -> bool {
    allowed.iter().any(|a| match a.strip_suffix('?') {
        Some(a) => a == to && optional,
        None => *a == "*" || *a == to,
    })
}

/// Cargo features that no row of `docs/integrations.md` names together with their crate.
fn features(metadata: &Value, listed: &str) -> Vec<String> {
    let rows: Vec<_> = listed.lines().filter(|l| l.trim_start().starts_with('|')).collect();
    let mut found = Vec::new();
    for package in items(metadata, "packages") {
        let name = text(package, "name");
        let all = package["features"].as_object().into_iter().flat_map(|f| f.keys());
        for feature in all.filter(|f| *f != "default") {
            let (krate, code) = (format!("`{name}`"), format!("`{feature}`"));
            if !rows.iter().any(|r| r.contains(&krate) && r.contains(&code)) {
                found.push(format!("{name}: feature {feature} has no row in docs/integrations.md"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_workspace_is_tidy() {
        assert_eq!(findings().unwrap(), [""; 0]);
    }

    fn package(name: &str, to: &str, optional: bool, kind: Option<&str>) -> Value {
        json!({"packages": [
            {"name": name, "dependencies": [{"name": to, "optional": optional, "kind": kind}],
             "features": {"default": [], "extra": []}},
            {"name": to, "dependencies": [], "features": {}},
        ]})
    }

    #[test]
    fn edges_outside_the_picture_are_found() {
        assert_eq!(edges(&package("katena-llms", "katena-http", false, None)), [""; 0]);
        assert_eq!(edges(&package("katena-splitters", "katena-loaders", false, None)).len(), 1, "siblings");
        assert_eq!(
            edges(&package("katena-retrieval", "katena-sqlite", false, None)).len(),
            1,
            "must be optional"
        );
        assert_eq!(edges(&package("katena-retrieval", "katena-sqlite", true, None)), [""; 0]);
        assert_eq!(edges(&package("katena-retrieval", "katena-vectorstores", false, Some("dev"))), [""; 0]);
        assert_eq!(edges(&package("katena", "katena-cli", false, None)).len(), 1, "nothing above the top");
        assert_eq!(edges(&package("katena-new", "katena-core", false, None)).len(), 1, "not in the picture");
    }

    #[test]
    fn third_parties_have_their_place() {
        let only = |name: &str, to: &str| {
            let mut m = package(name, to, false, None);
            m["packages"].as_array_mut().unwrap().truncate(1);
            edges(&m).len()
        };
        assert_eq!(only("katena-llms", "reqwest"), 1);
        assert_eq!(only("katena-http", "reqwest"), 0);
        assert_eq!(only("katena-core", "tokio"), 1);
    }

    #[test]
    fn a_feature_needs_its_row() {
        let metadata = package("katena-llms", "katena-http", false, None);
        assert_eq!(features(&metadata, "the `extra` of `katena-llms` is not in a table").len(), 1);
        assert_eq!(features(&metadata, "| `katena-llms` | `extra` | more |"), [""; 0]);
    }
}
