//! The tools among which the agents choose for a prompt: those that suit it, without those that measurements on its
//! task show to be worse.

use rlar_data::Example;

use crate::agents::builtin::card_names_for;
use crate::agents::tasks::{declared_task, is_same_task};
use crate::library::folder::Library;
use crate::tool::card::{ToolCard, ToolKind, ToolRole};

/// The AUC that the best measured tool must reach before other tools count as worse. Below it, the measurements do not
/// show which tool is good.
const GOOD_AUC: f64 = 0.8;

/// The AUC from which on a tool that judges correctness makes tools that only measure quality superfluous, where replies
/// are right or wrong.
const DECIDING_AUC: f64 = 0.95;

/// How far the AUC of a tool may be below that of the best measured tool, so that the tool can still be chosen.
const MAX_BEHIND: f64 = 0.15;

/// The admitted tools that suit an example, without those that are clearly worse than another. If the best measured
/// tool reaches an AUC of 0.8 on the examples of the task, tools with an AUC more than 0.15 lower are left out. Tools
/// without evidence stay. If a tool that judges correctness reaches an AUC of 0.95 and no reply to the task can be half
/// right, tools of quality with an AUC are left out: where answers can be checked, likeness to the reference only pays
/// replies that do not deserve it.
pub fn eligible<'l>(library: &'l Library, example: &Example, task: &str) -> Vec<&'l ToolCard> {
    let mut cards = suitable(library, example, task);
    let auc = |card: &ToolCard| library.evidence(task, &card.name).and_then(|evidence| evidence.auc);
    let best = cards.iter().filter_map(|card| auc(card)).fold(0.0, f64::max);
    if best >= GOOD_AUC {
        // The small number makes up for rounding.
        cards.retain(|card| auc(card).is_none_or(|auc| best - auc <= MAX_BEHIND + 1e-9));
    }
    let is_halvable = |card: &ToolCard| library.evidence(task, &card.name).is_some_and(|e| e.half_right_auc.is_some());
    let decides = |card: &&ToolCard| {
        card.role == ToolRole::Correctness && auc(card).is_some_and(|auc| auc >= DECIDING_AUC) && !is_halvable(card)
    };
    if cards.iter().any(decides) {
        cards.retain(|card| card.role != ToolRole::Quality || auc(card).is_none() || card.checks_instructions());
    }
    // A tool that checks instructions is added to what is chosen for a domain, whose other prompts may list none.
    let is_judge = |card: &&ToolCard| card.role != ToolRole::Constraint && !card.checks_instructions();
    let is_task = declared_task(example).is_none() && card_names_for(example).contains(&"instructions");
    if !is_task && cards.iter().any(is_judge) {
        cards.retain(|card| !card.checks_instructions());
    }
    cards
}

/// The admitted tools that can score an example. Their cards name `any` task, or the example's task as its label, its
/// features or its declaration gives it; and they need no reference when the example has none.
pub(crate) fn suitable<'l>(library: &'l Library, example: &Example, task: &str) -> Vec<&'l ToolCard> {
    let by_features = card_names_for(example);
    let declared = declared_task(example);
    let is_suitable = |t: &str| {
        t == "any"
            || by_features.contains(&t)
            || is_same_task(t, task)
            || declared.is_some_and(|declared| is_same_task(t, declared))
    };
    let suits = |c: &&ToolCard| {
        c.tasks.iter().any(|t| is_suitable(t))
            && (!c.needs_reference || example.reference.is_some())
            && library.is_admitted(&c.name)
    };
    library.cards().filter(suits).collect()
}

/// Whether a tool costs neither money nor much time, so that agents may run it only to compare tools: builtin
/// functions, verifiers, and composites of these.
pub(crate) fn is_cheap(library: &Library, name: &str) -> bool {
    library.card(name).is_some_and(|card| match &card.kind {
        ToolKind::Builtin { .. } | ToolKind::Verifier { .. } => true,
        ToolKind::Composite { parts } => parts.iter().all(|part| is_cheap(library, &part.tool)),
        ToolKind::Python { .. } | ToolKind::Model(_) | ToolKind::Judge(_) => false,
    })
}
