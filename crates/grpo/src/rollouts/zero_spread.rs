//! Why groups teach nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::config::Combine;
use crate::rollouts::rollout::Group;

/// Groups whose replies all have the same advantage, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Flat {
    /// Such groups.
    pub groups: usize,
    /// Those with fewer than two scored replies.
    pub unscored: usize,
    /// Those whose tools tell replies apart but contradict each other to the last digit.
    pub cancelled: usize,
    /// Those whose replies are all the same text.
    pub alike: usize,
    /// Tools that told no replies apart in such groups, and where their scores were.
    pub tools: BTreeMap<String, Saturated>,
}

/// Groups in which a tool gave every reply the same score, by what score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Saturated {
    /// The highest of its range.
    pub high: usize,
    /// The lowest.
    pub low: usize,
    /// One between.
    pub between: usize,
}

impl Flat {
    /// Of groups with their replies' advantages; `range` is a tool's.
    pub fn of<'g>(
        groups: impl Iterator<Item = (&'g Group, &'g [Option<f64>])>,
        combine: Combine,
        range: impl Fn(&str) -> [f64; 2],
    ) -> Self {
        let mut flat = Self::default();
        for (group, advantages) in groups {
            let scored = group.scored();
            let spread = scored.has_spread(combine);
            let taught = advantages.iter().flatten().any(|a| a.abs() > 1e-12);
            // A group that was not learned from has no advantages.
            let known = advantages.iter().any(Option::is_some);
            if spread && (taught || !known) {
                continue;
            }
            flat.groups += 1;
            flat.alike += usize::from(group.replies.windows(2).all(|w| w[0].text == w[1].text));
            flat.unscored += usize::from(group.replies.iter().filter(|r| r.scores.total().is_some()).count() < 2);
            flat.cancelled += usize::from(scored.has_spread(Combine::NormaliseThenSum));
            let names = group.replies.first().map_or(&[][..], |r| &r.scores.tools);
            for (tool_score, (_, scores)) in names.iter().zip(&scored.tools) {
                let known: Vec<f64> = scores.iter().flatten().copied().collect();
                let first = known.first().copied();
                let Some(score) =
                    first.filter(|f| tool_score.weight != 0.0 && known.iter().all(|s| s.total_cmp(f).is_eq()))
                else {
                    continue;
                };
                let [low, high] = range(&tool_score.tool);
                let tool = flat.tools.entry(tool_score.tool.to_string()).or_default();
                if score >= high {
                    tool.high += 1;
                } else if score <= low {
                    tool.low += 1;
                } else {
                    tool.between += 1;
                }
            }
        }
        flat
    }
}

impl fmt::Display for Flat {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut why = Vec::new();
        for (tool, s) in &self.tools {
            let said = [(s.high, "all highest"), (s.low, "all lowest"), (s.between, "all the same")];
            let said: Vec<String> =
                said.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{what} in {n}")).collect();
            why.push(format!("`{tool}` {}", said.join(", ")));
        }
        let counts = [
            (self.cancelled, "whose tools contradict each other exactly"),
            (self.unscored, "with fewer than two scored replies"),
            (self.alike, "of the same text again and again"),
        ];
        why.extend(counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        write!(f, "{} groups without a difference: {}", self.groups, why.join("; "))
    }
}
