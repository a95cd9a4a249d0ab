//! Grades replies: scores them with a suite's reward tools, to decide which replies are correct.

use rlar_data::{Completion, Example, nearest};
use rlar_rewards::{Assignment, CombineAs, Library, Orchestrator, Outcome, Scores, Status, WeightedTool};

use super::generator::{ReplyResult, SuiteReply};
use super::metric::SuiteMetric;
use super::prompts::{SuitePrompt, domain};
use super::spec::Suite;
use crate::EvalError;
use crate::reply_text::tags_conflict;

/// A reply to a prompt, and the score that the suite's tools give it.
#[derive(Clone, Debug, PartialEq)]
pub struct GradedReply {
    /// The part of the reply that the tools score; `None` where the reply is missing.
    pub text: Option<String>,
    /// Whether the reply was cut off at `max_tokens`.
    pub truncated: bool,
    /// The weighted sum of the tools' scores; `None` where the reply is missing, where the suite has no tools, or where
    /// a tool gave no score.
    pub score: Option<f64>,
    /// Why the reply is missing or got no score; `None` where it has a score, or where it is there and the suite has no
    /// tools.
    pub failure: Option<String>,
}

impl GradedReply {
    /// Whether the reply is correct: it has a score of at least one half.
    pub fn is_correct(&self) -> bool {
        self.score.is_some_and(|s| s >= 0.5)
    }
}

/// Lets a suite's tools score the suite's prompts. Fails where a tool is missing from the library, where it has not
/// passed its admission checks (tests before a tool may score) or these had no examples that show whether it ranks
/// replies correctly, and where the suite lacks the reference that a tool needs.
pub fn assign_tools(suite: &Suite, rewards: &mut Orchestrator) -> Result<(), EvalError> {
    let wrong = |message: String| EvalError::Mismatch(format!("suite `{}`: {message}", suite.name));
    let library = rewards.library();
    let problems: Vec<String> = suite.tools.iter().filter_map(|m| tool_problem(suite, &m.tool, library)).collect();
    if !problems.is_empty() {
        return Err(wrong(problems.join("; ")));
    }
    for tool in &suite.tools {
        rewards.open_admitted(&tool.tool)?;
    }
    if let Some(metric) = suite.metrics.iter().find(|m| matches!(m, SuiteMetric::Majority(_))) {
        let needs_reference = |m: &WeightedTool| rewards.library().card(&m.tool).is_some_and(|c| c.needs_reference);
        if !suite.tools.iter().find(|m| m.combine == CombineAs::Term).is_some_and(needs_reference) {
            return Err(wrong(format!(
                "`{metric}` uses the first tool to compare replies with each other, so that tool must be one that \
                 needs a reference"
            )));
        }
    }
    let tools = suite.tools.clone();
    let (by, why) = ("suite".into(), format!("`tools` of the suite `{}`", suite.name));
    rewards.assign_domain(&domain(suite), Assignment { example: domain(suite), tools, by, why });
    Ok(())
}

/// Why a tool cannot grade the replies of a suite; `None` if it can.
fn tool_problem(suite: &Suite, tool: &str, library: &Library) -> Option<String> {
    let Some(card) = library.card(tool) else {
        let names: Vec<&str> = library.cards().map(|c| c.name.as_str()).collect();
        let hint = nearest(tool, names.iter().copied());
        return Some(format!("no tool `{tool}` in the library; it holds: {}{hint}", names.join(", ")));
    };
    if card.needs_reference && suite.reference.is_none() {
        return Some(format!("the tool `{tool}` needs a `reference`"));
    }
    if let Some(stop) = tags_conflict(card, &suite.sampling.to_sampling()) {
        return Some(format!("the tool `{tool}` can never be satisfied: {stop}"));
    }
    let is_provisional = library.admission(tool).is_some_and(|a| a.status == Status::Provisional);
    is_provisional.then(|| {
        format!(
            "the tool `{tool}` is provisional: no examples have shown whether it ranks good replies above bad ones. Run its \
             admission checks on examples that do: `rlar rewards admit {tool} --library FOLDER --data FILE`"
        )
    })
}

/// Scores the replies to each prompt with the suite's tools; [`assign_tools`] must have been called before. Replies
/// that are not scored when `cancelled` returns true get no score.
pub fn grade(
    suite: &Suite,
    prompts: &[SuitePrompt],
    replies: Vec<Vec<ReplyResult>>,
    rewards: &mut Orchestrator,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Vec<GradedReply>>, EvalError> {
    let part = suite.scored.clone().unwrap_or_default();
    let extract = |reply: SuiteReply| Extracted { completion: part.completion(reply.text), truncated: reply.truncated };
    let replies: Vec<Vec<Result<Extracted, String>>> =
        replies.into_iter().map(|results| results.into_iter().map(|r| r.map(extract)).collect()).collect();
    let items: Vec<(&Example, &Completion)> = prompts
        .iter()
        .zip(&replies)
        .flat_map(|(prompt, results)| results.iter().flatten().map(|r| (&prompt.example, &r.completion)))
        .collect();
    let scores = if suite.tools.is_empty() { Vec::new() } else { rewards.score_until(&items, cancelled)? };
    let mut scores = scores.into_iter();
    let mut graded = |result: &Result<Extracted, String>| match result {
        Err(reason) => {
            GradedReply { text: None, truncated: false, score: None, failure: Some(format!("no reply: {reason}")) }
        }
        Ok(Extracted { completion, truncated }) => {
            let scores = scores.next();
            let score = scores.as_ref().and_then(Scores::total);
            let failure = scores.filter(|_| score.is_none()).map(|scores| missing_score(&scores));
            GradedReply { text: Some(completion.scored_text().to_owned()), truncated: *truncated, score, failure }
        }
    };
    Ok(replies.iter().map(|results| results.iter().map(&mut graded).collect()).collect())
}

/// A reply with the part of it that tools score.
struct Extracted {
    completion: Completion,
    truncated: bool,
}

/// The reason why a reply got no score: the first tool that gave none, and why.
fn missing_score(scores: &Scores) -> String {
    let reason = scores.tools.iter().find_map(|score| match &score.outcome {
        Outcome::Scored(_) => None,
        Outcome::Abstained(reason) => Some(format!("`{}` does not apply: {reason}", score.tool)),
        Outcome::Failed(reason) => Some(format!("`{}` failed: {reason}", score.tool)),
    });
    reason.unwrap_or_else(|| "no tool applies".into())
}
