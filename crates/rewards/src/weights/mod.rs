//! Learned weights of tools whose scores are only roughly right, such as reward models, judges and similarities: how much
//! each should count in a weighted sum, per task. Pure functions on plain data; training and evaluation share them.
//!
//! The estimator is called *non-negative*, because a weight below 0 would reward what a tool rejects. Its parts:
//!
//! 1. *Agreement, which needs no labels* ([`Agreement`]). `R` is the matrix of the correlations of the tools' scores within
//!    the groups of replies to one prompt. One common factor explains it (Spearman, 1904): `R_ij ≈ λ_i λ_j` with
//!    loadings `0 ≤ λ ≤ 0.95`, fitted by least squares on the off-diagonal entries (Harman and Jones, 1966). The
//!    regression of the factor on the scores has weights in proportion to `λ_i / (1 − λ_i²)` (Thomson, 1951). They are
//!    the weights before the first label.
//! 2. *Labelled pairs* ([`PairCounts`]): how often a tool scores the better one of two replies to a prompt higher. Before
//!    the first label, the log-odds of tool `i` are expected to be `λ_i`. This counts as [`PRIOR_PAIRS`] pairs: with `r_i`
//!    of `n_i` pairs ranked right in all tasks together, `p_i = (r_i + PRIOR_PAIRS · σ(λ_i)) / (n_i + PRIOR_PAIRS)`.
//! 3. *Partial pooling over tasks* (empirical Bayes; a beta-binomial model as in Efron and Morris, 1975, Griffiths, 1973):
//!    `p_ti = (r_ti + κ p_i) / (n_ti + κ)`. The concentration `κ` comes from how much the tasks differ beyond chance, by the
//!    method of moments; where they do not, `κ` is infinite and every task has the pooled weights.
//! 4. *Weights*: `w_t = argmin ½ wᵀ R̃ w − wᵀ l_t, w ≥ 0`, with the log-odds `l_ti = ln(p_ti / (1 − p_ti))`. Without the
//!    bound this is Fisher's linear discriminant (1936), `R̃⁻¹ l_t`, which lets tools that repeat each other share
//!    their weight. `R̃` is `R`, shrunk towards the one-factor model (Ledoit and Wolf, 2003). A task's weights sum to 1.
//!
//! Tools that agree almost perfectly are merged before step 1, and share the weight of one tool equally.
//!
//! The constants were chosen on two public tables of scores, RewardMATH and LLMBar, and then frozen
//! ([docs/results.md](https://github.com/rlar/rlar/blob/main/docs/results.md)).

mod agreement;
mod counts;
mod factor;
mod non_negative;

pub use agreement::Agreement;
pub use counts::PairCounts;
pub use factor::loadings;
pub use non_negative::{NonNegativeFit, PRIOR_PAIRS, TaskCounts, ToolWeight};
