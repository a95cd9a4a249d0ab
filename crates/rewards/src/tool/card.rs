//! The card of a tool: what it measures, how it is made, and what it needs.

use std::path::Path;

use rlar_data::Document;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::RewardError;
use crate::tool::card_document::CardDocument;
use crate::tool::composite::WeightedTool;
use crate::tool::judge::Rubric;
use crate::tool::reward_model::ModelPointer;

/// What a score means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolRole {
    /// The reply is right or wrong.
    Correctness,
    /// The reply is better or worse.
    Quality,
    /// The reply keeps a rule or breaks it. A constraint is never the only tool of an assignment.
    Constraint,
}

/// A reply of known worth in a card, for admission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardCase {
    /// The reply.
    pub reply: String,
    /// Whether the tool must score it high; otherwise it must score it low.
    pub good: bool,
    /// The prompt that the reply answers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// The reference of the example; absent for an example without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Further columns of the example, such as `tests`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub columns: Map<String, Value>,
}

/// How a tool is made, with the keys of its card that only this kind has.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolKind {
    /// A function of rlar, in Rust.
    Builtin {
        /// The function's name, where it differs from the tool's.
        builtin: Option<String>,
        /// The function's settings.
        settings: Map<String, Value>,
    },
    /// A Python function, run in the sandbox.
    Verifier {
        /// The function `f(prompt, candidate_response, reference_response) -> float`.
        function: String,
        /// The file with its code, in the tool's folder.
        file: String,
        /// Packages that the file imports; `rewards.packages` must allow them.
        requires: Vec<String>,
    },
    /// A reward model, run natively.
    Model(ModelPointer),
    /// A language model with a rubric.
    Judge(Rubric),
    /// A weighted sum of other tools, with gates and vetoes.
    Composite {
        /// The other tools; at least one of them is a term.
        parts: Vec<WeightedTool>,
    },
}

/// A tool's card: `tool.yaml`, checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "CardDocument")]
pub struct ToolCard {
    /// The tool's name, unique in its library and the name of its folder.
    pub name: String,
    /// How the tool is made.
    pub kind: ToolKind,
    /// What its score means.
    pub role: ToolRole,
    /// What it measures, in a sentence.
    pub measures: String,
    /// The tasks that it suits.
    pub tasks: Vec<String>,
    /// Whether it abstains from examples without a reference.
    pub needs_reference: bool,
    /// Whether a reply must be the answer alone. If so, admission does not put answers into sentences.
    pub bare: bool,
    /// The lowest and the highest score; both finite.
    pub range: [f64; 2],
    /// Replies of known worth, for admission.
    pub cases: Vec<CardCase>,
    /// Where the tool comes from.
    pub origin: String,
}

impl ToolCard {
    /// Parses and checks a `tool.yaml`. The path is used in messages only.
    ///
    /// # Errors
    ///
    /// An unknown key, a value of the wrong type, or a value that no tool of this kind can have; with the line of each.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RewardError> {
        let schema = schemars::schema_for!(CardDocument).to_value();
        let document = Document::parse(path, text)?;
        let written: CardDocument = document.check(&schema)?;
        let mut problems = written.problems();
        let card = written.into_card().map_err(|problem| problems.push(problem));
        document.reject(problems)?;
        card.map_err(|()| RewardError::tool(&path.display().to_string(), "has a card that cannot be used"))
    }

    /// The function of rlar that the tool runs; `None` for tools of another kind.
    pub fn builtin(&self) -> Option<&str> {
        match &self.kind {
            ToolKind::Builtin { builtin, .. } => Some(builtin.as_deref().unwrap_or(&self.name)),
            _ => None,
        }
    }

    /// The file with a verifier's code, in the tool's folder; `None` for tools of another kind.
    pub fn file(&self) -> Option<&str> {
        match &self.kind {
            ToolKind::Verifier { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The Python packages that the tool imports.
    pub fn requires(&self) -> &[String] {
        match &self.kind {
            ToolKind::Verifier { requires, .. } => requires,
            _ => &[],
        }
    }

    /// The reward model of the tool; `None` for tools of another kind.
    pub fn model(&self) -> Option<&ModelPointer> {
        match &self.kind {
            ToolKind::Model(pointer) => Some(pointer),
            _ => None,
        }
    }

    /// The tools that a composite is made of.
    pub fn parts(&self) -> &[WeightedTool] {
        match &self.kind {
            ToolKind::Composite { parts } => parts,
            _ => &[],
        }
    }
}
