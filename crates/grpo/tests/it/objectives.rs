use rlar_grpo::algorithm::kl::kl;
use rlar_grpo::algorithm::loss::{LossTerms, Minibatch, ReplyInputs, policy_loss, soft_overlong};
use rlar_grpo::config::{Aggregate, Algorithm, Kl, KlEstimator, KlTarget, Surrogate};
use rlar_grpo::train_loop::preference::bradley_terry;
use rlar_oracles::{needs_oracles, oracle};
use serde_json::Value;

const SURROGATES: [Surrogate; 5] =
    [Surrogate::Ppo, Surrogate::Gspo, Surrogate::Cispo, Surrogate::Sapo, Surrogate::Vespo];

fn minibatch(replies: usize, tokens: usize) -> Minibatch {
    Minibatch { replies, tokens, max_tokens: 16, entropy_floor: None }
}

fn reply<'a>(log_probs: &'a [f32], old_log_probs: &'a [f32], advantage: f64) -> ReplyInputs<'a> {
    let entropies = &[0.7; 16][..log_probs.len()];
    ReplyInputs { log_probs, old_log_probs, ref_log_probs: &[], sampler_log_probs: &[], entropies, advantage }
}

#[test]
fn the_clipped_surrogate_has_the_papers_values_and_gradients() {
    let a = Algorithm { clip_low: 0.2, clip_high: 0.3, ..Algorithm::default() };
    // Clipped on the side where the loss would fall further: no gradient; else −ratio · advantage.
    for (ratio, advantage, value, slope) in [
        (1.0f64, 2.0, -2.0, -2.0),
        (1.5, 1.0, -1.3, 0.0),
        (0.5, 1.0, -0.5, -0.5),
        (1.5, -1.0, 1.5, 1.5),
        (0.5, -1.0, 0.8, 0.0),
    ] {
        let new = [ratio.ln() as f32 - 1.0];
        let got = policy_loss(&reply(&new, &[-1.0], advantage), &a, &minibatch(1, 1));
        assert!((got.loss - value).abs() < 1e-6, "value {} for ratio {ratio}", got.loss);
        assert!(
            (f64::from(got.grad_log_probs[0]) - slope).abs() < 1e-6,
            "slope {} for ratio {ratio}",
            got.grad_log_probs[0]
        );
    }
}

#[test]
fn gradients_are_what_finite_differences_measure() {
    let old = [-1.0f32, -0.4, -2.0];
    let new = [-1.13f32, -0.35, -1.71];
    let reference = [-0.9f32, -0.5, -2.2];
    for surrogate in SURROGATES {
        for (unbiased, target) in [(false, KlTarget::Loss), (true, KlTarget::Loss), (false, KlTarget::Reward)] {
            for advantage in [1.3, -0.8] {
                let kl = Kl { estimator: KlEstimator::K3, weight: 0.3, target, unbiased, ..Kl::default() };
                let a = Algorithm { surrogate, kl, aggregate: Aggregate::SequenceMean, ..Algorithm::default() };
                let of = |log_probs: &[f32]| {
                    policy_loss(
                        &ReplyInputs { ref_log_probs: &reference, ..reply(log_probs, &old, advantage) },
                        &a,
                        &minibatch(2, 7),
                    )
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
                    let (measured, slope) = ((up - down) / (x1 - x0), f64::from(of(&new).grad_log_probs[t]));
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
fn an_advantage_of_zero_has_no_loss_and_no_gradient() {
    for surrogate in SURROGATES {
        let a = Algorithm { surrogate, ..Algorithm::default() };
        let got = policy_loss(&reply(&[-1.0, -0.2], &[-0.5, -3.0], 0.0), &a, &minibatch(1, 2));
        assert!(got.loss == 0.0 && got.grad_log_probs.iter().all(|g| *g == 0.0), "{surrogate:?}");
    }
}

#[test]
fn no_ratio_overflows() {
    for surrogate in SURROGATES {
        for (new, old) in [(-1.0, -500.0), (-500.0, -1.0)] {
            for advantage in [1.0, -1.0] {
                let a = Algorithm { surrogate, ..Algorithm::default() };
                let got = policy_loss(&reply(&[new, new], &[old, old], advantage), &a, &minibatch(1, 2));
                assert!(
                    got.loss.is_finite() && got.grad_log_probs.iter().all(|g| g.is_finite()),
                    "{surrogate:?} {new} {old}"
                );
            }
        }
    }
}

#[test]
fn losses_of_replies_add_up_to_the_loss_of_their_minibatch() {
    for aggregate in [Aggregate::TokenMean, Aggregate::SequenceMean, Aggregate::SequenceSum, Aggregate::Constant] {
        let a = Algorithm { aggregate, ..Algorithm::default() };
        let (x, y) = (
            policy_loss(&reply(&[-1.0; 3], &[-1.0; 3], 1.0), &a, &minibatch(2, 5)),
            policy_loss(&reply(&[-1.0; 2], &[-1.0; 2], 1.0), &a, &minibatch(2, 5)),
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
        assert_eq!(kl(estimator, -1.5, -1.5).value, 0.0);
        for (log_prob, reference) in [(-1.0, -3.0), (-3.0, -1.0)] {
            assert!(estimator == KlEstimator::K1 || kl(estimator, log_prob, reference).value > 0.0);
        }
    }
}

/// The loss of a reply of two tokens with a penalty for the KL of k3, without an advantage.
fn with_k3(log_probs: &[f32], reference: &[f32], unbiased: bool) -> LossTerms {
    let kl = Kl { estimator: KlEstimator::K3, weight: 0.04, unbiased, ..Kl::default() };
    let inputs = ReplyInputs { ref_log_probs: reference, ..reply(log_probs, &[-1.0, -1.0], 0.0) };
    policy_loss(&inputs, &Algorithm { kl, ..Algorithm::default() }, &minibatch(1, 2))
}

#[test]
fn a_token_whose_probability_collapsed_is_bounded_in_k3_as_its_ratio_is() {
    let most = 20f64.exp();
    for (log_prob, reference) in [(-25.0, -0.5), (-60.0, -0.01), (-200.0, -1.0), (-5e4, 0.0)] {
        let term = kl(KlEstimator::K3, log_prob, reference);
        assert!(term.value > 0.0 && term.value < most && term.grad == 0.0, "{log_prob} {reference}: {term:?}");
        for unbiased in [false, true] {
            let got = with_k3(&[log_prob as f32, -1.2], &[reference as f32, -1.0], unbiased);
            let without = with_k3(&[-1.0, -1.2], &[-1.0, -1.0], unbiased);
            assert!(got.loss.is_finite() && got.kl.k3.is_finite());
            // The other token is learned as if the collapsed one were not there. With `unbiased`, what is left of its
            // gradient goes through its ratio, which is tiny.
            let most = if unbiased { 1e-3 } else { 0.0 };
            assert!(got.grad_log_probs[0].abs() <= most, "{log_prob} {reference}: {:?}", got.grad_log_probs);
            assert_eq!(got.grad_log_probs[1], without.grad_log_probs[1]);
        }
    }
}

#[test]
fn k3_within_the_bound_is_what_it_always_was() {
    for d in [-300.0f64, -19.0, -0.25, 0.0, 0.5, 7.0, 19.9] {
        let term = kl(KlEstimator::K3, -d, 0.0);
        assert_eq!((term.value, term.grad), (d.exp() - d - 1.0, 1.0 - d.exp()), "{d}");
    }
}

#[test]
fn a_ratio_beyond_its_bound_gives_the_unbiased_kl_no_gradient() {
    let (old, reference) = ([-60.0f32], [-0.5f32]);
    let kl = Kl { estimator: KlEstimator::K3, weight: 1.0, unbiased: true, ..Kl::default() };
    let a = Algorithm { kl, ..Algorithm::default() };
    let of = |log_prob: f32| {
        let log_probs = [log_prob];
        let inputs = ReplyInputs { ref_log_probs: &reference, ..reply(&log_probs, &old, 0.0) };
        let got = policy_loss(&inputs, &a, &minibatch(1, 1));
        (got.loss, got.grad_log_probs[0])
    };
    let measured = (of(-0.99).0 - of(-1.01).0) / 0.02;
    assert!((measured / f64::from(of(-1.0).1) - 1.0).abs() < 1e-3, "{measured} {:?}", of(-1.0));
}

#[needs_oracles]
#[test]
fn the_reported_log_probs_leave_the_gradient_bounded() {
    let cases = std::fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let case = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|c| c["id"] == "b49");
    let text = case.unwrap()["input"]["numbers"].as_str().unwrap().replace([',', ':'], " ");
    let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let term = kl(KlEstimator::K3, numbers[1], numbers[0]);
    assert!(numbers[1] < -20.0 && term.value.is_finite() && term.grad.abs() <= 20f64.exp(), "{term:?}");
}

#[test]
fn the_penalty_for_length_grows_over_its_zone() {
    let lengths = [1, 12, 13, 14, 16, 17];
    assert_eq!(lengths.map(|n| soft_overlong(n, 16, 4)), [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]);
}

#[test]
fn bradley_terry_is_zero_far_right_and_the_distance_far_wrong() {
    assert!((bradley_terry(0.0, 0.0, 0.0).value - 2f64.ln()).abs() < 1e-12);
    assert!(
        bradley_terry(1000.0, 0.0, 0.0).value < 1e-12 && (bradley_terry(0.0, 1000.0, 0.0).value - 1000.0).abs() < 1e-9
    );
    let loss = bradley_terry(0.3, 0.5, 0.25);
    let measured = (bradley_terry(0.3 + 1e-6, 0.5, 0.25).value - bradley_terry(0.3 - 1e-6, 0.5, 0.25).value) / 2e-6;
    assert!(loss.value > 0.0 && (loss.grad_chosen - measured).abs() < 1e-6);
}
