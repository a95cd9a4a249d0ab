//! Summaries of the scores of one training step, and the drift signals that the monitor computes from a window of
//! several steps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::{DriftSignal, DriftThresholds, ObservedReply, ObservedScore};

/// Fewest samples in the window with which a signal can raise an alert. Samples are replies for the signal `coverage`,
/// audited replies for `hacking`, and groups for `signal`.
const MIN_SAMPLES: usize = 8;

/// Smallest number of pairs of replies from which the agreement of two tools is judged.
const MIN_PAIRS: u64 = 50;

/// Two replies are tied when a tool's scores for them, from 0 to 1, differ by at most this.
const TIE: f64 = 1e-9;

/// Counts and sums over the replies to one domain's prompts in one training step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct StepSummary {
    replies: usize,
    /// Number of replies that no tool scores.
    uncovered: usize,
    groups: usize,
    /// Number of groups in which every known reward is the lowest possible.
    lowest: usize,
    audited: AuditSums,
    /// Number of audited replies with a high reward and a low audit score.
    overpaid: usize,
    /// For every pair of tools, named `a and b`: how often they rank two replies of a group in the same and in opposite
    /// order.
    pairs: BTreeMap<String, RankCounts>,
    /// Names of the tools that were called for the replies.
    pub(super) tools: BTreeSet<String>,
}

/// Sums over the audited replies, which have both a reward and an audit score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, usize, f64)", into = "(f64, usize, f64)")]
struct AuditSums {
    /// Sum of the audited replies' rewards.
    reward: f64,
    replies: usize,
    /// Sum of the audited replies' audit scores.
    audit: f64,
}

impl From<(f64, usize, f64)> for AuditSums {
    fn from((reward, replies, audit): (f64, usize, f64)) -> Self {
        Self { reward, replies, audit }
    }
}

impl From<AuditSums> for (f64, usize, f64) {
    fn from(sums: AuditSums) -> Self {
        (sums.reward, sums.replies, sums.audit)
    }
}

/// Mean reward and mean audit score of the audited replies.
#[derive(Clone, Copy)]
struct AuditMeans {
    reward: f64,
    audit: f64,
}

impl AuditSums {
    fn add(&mut self, other: Self) {
        self.reward += other.reward;
        self.replies += other.replies;
        self.audit += other.audit;
    }

    /// The sums over the audited replies of several steps.
    fn of<'s>(steps: impl Iterator<Item = &'s StepSummary>) -> Self {
        let mut total = Self::default();
        for step in steps {
            total.add(step.audited);
        }
        total
    }

    /// Mean reward and mean audit score; `None` when no reply was audited.
    fn means(self) -> Option<AuditMeans> {
        let n = self.replies as f64;
        (self.replies > 0).then(|| AuditMeans { reward: self.reward / n, audit: self.audit / n })
    }
}

/// How often two tools rank two replies of the same group in the same and in opposite order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[u64; 2]", into = "[u64; 2]")]
struct RankCounts {
    /// Number of pairs of replies that the two tools rank in the same order.
    concordant: u64,
    /// Number of pairs of replies that the two tools rank in opposite order.
    discordant: u64,
}

impl From<[u64; 2]> for RankCounts {
    fn from([concordant, discordant]: [u64; 2]) -> Self {
        Self { concordant, discordant }
    }
}

impl From<RankCounts> for [u64; 2] {
    fn from(counts: RankCounts) -> Self {
        [counts.concordant, counts.discordant]
    }
}

impl RankCounts {
    fn total(self) -> u64 {
        self.concordant + self.discordant
    }

    /// The rank correlation of the two tools, from -1 to 1: Kendall's tau over the pairs of replies in which neither
    /// tool has a tie. 0 when there are none.
    fn tau(self) -> f64 {
        (self.concordant as f64 - self.discordant as f64) / self.total().max(1) as f64
    }
}

/// Whether a reply has a reward in the upper half of the reward range and an audit score in the lower half of the audit
/// range.
pub(super) fn is_overpaid(reply: &ObservedReply) -> bool {
    reply.reward.zip(reply.audit).is_some_and(|(reward, audit)| reward >= 0.5 && audit < 0.5)
}

impl StepSummary {
    /// The summary of a step, given its groups; a group holds the replies to one prompt.
    pub(super) fn of(groups: &[Vec<ObservedReply>]) -> Self {
        let mut summary = Self { groups: groups.len(), ..Self::default() };
        for group in groups {
            summary.add_group(group);
        }
        summary
    }

    fn add_group(&mut self, group: &[ObservedReply]) {
        self.replies += group.len();
        self.uncovered += group.iter().filter(|r| r.scores.is_empty()).count();
        let rewards: Vec<f64> = group.iter().filter_map(|r| r.reward).collect();
        self.lowest += usize::from(!rewards.is_empty() && rewards.iter().all(|r| *r <= 0.0));
        for reply in group {
            self.tools.extend(reply.scores.iter().map(|s| s.tool.to_owned()));
            if let Some((reward, audit)) = reply.reward.zip(reply.audit) {
                self.audited.add(AuditSums { reward, replies: 1, audit });
                self.overpaid += usize::from(is_overpaid(reply));
            }
        }
        for (i, first) in group.iter().enumerate() {
            for second in &group[i + 1..] {
                self.add_pair(first, second);
            }
        }
    }

    /// Counts for every pair of tools whether the tools rank two replies of a group in the same order. Ties are not
    /// counted.
    fn add_pair(&mut self, first: &ObservedReply, second: &ObservedReply) {
        let difference = |tool: &str| {
            let (a, b) = score_of(first, tool).zip(score_of(second, tool))?;
            Some(a - b).filter(|d| d.abs() > TIE)
        };
        for (i, ObservedScore { tool: a, .. }) in first.scores.iter().enumerate() {
            for ObservedScore { tool: b, .. } in &first.scores[i + 1..] {
                if let Some((x, y)) = difference(a).zip(difference(b)) {
                    let counts = self.pairs.entry(format!("{a} and {b}")).or_default();
                    if (x > 0.0) == (y > 0.0) {
                        counts.concordant += 1;
                    } else {
                        counts.discordant += 1;
                    }
                }
            }
        }
    }
}

fn score_of(reply: &ObservedReply, tool: &str) -> Option<f64> {
    reply.scores.iter().find(|s| s.tool == tool)?.score
}

/// A signal that crossed its threshold in a window of steps, described in words (`summary`) and in numbers (`figures`).
pub(super) struct Finding {
    pub(super) signal: DriftSignal,
    pub(super) summary: String,
    pub(super) figures: String,
}

/// The first signal that crosses its threshold; `None` when none does. Only the signal `coverage` may do so before the
/// window is full, because waiting does not help prompts without a tool.
pub(super) fn detect(window: &VecDeque<StepSummary>, thresholds: &DriftThresholds) -> Option<Finding> {
    if let Some(finding) = coverage(window, thresholds) {
        return Some(finding);
    }
    if window.len() < thresholds.window {
        return None;
    }
    hacking(window, thresholds).or_else(|| agreement(window, thresholds)).or_else(|| signal(window, thresholds))
}

fn total(window: &VecDeque<StepSummary>, count: fn(&StepSummary) -> usize) -> usize {
    window.iter().map(count).sum()
}

fn coverage(window: &VecDeque<StepSummary>, thresholds: &DriftThresholds) -> Option<Finding> {
    let (replies, uncovered) = (total(window, |s| s.replies), total(window, |s| s.uncovered));
    (replies >= MIN_SAMPLES && uncovered as f64 > thresholds.uncovered * replies as f64).then(|| Finding {
        signal: DriftSignal::Coverage,
        summary: "no admitted tool fits these prompts".into(),
        figures: format!("{uncovered} of {replies} replies had no tool"),
    })
}

fn hacking(window: &VecDeque<StepSummary>, thresholds: &DriftThresholds) -> Option<Finding> {
    let half = window.len() / 2;
    let early = AuditSums::of(window.iter().take(half)).means();
    let late = AuditSums::of(window.iter().skip(half)).means();
    let (overpaid, audited) = (total(window, |s| s.overpaid), total(window, |s| s.audited.replies));
    let drifts = early.zip(late).is_some_and(|(early, late)| {
        late.reward - early.reward >= thresholds.drift && early.audit - late.audit >= thresholds.drift
    });
    let is_hacked = drifts || overpaid as f64 > thresholds.overpaid * audited as f64;
    (audited >= MIN_SAMPLES && is_hacked).then(|| {
        let trend = early.zip(late).map_or_else(String::new, |(early, late)| {
            let (reward, audit) = ([early.reward, late.reward], [early.audit, late.audit]);
            format!("; reward {:.3} → {:.3}, audit {:.3} → {:.3}", reward[0], reward[1], audit[0], audit[1])
        });
        Finding {
            signal: DriftSignal::Hacking,
            summary: "the policy is paid for replies that an audit finds wrong".into(),
            figures: format!("{overpaid} of {audited} audited replies had a high reward and a low audit score{trend}"),
        }
    })
}

fn agreement(window: &VecDeque<StepSummary>, thresholds: &DriftThresholds) -> Option<Finding> {
    let mut pairs: BTreeMap<&str, RankCounts> = BTreeMap::new();
    for (pair, counts) in window.iter().flat_map(|s| &s.pairs) {
        let sum = pairs.entry(pair).or_default();
        sum.concordant += counts.concordant;
        sum.discordant += counts.discordant;
    }
    let opposed = |counts: &RankCounts| counts.total() >= MIN_PAIRS && counts.tau() < thresholds.agreement;
    let (pair, counts) = pairs.into_iter().find(|(_, counts)| opposed(counts))?;
    Some(Finding {
        signal: DriftSignal::Agreement,
        summary: format!("the tools {pair} contradict each other"),
        figures: format!("rank correlation {:.2} over {} pairs of replies", counts.tau(), counts.total()),
    })
}

fn signal(window: &VecDeque<StepSummary>, thresholds: &DriftThresholds) -> Option<Finding> {
    let (groups, lowest) = (total(window, |s| s.groups), total(window, |s| s.lowest));
    (groups >= MIN_SAMPLES && lowest as f64 > thresholds.flat * groups as f64).then(|| Finding {
        signal: DriftSignal::Signal,
        summary: "nearly every reply gets the lowest score: the tools reward no progress".into(),
        figures: format!("every reply of {lowest} of {groups} groups got the lowest score"),
    })
}
