//! The tools that the language model may choose for a prompt, each with its card, what was measured of it on the task,
//! and how it scored two replies to this very prompt.

use rlar_data::Example;

use crate::admission::probes::perturbed;
use crate::admission::report::Status;
use crate::agents::plain_text::{clip, one_line};
use crate::library::evidence::ToolEvidence;
use crate::tool::card::{ToolCard, ToolRole};

/// The wrong sample reply to a prompt, where none can be made from the reference.
const NO_ANSWER: &str = "I do not know.";

/// The AUC that a tool must reach both over good and bad and over half-right and bad replies, so that it can be chosen in
/// the place of one that pays for perfect replies only.
const GRADED: f64 = 0.9;

/// A good reply and a wrong one to the same prompt. The scores of a tool for them show what the tool makes of the
/// prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleReplies {
    /// The good reply: the reference of the example, otherwise its demonstration.
    pub good: String,
    /// What the good reply is: `reference` or `demonstration`.
    pub good_is: &'static str,
    /// The wrong reply: the reference with an error in it, as the admission checks make it, otherwise "I do not know.".
    pub wrong: String,
}

impl SampleReplies {
    /// The two replies to an example, which depend on this example alone; `None` for an example with neither reference
    /// nor demonstration.
    pub fn of(example: &Example) -> Option<Self> {
        let (good, good_is) = match (&example.reference, &example.demonstration) {
            (Some(reference), _) => (reference, "reference"),
            (None, Some(demonstration)) => (demonstration, "demonstration"),
            (None, None) => return None,
        };
        let wrong = example.reference.as_deref().and_then(perturbed).unwrap_or_else(|| NO_ANSWER.into());
        Some(Self { good: good.clone(), good_is, wrong })
    }
}

/// The scores that a tool gave to the [`SampleReplies`] of a prompt, in the range of its card; `None` for a reply to
/// which it gave no score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleScores {
    /// The score of the good reply.
    pub good: Option<f64>,
    /// The score of the wrong reply.
    pub wrong: Option<f64>,
}

/// A tool that the language model may choose for a prompt.
#[derive(Clone, Copy, Debug)]
pub struct OfferedTool<'a> {
    /// The card of the tool.
    pub card: &'a ToolCard,
    /// What was measured of the tool on the examples of the prompt's task; `None` when nothing was.
    pub evidence: Option<&'a ToolEvidence>,
    /// The scores of the two [`SampleReplies`] of the prompt; `None` when the tool was not asked.
    pub samples: Option<SampleScores>,
}

impl<'a> OfferedTool<'a> {
    /// A tool of which nothing was measured.
    pub fn unmeasured(card: &'a ToolCard) -> Self {
        Self { card, evidence: None, samples: None }
    }

    /// Whether the tool can be the only one of a prompt. A constraint cannot: it says whether a reply keeps a rule, not
    /// whether the reply is good.
    pub fn is_judge(&self) -> bool {
        self.card.role != ToolRole::Constraint
    }

    /// Whether the tool was measured to pay for perfect replies only, where replies can be half right.
    pub(super) fn is_perfect_only(&self) -> bool {
        self.evidence.is_some_and(ToolEvidence::is_perfect_only)
    }

    /// Whether the tool was measured to rank good replies and half-right ones above bad ones.
    pub(super) fn is_graded(&self) -> bool {
        let reaches = |auc: Option<f64>| auc.is_some_and(|auc| auc >= GRADED);
        self.is_judge() && self.evidence.is_some_and(|e| reaches(e.auc) && reaches(e.half_right_auc))
    }

    /// The tool in one line of a list for the language model, which is the same for every prompt of a task. The line has
    /// no code, and nothing that differs from run to run.
    pub(super) fn line(&self) -> String {
        let card = self.card;
        let role = match card.role {
            ToolRole::Correctness => "correctness",
            ToolRole::Quality => "quality",
            ToolRole::Constraint => "constraint",
        };
        let reference = if card.needs_reference { "with a reference" } else { "without a reference" };
        let [low, high] = card.range;
        let measured = self.evidence.and_then(measured).map_or(String::new(), |m| format!("; on this task: {m}"));
        let measures = clip(&one_line(&card.measures), 200);
        format!("- {} ({role}, {reference}, {low} to {high}{measured}): {measures}", card.name)
    }

    /// The tool's scores of the [`SampleReplies`] of the prompt in one line; `None` when the tool was not asked.
    /// `good_is` says what the good reply is: `reference` or `demonstration`.
    pub(super) fn sample_scores(&self, good_is: &str) -> Option<String> {
        let shown = |score: Option<f64>| score.map_or("no score".into(), |score| format!("{score:.2}"));
        let SampleScores { good, wrong } = self.samples?;
        Some(format!("- {}: {good_is} {}, wrong reply {}", self.card.name, shown(good), shown(wrong)))
    }
}

/// What was measured of a tool, in words; `None` when there is no AUC and no failed admission check.
fn measured(evidence: &ToolEvidence) -> Option<String> {
    let percent = |auc: f64| format!("{:.0} %", 100.0 * auc);
    let pairs = evidence.auc.map(|auc| format!("tells good from bad replies in {} of pairs", percent(auc)));
    let half_right = evidence.half_right_auc.map(|auc| format!("half-right from bad ones in {}", percent(auc)));
    let aucs = pairs.into_iter().chain(half_right).collect::<Vec<_>>().join(", ");
    match (aucs.is_empty(), evidence.status) {
        (false, Status::Refused) => Some(format!("{aucs}, but failed an admission check")),
        (true, Status::Refused) => Some("failed an admission check".into()),
        (is_empty, _) => (!is_empty).then_some(aucs),
    }
}
