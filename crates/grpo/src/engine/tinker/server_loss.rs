//! How a server makes one loss of the losses of tokens, which differs between servers and is nowhere in the API.
//!
//! It is measured on a model of its own: the server says the norm of the gradient of passes that differ only in how many
//! targets count and how many sequences there are. One step of known size shows the absolute scale: with AdamW's decay rates at 0 and
//! an `eps` far above the gradient `g`, the step is `−s · g` with `s = learning_rate / eps`. If `g` is `−c` times the gradient of a
//! token's log-prob, this log-prob rises by `s · |g|² / c`.

use rlar_tinker::{AdamParams, Datum, LossFunction, TrainingModel};
use serde::{Deserialize, Serialize};

use crate::engine::tinker::trainer::grad_norm;

/// Number of tokens of the sequence on which the loss is measured.
pub(super) const MEASURED_TOKENS: usize = 8;

/// Number of targets that count in the longer sequence.
const LONGER: usize = 4;

/// By how much a log-prob is to rise in the step of known size, in nats, if the server does not divide.
const RISE: f64 = 0.05;

/// Largest relative difference of a ratio of norms from what it should be.
const RATIO_TOLERANCE: f64 = 0.05;

/// Largest factor between the absolute scale and 1. The rise is not exactly linear in the step.
const SCALE_TOLERANCE: f64 = 1.5;

/// How a server makes one loss of the losses of the targets with weight 1. All but the first are also an
/// [`Aggregate`](crate::config::Aggregate) of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerLoss {
    /// The sum over all targets.
    Sum,
    /// The sum over the targets of a sequence, then the mean over sequences.
    SequenceSum,
    /// The mean over the targets of a sequence, then over sequences, as in SkyRL 0.3.
    SequenceMean,
    /// The mean over all targets.
    TokenMean,
}

/// The sizes of a pass by which a server may divide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassTotals {
    /// Number of sequences.
    pub sequences: usize,
    /// Number of targets with weight 1 in all sequences.
    pub targets: usize,
}

/// What was measured of a server's loss.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredLoss {
    /// The kind of loss that fits.
    pub loss: ServerLoss,
    /// The factor before the loss of a target that is alone, from the step of known size. It should be 1.
    pub scale: f64,
    /// Norm of the gradient with four targets that count, of which one has an advantage, divided by that of this one alone.
    pub longer: f64,
    /// Norm of the gradient with a second sequence of four targets without advantages, divided by that without it.
    pub beside_another: f64,
}

impl ServerLoss {
    const ALL: [Self; 4] = [Self::Sum, Self::SequenceSum, Self::SequenceMean, Self::TokenMean];

    /// The factor by which the server multiplies the loss of a target, in a sequence with `n` targets.
    pub fn factor(self, n: usize, pass: PassTotals) -> f64 {
        match self {
            Self::Sum => 1.0,
            Self::SequenceSum => 1.0 / pass.sequences as f64,
            Self::SequenceMean => 1.0 / (n * pass.sequences) as f64,
            Self::TokenMean => 1.0 / pass.targets as f64,
        }
    }

    /// The kind of loss with these ratios of norms; `None` if none has.
    fn fitting(longer: f64, beside_another: f64) -> Option<Self> {
        let is_near = |measured: f64, expected: f64| (measured / expected - 1.0).abs() <= RATIO_TOLERANCE;
        Self::ALL.into_iter().find(|loss| {
            is_near(longer, loss.factor(LONGER, PassTotals { sequences: 1, targets: LONGER }))
                && is_near(beside_another, loss.factor(1, PassTotals { sequences: 2, targets: 1 + LONGER }))
        })
    }
}

/// A sequence whose last `counted` targets count, of which the last has an advantage. `logprobs` are the present ones of its
/// targets, so that all ratios are 1.
fn datum(tokens: &[u32], logprobs: &[f32], counted: usize, advantage: f32) -> Datum {
    let mut datum = Datum::supervised(&tokens[..1], &tokens[1..]);
    let targets = datum.targets.len();
    datum.weights = (0..targets).map(|i| if i + counted >= targets { 1.0 } else { 0.0 }).collect();
    datum.advantages = Some((0..targets).map(|i| if i + 1 == targets { advantage } else { 0.0 }).collect());
    datum.logprobs = Some(logprobs.to_vec());
    datum
}

/// Measures how a server makes one loss of the losses of tokens, on a model that is not used for anything else. `tokens` are
/// [`MEASURED_TOKENS`] tokens. The error says what is wrong.
pub(super) async fn measure_loss(model: &mut TrainingModel, tokens: &[u32]) -> Result<MeasuredLoss, String> {
    // Takes up gradients that an earlier client may have left.
    step(model, 0.0, 1.0).await?;
    let before = logprobs(model, tokens).await?;
    let alone = datum(tokens, &before, 1, 1.0);
    let (one, more) = (datum(tokens, &before, LONGER, 1.0), datum(tokens, &before, LONGER, 0.0));
    let norm = norm_of(model, std::slice::from_ref(&alone)).await?;
    if norm <= 0.0 {
        return Err("the gradient of a token's log-prob has the norm 0, so it does not train".into());
    }
    let longer = norm_of(model, &[one]).await? / norm;
    let beside_another = norm_of(model, &[alone.clone(), more]).await? / norm;

    pass(model, &[alone]).await?;
    let (s, eps) = (RISE / norm.powi(2), 1000.0 * norm);
    step(model, s * eps, eps).await?;
    let after = logprobs(model, tokens).await?;
    let rise = after.last().zip(before.last()).map_or(0.0, |(after, before)| f64::from(*after) - f64::from(*before));
    let scale = s * norm.powi(2) / rise;
    let measured = format!(
        "a log-prob rose by {rise:.3e} nats where a loss without a factor gives {RISE}; with four targets instead of one, the \
         gradient's norm is {longer:.3} times as large, and beside a second sequence {beside_another:.3} times"
    );
    match ServerLoss::fitting(longer, beside_another) {
        Some(loss) if (1.0 / SCALE_TOLERANCE..=SCALE_TOLERANCE).contains(&scale) => {
            Ok(MeasuredLoss { loss, scale, longer, beside_another })
        }
        _ => Err(format!(
            "its average of the losses of tokens is none that rlar knows (sum; sum or mean per sequence, then mean; mean over \
             all tokens), so that its steps would not be those that `algorithm.aggregate` asks for: {measured}"
        )),
    }
}

/// The log-probs of the targets of a sequence.
async fn logprobs(model: &mut TrainingModel, tokens: &[u32]) -> Result<Vec<f32>, String> {
    let data = [Datum::supervised(&tokens[..1], &tokens[1..])];
    let forward = model.forward(&data, LossFunction::CrossEntropy).await.map_err(|e| e.to_string())?;
    let output = forward.result().await.map_err(|e| e.to_string())?;
    Ok(output.data.into_iter().next().map(|datum| datum.logprobs).unwrap_or_default())
}

/// The norm of the gradient of a pass. The weights stay as they are.
async fn norm_of(model: &mut TrainingModel, data: &[Datum]) -> Result<f64, String> {
    pass(model, data).await?;
    step(model, 0.0, 1.0).await
}

async fn pass(model: &mut TrainingModel, data: &[Datum]) -> Result<(), String> {
    let pass = model.forward_backward(data, LossFunction::ImportanceSampling).await.map_err(|e| e.to_string())?;
    pass.result().await.map(|_| ()).map_err(|e| e.to_string())
}

/// Takes a step whose moments are the gradient and its square. Returns the norm of the gradient.
async fn step(model: &mut TrainingModel, learning_rate: f64, eps: f64) -> Result<f64, String> {
    let adam = AdamParams { learning_rate, beta1: 0.0, beta2: 0.0, eps, weight_decay: 0.0 };
    let step = model.optim_step(adam).await.map_err(|e| e.to_string())?;
    let output = step.result().await.map_err(|e| e.to_string())?;
    grad_norm(&output)
}
