//! Compares what a client understood with the verdict, by the rules of the shared checker.

use serde_json::Value;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

fn calls(value: &Value) -> Vec<(&str, &Value)> {
    value["tool_calls"].as_array().into_iter().flatten().map(|c| (text(c, "name"), &c["args"])).collect()
}

/// What is wrong; nothing if the report is right.
pub fn faults(verdict: &Value, report: &Value) -> Vec<String> {
    if verdict["kind"] == "error" {
        return error_faults(&verdict["error"], &report["error"]);
    }
    if !report["error"].is_null() {
        return vec![format!("spurious error {}", report["error"])];
    }
    if let Value::Object(shape) = &verdict["embeddings"] {
        let got = &report["embeddings"];
        let same = got["n"] == shape["n"] && got["dim"] == shape["dim"];
        return if same { Vec::new() } else { vec![format!("embedding shape {got}")] };
    }
    let mut faults = Vec::new();
    let mut must = |what: &str, ok: bool| {
        if !ok {
            faults.push(what.to_owned());
        }
    };
    must("text", text(verdict, "text") == text(report, "text"));
    must("refusal", text(verdict, "refusal") == text(report, "refusal"));
    must("reasoning lost", text(verdict, "reasoning").is_empty() || !text(report, "reasoning").is_empty());
    must("tool calls", calls(verdict) == calls(report));
    let finish = text(verdict, "finish");
    must("finish", finish.is_empty() || text(report, "finish_raw") == finish);
    for key in ["input", "output"] {
        let want = &verdict["usage"][key];
        must(key, want.is_null() || report["usage"][key] == *want);
    }
    must("count", verdict["count"].is_null() || report["count"] == verdict["count"]);
    must("ranking", verdict["rerank"].is_null() || same_ranking(&verdict["rerank"], &report["rerank"]));
    faults
}

/// The same documents in the same order, with scores that differ by no more than rounding.
fn same_ranking(want: &Value, got: &Value) -> bool {
    let (Some(want), Some(got)) = (want.as_array(), got.as_array()) else { return false };
    want.len() == got.len()
        && want.iter().zip(got).all(|(a, b)| {
            let near = |a: f64, b: f64| (a - b).abs() < 1e-4 * a.abs().max(1.0);
            a[0] == b[0] && a[1].as_f64().zip(b[1].as_f64()).is_some_and(|(a, b)| near(a, b))
        })
}

fn error_faults(want: &Value, got: &Value) -> Vec<String> {
    if got.is_null() {
        return vec!["no error".to_owned()];
    }
    let mut faults = Vec::new();
    if want["status"] != 200 && want["status"] != got["status"] {
        faults.push(format!("status {} for {}", got["status"], want["status"]));
    }
    let start: String = text(want, "message").chars().take(60).collect();
    if !text(got, "message").contains(&start) {
        faults.push(format!("message lost: {}", got["message"]));
    }
    faults
}
