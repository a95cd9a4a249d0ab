//! What tools say of replies.

use rlar_data::{Completion, Example};
use rlar_rewards::{Assignment, CombineAs, Orchestrator, Outcome, Scores, Status, WeightedTool};

use super::engine::{Answer, Reply};
use super::metric::Metric;
use super::spec::Suite;
use super::tasks::{Task, domain};
use crate::EvalError;

/// A reply and what is thought of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The part of the reply that is judged; nothing where there is no reply.
    pub text: Option<String>,
    /// Whether the reply was cut off at its greatest length.
    pub cut: bool,
    /// The weighted score.
    pub score: Option<f64>,
    /// Why there is no score.
    pub why: Option<String>,
}

impl Verdict {
    /// Whether the reply is right.
    pub fn right(&self) -> bool {
        self.score.is_some_and(|s| s >= 0.5)
    }
}

/// Gives a suite's tools to its prompts; says which of them may not score.
pub fn give_tools(suite: &Suite, rewards: &mut Orchestrator) -> Result<(), EvalError> {
    for member in &suite.tools {
        let wrong = |message: String| EvalError::Mismatch(format!("suite `{}`: {message}", suite.name));
        if rewards.library().card(&member.tool).is_none() {
            let there: Vec<&str> = rewards.library().cards().map(|c| c.name.as_str()).collect();
            let message = format!("no tool `{}` in the library; it holds: {}", member.tool, there.join(", "));
            return Err(wrong(message));
        }
        if rewards.library().card(&member.tool).is_some_and(|c| c.needs_reference) && suite.reference.is_none() {
            return Err(wrong(format!("the tool `{}` needs a `reference`", member.tool)));
        }
        let admission = rewards.library().admission(&member.tool);
        if admission.is_some_and(|a| a.status == Status::Provisional) {
            let message = format!(
                "the tool `{0}` is provisional: nobody could tell whether it ranks good replies above bad ones. Examine it on \
                 examples that show it: `rlar rewards admit {0} --library FOLDER --data FILE`",
                member.tool
            );
            return Err(wrong(message));
        }
        rewards.open_admitted(&member.tool)?;
    }
    if let Some(metric) = suite.metrics.iter().find(|m| matches!(m, Metric::Majority(_))) {
        let compares = |m: &WeightedTool| rewards.library().card(&m.tool).is_some_and(|c| c.needs_reference);
        if !suite.tools.iter().find(|m| m.part == CombineAs::Term).is_some_and(compares) {
            let message = format!(
                "suite `{}`: `{metric}` asks the first tool which replies agree, and that one compares with no reference",
                suite.name
            );
            return Err(EvalError::Mismatch(message));
        }
    }
    let tools = suite.tools.clone();
    let (by, why) = ("suite".into(), format!("`tools` of the suite `{}`", suite.name));
    rewards.assign_domain(&domain(suite), Assignment { example: domain(suite), tools, by, why });
    Ok(())
}

/// Lets a suite's tools judge replies; see [`give_tools`].
pub fn grade(
    suite: &Suite,
    tasks: &[Task],
    replies: Vec<Vec<Reply>>,
    rewards: &mut Orchestrator,
    over: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Vec<Verdict>>, EvalError> {
    let part = suite.scored.clone().unwrap_or_default();
    let completion = |answer: &Answer| part.completion(answer.text.clone());
    let given: Vec<Vec<Result<(Completion, bool), String>>> = replies
        .into_iter()
        .map(|own| own.into_iter().map(|r| r.map(|answer| (completion(&answer), answer.cut))).collect())
        .collect();
    let items: Vec<(&Example, &Completion)> = tasks
        .iter()
        .zip(&given)
        .flat_map(|(task, own)| own.iter().flatten().map(|(completion, _)| (&task.example, completion)))
        .collect();
    let mut scores =
        if suite.tools.is_empty() { Vec::new().into_iter() } else { rewards.score_until(&items, over)?.into_iter() };
    let mut verdict = |reply: &Result<(Completion, bool), String>| match reply {
        Err(why) => Verdict { text: None, cut: false, score: None, why: Some(format!("no reply: {why}")) },
        Ok((completion, cut)) => {
            let told = scores.next();
            let score = told.as_ref().and_then(Scores::total);
            let why = told.filter(|_| score.is_none()).map(|told| unscored(&told));
            Verdict { text: Some(completion.scored_text().to_owned()), cut: *cut, score, why }
        }
    };
    Ok(given.iter().map(|own| own.iter().map(&mut verdict).collect()).collect())
}

/// Which tool gave no score, and why.
fn unscored(told: &Scores) -> String {
    let said = told.tools.iter().find_map(|score| match &score.outcome {
        Outcome::Scored(_) => None,
        Outcome::Abstained(why) => Some(format!("`{}` does not judge it: {why}", score.tool)),
        Outcome::Failed(why) => Some(format!("`{}` failed: {why}", score.tool)),
    });
    said.unwrap_or_else(|| "no tool judges it".into())
}
