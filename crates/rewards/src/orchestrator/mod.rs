//! Assigns tools to examples and scores batches with them.

mod choosing;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rlar_data::{Completion, Example};
use rlar_sandbox::ShouldStop;

use crate::agents::builtin::{Assignment, BuiltinAgent};
use crate::agents::tasks::domain;
use crate::cache::cached_score::score_cached;
use crate::cache::store::Store;
use crate::library::folder::Library;
use crate::library::new_tool::NewTool;
use crate::tool::card::ToolCard;
use crate::tool::composite::{Ruling, WeightedTool};
use crate::tool::scores::{Scores, ToolScore};
use crate::tool::scoring::{Tool, ToolContext};
use crate::{Admission, Failure, Outcome, RewardError};

/// What an orchestrator may choose and what it adds to every assignment.
#[derive(Clone, Debug, Default)]
pub struct OrchestratorConfig {
    /// Whether tools without admission may score.
    pub allow_unadmitted: bool,
    /// Whether an example that no tool fits gets an assignment without tools; otherwise it is an error.
    pub allow_uncovered: bool,
    /// Tools that score every example beside the tools that are chosen for it.
    pub always: Vec<WeightedTool>,
    /// Names of the audit tools: they score some replies to show how far the assigned tools can be trusted, and have no part
    /// in the reward.
    pub audit: Vec<String>,
}

/// Chooses, opens and runs reward tools.
#[derive(Debug)]
pub struct Orchestrator {
    library: Library,
    agent: BuiltinAgent,
    context: ToolContext,
    config: OrchestratorConfig,
    store: Option<Arc<Store>>,
    /// The opened tools, by name.
    tools: BTreeMap<String, Tool>,
    /// Assignments that were set for whole domains.
    by_domain: BTreeMap<String, Assignment>,
    /// Assignments of single examples, by [`assignment_key`].
    assigned: BTreeMap<String, Assignment>,
    /// Names of the tools that are no longer used.
    suspended: BTreeSet<String>,
}

/// The place of an outcome in a batch.
#[derive(Clone, Copy)]
struct ScoreSlot {
    /// Index of the item in the batch.
    item: usize,
    /// Index of the tool in the item's assignment.
    tool: usize,
}

/// The slots that each tool has to fill, by the tool's name.
type Shares = BTreeMap<Arc<str>, Vec<ScoreSlot>>;

/// The slots of one tool with their outcomes, in the same order.
struct FilledShare {
    slots: Vec<ScoreSlot>,
    outcomes: Vec<Outcome>,
}

impl Orchestrator {
    /// An orchestrator over a library. It has no score cache until [`Self::with_store`] gives it one.
    pub fn new(library: Library, context: ToolContext, config: OrchestratorConfig) -> Self {
        Self {
            library,
            agent: BuiltinAgent,
            context,
            config,
            store: None,
            tools: BTreeMap::new(),
            by_domain: BTreeMap::new(),
            assigned: BTreeMap::new(),
            suspended: BTreeSet::new(),
        }
    }

    /// Caches scores and logs calls in a store.
    #[must_use]
    pub fn with_store(mut self, store: Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Opens a store for scores and calls, unless there is one already.
    pub fn ensure_store(&mut self, open: impl FnOnce() -> Store) {
        self.store.get_or_insert_with(|| Arc::new(open()));
    }

    /// The store of scores and calls, if there is one.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_deref()
    }

    /// The library.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The packages of a tool when they are not installed yet; empty when they are, or when there is no sandbox to ask.
    pub fn missing_packages(&self, tool: &str) -> Result<Vec<String>, RewardError> {
        let required = self.library.card(tool).map_or(&[][..], ToolCard::requires);
        let Ok(sandbox) = &self.context.sandbox else { return Ok(Vec::new()) };
        let installed = sandbox.has_packages(required, &self.context.packages);
        let installed = installed.map_err(|e| RewardError::tool(tool, e.to_string()))?;
        Ok(if installed { Vec::new() } else { required.to_vec() })
    }

    /// The assignment of an example. It is chosen, and its tools are opened, on the first call.
    pub fn assign(&mut self, example: &Example) -> Result<&Assignment, RewardError> {
        let key = assignment_key(example);
        if !self.assigned.contains_key(&key) {
            let assignment = self.choose(example)?;
            for chosen in &assignment.tools {
                self.open(&chosen.tool)?;
            }
            self.assigned.insert(key.clone(), assignment);
        }
        Ok(&self.assigned[&key])
    }

    /// Scores items with the audit tools. The first audit tool that does not abstain decides; its score is given as a part of
    /// its range, from 0 to 1. An item that no audit tool judges is [`Outcome::Abstained`].
    pub fn audit(
        &mut self,
        items: &[(&Example, &Completion)],
        should_stop: ShouldStop,
    ) -> Result<Vec<Outcome>, RewardError> {
        let mut audited = vec![Outcome::Abstained("no audit tool judges it".into()); items.len()];
        for name in self.config.audit.clone() {
            let open: Vec<usize> = (0..items.len()).filter(|i| matches!(audited[*i], Outcome::Abstained(_))).collect();
            if open.is_empty() {
                break;
            }
            let open_items: Vec<_> = open.iter().map(|i| items[*i]).collect();
            self.open(&name)?;
            let outcomes = score_cached(&self.tools[&name], self.store.as_deref(), &open_items, should_stop)?;
            let [low, high] = self.range(&name);
            for (i, outcome) in open.into_iter().zip(outcomes) {
                audited[i] = match outcome {
                    Outcome::Scored(score) => Outcome::Scored((score - low) / (high - low)),
                    Outcome::Abstained(_) | Outcome::Failed(_) => outcome,
                };
            }
        }
        Ok(audited)
    }

    /// Whether there are audit tools.
    pub fn has_audit(&self) -> bool {
        !self.config.audit.is_empty()
    }

    /// Restores the assignments that an earlier process made for these examples, and opens their tools.
    pub fn restore(&mut self, assigned: Vec<(&Example, Assignment)>) -> Result<(), RewardError> {
        for (example, assignment) in assigned {
            for chosen in &assignment.tools {
                self.open(&chosen.tool)?;
            }
            self.assigned.insert(assignment_key(example), assignment);
        }
        Ok(())
    }

    /// Stops using a tool: the examples that it was assigned to get new tools when they are next scored.
    pub fn suspend(&mut self, tool: &str) {
        self.suspended.insert(tool.to_owned());
        self.assigned.retain(|_, assignment| assignment.tools.iter().all(|t| t.tool != tool));
    }

    /// A tool by name. It is opened on the first call.
    pub fn open(&mut self, name: &str) -> Result<&Tool, RewardError> {
        if !self.tools.contains_key(name) {
            let tool = self.library.open(name, &self.context)?;
            self.tools.insert(name.to_owned(), tool);
        }
        Ok(&self.tools[name])
    }

    /// Opens a tool as if it had not been examined; see [`Tool::for_admission`].
    pub fn for_admission(&self, name: &str) -> Result<Tool, RewardError> {
        Ok(self.library.open(name, &self.context)?.for_admission())
    }

    /// Adds a new tool to the library; its folder will be `home`.
    pub fn add_tool(&mut self, tool: &NewTool, home: &Path) -> Result<(), RewardError> {
        self.library.add_tool(tool, home)
    }

    /// Sets the admission report of a tool. The tool is opened again when it is next needed.
    pub fn set_admission(&mut self, tool: &str, admission: Admission) {
        self.library.set_admission(tool, admission);
        self.tools.remove(tool);
    }

    /// Scores completions with one tool, through the cache.
    pub fn score_with(&mut self, tool: &str, items: &[(&Example, &Completion)]) -> Result<Vec<Outcome>, RewardError> {
        self.open(tool)?;
        score_cached(&self.tools[tool], self.store.as_deref(), items, &|| false)
    }

    /// Scores each completion with the tools of its example. Every tool gets its share of the batch in one call.
    pub fn score(&mut self, items: &[(&Example, &Completion)]) -> Result<Vec<Scores>, RewardError> {
        self.score_until(items, &|| false)
    }

    /// Scores like [`Self::score`] until `should_stop` returns true. Scores that have not been started by then are
    /// [`Failure::Late`].
    pub fn score_until(
        &mut self,
        items: &[(&Example, &Completion)],
        should_stop: ShouldStop,
    ) -> Result<Vec<Scores>, RewardError> {
        let mut shares = Shares::new();
        let mut scores = Vec::with_capacity(items.len());
        let mut assignments: BTreeMap<*const Example, Vec<WeightedTool>> = BTreeMap::new();
        for (item, (example, _)) in items.iter().enumerate() {
            let assigned = match assignments.entry(std::ptr::from_ref::<Example>(example)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.assign(example)?.tools.clone()),
            };
            let mut pending = Vec::new();
            for (tool, chosen) in assigned.iter().enumerate() {
                let name = match shares.get_key_value(chosen.tool.as_str()) {
                    Some((name, _)) => name.clone(),
                    None => Arc::from(chosen.tool.as_str()),
                };
                shares.entry(name.clone()).or_default().push(ScoreSlot { item, tool });
                let outcome = Outcome::Abstained("not scored yet".into());
                pending.push(ToolScore { tool: name, weight: chosen.weight, outcome });
            }
            scores.push(Scores { tools: pending });
        }
        for share in self.score_shares(items, shares, should_stop)? {
            for (slot, outcome) in share.slots.into_iter().zip(share.outcomes) {
                scores[slot.item].tools[slot.tool].outcome = outcome;
            }
        }
        for ((example, _), scores) in items.iter().zip(&mut scores) {
            let assigned = &assignments[&std::ptr::from_ref::<Example>(example)];
            self.apply_rulings(assigned, scores);
            drop_abstentions(assigned, scores);
        }
        Ok(scores)
    }

    /// Scores the share of every tool. The tools run at the same time, so that one that hangs delays no other.
    fn score_shares(
        &self,
        items: &[(&Example, &Completion)],
        shares: Shares,
        should_stop: ShouldStop,
    ) -> Result<Vec<FilledShare>, RewardError> {
        let score_share = |name: &str, slots: &[ScoreSlot]| {
            let share: Vec<_> = slots.iter().map(|slot| items[slot.item]).collect();
            score_cached(&self.tools[name], self.store.as_deref(), &share, should_stop)
        };
        let score_share = &score_share;
        if shares.len() == 1 {
            let only = shares.into_iter().map(|(name, slots)| {
                let outcomes = score_share(&name, &slots)?;
                Ok(FilledShare { slots, outcomes })
            });
            return only.collect();
        }
        std::thread::scope(|scope| {
            let started: Vec<_> = shares
                .into_iter()
                .map(|(name, slots)| {
                    let copy = slots.clone();
                    (slots, scope.spawn(move || score_share(&name, &copy)))
                })
                .collect();
            let ended = started.into_iter().map(|(slots, thread)| {
                let outcomes = match thread.join() {
                    Ok(outcomes) => outcomes?,
                    Err(_) => vec![Outcome::Failed(Failure::Crash("the tool panicked".into())); slots.len()],
                };
                Ok(FilledShare { slots, outcomes })
            });
            ended.collect()
        })
    }

    /// Applies the gates and vetoes of an assignment to the scores of its terms.
    fn apply_rulings(&self, assigned: &[WeightedTool], scores: &mut Scores) {
        if assigned.iter().all(|t| t.part.is_term()) {
            return;
        }
        let outcomes = scores.tools.iter().map(|score| &score.outcome);
        let ruling = Ruling::of(assigned.iter().zip(outcomes).map(|(t, o)| (t.part, t.least(self.range(&t.tool)), o)));
        for (term, score) in assigned.iter().zip(&mut scores.tools).filter(|(t, _)| t.part.is_term()) {
            if let Outcome::Scored(value) = &mut score.outcome {
                *value = ruling.apply(*value, self.range(&term.tool), score.weight);
            }
        }
    }

    /// The range of a tool's scores.
    fn range(&self, tool: &str) -> [f64; 2] {
        self.library.card(tool).map_or([0.0, 1.0], |card| card.range)
    }
}

/// Removes abstentions when another term of the assignment judges the example.
///
/// A tool abstains because of the example, so it is removed from all replies of the example alike.
fn drop_abstentions(assigned: &[WeightedTool], scores: &mut Scores) {
    let abstains = |score: &ToolScore| matches!(score.outcome, Outcome::Abstained(_));
    let is_judged = assigned.iter().zip(&scores.tools).any(|(t, score)| t.part.is_term() && !abstains(score));
    let tools = assigned.iter().zip(std::mem::take(&mut scores.tools));
    let kept = tools.filter(|(t, score)| !abstains(score) || (t.part.is_term() && !is_judged));
    scores.tools = kept.map(|(_, score)| score).collect();
}

/// The key of an example's assignment: its domain, then everything that tells the example from others, because an id is unique
/// only within its file.
fn assignment_key(example: &Example) -> String {
    format!("{}\0{}\0{}\0{:?}", domain(example), example.id, example.prompt(), example.reference)
}
