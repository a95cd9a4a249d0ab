//! What surrounds the training: the run's folder, the data, the reward tools, the measuring.

use std::collections::BTreeMap;

use rlar_data::ScoredPart;
use rlar_eval::PromptFormat;
use rlar_rewards::agents::retrieve::HubConfig;
use rlar_rewards::monitor::DriftThresholds;
use rlar_rewards::{CombineAs, LlmConfig, WeightedTool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Method;

/// The run's folder and what is kept in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// The folder, relative to the current one.
    pub folder: String,
    /// Steps between checkpoints.
    #[schemars(range(min = 1))]
    pub checkpoint_every: u64,
    /// Newest checkpoints that are kept.
    #[schemars(range(min = 1))]
    pub keep_last: usize,
    /// Checkpoints that are kept beside them, those with the best held-out accuracy; needs `eval.every`.
    pub keep_best: usize,
    /// Steps between files of rollouts.
    #[schemars(range(min = 1))]
    pub rollouts_every: u64,
    /// Longest wait for room on a full disk, in seconds.
    #[schemars(range(min = 0, max = 604_800))]
    pub disk_wait: f64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            folder: "runs/run".into(),
            checkpoint_every: 25,
            keep_last: 2,
            keep_best: 0,
            rollouts_every: 1,
            disk_wait: 600.0,
        }
    }
}

/// The data. A path is looked for as given, then beside the config file and one folder up, then among the
/// files embedded in the binary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// JSONL of prompts with references, to train on with `grpo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// JSONL of prompts with references to measure on; with `reward_model`, of pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<String>,
    /// JSONL of prompts with replies to imitate, or of conversations whose assistant turns are imitated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<String>,
    /// JSONL of prompts with a chosen and a rejected reply, for `reward_model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<String>,
    /// Several domains instead of `train`, `heldout` and `demonstrations`, each with its own, and how they are mixed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixture: Vec<Domain>,
    /// How messages become text.
    #[serde(default = "chat")]
    pub format: PromptFormat,
    /// Prompts with fewer tokens are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_prompt_tokens: Option<usize>,
    /// Prompts with more tokens are left out; without it, one that the model has no room for is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prompt_tokens: Option<usize>,
}

impl DataConfig {
    /// Whether a prompt of so many tokens is used.
    pub fn fits(&self, tokens: usize) -> bool {
        self.min_prompt_tokens.is_none_or(|n| tokens >= n) && self.max_prompt_tokens.is_none_or(|n| tokens <= n)
    }

    /// Whether there is anything to imitate.
    pub fn has_demonstrations(&self) -> bool {
        self.demonstrations.is_some() || self.mixture.iter().any(|d| d.demonstrations.is_some())
    }

    /// Values that are impossible together: key path and reason.
    pub fn problems(&self, method: Method, steps: u64) -> Vec<(String, String)> {
        let mut found = Vec::new();
        if self.min_prompt_tokens.zip(self.max_prompt_tokens).is_some_and(|(min, max)| min > max) {
            found.push(("data.min_prompt_tokens".to_owned(), "is more than `max_prompt_tokens`".to_owned()));
        }
        if self.mixture.is_empty() {
            return found;
        }
        if self.train.is_some() || self.heldout.is_some() || self.demonstrations.is_some() {
            let message = "stands instead of `train`, `heldout` and `demonstrations`; put them into it";
            found.push(("data.mixture".to_owned(), message.to_owned()));
        }
        if method == Method::RewardModel {
            found.push(("data.mixture".to_owned(), "is for policies; `reward_model` reads `preferences`".to_owned()));
        }
        for (i, domain) in self.mixture.iter().enumerate() {
            if domain.until.is_some_and(|until| until <= domain.from) {
                let message = "is not after `from`: nothing would ever be drawn".to_owned();
                found.push((format!("data.mixture[{i}].until"), message));
            }
        }
        let drawn = |step: u64| {
            let mut on = self.mixture.iter().filter(|d| d.train.is_some());
            on.any(|d| d.from <= step && d.until.is_none_or(|until| step < until))
        };
        let ends = self.mixture.iter().filter_map(|d| d.until).chain([0]).filter(|s| *s < steps);
        if let Some(step) = ends.min_by_key(|s| (drawn(*s), *s)).filter(|s| !drawn(*s)) {
            let message = format!("no domain with `train` is drawn from at step {step}");
            found.push(("data.mixture".to_owned(), message));
        }
        found
    }

    /// The files of one kind: that of the data as a whole, or those of its domains; with the key of each.
    pub fn files<'c>(
        &'c self,
        name: &str,
        whole: &'c Option<String>,
        of: impl Fn(&'c Domain) -> &'c Option<String>,
    ) -> Vec<(String, Option<&'c str>)> {
        if self.mixture.is_empty() {
            return vec![(format!("data.{name}"), whole.as_deref())];
        }
        let key = |i: usize| format!("data.mixture[{i}].{name}");
        self.mixture.iter().enumerate().map(|(i, d)| (key(i), of(d).as_deref())).collect()
    }
}

/// One domain of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// JSONL of prompts to train on; a domain without them is measured only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// JSONL of prompts to measure on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<String>,
    /// JSONL of prompts with replies to imitate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<String>,
    /// Its share of the prompts of a step, beside the other domains' weights.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1e6))]
    pub weight: f64,
    /// The step from which on its prompts are drawn (counted in draws: refilled groups bring it forward).
    #[serde(default)]
    pub from: u64,
    /// The step from which on they are not drawn any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

fn one() -> f64 {
    1.0
}

fn chat() -> PromptFormat {
    PromptFormat::Chat
}

/// Reward tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardsConfig {
    /// Folder with the tools; the curated tools of rlar when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// Who chooses tools: `builtin`, or `llm`, which asks `rewards.llm` and falls back to the builtin agent.
    pub agent: Agent,
    /// Tools of whole domains, by what the prompts say (`domain`, else `kind`), whatever the agent would choose.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub assign: BTreeMap<String, Vec<WeightedTool>>,
    /// Tools that measure instead of training.
    pub audit: Audit,
    /// When tools are renewed while training runs: what the monitor takes for a breach. Without it nothing is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evolve: Option<DriftThresholds>,
    /// Which reward models may be taken from the Hub; without it none is looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubConfig>,
    /// Whether tools may score that admission did not pass.
    pub unadmitted: Unadmitted,
    /// Tools that every prompt has beside those that are chosen for it: terms, gates and vetoes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub always: Vec<WeightedTool>,
    /// What part of a reply is scored; all of it when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored: Option<ScoredPart>,
    /// Whom judges ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm: Option<LlmConfig>,
    /// Where reward models run: `cpu`, `cuda:N` or `auto`.
    pub device: String,
    /// The file with remembered scores and the log of calls; `scores.sqlite` in the run's folder when absent. Several runs may
    /// share one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Addresses of further tool cards for `rlar fetch-rewards`.
    pub sources: Vec<String>,
    /// Python packages that verifiers may import, as pip writes them (`sympy`, `sympy==1.13.1`); installed at first use.
    pub packages: Vec<String>,
    /// Longest time for one score, in seconds.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 3600))]
    pub deadline: f64,
    /// Longest time that scoring may go on after a step's last reply is drawn, in seconds; what has no score then has
    /// failed.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 86400))]
    pub step_deadline: f64,
    /// Share of failed scores of one tool in a window of steps above which it is suspended, from 0 to 1. Its prompts get other
    /// tools; where there are none, the run stops.
    #[schemars(range(min = 0, max = 1))]
    pub failure_limit: f64,
    /// Steps of that window.
    #[schemars(range(min = 1))]
    pub failure_window: usize,
}

/// Whether tools may score that admission did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unadmitted {
    /// They may not.
    Refuse,
    /// They may: for experiments.
    Allow,
}

impl RewardsConfig {
    /// Values that are impossible together: key path and reason.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let given = self.assign.iter().map(|(name, members)| (format!("rewards.assign.{name}"), members));
        for (key, members) in given {
            if !members.iter().any(|m| m.part == CombineAs::Term) {
                found.push((key, "needs a tool that is no gate and no veto".to_owned()));
            }
        }
        for member in self.assign.values().flatten().chain(&self.always) {
            if member.part == CombineAs::Term && (!member.weight.is_finite() || member.weight == 0.0) {
                let key = if self.always.contains(member) { "rewards.always" } else { "rewards.assign" };
                let message =
                    format!("the weight of `{}` is {}; it must be a number other than 0", member.tool, member.weight);
                found.push((key.to_owned(), message));
            }
        }
        found
    }
}

/// Tools that judge held-out replies, and some of those that are trained on, to tell how far the rewards can be believed. One
/// that trains as well says nothing about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The tools; of each reply the first says something that judges it.
    pub tools: Vec<String>,
    /// Share of each group's replies that is audited while training.
    #[schemars(range(min = 0, max = 1))]
    pub share: f64,
}

impl Default for Audit {
    fn default() -> Self {
        Self { tools: Vec::new(), share: 0.25 }
    }
}

/// Who chooses tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// Features of prompt and reference; offline and deterministic.
    Builtin,
    /// A language model that calls a function; decisions are remembered in the run's folder.
    Llm,
}

impl Default for RewardsConfig {
    fn default() -> Self {
        Self {
            library: None,
            agent: Agent::Builtin,
            assign: BTreeMap::new(),
            audit: Audit::default(),
            evolve: None,
            hub: None,
            unadmitted: Unadmitted::Refuse,
            always: Vec::new(),
            scored: None,
            llm: None,
            device: "cpu".into(),
            store: None,
            sources: Vec::new(),
            packages: Vec::new(),
            deadline: 2.0,
            step_deadline: 60.0,
            failure_limit: 0.2,
            failure_window: 4,
        }
    }
}
