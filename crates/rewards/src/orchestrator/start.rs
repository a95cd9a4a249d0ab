//! The tools that prompts have at the start of a run, chosen when each prompt is first seen.

use std::collections::BTreeSet;
use std::sync::{OnceLock, PoisonError};

use rlar_data::Example;

use super::{Orchestrator, assignment_key};
use crate::RewardError;
use crate::agents::builtin::Assignment;
use crate::agents::tasks::domain;

/// How tools were chosen at the start of a run.
#[derive(Debug)]
pub(super) struct Start {
    orchestrator: Orchestrator,
    /// Domains whose tools were set since.
    pub reassigned: BTreeSet<String>,
}

impl Orchestrator {
    /// From now on, every example gets the tools that it would have got at this moment, whenever it is first seen, unless
    /// one of them is suspended or its domain gets other tools. So which prompts a run has drawn does not matter for the
    /// tools of the others.
    pub fn keep_start(&mut self) {
        let options = self.config.clone();
        let mut orchestrator = Self::new(self.library.clone(), self.context.clone(), options);
        orchestrator.by_domain = self.by_domain.clone();
        self.start = Some(Box::new(Start { orchestrator, reassigned: BTreeSet::new() }));
    }

    /// The assignment that [`Self::assign`] gives an example, without opening the tools and without keeping it.
    pub fn assignment_of(&self, example: &Example) -> Result<Assignment, RewardError> {
        if let Some(known) = self.assigned.get(&assignment_key(example)) {
            return Ok(known.clone());
        }
        if let Some(start) = self.start.as_ref().filter(|start| !start.reassigned.contains(domain(example))) {
            let assignment = start.orchestrator.choose(example)?;
            if assignment.tools.iter().all(|chosen| !self.suspended.contains(&chosen.tool)) {
                return Ok(assignment);
            }
        }
        self.choose(example)
    }

    /// Forgets what is known of choices by the library and the suspended tools, because these change.
    pub(super) fn forget_choices(&mut self) {
        self.admitted = OnceLock::new();
        self.by_features.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
