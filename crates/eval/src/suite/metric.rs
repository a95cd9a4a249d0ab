//! The figures that a suite may ask for.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Metric {
    /// The share of right replies.
    Accuracy,
    /// The mean of the replies' weighted scores.
    Score,
    /// The chance that one of so many replies is right, without bias (Chen et al., 2021, equation 1).
    Pass(usize),
    /// The share of prompts whose most frequent answer among so many replies is right (Wang et al., 2023). More replies than
    /// that are several votes, whose mean counts; of equally frequent answers the earliest is taken.
    Majority(usize),
    /// BLEU of all replies together, from 0 to 100.
    Bleu,
    /// chrF of all replies together, from 0 to 100.
    Chrf,
    /// chrF++ of all replies together, from 0 to 100.
    ChrfPlusPlus,
    /// The translation edit rate of all replies together, in percent: 0 is best.
    Ter,
    /// `IFEval`'s four: shares of prompts and of instructions that are followed, strictly and loosely.
    IfEval,
}

impl Metric {
    /// Replies per prompt that it needs.
    pub fn draws(self) -> usize {
        match self {
            Self::Pass(k) | Self::Majority(k) => k,
            _ => 1,
        }
    }

    /// Whether it needs tools.
    pub fn judges(self) -> bool {
        matches!(self, Self::Accuracy | Self::Score | Self::Pass(_) | Self::Majority(_))
    }

    /// Whether it compares replies with references itself.
    pub fn compares(self) -> bool {
        matches!(self, Self::Bleu | Self::Chrf | Self::ChrfPlusPlus | Self::Ter | Self::Majority(_))
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Accuracy => f.write_str("accuracy"),
            Self::Score => f.write_str("score"),
            Self::Pass(k) => write!(f, "pass@{k}"),
            Self::Majority(k) => write!(f, "maj@{k}"),
            Self::Bleu => f.write_str("bleu"),
            Self::Chrf => f.write_str("chrf"),
            Self::ChrfPlusPlus => f.write_str("chrf++"),
            Self::Ter => f.write_str("ter"),
            Self::IfEval => f.write_str("ifeval"),
        }
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let at = |name: &str| text.strip_prefix(name)?.parse::<usize>().ok().filter(|k| (1..=10_000).contains(k));
        Ok(match text.as_str() {
            "accuracy" => Self::Accuracy,
            "score" => Self::Score,
            "bleu" => Self::Bleu,
            "chrf" => Self::Chrf,
            "chrf++" => Self::ChrfPlusPlus,
            "ter" => Self::Ter,
            "ifeval" => Self::IfEval,
            _ => match (at("pass@"), at("maj@")) {
                (Some(k), _) => Self::Pass(k),
                (_, Some(k)) => Self::Majority(k),
                _ => {
                    return Err(format!(
                        "`{text}` is no metric; possible: accuracy, score, pass@K, maj@K, bleu, chrf, chrf++, ter, ifeval"
                    ));
                }
            },
        })
    }
}

/// The chance that one of `k` replies is right, estimated from `n` of which `right` are: 1 − C(n − right, k) / C(n, k).
pub fn pass_at(k: usize, n: usize, right: usize) -> f64 {
    let wrong = n - right;
    if wrong < k {
        return 1.0;
    }
    1.0 - (wrong + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}
