//! The builtin agent: features of an example instead of a language model. Deterministic and offline.

use rlar_data::Example;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::card::{Role, ToolCard};
use crate::code::has_tests;
use crate::composite::Part;

/// A chosen tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Its name.
    pub tool: String,
    /// Its weight in the sum of advantages; 0 of gates and vetoes.
    pub weight: f64,
    /// What it does beside the others.
    #[serde(default, rename = "as", skip_serializing_if = "Part::is_term")]
    pub part: Part,
    /// Gates and vetoes: the least score that lets a reply pass; the middle of the tool's range when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
}

/// The tools of one example, who chose them and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assignment {
    /// The example's id.
    pub example: String,
    /// The tools; at least one.
    pub tools: Vec<Choice>,
    /// Who chose.
    pub by: String,
    /// Why.
    pub why: String,
}

/// What kind of task an example is, by its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Code,
    Instructions,
    Expression,
    WordProblem,
    Mathematics,
    Choice,
    ShortAnswer,
    Text,
}

/// Digits with an optional sign, thousands separators and decimals: no exponent, no `inf`, no `nan`.
fn plain_number(text: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_digit() || c == ',');
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    digits(whole) && whole.contains(|c: char| c.is_ascii_digit()) && digits(decimals)
}

impl Task {
    fn of(example: &Example) -> Result<(Self, String), String> {
        if has_tests(example) {
            return Ok((Self::Code, "the example has tests for a program".into()));
        }
        if example.columns.contains_key("instruction_id_list") {
            return Ok((Self::Instructions, "the example lists instructions to follow".into()));
        }
        let Some(reference) = example.reference.as_deref().map(str::trim) else {
            return Err("it has no reference, and no tool of the library can judge it without one".into());
        };
        let numeric = plain_number(reference);
        let question = example.prompt().trim_end();
        let last = question.lines().last().unwrap_or("");
        let letters = last.chars().filter(|c| c.is_alphabetic()).count();
        Ok(if numeric && letters == 0 {
            (Self::Expression, "the reference is a number and the question an expression".into())
        } else if numeric {
            (Self::WordProblem, "the reference is a number and the question is in words".into())
        } else if matches!(reference.as_bytes(), [b'A'..=b'J'])
            && [")", ".", ":"].iter().any(|end| question.contains(&format!("{reference}{end}")))
        {
            (Self::Choice, "the reference is the letter of one of the question's choices".into())
        } else if reference.contains(['\\', '^', '$']) {
            (Self::Mathematics, "the reference is a formula".into())
        } else if reference.split_whitespace().count() <= 5 {
            (Self::ShortAnswer, "the reference is a few words".into())
        } else {
            (Self::Text, "the reference is a text".into())
        })
    }

    /// What cards call it, and what they call tasks whose tools will do where it has none.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Code => &["code"],
            Self::Instructions => &["instructions"],
            Self::Expression => &["expressions", "word problems", "mathematics"],
            Self::WordProblem => &["word problems", "mathematics", "short answers"],
            Self::Mathematics => &["mathematics", "short answers"],
            Self::Choice => &["multiple choice", "short answers"],
            Self::ShortAnswer => &["short answers", "question answering"],
            Self::Text => &["question answering", "summarisation", "translation"],
        }
    }
}

/// Chooses tools by what prompt and reference look like.
#[derive(Clone, Copy, Debug, Default)]
pub struct BuiltinAgent;

impl BuiltinAgent {
    /// The assignment of an example.
    pub fn assign<'c>(
        self,
        example: &Example,
        cards: impl Iterator<Item = &'c ToolCard>,
    ) -> Result<Assignment, RewardError> {
        let unassigned = |message: String| RewardError::Unassigned { example: example.id.clone(), message };
        let (task, feature) = Task::of(example).map_err(unassigned)?;
        let cards: Vec<&ToolCard> = cards.filter(|c| c.role != Role::Constraint).collect();
        let suits = |name: &&str| cards.iter().find(|c| c.tasks.iter().any(|t| t == name));
        let card = task.names().iter().find_map(suits).ok_or_else(|| {
            unassigned(format!("no tool of the library names any of its tasks: {}", task.names().join(", ")))
        })?;
        Ok(Assignment {
            example: example.id.clone(),
            tools: vec![Choice { tool: card.name.clone(), weight: 1.0, part: Part::Term, least: None }],
            by: "builtin".into(),
            why: format!("{feature}; `{}` is for {}", card.name, card.tasks.join(", ")),
        })
    }
}
