//! Which replies to a prompt give the same answer.

use rlar_data::{Completion, Example};
use rlar_rewards::{CombineAs, Orchestrator, Outcome};

use super::grade::Verdict;
use super::metric::Metric;
use super::spec::Suite;
use super::tasks::Task;
use crate::EvalError;

/// For each reply the place of the first that gives the same answer: of two replies, the suite's first tool takes one for
/// right where the other is the reference. Nothing where the suite asks for no `maj@K`; a tool that cannot take replies for
/// references is an error.
pub fn agreement(
    suite: &Suite,
    tasks: &[Task],
    verdicts: &[Vec<Verdict>],
    rewards: &mut Orchestrator,
) -> Result<Vec<Vec<usize>>, EvalError> {
    let votes = suite.metrics.iter().any(|m| matches!(m, Metric::Majority(_)));
    let Some(tool) = suite.tools.iter().find(|m| m.part == CombineAs::Term).filter(|_| votes) else {
        return Ok(vec![Vec::new(); tasks.len()]);
    };
    let mut agree = Vec::with_capacity(tasks.len());
    for (task, own) in tasks.iter().zip(verdicts) {
        let mut first: Vec<usize> = (0..own.len()).collect();
        // One reply of each answer, as an example with the reply for its reference.
        let mut answers: Vec<(usize, Example)> = Vec::new();
        for (i, verdict) in own.iter().enumerate() {
            let Some(text) = &verdict.text else { continue };
            let reply = Completion::whole(text.as_str());
            let items: Vec<(&Example, &Completion)> = answers.iter().map(|(_, example)| (example, &reply)).collect();
            let mut same = None;
            for ((place, _), outcome) in answers.iter().zip(rewards.score_with(&tool.tool, &items)?) {
                match outcome {
                    Outcome::Scored(s) if s >= 0.5 => same = same.or(Some(*place)),
                    Outcome::Scored(_) | Outcome::Failed(_) => {}
                    Outcome::Abstained(why) => {
                        let message = format!(
                            "suite `{}`, `{}`: `maj@K` takes replies for references, and `{}` does not take this one: {why}; \
                             `math_equivalence` and `exact_match` take any",
                            suite.name, task.example.id, tool.tool
                        );
                        return Err(EvalError::Mismatch(message));
                    }
                }
            }
            match same {
                Some(place) => first[i] = place,
                None => answers.push((i, Example { reference: Some(text.clone()), ..task.example.clone() })),
            }
        }
        agree.push(first);
    }
    Ok(agree)
}
