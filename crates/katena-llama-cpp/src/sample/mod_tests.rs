use super::chain::{Mirostat, Xtc};
use super::*;

fn greedy() -> Sampling {
    Sampling::default()
}

fn chooser(sampling: &Sampling, vocabulary: usize) -> Chooser {
    Chooser::new(sampling, Vocabulary::Plain(vocabulary as i32), 256).unwrap()
}

fn hot() -> Sampling {
    Sampling { temperature: 1.5, ..greedy() }
}

fn all() -> Vec<Sampling> {
    vec![
        greedy(),
        Sampling { repeat: 1.3, presence: -2.0, frequency: 2.0, ..greedy() },
        hot(),
        Sampling { top_k: Some(1), top_p: Some(1e-6), min_p: Some(1.0), ..hot() },
        Sampling { top_k: Some(u32::MAX), temperature: f32::MIN_POSITIVE, seed: u32::MAX, ..hot() },
        Sampling { temperature: 100.0, typical_p: Some(0.001), ..hot() },
        Sampling { typical_p: Some(1.0), top_n_sigma: Some(0.001), ..hot() },
        Sampling { xtc: Some(Xtc { probability: 1.0, threshold: 0.0 }), ..hot() },
        Sampling { xtc: Some(Xtc { probability: 1.0, threshold: 0.5 }), ..greedy() },
        Sampling { dynamic: Some((100.0, 0.01)), ..hot() },
        Sampling { dynamic: Some((1.5, 100.0)), ..hot() },
        Sampling { mirostat: Some(Mirostat { version: 1, tau: 0.001, eta: 1.0 }), ..hot() },
        Sampling { mirostat: Some(Mirostat { version: 1, tau: 100.0, eta: 0.0 }), ..hot() },
        Sampling { mirostat: Some(Mirostat { version: 2, tau: 0.001, eta: 1.0 }), ..hot() },
        Sampling { mirostat: Some(Mirostat { version: 2, tau: 100.0, eta: 1.0 }), ..hot() },
        Sampling { repeat: 0.1, frequency: -2.0, repeat_last: Some(0), ..hot() },
        Sampling { repeat: 10.0, repeat_last: Some(u32::MAX), ..hot() },
        Sampling { bias: vec![(Word::Id(0), 100.0)], ..hot() },
    ]
}

#[test]
fn every_chain_ends_in_a_choice() {
    for sampling in all() {
        for logits in [
            vec![0.0; 7],
            vec![f32::MAX, f32::MIN, 0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY, -0.0],
            vec![f32::NEG_INFINITY, f32::NEG_INFINITY, 3.0],
            vec![1.0],
        ] {
            let mut chooser = chooser(&sampling, logits.len());
            for _ in 0..5 {
                let token = chooser.choose(&logits).unwrap().0 as usize;
                assert!(logits[token] > f32::NEG_INFINITY, "{sampling:?} {token}");
            }
        }
    }
}

#[test]
fn logits_that_are_no_numbers_are_errors() {
    for sampling in all() {
        let mut chooser = chooser(&sampling, 3);
        for bad in [[f32::NAN, 1.0, 2.0], [0.0, 1.0, f32::NAN], [f32::NEG_INFINITY; 3]] {
            assert!(chooser.choose(&bad).is_err(), "{sampling:?} {bad:?}");
        }
        assert!(chooser.choose(&[1.0, 2.0]).is_err());
        assert!(chooser.choose(&[]).is_err());
        assert!(chooser.choose(&[1.0, 2.0, 0.0]).is_ok(), "the chooser lives on");
    }
}

#[test]
fn greedy_takes_the_first_of_the_likeliest() {
    assert_eq!(chooser(&greedy(), 4).choose(&[1.0, 3.0, 3.0, -1.0]).unwrap().0, 1);
}

#[test]
fn seeds_repeat_choices() {
    let run = |seed| {
        let mut chooser = chooser(&Sampling { seed, ..hot() }, 50);
        (0..20).map(|_| chooser.choose(&[0.5; 50]).unwrap().0).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn penalties_see_what_was_chosen() {
    let mut chooser = chooser(&Sampling { presence: 2.0, ..greedy() }, 3);
    let chosen: Vec<i32> = (0..3).map(|_| chooser.choose(&[3.0, 2.5, 2.0]).unwrap().0).collect();
    assert_eq!(chosen, [0, 1, 2]);
}

#[test]
fn a_bias_is_added_to_its_token_alone() {
    let sampling = Sampling { bias: vec![(Word::Id(2), 5.0), (Word::Id(0), -100.0)], ..greedy() };
    assert_eq!(chooser(&sampling, 3).choose(&[3.0, 2.5, 2.0]).unwrap().0, 2);
    for word in [Word::Id(3), Word::Id(-1), Word::Text("a".into())] {
        let sampling = Sampling { bias: vec![(word, 1.0)], ..greedy() };
        assert!(Chooser::new(&sampling, Vocabulary::Plain(3), 256).is_err());
    }
}

#[test]
fn cut_offs_leave_what_they_should() {
    // Probabilities near 0.5, 0.3, 0.2 and almost nothing.
    let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln(), -20.0];
    let chosen = |sampling: Sampling| {
        let mut chooser = chooser(&sampling, 4);
        (0..400).map(|_| chooser.choose(&logits).unwrap().0).collect::<std::collections::BTreeSet<_>>()
    };
    let warm = || Sampling { temperature: 1.0, ..greedy() };
    let set = |ids: &[i32]| ids.iter().copied().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(chosen(warm()), set(&[0, 1, 2]));
    assert_eq!(chosen(Sampling { min_p: Some(0.5), ..warm() }), set(&[0, 1]));
    assert_eq!(chosen(Sampling { top_n_sigma: Some(0.01), ..warm() }), set(&[0]));
    let xtc = |probability| Some(Xtc { probability, threshold: 0.25 });
    assert_eq!(chosen(Sampling { xtc: xtc(1.0), ..warm() }), set(&[1, 2]));
    assert_eq!(chosen(Sampling { xtc: xtc(1.0), ..greedy() }), set(&[1]));
    assert_eq!(chosen(Sampling { xtc: xtc(0.0), ..warm() }), set(&[0, 1, 2]));
    for version in [1, 2] {
        let calm = Some(Mirostat { version, tau: 0.01, eta: 0.0 });
        assert_eq!(chosen(Sampling { mirostat: calm, ..warm() }), set(&[0]), "mirostat {version}");
    }
}

#[test]
fn mirostat_2_learns_how_much_surprise_to_allow() {
    let logits: Vec<f32> = (0..64).map(|n| -0.1 * n as f32).collect();
    let run = |tau| {
        let mirostat = Some(Mirostat { version: 2, tau, eta: 0.1 });
        let mut chooser = chooser(&Sampling { temperature: 1.0, mirostat, ..greedy() }, 64);
        (0..500).map(|_| chooser.choose(&logits).unwrap().0).sum::<i32>()
    };
    assert!(run(1.0) < run(3.0), "more surprise, less likely tokens");
}

#[test]
fn dynamic_temperature_is_cold_where_the_model_is_sure() {
    let sampling = Sampling { temperature: 2.0, dynamic: Some((2.0, 1.0)), ..greedy() };
    let misses = |logits: &[f32]| {
        let mut chooser = chooser(&sampling, logits.len());
        (0..200).filter(|_| chooser.choose(logits).unwrap().0 != 0).count()
    };
    assert_eq!(misses(&[9.0, 0.0, 0.0, 0.0]), 0);
    assert!(misses(&[0.1, 0.0, 0.0, 0.0]) > 50);
}
