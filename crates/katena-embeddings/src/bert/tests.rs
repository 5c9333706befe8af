//! Numbers against slow and plain computations in 64 bits; turns and the queue without threads.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;

use pulp::Arch;

use super::attention::{Attend, Buffers};
use super::linear::{Linear, padded, room};
use super::math::{Norm, exp, gelu, gelu_all};

/// Repeatable numbers from -1 to 1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    katena_testkit::tiny::numbers(seed, count, 2.0)
}

/// What this processor has, and plain code.
fn processors() -> [Arch; 2] {
    [Arch::new(), Arch::Scalar]
}

/// Φ(x) by Simpson's rule.
fn normal(x: f64) -> f64 {
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let steps = 2000;
    let h = x / f64::from(steps);
    let inner = |n: i32| density(f64::from(n) * h) * if n % 2 == 0 { 2.0 } else { 4.0 };
    let sum: f64 = (1..steps).map(inner).sum();
    0.5 + (density(0.0) + sum + density(x)) * h / 3.0
}

#[test]
fn exp_and_gelu_are_exact_enough() {
    for n in 0..=8700 {
        let x = -(n as f32) / 100.0;
        let right = f64::from(x).exp();
        assert!((f64::from(exp(x)) / right - 1.0).abs() < 3e-7, "exp({x})");
    }
    assert!(exp(-1e30) < 1e-37);
    for n in -1000..=1000 {
        let x = n as f32 / 100.0;
        let right = f64::from(x) * normal(f64::from(x));
        assert!((f64::from(gelu(x)) - right).abs() < 5e-7 * right.abs().max(1.0), "gelu({x})");
    }
    let mut many = numbers(1, 37);
    let right: Vec<f32> = many.iter().map(|x| gelu(*x)).collect();
    gelu_all(Arch::new(), &mut many);
    assert!(many.iter().zip(right).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn a_product_is_the_sum_of_products() {
    for arch in processors() {
        for (rows, inputs, outputs) in
            [(1, 1, 1), (5, 8, 16), (6, 24, 17), (7, 384, 40), (13, 385, 24), (241, 8, 8), (250, 800, 3)]
        {
            let (from, weights, bias) =
                (numbers(1, room(rows) * inputs), numbers(2, inputs * outputs), numbers(3, outputs));
            // In two parts, as queries and keys are.
            let cut = outputs / 2;
            let parts = [
                (weights[..cut * inputs].to_vec(), bias[..cut].to_vec()),
                (weights[cut * inputs..].to_vec(), bias[cut..].to_vec()),
            ];
            let stride = padded(outputs);
            let mut to = vec![f32::NAN; room(rows) * stride];
            Linear::new(inputs, &parts).apply(arch, rows, &from, inputs, &mut to);
            for (row, result) in to.chunks_exact(stride).take(rows).enumerate() {
                for n in 0..outputs {
                    let products = from[row * inputs..].iter().zip(&weights[n * inputs..(n + 1) * inputs]);
                    let right: f64 = products.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                    let right = right + f64::from(bias[n]);
                    assert!(
                        (f64::from(result[n]) - right).abs() < 1e-4,
                        "{rows} {inputs} {outputs}: {row} {n}"
                    );
                }
                assert!(result[outputs..].iter().all(|x| *x == 0.0));
            }
        }
    }
}

#[test]
fn attention_is_the_weighted_mean_of_values() {
    for arch in processors() {
        let mut buffers = Buffers::default();
        for (tokens, width, heads) in
            [(1, 8, 2), (40, 24, 1), (5, 24, 3), (16, 64, 2), (17, 48, 2), (33, 36, 2), (2, 64, 2)]
        {
            let (head, qkv_stride, stride) = (width / heads, padded(3 * width), padded(width));
            let qkv = numbers(tokens as u64, room(tokens) * qkv_stride);
            let mut to = vec![0.0; room(tokens) * stride];
            let buffers = &mut buffers;
            Attend { qkv: &qkv, qkv_stride, tokens, width, heads, to: &mut to, buffers }.run(arch);
            let at =
                |token: usize, part: usize, n: usize| f64::from(qkv[token * qkv_stride + part * width + n]);
            for token in 0..tokens {
                for n in 0..width {
                    let first = n / head * head;
                    let score = |other: usize| {
                        let dot: f64 = (first..first + head).map(|k| at(token, 0, k) * at(other, 1, k)).sum();
                        (dot / (head as f64).sqrt()).exp()
                    };
                    let all: f64 = (0..tokens).map(score).sum();
                    let right: f64 = (0..tokens).map(|other| score(other) / all * at(other, 2, n)).sum();
                    let got = f64::from(to[token * stride + n]);
                    assert!(
                        (got - right).abs() < 1e-5,
                        "{tokens} {width} {heads}: {token} {n}: {got} {right}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_norm_has_mean_and_spread_of_its_weights() {
    for (arch, width) in processors().into_iter().flat_map(|arch| [(arch, 8), (arch, 16), (arch, 37)]) {
        let norm = Norm { weight: numbers(1, width), bias: numbers(2, width), epsilon: 1e-5 };
        let stride = padded(width);
        let (mut x, add) = (numbers(3, 3 * stride), numbers(4, 3 * stride));
        let sums: Vec<f64> = x.iter().zip(&add).map(|(x, y)| f64::from(x + y)).collect();
        let untouched = x[2 * stride..].to_vec();
        norm.apply(arch, 2, &mut x, &add, stride);
        for row in 0..2 {
            let sums = &sums[row * stride..row * stride + width];
            let mean = sums.iter().sum::<f64>() / width as f64;
            let variance = sums.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
            for n in 0..width {
                let right = (sums[n] - mean) / (variance + 1e-5).sqrt() * f64::from(norm.weight[n])
                    + f64::from(norm.bias[n]);
                assert!((f64::from(x[row * stride + n]) - right).abs() < 1e-5, "{width}: {row} {n}");
            }
        }
        assert_eq!(x[2 * stride..], untouched);
    }
}

mod turns {
    use katena_core::Context;
    use tokio::sync::oneshot;

    use super::super::worker::{Active, Answer, State};
    use super::*;

    fn request(id: u64, lengths: &[usize]) -> (Active, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        (Active::new(id, reply, Context::default(), lengths.iter().map(|n| vec![0; *n]).collect()), answer)
    }

    #[test]
    fn each_text_is_computed_once_and_short_requests_are_not_held_up() {
        let mut state = State::default();
        let mut answers = Vec::new();
        for (id, lengths) in [(0, vec![100; 50]), (1, vec![7]), (2, vec![3, 200, 90])] {
            let (request, answer) = request(id, &lengths);
            state.add(request);
            answers.push(answer);
        }
        let (mut seen, mut order) = (HashSet::new(), Vec::new());
        loop {
            let items = state.batch(256, 1);
            if items.is_empty() {
                break;
            }
            assert!(items.iter().map(|i| i.tokens.len()).sum::<usize>() <= 256);
            for item in items {
                assert!(seen.insert((item.request, item.text)));
                order.push(item.request);
                state.done(&item, Ok(vec![item.text as f32]));
            }
        }
        assert_eq!(seen.len(), 54);
        assert_eq!(state.pending(), 0);
        // The small ones are through after four batches of the fifty long texts' twenty-seven.
        assert!(!order[24..].contains(&1) && !order[24..].contains(&2), "{order:?}");
        for (mut answer, count) in answers.into_iter().zip([50, 1, 3]) {
            let (vectors, _) = answer.try_recv().unwrap().unwrap();
            let right: Vec<Vec<f32>> = (0..count).map(|n| vec![n as f32]).collect();
            assert_eq!(vectors, right);
        }
    }

    #[test]
    fn given_up_requests_are_forgotten() {
        let mut state = State::default();
        let (first, gone) = request(0, &[10, 10]);
        let (second, mut cancelled) = request(1, &[20]);
        let context = second.context().clone();
        let (third, mut kept) = request(2, &[30]);
        state.add(first);
        state.add(second);
        state.add(third);
        drop(gone);
        context.cancel.cancel();
        let items = state.batch(1000, 1);
        assert_eq!((items.len(), items[0].request, state.pending()), (1, 2, 0));
        let error = cancelled.try_recv().unwrap().unwrap_err();
        assert_eq!(error.kind(), katena_core::ErrorKind::Cancelled);
        // A text that fails ends its request; a vector that comes late for one that is gone is dropped.
        state.done(&items[0], Err(katena_core::Error::unexpected("broken")));
        state.done(&items[0], Ok(vec![1.0]));
        assert!(kept.try_recv().unwrap().is_err());
    }

    #[test]
    fn work_is_cut_for_all_threads() {
        let mut state = State::default();
        let (request, _answer) = request(0, &[50; 8]);
        state.add(request);
        let tokens =
            |items: Vec<super::super::worker::Item>| items.iter().map(|i| i.tokens.len()).sum::<usize>();
        assert_eq!(tokens(state.batch(512, 4)), 100);
        assert_eq!(tokens(state.batch(512, 1)), 300);
    }

    #[test]
    fn a_full_queue_says_when_to_come_again() {
        use katena_core::{EmbedRole, ErrorKind};
        use katena_gguf::{Header, Keep, WordPiece};
        use katena_testkit::tiny::TinyBert;

        use super::super::worker::{Handle, Job};
        use super::super::{BertOptions, encode::Encoder, load};

        let folder = tempfile::TempDir::new().unwrap();
        let path = TinyBert::new().write(folder.path().join("tiny.gguf"));
        let header = Header::read(&path, Keep::Vocabulary).unwrap();
        let options = BertOptions::new();
        let network = load::network(&path, &header, load::Shape::new(&header, &options).unwrap()).unwrap();
        let words = WordPiece::new(&header, "tiny".into()).unwrap();
        // Without threads nothing leaves the queue.
        let handle = Handle::start(network, Encoder::new(words, 64, &options).unwrap(), 0, 512, 2).unwrap();
        let push = || {
            let (reply, answer) = oneshot::channel();
            let job =
                Job { texts: vec!["a".into()], role: EmbedRole::Query, context: Context::default(), reply };
            handle.push(job).map(|()| answer)
        };
        let (first, _second) = (push().unwrap(), push().unwrap());
        let error = push().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_temporary() && error.retry_after().is_some());
        // A caller that has gone holds no place.
        drop(first);
        push().unwrap();
    }
}
