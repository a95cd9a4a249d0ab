//! Measures the tools of a library on the examples of a task, so that agents can choose by evidence.

use std::collections::BTreeSet;

use rlar_data::Example;

use crate::admission::examine::examine;
use crate::admission::report::Admission;
use crate::agents::eligible::{is_cheap, suitable};
use crate::library::evidence::ToolEvidence;
use crate::{Orchestrator, RewardError, ToolRole};

/// Largest number of a task's examples on which a tool is tried, to find some from which it does not abstain.
const MAX_EXAMPLES: usize = 64;

/// Fewest examples from which a tool must not abstain, so that its results are recorded as evidence; fewer examples say
/// too little about the tool.
const MIN_EXAMPLES: usize = 3;

/// Runs the admission checks of the cheap tools that suit a task on the task's own examples, and records the results as
/// evidence in the library; no admission report changes. `task` is the label under which tools are chosen later (see
/// [`task_label`](crate::agents::classify::task_label)).
///
/// Constraints are not measured: their scores do not say which reply is better. A tool that cannot be opened here, or
/// that judges fewer than three of the examples, gets no evidence.
///
/// # Errors
///
/// When a tool that was opened cannot be run.
pub(crate) fn measure_tools(rewards: &mut Orchestrator, task: &str, examples: &[&Example]) -> Result<(), RewardError> {
    let has_good_reply = |e: &&&Example| e.reference.is_some() || e.demonstration.is_some();
    let known: Vec<Example> = examples.iter().filter(has_good_reply).take(MAX_EXAMPLES).map(|e| (*e).clone()).collect();
    if known.len() < MIN_EXAMPLES {
        return Ok(());
    }
    let library = rewards.library();
    let names: BTreeSet<String> = known
        .iter()
        .flat_map(|example| suitable(library, example, task))
        .filter(|card| card.role != ToolRole::Constraint && is_cheap(library, &card.name))
        .map(|card| card.name.clone())
        .collect();
    for name in names {
        let tool = match rewards.for_admission(&name) {
            Ok(tool) => tool,
            Err(why) => {
                tracing::info!("{task}: {why}; it is not measured");
                continue;
            }
        };
        let admission = examine(&tool, &known, &[])?;
        let judged = admission.examples.saturating_sub(tool.card().cases.len());
        if judged >= MIN_EXAMPLES {
            let Admission { identity, auc, half_right_auc, status, .. } = admission;
            let evidence = ToolEvidence { identity, auc, half_right_auc, status };
            rewards.set_evidence(task, &name, evidence);
        }
    }
    Ok(())
}
