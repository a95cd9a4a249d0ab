//! One step of a reward model down the loss of its preferences, and how often it prefers what people prefer.

use rlar_policy::{AdamW, Gradients, PolicyError, RewardInput, RewardModel, micro_batches};
use serde_json::{Value, json};

use crate::TrainError;
use crate::train_loop::preference::{Pair, bradley_terry};
use crate::update::train_state::State;

/// Descends the mean loss of some pairs, `tokens` at a time; gives the record of the step.
pub fn step(
    state: &mut State<RewardModel>,
    pairs: &[&Pair],
    optimizer: &AdamW,
    lr: f32,
    tokens: usize,
) -> Result<Value, TrainError> {
    let mut gradients = Gradients::default();
    let (mut loss, mut right, mut margin) = (0.0, 0, 0.0);
    for piece in micro_batches(pairs.iter().map(|p| p.len()), tokens) {
        let piece = &pairs[piece];
        let inputs: Vec<&RewardInput> = piece.iter().flat_map(|p| [&p.chosen, &p.rejected]).collect();
        state.model.backward(&mut gradients, &inputs, |scores| {
            let mut slopes = Vec::with_capacity(scores.len());
            for (pair, s) in piece.iter().zip(scores.chunks_exact(2)) {
                let (chosen, rejected) = (f64::from(s[0]), f64::from(s[1]));
                let (value, slope) = bradley_terry(chosen, rejected, pair.margin);
                loss += value;
                margin += chosen - rejected;
                right += usize::from(chosen > rejected);
                let slope = (slope / pairs.len() as f64) as f32;
                slopes.extend([slope, -slope]);
            }
            slopes
        });
    }
    let State { model, moments, ledger } = state;
    let decoder = model.decoder_mut().ok_or_else(|| PolicyError::Request("an encoder cannot be trained".into()))?;
    let norm = optimizer.step(decoder, moments, gradients, lr);
    if !norm.is_finite() {
        return Err(TrainError::Diverged { step: ledger.step + 1 });
    }
    let n = pairs.len() as f64;
    Ok(json!({
        "step": ledger.step + 1,
        "loss": loss / n,
        "accuracy": right as f64 / n,
        "margin": margin / n,
        "grad_norm": norm,
        "learning_rate": lr,
    }))
}

/// Share of pairs whose chosen reply scores higher.
pub fn accuracy(model: &RewardModel, pairs: &[Pair], tokens: usize) -> Result<f64, PolicyError> {
    let inputs: Vec<RewardInput> = pairs.iter().flat_map(|p| [p.chosen.clone(), p.rejected.clone()]).collect();
    let outputs = model.outputs(&inputs, tokens)?;
    let right = outputs.chunks_exact(2).filter(|s| s[0][0] > s[1][0]).count();
    Ok(right as f64 / pairs.len().max(1) as f64)
}
