//! The task labels of a library: what the agents called the tasks of the prompts for which they filled it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rlar_data::Example;
use rlar_run::sha256;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::library::folder::{Library, read_optional};

/// The name of the file in a library's folder that holds the task labels.
pub const TASKS: &str = "tasks.json";

/// The label of one prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptLabel {
    /// The id of the example.
    pub id: String,
    /// SHA-256 of the prompt, as 16 hexadecimal digits: an id is unique only within its file.
    #[serde(default)]
    pub prompt: String,
    /// The label of the prompt's task.
    pub label: String,
}

impl PromptLabel {
    /// The label `label` of an example.
    pub fn new(example: &Example, label: String) -> Self {
        Self { id: example.id.clone(), prompt: hash(example.prompt()), label }
    }
}

fn hash(prompt: &str) -> String {
    let mut hash = sha256(prompt.as_bytes());
    hash.truncate(16);
    hash
}

/// The labels of a library.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredLabels {
    /// By the name of a group of prompts that declare the same task, or whose features show the same one.
    by_group: BTreeMap<String, String>,
    /// By the hash of the prompt.
    by_prompt: BTreeMap<String, String>,
}

/// The part of `tasks.json` that is read.
#[derive(Deserialize)]
struct TaskFile {
    groups: Vec<GroupLabel>,
    rows: Vec<PromptLabel>,
}

#[derive(Deserialize)]
struct GroupLabel {
    group: String,
    label: String,
}

impl StoredLabels {
    /// Reads the labels of the library in a folder; no labels when the folder has no `tasks.json`.
    pub(super) fn read(folder: &Path) -> Result<Self, RewardError> {
        let path = folder.join(TASKS);
        let Some(text) = read_optional(&path)? else { return Ok(Self::default()) };
        let file: TaskFile = serde_json::from_str(&text).map_err(|e| {
            let message = format!("cannot be read: {e}; delete the file, then `rlar fetch-rewards` labels again");
            RewardError::io(&path)(io::Error::new(io::ErrorKind::InvalidData, message))
        })?;
        Ok(Self {
            by_group: file.groups.into_iter().map(|g| (g.group, g.label)).collect(),
            by_prompt: file.rows.into_iter().filter(|r| !r.prompt.is_empty()).map(|r| (r.prompt, r.label)).collect(),
        })
    }
}

impl Library {
    /// Whether the agents labelled any prompt.
    pub(crate) fn has_task_labels(&self) -> bool {
        !(self.labels.by_group.is_empty() && self.labels.by_prompt.is_empty())
    }

    /// The label that the agents gave to the task of an example when they filled this library: that of its prompt, or
    /// else that of its group, if `group` names one. `None` when they gave none.
    pub(crate) fn task_label(&self, example: &Example, group: Option<&str>) -> Option<&str> {
        let of_prompt = self.labels.by_prompt.get(&hash(example.prompt()));
        of_prompt.or_else(|| self.labels.by_group.get(group?)).map(String::as_str)
    }

    /// Reads the task labels in the library's folder anew.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub(crate) fn read_task_labels(&mut self, folder: &Path) -> Result<(), RewardError> {
        self.labels = StoredLabels::read(folder)?;
        Ok(())
    }

    /// Adds the labels of another library, except those of prompts and groups that this one labels itself.
    pub(super) fn merge_task_labels(&mut self, other: StoredLabels) {
        for (group, label) in other.by_group {
            self.labels.by_group.entry(group).or_insert(label);
        }
        for (prompt, label) in other.by_prompt {
            self.labels.by_prompt.entry(prompt).or_insert(label);
        }
    }
}
