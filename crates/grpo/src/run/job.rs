//! What a run is made from.

use std::sync::atomic::AtomicBool;

use rlar_data::{Example, Preference};
use rlar_eval::suite::SuiteEval;
use rlar_rewards::Orchestrator;
use rlar_rewards::agents::Agents;

use crate::config::Config;

/// Everything that a run is a function of.
pub struct Job<'a> {
    /// The checked config.
    pub config: Config,
    /// Prompts to train on.
    pub train: Vec<Example>,
    /// How many of them each domain of `data.mixture` has, one after the other; all of them without domains.
    pub sizes: Vec<usize>,
    /// Prompts to measure on.
    pub heldout: Vec<Example>,
    /// Replies to imitate.
    pub demonstrations: Vec<Example>,
    /// Pairs of replies to learn a reward from.
    pub preferences: Vec<Preference>,
    /// Pairs of replies to measure on.
    pub heldout_preferences: Vec<Preference>,
    /// Suites to measure on, with the tools that judge them.
    pub suites: Vec<SuiteEval>,
    /// Reward tools.
    pub rewards: Orchestrator,
    /// Who chooses and renews them while training runs.
    pub agents: Option<Agents>,
    /// Whether to continue what the folder holds.
    pub resume: bool,
    /// Set from outside to stop after the current step.
    pub interrupted: &'a AtomicBool,
    /// Whether to show progress.
    pub progress: bool,
}
