//! The YAML form of a suite.

use std::collections::BTreeMap;
use std::path::Path;

use rlar_data::{Document, KeyProblem, ScoredPart};
use rlar_metrics::overlap::BleuTokenizer;
use rlar_policy::Sampling;
use rlar_rewards::{CombineAs, WeightedTool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::metric::SuiteMetric;
use crate::EvalError;
use crate::prompt_encoding::PromptFormat;

/// The version of the YAML form that this build reads.
const VERSION: u64 = 1;

/// A benchmark of policies: prompts, sampling settings, the tools that grade replies, and the metrics to report. Texts with
/// `{{ … }}` are Jinja templates over the columns of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The version of this form: 1.
    pub version: u64,
    /// Its name in tables and folders: letters, digits, `-` and `_`.
    pub name: String,
    /// What it measures and where it is from.
    #[serde(default)]
    pub about: String,
    /// The rows: a JSONL, JSON list or Parquet file, which may be gzipped. Looked for as given, beside the suite, in the
    /// folder of fetched data, then among the data embedded in the binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Instead of `data`: columns by name, each a text file with one line per row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lines: BTreeMap<String, String>,
    /// Rows for which this template does not render to `true` are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// The id of a row; without it the column `id`, else the number of the row from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The group of a row, such as a subject; the first metric is also reported per group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The system message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The user message.
    pub prompt: String,
    /// How messages become text.
    #[serde(default = "chat")]
    pub format: PromptFormat,
    /// Examples with replies, before the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub few_shot: Option<FewShot>,
    /// The reference: a correct or good reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Further references, for BLEU, chrF and TER.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_references: Vec<String>,
    /// How replies are sampled.
    #[serde(default)]
    pub sampling: SuiteSampling,
    /// The part of a reply that is scored; all of it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored: Option<ScoredPart>,
    /// The reward tools that grade replies: a reply is correct if the weighted sum of their scores is at least one half.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<WeightedTool>,
    /// The metrics to report, such as `accuracy` or `pass@10`. The first one stands for the suite where one number is needed.
    pub metrics: Vec<SuiteMetric>,
    /// BLEU's tokenizer: `zh` for Chinese.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bleu_tokenizer: BleuTokenizer,
}

fn chat() -> PromptFormat {
    PromptFormat::Chat
}

// `skip_serializing_if` passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_default(tokenizer: &BleuTokenizer) -> bool {
    *tokenizer == BleuTokenizer::default()
}

/// Few-shot examples before the prompt, each a user message and an assistant message. With `format: plain`, a blank line
/// follows each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FewShot {
    /// The assistant message of an example.
    pub reply: String,
    /// The examples, as rows with the columns of the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Map<String, Value>>,
    /// Instead of `rows`: a file, looked for like that of the suite's `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// How many rows of the file are used, from the first.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: usize,
}

fn five() -> usize {
    5
}

/// How replies are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SuiteSampling {
    /// Replies per prompt.
    #[schemars(range(min = 1, max = 10_000))]
    pub samples: usize,
    /// Sampling temperature; 0 takes the most likely token.
    #[schemars(range(min = 0, max = 100))]
    pub temperature: f32,
    /// Sample from the smallest set of tokens with this much probability.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    pub top_p: f32,
    /// Sample from this many most likely tokens; 0 is all.
    pub top_k: usize,
    /// Sample from tokens at least this many times as likely as the most likely one.
    #[schemars(range(min = 0, max = 1))]
    pub min_p: f32,
    /// Maximum length of a reply, in tokens.
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
    /// Strings that end a reply.
    pub stop: Vec<String>,
}

impl Default for SuiteSampling {
    fn default() -> Self {
        Self { samples: 1, temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, max_tokens: 512, stop: Vec::new() }
    }
}

impl SuiteSampling {
    /// The settings for one reply.
    pub fn to_policy(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            ..Sampling::default()
        }
    }
}

impl Suite {
    /// Parses and checks a suite; the path is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, EvalError> {
        let document = Document::parse(path, text)?;
        let suite: Self = document.check(&Self::schema())?;
        document.reject(suite.problems())?;
        Ok(suite)
    }

    /// The JSON Schema of the YAML form.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Whether one of its metrics has a value of this name.
    pub fn has_metric_value(&self, name: &str) -> bool {
        self.metrics.iter().any(|metric| metric.value_names().iter().any(|n| n == name))
    }

    /// Fails where all replies to a prompt would be identical, with what to do about it.
    pub fn check_samples_differ(&self) -> Result<(), String> {
        if self.sampling.samples > 1 && self.sampling.temperature == 0.0 {
            return Err(format!(
                "{} replies per prompt at temperature 0 are all the same; raise `sampling.temperature` (`--temperature`)",
                self.sampling.samples
            ));
        }
        Ok(())
    }

    /// Contradictions between values that are valid by themselves.
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
        if let Err(reason) = self.sampling.to_policy().check() {
            report("sampling", reason);
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
        if !self.tools.is_empty() && !self.tools.iter().any(|m| m.part == CombineAs::Term) {
            report("tools", "needs a tool that is neither a gate nor a veto".into());
        }
        for (i, member) in self.tools.iter().enumerate() {
            if member.part == CombineAs::Term && (!member.weight.is_finite() || member.weight == 0.0) {
                report(&format!("tools[{i}]"), format!("the weight {} must be a number other than 0", member.weight));
            }
        }
        problems
    }
}
