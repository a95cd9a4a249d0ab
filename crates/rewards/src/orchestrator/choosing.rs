//! Which tools score which example: those that were set for its domain, or else those that the builtin agent (fixed
//! rules, no language model) chooses. In both cases the tools that score every example are added.

use std::borrow::Cow;
use std::sync::PoisonError;

use rlar_data::Example;

use super::{Orchestrator, assignment_key};
use crate::admission::report::Status;
use crate::agents::builtin::{Assignment, BuiltinAgent, Features};
use crate::agents::classify::known_task_label;
use crate::agents::tasks::{declared_task, domain};
use crate::tool::builtin::lists_instructions;
use crate::tool::card::ToolCard;
use crate::tool::composite::{CombineAs, WeightedTool};
use crate::{Admission, RewardError};

/// Largest absolute weight of a provisional tool, one for which no example showed whether it ranks good replies above
/// bad ones.
const PROVISIONAL: f64 = 0.25;

/// Largest number of choices that are kept, by the features of the examples.
const MAX_KEPT: usize = 1000;

impl Orchestrator {
    /// Chooses the tools that are to score an example, but does not open them.
    pub fn choose(&self, example: &Example) -> Result<Assignment, RewardError> {
        if let Some(assignment) = self.assigned_by_domain(example)? {
            return self.complete(example, assignment);
        }
        if !self.config.defaults.is_empty() {
            return self.complete(example, self.default_assignment(example)?);
        }
        let labelled = self.labelled(example);
        let example = &*labelled;
        match self.chosen_by_features(example) {
            Ok(assignment) => self.complete(example, assignment),
            Err(RewardError::Unassigned { example: id, message }) => match self.instructions_tool(example) {
                Some(tool) => {
                    let why =
                        format!("fixed rules chose: {message}; it lists instructions, which `{}` checks", tool.tool);
                    self.complete(example, Assignment { example: id, tools: vec![tool], by: "builtin".into(), why })
                }
                None if self.config.allow_uncovered => {
                    Ok(Assignment { example: id, tools: Vec::new(), by: "nobody".into(), why: message })
                }
                None => Err(RewardError::Unassigned { example: id, message }),
            },
            Err(e) => Err(e),
        }
    }

    /// The assignment that the builtin agent gives an example. It depends on the example's features alone, so that it is
    /// computed once for all examples with the same ones.
    fn chosen_by_features(&self, example: &Example) -> Result<Assignment, RewardError> {
        let features = Features::of(example);
        let known = || self.by_features.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(&features) {
            return Ok(Assignment { example: example.id.clone(), ..known.clone() });
        }
        let cards = || self.library.cards().filter(|c| !self.suspended.contains(&c.name));
        let is_flat = |name: &str| self.library.is_flat(name, example.kind());
        let chosen =
            BuiltinAgent::assign_to(&example.id, &features, cards().filter(|c| self.may_score(&c.name)), &is_flat);
        let assignment = chosen.map_err(|refusal| {
            // If a tool would fit but is not admitted, the message is about that tool.
            match BuiltinAgent::assign_to(&example.id, &features, cards(), &is_flat) {
                Ok(assignment) => self.not_admitted(&assignment.tools[0].tool),
                Err(_) => refusal,
            }
        })?;
        let mut known = known();
        if known.len() < MAX_KEPT {
            known.insert(features, assignment.clone());
        }
        Ok(assignment)
    }

    /// The example with the task that the agents gave it when they filled the library, if it declares none itself.
    fn labelled<'e>(&self, example: &'e Example) -> Cow<'e, Example> {
        if declared_task(example).is_some() || !self.library.has_task_labels() {
            return Cow::Borrowed(example);
        }
        match known_task_label(&self.library, example) {
            Some(label) => Cow::Owned(Example { domain: Some(label.to_owned()), ..example.clone() }),
            None => Cow::Borrowed(example),
        }
    }

    /// Checks that the tools that the config names, for every prompt or for a domain, are in the library and may score.
    pub fn check_named_tools(&self) -> Result<(), RewardError> {
        self.config.always.iter().try_for_each(|member| self.check_always(member).map(drop))?;
        for (domain, assignment) in &self.by_domain {
            assignment.tools.iter().try_for_each(|member| self.check_assigned(domain, member).map(drop))?;
        }
        Ok(())
    }

    /// The card of a tool that `rewards.assign` names for a domain; an error if the library lacks it or it may not score.
    fn check_assigned(&self, domain: &str, member: &WeightedTool) -> Result<&ToolCard, RewardError> {
        let card = self.library.card(&member.tool).ok_or_else(|| {
            let message =
                format!("`rewards.assign` names it for the domain `{domain}`, and the library does not hold it");
            RewardError::tool(&member.tool, message)
        })?;
        if self.may_score(&member.tool) { Ok(card) } else { Err(self.not_admitted(&member.tool)) }
    }

    /// The assignment (the tools with their weights) that was set for the domain of an example. `None` when there is
    /// none, or when one of its tools is suspended or needs a reference that this example lacks.
    fn assigned_by_domain(&self, example: &Example) -> Result<Option<Assignment>, RewardError> {
        let Some(assignment) = self.by_domain.get(domain(example)) else { return Ok(None) };
        for member in &assignment.tools {
            let card = self.check_assigned(domain(example), member)?;
            if self.suspended.contains(&member.tool) || (card.needs_reference && example.reference.is_none()) {
                return Ok(None);
            }
        }
        Ok(Some(Assignment { example: example.id.clone(), ..assignment.clone() }))
    }

    /// The assignment of the default tools to an example; an error when one of them may not score or is suspended.
    fn default_assignment(&self, example: &Example) -> Result<Assignment, RewardError> {
        for member in &self.config.defaults {
            if self.suspended.contains(&member.tool) {
                let message = format!(
                    "its tool `{}` (from `rewards.python`) is suspended, because it failed too often, and no other \
                     tool may replace it",
                    member.tool
                );
                return Err(RewardError::Unassigned { example: example.id.clone(), message });
            }
            if !self.may_score(&member.tool) {
                return Err(self.not_admitted(&member.tool));
            }
        }
        let (by, why) = ("config".to_owned(), "`rewards.python` gives them to every prompt".to_owned());
        Ok(Assignment { example: example.id.clone(), tools: self.config.defaults.clone(), by, why })
    }

    /// Adds the tool that checks an example's instructions and the tools that score every example to an assignment, and
    /// limits the weights of provisional tools.
    ///
    /// # Errors
    ///
    /// When a tool that scores every example is not in the library or may not be used.
    pub fn complete(&self, example: &Example, mut assignment: Assignment) -> Result<Assignment, RewardError> {
        let limit = |member: &mut WeightedTool| {
            if self.is_provisional(&member.tool) {
                member.weight = member.weight.clamp(-PROVISIONAL, PROVISIONAL);
            }
        };
        assignment.tools.iter_mut().for_each(limit);
        self.add_instructions(example, &mut assignment);
        for member in &self.config.always {
            let needs_reference = self.check_always(member)?;
            let is_chosen = assignment.tools.iter().any(|chosen| chosen.tool == member.tool);
            let lacks_reference = needs_reference && example.reference.is_none();
            if is_chosen || lacks_reference || self.suspended.contains(&member.tool) {
                continue;
            }
            let weight = if member.combine == CombineAs::Term { member.weight } else { 0.0 };
            let mut member = WeightedTool { weight, ..member.clone() };
            limit(&mut member);
            assignment.tools.push(member);
        }
        Ok(assignment)
    }

    /// Adds the tool that checks the instructions that an example lists to tools that agents chose. They are rules for the
    /// reply to this very prompt, whatever tools its domain has; so they count as much as the tool with the highest weight.
    fn add_instructions(&self, example: &Example, assignment: &mut Assignment) {
        let checks = |member: &WeightedTool| self.library.card(&member.tool).is_some_and(ToolCard::checks_instructions);
        if assignment.is_given() || assignment.tools.iter().chain(&self.config.always).any(checks) {
            return;
        }
        let Some(tool) = self.instructions_tool(example) else { return };
        let weight = assignment.tools.iter().map(|member| member.weight).fold(0.0, f64::max);
        assignment.why = format!("{}; `{}` is added, because the prompt lists instructions", assignment.why, tool.tool);
        assignment.tools.push(WeightedTool { weight, ..tool });
    }

    /// The tool that checks the instructions that an example lists, with weight 1; `None` if the example lists none, or the
    /// library has no such tool that may score.
    fn instructions_tool(&self, example: &Example) -> Option<WeightedTool> {
        let checks = |card: &&ToolCard| {
            card.checks_instructions() && self.may_score(&card.name) && !self.suspended.contains(&card.name)
        };
        let card = self.library.cards().find(checks).filter(|_| lists_instructions(example))?;
        Some(WeightedTool { tool: card.name.clone(), weight: 1.0, combine: CombineAs::Term, least: None })
    }

    /// Whether a tool of `rewards.always` (the tools that score every example) needs a reference; an error when the
    /// tool may not be used in this way.
    fn check_always(&self, member: &WeightedTool) -> Result<bool, RewardError> {
        let card = self.library.card(&member.tool).ok_or_else(|| {
            let known: Vec<&str> = self.library.cards().map(|c| c.name.as_str()).collect();
            let message = format!("`rewards.always` names it, and the library holds only: {}", known.join(", "));
            RewardError::tool(&member.tool, message)
        })?;
        if let Some(why) = member.problem(card.range) {
            return Err(RewardError::tool(&member.tool, format!("`rewards.always`: {why}")));
        }
        let overrules = member.combine != CombineAs::Term;
        if !self.may_score(&member.tool)
            || (overrules && self.is_provisional(&member.tool) && !self.config.allow_unadmitted)
        {
            return Err(self.not_admitted(&member.tool));
        }
        Ok(card.needs_reference)
    }

    fn is_provisional(&self, tool: &str) -> bool {
        self.library.admission(tool).is_some_and(|admission| admission.status == Status::Provisional)
    }

    /// Whether a tool may be chosen: it is admitted, or the config lets tools without admission score.
    pub fn may_score(&self, name: &str) -> bool {
        self.config.allow_unadmitted || self.is_admitted(name)
    }

    /// Whether a tool passed its admission checks and was not changed since. A judge is admitted only with the language
    /// model with which it passed them.
    fn is_admitted(&self, name: &str) -> bool {
        let names = || {
            let present = self.context.llm.as_ref().map(|llm| llm.name());
            let is_admitted = |name: &&str| {
                let examined = self.library.admission(name).and_then(|a| a.llm.as_deref());
                self.library.is_admitted(name) && examined.is_none_or(|llm| Some(llm) == present.as_deref())
            };
            self.library.cards().map(|card| card.name.as_str()).filter(is_admitted).map(str::to_owned).collect()
        };
        self.admitted.get_or_init(names).contains(name)
    }

    fn not_admitted(&self, tool: &str) -> RewardError {
        let why = match self.library.admission(tool) {
            Some(Admission { status: Status::Admitted, llm: Some(llm), .. }) => {
                format!("was examined with another language model, {llm}")
            }
            Some(Admission { status: Status::Admitted, .. }) => "has a part that was refused or retired".into(),
            Some(Admission { status: Status::Provisional, .. }) => {
                "is provisional: no example showed that it ranks good replies above bad ones, so it may be neither a gate \
                 nor a veto"
                    .into()
            }
            Some(admission) => match admission.failed().next() {
                Some(check) if admission.status == Status::Refused => {
                    format!("was refused: it does not show that it {}: {}", check.name, check.evidence)
                }
                Some(check) => format!("was retired: {}", check.evidence),
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

    /// Sets the tools of all examples of a domain from now on.
    pub fn assign_domain(&mut self, domain_name: &str, mut assignment: Assignment) {
        // Gates and vetoes are not terms of the weighted sum.
        assignment.tools.iter_mut().filter(|t| t.combine != CombineAs::Term).for_each(|t| t.weight = 0.0);
        self.by_domain.insert(domain_name.to_owned(), assignment);
        if let Some(start) = &mut self.start {
            start.reassigned.insert(domain_name.to_owned());
        }
        // Examples of the domain that already have tools get the new ones when they are next scored.
        let prefix = format!("{domain_name}\0");
        self.assigned.retain(|key, _| !key.starts_with(&prefix));
    }

    /// Sets the tools of one example from now on. The assignment is ignored when it has no tools, or when one of them
    /// may not score the example or cannot be opened.
    pub fn assign_example(&mut self, example: &Example, assignment: Assignment) -> Result<(), RewardError> {
        let fits = |t: &WeightedTool| {
            let has_inputs = |needs_reference: bool| !needs_reference || example.reference.is_some();
            self.library.card(&t.tool).is_some_and(|card| has_inputs(card.needs_reference))
                && !self.suspended.contains(&t.tool)
                && self.is_admitted(&t.tool)
        };
        if assignment.tools.is_empty() || !assignment.tools.iter().all(fits) {
            return Ok(());
        }
        let assignment = self.complete(example, assignment)?;
        if let Some(why) = assignment.tools.iter().find_map(|t| self.open_admitted(&t.tool).err()) {
            tracing::warn!("the tools chosen for example `{}` cannot be used: {why}", example.id);
            return Ok(());
        }
        self.assigned.insert(assignment_key(example), assignment);
        Ok(())
    }

    /// Opens a tool if it may score. The error says why the tool may not score or cannot be opened.
    pub fn open_admitted(&mut self, name: &str) -> Result<(), RewardError> {
        if self.library.card(name).is_some() && !self.may_score(name) {
            return Err(self.not_admitted(name));
        }
        self.open(name).map(drop)
    }
}
