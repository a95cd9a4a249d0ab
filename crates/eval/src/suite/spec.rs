//! The YAML form of a suite, a benchmark of policies.

use std::collections::BTreeMap;
use std::path::Path;

use rlar_data::{DataFiles, Document, KeyProblem, ScoredPart};
use rlar_metrics::overlap::BleuTokenizer;
use rlar_policy::Sampling;
use rlar_rewards::{CombineAs, WeightedTool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::metric::SuiteMetric;
use crate::EvalError;
use crate::prompt_encoding::PromptFormat;
use crate::reply_text::stop_conflict;

/// The version of the YAML form of suites that this program reads.
const VERSION: u64 = 1;

/// A benchmark of policies: prompts, sampling settings, the tools that grade replies, and the metrics to report. Texts
/// with `{{ … }}` are Jinja templates, in which the columns of a data row are variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The version of this YAML form: 1.
    pub version: u64,
    /// The suite's name in tables and folders: letters, digits, `-` and `_`.
    pub name: String,
    /// What the suite measures and where it comes from, for readers.
    #[serde(default)]
    pub about: String,
    /// The data files whose rows become prompts, in the same forms as `data.train` of a config; looked for from the
    /// current folder, the suite's folder and the folder above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataFiles>,
    /// Instead of `data`: one text file per column, with one line per row. Maps each column's name to its file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lines: BTreeMap<String, String>,
    /// Template that selects rows: a row for which it does not render to `true` is left out. Without it all rows are
    /// used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Template of a row's id. Without it, the id is the column `id`, or else the number of the row, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Template of a row's group, such as a subject. The first metric is also reported for each group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Template of the system message. Without it there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Template of the user message.
    pub prompt: String,
    /// How messages become the text that the model continues.
    #[serde(default = "chat")]
    pub format: PromptFormat,
    /// Few-shot examples: user messages with replies, which come before the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub few_shot: Option<FewShot>,
    /// Template of the reference: a correct or good reply, for tools and metrics that compare replies with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Templates of further references, for the metrics BLEU, chrF and TER.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_references: Vec<String>,
    /// How replies are sampled: their number, temperature and the like.
    #[serde(default)]
    pub sampling: SuiteSampling,
    /// The part of a reply that is scored; without this key the whole reply is scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored: Option<ScoredPart>,
    /// The reward tools that grade replies: a reply is correct if the weighted sum of their scores is at least one
    /// half.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<WeightedTool>,
    /// The metrics to report, such as `accuracy` or `pass@10`. The first is the suite's main metric, used where one
    /// number is needed.
    pub metrics: Vec<SuiteMetric>,
    /// The tokenizer of BLEU, such as `zh` for Chinese.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bleu_tokenizer: BleuTokenizer,
}

fn chat() -> PromptFormat {
    PromptFormat::Chat
}

// `skip_serializing_if` calls this function with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Few-shot examples: a user message (the suite's `prompt`) and an assistant message each, which come before the
/// prompt. With `format: plain`, a blank line follows each example.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FewShot {
    /// Template of an example's assistant message.
    pub reply: String,
    /// The examples, as rows with the same columns as the suite's data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Map<String, Value>>,
    /// Used instead of `rows`: the files with the examples, like the suite's `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataFiles>,
    /// Number of examples that are taken from the beginning of the file `data`.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: usize,
}

fn five() -> usize {
    5
}

/// How a suite's replies are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SuiteSampling {
    /// Number of replies that are sampled per prompt.
    #[schemars(range(min = 1, max = 10_000))]
    pub samples: usize,
    /// Sampling temperature. At 0 each token is the most likely one (greedy decoding).
    #[schemars(range(min = 0, max = 100))]
    pub temperature: f32,
    /// Nucleus sampling: tokens are sampled from the smallest set whose probabilities add up to at least this much. 1
    /// is no limit.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    pub top_p: f32,
    /// Tokens are sampled from this many of the most likely ones. 0 is no limit.
    pub top_k: usize,
    /// Tokens are sampled only if their probability is at least `min_p` times that of the most likely token. 0 is no
    /// limit.
    #[schemars(range(min = 0, max = 1))]
    pub min_p: f32,
    /// Maximum length of a reply, in tokens.
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
    /// Texts at which a reply ends, such as a blank line.
    pub stop: Vec<String>,
    /// Whether a reply that ended at a text of `stop` is scored with that text, as with vLLM's
    /// `include_stop_str_in_output`, instead of up to it.
    #[serde(skip_serializing_if = "is_default")]
    pub include_stop: bool,
}

impl Default for SuiteSampling {
    fn default() -> Self {
        Self {
            samples: 1,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            max_tokens: 512,
            stop: Vec::new(),
            include_stop: false,
        }
    }
}

impl SuiteSampling {
    /// The settings in the form in which a policy takes them.
    pub fn to_sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            include_stop: self.include_stop,
            ..Sampling::default()
        }
    }
}

impl Suite {
    /// Parses and checks the YAML text of a suite. The path appears only in error messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, EvalError> {
        let document = Document::parse(path, text)?;
        let suite: Self = document.check(&Self::schema())?;
        document.reject(suite.problems())?;
        Ok(suite)
    }

    /// The JSON Schema of the YAML form of suites.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Whether one of the suite's metrics has a value with this name, such as `ifeval prompt strict`.
    pub fn has_metric_value(&self, name: &str) -> bool {
        self.metrics.iter().any(|metric| metric.value_names().iter().any(|n| n == name))
    }

    /// Fails where all replies to a prompt would be the same, because the suite asks for several at temperature 0. The
    /// error says what to change.
    pub fn check_samples_differ(&self) -> Result<(), String> {
        if self.sampling.samples > 1 && self.sampling.temperature == 0.0 {
            return Err(format!(
                "{} replies per prompt at temperature 0 are all the same; raise `sampling.temperature` (`--temperature`)",
                self.sampling.samples
            ));
        }
        Ok(())
    }

    /// The problems that show only when keys of the suite are considered together, or when a value has the right type
    /// but cannot be used, such as a metric without the tools that it needs. Empty for a suite that can be used.
    pub fn problems(&self) -> Vec<KeyProblem> {
        let mut problems = Vec::new();
        let mut report = |key: &str, reason: String| problems.push(KeyProblem::new(key, reason));
        if self.version != VERSION {
            report("version", format!("is {}; this build reads version {VERSION}", self.version));
        }
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(is_allowed) {
            report("name", format!("`{}` may have letters, digits, `-` and `_` only", self.name));
        }
        if self.data.is_some() != self.lines.is_empty() {
            report("data", "the suite needs either `data` or `lines`".into());
        }
        if let Some(few_shot) = &self.few_shot
            && few_shot.rows.is_empty() == few_shot.data.is_none()
        {
            report("few_shot", "needs either `rows` or `data`".into());
        }
        if let Err(reason) = self.sampling.to_sampling().check() {
            report("sampling", reason);
        }
        if let Some(reason) = self.scored.as_ref().and_then(|part| stop_conflict(part, &self.sampling.to_sampling())) {
            report("sampling.stop", reason);
        }
        if self.metrics.is_empty() {
            report("metrics", "name at least one metric".into());
        }
        for (i, metric) in self.metrics.iter().enumerate() {
            if self.metrics[..i].contains(metric) {
                report("metrics", format!("`{metric}` is listed twice"));
            }
            let (needed, samples) = (metric.samples_needed(), self.sampling.samples);
            if needed > samples {
                let reason = format!("`{metric}` needs at least {needed} replies per prompt, not {samples}");
                report("sampling.samples", reason);
            }
            if metric.needs_tools() && self.tools.is_empty() {
                report("tools", format!("`{metric}` needs a tool that grades replies"));
            }
            if metric.needs_reference() && self.reference.is_none() {
                report("reference", format!("`{metric}` compares with a reference"));
            }
        }
        if !self.tools.is_empty() && !self.tools.iter().any(|m| m.combine == CombineAs::Term) {
            report("tools", "needs a tool that is neither a gate nor a veto".into());
        }
        for (i, member) in self.tools.iter().enumerate() {
            if member.combine == CombineAs::Term && (!member.weight.is_finite() || member.weight == 0.0) {
                report(&format!("tools[{i}]"), format!("the weight {} must be a number other than 0", member.weight));
            }
        }
        problems
    }
}
