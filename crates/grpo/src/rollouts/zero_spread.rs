//! Groups without spread: all replies have the same advantage, so nothing can be learned from their rewards. This file
//! counts them and says why.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::config::Combine;
use crate::rollouts::batch::Batch;
use crate::rollouts::rollout::Group;

/// Numbers of a step's groups without spread (all replies have the same advantage), by reason. A group can count for
/// several reasons.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ZeroSpread {
    /// Number of all groups whose replies have the same advantage.
    pub groups: usize,
    /// Number of groups without any advantage, because fewer than two of their replies were scored.
    pub unscored: usize,
    /// Number of groups in which tools gave the replies different scores, but these differences cancel out in the sum.
    pub cancelled: usize,
    /// Number of groups without spread whose replies are all the same text.
    #[serde(rename = "alike")]
    pub identical: usize,
    /// For each tool, numbers of groups (of those without spread) in which it gave all replies the same score.
    pub tools: BTreeMap<String, ConstantScores>,
}

/// Numbers of groups in which a tool gave all replies the same score, by where this score is in the tool's range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConstantScores {
    /// Number of groups in which all replies got the highest score of the tool's range.
    pub high: usize,
    /// Number of groups in which all replies got the lowest score of the tool's range.
    pub low: usize,
    /// Number of groups in which all replies got the same score between lowest and highest.
    pub between: usize,
}

impl ZeroSpread {
    /// Counts the groups without spread. Each group comes with the advantages of its replies, which are empty if it was
    /// replaced by dynamic sampling. `range` returns the lowest and highest score of a tool.
    pub fn count<'g>(
        groups: impl Iterator<Item = (&'g Group, &'g [Option<f64>])>,
        combine: Combine,
        range: impl Fn(&str) -> [f64; 2],
    ) -> Self {
        let mut counts = Self::default();
        for (group, advantages) in groups {
            let scores = group.scores();
            let has_spread = scores.has_spread(combine);
            let is_trained_on = advantages.iter().any(Option::is_some);
            let has_gradient = advantages.iter().flatten().any(|a| a.abs() > 1e-12);
            if has_spread && (has_gradient || !is_trained_on) {
                continue;
            }
            counts.groups += 1;
            counts.identical += usize::from(is_one_text(group));
            counts.unscored += usize::from(group.replies.iter().filter(|r| r.scores.total().is_some()).count() < 2);
            counts.cancelled += usize::from(scores.has_spread(Combine::NormaliseThenSum));
            let tools = group.replies.first().map_or(&[][..], |r| &r.scores.tools);
            for (tool, column) in tools.iter().zip(&scores.tools) {
                let known: Vec<f64> = column.scores.iter().flatten().copied().collect();
                let Some(score) = known.first().copied() else { continue };
                if tool.weight == 0.0 || known.iter().any(|s| s.total_cmp(&score).is_ne()) {
                    continue;
                }
                let [low, high] = range(&tool.tool);
                let constant = counts.tools.entry(tool.tool.to_string()).or_default();
                if score >= high {
                    constant.high += 1;
                } else if score <= low {
                    constant.low += 1;
                } else {
                    constant.between += 1;
                }
            }
        }
        counts
    }

    /// Text for the error that ends a run which learns nothing: why all replies of every group have the same reward,
    /// and what the user can change.
    pub fn explain(&self, batch: &Batch) -> String {
        let replies = || batch.sampled().flat_map(|g| &g.replies);
        let unscored = replies().filter(|r| r.scores.total().is_none()).count();
        let totals: Vec<f64> = replies().filter_map(|r| r.scores.total()).collect();
        if totals.is_empty() {
            return format!("no reply of the last step has a score ({unscored} without one); see the tools' failures");
        }
        let groups = batch.sampled().count();
        if batch.sampled().filter(|g| is_one_text(g)).count() == groups {
            return "all replies to a prompt are the same text; raise `sampling.temperature`".into();
        }
        let low = totals.iter().copied().fold(f64::INFINITY, f64::min);
        let high = totals.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!(
            "the rewards of the last step lie from {low} to {high} and are equal within every one of its {groups} groups \
             ({self}): the task is too hard or too easy for this policy, or the tool gives every reply the same score; look \
             at the replies in `rollouts/`, then change prompts, tool, `train.group_size` or `sampling.temperature`"
        )
    }
}

fn is_one_text(group: &Group) -> bool {
    group.replies.windows(2).all(|w| w[0].text == w[1].text)
}

impl fmt::Display for ZeroSpread {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut reasons = Vec::new();
        for (tool, s) in &self.tools {
            let counts = [(s.high, "all highest"), (s.low, "all lowest"), (s.between, "all the same")];
            let counts: Vec<String> =
                counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{what} in {n}")).collect();
            reasons.push(format!("`{tool}` {}", counts.join(", ")));
        }
        let counts = [
            (self.cancelled, "where the tools' differences cancel out"),
            (self.unscored, "with fewer than two scored replies"),
            (self.identical, "whose replies are all the same text"),
        ];
        reasons.extend(counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        write!(f, "{} groups without spread: {}", self.groups, reasons.join("; "))
    }
}
