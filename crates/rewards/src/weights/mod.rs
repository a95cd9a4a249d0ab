//! Learned weights of tools whose scores are only roughly right, such as reward models, judges and similarities: how much
//! each should count in a weighted sum, per task. Pure functions on plain data; training and evaluation share them.
//!
//! The estimator is called *non-negative*, because a weight below 0 would reward what a tool rejects. Its parts:
//!
//! 1. *Agreement, which needs no labels* ([`Agreement`]). `R` is the matrix of the correlations of the tools' scores within
//!    the groups of replies to one prompt. One common factor explains it (Spearman, 1904): `R_ij ≈ λ_i λ_j` with
//!    loadings `0 ≤ λ ≤ 0.95`, fitted by least squares on the off-diagonal entries (Harman and Jones, 1966). The
//!    regression of the factor on the scores has weights in proportion to `λ_i / (1 − λ_i²)` (Thomson, 1951). These are
//!    the weights before the first label, `c`, scaled so that the weighted sum has the deviation 0.3 within groups.
//! 2. *Labelled pairs* ([`LabelledPair`]). The log-odds that the first of two replies is the better one are `wᵀd`, where `d`
//!    are the differences of the tools' scores, each divided by the tool's deviation within groups (Bradley and Terry,
//!    1952). The weights of all tasks together are the `w ≥ 0` that minimise
//!    `Σ weight · ln(1 + exp(−wᵀd)) + 10/2 · |w − c|²`, the mode of the posterior with a normal prior around `c`.
//! 3. *Partial pooling over tasks*: the weights of a task minimise the same over its own pairs, with the weights of all tasks
//!    in the place of `c` (empirical Bayes: the mean of the prior is estimated). A task without labels has those of all.
//! 4. The weights of a task are divided by their sum.
//!
//! Tools that agree almost perfectly are merged before step 1, and share the weight of one tool equally.

mod agreement;
mod factor;
mod non_negative;
mod pairs;
mod posterior;

pub use agreement::Agreement;
pub use factor::loadings;
pub use non_negative::{NonNegativeFit, TaskPairs, ToolWeight};
pub use pairs::{LabelledPair, PairCounts};
