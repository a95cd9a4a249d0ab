//! `rewards`: reward tools, who chooses them, and their limits.

use std::collections::BTreeMap;

use rlar_data::ScoredPart;
use rlar_rewards::agents::retrieve::HubConfig;
use rlar_rewards::monitor::DriftThresholds;
use rlar_rewards::{LlmConfig, WeightedTool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Reward tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardsConfig {
    /// Folder with the tools; the tools that come with rlar when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// Who chooses the tools of a prompt: `builtin`, or `llm`, which asks `rewards.llm` and falls back to the builtin agent.
    pub agent: Agent,
    /// Tools of whole domains, by the prompts' `domain` (else `kind`) column. They take precedence over the agent's choice.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub assign: BTreeMap<String, Vec<WeightedTool>>,
    /// Tools that measure and are not trained on.
    pub audit: Audit,
    /// Drift monitoring: the thresholds at which agents are asked to replace a tool while training runs. Without this key
    /// rewards are not monitored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evolve: Option<DriftThresholds>,
    /// Which reward models agents may take from the Hub. Without this key none is searched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubConfig>,
    /// Whether tools that did not pass the admission checks may score.
    pub unadmitted: Unadmitted,
    /// Tools that every prompt has in addition to the chosen ones: terms, gates and vetoes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub always: Vec<WeightedTool>,
    /// Which part of a reply is scored; all of it when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored: Option<ScoredPart>,
    /// The language model that judges and agents ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm: Option<LlmConfig>,
    /// Where reward models run: `cpu`, `cuda:N` or `auto`.
    pub device: String,
    /// The score cache: a file with scores and a log of calls. `scores.sqlite` in the run's folder when absent; several runs
    /// may share one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Addresses of further tool cards for `rlar fetch-rewards`.
    pub sources: Vec<String>,
    /// Python packages that verifiers may import, as pip writes them (`sympy`, `sympy==1.13.1`); installed at first use.
    pub packages: Vec<String>,
    /// Longest time for one score, in seconds.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 3600))]
    pub deadline: f64,
    /// Longest time that scoring may go on after a step's last reply is sampled, in seconds. Replies that have no score by
    /// then count as failed.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 86400))]
    pub step_deadline: f64,
    /// Share of a tool's scores, from 0 to 1, that may fail in a window of steps before the tool is suspended. Its prompts then
    /// get other tools; where there are none, the run stops.
    #[schemars(range(min = 0, max = 1))]
    pub failure_limit: f64,
    /// Steps of that window.
    #[schemars(range(min = 1))]
    pub failure_window: usize,
}

/// Whether tools that did not pass the admission checks may score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unadmitted {
    /// They may not.
    Refuse,
    /// They may, with a warning; for experiments.
    Allow,
}

/// Audit tools: they score a part of the replies to measure how far the rewards can be trusted, and are not trained on. Choose
/// tools that do not also give rewards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// The tools. Each reply is audited by the first of them that applies to it.
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

/// Who chooses the tools of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// Rules about prompt and reference; offline and deterministic.
    Builtin,
    /// A language model, by function calling; its answers are cached in the run's folder.
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
