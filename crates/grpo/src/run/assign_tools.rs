//! Assigns reward tools to every prompt before the first step; a resumed run keeps the assignments.

use rlar_eval::tags_conflict;
use rlar_rewards::{Assignment, RewardError};
use rlar_run::RunFolder;

use crate::TrainError;
use crate::config::{Estimator, Method};
use crate::run::job::Job;

/// The file in the run's folder with the assignment of every prompt: first the prompts to train on, then the held-out
/// ones.
const ASSIGNMENTS: &str = "assignments.jsonl";

/// Chooses the tools of every prompt. Writes the assignments with their reasons, and copies of the tools, to the run's
/// folder. A resumed run reads the assignments back instead.
pub fn assign_tools(run: &RunFolder, job: &mut Job, is_resumed: bool) -> Result<(), TrainError> {
    if job.config.train.method == Method::RewardModel {
        return Ok(());
    }
    if is_resumed {
        let text = run.read(ASSIGNMENTS)?;
        let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let earlier = lines.map(serde_json::from_slice::<Assignment>).collect::<Result<Vec<_>, _>>()?;
        job.rewards.restore(job.train.iter().chain(&job.heldout).zip(earlier).collect())?;
        return Ok(());
    }
    let mut lines = Vec::new();
    for example in job.train.iter().chain(&job.heldout) {
        serde_json::to_writer(&mut lines, job.rewards.assign(example)?)?;
        lines.push(b'\n');
    }
    run.write(ASSIGNMENTS, &lines)?;
    let library = job.rewards.library();
    for card in library.cards() {
        let name = format!("\"{}\"", card.name);
        let is_assigned = || lines.windows(name.len()).any(|w| w == name.as_bytes());
        if job.config.algorithm.advantage == Estimator::MaxRl && card.range[0] < 0.0 && is_assigned() {
            let lowest = if card.is_bounded() { card.range[0].to_string() } else { "unknown".into() };
            let message = format!(
                "its lowest score is {lowest}, and `max_rl` needs scores of at least 0; see the `range` of the tool"
            );
            return Err(RewardError::Tool { tool: card.name.clone(), message }.into());
        }
        if let Some(why) = tags_conflict(card, &job.config.sampling.at(1.0)).filter(|_| is_assigned()) {
            tracing::warn!("no reply can satisfy tool `{}`: {why}", card.name);
        }
        if is_assigned() && !library.is_admitted(&card.name) {
            tracing::warn!("tool `{}` is not admitted, but `rewards.unadmitted` lets it score", card.name);
        }
        run.write_folder(&format!("library/{}", card.name), &library.files(&card.name))?;
    }
    Ok(())
}
