//! The monitor of reward drift: it detects from the scores of each training step when the reward tools no longer tell
//! good replies from bad ones.
//!
//! The [`Monitor`] computes four signals per domain (task of the prompts) over a window of steps: *coverage* (the share
//! of replies that no admitted tool scores), *signal* (the share of groups whose replies all get the lowest score),
//! *agreement* (whether two tools rank the replies of a group in opposite order) and *hacking* (the share of replies
//! with a high reward and a low audit score, or a reward that rises while the audit score falls). Audit scores come
//! from tools that have no part in the reward. The first signal that crosses its threshold raises a [`DriftAlert`].

mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::window::{Finding, StepSummary, detect, is_overpaid};
use crate::tool::card::CardCase;

/// When the drift monitor raises an alert, which is a request to replace the reward tools of a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DriftThresholds {
    /// Number of latest training steps over which shares, means and correlations are computed.
    #[schemars(range(min = 2, max = 1000))]
    pub window: usize,
    /// Coverage: an alert is raised when more than this share of replies, from 0 to 1, has no tool.
    #[schemars(range(min = 0, max = 1))]
    pub uncovered: f64,
    /// Signal: an alert is raised when in more than this share of groups, from 0 to 1, every reply gets the lowest
    /// score.
    #[schemars(range(min = 0, max = 1))]
    pub flat: f64,
    /// Agreement: an alert is raised when the rank correlation of two tools (Kendall's tau within groups), from -1 to
    /// 1, is below this.
    #[schemars(range(min = -1, max = 1))]
    pub agreement: f64,
    /// Hacking: an alert is raised when more than this share of audited replies, from 0 to 1, has a reward in the upper
    /// half of the reward range and an audit score in the lower half of the audit range.
    #[schemars(range(min = 0, max = 1))]
    pub overpaid: f64,
    /// Hacking: an alert is raised when, from the first to the second half of the window, the mean reward rises and the
    /// mean audit score falls, each by at least this fraction of the score range.
    #[schemars(range(min = 0, max = 1))]
    pub drift: f64,
    /// Number of steps after an alert during which the same domain raises no other alert.
    pub cooldown: u64,
    /// Largest number of alerts that each signal of a domain may raise in one run.
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

/// The signal that raised an alert, which says what is wrong with the reward tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftSignal {
    /// Too many replies are scored by no tool.
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

/// The finding that the reward tools of a domain should be replaced, with the reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftAlert {
    /// The domain (task) of the prompts whose tools should be replaced.
    pub domain: String,
    /// The signal that crossed its threshold.
    #[serde(rename = "sign")]
    pub signal: DriftSignal,
    /// The training step after which the signal crossed its threshold.
    pub step: u64,
    /// Names of the tools that scored replies of the domain in the window.
    pub tools: Vec<String>,
    /// What is wrong with the tools, in words. Prompts to the language model quote the summary, so it holds no numbers,
    /// which a second run might not reproduce.
    #[serde(rename = "what")]
    pub summary: String,
    /// The numbers behind the summary, as a text for people.
    pub figures: String,
    /// For the signal `hacking`: the latest replies with a high reward and a low audit score, which a new tool must
    /// score low. Empty for other signals.
    pub overpaid: Vec<CardCase>,
}

/// A reply to a training prompt, with the scores from which the monitor computes its signals.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedReply<'a> {
    /// The text of the prompt.
    pub prompt: &'a str,
    /// The reference reply; `None` when the example has none.
    pub reference: Option<&'a str>,
    /// The text of the reply.
    pub reply: &'a str,
    /// The scores of the tools that were called for the reply, one per tool; empty when no tool fits the prompt.
    pub scores: Vec<ObservedScore<'a>>,
    /// Weighted mean of the tools' scores, from 0 to 1; `None` when a tool failed or abstained, or when there is no
    /// tool.
    pub reward: Option<f64>,
    /// Score of the audit tools, which have no part in the reward, from 0 to 1; `None` when they gave the reply no
    /// score.
    pub audit: Option<f64>,
}

/// The score of one tool for an [`ObservedReply`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObservedScore<'a> {
    /// The name of the tool that gave the score.
    pub tool: &'a str,
    /// The score, scaled from the tool's range to the range from 0 to 1; `None` when the tool failed or abstained.
    pub score: Option<f64>,
}

/// The drift monitor: it keeps a summary of every domain's latest training steps and of the alerts that were raised.
/// Checkpoints store the monitor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    steps: BTreeMap<String, VecDeque<StepSummary>>,
    /// By domain: the latest replies with a high reward and a low audit score, oldest first.
    overpaid: BTreeMap<String, VecDeque<CardCase>>,
    /// By domain: the training step of the latest alert.
    last: BTreeMap<String, u64>,
    /// By domain and signal, as a text `domain: signal`: the number of alerts that were raised.
    tries: BTreeMap<String, u64>,
}

/// Largest number of overpaid replies (high reward, low audit score) that the monitor keeps per domain.
const MAX_OVERPAID: usize = 8;

impl Monitor {
    /// Adds one step's groups of replies to prompts of a domain, and returns an alert if a signal crosses its
    /// threshold. While `is_pending` says that new tools for the domain were requested and have not come, no alert is
    /// raised or counted.
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

    /// Forgets the steps and the overpaid replies of a domain, because its tools were replaced. The step of the latest
    /// alert and the numbers of alerts remain.
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
