//! Assigns tools to examples and scores batches with them.

mod choosing;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rlar_data::{Completion, Example};
use rlar_sandbox::ShouldStop;

use crate::agents::builtin::{Assignment, BuiltinAgent, Choice};
use crate::agents::tasks::domain;
use crate::cache::cached_score::tell_remembering;
use crate::cache::store::Store;
use crate::library::folder::Library;
use crate::library::new_tool::NewTool;
use crate::tool::composite::{Member, Ruling};
use crate::tool::scores::Scores;
use crate::tool::scoring::{Means, Tool};
use crate::{Admission, Failure, Outcome, RewardError};

/// Chooses, opens and runs reward tools.
#[derive(Debug)]
pub struct Orchestrator {
    library: Library,
    agent: BuiltinAgent,
    means: Means,
    /// Whether tools that the court did not admit may be chosen.
    trusting: bool,
    /// Whether an example that no tool fits is assigned none, instead of being an error.
    tolerant: bool,
    /// Tools that every example has beside those that are chosen for it.
    always: Vec<Member>,
    /// Tools that the prompts of a domain are given, whatever the agent would choose.
    given: BTreeMap<String, Assignment>,
    /// Tools that tell how far those that score can be believed.
    audit: Vec<String>,
    store: Option<Arc<Store>>,
    tools: BTreeMap<String, Tool>,
    assigned: BTreeMap<String, Assignment>,
    suspended: BTreeSet<String>,
}

impl Orchestrator {
    /// An orchestrator over a library, which chooses admitted tools only.
    pub fn new(library: Library, means: Means) -> Self {
        Self {
            library,
            agent: BuiltinAgent,
            means,
            trusting: false,
            tolerant: false,
            always: Vec::new(),
            given: BTreeMap::new(),
            audit: Vec::new(),
            store: None,
            tools: BTreeMap::new(),
            assigned: BTreeMap::new(),
            suspended: BTreeSet::new(),
        }
    }

    /// The same, which also chooses tools that the court did not admit.
    #[must_use]
    pub fn trusting(mut self, trusting: bool) -> Self {
        self.trusting = trusting;
        self
    }

    /// The same, which assigns no tool where none fits.
    #[must_use]
    pub fn tolerant(mut self, tolerant: bool) -> Self {
        self.tolerant = tolerant;
        self
    }

    /// The same with tools that tell how far those that score can be believed.
    #[must_use]
    pub fn auditing(mut self, tools: Vec<String>) -> Self {
        self.audit = tools;
        self
    }

    /// The same with tools that every example has beside those that are chosen for it.
    #[must_use]
    pub fn always(mut self, members: Vec<Member>) -> Self {
        self.always = members;
        self
    }

    /// The same with a store of scores and calls.
    #[must_use]
    pub fn remembering(mut self, store: Store) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Remembers scores and logs calls from now on, if nothing does yet.
    pub fn remember(&mut self, store: impl FnOnce() -> Store) {
        self.store.get_or_insert_with(|| Arc::new(store()));
    }

    /// The store of scores and calls.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_deref()
    }

    /// The library.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Packages of a tool that are not installed yet.
    pub fn missing_packages(&self, tool: &str) -> Result<Vec<String>, RewardError> {
        let required = self.library.card(tool).map_or(&[][..], |c| &c.requires);
        let Ok(sandbox) = &self.means.sandbox else { return Ok(Vec::new()) };
        let has = sandbox.has_packages(required, &self.means.packages);
        let has = has.map_err(|e| RewardError::tool(tool, e.to_string()))?;
        Ok(if has { Vec::new() } else { required.to_vec() })
    }

    /// Chooses the tools of an example, once, and opens them.
    pub fn assign(&mut self, example: &Example) -> Result<&Assignment, RewardError> {
        let key = key(example);
        if !self.assigned.contains_key(&key) {
            let assignment = self.choose(example)?;
            for choice in &assignment.tools {
                self.open(&choice.tool)?;
            }
            self.assigned.insert(key.clone(), assignment);
        }
        Ok(&self.assigned[&key])
    }

    /// What the first audit tool that judges each item says, as a part of its range; nothing of those that none judges, and no
    /// number of those that it failed on.
    pub fn audit(
        &mut self,
        items: &[(&Example, &Completion)],
        over: ShouldStop,
    ) -> Result<Vec<Option<Option<f64>>>, RewardError> {
        let mut said = vec![None; items.len()];
        for name in self.audit.clone() {
            let open: Vec<usize> = (0..items.len()).filter(|i| said[*i].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let asked: Vec<_> = open.iter().map(|i| items[*i]).collect();
            self.open(&name)?;
            let outcomes = tell_remembering(&self.tools[&name], self.store.as_deref(), &asked, over)?;
            let [low, high] = self.library.card(&name).map_or([0.0, 1.0], |c| c.range);
            for (i, outcome) in open.into_iter().zip(outcomes) {
                said[i] = match outcome {
                    Outcome::Scored(score) => Some(Some((score - low) / (high - low))),
                    Outcome::Abstained(_) => None,
                    Outcome::Failed(_) => Some(None),
                };
            }
        }
        Ok(said)
    }

    /// Whether anything is audited.
    pub fn audits(&self) -> bool {
        !self.audit.is_empty()
    }

    /// Takes over the assignments of an earlier process for these examples, and opens their tools.
    pub fn recall(&mut self, assigned: Vec<(&Example, Assignment)>) -> Result<(), RewardError> {
        for (example, assignment) in assigned {
            for choice in &assignment.tools {
                self.open(&choice.tool)?;
            }
            self.assigned.insert(key(example), assignment);
        }
        Ok(())
    }

    /// Uses a tool no more: its examples are assigned anew when they are next scored.
    pub fn suspend(&mut self, tool: &str) {
        self.suspended.insert(tool.to_owned());
        self.assigned.retain(|_, assignment| assignment.tools.iter().all(|c| c.tool != tool));
    }

    /// A tool by name, started where it is not yet.
    pub fn open(&mut self, name: &str) -> Result<&Tool, RewardError> {
        if !self.tools.contains_key(name) {
            let tool = self.library.open(name, &self.means)?;
            self.tools.insert(name.to_owned(), tool);
        }
        Ok(&self.tools[name])
    }

    /// A tool as the court sees it, whatever was said of it before.
    pub fn on_trial(&self, name: &str) -> Result<Tool, RewardError> {
        Ok(self.library.open(name, &self.means)?.on_trial())
    }

    /// Takes a new tool into the library; its folder is to be `home`.
    pub fn take(&mut self, tool: &NewTool, home: &Path) -> Result<(), RewardError> {
        self.library.take(tool, home)
    }

    /// Keeps what the court said of a tool, which is opened anew when it is needed.
    pub fn admit(&mut self, tool: &str, admission: Admission) {
        self.library.set_admission(tool, admission);
        self.tools.remove(tool);
    }

    /// What one tool says of completions, remembered where it can be.
    pub fn score_with(&mut self, tool: &str, items: &[(&Example, &Completion)]) -> Result<Vec<Outcome>, RewardError> {
        self.open(tool)?;
        tell_remembering(&self.tools[tool], self.store.as_deref(), items, &|| false)
    }

    /// Scores each completion with the tools of its example; every tool sees its share of the batch at once.
    pub fn score(&mut self, items: &[(&Example, &Completion)]) -> Result<Vec<Scores>, RewardError> {
        self.score_until(items, &|| false)
    }

    /// The same, until `over` says that no more outcomes are wanted: what has not begun by then has failed.
    pub fn score_until(
        &mut self,
        items: &[(&Example, &Completion)],
        over: ShouldStop,
    ) -> Result<Vec<Scores>, RewardError> {
        let mut shares: BTreeMap<Arc<str>, Vec<(usize, usize)>> = BTreeMap::new();
        let mut scores = Vec::with_capacity(items.len());
        let mut plans: BTreeMap<*const Example, Vec<Choice>> = BTreeMap::new();
        for (i, (example, _)) in items.iter().enumerate() {
            let place = std::ptr::from_ref::<Example>(example);
            let plan = match plans.entry(place) {
                Entry::Occupied(plan) => plan.into_mut(),
                Entry::Vacant(free) => free.insert(self.assign(example)?.tools.clone()),
            };
            let mut slots = Vec::new();
            for (j, choice) in plan.iter().enumerate() {
                let name = match shares.get_key_value(choice.tool.as_str()) {
                    Some((name, _)) => name.clone(),
                    None => Arc::from(choice.tool.as_str()),
                };
                shares.entry(name.clone()).or_default().push((i, j));
                slots.push((name, choice.weight, Outcome::Abstained("not asked".into())));
            }
            scores.push(Scores(slots));
        }
        for (share, outcomes) in self.ask_all(items, shares, over)? {
            for ((i, j), outcome) in share.into_iter().zip(outcomes) {
                scores[i].0[j].2 = outcome;
            }
        }
        for ((example, _), scores) in items.iter().zip(&mut scores) {
            let plan = &plans[&std::ptr::from_ref::<Example>(example)];
            self.rule(plan, scores);
            leave_out_silent(plan, scores);
        }
        Ok(scores)
    }

    /// Asks every tool for its share of the items, all tools at once: one that hangs holds up no other.
    #[allow(clippy::type_complexity)]
    fn ask_all(
        &self,
        items: &[(&Example, &Completion)],
        shares: BTreeMap<Arc<str>, Vec<(usize, usize)>>,
        over: ShouldStop,
    ) -> Result<Vec<(Vec<(usize, usize)>, Vec<Outcome>)>, RewardError> {
        let ask = |name: &str, share: &[(usize, usize)]| {
            let part: Vec<_> = share.iter().map(|(i, _)| items[*i]).collect();
            tell_remembering(&self.tools[name], self.store.as_deref(), &part, over)
        };
        let ask = &ask;
        if shares.len() == 1 {
            let one = shares.into_iter().map(|(name, share)| ask(&name, &share).map(|outcomes| (share, outcomes)));
            return one.collect();
        }
        std::thread::scope(|scope| {
            let started: Vec<_> = shares
                .into_iter()
                .map(|(name, share)| {
                    let asked = share.clone();
                    (share, scope.spawn(move || ask(&name, &asked)))
                })
                .collect();
            let ended = started.into_iter().map(|(share, thread)| {
                let outcomes = match thread.join() {
                    Ok(outcomes) => outcomes?,
                    Err(_) => vec![Outcome::Failed(Failure::Crash("the tool panicked".into())); share.len()],
                };
                Ok((share, outcomes))
            });
            ended.collect()
        })
    }

    /// Lets gates and vetoes rule over the other tools' scores.
    fn rule(&self, choices: &[Choice], scores: &mut Scores) {
        if choices.iter().all(|c| c.part.is_term()) {
            return;
        }
        let range = |c: &Choice| self.library.card(&c.tool).map_or([0.0, 1.0], |card| card.range);
        let parts = choices.iter().zip(&scores.0).map(|(c, (_, _, outcome))| {
            let [low, high] = range(c);
            (c.part, c.least.unwrap_or_else(|| f64::midpoint(low, high)), outcome)
        });
        let ruling = Ruling::of(parts);
        for (choice, (_, weight, outcome)) in choices.iter().zip(&mut scores.0).filter(|(c, _)| c.part.is_term()) {
            if let Outcome::Scored(score) = outcome {
                *score = ruling.apply(*score, range(choice), *weight);
            }
        }
    }
}

/// Leaves out tools that do not judge an example, where others do. They abstain for the example's sake, so that they are
/// left out of all of its replies alike.
fn leave_out_silent(choices: &[Choice], scores: &mut Scores) {
    let silent = |outcome: &Outcome| matches!(outcome, Outcome::Abstained(_));
    let judged = choices.iter().zip(&scores.0).any(|(c, (_, _, outcome))| c.part.is_term() && !silent(outcome));
    let kept = choices.iter().zip(std::mem::take(&mut scores.0));
    let kept = kept.filter(|(c, (_, _, outcome))| !silent(outcome) || (c.part.is_term() && !judged));
    scores.0 = kept.map(|(_, score)| score).collect();
}

/// What assignments are remembered by: the domain, then what tells an example from others, as ids are unique within a file
/// only.
fn key(example: &Example) -> String {
    format!("{}\0{}\0{}\0{:?}", domain(example), example.id, example.prompt(), example.reference)
}
