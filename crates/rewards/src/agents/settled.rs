//! Which prompts share a choice of tools: what the language model chose for one prompt becomes the choice for all prompts
//! of its domain or task, so that few prompts need a request.

use std::collections::BTreeMap;

use rlar_data::Example;

use crate::agents::builtin::Assignment;
use crate::agents::classify::known_task_label;
use crate::agents::eligible::eligible;
use crate::agents::select::ToolSelection;
use crate::agents::tasks::declared_task;
use crate::library::folder::Library;
use crate::tool::composite::WeightedTool;

/// Prompts that may share a choice of tools: those that declare the same task, or those that declare none and to which
/// the agents gave the same label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PromptGroup {
    /// The declared task, or the label.
    pub(super) name: String,
    /// Whether the prompts declare the task.
    pub(super) is_declared: bool,
}

impl PromptGroup {
    /// The group of an example; `None` for one that shares its choice with no other.
    pub(super) fn of(library: &Library, example: &Example) -> Option<Self> {
        let declared = declared_task(example);
        let name = declared.or_else(|| known_task_label(library, example))?;
        Some(Self { name: name.to_owned(), is_declared: declared.is_some() })
    }
}

/// The choices that hold for whole groups of prompts.
#[derive(Debug, Default)]
pub(super) struct SettledChoices {
    settled: BTreeMap<PromptGroup, Assignment>,
    /// For every group, the tools that were chosen for the latest of its prompts.
    last: BTreeMap<PromptGroup, Vec<WeightedTool>>,
}

impl SettledChoices {
    /// Whether a choice holds for a whole group.
    pub(super) fn is_settled(&self, group: &PromptGroup) -> bool {
        self.settled.contains_key(group)
    }

    /// The choice that holds for a whole group, under the id of the example for which it was made; `None` when there is none.
    pub(super) fn of_group(&self, group: &PromptGroup) -> Option<&Assignment> {
        self.settled.get(group)
    }

    /// The assignment of an example by the choice for its group. `None` when there is none, or when one of its tools
    /// cannot score this example. `task` is the label of the example's task.
    pub(super) fn assignment(
        &self,
        group: &PromptGroup,
        library: &Library,
        example: &Example,
        task: &str,
    ) -> Option<Assignment> {
        let settled = self.settled.get(group)?;
        let cards = eligible(library, example, task);
        let suits = |member: &WeightedTool| cards.iter().any(|card| card.name == member.tool);
        settled.tools.iter().all(suits).then(|| Assignment { example: example.id.clone(), ..settled.clone() })
    }

    /// Takes note of what was chosen for a prompt of a group. It becomes the choice for the whole group when the language
    /// model says so, or when two prompts in a row get the same tools.
    pub(super) fn record(&mut self, group: PromptGroup, selection: &ToolSelection) {
        let tools = &selection.assignment.tools;
        let before = self.last.insert(group.clone(), tools.clone());
        let is_repeated = before.as_ref() == Some(tools);
        if selection.for_whole_task || is_repeated {
            let settled_by = if selection.for_whole_task {
                "the language model says that the task alone decides"
            } else {
                "two prompts in a row got the same tools"
            };
            let why =
                format!("settled for the whole task `{}`, because {settled_by}: {}", group.name, selection.reason);
            self.settled.insert(group, Assignment { why, ..selection.assignment.clone() });
        }
    }
}
