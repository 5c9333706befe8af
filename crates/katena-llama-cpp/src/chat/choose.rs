//! From logits to the next token of an answer.

use katena_core::{FinishReason, Result, TokenLogprob};
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::slot::Slot;

/// What comes after a token.
pub(super) enum Next {
    /// The answer goes on with this token.
    Token(LlamaToken),
    /// It is complete.
    End(FinishReason),
}

/// Chooses the next token by `logits`.
pub(super) fn choose(model: &LlamaModel, slot: &mut Slot, logits: &[f32]) -> Result<Next> {
    let vocab = model.vocab();
    let token = slot.chooser.choose(logits)?;
    if vocab.is_eog(token) {
        return Ok(Next::End(FinishReason::Stop));
    }
    let piece = vocab.token_to_piece(token, slot.shows(token), None);
    let logprob = slot.alternatives.map(|count| {
        logprob(logits, token, count, |t| {
            String::from_utf8_lossy(&vocab.token_to_piece(t, true, None)).into_owned()
        })
    });
    Ok(slot.take(&piece, logprob).map_or(Next::Token(token), Next::End))
}

/// Log-probabilities of the model itself, before temperature and cut-offs.
fn logprob(
    logits: &[f32],
    token: LlamaToken,
    count: usize,
    text: impl Fn(LlamaToken) -> String,
) -> TokenLogprob {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - most).exp()).sum();
    let log = |n: usize| (f64::from(logits[n] - most) - sum.ln()).min(0.0) as f32;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let count = count.min(order.len());
    let likelier = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]);
    if count > 0 && count < order.len() {
        order.select_nth_unstable_by(count - 1, likelier);
    }
    order.truncate(count);
    order.sort_by(likelier);
    let top = order.iter().map(|n| (text(LlamaToken::new(*n as i32)), log(*n))).collect();
    TokenLogprob::new(text(token), log(token.0 as usize), top)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_sum_to_one_and_are_ordered() {
        let logits = [1.0, 3.0, 2.0, -100.0];
        let entry = logprob(&logits, LlamaToken::new(2), 3, |t| t.0.to_string());
        let names: Vec<&str> = entry.top.iter().map(|t| t.0.as_str()).collect();
        assert_eq!(names, ["1", "2", "0"]);
        assert_eq!(entry.logprob, entry.top[1].1);
        let sum: f32 = entry.top.iter().map(|t| t.1.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!(logprob(&logits, LlamaToken::new(0), 0, |_| String::new()).top.is_empty());
    }
}
