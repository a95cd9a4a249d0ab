//! The inputs of a run: config, data, reward tools and agents.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rlar_data::{Example, ExampleList, Preference};
use rlar_eval::suite::SuiteEval;
use rlar_policy::ModelSource;
use rlar_rewards::Orchestrator;
use rlar_rewards::agents::Agents;
use rlar_run::{Build, OutputMode};

use crate::config::Config;

/// A job: everything that a run needs to start or continue.
pub struct Job<'a> {
    /// When the command began to prepare the job; the times of the report count from then.
    pub began: Instant,
    /// The config, after its checks.
    pub config: Config,
    /// Where the model that `model.path` names was found; `None` for a model with random weights (`model.scratch`).
    pub model: Option<ModelSource>,
    /// The commits of the models of the Hugging Face Hub that the config names, by their names there. A resumed run must
    /// get those of its start ([`hub_commits`](crate::hub_commits)).
    pub hub_commits: BTreeMap<String, String>,
    /// Prompts to train on.
    pub train: ExampleList,
    /// Number of training prompts of each domain in `data.mixture`, in the order in which the domains are concatenated
    /// in `train`. Without domains, this is one number, that of all prompts.
    pub sizes: Vec<usize>,
    /// Held-out prompts to measure a policy on.
    pub heldout: Vec<Example>,
    /// Demonstrations for supervised fine-tuning.
    pub demonstrations: Vec<Example>,
    /// Preference pairs to train a reward model on.
    pub preferences: Vec<Preference>,
    /// Preference pairs to measure a reward model on.
    pub heldout_preferences: Vec<Preference>,
    /// Evaluation suites to measure a policy on, with the tools that score them.
    pub suites: Vec<SuiteEval>,
    /// The reward tools, and which of them each prompt has.
    pub rewards: Orchestrator,
    /// The language-model agents that choose and replace tools while training runs; `None` if fixed rules choose all
    /// tools.
    pub agents: Option<Agents>,
    /// Whether to continue the earlier run in the folder `run.folder`; otherwise a new run starts.
    pub resume: bool,
    /// A flag that a signal handler sets; the run then stops after the current step.
    pub interrupted: &'a AtomicBool,
    /// How the run shows what it does.
    pub output: OutputMode,
    /// The build of this program, for the record of what the run computes on.
    pub build: Build,
}
