//! What a run is made from.

use std::sync::atomic::AtomicBool;

use rlar_data::{Example, Preference};
use rlar_eval::suite::SuiteEval;
use rlar_rewards::Orchestrator;
use rlar_rewards::agents::Agents;

use crate::config::Config;

/// Everything that a run depends on.
pub struct Job<'a> {
    /// The checked config.
    pub config: Config,
    /// Prompts to train on.
    pub train: Vec<Example>,
    /// How many of them each domain of `data.mixture` has, one domain after the other; without domains one number for all.
    pub sizes: Vec<usize>,
    /// Prompts to measure on.
    pub heldout: Vec<Example>,
    /// Demonstrations for supervised fine-tuning.
    pub demonstrations: Vec<Example>,
    /// Preference pairs to train a reward model on.
    pub preferences: Vec<Preference>,
    /// Preference pairs to measure a reward model on.
    pub heldout_preferences: Vec<Preference>,
    /// Suites to measure a policy on, with the tools that score them.
    pub suites: Vec<SuiteEval>,
    /// The reward tools.
    pub rewards: Orchestrator,
    /// The agents that choose and replace tools while training runs; `None` for the builtin agent alone.
    pub agents: Option<Agents>,
    /// Whether to continue the run in the folder.
    pub resume: bool,
    /// Set from outside to stop after the current step.
    pub interrupted: &'a AtomicBool,
    /// Whether to show progress.
    pub progress: bool,
}
