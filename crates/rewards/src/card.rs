//! `tool.yaml`: what a tool measures and what it needs.

use std::path::Path;

use rlar_data::Document;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RewardError;

/// How a tool is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A part of rlar, in Rust.
    Builtin,
    /// Python, run in the sandbox.
    Verifier,
}

/// What a score means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Right or wrong.
    Correctness,
    /// Better or worse.
    Quality,
    /// A rule is kept or not; never the only tool of an assignment.
    Constraint,
}

/// A tool's card.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCard {
    /// Unique in its library.
    pub name: String,
    /// How it is made.
    pub kind: Kind,
    /// What its score means.
    pub role: Role,
    /// What it measures, in a sentence.
    pub measures: String,
    /// Tasks that it suits.
    pub tasks: Vec<String>,
    /// Whether it abstains from examples without a reference.
    pub needs_reference: bool,
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
    /// Where it comes from.
    pub origin: String,
}

impl ToolCard {
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
        if card.kind == Kind::Verifier {
            let file = card.file.as_deref().unwrap_or("");
            if card.function.is_none() || file.is_empty() || file.contains(['/', '\\']) {
                problems
                    .push(("kind".to_owned(), "a verifier needs `function`, and `file` in its own folder".to_owned()));
            }
        }
        document.reject(problems)?;
        Ok(card)
    }
}
