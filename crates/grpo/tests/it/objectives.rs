use rlar_grpo::algorithm::kl::kl;
use rlar_grpo::algorithm::loss::{Batch, Reply, costed, soft_overlong};
use rlar_grpo::config::{Aggregate, Algorithm, Kl, KlEstimator, KlPlace, Surrogate};
use rlar_grpo::train_loop::preference::bradley_terry;

const SURROGATES: [Surrogate; 5] =
    [Surrogate::Ppo, Surrogate::Gspo, Surrogate::Cispo, Surrogate::Sapo, Surrogate::Vespo];

fn batch(replies: usize, tokens: usize) -> Batch {
    Batch { replies, tokens, max_tokens: 16, entropy_floor: None }
}

fn reply<'a>(log_probs: &'a [f32], old: &'a [f32], advantage: f64) -> Reply<'a> {
    Reply { log_probs, old, reference: &[], sampled: &[], entropies: &[0.7; 16][..log_probs.len()], advantage }
}

#[test]
fn the_clipped_surrogate_has_the_papers_values_and_slopes() {
    let a = Algorithm { clip_low: 0.2, clip_high: 0.3, ..Algorithm::default() };
    // Clipped on the side where it would earn more: no slope; else −ratio · advantage.
    for (ratio, advantage, value, slope) in [
        (1.0f64, 2.0, -2.0, -2.0),
        (1.5, 1.0, -1.3, 0.0),
        (0.5, 1.0, -0.5, -0.5),
        (1.5, -1.0, 1.5, 1.5),
        (0.5, -1.0, 0.8, 0.0),
    ] {
        let new = [ratio.ln() as f32 - 1.0];
        let got = costed(&reply(&new, &[-1.0], advantage), &a, &batch(1, 1));
        assert!((got.loss - value).abs() < 1e-6, "value {} for ratio {ratio}", got.loss);
        assert!((f64::from(got.by_log_prob[0]) - slope).abs() < 1e-6, "slope {} for ratio {ratio}", got.by_log_prob[0]);
    }
}

#[test]
fn slopes_are_what_finite_differences_measure() {
    let old = [-1.0f32, -0.4, -2.0];
    let new = [-1.13f32, -0.35, -1.71];
    let reference = [-0.9f32, -0.5, -2.2];
    let places = [KlPlace::Loss, KlPlace::Reward];
    for surrogate in SURROGATES {
        for (unbiased, place) in [(false, places[0]), (true, places[0]), (false, places[1])] {
            for advantage in [1.3, -0.8] {
                let kl = Kl { estimator: KlEstimator::K3, weight: 0.3, place, unbiased, ..Kl::default() };
                let a = Algorithm { surrogate, kl, aggregate: Aggregate::SequenceMean, ..Algorithm::default() };
                let of = |log_probs: &[f32]| {
                    costed(&Reply { reference: &reference, ..reply(log_probs, &old, advantage) }, &a, &batch(2, 7))
                };
                for t in 0..3 {
                    // CISPO and VESPO hold their weights still, which a difference does not.
                    if matches!(surrogate, Surrogate::Cispo | Surrogate::Vespo) {
                        continue;
                    }
                    let step = 1e-3f32;
                    let at = |d: f32| {
                        let mut moved = new;
                        moved[t] += d;
                        (of(&moved).loss, f64::from(moved[t]))
                    };
                    let ((up, x1), (down, x0)) = (at(step), at(-step));
                    let (measured, slope) = ((up - down) / (x1 - x0), f64::from(of(&new).by_log_prob[t]));
                    assert!(
                        (measured - slope).abs() < 1e-4,
                        "{surrogate:?} {unbiased} {advantage} {t}: {slope}, not {measured}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_advantage_of_zero_pulls_at_nothing() {
    for surrogate in SURROGATES {
        let a = Algorithm { surrogate, ..Algorithm::default() };
        let got = costed(&reply(&[-1.0, -0.2], &[-0.5, -3.0], 0.0), &a, &batch(1, 2));
        assert!(got.loss == 0.0 && got.by_log_prob.iter().all(|g| *g == 0.0), "{surrogate:?}");
    }
}

#[test]
fn no_ratio_overflows() {
    for surrogate in SURROGATES {
        for (new, old) in [(-1.0, -500.0), (-500.0, -1.0)] {
            for advantage in [1.0, -1.0] {
                let a = Algorithm { surrogate, ..Algorithm::default() };
                let got = costed(&reply(&[new, new], &[old, old], advantage), &a, &batch(1, 2));
                assert!(
                    got.loss.is_finite() && got.by_log_prob.iter().all(|g| g.is_finite()),
                    "{surrogate:?} {new} {old}"
                );
            }
        }
    }
}

#[test]
fn shares_of_a_batch_add_up_however_it_is_cut() {
    for aggregate in [Aggregate::TokenMean, Aggregate::SequenceMean, Aggregate::SequenceSum, Aggregate::Constant] {
        let a = Algorithm { aggregate, ..Algorithm::default() };
        let (x, y) = (
            costed(&reply(&[-1.0; 3], &[-1.0; 3], 1.0), &a, &batch(2, 5)),
            costed(&reply(&[-1.0; 2], &[-1.0; 2], 1.0), &a, &batch(2, 5)),
        );
        let want = match aggregate {
            Aggregate::TokenMean | Aggregate::SequenceMean => -1.0,
            Aggregate::SequenceSum => -2.5,
            Aggregate::Constant => -5.0 / 32.0,
        };
        assert!((x.loss + y.loss - want).abs() < 1e-12, "{aggregate:?}");
    }
}

#[test]
fn estimates_of_kl_are_zero_at_the_reference_and_two_are_never_negative() {
    for estimator in [KlEstimator::K1, KlEstimator::K2, KlEstimator::K3] {
        assert_eq!(kl(estimator, -1.5, -1.5).0, 0.0);
        for (log_prob, reference) in [(-1.0, -3.0), (-3.0, -1.0)] {
            assert!(estimator == KlEstimator::K1 || kl(estimator, log_prob, reference).0 > 0.0);
        }
    }
}

#[test]
fn the_penalty_for_length_grows_over_its_zone() {
    let lengths = [1, 12, 13, 14, 16, 17];
    assert_eq!(lengths.map(|n| soft_overlong(n, 16, 4)), [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]);
}

#[test]
fn a_pair_costs_nothing_far_right_and_its_distance_far_wrong() {
    assert!((bradley_terry(0.0, 0.0, 0.0).0 - 2f64.ln()).abs() < 1e-12);
    assert!(bradley_terry(1000.0, 0.0, 0.0).0 < 1e-12 && (bradley_terry(0.0, 1000.0, 0.0).0 - 1000.0).abs() < 1e-9);
    let (value, slope) = bradley_terry(0.3, 0.5, 0.25);
    let measured = (bradley_terry(0.3 + 1e-6, 0.5, 0.25).0 - bradley_terry(0.3 - 1e-6, 0.5, 0.25).0) / 2e-6;
    assert!(value > 0.0 && (slope - measured).abs() < 1e-6);
}
