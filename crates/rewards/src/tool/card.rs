//! `tool.yaml`: what a tool measures and what it needs.

use std::path::Path;

use rlar_data::Document;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::tool::builtin::builtin;
use crate::tool::composite::{CombineAs, WeightedTool};
use crate::tool::judge::{Mode, Rubric};
use crate::tool::reward_model::ModelPointer;

/// How a tool is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// A part of rlar, in Rust.
    Builtin,
    /// Python, run in the sandbox.
    Verifier,
    /// A reward model, run natively.
    Model,
    /// A language model with a rubric.
    Judge,
    /// A sum of other tools, with gates and vetoes.
    Composite,
}

/// What a score means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolRole {
    /// Right or wrong.
    Correctness,
    /// Better or worse.
    Quality,
    /// A rule is kept or not; never the only tool of an assignment.
    Constraint,
}

/// A reply made for a tool's admission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardCase {
    /// The reply.
    pub reply: String,
    /// Whether it is a good one.
    pub good: bool,
    /// The prompt that it answers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// The reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Further columns of the example.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub columns: serde_json::Map<String, serde_json::Value>,
}

/// A tool's card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCard {
    /// Unique in its library.
    pub name: String,
    /// How it is made.
    pub kind: ToolKind,
    /// What its score means.
    pub role: ToolRole,
    /// What it measures, in a sentence.
    pub measures: String,
    /// Tasks that it suits.
    pub tasks: Vec<String>,
    /// Whether it abstains from examples without a reference.
    pub needs_reference: bool,
    /// Whether a reply must be the answer alone: admission does not put answers into sentences, then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bare: bool,
    /// Lowest and highest score.
    pub range: [f64; 2],
    /// Verifiers: the Python function `f(prompt, candidate_response, reference_response) -> float`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Verifiers: the file in the tool's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Verifiers: packages that the file imports; `rewards.packages` must allow them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Builtins: the part of rlar, where it is not called as the tool is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<String>,
    /// Builtins: their settings.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Models: where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelPointer>,
    /// Judges: what they judge by, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<Rubric>,
    /// Composites: their tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<WeightedTool>,
    /// Made cases, for admission: replies that the tool must score high, and such that it must score low.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<CardCase>,
    /// Where it comes from.
    pub origin: String,
}

impl ToolCard {
    /// The part of rlar that a card of kind `builtin` names.
    pub fn builtin(&self) -> &str {
        self.builtin.as_deref().unwrap_or(&self.name)
    }

    /// Parses and checks a card; the path is for messages.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RewardError> {
        let schema = schemars::schema_for!(Self).to_value();
        let document = Document::parse(path, text)?;
        let card: Self = document.check(&schema)?;
        let mut problems = Vec::new();
        let [low, high] = card.range;
        if !(low.is_finite() && high.is_finite() && low < high) {
            problems.push(("range".to_owned(), "must be two finite numbers, the lower first".to_owned()));
        }
        let plain = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !plain(&card.name) {
            problems.push(("name".to_owned(), "must be letters, digits, `_` and `-`".to_owned()));
        }
        problems.extend(card.kind_problem().map(|why| ("kind".to_owned(), why)));
        document.reject(problems)?;
        Ok(card)
    }

    /// Why a card of this kind cannot be opened, if so.
    fn kind_problem(&self) -> Option<String> {
        match self.kind {
            ToolKind::Builtin => builtin(self.builtin(), &self.settings).err(),
            ToolKind::Verifier => {
                let file = self.file.as_deref().unwrap_or("");
                let whole = self.function.is_some() && !file.is_empty() && !file.contains(['/', '\\']);
                (!whole).then(|| "a verifier needs `function`, and `file` in its own folder".into())
            }
            ToolKind::Model => match &self.model {
                Some(model) if model.path.is_empty() == model.repo.is_none() => {
                    Some("a model needs exactly one of `path` and `repo`".into())
                }
                Some(model) if model.repo.is_some() && (model.revision.is_none() || model.files.is_empty()) => {
                    Some("a model of the Hub needs its `revision` and its `files`".into())
                }
                Some(_) => None,
                None => Some("a model needs `model` with its `path`".into()),
            },
            ToolKind::Judge => match &self.judge {
                Some(rubric) if rubric.mode == Mode::Pairwise && !self.needs_reference => {
                    Some("a pairwise judge compares with the reference: it needs `needs_reference: true`".into())
                }
                Some(rubric) => rubric.problem(),
                None => Some("a judge needs `judge` with its `rubric`".into()),
            },
            ToolKind::Composite => {
                let terms = self.parts.iter().filter(|m| m.part == CombineAs::Term).count();
                let finite = self.parts.iter().all(|m| m.weight.is_finite());
                (terms == 0 || !finite)
                    .then(|| "a composite needs `parts`, a term among them, with finite weights".into())
            }
        }
    }
}
