//! Groups without spread: all replies have the same advantage, so nothing is learned from them. Counts them and says why.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::config::Combine;
use crate::rollouts::batch::Batch;
use crate::rollouts::rollout::Group;

/// The groups of a step whose replies all have the same advantage, by reason.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ZeroSpread {
    /// Number of such groups.
    pub groups: usize,
    /// Those with fewer than two scored replies.
    pub unscored: usize,
    /// Those where the tools' differences cancel out exactly.
    pub cancelled: usize,
    /// Those whose replies are all the same text.
    #[serde(rename = "alike")]
    pub identical: usize,
    /// Tools that gave every reply of such a group the same score, and where in their range it was.
    pub tools: BTreeMap<String, ConstantScores>,
}

/// Number of groups in which a tool gave every reply the same score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConstantScores {
    /// The highest score of its range.
    pub high: usize,
    /// The lowest.
    pub low: usize,
    /// Another one.
    pub between: usize,
}

impl ZeroSpread {
    /// Counts them among groups with the advantages of their replies (empty for groups that are not trained on). `range` gives
    /// a tool's lowest and highest score.
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

    /// Why no group of a batch has spread, and what to do, for the message that stops a run.
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
