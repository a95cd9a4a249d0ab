//! The tools of a library that agents wrote or found for tasks that no prompt has: those of an earlier fetch with other data.

use std::collections::BTreeSet;

use rlar_data::Example;

use crate::FetchRequest;
use crate::agents::AgentEvent;
use crate::agents::tasks::{declared_task, is_same_task};
use crate::library::folder::Library;
use crate::tool::card::ToolCard;

/// Whether an agent wrote a tool (a verifier) or found it (a reward model of the Hub).
pub fn is_from_agents(card: &ToolCard) -> bool {
    card.origin.starts_with("written by ") || card.model().is_some_and(|m| m.repo.is_some())
}

/// Tells the user in one line which admitted tools of a library agents wrote or found for tasks of none of the request's examples, and
/// how to start anew; nothing if there are no such tools. `label_of` gives the label of an example's task.
pub fn tell_of_other_tasks(
    request: &FetchRequest,
    library: &Library,
    label_of: impl Fn(&Example) -> String,
    on_event: &mut dyn FnMut(AgentEvent),
) {
    let labels = request.examples.iter().map(label_of);
    let declared = request.examples.iter().filter_map(declared_task).map(str::to_owned);
    let tasks: BTreeSet<String> = labels.chain(declared).collect();
    let is_needed = |task: &String| task == "any" || tasks.iter().any(|present| is_same_task(task, present));
    let is_left_over =
        |card: &&ToolCard| is_from_agents(card) && library.is_admitted(&card.name) && !card.tasks.iter().any(is_needed);
    let left_over = library.cards().filter(is_left_over);
    let names: Vec<String> = left_over.map(|card| format!("`{}` (for {})", card.name, card.tasks.join(", "))).collect();
    // Without prompts there is no task that the tools are not for.
    if tasks.is_empty() || names.is_empty() {
        return;
    }
    on_event(AgentEvent::Message(format!(
        "{} has tools that agents wrote or found for other data: {}. They stay, and may be offered for these prompts, too; to start anew, \
         move their folders away, or name another folder in `rewards.library` or with `--library`",
        request.folder.display(),
        names.join(", ")
    )));
}
