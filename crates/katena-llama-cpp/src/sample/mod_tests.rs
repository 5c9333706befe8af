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
