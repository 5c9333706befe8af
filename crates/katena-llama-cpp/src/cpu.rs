//! Whether this processor runs the bundled llama.cpp.

use katena_core::{Error, Result};

/// What the bundled build is compiled for on x86-64; without them the process would die with an illegal instruction.
const NEEDED: [&str; 4] = ["avx2", "fma", "f16c", "bmi2"];

/// Fails if this processor lacks an instruction set that the bundled llama.cpp was compiled for.
///
/// Every `load` asks this before it calls llama.cpp. Always `Ok` on processors other than x86-64.
///
/// ```
/// if let Err(error) = katena_llama_cpp::check_cpu() {
///     assert!(error.to_string().contains("processor"));
/// }
/// ```
///
/// # Errors
/// Kind `Unsupported`, naming what is missing.
pub fn check_cpu() -> Result<()> {
    check_with(has)
}

#[cfg(target_arch = "x86_64")]
fn has(name: &str) -> bool {
    match name {
        "avx2" => std::is_x86_feature_detected!("avx2"),
        "fma" => std::is_x86_feature_detected!("fma"),
        "f16c" => std::is_x86_feature_detected!("f16c"),
        "bmi2" => std::is_x86_feature_detected!("bmi2"),
        _ => false,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn has(_: &str) -> bool {
    true
}

fn check_with(has: impl Fn(&str) -> bool) -> Result<()> {
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::unsupported(
        "this processor can't run local models: it lacks instructions that llama.cpp is built for",
    )
    .with_context("missing", missing.join(", "))
    .with_context("help", "use a model over HTTP, or build llama.cpp for this processor"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use katena_core::ErrorKind;

    #[test]
    fn a_missing_instruction_set_is_named() {
        assert!(check_with(|_| true).is_ok());
        let error = check_with(|name| name != "f16c").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.context("missing"), Some("f16c"));
        let error = check_with(|_| false).unwrap_err();
        assert_eq!(error.context("missing"), Some("avx2, fma, f16c, bmi2"));
    }
}
