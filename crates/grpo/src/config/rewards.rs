//! Section `rewards`: the reward tools, who assigns them to prompts, and their limits.

use std::collections::BTreeMap;

use rlar_data::ScoredPart;
use rlar_rewards::agents::retrieve::HubConfig;
use rlar_rewards::monitor::DriftThresholds;
use rlar_rewards::{LlmConfig, PythonFunction, WeightedTool, entries_schema, read_entries};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The reward tools (verifiers, judges and reward models that score replies), who assigns them to prompts, and their
/// limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardsConfig {
    /// Folder with the reward tools; when absent, the tools that come with rlar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// Who chooses the tools of a prompt: `builtin`, fixed rules; or `llm`, the language model of `rewards.llm`. Until
    /// it has answered, and where it gives no usable answer, the rules choose.
    pub agent: Agent,
    /// Python functions that score the replies to every prompt whose domain has no tools in `assign`: the text
    /// `reward.py:accuracy`, a mapping, or a list of both. Their weighted scores are summed, and no other tools are chosen.
    /// A function that `always` names is added to the chosen tools instead.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "read_entries")]
    #[schemars(schema_with = "entries_schema")]
    pub python: Vec<PythonFunction>,
    /// Tools for whole domains: maps a value of the prompts' `domain` column (of `kind`, if there is no `domain`) to a
    /// list of tools. These lists take precedence over the agent's choice.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub assign: BTreeMap<String, Vec<WeightedTool>>,
    /// How the weights of a prompt's tools are set: `fixed`, as given by the agent or the config; or `learned`, from how
    /// much reward models, judges and similarities agree and from labelled replies, anew before every step. An admitted
    /// verifier that judges the prompt then decides alone.
    pub weights: WeightSource,
    /// Audit tools, which score some of the replies as a check of the rewards; their scores are not trained on.
    pub audit: Audit,
    /// Drift monitoring: the thresholds at which a language-model agent is asked to replace a tool while training runs.
    /// Without this key, rewards are not monitored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evolve: Option<DriftThresholds>,
    /// Which reward models the agents may download from the Hugging Face Hub. Without this key, they do not search it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubConfig>,
    /// Whether tools may score that did not pass the admission checks (tests that a tool must pass before it is
    /// trusted).
    pub unadmitted: Unadmitted,
    /// Tools that every prompt has in addition to its chosen ones. Each is a term of the weighted sum, a gate (caps the
    /// reward of a reply that it scores too low at 0) or a veto (gives such a reply the lowest reward).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub always: Vec<WeightedTool>,
    /// Which part of a reply is scored, such as the text after `</think>`; the whole reply when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scored: Option<ScoredPart>,
    /// The language model that judges (tools that grade a reply with a prompt) and agents call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub llm: Option<LlmConfig>,
    /// Device of the reward models among the tools: `cpu`, `cuda:N` or `auto`.
    pub device: String,
    /// Path of the score cache, an `SQLite` file with cached scores and a log of all tool calls. When absent, it is
    /// `scores.sqlite` in the run's folder. Several runs may share one file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// URLs of further tool cards (`tool.yaml` files), which `rlar fetch-rewards` downloads.
    pub sources: Vec<String>,
    /// Python packages that verifiers may import, as pip writes them (`sympy`, `sympy==1.13.1`). They are installed
    /// when first needed.
    pub packages: Vec<String>,
    /// Longest time that a tool in the sandbox may take for one score, in seconds.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 3600))]
    pub deadline: f64,
    /// Longest time that scoring may go on after the last reply of a step was sampled, in seconds. Scores that have not
    /// been started by then are skipped; replies without all their scores are not trained on.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 86400))]
    pub step_deadline: f64,
    /// Largest share of a tool's scores, from 0 to 1, that may fail within `failure_window` steps. If more fail, the
    /// tool is suspended and its prompts get other tools; if no other tool can score them, the run stops.
    #[schemars(range(min = 0, max = 1))]
    pub failure_limit: f64,
    /// Number of last steps over which the failures of a tool are counted.
    #[schemars(range(min = 1))]
    pub failure_window: usize,
}

/// Whether tools may score that did not pass the admission checks (tests that a tool must pass before it is trusted).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unadmitted {
    /// Tools that did not pass may not score.
    Refuse,
    /// Tools that did not pass may score, with a warning; meant for experiments.
    Allow,
}

/// Audit tools: they score some of the replies as a check of the rewards, and their scores are not trained on. Choose
/// tools that do not also give rewards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Names of the audit tools. Each reply is audited by the first tool in the list that applies to its prompt.
    pub tools: Vec<String>,
    /// Share of each group's replies that is audited while training, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub share: f64,
}

impl Default for Audit {
    fn default() -> Self {
        Self { tools: Vec::new(), share: 0.25 }
    }
}

/// How the weights of a prompt's tools are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeightSource {
    /// Weights are those that the agent chose or the config names.
    Fixed,
    /// Weights are learned while training runs, from the run's own evidence.
    Learned,
}

/// Who chooses the tools of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// Fixed rules about prompt and reference answer; they need no network and always choose the same tools.
    Builtin,
    /// A language model, by function calling. Its answers are cached in the run's folder.
    Llm,
}

impl RewardsConfig {
    /// Whether a tool scores every prompt in addition to the chosen ones.
    pub fn is_always(&self, tool: &str) -> bool {
        self.always.iter().any(|member| member.tool == tool)
    }
}

impl Default for RewardsConfig {
    fn default() -> Self {
        Self {
            library: None,
            agent: Agent::Builtin,
            python: Vec::new(),
            assign: BTreeMap::new(),
            weights: WeightSource::Fixed,
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
