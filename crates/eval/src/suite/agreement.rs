//! Groups the replies to a prompt by their answer, so that `maj@K` can find the most frequent one.

use rlar_data::{Completion, Example};
use rlar_rewards::{CombineAs, Orchestrator, Outcome};

use super::grade::GradedReply;
use super::metric::SuiteMetric;
use super::prompts::SuitePrompt;
use super::spec::Suite;
use crate::EvalError;

/// For each reply to each prompt, the index of the first reply to the prompt that has the same answer. Two replies have
/// the same answer where the suite's first tool, with one reply as the reference, scores the other as correct. The
/// prompts' lists are empty where the suite has no `maj@K`. Fails where the tool does not accept a reply as a
/// reference.
pub fn agreement(
    suite: &Suite,
    prompts: &[SuitePrompt],
    replies: &[Vec<GradedReply>],
    rewards: &mut Orchestrator,
) -> Result<Vec<Vec<usize>>, EvalError> {
    let votes = suite.metrics.iter().any(|m| matches!(m, SuiteMetric::Majority(_)));
    let Some(tool) = suite.tools.iter().find(|m| m.combine == CombineAs::Term).filter(|_| votes) else {
        return Ok(vec![Vec::new(); prompts.len()]);
    };
    let mut groups = Vec::with_capacity(prompts.len());
    for (prompt, replies) in prompts.iter().zip(replies) {
        let mut first_equal: Vec<usize> = (0..replies.len()).collect();
        // One entry per distinct answer: the index of the first reply with this answer, and an example whose reference
        // is the reply.
        let mut answers: Vec<(usize, Example)> = Vec::new();
        for (i, reply) in replies.iter().enumerate() {
            let Some(text) = &reply.text else { continue };
            let completion = Completion::whole(text.as_str());
            let items: Vec<(&Example, &Completion)> =
                answers.iter().map(|(_, example)| (example, &completion)).collect();
            let mut equal = None;
            for ((first, _), outcome) in answers.iter().zip(rewards.score_with(&tool.tool, &items)?) {
                match outcome {
                    Outcome::Scored(s) if s >= 0.5 => equal = equal.or(Some(*first)),
                    Outcome::Scored(_) | Outcome::Failed(_) => {}
                    Outcome::Abstained(reason) => {
                        let message = format!(
                            "suite `{}`, `{}`: `maj@K` uses replies as references, and `{}` does not accept this one: \
                             {reason}; `math_equivalence` accepts most replies as a reference, `exact_match` any",
                            suite.name, prompt.example.id, tool.tool
                        );
                        return Err(EvalError::Mismatch(message));
                    }
                }
            }
            match equal {
                Some(first) => first_equal[i] = first,
                None => answers.push((i, Example { reference: Some(text.clone()), ..prompt.example.clone() })),
            }
        }
        groups.push(first_equal);
    }
    Ok(groups)
}
