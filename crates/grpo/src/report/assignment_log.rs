//! The file with the tools of every prompt that a run has seen, and why these were chosen.

use std::collections::BTreeSet;

use rlar_data::{Example, ExampleList};
use rlar_rewards::{Assignment, Orchestrator};
use rlar_run::{Records, RunFolder};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::rollouts::drawn_prompts::DrawnPrompts;

/// The name of the file in the run's folder.
const ASSIGNMENTS: &str = "assignments.jsonl";

/// The file with the assignments: those of held-out prompts are written at the start, those of prompts to train on when a
/// prompt is first drawn. A resumed run keeps them.
#[derive(Debug)]
pub struct AssignmentLog {
    /// The file; `None` for a run that an earlier version of rlar started, whose file has the assignments of all prompts.
    records: Option<Records>,
    /// Indices of the prompts to train on whose assignments the file has.
    known: BTreeSet<usize>,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct AssignmentRecord {
    /// Step during which the prompt was first drawn, from 1; 0 for a held-out prompt.
    step: u64,
    /// Index of the prompt among the prompts to train on, or among the held-out ones.
    index: usize,
    #[serde(flatten)]
    assignment: Assignment,
}

impl AssignmentLog {
    /// Begins the file of a new run with the assignments of the held-out prompts.
    pub fn start(run: &RunFolder, heldout: &[Example], rewards: &mut Orchestrator) -> Result<Self, TrainError> {
        run.clear(&[ASSIGNMENTS])?;
        let mut records = run.records(ASSIGNMENTS, 0)?;
        for (index, example) in heldout.iter().enumerate() {
            let assignment = rewards.assign(example)?.clone();
            records.append(&AssignmentRecord { step: 0, index, assignment })?;
        }
        Ok(Self { records: Some(records), known: BTreeSet::new() })
    }

    /// Gives the prompts of a resumed run the assignments that its file has. Those of prompts that were first drawn after
    /// step `done` are dropped, because these steps are taken again.
    pub fn resume(
        run: &RunFolder,
        done: u64,
        train: &ExampleList,
        heldout: &[Example],
        rewards: &mut Orchestrator,
    ) -> Result<Self, TrainError> {
        if is_complete(&run.read(ASSIGNMENTS)?) {
            restore_all(run, train, heldout, rewards)?;
            return Ok(Self { records: None, known: BTreeSet::new() });
        }
        let records = run.records(ASSIGNMENTS, done)?;
        let mut known = BTreeSet::new();
        for record in records.read()? {
            let AssignmentRecord { step, index, assignment } = serde_json::from_value(record)?;
            if step > 0 {
                rewards.restore(vec![(&train.get(index)?, assignment)])?;
                known.insert(index);
            } else if let Some(example) = heldout.get(index) {
                rewards.restore(vec![(example, assignment)])?;
            }
        }
        Ok(Self { records: Some(records), known })
    }

    /// Writes the assignments of prompts that were drawn during step `step` (from 1), of those that were not drawn before.
    pub fn add(&mut self, step: u64, drawn: &DrawnPrompts, rewards: &mut Orchestrator) -> Result<(), TrainError> {
        let Some(records) = &mut self.records else { return Ok(()) };
        for (index, example) in drawn.examples() {
            if self.known.insert(index) {
                let assignment = rewards.assign(example)?.clone();
                records.append(&AssignmentRecord { step, index, assignment })?;
            }
        }
        Ok(())
    }
}

/// Whether a file has the assignments of all prompts in order, as earlier versions of rlar wrote it: its lines have no
/// step.
fn is_complete(file: &[u8]) -> bool {
    let first = file.split(|b| *b == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<serde_json::Value>(first).is_ok_and(|line| line.get("step").is_none())
}

/// Gives all prompts the assignments of a complete file.
fn restore_all(
    run: &RunFolder,
    train: &ExampleList,
    heldout: &[Example],
    rewards: &mut Orchestrator,
) -> Result<(), TrainError> {
    let text = run.read(ASSIGNMENTS)?;
    let mut lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let mut restore = |example: &Example| -> Result<(), TrainError> {
        let Some(line) = lines.next() else { return Ok(()) };
        let assignment = serde_json::from_slice::<Assignment>(line)?;
        Ok(rewards.restore(vec![(example, assignment)])?)
    };
    for example in train.iter() {
        restore(&example?)?;
    }
    heldout.iter().try_for_each(restore)
}
