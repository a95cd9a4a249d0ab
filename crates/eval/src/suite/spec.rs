//! A suite as it is written: YAML.

use std::collections::BTreeMap;
use std::path::Path;

use rlar_data::{Document, ScoredPart};
use rlar_metrics::overlap::Tokenizer;
use rlar_policy::Sampling;
use rlar_rewards::{CombineAs, WeightedTool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::metric::Metric;
use crate::EvalError;
use crate::prompt::PromptFormat;

/// The version of the form that this build reads.
const VERSION: u64 = 1;

/// A benchmark of policies: prompts, how they are put, what judges the replies, which figures come out. Texts with `{{ … }}`
/// are Jinja over the columns of a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The version of this form: 1.
    pub version: u64,
    /// What tables and folders call it: letters, digits, `-` and `_`.
    pub name: String,
    /// What it measures and where it is from.
    #[serde(default)]
    pub about: String,
    /// The rows: JSONL, a JSON list or Parquet, also as `.gz`. Looked for as given, beside the suite, in the folder of fetched
    /// data, then among the data embedded in the binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Instead of `data`: columns by name, each a text file with a line per row.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lines: BTreeMap<String, String>,
    /// Rows for which this does not say `true` are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// A row's name; the column `id`, else the row's number, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What figures are told apart by, such as a subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Standing instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// What is asked.
    pub prompt: String,
    /// How messages become text.
    #[serde(default = "chat")]
    pub format: PromptFormat,
    /// Examples with replies that stand before the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub few_shot: Option<FewShot>,
    /// The right or a good reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Further good replies, for BLEU, chrF and TER.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further_references: Vec<String>,
    /// How replies are drawn.
    #[serde(default)]
    pub sampling: Draw,
    /// What part of a reply is judged; all of it when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored: Option<ScoredPart>,
    /// What judges replies: a reply is right if the weighted sum of their scores is at least one half.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<WeightedTool>,
    /// The figures: `accuracy`, `score`, `pass@K`, `maj@K`, `bleu`, `chrf`, `chrf++`, `ter`, `ifeval`. The first is the one
    /// that stands for the suite.
    pub metrics: Vec<Metric>,
    /// How BLEU cuts words: `zh` for Chinese.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bleu_tokenizer: Tokenizer,
}

fn chat() -> PromptFormat {
    PromptFormat::Chat
}

// As serde asks it.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_default(tokenizer: &Tokenizer) -> bool {
    *tokenizer == Tokenizer::default()
}

/// Examples that stand before the question, each a message of the user and one of the assistant; with `format: plain`, a blank
/// line follows each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FewShot {
    /// What the assistant says in an example.
    pub reply: String,
    /// The examples, as rows of the same columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Map<String, Value>>,
    /// Instead of `rows`: a file, looked for as `data` are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// How many of the file's rows are taken, from the first.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 1000))]
    pub count: usize,
}

fn five() -> usize {
    5
}

/// How replies are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Draw {
    /// Replies per prompt.
    #[schemars(range(min = 1, max = 10_000))]
    pub samples: usize,
    /// 0 takes the likeliest token.
    #[schemars(range(min = 0, max = 100))]
    pub temperature: f32,
    /// Draw from the smallest set of tokens with this much probability.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    pub top_p: f32,
    /// Draw from this many likeliest tokens; 0 is all.
    pub top_k: usize,
    /// Draw from tokens at least this many times as likely as the likeliest.
    #[schemars(range(min = 0, max = 1))]
    pub min_p: f32,
    /// Longest reply, in tokens.
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
    /// Texts that end a reply.
    pub stop: Vec<String>,
}

impl Default for Draw {
    fn default() -> Self {
        Self { samples: 1, temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, max_tokens: 512, stop: Vec::new() }
    }
}

impl Draw {
    /// As the engine wants it.
    pub fn sampling(&self) -> Sampling {
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
    /// Reads and checks a suite; the path is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, EvalError> {
        let document = Document::parse(path, text)?;
        let suite: Self = document.check(&Self::schema())?;
        document.reject(suite.problems())?;
        Ok(suite)
    }

    /// The JSON Schema of the YAML.
    pub fn schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Says that several replies would all be the same, and what to do.
    pub fn is_drawn(&self) -> Result<(), String> {
        if self.sampling.samples > 1 && self.sampling.temperature == 0.0 {
            return Err(format!(
                "{} replies per prompt at temperature 0 are all the same; raise `sampling.temperature` (`--temperature`)",
                self.sampling.samples
            ));
        }
        Ok(())
    }

    /// Values that are impossible together: key path and reason.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut say = |key: &str, message: String| found.push((key.to_owned(), message));
        if self.version != VERSION {
            say("version", format!("is {}; this build reads version {VERSION}", self.version));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.name.is_empty() || !self.name.chars().all(plain) {
            say("name", format!("`{}` may have letters, digits, `-` and `_` only", self.name));
        }
        if self.data.is_some() != self.lines.is_empty() {
            say("data", "the suite needs either `data` or `lines`".into());
        }
        if let Some(shots) = &self.few_shot
            && shots.rows.is_empty() == shots.data.is_none()
        {
            say("few_shot", "needs either `rows` or `data`".into());
        }
        if let Err(why) = self.sampling.sampling().check() {
            say("sampling", why);
        }
        if self.metrics.is_empty() {
            say("metrics", "name at least one figure".into());
        }
        for (i, metric) in self.metrics.iter().enumerate() {
            if self.metrics[..i].contains(metric) {
                say("metrics", format!("`{metric}` stands there twice"));
            }
            if metric.draws() > self.sampling.samples {
                let n = self.sampling.samples;
                say(
                    "sampling.samples",
                    format!("`{metric}` needs at least {} replies per prompt, not {n}", metric.draws()),
                );
            }
            if metric.judges() && self.tools.is_empty() {
                say("tools", format!("`{metric}` needs a tool that judges replies"));
            }
            if metric.compares() && self.reference.is_none() {
                say("reference", format!("`{metric}` compares with a reference"));
            }
        }
        if !self.tools.is_empty() && !self.tools.iter().any(|m| m.part == CombineAs::Term) {
            say("tools", "needs a tool that is no gate and no veto".into());
        }
        for (i, member) in self.tools.iter().enumerate() {
            if member.part == CombineAs::Term && (!member.weight.is_finite() || member.weight == 0.0) {
                say(&format!("tools[{i}]"), format!("the weight {} must be a number other than 0", member.weight));
            }
        }
        found
    }
}
