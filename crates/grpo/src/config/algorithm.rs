//! The algorithm: advantages, surrogate, aggregation, KL, corrections. `docs/algorithms.md` has the equations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SamplingConfig, TrainConfig};

/// The algorithm, part by part, each under its published name. The defaults are GRPO with the token mean of DAPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Algorithm {
    /// How scores become advantages.
    pub advantage: Estimator,
    /// `pass_at_k`: the k whose best reply counts, from 2 to `train.group_size`; 0 is the group size.
    pub pass_k: usize,
    /// What several tools' scores become first.
    pub combine: Combine,
    /// What is done with the ratio of the policy's probability to the old one.
    pub surrogate: Surrogate,
    /// Ratios below `1 − clip_low` earn nothing more.
    #[schemars(range(min = 0, max = 1))]
    pub clip_low: f64,
    /// Ratios above `1 + clip_high` earn nothing more; DAPO sets it above `clip_low`.
    #[schemars(range(min = 0))]
    pub clip_high: f64,
    /// Dual clip (Ye et al., 2020): a token with a negative advantage costs at most this many times the advantage; more
    /// than 1.
    #[schemars(extend("exclusiveMinimum" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dual_clip: Option<f64>,
    /// Two-sided clip (INTELLECT-2, 2025): the unclipped ratio is at most this; more than `1 + clip_high`.
    #[schemars(extend("exclusiveMinimum" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio_max: Option<f64>,
    /// `sapo`: temperatures of the gate, for positive advantages and for the others.
    pub sapo_temperature: [f64; 2],
    /// How token losses become one number.
    pub aggregate: Aggregate,
    /// The KL penalty to the reference policy.
    pub kl: Kl,
    /// Weight of the mean entropy of the next token, which is added to what is maximised.
    #[schemars(range(min = 0))]
    pub entropy_bonus: f64,
    /// Only this share of the tokens, those of highest entropy, enters the surrogate (Wang et al., 2025).
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    pub top_entropy: f64,
    /// Replies with a negative advantage are left out when the policy has moved this far from the one that drew them, in
    /// mean nats per token (DeepSeek-V3.2, eq. 9).
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_policy_mask: Option<f64>,
    /// Importance correction where the sampler's probabilities differ from the trainer's.
    pub correction: Correction,
    /// What becomes of replies that ran into `sampling.max_tokens`.
    pub overlong: Overlong,
    /// Dynamic sampling (DAPO): groups without spread are replaced by groups of further prompts, at most this many
    /// rounds per step; 0 keeps them.
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

impl Algorithm {
    /// Values that are impossible together: key path and reason.
    pub fn problems(&self, train: &TrainConfig, sampling: &SamplingConfig) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut say = |key: &str, message: String| found.push((format!("algorithm.{key}"), message));
        if self.pass_k == 1 || self.pass_k > train.group_size {
            let message = format!("is {}; it must be 2 to the group size of {}, or 0", self.pass_k, train.group_size);
            say("pass_k", message);
        }
        if self.advantage == Estimator::MaxRl && (self.overlong.soft_tokens > 0 || self.kl.place == KlPlace::Reward) {
            say(
                "advantage",
                "`max_rl` needs scores of at least 0: no `overlong.soft_tokens`, no `kl.in: reward`".into(),
            );
        }
        let default = Self::default();
        let kl = Kl { estimator: default.kl.estimator, ..self.kl.clone() };
        let unused = [
            ("kl", kl != default.kl && self.kl.estimator == KlEstimator::None, "`kl.estimator`"),
            ("pass_k", self.pass_k > 0 && self.advantage != Estimator::PassAtK, "`advantage: pass_at_k`"),
            (
                "sapo_temperature",
                self.sapo_temperature.map(f64::to_bits) != default.sapo_temperature.map(f64::to_bits)
                    && self.surrogate != Surrogate::Sapo,
                "`surrogate: sapo`",
            ),
            (
                "correction",
                self.correction != default.correction && self.correction.mode == CorrectionMode::None,
                "`correction.mode`",
            ),
        ];
        for (key, is_unused, needed) in unused {
            if is_unused {
                say(key, format!("does nothing without {needed}"));
            }
        }
        let clips = matches!(self.surrogate, Surrogate::Ppo | Surrogate::Gspo);
        for (key, bound) in [("dual_clip", self.dual_clip), ("ratio_max", self.ratio_max)] {
            if bound.is_some() && !clips {
                say(key, "is for the surrogates `ppo` and `gspo`".into());
            }
        }
        if self.ratio_max.is_some_and(|most| most <= 1.0 + self.clip_high) {
            say("ratio_max", format!("must be more than 1 + `clip_high`, {}", 1.0 + self.clip_high));
        }
        if self.sapo_temperature.iter().any(|t| !t.is_finite() || *t <= 0.0) {
            say("sapo_temperature", "must be two positive numbers".into());
        }
        let charged = self.kl.place == KlPlace::Reward && self.kl.estimator != KlEstimator::None;
        if charged && self.combine == Combine::NormaliseThenSum {
            let message =
                "`reward` needs `combine: sum_then_normalise`: normalised on its own, its weight would be lost";
            say("kl.in", message.into());
        }
        if self.overlong.soft_tokens > 0 && self.combine == Combine::NormaliseThenSum {
            let message = "needs `combine: sum_then_normalise`: normalised on its own, a penalty of a hundredth would \
                           count as much as one of 1";
            say("overlong.soft_tokens", message.into());
        }
        let by_reply = matches!(self.correction.mode, CorrectionMode::SequenceTruncate | CorrectionMode::SequenceMask);
        if by_reply && self.surrogate == Surrogate::Vespo {
            say("correction.mode", "`vespo` weighs whole replies itself; correct tokens".into());
        }
        if self.correction.low > self.correction.high {
            say("correction.low", format!("is more than `high`, {}", self.correction.high));
        }
        if self.overlong.soft_tokens > sampling.max_tokens {
            let message = format!("is more than `sampling.max_tokens`, {}", sampling.max_tokens);
            say("overlong.soft_tokens", message);
        }
        found
    }
}

/// How scores become advantages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// Less the group's mean, over its standard deviation (Shao et al., 2024, eq. 3).
    Grpo,
    /// Less the group's mean, over the batch's standard deviation (Hu et al., 2025).
    GrpoBatchStd,
    /// Less the group's mean (Liu et al., 2025).
    DrGrpo,
    /// Less the mean of the others of the group (RLOO: Ahmadian et al., 2024).
    Rloo,
    /// Less the group's mean, then normalised over all tokens of the batch (Hu et al., 2025).
    ReinforcePlusPlusBaseline,
    /// Less the group's mean, over that mean: maximum likelihood of success (Tajwar et al., 2026). Scores must not be
    /// negative.
    MaxRl,
    /// What a reply adds to the best of `pass_k` (Tang et al., 2025; Walder & Karkhanis, 2025).
    PassAtK,
}

/// What several tools' scores become first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// Each tool's advantages, then their weighted sum (GDPO: Liu et al., 2026): a tool's scale does not decide its say.
    NormaliseThenSum,
    /// The weighted sum of scores, then its advantages.
    SumThenNormalise,
}

/// What is done with the ratio of the policy's probability to the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Surrogate {
    /// Clipped, token by token (Schulman et al., 2017, eq. 7).
    Ppo,
    /// Clipped, one geometric mean per reply (Zheng et al., 2025).
    Gspo,
    /// A clipped weight on the log-prob (MiniMax, 2025).
    Cispo,
    /// Gated by a sigmoid instead of clipped (Gao et al., 2025).
    Sapo,
    /// A weight by the reply's whole ratio, shaped like a gamma density (VESPO: arXiv 2602.10693, 2026).
    Vespo,
}

/// How token losses become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aggregate {
    /// The mean over all tokens (DAPO: Yu et al., 2025).
    TokenMean,
    /// The mean over replies of the mean over their tokens (GRPO: Shao et al., 2024).
    SequenceMean,
    /// The mean over replies of the sum over their tokens.
    SequenceSum,
    /// The mean over replies of the sum over their tokens, over `sampling.max_tokens` (Dr. GRPO: Liu et al., 2025).
    Constant,
}

/// The KL penalty to the reference policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kl {
    /// The estimate of each token's KL; `none` needs no reference.
    pub estimator: KlEstimator,
    /// Its weight.
    #[schemars(range(min = 0))]
    pub weight: f64,
    /// Where it is charged.
    #[serde(rename = "in")]
    pub place: KlPlace,
    /// Whether the estimate in the loss is weighted by the ratio, which makes its gradient unbiased (DeepSeek-V3.2).
    pub unbiased: bool,
    /// The reference becomes the policy of the moment every this many steps; 0 keeps it.
    pub reanchor_every: u64,
}

impl Default for Kl {
    fn default() -> Self {
        Self { estimator: KlEstimator::None, weight: 0.01, place: KlPlace::Loss, unbiased: false, reanchor_every: 0 }
    }
}

/// The estimate of a token's KL (Schulman, 2020), with `d = log reference − log policy`.
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

/// Where the KL is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KlPlace {
    /// Added to every token's loss.
    Loss,
    /// A reply's sum is taken off its reward.
    Reward,
}

/// Importance correction: the trainer's probability of what was drawn over the sampler's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Correction {
    /// What is weighted, and what becomes of weights out of bounds.
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

/// What is weighted, and what becomes of weights out of bounds (Yao et al., 2025; Liu et al., 2025).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionMode {
    /// Nothing: the sampler's log-probs are the old ones.
    None,
    /// Tokens; brought to the bound.
    TokenTruncate,
    /// Tokens; left out.
    TokenMask,
    /// Whole replies; brought to the bound.
    SequenceTruncate,
    /// Whole replies; left out.
    SequenceMask,
}

/// What becomes of replies that ran into `sampling.max_tokens` (DAPO: Yu et al., 2025).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overlong {
    /// Whether they are left out of the loss; they stay in the baseline.
    pub filter: bool,
    /// Length of the zone before `sampling.max_tokens` in which a penalty grows from 0 to −1; 0 is no penalty. Needs
    /// `combine: sum_then_normalise`.
    pub soft_tokens: usize,
    /// Weight of the penalty, which counts as one more tool.
    #[schemars(range(min = 0))]
    pub weight: f64,
}

impl Default for Overlong {
    fn default() -> Self {
        Self { filter: false, soft_tokens: 0, weight: 1.0 }
    }
}
