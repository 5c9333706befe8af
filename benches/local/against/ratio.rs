//! Ratios of pairs and their interval.

/// What a run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// CPU seconds of the process.
    pub(crate) seconds: f64,
    /// Tokens that were computed in them.
    pub(crate) tokens: f64,
}

impl Sample {
    /// CPU seconds of a token.
    pub(crate) fn each(self) -> f64 {
        self.seconds / self.tokens
    }
}

/// The geometric mean of ratios and its 95 % interval (Student's t on their logarithms).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interval {
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// `None` for fewer than three ratios.
pub(crate) fn interval(ratios: &[f64]) -> Option<Interval> {
    let n = ratios.len() as f64;
    if n < 3.0 {
        return None;
    }
    let logs: Vec<f64> = ratios.iter().map(|r| r.ln()).collect();
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = t95(n - 1.0) * (variance / n).sqrt();
    Some(Interval { mean: mean.exp(), low: (mean - half).exp(), high: (mean + half).exp() })
}

/// Student's t for 95 % by the expansion in 1/df (Abramowitz and Stegun 26.7.5); off by less than 0.1 % from 5 degrees on.
fn t95(df: f64) -> f64 {
    let z: f64 = 1.959_964;
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * df)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * df.powi(2))
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * df.powi(3))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops")]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        assert!((t95(9.0) - 2.262).abs() < 0.003, "{}", t95(9.0));
        assert!((t95(29.0) - 2.045).abs() < 0.001);
        let i = interval(&[1.0, 2.0, 4.0]).unwrap();
        assert!((i.mean - 2.0).abs() < 1e-9 && i.low < 1.0 && i.high > 4.0);
        let same = interval(&[0.5; 10]).unwrap();
        assert!((same.low - 0.5).abs() < 1e-9 && (same.high - 0.5).abs() < 1e-9);
        assert!(interval(&[1.0]).is_none());
    }
}
