//! Section `algorithm`: advantages, surrogate loss, aggregation, KL penalty, importance correction.
//! `docs/reference/algorithms.md` has the equations.
//!
//! To add a variant, such as another surrogate loss: add it to its enum here, and its equation to the `match` in
//! `algorithm/advantage.rs`, `algorithm/surrogate.rs`, `algorithm/kl.rs`, `algorithm/importance.rs` or (for
//! aggregation) `algorithm/loss.rs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The reinforcement-learning algorithm, composed of parts with their published names. The defaults are GRPO with the
/// token mean of DAPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Algorithm {
    /// How the scores of a group become advantages.
    pub advantage: Estimator,
    /// `pass_at_k` only: the k of pass@k, from 2 to `train.group_size`; 0 means the group size.
    pub pass_k: usize,
    /// How the scores of several tools become one advantage.
    pub combine: Combine,
    /// The surrogate loss: a function of the ratio of the policy's token probability to the old policy's.
    pub surrogate: Surrogate,
    /// Lower clip range: ratios are clipped to at least `1 − clip_low`.
    #[schemars(range(min = 0, max = 1))]
    pub clip_low: f64,
    /// Upper clip range: ratios are clipped to at most `1 + clip_high`. DAPO sets it higher than `clip_low`.
    #[schemars(range(min = 0))]
    pub clip_high: f64,
    /// Dual clip (Ye et al., 2020): the loss of a token with a negative advantage is at most this factor times the
    /// absolute advantage. The factor is more than 1; without this key the loss is not bounded.
    #[schemars(extend("exclusiveMinimum" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dual_clip: Option<f64>,
    /// Two-sided clip (INTELLECT-2, 2025): an upper bound of the unclipped ratio, more than `1 + clip_high`. Without
    /// this key the unclipped ratio is not bounded.
    #[schemars(extend("exclusiveMinimum" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_max: Option<f64>,
    /// `sapo` only: the temperatures of the sigmoid gate, first for positive advantages, then for all others.
    pub sapo_temperature: [f64; 2],
    /// How the losses of the tokens become the loss of a minibatch.
    pub aggregate: Aggregate,
    /// The penalty for the KL divergence from a reference policy.
    pub kl: Kl,
    /// Weight of the entropy bonus: the loss is reduced by this weight times the mean entropy of the next-token
    /// distributions. 0 is no bonus.
    #[schemars(range(min = 0))]
    pub entropy_bonus: f64,
    /// Share of the tokens that enter the surrogate loss: those with the highest entropy (Wang et al., 2025). 1 is all
    /// tokens.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    pub top_entropy: f64,
    /// Off-policy mask (DeepSeek-V3.2, eq. 9): a reply with a negative advantage is left out of the surrogate loss when
    /// its log-prob has fallen by more than this since it was sampled, in nats per token on average. Without this key
    /// no reply is left out.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_policy_mask: Option<f64>,
    /// Importance correction for a sampler whose token probabilities differ from the trainer's.
    pub correction: Correction,
    /// Treatment of replies that reached the length limit `sampling.max_tokens`.
    pub overlong: Overlong,
    /// Dynamic sampling (DAPO): largest number of rounds per step in which groups whose replies all have the same
    /// reward are replaced by groups of further prompts. 0 keeps such groups. Groups that are still missing after the
    /// last round make the batch smaller.
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

/// How the scores of a group become advantages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// Score minus the group's mean, divided by the group's standard deviation (Shao et al., 2024, eq. 3). With several
    /// tools, the weighted sums are normalised again over the batch (GDPO: Liu et al., 2026).
    Grpo,
    /// Score minus the group's mean, divided by the standard deviation of the scores of the whole batch (Hu et al.,
    /// 2025).
    GrpoBatchStd,
    /// Score minus the group's mean, without division (Dr. GRPO: Liu et al., 2025).
    DrGrpo,
    /// Score minus the mean of the group's other replies (RLOO: Ahmadian et al., 2024).
    Rloo,
    /// Score minus the group's mean, then normalised by mean and standard deviation over all tokens of the batch
    /// (REINFORCE++: Hu et al., 2025).
    ReinforcePlusPlusBaseline,
    /// Score minus the group's mean, divided by that mean, which maximises the likelihood of success (Tajwar et al.,
    /// 2026). Scores must not be negative.
    MaxRl,
    /// How much a reply raises, on average, the best score of `pass_k` replies (Tang et al., 2025; Walder & Karkhanis,
    /// 2025).
    PassAtK,
}

/// How the scores of several tools become one advantage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Each tool's scores are normalised within the group and then added, multiplied by the tools' weights (GDPO: Liu
    /// et al., 2026). So the scale of a tool's scores does not act as a weight.
    NormaliseThenSum,
    /// The scores are added, multiplied by the tools' weights, and the sums are normalised within the group.
    SumThenNormalise,
}

/// The surrogate loss: a function of the ratio of the policy's token probability to the old policy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// Clipped ratio of each token times the advantage (PPO: Schulman et al., 2017, eq. 7).
    Ppo,
    /// Clipped geometric mean of a reply's token ratios times the advantage (GSPO: Zheng et al., 2025).
    Gspo,
    /// Log-prob times advantage, weighted by the clipped ratio without a gradient through it (CISPO: MiniMax, 2025).
    Cispo,
    /// Ratio of each token, passed through a sigmoid gate instead of clipped (SAPO: Gao et al., 2025).
    Sapo,
    /// Log-prob times advantage, weighted by a gamma-shaped function of the whole reply's ratio without a gradient
    /// through it (VESPO: arXiv 2602.10693, 2026).
    Vespo,
}

/// How the losses of the tokens become the loss of a minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// Mean over all tokens of the minibatch (DAPO: Yu et al., 2025).
    TokenMean,
    /// Mean over each reply's tokens, then mean over replies (GRPO: Shao et al., 2024).
    SequenceMean,
    /// Sum over each reply's tokens, then mean over replies.
    SequenceSum,
    /// Sum over each reply's tokens, divided by `sampling.max_tokens`, then mean over replies (Dr. GRPO: Liu et al.,
    /// 2025).
    Constant,
}

/// The penalty for the KL divergence from a reference policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kl {
    /// The estimator of each token's KL divergence. `none` is no penalty, and no reference model is loaded.
    pub estimator: KlEstimator,
    /// Weight of the KL penalty.
    #[schemars(range(min = 0))]
    pub weight: f64,
    /// Where the penalty is applied: `loss` or `reward`.
    #[serde(rename = "in")]
    pub target: KlTarget,
    /// Whether the KL estimate in the loss is multiplied by the token's ratio, which makes its gradient unbiased
    /// (DeepSeek-V3.2).
    pub unbiased: bool,
    /// Number of steps after which the current policy replaces the reference model, again and again. 0 keeps the first
    /// reference model: the policy after the supervised warm-up, or the base model of a LoRA adapter.
    pub reanchor_every: u64,
}

impl Default for Kl {
    fn default() -> Self {
        Self { estimator: KlEstimator::None, weight: 0.01, target: KlTarget::Loss, unbiased: false, reanchor_every: 0 }
    }
}

/// The estimator of a token's KL divergence (Schulman, 2020), with `d = ref_log_prob − log_prob`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlEstimator {
    /// No estimator: there is no KL penalty and no reference model.
    None,
    /// The estimate `−d`.
    K1,
    /// The estimate `d² / 2`.
    K2,
    /// The estimate `exp(d) − d − 1`. Where `d` is more than 20, it counts as 20 and the estimate has no gradient.
    K3,
}

/// Where the KL penalty is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlTarget {
    /// The KL estimate of each token is added to the token's loss.
    Loss,
    /// The sum of the KL estimates of a reply's tokens is subtracted from the reply's reward.
    Reward,
}

/// Importance correction: tokens or whole replies are weighted by the trainer's probability divided by the sampler's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Correction {
    /// Whether each token or each whole reply gets a weight, and whether weights out of bounds are clamped or set to 0.
    pub mode: CorrectionMode,
    /// Lower bound of the weights.
    #[schemars(range(min = 0))]
    pub low: f64,
    /// Upper bound of the weights.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub high: f64,
}

impl Default for Correction {
    fn default() -> Self {
        Self { mode: CorrectionMode::None, low: 0.0, high: 2.0 }
    }
}

/// Whether each token or each whole reply gets a weight, and whether weights out of bounds are clamped or set to 0 (Yao
/// et al., 2025; Liu et al., 2025).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionMode {
    /// No correction: the sampler's log-probs serve as the old policy's log-probs.
    None,
    /// Each token has a weight of its own, clamped to the bounds.
    TokenTruncate,
    /// Each token has a weight of its own; a weight out of bounds becomes 0, which masks the token.
    TokenMask,
    /// All tokens of a reply share one weight, the product of the tokens' ratios, clamped to the bounds.
    SequenceTruncate,
    /// All tokens of a reply share one weight, the product of the tokens' ratios; a weight out of bounds becomes 0,
    /// which masks the reply.
    SequenceMask,
}

/// Treatment of replies that reached the length limit `sampling.max_tokens` (DAPO: Yu et al., 2025).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overlong {
    /// Whether replies that reached the limit are left out of the loss. Their scores still count in the mean of their
    /// group.
    pub filter: bool,
    /// Soft overlong penalty: over this number of tokens before `sampling.max_tokens`, an additional score falls
    /// linearly from 0 to −1. 0 is no penalty. Needs `combine: sum_then_normalise`.
    pub soft_tokens: usize,
    /// Weight of the soft overlong penalty, which is added to the scores like the score of one more tool.
    #[schemars(range(min = 0))]
    pub weight: f64,
}

impl Default for Overlong {
    fn default() -> Self {
        Self { filter: false, soft_tokens: 0, weight: 1.0 }
    }
}
