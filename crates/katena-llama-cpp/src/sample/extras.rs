//! The samplers' settings among a request's extra options.

use katena_core::{ChatRequest, Error, Result};
use serde_json::Value;

use super::chain::{Dry, Mirostat, Word, Xtc};

/// Most tokens with a bias, and the largest bias.
const MAX_BIASES: usize = 1024;
const MAX_BIAS: f64 = 100.0;
/// Most texts that end a repetition, and the longest, in bytes: llama.cpp cuts longer ones.
const MAX_BREAKERS: usize = 32;
const MAX_BREAKER_BYTES: usize = 40;
/// Tokens that a penalty may look back over.
const MAX_BACK: f64 = 1_048_576.0;

/// Extra options, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Extras {
    pub(crate) min_p: Option<f32>,
    pub(crate) typical_p: Option<f32>,
    pub(crate) top_n_sigma: Option<f32>,
    pub(crate) repeat: Option<f32>,
    pub(crate) repeat_last: Option<u32>,
    pub(crate) dynamic: Option<(f32, f32)>,
    pub(crate) xtc: Option<Xtc>,
    pub(crate) dry: Option<Dry>,
    pub(crate) mirostat: Option<Mirostat>,
    pub(crate) bias: Vec<(Word, f32)>,
}

fn wrong(key: &str, what: &'static str) -> Error {
    Error::invalid_input(what).with_context("option", key.to_owned())
}

fn number(key: &str, value: &Value, least: f64, most: f64) -> Result<f32> {
    match value.as_f64() {
        None => Err(wrong(key, "an extra option must be a number")),
        Some(v) if v.is_finite() && (least..=most).contains(&v) => Ok(v as f32),
        Some(v) => Err(wrong(key, "an option of the request is out of range")
            .with_context("value", v.to_string())
            .with_context("least", least.to_string())
            .with_context("most", most.to_string())),
    }
}

fn whole(key: &str, value: &Value, most: f64) -> Result<u32> {
    if value.as_u64().is_none() {
        return Err(wrong(key, "an extra option must be a whole number, at least 0"));
    }
    number(key, value, 0.0, most)?;
    Ok(value.as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or_default())
}

impl Extras {
    /// Reads them all.
    ///
    /// # Errors
    /// `InvalidInput` for values out of range, and for settings of a sampler that is not switched on; `Unsupported` for
    /// names that are unknown here.
    pub(crate) fn of(request: &ChatRequest) -> Result<Self> {
        let mut extras = Self::default();
        let get = |key: &str| request.extra.get(key);
        for (key, v) in &request.extra {
            match key.as_str() {
                "min_p" => extras.min_p = Some(number(key, v, 0.0, 1.0)?),
                "typical_p" => extras.typical_p = Some(number(key, v, 0.001, 1.0)?),
                "top_n_sigma" => extras.top_n_sigma = Some(number(key, v, 0.001, 1000.0)?),
                "repeat_penalty" => extras.repeat = Some(number(key, v, 0.1, 10.0)?),
                "repeat_last_n" => extras.repeat_last = Some(whole(key, v, MAX_BACK)?),
                "dynatemp_range" => {
                    let exponent =
                        get("dynatemp_exponent").map(|v| number("dynatemp_exponent", v, 0.01, 100.0));
                    extras.dynamic =
                        Some((number(key, v, 0.0, 100.0)?, exponent.transpose()?.unwrap_or(1.0)));
                }
                "xtc_probability" => {
                    let threshold = get("xtc_threshold").map(|v| number("xtc_threshold", v, 0.0, 0.5));
                    let threshold = threshold.transpose()?.unwrap_or(0.1);
                    extras.xtc = Some(Xtc { probability: number(key, v, 0.0, 1.0)?, threshold });
                }
                "dry_multiplier" => extras.dry = Some(dry(number(key, v, 0.0, 100.0)?, get)?),
                "mirostat" => extras.mirostat = mirostat(whole(key, v, 2.0)?, get)?,
                "logit_bias" => extras.bias = biases(v)?,
                "dynatemp_exponent" => needs(request, key, "dynatemp_range")?,
                "xtc_threshold" => needs(request, key, "xtc_probability")?,
                "dry_base" | "dry_allowed_length" | "dry_penalty_last_n" | "dry_sequence_breakers" => {
                    needs(request, key, "dry_multiplier")?;
                }
                "mirostat_tau" | "mirostat_eta" => needs(request, key, "mirostat")?,
                _ => {
                    return Err(Error::unsupported("an extra option is unknown to local models")
                        .with_context("option", key.clone()));
                }
            }
        }
        Ok(extras)
    }
}

/// A setting without the option that switches its sampler on would be ignored.
fn needs(request: &ChatRequest, key: &str, switch: &'static str) -> Result<()> {
    if request.extra.contains_key(switch) {
        return Ok(());
    }
    Err(wrong(key, "an extra option has no effect without another one").with_context("needs", switch))
}

fn dry<'v>(multiplier: f32, get: impl Fn(&str) -> Option<&'v Value>) -> Result<Dry> {
    let base = get("dry_base").map(|v| number("dry_base", v, 1.0, 100.0)).transpose()?;
    let allowed = get("dry_allowed_length").map(|v| whole("dry_allowed_length", v, MAX_BACK)).transpose()?;
    let last = get("dry_penalty_last_n").map(|v| whole("dry_penalty_last_n", v, MAX_BACK)).transpose()?;
    let breakers = match get("dry_sequence_breakers") {
        None => ["\n", ":", "\"", "*"].map(str::to_owned).to_vec(),
        Some(value) => {
            let texts = value.as_array().filter(|texts| texts.len() <= MAX_BREAKERS);
            let texts = texts.and_then(|texts| texts.iter().map(|t| t.as_str().map(str::to_owned)).collect());
            let texts: Option<Vec<String>> = texts;
            texts
                .filter(|texts| {
                    texts.iter().all(|t| !t.is_empty() && t.len() <= MAX_BREAKER_BYTES && !t.contains('\0'))
                })
                .ok_or_else(|| {
                    wrong("dry_sequence_breakers", "must be a list of at most 32 texts of 1 to 40 bytes")
                })?
        }
    };
    Ok(Dry { multiplier, base: base.unwrap_or(1.75), allowed_length: allowed.unwrap_or(2), last, breakers })
}

fn mirostat<'v>(version: u32, get: impl Fn(&str) -> Option<&'v Value>) -> Result<Option<Mirostat>> {
    let tau = get("mirostat_tau").map(|v| number("mirostat_tau", v, 0.001, 100.0)).transpose()?;
    let eta = get("mirostat_eta").map(|v| number("mirostat_eta", v, 0.0, 1.0)).transpose()?;
    Ok((version > 0).then(|| Mirostat { version, tau: tau.unwrap_or(5.0), eta: eta.unwrap_or(0.1) }))
}

fn biases(value: &Value) -> Result<Vec<(Word, f32)>> {
    let map = value
        .as_object()
        .filter(|map| map.len() <= MAX_BIASES)
        .ok_or_else(|| wrong("logit_bias", "must be an object of at most 1024 tokens, each with its bias"))?;
    map.iter()
        .map(|(key, by)| {
            let by = number("logit_bias", by, -MAX_BIAS, MAX_BIAS)?;
            let digits = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
            let word = match key.parse::<i32>() {
                Ok(id) if digits => Word::Id(id),
                _ if digits => return Err(wrong("logit_bias", "a token's number is out of range")),
                _ => Word::Text(key.clone()),
            };
            Ok((word, by))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use katena_core::{ErrorKind, Message};
    use serde_json::json;

    use super::*;

    fn of(extra: &Value) -> Result<Extras> {
        let mut request = ChatRequest::new([Message::user("x")]);
        for (key, value) in extra.as_object().unwrap() {
            request = request.with_extra(key, value.clone());
        }
        Extras::of(&request)
    }

    #[test]
    fn all_are_read() {
        let extras = of(&json!({
            "min_p": 0.1, "typical_p": 0.5, "top_n_sigma": 2, "repeat_penalty": 1.1, "repeat_last_n": 64,
            "dynatemp_range": 0.5, "dynatemp_exponent": 2, "xtc_probability": 0.5, "xtc_threshold": 0.2,
            "dry_multiplier": 0.8, "dry_base": 2, "dry_allowed_length": 3, "dry_penalty_last_n": 99,
            "dry_sequence_breakers": ["."], "mirostat": 2, "mirostat_tau": 4, "mirostat_eta": 0.2,
            "logit_bias": {"7": -5, " the": 2.5},
        }))
        .unwrap();
        assert_eq!(
            (extras.min_p, extras.repeat_last, extras.dynamic),
            (Some(0.1), Some(64), Some((0.5, 2.0)))
        );
        assert_eq!(extras.xtc, Some(Xtc { probability: 0.5, threshold: 0.2 }));
        assert_eq!(extras.mirostat, Some(Mirostat { version: 2, tau: 4.0, eta: 0.2 }));
        assert_eq!(extras.bias, [(Word::Id(7), -5.0), (Word::Text(" the".into()), 2.5)]);
        let dry = extras.dry.unwrap();
        assert_eq!(
            (dry.allowed_length, dry.last, dry.breakers.as_slice()),
            (3, Some(99), &[".".to_owned()][..])
        );
        assert_eq!(of(&json!({"mirostat": 0})).unwrap().mirostat, None);
    }

    #[test]
    fn nothing_is_ignored() {
        for bad in [
            json!({"min_p": -0.1}),
            json!({"min_p": "a"}),
            json!({"typical_p": 0}),
            json!({"top_n_sigma": 0}),
            json!({"repeat_penalty": 0}),
            json!({"repeat_last_n": -1}),
            json!({"repeat_last_n": 1.5}),
            json!({"repeat_last_n": 1e12}),
            json!({"dynatemp_exponent": 1}),
            json!({"xtc_threshold": 0.1}),
            json!({"xtc_probability": 1, "xtc_threshold": 0.6}),
            json!({"dry_base": 2}),
            json!({"dry_multiplier": 1, "dry_base": 0.5}),
            json!({"dry_multiplier": 1, "dry_sequence_breakers": [""]}),
            json!({"dry_multiplier": 1, "dry_sequence_breakers": ["a\u{0}"]}),
            json!({"dry_multiplier": 1, "dry_sequence_breakers": "a"}),
            json!({"mirostat": 3}),
            json!({"mirostat_tau": 5}),
            json!({"mirostat": 1, "mirostat_tau": 0}),
            json!({"logit_bias": 3}),
            json!({"logit_bias": {"1": 101}}),
            json!({"logit_bias": {"1": null}}),
            json!({"logit_bias": {"99999999999": 1}}),
        ] {
            assert_eq!(of(&bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
        }
        assert_eq!(of(&json!({"tfs_z": 1})).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
