//! `algorithm`: advantages, surrogate loss, aggregation, KL, importance correction. `docs/algorithms.md` has the equations.
//!
//! To add a variant of a part: add it to the part's enum here, and its equation to the `match` in `algorithm/advantage.rs`,
//! `algorithm/surrogate.rs`, `algorithm/kl.rs`, `algorithm/importance.rs` or (aggregation) `algorithm/loss.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The algorithm, part by part, each under its published name. The defaults are GRPO with DAPO's token mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Algorithm {
    /// How scores become advantages.
    pub advantage: Estimator,
    /// `pass_at_k`: the number k of replies of which the best counts, from 2 to `train.group_size`; 0 is the group size.
    pub pass_k: usize,
    /// How the scores of several tools are combined.
    pub combine: Combine,
    /// The surrogate loss: a function of the ratio of the policy's probability to the old policy's.
    pub surrogate: Surrogate,
    /// Ratios are clipped below `1 − clip_low`.
    #[schemars(range(min = 0, max = 1))]
    pub clip_low: f64,
    /// Ratios are clipped above `1 + clip_high`; DAPO sets it above `clip_low`.
    #[schemars(range(min = 0))]
    pub clip_high: f64,
    /// Dual clip (Ye et al., 2020): the loss of a token with a negative advantage is at most this many times the advantage;
    /// more than 1.
    #[schemars(extend("exclusiveMinimum" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dual_clip: Option<f64>,
    /// Two-sided clip (INTELLECT-2, 2025): an upper bound of the unclipped ratio; more than `1 + clip_high`.
    #[schemars(extend("exclusiveMinimum" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_max: Option<f64>,
    /// `sapo`: temperatures of the gate, for positive and for other advantages.
    pub sapo_temperature: [f64; 2],
    /// How the losses of tokens are aggregated.
    pub aggregate: Aggregate,
    /// The KL penalty to the reference policy.
    pub kl: Kl,
    /// Weight of the mean entropy of the next token in the objective.
    #[schemars(range(min = 0))]
    pub entropy_bonus: f64,
    /// Share of the tokens that enter the surrogate loss: those of highest entropy (Wang et al., 2025).
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    pub top_entropy: f64,
    /// Replies with a negative advantage are left out when the policy has moved further than this from the one that sampled
    /// them, in mean nats per token (DeepSeek-V3.2, eq. 9).
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_policy_mask: Option<f64>,
    /// Importance correction for a sampler whose probabilities differ from the trainer's.
    pub correction: Correction,
    /// Treatment of replies that ran into `sampling.max_tokens`.
    pub overlong: Overlong,
    /// Dynamic sampling (DAPO): groups without spread are replaced by groups of further prompts, in at most this many rounds
    /// per step; 0 keeps them.
    #[schemars(range(max = 100))]
    pub dynamic_sampling: usize,
}

impl Default for Algorithm {
    fn default() -> Self {
        Self {
            advantage: Estimator::Grpo,
            pass_k: 0,
            combine: Combine::NormaliseThenSum,
            surrogate: Surrogate::Ppo,
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: None,
            ratio_max: None,
            sapo_temperature: [1.0, 1.05],
            aggregate: Aggregate::TokenMean,
            kl: Kl::default(),
            entropy_bonus: 0.0,
            top_entropy: 1.0,
            off_policy_mask: None,
            correction: Correction::default(),
            overlong: Overlong::default(),
            dynamic_sampling: 0,
        }
    }
}

/// How scores become advantages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// Score minus the group's mean, divided by its standard deviation (Shao et al., 2024, eq. 3). With several tools the sums
    /// are normalised again over the batch (GDPO: Liu et al., 2026).
    Grpo,
    /// Score minus the group's mean, divided by the batch's standard deviation (Hu et al., 2025).
    GrpoBatchStd,
    /// Score minus the group's mean (Dr. GRPO: Liu et al., 2025).
    DrGrpo,
    /// Score minus the mean of the group's other replies (RLOO: Ahmadian et al., 2024).
    Rloo,
    /// Score minus the group's mean, then normalised over all tokens of the batch (REINFORCE++: Hu et al., 2025).
    ReinforcePlusPlusBaseline,
    /// Score minus the group's mean, divided by that mean: maximum likelihood of success (Tajwar et al., 2026). Scores must
    /// not be negative.
    MaxRl,
    /// How much a reply raises the best score among `pass_k` replies (Tang et al., 2025; Walder & Karkhanis, 2025).
    PassAtK,
}

/// How the scores of several tools are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Each tool's scores are normalised, then summed with the tools' weights (GDPO: Liu et al., 2026), so that the scale of a
    /// tool's scores does not act as a weight.
    NormaliseThenSum,
    /// The scores are summed with the tools' weights, then normalised.
    SumThenNormalise,
}

/// The surrogate loss: a function of the ratio of the policy's probability to the old policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// The ratio of each token, clipped (PPO: Schulman et al., 2017, eq. 7).
    Ppo,
    /// The geometric mean of a reply's ratios, clipped (GSPO: Zheng et al., 2025).
    Gspo,
    /// The clipped ratio as a constant weight of the log-prob (CISPO: MiniMax, 2025).
    Cispo,
    /// The ratio, gated by a sigmoid instead of clipped (SAPO: Gao et al., 2025).
    Sapo,
    /// A constant weight of the log-prob, a gamma-shaped function of the whole reply's ratio (VESPO: arXiv 2602.10693, 2026).
    Vespo,
}

/// How the losses of tokens are aggregated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The mean over all tokens (DAPO: Yu et al., 2025).
    TokenMean,
    /// The mean over replies of the mean over their tokens (GRPO: Shao et al., 2024).
    SequenceMean,
    /// The mean over replies of the sum over their tokens.
    SequenceSum,
    /// The mean over replies of the sum over their tokens, divided by `sampling.max_tokens` (Dr. GRPO: Liu et al., 2025).
    Constant,
}

/// The KL penalty to the reference policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kl {
    /// The estimator of each token's KL; `none` is no penalty and needs no reference model.
    pub estimator: KlEstimator,
    /// Weight of the penalty.
    #[schemars(range(min = 0))]
    pub weight: f64,
    /// Whether the penalty is part of the loss or of the reward.
    #[serde(rename = "in")]
    pub place: KlPlace,
    /// Whether the estimate in the loss is multiplied by the ratio, which makes its gradient unbiased (DeepSeek-V3.2).
    pub unbiased: bool,
    /// Steps after which the current policy becomes the reference model; 0 keeps the first one.
    pub reanchor_every: u64,
}

impl Default for Kl {
    fn default() -> Self {
        Self { estimator: KlEstimator::None, weight: 0.01, place: KlPlace::Loss, unbiased: false, reanchor_every: 0 }
    }
}

/// The estimator of a token's KL (Schulman, 2020), with `d = ref_log_prob − log_prob`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// No penalty.
    None,
    /// `−d`.
    K1,
    /// `d² / 2`.
    K2,
    /// `exp(d) − d − 1`.
    K3,
}

/// Where the KL penalty is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlPlace {
    /// Added to the loss of every token.
    Loss,
    /// Its sum over a reply is subtracted from the reply's reward.
    Reward,
}

/// Importance correction: tokens or replies are weighted by the trainer's probability divided by the sampler's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Correction {
    /// What is weighted, and how weights out of bounds are treated.
    pub mode: CorrectionMode,
    /// Least weight.
    #[schemars(range(min = 0))]
    pub low: f64,
    /// Greatest weight.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub high: f64,
}

impl Default for Correction {
    fn default() -> Self {
        Self { mode: CorrectionMode::None, low: 0.0, high: 2.0 }
    }
}

/// What is weighted, and how weights out of bounds are treated (Yao et al., 2025; Liu et al., 2025).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionMode {
    /// Nothing: the sampler's log-probs stand for the old policy's.
    None,
    /// Tokens; weights out of bounds are clamped.
    TokenTruncate,
    /// Tokens; those with weights out of bounds are left out.
    TokenMask,
    /// Whole replies; weights out of bounds are clamped.
    SequenceTruncate,
    /// Whole replies; those with weights out of bounds are left out.
    SequenceMask,
}

/// Treatment of replies that ran into `sampling.max_tokens` (DAPO: Yu et al., 2025).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overlong {
    /// Whether they are left out of the loss. They stay in their group's baseline.
    pub filter: bool,
    /// Soft overlong penalty: number of tokens before `sampling.max_tokens` over which it falls from 0 to −1; 0 is no penalty.
    /// Needs `combine: sum_then_normalise`.
    pub soft_tokens: usize,
    /// Weight of the soft overlong penalty, which counts as one more tool.
    #[schemars(range(min = 0))]
    pub weight: f64,
}

impl Default for Overlong {
    fn default() -> Self {
        Self { filter: false, soft_tokens: 0, weight: 1.0 }
    }
}
