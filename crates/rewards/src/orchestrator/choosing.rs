//! Which tools score which example: what it is given, else what the agent chooses, and what every example has beside.

use rlar_data::Example;

use super::{Orchestrator, key};
use crate::admission::report::Status;
use crate::agents::builtin::Assignment;
use crate::agents::tasks::domain;
use crate::tool::composite::{CombineAs, WeightedTool};
use crate::{Admission, RewardError};

/// Largest weight of a tool that was admitted without anything to tell good replies from bad ones by.
const PROVISIONAL: f64 = 0.25;

impl Orchestrator {
    /// What is chosen for an example; opens nothing.
    pub fn choose(&self, example: &Example) -> Result<Assignment, RewardError> {
        if let Some(assignment) = self.given(example)? {
            return self.complete(example, assignment);
        }
        let usable = |name: &str| self.trusting || self.is_usable(name);
        let cards = || self.library.cards().filter(|c| !self.suspended.contains(&c.name));
        let is_flat = |name: &str| self.library.is_flat(name, example.kind());
        let chosen = self.agent.assign(example, cards().filter(|c| usable(&c.name)), &is_flat);
        let assignment = chosen.map_err(|refusal| {
            // Perhaps a tool would do that nobody examined.
            match self.agent.assign(example, cards(), &is_flat) {
                Ok(assignment) => self.not_admitted(&assignment.tools[0].tool),
                Err(_) => refusal,
            }
        });
        match assignment {
            Ok(assignment) => self.complete(example, assignment),
            Err(RewardError::Unassigned { message, .. }) if self.tolerant => {
                Ok(Assignment { example: example.id.clone(), tools: Vec::new(), by: "nobody".into(), why: message })
            }
            Err(e) => Err(e),
        }
    }

    /// What the prompts of an example's domain are given, where it suits this one.
    fn given(&self, example: &Example) -> Result<Option<Assignment>, RewardError> {
        let Some(assignment) = self.given.get(domain(example)) else { return Ok(None) };
        for choice in &assignment.tools {
            let Some(card) = self.library.card(&choice.tool) else {
                let message =
                    format!("`rewards.assign` gives it to `{}`, and the library does not hold it", domain(example));
                return Err(RewardError::tool(&choice.tool, message));
            };
            if !(self.trusting || self.is_usable(&choice.tool)) {
                return Err(self.not_admitted(&choice.tool));
            }
            if self.suspended.contains(&choice.tool) || (card.needs_reference && example.reference.is_none()) {
                return Ok(None);
            }
        }
        Ok(Some(Assignment { example: example.id.clone(), ..assignment.clone() }))
    }

    /// An assignment with what every example has, and with no more weight for a tool than it may have.
    fn complete(&self, example: &Example, mut assignment: Assignment) -> Result<Assignment, RewardError> {
        let usable = |name: &str| self.trusting || self.is_usable(name);
        for member in &self.always {
            let card = self.library.card(&member.tool).ok_or_else(|| {
                let known: Vec<&str> = self.library.cards().map(|c| c.name.as_str()).collect();
                let message = format!("`rewards.always` names it, and the library holds only: {}", known.join(", "));
                RewardError::tool(&member.tool, message)
            })?;
            if let Some(why) = member.problem(card.range) {
                return Err(RewardError::tool(&member.tool, format!("`rewards.always`: {why}")));
            }
            let provisional = self.library.admission(&member.tool).is_some_and(|a| a.status == Status::Provisional);
            if !usable(&member.tool) || (provisional && member.part != CombineAs::Term && !self.trusting) {
                return Err(self.not_admitted(&member.tool));
            }
            let chosen = assignment.tools.iter().any(|c| c.tool == member.tool);
            if chosen || (card.needs_reference && example.reference.is_none()) || self.suspended.contains(&member.tool)
            {
                continue;
            }
            let weight = if member.part == CombineAs::Term { member.weight } else { 0.0 };
            assignment.tools.push(WeightedTool { weight, ..member.clone() });
        }
        for choice in &mut assignment.tools {
            if self.library.admission(&choice.tool).is_some_and(|a| a.status == Status::Provisional) {
                choice.weight = choice.weight.clamp(-PROVISIONAL, PROVISIONAL);
            }
        }
        Ok(assignment)
    }

    /// Whether the court admitted a tool as it is; a judge is also another one when it asks another model.
    fn is_usable(&self, name: &str) -> bool {
        let asked = self.library.admission(name).and_then(|a| a.asked.as_deref());
        let asks = self.means.llm.as_ref().map(|llm| llm.name());
        self.library.is_admitted(name) && asked.is_none_or(|asked| Some(asked) == asks.as_deref())
    }

    fn not_admitted(&self, tool: &str) -> RewardError {
        let why = match self.library.admission(tool) {
            Some(Admission { status: Status::Admitted, asked: Some(asked), .. }) => {
                format!("was examined with another language model, {asked}")
            }
            Some(Admission { status: Status::Admitted, .. }) => "has a part that was refused or retired".into(),
            Some(Admission { status: Status::Provisional, .. }) => {
                "is provisional, and what nobody could tell good from bad by is no gate and no veto".into()
            }
            Some(admission) => match admission.failed().next() {
                Some(probe) => format!("was refused: it does not show that it {}: {}", probe.name, probe.evidence),
                None => "was retired".into(),
            },
            None => "was not examined, or was changed since".into(),
        };
        let message = format!(
            "{why}; examine it with `rlar rewards admit {tool} --library FOLDER`, or let tools without admission score \
             with `rewards.unadmitted: allow`"
        );
        RewardError::NotAdmitted { tool: tool.to_owned(), message }
    }

    /// Gives the prompts of a domain these tools from now on.
    pub fn give(&mut self, domain_name: &str, mut assignment: Assignment) {
        // What gates and vetoes say is no part of the sum.
        assignment.tools.iter_mut().filter(|c| c.part != CombineAs::Term).for_each(|c| c.weight = 0.0);
        self.given.insert(domain_name.to_owned(), assignment);
        // What was chosen for them is chosen anew when it is next needed.
        let of = format!("{domain_name}\0");
        self.assigned.retain(|key, _| !key.starts_with(&of));
    }

    /// Opens a tool that may score; why it may not or cannot, otherwise.
    pub fn try_out(&mut self, name: &str) -> Result<(), RewardError> {
        if self.library.card(name).is_some() && !self.trusting && !self.is_usable(name) {
            return Err(self.not_admitted(name));
        }
        self.open(name).map(drop)
    }

    /// Gives one prompt these tools from now on, unless they may not score it.
    pub fn give_one(&mut self, example: &Example, assignment: Assignment) -> Result<(), RewardError> {
        let known = |c: &WeightedTool| {
            self.library.card(&c.tool).map(|card| !card.needs_reference || example.reference.is_some())
        };
        let fits =
            |c: &WeightedTool| known(c) == Some(true) && !self.suspended.contains(&c.tool) && self.is_usable(&c.tool);
        if assignment.tools.is_empty() || !assignment.tools.iter().all(fits) {
            return Ok(());
        }
        let assignment = self.complete(example, assignment)?;
        if let Some(why) = assignment.tools.iter().find_map(|c| self.try_out(&c.tool).err()) {
            tracing::warn!("what was chosen for example `{}` cannot be used: {why}", example.id);
            return Ok(());
        }
        self.assigned.insert(key(example), assignment);
        Ok(())
    }
}
