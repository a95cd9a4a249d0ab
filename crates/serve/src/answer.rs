//! Makes the answer to an item of what its tools gave. Only here an item gets its reward.

use rlar_rewards::{Assignment, Outcome, PlannedScore, Scores};
use serde_json::Value;

use crate::wire::{ItemAnswer, ItemStatus, PartOutcome, RewardPart, ToolChoice};

/// The answer to an item that no tool was called for.
pub fn unscored(id: Value, status: ItemStatus, reason: impl Into<String>) -> ItemAnswer {
    let reason = Some(reason.into());
    ItemAnswer { id, status, reward: None, parts: Vec::new(), reason, seconds: 0.0, cached: false, chosen: None }
}

/// The choice of tools as it stands in an answer.
pub fn choice(assignment: &Assignment, pending: bool) -> ToolChoice {
    ToolChoice { by: assignment.by.clone(), why: assignment.why.clone(), pending }
}

/// The answer to an item from the scores of its tools. There is a reward only if every tool gave a score.
pub fn scored(id: Value, given: Vec<PlannedScore>, chosen: ToolChoice) -> ItemAnswer {
    let seconds = given.iter().map(|part| part.seconds).sum();
    let cached = !given.is_empty() && given.iter().all(|part| part.cached);
    let total = Scores { tools: given.iter().map(|part| part.score.clone()).collect() }.total();
    let reward = total.filter(|total| total.is_finite());
    let (status, reason) = if reward.is_some() {
        (ItemStatus::Ok, None)
    } else {
        let (status, why) = why_unscored(&given, total.is_some(), &chosen);
        (status, Some(why))
    };
    let parts = given.into_iter().map(part).collect();
    ItemAnswer { id, status, reward, parts, reason, seconds, cached, chosen: Some(chosen) }
}

/// The status of an item without a reward, and why it has none.
fn why_unscored(given: &[PlannedScore], is_infinite: bool, chosen: &ToolChoice) -> (ItemStatus, String) {
    let failure = given.iter().find_map(|part| match &part.score.outcome {
        Outcome::Failed(failure) => Some(format!("`{}` {failure}", part.score.tool)),
        _ => None,
    });
    if let Some(why) = failure {
        return (ItemStatus::Failed, why);
    }
    if is_infinite {
        return (ItemStatus::Failed, "the weighted sum of the scores is not a finite number".into());
    }
    let abstention = given.iter().find_map(|part| match &part.score.outcome {
        Outcome::Abstained(why) => Some(format!("`{}` abstained: {why}", part.score.tool)),
        _ => None,
    });
    (ItemStatus::Abstained, abstention.unwrap_or_else(|| chosen.why.clone()))
}

fn part(given: PlannedScore) -> RewardPart {
    let (outcome, said) = match &given.score.outcome {
        Outcome::Scored(_) => (PartOutcome::Scored, given.score.reason.as_ref().map(|r| r.as_str().to_owned())),
        Outcome::Abstained(_) => (PartOutcome::Abstained, Some(given.score.why())),
        Outcome::Failed(_) => (PartOutcome::Failed, Some(given.score.why())),
    };
    RewardPart {
        tool: given.score.tool.to_string(),
        hash: given.identity,
        value: given.score.outcome.score(),
        weight: given.score.weight,
        outcome,
        reason: said,
        seconds: given.seconds,
        cached: given.cached,
    }
}
