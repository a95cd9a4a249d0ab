//! Opens the reward tools of a run before the first step, and keeps which of them each prompt has.

use std::collections::BTreeMap;

use rlar_eval::tags_conflict;
use rlar_rewards::{Orchestrator, RewardError};
use rlar_run::RunFolder;

use crate::TrainError;
use crate::config::{Estimator, Method};
use crate::report::assignment_log::AssignmentLog;
use crate::run::job::Job;

/// Opens the tools that prompts of the job have, and fixes the choice: a prompt gets its tools when it is first drawn,
/// but those that it would have got now. Writes the assignments of the held-out prompts with their reasons, and copies of
/// the tools, to the run's folder. A resumed run, of which `done` steps are kept, reads assignments back instead.
///
/// Returns the file to which further assignments are written; `None` for a reward model, which has no reward tools.
pub fn assign_tools(run: &RunFolder, job: &mut Job, resumed: Option<u64>) -> Result<Option<AssignmentLog>, TrainError> {
    if job.config.train.method == Method::RewardModel {
        return Ok(None);
    }
    let assigned = tools_of_prompts(job)?;
    job.rewards.keep_start();
    if let Some(done) = resumed {
        let Job { train, heldout, rewards, .. } = job;
        return AssignmentLog::resume(run, done, train, heldout, rewards).map(Some);
    }
    for name in assigned.keys() {
        job.rewards.open(name)?;
    }
    copy_tools(run, job, &assigned)?;
    AssignmentLog::start(run, &job.heldout, &mut job.rewards).map(Some)
}

/// The tools of all prompts of a job, each with the number of its prompts. The choice is made for every prompt, so that
/// one without a tool is found before the first step.
pub fn tools_of_prompts(job: &Job) -> Result<BTreeMap<String, usize>, TrainError> {
    let mut tools: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = |assignment: Result<rlar_rewards::Assignment, RewardError>| -> Result<(), TrainError> {
        for chosen in assignment?.tools {
            *tools.entry(chosen.tool).or_default() += 1;
        }
        Ok(())
    };
    let rewards: &Orchestrator = &job.rewards;
    job.train.for_each(|example| rewards.choose(&example), &mut count)?;
    job.heldout.iter().try_for_each(|example| count(rewards.choose(example)))?;
    Ok(tools)
}

/// Writes copies of all tools to the run's folder, and warns of assigned ones whose scores may disappoint. A tool that
/// cannot score for the config's estimator is an error.
fn copy_tools(run: &RunFolder, job: &Job, assigned: &BTreeMap<String, usize>) -> Result<(), TrainError> {
    let library = job.rewards.library();
    for card in library.cards() {
        let is_assigned = assigned.contains_key(&card.name);
        if job.config.algorithm.advantage == Estimator::MaxRl && card.range[0] < 0.0 && is_assigned {
            let lowest = if card.is_bounded() { card.range[0].to_string() } else { "unknown".into() };
            let message = format!(
                "its lowest score is {lowest}, and `max_rl` needs scores of at least 0; see the `range` of the tool"
            );
            return Err(RewardError::Tool { tool: card.name.clone(), message }.into());
        }
        if let Some(why) = tags_conflict(card, &job.config.sampling.at(1.0)).filter(|_| is_assigned) {
            tracing::warn!("no reply can satisfy tool `{}`: {why}", card.name);
        }
        if is_assigned && !library.is_admitted(&card.name) {
            tracing::warn!("tool `{}` is not admitted, but `rewards.unadmitted` lets it score", card.name);
        }
        run.write_folder(&format!("library/{}", card.name), &library.files(&card.name))?;
    }
    Ok(())
}
