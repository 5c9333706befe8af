//! Requests compared with files of our own making. Values are compared, not texts: `serde_json` keeps the order of an object's
//! fields or sorts them, as other crates of the program choose.

use std::path::Path;

use serde_json::Value;

/// Compares with a file below the crate's folder; `KATENA_BLESS=1` writes it anew.
pub(crate) fn holds(file: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let pretty = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("KATENA_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &pretty).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
    assert_eq!(&kept, value, "{} is not\n{pretty}", path.display());
}
