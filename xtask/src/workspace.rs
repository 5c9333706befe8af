//! Where things are, and what cargo says about the workspace.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{Result, Stop};

/// The root of the clone.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo, in the root, without what `cargo run` left in the environment for this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let ours = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"].iter().any(|p| ours.starts_with(p))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// The cache folder outside the clone: downloads, tools, models.
pub(crate) fn cache() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("KATENA_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|d| d.join("katena")))
        .or_else(|| set("HOME").map(|d| d.join(".cache/katena")))
        .ok_or_else(|| Stop::NeedsYou("neither KATENA_CACHE nor HOME is set; set one".into()))
}

/// `cargo metadata` without dependencies: members, their features, edges and targets.
pub(crate) fn metadata() -> Result<Value> {
    let out = cargo().args(["metadata", "--format-version=1", "--no-deps"]).output()?;
    if !out.status.success() {
        return Err(Stop::Failed(format!("cargo metadata: {}", String::from_utf8_lossy(&out.stderr).trim())));
    }
    serde_json::from_slice(&out.stdout).map_err(|e| Stop::Failed(format!("cargo metadata: {e}")))
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(PathBuf::from(text(&metadata()?, "target_directory")))
}

/// A string field; empty where there is none.
pub(crate) fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// The items of an array field; none where there is none.
pub(crate) fn items<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value[field].as_array().into_iter().flatten()
}

/// Features that need hardware or a vendor's kit, so that they don't build everywhere.
const NEED_HARDWARE: &[&str] = &["cuda", "cuda-no-vmm", "vulkan", "metal", "rocm", "opencl", "mkl"];

/// Every feature that builds on any machine, as the value of cargo's `--features`.
pub(crate) fn features(metadata: &Value) -> String {
    let mut all = Vec::new();
    for package in items(metadata, "packages") {
        let names = package["features"].as_object().into_iter().flat_map(|f| f.keys());
        for feature in names.filter(|f| *f != "default" && !NEED_HARDWARE.contains(&f.as_str())) {
            all.push(format!("{}/{feature}", text(package, "name")));
        }
    }
    all.join(",")
}
