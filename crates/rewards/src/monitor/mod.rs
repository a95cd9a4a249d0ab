//! Reward drift: detects from the scores of each training step when the rewards no longer tell good replies from bad ones.
//!
//! The [`Monitor`] computes four signals per domain over a window of steps: *coverage* (replies that no admitted tool scores),
//! *signal* (groups whose replies all get the lowest score), *agreement* (two tools that rank the replies of a group in
//! opposite order) and *hacking* (replies with a high reward and a low audit score, or a reward that rises while the audit
//! score falls). The first signal that crosses its threshold raises a [`DriftAlert`].

mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::window::{Finding, StepSummary, detect, is_overpaid};
use crate::tool::card::CardCase;

/// When the monitor raises an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DriftThresholds {
    /// Length of the window, in steps.
    #[schemars(range(min = 2, max = 1000))]
    pub window: usize,
    /// Coverage: largest share of replies without any tool, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub uncovered: f64,
    /// Signal: largest share of groups in which every reply gets the lowest score, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub flat: f64,
    /// Agreement: lowest rank correlation of two tools (Kendall's tau within groups), from -1 to 1.
    #[schemars(range(min = -1, max = 1))]
    pub agreement: f64,
    /// Hacking: largest share of audited replies whose reward is in the upper half of its range while the audit score is in
    /// the lower half, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub overpaid: f64,
    /// Hacking: an alert is raised when, from the first to the second half of the window, the mean reward rises and the mean
    /// audit score falls by at least this much, as a fraction of the score range.
    #[schemars(range(min = 0, max = 1))]
    pub drift: f64,
    /// Steps after an alert in which the same domain raises no other.
    pub cooldown: u64,
    /// Most alerts per domain and signal in one run.
    #[schemars(range(min = 1))]
    pub tries: u64,
}

impl Default for DriftThresholds {
    fn default() -> Self {
        Self {
            window: 8,
            uncovered: 0.1,
            flat: 0.95,
            agreement: -0.3,
            overpaid: 0.3,
            drift: 0.15,
            cooldown: 20,
            tries: 2,
        }
    }
}

/// The signal that raised an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftSignal {
    /// Too many replies have no tool.
    Coverage,
    /// In nearly every group all replies get the lowest score.
    Signal,
    /// Two tools rank the same replies in opposite order.
    Agreement,
    /// The policy gets high rewards for replies that the audit tools score low.
    Hacking,
}

impl std::fmt::Display for DriftSignal {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Coverage => "coverage",
            Self::Signal => "signal",
            Self::Agreement => "agreement",
            Self::Hacking => "hacking",
        })
    }
}

/// A domain whose tools should be replaced, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftAlert {
    /// The domain of the prompts.
    pub domain: String,
    /// The signal that crossed its threshold.
    #[serde(rename = "sign")]
    pub signal: DriftSignal,
    /// The training step after which it did.
    pub step: u64,
    /// The tools that scored the domain in the window.
    pub tools: Vec<String>,
    /// What is wrong, in words. Prompts quote it, so it holds no numbers that a second run could not reproduce.
    #[serde(rename = "what")]
    pub summary: String,
    /// The numbers behind the summary, for people.
    pub figures: String,
    /// Hacking: the latest replies with a high reward and a low audit score, as bad cases for a new tool.
    pub overpaid: Vec<CardCase>,
}

/// A reply with the scores that the monitor needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedReply<'a> {
    /// The text of the prompt.
    pub prompt: &'a str,
    /// The reference reply, if the example has one.
    pub reference: Option<&'a str>,
    /// The text of the reply.
    pub reply: &'a str,
    /// The tools that were called for it; empty when no tool fits the prompt.
    pub scores: Vec<ObservedScore<'a>>,
    /// Weighted mean of the scores, from 0 to 1; `None` when a tool failed or abstained, or when there is no tool.
    pub reward: Option<f64>,
    /// Score of the audit tools, from 0 to 1; `None` when the reply was not audited.
    pub audit: Option<f64>,
}

/// The score of one tool for an [`ObservedReply`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObservedScore<'a> {
    /// The name of the tool.
    pub tool: &'a str,
    /// Its score, scaled from the tool's range to 0 to 1; `None` when the tool failed or abstained.
    pub score: Option<f64>,
}

/// The latest steps of every domain, and the alerts that were raised. A checkpoint stores it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    steps: BTreeMap<String, VecDeque<StepSummary>>,
    /// By domain: the latest replies with a high reward and a low audit score.
    overpaid: BTreeMap<String, VecDeque<CardCase>>,
    /// By domain: the step of the latest alert.
    last: BTreeMap<String, u64>,
    /// By `domain: signal`: the number of alerts.
    tries: BTreeMap<String, u64>,
}

/// Overpaid replies that are kept per domain.
const MAX_OVERPAID: usize = 8;

impl Monitor {
    /// Adds one step's groups of a domain, and returns an alert if a signal crosses its threshold. While the domain
    /// `is_pending`, because new tools for it have been requested, nothing is raised and no alert is counted.
    pub fn observe(
        &mut self,
        step: u64,
        domain: &str,
        groups: &[Vec<ObservedReply>],
        thresholds: &DriftThresholds,
        is_pending: bool,
    ) -> Option<DriftAlert> {
        for reply in groups.iter().flatten().filter(|r| is_overpaid(r)) {
            self.keep_overpaid(domain, reply);
        }
        let window = self.steps.entry(domain.to_owned()).or_default();
        window.push_back(StepSummary::of(groups));
        while window.len() > thresholds.window {
            window.pop_front();
        }
        let is_recent = self.last.get(domain).is_some_and(|last| step < last + thresholds.cooldown);
        if is_recent || is_pending {
            return None;
        }
        let Finding { signal, summary, figures } = detect(window, thresholds)?;
        let tries = self.tries.entry(format!("{domain}: {signal}")).or_default();
        if *tries >= thresholds.tries {
            return None;
        }
        *tries += 1;
        self.last.insert(domain.to_owned(), step);
        let tools: BTreeSet<String> = window.iter().flat_map(|s| s.tools.iter().cloned()).collect();
        let overpaid = if signal == DriftSignal::Hacking {
            self.overpaid.get(domain).cloned().unwrap_or_default()
        } else {
            VecDeque::new()
        };
        Some(DriftAlert {
            domain: domain.to_owned(),
            signal,
            step,
            tools: tools.into_iter().collect(),
            summary,
            figures,
            overpaid: overpaid.into(),
        })
    }

    /// Empties the window of a domain, because its tools were replaced. Cooldown and alert counts remain.
    pub fn reset(&mut self, domain: &str) {
        self.steps.remove(domain);
        self.overpaid.remove(domain);
    }

    fn keep_overpaid(&mut self, domain: &str, reply: &ObservedReply) {
        let kept = self.overpaid.entry(domain.to_owned()).or_default();
        if kept.iter().any(|c| c.reply == reply.reply) {
            return;
        }
        kept.push_back(CardCase {
            reply: reply.reply.to_owned(),
            good: false,
            prompt: reply.prompt.to_owned(),
            reference: reply.reference.map(str::to_owned),
            columns: serde_json::Map::new(),
        });
        while kept.len() > MAX_OVERPAID {
            kept.pop_front();
        }
    }
}
