//! Assigns tools to examples, and scores batches of replies with them.

mod choosing;
mod judges;
mod planned;
mod start;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use rlar_data::{Completion, Example};
use rlar_run::Activity;
use rlar_sandbox::ShouldStop;

use self::start::Start;
use crate::agents::builtin::{Assignment, BuiltinAgent, Features};
use crate::agents::tasks::domain;
use crate::cache::cached_score::score_cached;
use crate::cache::store::Store;
use crate::library::evidence::ToolEvidence;
use crate::library::folder::Library;
use crate::library::new_tool::NewTool;
use crate::tool::card::ToolCard;
use crate::tool::composite::{Ruling, WeightedTool};
use crate::tool::python::run_state::FunctionRun;
use crate::tool::reason::Reason;
use crate::tool::score_record::ScoreRecord;
use crate::tool::scores::{Scores, ToolScore};
use crate::tool::scoring::{Tool, ToolContext};
use crate::{Admission, Failure, Outcome, RewardError};

pub use planned::{PlannedItem, PlannedScore, ToolPlan, score_planned};

/// Which tools an orchestrator may choose, and which it adds to every assignment (the tools of an example).
#[derive(Clone, Debug, Default)]
pub struct OrchestratorConfig {
    /// Whether tools that have not passed the admission checks may score.
    pub allow_unadmitted: bool,
    /// Whether an example that no tool fits is left without tools; otherwise such an example is an error.
    pub allow_uncovered: bool,
    /// Tools of every example whose domain has no tools of its own. When there are any, the builtin agent chooses none.
    pub defaults: Vec<WeightedTool>,
    /// Tools that score every example, in addition to the tools that are chosen for the example.
    pub always: Vec<WeightedTool>,
    /// Names of the audit tools. They score some of the replies to show how far the other tools can be trusted, and do
    /// not count in the reward.
    pub audit: Vec<String>,
}

/// Chooses the reward tools of every example, opens them, and scores replies with them.
#[derive(Debug)]
pub struct Orchestrator {
    library: Library,
    agent: BuiltinAgent,
    context: ToolContext,
    config: OrchestratorConfig,
    store: Option<Arc<Store>>,
    /// The opened tools, by name.
    tools: BTreeMap<String, Arc<Tool>>,
    /// Assignments that were set for whole domains, by the name of the domain.
    by_domain: BTreeMap<String, Assignment>,
    /// Assignments (tools with their weights) of single examples, by [`assignment_key`].
    assigned: BTreeMap<String, Assignment>,
    /// Names of the tools that [`Orchestrator::suspend`] took out of use.
    suspended: BTreeSet<String>,
    /// What [`Orchestrator::keep_start`] kept.
    start: Option<Box<Start>>,
    /// Names of the admitted tools; not set before they are first asked for, and after a change of the library.
    admitted: OnceLock<BTreeSet<String>>,
    /// What the builtin agent assigned to examples with these features, for the library and the suspended tools as they
    /// are now.
    by_features: Mutex<BTreeMap<Features, Assignment>>,
    /// The record of what the run is doing, for a progress bar; it shows which tools are scoring.
    activity: Activity,
}

/// The place of one outcome in a batch: which reply, and which of its tools.
#[derive(Clone, Copy)]
struct ScoreSlot {
    /// Index of the item (an example with a reply) in the batch.
    item: usize,
    /// Index of the tool in the assignment of the item's example.
    tool: usize,
}

/// For each tool, by name: the places of the outcomes that it has to compute for a batch.
type Shares = BTreeMap<Arc<str>, Vec<ScoreSlot>>;

/// The places of one tool's outcomes in a batch, with their records in the same order.
struct FilledShare {
    slots: Vec<ScoreSlot>,
    records: Vec<ScoreRecord>,
}

impl Orchestrator {
    /// An orchestrator that uses the tools of `library`. It has no score cache until [`Self::with_store`] gives it one.
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
            start: None,
            admitted: OnceLock::new(),
            by_features: Mutex::default(),
            activity: Activity::default(),
        }
    }

    /// Makes the orchestrator cache scores and log calls in `store`.
    #[must_use]
    pub fn with_store(mut self, store: Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Gives the orchestrator the store of scores and calls that `open` opens, unless it has one already.
    pub fn ensure_store(&mut self, open: impl FnOnce() -> Store) {
        self.store.get_or_insert_with(|| Arc::new(open()));
    }

    /// The store of cached scores and logged calls; `None` when the orchestrator has none.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_deref()
    }

    /// The library whose tools the orchestrator uses.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// What the run that uses the tools is doing at the moment: the tools that are scoring, and what other parts of the
    /// run add.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    /// From now on shows the tools that are scoring in `activity`, the record of what a run is doing.
    pub fn report_to(&mut self, activity: &Activity) {
        self.activity = activity.clone();
    }

    /// Whether a tool of the library scores all replies to a prompt together, so that they should come in one call of
    /// [`Self::score`].
    pub fn scores_groups(&self) -> bool {
        self.library.cards().any(ToolCard::is_python)
    }

    /// What users' reward functions share with the run: the training step and the log of prints.
    pub fn functions(&self) -> &FunctionRun {
        &self.context.functions
    }

    /// The Python packages that a tool requires, if any of them is not installed yet. Empty when all are installed, or
    /// when there is no sandbox to ask.
    pub fn missing_packages(&self, tool: &str) -> Result<Vec<String>, RewardError> {
        let required = self.library.card(tool).map_or(&[][..], ToolCard::requires);
        let Ok(sandbox) = &self.context.sandbox else { return Ok(Vec::new()) };
        let installed = sandbox.has_packages(required, &self.context.packages);
        let installed = installed.map_err(|e| RewardError::tool(tool, e.to_string()))?;
        Ok(if installed { Vec::new() } else { required.to_vec() })
    }

    /// The assignment of an example (its tools with their weights). The tools are chosen and opened on the first call
    /// for the example.
    pub fn assign(&mut self, example: &Example) -> Result<&Assignment, RewardError> {
        let key = assignment_key(example);
        if !self.assigned.contains_key(&key) {
            let assignment = self.assignment_of(example)?;
            for chosen in &assignment.tools {
                self.open(&chosen.tool)?;
            }
            self.assigned.insert(key.clone(), assignment);
        }
        Ok(&self.assigned[&key])
    }

    /// Scores replies, each with its example, with the audit tools. For each reply, the first audit tool that does not
    /// abstain decides; its score is scaled from the range of the tool to a range from 0 to 1. A reply from which all
    /// audit tools abstain gets [`Outcome::Abstained`].
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
            let records = self.score_open(&name, &open_items, should_stop)?;
            let [low, high] = self.range(&name);
            for (i, record) in open.into_iter().zip(records) {
                audited[i] = match record.outcome {
                    Outcome::Scored(score) => Outcome::Scored((score - low) / (high - low)),
                    unscored @ (Outcome::Abstained(_) | Outcome::Failed(_)) => unscored,
                };
            }
        }
        Ok(audited)
    }

    /// Whether the config names audit tools.
    pub fn has_audit(&self) -> bool {
        !self.config.audit.is_empty()
    }

    /// Restores the assignments (tools with their weights) that an earlier process made for these examples, and opens
    /// the tools.
    pub fn restore(&mut self, assigned: Vec<(&Example, Assignment)>) -> Result<(), RewardError> {
        for (example, assignment) in assigned {
            for chosen in &assignment.tools {
                self.open(&chosen.tool)?;
            }
            self.assigned.insert(assignment_key(example), assignment);
        }
        Ok(())
    }

    /// Stops using a tool. The examples that the tool is assigned to get new tools when their replies are next scored.
    pub fn suspend(&mut self, tool: &str) {
        self.suspended.insert(tool.to_owned());
        self.forget_choices();
        self.assigned.retain(|_, assignment| assignment.tools.iter().all(|t| t.tool != tool));
    }

    /// The opened tool of this name. It is opened on the first call.
    pub fn open(&mut self, name: &str) -> Result<&Tool, RewardError> {
        if !self.tools.contains_key(name) {
            let tool = self.library.open(name, &self.context)?;
            self.tools.insert(name.to_owned(), Arc::new(tool));
        }
        Ok(&self.tools[name])
    }

    /// Opens a tool for its admission checks, as if it had not passed them; see [`Tool::for_admission`].
    pub fn for_admission(&self, name: &str) -> Result<Tool, RewardError> {
        Ok(self.library.open(name, &self.context)?.for_admission())
    }

    /// Adds a new tool to the library. `home` is the path that the tool's folder will have.
    pub fn add_tool(&mut self, tool: &NewTool, home: &Path) -> Result<(), RewardError> {
        self.forget_choices();
        self.library.add_tool(tool, home)
    }

    /// Sets the admission report of a tool. A tool that is already open is opened again when it is next needed.
    pub fn set_admission(&mut self, tool: &str, admission: Admission) {
        self.library.set_admission(tool, admission);
        self.forget_choices();
        self.tools.remove(tool);
    }

    /// Reads the task labels in the library's folder anew.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub(crate) fn read_task_labels(&mut self, folder: &Path) -> Result<(), RewardError> {
        self.library.read_task_labels(folder)
    }

    /// Removes from the library what was measured on examples of all tasks but these.
    pub(crate) fn keep_evidence(&mut self, tasks: &BTreeSet<&str>) {
        self.library.keep_evidence(tasks);
    }

    /// Records in the library what was measured of a tool on the examples of a task.
    pub fn set_evidence(&mut self, task: &str, tool: &str, evidence: ToolEvidence) {
        self.library.set_evidence(task, tool, evidence);
    }

    /// Scores replies, each with its example, with one tool and through the score cache.
    pub fn score_with(&mut self, tool: &str, items: &[(&Example, &Completion)]) -> Result<Vec<Outcome>, RewardError> {
        Ok(self.records_with(tool, items)?.into_iter().map(|record| record.outcome).collect())
    }

    /// Scores like [`Self::score_with`], and also says why each score is as it is.
    pub fn records_with(
        &mut self,
        tool: &str,
        items: &[(&Example, &Completion)],
    ) -> Result<Vec<ScoreRecord>, RewardError> {
        self.open(tool)?;
        self.score_open(tool, items, &|| false)
    }

    /// Scores replies with a tool that is open, through the score cache. While it scores, the run's [`Activity`] shows
    /// the tool.
    fn score_open(
        &self,
        tool: &str,
        items: &[(&Example, &Completion)],
        should_stop: ShouldStop,
    ) -> Result<Vec<ScoreRecord>, RewardError> {
        let _scoring = self.activity.tool(tool, items.len());
        score_cached(&self.tools[tool], self.store.as_deref(), items, should_stop)
    }

    /// Scores each reply with the tools of its example. Every tool scores all of its replies of the batch in one call.
    pub fn score(&mut self, items: &[(&Example, &Completion)]) -> Result<Vec<Scores>, RewardError> {
        self.score_until(items, &|| false)
    }

    /// Scores like [`Self::score`] until `should_stop` returns true. Replies that a tool has not started to score by
    /// then get [`Failure::Late`] from it.
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
                pending.push(ToolScore::new(name, chosen.weight, outcome));
            }
            scores.push(Scores { tools: pending });
        }
        for share in self.score_shares(items, shares, should_stop)? {
            for (slot, record) in share.slots.into_iter().zip(share.records) {
                let score = &mut scores[slot.item].tools[slot.tool];
                (score.outcome, score.reason) = (record.outcome, record.reason);
            }
        }
        for ((example, _), scores) in items.iter().zip(&mut scores) {
            let assigned = &assignments[&std::ptr::from_ref::<Example>(example)];
            settle(assigned, &|tool| self.range(tool), scores);
        }
        Ok(scores)
    }

    /// Lets every tool score its share of the batch. The tools run at the same time, so that one that hangs does not
    /// delay the others.
    fn score_shares(
        &self,
        items: &[(&Example, &Completion)],
        shares: Shares,
        should_stop: ShouldStop,
    ) -> Result<Vec<FilledShare>, RewardError> {
        let score_share = |name: &str, slots: &[ScoreSlot]| {
            let share: Vec<_> = slots.iter().map(|slot| items[slot.item]).collect();
            self.score_open(name, &share, should_stop)
        };
        let score_share = &score_share;
        if shares.len() == 1 {
            let only = shares.into_iter().map(|(name, slots)| {
                let records = score_share(&name, &slots)?;
                Ok(FilledShare { slots, records })
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
                let records = if let Ok(records) = thread.join() {
                    records?
                } else {
                    let outcome = Outcome::Failed(Failure::Crash("the tool panicked".into()));
                    vec![ScoreRecord::free(outcome); slots.len()]
                };
                Ok(FilledShare { slots, records })
            });
            ended.collect()
        })
    }

    /// The lowest and the highest score of a tool; 0 and 1 when the library does not hold the tool.
    fn range(&self, tool: &str) -> [f64; 2] {
        self.library.card(tool).map_or([0.0, 1.0], |card| card.range)
    }
}

/// Makes of what the tools of a reply gave the scores that count: gates and vetoes have ruled, and tools that abstained
/// are left out. `range` gives the lowest and the highest score of a tool.
fn settle(assigned: &[WeightedTool], range: &dyn Fn(&str) -> [f64; 2], scores: &mut Scores) {
    apply_rulings(assigned, range, scores);
    drop_abstentions(assigned, scores);
}

/// Applies the decisions of an assignment's gates and vetoes to the scores of its other tools, the terms of the sum.
fn apply_rulings(assigned: &[WeightedTool], range: &dyn Fn(&str) -> [f64; 2], scores: &mut Scores) {
    if assigned.iter().all(|t| t.combine.is_term()) {
        return;
    }
    let outcomes = scores.tools.iter().map(|score| &score.outcome);
    let ruling = Ruling::of(assigned.iter().zip(outcomes).map(|(t, o)| (t.combine, t.least(range(&t.tool)), o)));
    for (term, score) in assigned.iter().zip(&mut scores.tools).filter(|(t, _)| t.combine.is_term()) {
        let Outcome::Scored(given) = score.outcome else { continue };
        let ruled = ruling.apply(given, range(&term.tool), score.weight);
        if ruled.total_cmp(&given).is_ne() {
            let why = score.reason.as_ref().map_or("", Reason::as_str);
            score.reason = Reason::new(&format!("{ruling}: it gave {given}\n{why}"));
            score.outcome = Outcome::Scored(ruled);
        }
    }
}

/// Removes the outcomes of tools that abstained. Those of terms of the weighted sum are removed only if another term
/// judges the example.
///
/// A tool abstains because of the example, never because of the reply, so it is removed from all replies to the example
/// alike.
fn drop_abstentions(assigned: &[WeightedTool], scores: &mut Scores) {
    let abstains = |score: &ToolScore| matches!(score.outcome, Outcome::Abstained(_));
    let is_judged = assigned.iter().zip(&scores.tools).any(|(t, score)| t.combine.is_term() && !abstains(score));
    let tools = assigned.iter().zip(std::mem::take(&mut scores.tools));
    let kept = tools.filter(|(t, score)| !abstains(score) || (t.combine.is_term() && !is_judged));
    scores.tools = kept.map(|(_, score)| score).collect();
}

/// The key under which the assignment of an example is stored: the domain, then id, prompt and reference. The id alone
/// is not enough, because it is unique only within its file.
fn assignment_key(example: &Example) -> String {
    format!("{}\0{}\0{}\0{:?}", domain(example), example.id, example.prompt(), example.reference)
}
