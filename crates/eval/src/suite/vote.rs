//! Which replies to a prompt give the same answer.

use rlar_data::{Completion, Example};
use rlar_rewards::{Orchestrator, Outcome, Part};

use super::grade::Verdict;
use super::metric::Metric;
use super::spec::Suite;
use super::tasks::Task;
use crate::EvalError;

/// For each reply the place of the first that gives the same answer: of two replies, the suite's first tool takes one for
/// right where the other is the reference. Nothing where the suite asks for no `maj@K`.
pub fn agreement(
    suite: &Suite,
    tasks: &[Task],
    verdicts: &[Vec<Verdict>],
    rewards: &mut Orchestrator,
) -> Result<Vec<Vec<usize>>, EvalError> {
    let votes = suite.metrics.iter().any(|m| matches!(m, Metric::Majority(_)));
    let Some(tool) = suite.tools.iter().find(|m| m.part == Part::Term).filter(|_| votes) else {
        return Ok(vec![Vec::new(); tasks.len()]);
    };
    let mut agree = Vec::with_capacity(tasks.len());
    for (task, own) in tasks.iter().zip(verdicts) {
        let replies: Vec<&str> = own.iter().map(|v| v.text.as_deref().unwrap_or("")).collect();
        let pairs: Vec<(usize, usize)> = (0..replies.len()).flat_map(|i| (0..i).map(move |j| (i, j))).collect();
        let beside = |reply: &str| Example { reference: Some(reply.to_owned()), ..task.example.clone() };
        let examples: Vec<Example> = replies.iter().map(|r| beside(r)).collect();
        let completions: Vec<Completion> = replies.iter().map(|r| Completion::whole(*r)).collect();
        let items: Vec<(&Example, &Completion)> =
            pairs.iter().map(|(i, j)| (&examples[*j], &completions[*i])).collect();
        let same = rewards.score_with(&tool.tool, &items)?;
        let mut first: Vec<usize> = (0..replies.len()).collect();
        for ((i, j), outcome) in pairs.into_iter().zip(same) {
            if first[i] == i && first[j] == j && matches!(outcome, Outcome::Scored(s) if s >= 0.5) {
                first[i] = j;
            }
        }
        agree.push(first);
    }
    Ok(agree)
}
