//! The card of a tool (its file `tool.yaml`): what the tool measures, how it computes scores, and what it needs.

use std::path::Path;

use rlar_data::Document;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::RewardError;
use crate::tool::card_document::CardDocument;
use crate::tool::composite::WeightedTool;
use crate::tool::judge::Rubric;
use crate::tool::python::card::UNBOUNDED;
use crate::tool::reward_model::ModelPointer;

/// The builtin that checks the instructions that an example lists.
const INSTRUCTIONS: &str = "instructions";

/// What the scores of a tool mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolRole {
    /// Scores say whether a reply is right or wrong.
    Correctness,
    /// Scores say how good a reply is.
    Quality,
    /// Scores say whether a reply keeps a rule, such as a length or a format. Agents never choose such a tool as the
    /// only one for a prompt.
    Constraint,
}

/// A reply in a tool card that is known to be good or bad. The admission checks (tests that a tool must pass before it
/// may score) use it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardCase {
    /// The text of the reply.
    pub reply: String,
    /// Whether the reply is good, so that the tool must score it high; the tool must score a bad one low.
    pub good: bool,
    /// The prompt that the reply answers; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prompt: String,
    /// The reference for the prompt (the right answer); absent for a prompt without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Further columns of the example that the tool may read, such as `tests`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub columns: Map<String, Value>,
}

/// The kind of a tool, that is, how it computes scores; with the values in `tool.yaml` that only tools of this kind
/// have.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolKind {
    /// The tool is a builtin: a function in Rust that is a part of rlar.
    Builtin {
        /// The name of the builtin; `None` when it is the name of the tool.
        builtin: Option<String>,
        /// The settings of the builtin.
        settings: Map<String, Value>,
    },
    /// The tool is a Python function that runs in the sandbox.
    Verifier {
        /// The name of the function `f(prompt, candidate_response, reference_response) -> float`.
        function: String,
        /// The name of the file with the function's code, in the tool's folder.
        file: String,
        /// Python packages that the file imports; `rewards.packages` in the config must allow them.
        requires: Vec<String>,
    },
    /// The tool is a user's Python function; see [`python`](crate::tool::python).
    Python {
        /// The name of the function.
        function: String,
        /// The name of the file with the function, in the tool's folder.
        file: String,
        /// The Python modules that the file imports from the tool's folder, as paths relative to this folder.
        modules: Vec<String>,
        /// Python packages that the function may import.
        requires: Vec<String>,
        /// Whether the admission checks test that the function ranks good replies above bad ones.
        ranked: bool,
        /// Whether the function runs unconfined, that is, outside the sandbox. Only a config or the command line can
        /// ask for that, not a library.
        trusted: bool,
        /// Keyword arguments that the function gets in every call.
        kwargs: Map<String, Value>,
    },
    /// The tool is a reward model that rlar runs itself.
    Model(ModelPointer),
    /// The tool is a judge: a language model that scores replies by a rubric.
    Judge(Rubric),
    /// The tool is a weighted sum of other tools, which gates and vetoes among them may overrule.
    Composite {
        /// The tools that are combined; at least one of them is a term of the sum.
        parts: Vec<WeightedTool>,
    },
}

/// The card of a tool: the checked contents of its `tool.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(into = "CardDocument")]
pub struct ToolCard {
    /// The name of the tool, which is unique in its library. The tool's folder has the same name.
    pub name: String,
    /// The kind of the tool, that is, how it computes scores.
    pub kind: ToolKind,
    /// What the tool's scores mean.
    pub role: ToolRole,
    /// What the tool measures, in a sentence.
    pub measures: String,
    /// The labels of the tasks that the tool suits, such as `word problems`.
    pub tasks: Vec<String>,
    /// Whether the tool abstains from examples without a reference.
    pub needs_reference: bool,
    /// Whether the tool expects replies that are the answer alone. If so, the admission checks do not put the answers
    /// into sentences or behind worked solutions; demonstrations that show their working are still tried.
    pub bare: bool,
    /// The lowest and the highest score that the tool can give; both finite.
    pub range: [f64; 2],
    /// Replies that are known to be good or bad, for the admission checks.
    pub cases: Vec<CardCase>,
    /// Where the tool comes from, such as its author or source.
    pub origin: String,
}

impl ToolCard {
    /// Parses and checks the text of a `tool.yaml`. The path appears only in error messages.
    ///
    /// # Errors
    ///
    /// When a key is unknown, a value has the wrong type, or a tool of this kind cannot have the value. The message
    /// gives the line of each problem.
    pub fn parse(path: &Path, text: &str) -> Result<Self, RewardError> {
        let schema = schemars::schema_for!(CardDocument).to_value();
        let document = Document::parse(path, text)?;
        let written: CardDocument = document.check(&schema)?;
        Ok(written.into_card().map_err(|problems| document.error(problems))?)
    }

    /// The name of the builtin (a function in Rust) that the tool runs; `None` for tools of other kinds.
    pub fn builtin(&self) -> Option<&str> {
        match &self.kind {
            ToolKind::Builtin { builtin, .. } => Some(builtin.as_deref().unwrap_or(&self.name)),
            _ => None,
        }
    }

    /// The name of the file with a verifier's Python code, in the tool's folder; `None` for tools of other kinds.
    pub fn file(&self) -> Option<&str> {
        match &self.kind {
            ToolKind::Verifier { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The Python packages that a verifier or a user's function imports; empty for tools of other kinds.
    pub fn requires(&self) -> &[String] {
        match &self.kind {
            ToolKind::Verifier { requires, .. } | ToolKind::Python { requires, .. } => requires,
            _ => &[],
        }
    }

    /// Where the reward model of a tool of kind `model` is, and how its output becomes a score; `None` for tools of
    /// other kinds.
    pub fn model(&self) -> Option<&ModelPointer> {
        match &self.kind {
            ToolKind::Model(pointer) => Some(pointer),
            _ => None,
        }
    }

    /// Whether the tool is a user's Python function, which gets the replies of a group in one call.
    pub fn is_python(&self) -> bool {
        matches!(self.kind, ToolKind::Python { .. })
    }

    /// Whether the tool is a user's Python function that runs unconfined.
    pub fn is_trusted(&self) -> bool {
        matches!(self.kind, ToolKind::Python { trusted: true, .. })
    }

    /// Whether the admission checks test that the tool ranks good replies above bad ones. False only for a user's
    /// Python function whose config entry does not say what its scores mean.
    pub fn is_ranked(&self) -> bool {
        !matches!(self.kind, ToolKind::Python { ranked: false, .. })
    }

    /// Whether the tool's scores are only roughly right, so that weights are learned for it (`rewards.weights`): reward
    /// models, judges, and tools of quality such as similarities. Whether a listed instruction is followed is exact.
    pub fn is_fuzzy(&self) -> bool {
        let is_model = matches!(self.kind, ToolKind::Model(_) | ToolKind::Judge(_));
        let is_fuzzy = self.role == ToolRole::Quality || (is_model && self.role == ToolRole::Correctness);
        self.is_ranked() && is_fuzzy && !self.checks_instructions()
    }

    /// Whether the tool checks the instructions that an example lists, and nothing else.
    pub fn checks_instructions(&self) -> bool {
        self.builtin() == Some(INSTRUCTIONS)
    }

    /// Whether the tool decides by rules whether a reply is right, so that no tool that is only roughly right is needed
    /// beside it.
    pub fn is_verifier(&self) -> bool {
        self.role == ToolRole::Correctness && self.is_ranked() && !self.is_fuzzy()
    }

    /// Whether the tool's scores have bounds.
    pub fn is_bounded(&self) -> bool {
        self.range[0] > UNBOUNDED[0]
    }

    /// The tools that a composite combines; empty for tools of other kinds.
    pub fn parts(&self) -> &[WeightedTool] {
        match &self.kind {
            ToolKind::Composite { parts } => parts,
            _ => &[],
        }
    }
}
