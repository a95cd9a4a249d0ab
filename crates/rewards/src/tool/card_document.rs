//! The contents of `tool.yaml` as they are written, with the keys of all kinds of tools side by side, and their
//! translation from and to a [`ToolCard`].
//!
//! serde can neither refuse unknown keys of a flattened enum nor tell their lines. So the file has one flat form, and
//! the checks that depend on the kind of the tool are made in this module.

use rlar_data::KeyProblem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tool::builtin::find_builtin;
use crate::tool::card::{CardCase, ToolCard, ToolKind, ToolRole};
use crate::tool::composite::WeightedTool;
use crate::tool::judge::{JudgeMode, Rubric};
use crate::tool::python::card::UNBOUNDED;
use crate::tool::reward_model::ModelPointer;

/// The value of the key `kind` in `tool.yaml`: how the tool computes scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum KindName {
    /// The tool is a builtin: a function in Rust that is a part of rlar.
    Builtin,
    /// The tool is a Python function that runs in the sandbox.
    Verifier,
    /// The tool is a user's Python function, as `rewards.python` in a config names it.
    Python,
    /// The tool is a reward model that rlar runs itself.
    Model,
    /// The tool is a language model that scores replies by a rubric.
    Judge,
    /// The tool is a weighted sum of other tools, which gates and vetoes among them may overrule.
    Composite,
}

impl KindName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Verifier => "verifier",
            Self::Python => "python",
            Self::Model => "model",
            Self::Judge => "judge",
            Self::Composite => "composite",
        }
    }
}

/// The contents of `tool.yaml`, before checks that depend on the kind of the tool. The keys are in the order in which
/// they are written.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
// One for each key of `tool.yaml` that is true or false.
#[allow(clippy::struct_excessive_bools)]
pub struct CardDocument {
    /// The name of the tool, which is unique in its library. The tool's folder has the same name.
    name: String,
    /// The kind of the tool, that is, how it computes scores.
    kind: KindName,
    /// What the tool's scores mean.
    role: ToolRole,
    /// What the tool measures, in a sentence.
    measures: String,
    /// The labels of the tasks that the tool suits, such as `word problems`.
    tasks: Vec<String>,
    /// Whether the tool abstains from examples without a reference.
    needs_reference: bool,
    /// Whether the tool expects replies that are the answer alone. If so, the admission checks do not put the answers
    /// into sentences.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bare: bool,
    /// The lowest and the highest score that the tool can give. Only tools of kind `python` may lack it; every finite
    /// number is then a score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<[f64; 2]>,
    /// For tools of kind `verifier`: the name of the Python function `f(prompt, candidate_response, reference_response)
    /// -> float`. For tools of kind `python`: the name of the user's function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    /// For tools of kind `verifier` and `python`: the name of the Python file with the function, in the tool's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// For tools of kind `verifier` and `python`: Python packages that the file imports; `rewards.packages` in the config
    /// must allow them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    requires: Vec<String>,
    /// For tools of kind `python`: Python modules that the file imports from the tool's folder, as paths relative to
    /// this folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    modules: Vec<String>,
    /// For tools of kind `python`: whether the admission checks test that the function ranks good replies above bad
    /// ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ranked: bool,
    /// For tools of kind `python`: whether the function ran unconfined, that is, outside the sandbox. A library cannot
    /// ask for that, only a config can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    trusted: bool,
    /// For tools of kind `python`: keyword arguments that the function gets in every call.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    kwargs: Map<String, Value>,
    /// For tools of kind `builtin`: the name of the function in Rust, where it differs from the tool's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    builtin: Option<String>,
    /// For tools of kind `builtin`: the settings of the function in Rust.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    settings: Map<String, Value>,
    /// For tools of kind `model`: where the reward model is, and how its output becomes a score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<ModelPointer>,
    /// For tools of kind `judge`: the rubric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judge: Option<Rubric>,
    /// For tools of kind `composite`: the tools that are combined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<WeightedTool>,
    /// Replies that are known to be good or bad, for the admission checks (tests that a tool must pass before it may
    /// score).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cases: Vec<CardCase>,
    /// Where the tool comes from, such as its author or source.
    origin: String,
}

impl CardDocument {
    /// What is wrong with the range, with the name, and with keys that only tools of another kind may have.
    fn problems(&self) -> Vec<KeyProblem> {
        let mut problems = Vec::new();
        if self.range.is_none() && self.kind != KindName::Python {
            problems.push(KeyProblem::new("range", "is missing"));
        }
        let [low, high] = self.range.unwrap_or(UNBOUNDED);
        if !(low.is_finite() && high.is_finite() && low < high) {
            problems.push(KeyProblem::new("range", "must be two finite numbers, the lower first"));
        }
        let is_plain = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !is_plain(&self.name) {
            problems.push(KeyProblem::new("name", "must be letters, digits, `_` and `-`"));
        }
        // The two kinds that hold Python share these keys.
        let verifier = if self.kind == KindName::Python { KindName::Python } else { KindName::Verifier };
        let keys = [
            ("function", self.function.is_some(), verifier),
            ("file", self.file.is_some(), verifier),
            ("requires", !self.requires.is_empty(), verifier),
            ("modules", !self.modules.is_empty(), KindName::Python),
            ("ranked", self.ranked, KindName::Python),
            ("trusted", self.trusted, KindName::Python),
            ("kwargs", !self.kwargs.is_empty(), KindName::Python),
            ("builtin", self.builtin.is_some(), KindName::Builtin),
            ("settings", !self.settings.is_empty(), KindName::Builtin),
            ("model", self.model.is_some(), KindName::Model),
            ("judge", self.judge.is_some(), KindName::Judge),
            ("parts", !self.parts.is_empty(), KindName::Composite),
        ];
        let misplaced = keys.into_iter().filter(|(_, is_set, kind)| *is_set && *kind != self.kind);
        problems.extend(misplaced.map(|(key, _, kind)| {
            let (owner, own) = (kind.as_str(), self.kind.as_str());
            KeyProblem::new(
                key,
                format!("is a key of tools of the kind `{owner}`, and this one is of the kind `{own}`"),
            )
        }));
        problems
    }

    /// Turns the document into a tool card. The error lists everything that is wrong with the document, also what a
    /// tool of its kind must have and lacks.
    pub fn into_card(self) -> Result<ToolCard, Vec<KeyProblem>> {
        let mut problems = self.problems();
        let name = self.name;
        let kind = match self.kind {
            KindName::Builtin => builtin_kind(&name, self.builtin, self.settings),
            KindName::Verifier => verifier_kind(self.function, self.file, self.requires),
            KindName::Python => match verifier_kind(self.function, self.file, self.requires) {
                Ok(ToolKind::Verifier { function, file, requires }) => {
                    let (modules, ranked, trusted, kwargs) = (self.modules, self.ranked, self.trusted, self.kwargs);
                    Ok(ToolKind::Python { function, file, modules, requires, ranked, trusted, kwargs })
                }
                other => other,
            },
            KindName::Model => model_kind(self.model),
            KindName::Judge => judge_kind(self.judge, self.needs_reference),
            KindName::Composite => composite_kind(self.parts),
        };
        let kind = match kind {
            Ok(kind) if problems.is_empty() => kind,
            Ok(_) => return Err(problems),
            Err(why) => {
                problems.push(KeyProblem::new("kind", why));
                return Err(problems);
            }
        };
        Ok(ToolCard {
            kind,
            name,
            role: self.role,
            measures: self.measures,
            tasks: self.tasks,
            needs_reference: self.needs_reference,
            bare: self.bare,
            range: self.range.unwrap_or(UNBOUNDED),
            cases: self.cases,
            origin: self.origin,
        })
    }
}

fn builtin_kind(tool: &str, name: Option<String>, settings: Map<String, Value>) -> Result<ToolKind, String> {
    find_builtin(name.as_deref().unwrap_or(tool), &settings)?;
    Ok(ToolKind::Builtin { builtin: name, settings })
}

fn verifier_kind(function: Option<String>, file: Option<String>, requires: Vec<String>) -> Result<ToolKind, String> {
    match (function, file) {
        (Some(function), Some(file)) if !file.is_empty() && !file.contains(['/', '\\']) => {
            Ok(ToolKind::Verifier { function, file, requires })
        }
        _ => Err("it needs `function`, and `file` in its own folder".into()),
    }
}

fn model_kind(model: Option<ModelPointer>) -> Result<ToolKind, String> {
    let model = model.ok_or("a model needs `model` with its `path`")?;
    if model.path.is_empty() == model.repo.is_none() {
        return Err("a model needs exactly one of `path` and `repo`".into());
    }
    if model.repo.is_some() && (model.revision.is_none() || model.files.is_empty()) {
        return Err("a model of the Hub needs its `revision` and its `files`".into());
    }
    Ok(ToolKind::Model(model))
}

fn judge_kind(rubric: Option<Rubric>, needs_reference: bool) -> Result<ToolKind, String> {
    let rubric = rubric.ok_or("a judge needs `judge` with its `rubric`")?;
    if rubric.mode == JudgeMode::Pairwise && !needs_reference {
        return Err("a pairwise judge compares with the reference: it needs `needs_reference: true`".into());
    }
    match rubric.problem() {
        Some(why) => Err(why),
        None => Ok(ToolKind::Judge(rubric)),
    }
}

fn composite_kind(parts: Vec<WeightedTool>) -> Result<ToolKind, String> {
    let has_term = parts.iter().any(|part| part.combine.is_term());
    if !has_term || !parts.iter().all(|part| part.weight.is_finite()) {
        return Err("a composite needs `parts` with finite weights, at least one of them with `as: term`".into());
    }
    Ok(ToolKind::Composite { parts })
}

impl From<ToolCard> for CardDocument {
    fn from(card: ToolCard) -> Self {
        let range = card.is_bounded().then_some(card.range);
        let mut document = Self {
            name: card.name,
            kind: KindName::Builtin,
            role: card.role,
            measures: card.measures,
            tasks: card.tasks,
            needs_reference: card.needs_reference,
            bare: card.bare,
            range,
            function: None,
            file: None,
            requires: Vec::new(),
            modules: Vec::new(),
            ranked: false,
            trusted: false,
            kwargs: Map::new(),
            builtin: None,
            settings: Map::new(),
            model: None,
            judge: None,
            parts: Vec::new(),
            cases: card.cases,
            origin: card.origin,
        };
        match card.kind {
            ToolKind::Builtin { builtin, settings } => {
                (document.builtin, document.settings) = (builtin, settings);
            }
            ToolKind::Verifier { function, file, requires } => {
                document.kind = KindName::Verifier;
                (document.function, document.file, document.requires) = (Some(function), Some(file), requires);
            }
            ToolKind::Python { function, file, modules, requires, ranked, trusted, kwargs } => {
                document.kind = KindName::Python;
                (document.function, document.file, document.requires) = (Some(function), Some(file), requires);
                (document.modules, document.ranked, document.trusted) = (modules, ranked, trusted);
                document.kwargs = kwargs;
            }
            ToolKind::Model(pointer) => (document.kind, document.model) = (KindName::Model, Some(pointer)),
            ToolKind::Judge(rubric) => (document.kind, document.judge) = (KindName::Judge, Some(rubric)),
            ToolKind::Composite { parts } => (document.kind, document.parts) = (KindName::Composite, parts),
        }
        document
    }
}
