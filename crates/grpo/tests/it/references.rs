//! Losses, gradients, advantages and metrics beside what TRL, verl and OpenRLHF gave for the same numbers
//! (`scripts/oracles/make_grpo_fixtures.py` recorded them).

use rlar_grpo::algorithm::advantage::{GroupScores, ScoreColumn, advantages};
use rlar_grpo::algorithm::kl::kl;
use rlar_grpo::algorithm::loss::{LossTerms, Minibatch, ReplyInputs, entropy_floor, policy_loss, soft_overlong};
use rlar_grpo::config::{Algorithm, CorrectionMode, KlEstimator, Surrogate};
use rlar_grpo::train_loop::preference::{PairLoss, bradley_terry};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Fixtures {
    losses: Vec<Case>,
    advantages: Vec<Advantages>,
    kl: Vec<Estimate>,
    soft_overlong: Vec<Overlong>,
    preference: Vec<Preference>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    settings: Algorithm,
    max_tokens: usize,
    sequences: Vec<Tokens>,
    loss: f64,
    gradient: Vec<Vec<f64>>,
    entropy_gradient: Option<Vec<Vec<f64>>>,
    #[serde(default)]
    metrics: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
struct Tokens {
    log_probs: Vec<f32>,
    old: Vec<f32>,
    reference: Option<Vec<f32>>,
    sampled: Option<Vec<f32>>,
    entropies: Option<Vec<f32>>,
    advantage: f64,
}

#[derive(Deserialize)]
struct Advantages {
    name: String,
    settings: Algorithm,
    tools: Vec<f64>,
    groups: Vec<Scored>,
}

#[derive(Deserialize)]
struct Scored {
    scores: Vec<Vec<Option<f64>>>,
    lengths: Vec<usize>,
    advantages: Vec<f64>,
}

#[derive(Deserialize)]
struct Estimate {
    estimator: KlEstimator,
    log_probs: Vec<f64>,
    reference: Vec<f64>,
    values: Vec<f64>,
    gradient: Vec<f64>,
}

#[derive(Deserialize)]
struct Overlong {
    max_tokens: usize,
    soft_tokens: usize,
    lengths: Vec<usize>,
    penalties: Vec<f64>,
}

#[derive(Deserialize)]
struct Preference {
    name: String,
    margin: Value,
    chosen: Vec<f64>,
    rejected: Vec<f64>,
    loss: f64,
    gradient_chosen: Vec<f64>,
    gradient_rejected: Vec<f64>,
}

fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("../fixtures/grpo.json")).unwrap()
}

/// Equal within 1e-5, relative to numbers beyond 1.
#[track_caller]
fn same(got: f64, want: f64, of: &str) {
    assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{of}: {got}, not {want}");
}

/// The difference is at most 1e-5 of the whole.
#[track_caller]
fn same_direction<'a>(got: impl Iterator<Item = &'a f32>, want: impl Iterator<Item = &'a f64>, of: &str) {
    let (got, want): (Vec<f64>, Vec<f64>) = (got.map(|g| f64::from(*g)).collect(), want.copied().collect());
    assert_eq!(got.len(), want.len(), "{of}");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
    let (off, whole) = (norm(&mut got.iter().zip(&want).map(|(g, w)| g - w)), norm(&mut want.iter().copied()));
    assert!(off <= 1e-5 * whole, "{of}: off by {off} of {whole}");
}

fn minibatch(case: &Case) -> Minibatch {
    let entropies: Vec<f32> = case.sequences.iter().flat_map(|s| s.entropies.iter().flatten().copied()).collect();
    Minibatch {
        replies: case.sequences.len(),
        tokens: case.sequences.iter().map(|s| s.log_probs.len()).sum(),
        max_tokens: case.max_tokens,
        entropy_floor: entropy_floor(&entropies, case.settings.top_entropy),
    }
}

fn losses(case: &Case) -> Vec<LossTerms> {
    let minibatch = minibatch(case);
    let none = vec![0.0; 4096];
    let loss = |s: &Tokens| {
        let reply = ReplyInputs {
            log_probs: &s.log_probs,
            old_log_probs: &s.old,
            ref_log_probs: s.reference.as_deref().unwrap_or_default(),
            sampler_log_probs: s.sampled.as_deref().unwrap_or_default(),
            entropies: s.entropies.as_deref().unwrap_or(&none[..s.log_probs.len()]),
            advantage: s.advantage,
        };
        policy_loss(&reply, &case.settings, &minibatch)
    };
    case.sequences.iter().map(loss).collect()
}

#[test]
fn losses_and_their_gradients_are_those_of_the_references() {
    let cases = fixtures().losses;
    assert!(cases.len() > 140, "{} cases", cases.len());
    for case in &cases {
        let losses = losses(case);
        same(losses.iter().map(|c| c.loss).sum(), case.loss, &case.name);
        let grads = losses.iter().flat_map(|l| &l.grad_log_probs);
        same_direction(grads, case.gradient.iter().flatten(), &format!("{}: gradient", case.name));
        let entropy_grads = losses.iter().flat_map(|l| &l.grad_entropies);
        let wanted = case.entropy_gradient.iter().flatten().flatten();
        if case.entropy_gradient.is_some() {
            same_direction(entropy_grads, wanted, &format!("{}: entropy gradient", case.name));
        }
    }
}

#[test]
fn metrics_are_those_that_the_reference_logs() {
    let mut seen = 0;
    for case in &fixtures().losses {
        let losses = losses(case);
        let tokens = minibatch(case).tokens as f64;
        let ratios: usize = losses.iter().map(|c| c.ratios.len()).sum();
        let share = |of: &dyn Fn(&LossTerms) -> usize| losses.iter().map(of).sum::<usize>() as f64 / ratios as f64;
        let clips = matches!(case.settings.surrogate, Surrogate::Ppo | Surrogate::Gspo);
        let high_in = |c: &LossTerms| c.clipped_high as f64 / c.ratios.len() as f64;
        let low_in = |c: &LossTerms| c.clipped_low as f64 / c.ratios.len() as f64;
        // TRL counts clips after its two-sided bound; the bound lies above the clip, so counts agree.
        for (name, want) in &case.metrics {
            let Some(want) = want.as_f64() else { continue };
            let got = match name.as_str() {
                "kl" => losses.iter().map(|c| c.kl.in_loss).sum::<f64>() / tokens,
                "clip_ratio/low_mean" if clips => share(&|c| c.clipped_low),
                "clip_ratio/high_mean" if clips => share(&|c| c.clipped_high),
                "clip_ratio/region_mean" if clips => share(&|c| c.clipped_low + c.clipped_high),
                "clip_ratio/low_min" if clips => losses.iter().map(low_in).fold(f64::INFINITY, f64::min),
                "clip_ratio/high_max" if clips => losses.iter().map(high_in).fold(0.0, f64::max),
                "cispo_clip_ratio" if case.settings.surrogate == Surrogate::Cispo => share(&|c| c.clipped_high),
                "sampling/importance_sampling_ratio/mean" => {
                    // One weight per reply, or one per token.
                    let mode = case.settings.correction.mode;
                    let by_reply = matches!(mode, CorrectionMode::SequenceTruncate | CorrectionMode::SequenceMask);
                    let all: Vec<f64> = losses
                        .iter()
                        .flat_map(|c| if by_reply { &c.importance_weights[..1] } else { &c.importance_weights[..] })
                        .copied()
                        .collect();
                    all.iter().sum::<f64>() / all.len() as f64
                }
                "sampling/importance_sampling_ratio/min" => {
                    losses.iter().flat_map(|c| &c.importance_weights).copied().fold(f64::INFINITY, f64::min)
                }
                "sampling/importance_sampling_ratio/max" => {
                    losses.iter().flat_map(|c| &c.importance_weights).copied().fold(0.0, f64::max)
                }
                _ => continue,
            };
            same(got, want, &format!("{}: {name}", case.name));
            seen += 1;
        }
    }
    assert!(seen > 400, "{seen} metrics");
}

#[test]
fn advantages_are_those_of_the_references() {
    let cases = fixtures().advantages;
    assert!(cases.len() > 20, "{} cases", cases.len());
    for case in &cases {
        let column = |g: &Scored, (tool, weight): (usize, &f64)| ScoreColumn {
            weight: *weight,
            scores: g.scores.iter().map(|s| s[tool]).collect(),
        };
        let group = |g: &Scored| GroupScores {
            tools: case.tools.iter().enumerate().map(|tool| column(g, tool)).collect(),
            lengths: g.lengths.clone(),
        };
        let groups: Vec<GroupScores> = case.groups.iter().map(group).collect();
        for (g, (got, want)) in advantages(&groups, &case.settings).iter().zip(&case.groups).enumerate() {
            for (i, (got, want)) in got.iter().zip(&want.advantages).enumerate() {
                // A reply without a score has advantage 0 there and none here.
                same(got.unwrap_or(0.0), *want, &format!("{}: group {g}, reply {i}", case.name));
            }
        }
    }
}

#[test]
fn estimates_of_kl_are_those_of_the_references() {
    for case in fixtures().kl {
        for i in 0..case.values.len() {
            let term = kl(case.estimator, case.log_probs[i], case.reference[i]);
            same(term.value, case.values[i], &format!("{:?} {i}", case.estimator));
            same(term.grad, case.gradient[i], &format!("gradient of {:?} {i}", case.estimator));
        }
    }
}

#[test]
fn penalties_for_length_are_those_of_the_reference() {
    for case in fixtures().soft_overlong {
        for (length, want) in case.lengths.iter().zip(&case.penalties) {
            let got = soft_overlong(*length, case.max_tokens, case.soft_tokens);
            same(got, *want, &format!("{length} of {} with {}", case.max_tokens, case.soft_tokens));
        }
    }
}

#[test]
fn the_loss_of_preferences_is_that_of_the_reference() {
    for case in fixtures().preference {
        let n = case.chosen.len() as f64;
        let margin = |i: usize| match &case.margin {
            Value::Array(margins) => margins[i].as_f64().unwrap(),
            other => other.as_f64().unwrap_or(0.0),
        };
        let pairs: Vec<PairLoss> =
            (0..case.chosen.len()).map(|i| bradley_terry(case.chosen[i], case.rejected[i], margin(i))).collect();
        same(pairs.iter().map(|pair| pair.value).sum::<f64>() / n, case.loss, &case.name);
        for (i, pair) in pairs.iter().enumerate() {
            same(pair.grad_chosen / n, case.gradient_chosen[i], &case.name);
            same(-pair.grad_chosen / n, case.gradient_rejected[i], &case.name);
        }
    }
}
