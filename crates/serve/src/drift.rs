//! Watches served rewards as a training run watches its own: an alert says that the tools of a domain no longer tell good
//! replies from bad ones.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rlar_rewards::PlannedScore;
use rlar_rewards::monitor::{DriftAlert, DriftThresholds, Monitor, ObservedReply, ObservedScore};

/// Number of replies of a domain that are observed together, as a training step's are.
const STEP: usize = 256;

/// Largest number of domains that are watched; clients name domains, so there must be a bound.
const MAX_DOMAINS: usize = 64;

/// The monitor of served rewards.
#[derive(Debug, Default)]
pub struct DriftWatch {
    state: Mutex<DriftState>,
}

#[derive(Debug, Default)]
struct DriftState {
    monitor: Monitor,
    domains: BTreeMap<String, DomainReplies>,
}

/// The replies of a domain since its last step.
#[derive(Debug, Default)]
struct DomainReplies {
    groups: Vec<Vec<SeenReply>>,
    replies: usize,
    steps: u64,
}

/// A scored reply, as far as the monitor needs it.
#[derive(Clone, Debug)]
pub struct SeenReply {
    scores: Vec<SeenScore>,
    /// Weighted mean of the scores, from 0 to 1; `None` without all of them.
    reward: Option<f64>,
}

#[derive(Clone, Debug)]
struct SeenScore {
    tool: String,
    /// The score as a fraction of the tool's range.
    score: Option<f64>,
}

impl SeenReply {
    /// What the monitor needs of the scores of a reply.
    pub fn of(given: &[PlannedScore]) -> Self {
        let (mut sum, mut weights) = (Some(0.0), 0.0);
        let mut scores = Vec::with_capacity(given.len());
        for part in given {
            let [low, high] = part.range;
            let score = part.score.outcome.score().map(|score| (score - low) / (high - low));
            let weight = part.score.weight.max(0.0);
            sum = sum.zip(score).map(|(sum, score)| sum + score * weight);
            weights += weight;
            scores.push(SeenScore { tool: part.score.tool.to_string(), score });
        }
        Self { scores, reward: sum.filter(|_| weights > 0.0).map(|sum| sum / weights) }
    }

    fn observed(&self) -> ObservedReply<'_> {
        let scores = self.scores.iter().map(|seen| ObservedScore { tool: &seen.tool, score: seen.score }).collect();
        // No reply is audited, so no alert quotes one.
        ObservedReply { prompt: "", reference: None, reply: "", scores, reward: self.reward, audit: None }
    }
}

impl DriftWatch {
    /// Adds a group of replies to one prompt of a domain. Returns an alert if a signal crosses its threshold.
    pub fn observe(&self, domain: &str, group: Vec<SeenReply>) -> Option<DriftAlert> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let DriftState { monitor, domains } = &mut *guard;
        if !domains.contains_key(domain) {
            if domains.len() >= MAX_DOMAINS {
                return None;
            }
            domains.insert(domain.to_owned(), DomainReplies::default());
        }
        let seen = domains.get_mut(domain)?;
        seen.replies += group.len();
        seen.groups.push(group);
        if seen.replies < STEP {
            return None;
        }
        seen.steps += 1;
        seen.replies = 0;
        let groups = std::mem::take(&mut seen.groups);
        let observed: Vec<Vec<ObservedReply>> =
            groups.iter().map(|group| group.iter().map(SeenReply::observed).collect()).collect();
        monitor.observe(seen.steps, domain, &observed, &DriftThresholds::default(), false)
    }
}
