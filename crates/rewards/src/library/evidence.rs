//! The evidence of a library: what the admission checks measured of its tools on the examples of each task.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use rlar_run::write_atomic;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::admission::report::Status;
use crate::library::folder::{Library, read_optional};

/// The name of the file in a library's folder that holds the evidence of the library.
pub const EVIDENCE: &str = "evidence.json";

/// What the admission checks measured of a tool on the examples of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolEvidence {
    /// Content hash of the tool that was measured. The evidence holds only for a tool with this hash.
    pub identity: String,
    /// The probability that a good reply to a prompt of the task scores above a bad reply to the same prompt, ties
    /// counted as a half (AUC), from 0 to 1; `None` where no good and bad reply to the same prompt had scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// The probability that a half-right reply scores above a bad reply to the same prompt, as in
    /// [`Admission::half_right_auc`](crate::Admission::half_right_auc).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_right_auc: Option<f64>,
    /// The decision that the checks would have led to on these examples alone.
    pub status: Status,
}

/// The AUC over half-right and bad replies up to which a tool pays for perfect replies only; 0.5 is chance.
const PERFECT_ONLY: f64 = 0.6;

impl ToolEvidence {
    /// Whether the tool was measured to pay for perfect replies only, on a task whose replies can be half right.
    pub fn is_perfect_only(&self) -> bool {
        self.half_right_auc.is_some_and(|auc| auc <= PERFECT_ONLY)
    }
}

/// The evidence of a library by task label, then by the name of the tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct TaskEvidence(BTreeMap<String, BTreeMap<String, ToolEvidence>>);

impl TaskEvidence {
    /// Reads the evidence of the library in a folder; no evidence when the folder has no `evidence.json`.
    pub(super) fn read(folder: &Path) -> Result<Self, RewardError> {
        let path = folder.join(EVIDENCE);
        let Some(text) = read_optional(&path)? else { return Ok(Self::default()) };
        let unreadable = |why: String| {
            let message = format!("cannot be read: {why}; delete the file, then `rlar fetch-rewards` measures again");
            RewardError::io(&path)(io::Error::new(io::ErrorKind::InvalidData, message))
        };
        let evidence: Self = serde_json::from_str(&text).map_err(|e| unreadable(e.to_string()))?;
        for (task, tools) in &evidence.0 {
            for (tool, measured) in tools {
                let mut aucs = measured.auc.into_iter().chain(measured.half_right_auc);
                if let Some(auc) = aucs.find(|auc| !(0.0..=1.0).contains(auc)) {
                    return Err(unreadable(format!("the AUC of `{tool}` for `{task}` is {auc}, not from 0 to 1")));
                }
            }
        }
        Ok(evidence)
    }
}

impl Library {
    /// What was measured of a tool on the examples of a task. `None` when nothing was measured, when the library does
    /// not hold the tool, or when the tool was changed since.
    pub fn evidence(&self, task: &str, tool: &str) -> Option<&ToolEvidence> {
        let measured = self.evidence.0.get(task)?.get(tool)?;
        (self.identity(tool).as_ref() == Some(&measured.identity)).then_some(measured)
    }

    /// Sets what was measured of a tool on the examples of a task, in place of earlier evidence.
    pub fn set_evidence(&mut self, task: &str, tool: &str, evidence: ToolEvidence) {
        self.evidence.0.entry(task.to_owned()).or_default().insert(tool.to_owned(), evidence);
    }

    /// Removes the evidence for all tasks but these.
    pub(crate) fn keep_evidence(&mut self, tasks: &BTreeSet<&str>) {
        self.evidence.0.retain(|task, _| tasks.contains(task.as_str()));
    }

    /// Writes `evidence.json` into the library's folder, with the evidence that holds for the library's tools; writes
    /// nothing when there is none.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write_evidence(&self, folder: &Path) -> Result<(), RewardError> {
        let mut evidence = self.evidence.clone();
        for (task, tools) in &mut evidence.0 {
            tools.retain(|tool, _| self.evidence(task, tool).is_some());
        }
        evidence.0.retain(|_, tools| !tools.is_empty());
        if evidence.0.is_empty() {
            return Ok(());
        }
        let path = folder.join(EVIDENCE);
        let text = serde_json::to_string_pretty(&evidence).map_err(|e| RewardError::io(&path)(e.into()))?;
        write_atomic(&path, (text + "\n").as_bytes()).map_err(|e| RewardError::io(&path)(io::Error::other(e)))
    }

    /// Adds the evidence of another library, except where this library has evidence for the tool as it is now.
    pub(super) fn merge_evidence(&mut self, other: TaskEvidence) {
        for (task, tools) in other.0 {
            for (tool, measured) in tools {
                if self.evidence(&task, &tool).is_none() {
                    self.set_evidence(&task, &tool, measured);
                }
            }
        }
    }
}
