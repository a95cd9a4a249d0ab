//! Scoring apart from the orchestrator: a [`ToolPlan`] holds the opened tools of an example, so that several threads can
//! score batches at once while the orchestrator plans the next ones.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rlar_data::{Completion, Example};
use rlar_sandbox::ShouldStop;

use super::{Orchestrator, settle};
use crate::agents::builtin::Assignment;
use crate::agents::tasks::domain;
use crate::cache::cached_score::score_cached;
use crate::cache::store::Store;
use crate::tool::composite::{CombineAs, WeightedTool};
use crate::tool::score_record::ScoreRecord;
use crate::tool::scores::{Scores, ToolScore};
use crate::tool::scoring::Tool;
use crate::{Failure, Outcome, RewardError};

/// The tools of one example, opened. Clones share the tools.
#[derive(Clone, Debug)]
pub struct ToolPlan {
    /// The tools with their weights, who chose them and why. Without tools, the reason why none fits.
    pub assignment: Assignment,
    /// The opened tools, in the order of the assignment.
    tools: Vec<Arc<Tool>>,
}

/// A reply with its example and the tools that are to score it.
#[derive(Clone, Copy, Debug)]
pub struct PlannedItem<'a> {
    /// The tools of the example.
    pub plan: &'a ToolPlan,
    /// The prompt that the reply answers. Replies to one prompt form a group if they share this reference.
    pub example: &'a Example,
    /// The reply.
    pub completion: &'a Completion,
}

/// What one tool gave for a reply, with its cost.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedScore {
    /// The outcome, after gates and vetoes have ruled.
    pub score: ToolScore,
    /// Content hash of the tool.
    pub identity: String,
    /// The lowest and the highest score of the tool.
    pub range: [f64; 2],
    /// Seconds that scoring took; the mean where the tool scored many replies in one call, and 0 for a cached score.
    pub seconds: f64,
    /// Number of tokens of a language model that scoring used.
    pub tokens: u64,
    /// Whether the score came from the score cache, or from an equal reply in the same batch.
    pub cached: bool,
}

impl Orchestrator {
    /// Chooses and opens the tools of an example. Unlike [`Self::assign`], it keeps nothing of the example, so that
    /// memory stays bounded however many examples come.
    ///
    /// # Errors
    ///
    /// When no tool fits, or a chosen tool may not score or cannot be opened.
    pub fn plan(&mut self, example: &Example) -> Result<ToolPlan, RewardError> {
        let assignment = self.assignment_of(example)?;
        self.opened(assignment)
    }

    /// The plan of an example with these tools instead of chosen ones; `by` and `why` say who chose them.
    ///
    /// # Errors
    ///
    /// When the library lacks one of the tools, or one may not score, is suspended, or cannot be opened.
    pub fn plan_with(
        &mut self,
        example: &Example,
        tools: &[WeightedTool],
        by: &str,
        why: &str,
    ) -> Result<ToolPlan, RewardError> {
        let mut members = tools.to_vec();
        for member in &mut members {
            if self.is_suspended(&member.tool) {
                return Err(RewardError::tool(&member.tool, "is suspended, because it failed too often"));
            }
            self.open_admitted(&member.tool)?;
            if let Some(why) = member.problem(self.range(&member.tool)) {
                return Err(RewardError::tool(&member.tool, why));
            }
            // Gates and vetoes are not terms of the weighted sum.
            if member.combine != CombineAs::Term {
                member.weight = 0.0;
            }
        }
        self.opened(Assignment { example: example.id.clone(), tools: members, by: by.into(), why: why.into() })
    }

    fn opened(&mut self, assignment: Assignment) -> Result<ToolPlan, RewardError> {
        let mut tools = Vec::with_capacity(assignment.tools.len());
        for member in &assignment.tools {
            self.open(&member.tool)?;
            tools.extend(self.tools.get(&member.tool).cloned());
        }
        Ok(ToolPlan { assignment, tools })
    }

    /// The suspended tool that would score an example if it were in use; `None` if suspension makes no difference.
    pub fn suspended_for(&self, example: &Example) -> Option<String> {
        let set = self.by_domain.get(domain(example)).map_or(&self.config.defaults[..], |a| &a.tools);
        if let Some(member) = set.iter().find(|member| self.is_suspended(&member.tool)) {
            return Some(member.tool.clone());
        }
        let is_flat = |name: &str| self.library.is_flat(name, example.kind());
        let cards = self.library.cards().filter(|card| self.may_score(&card.name));
        let fits = self.agent.assign(example, cards, &is_flat).ok()?;
        fits.tools.into_iter().map(|member| member.tool).find(|tool| self.is_suspended(tool))
    }

    /// The suspended tool that the config wants to score every prompt, this example among them; `None` if all of them are
    /// in use. Without it, the reward would be another one than the config asks for.
    pub fn suspended_always(&self, example: &Example) -> Option<&str> {
        let needs_reference = |tool: &str| self.library.card(tool).is_some_and(|card| card.needs_reference);
        let always = self.config.always.iter().map(|member| member.tool.as_str());
        always.filter(|tool| self.is_suspended(tool)).find(|tool| example.reference.is_some() || !needs_reference(tool))
    }

    /// Whether [`Self::suspend`] took a tool out of use.
    pub fn is_suspended(&self, tool: &str) -> bool {
        self.suspended.contains(tool)
    }

    /// The names of the tools that [`Self::suspend`] took out of use.
    pub fn suspended(&self) -> impl Iterator<Item = &str> {
        self.suspended.iter().map(String::as_str)
    }

    /// The store of cached scores, to be shared with [`score_planned`]; `None` when the orchestrator has none.
    pub fn shared_store(&self) -> Option<Arc<Store>> {
        self.store.clone()
    }
}

/// The place of one tool's outcome in a batch.
#[derive(Clone, Copy)]
struct PlannedSlot {
    item: usize,
    tool: usize,
}

/// What one tool has to score of a batch.
struct PlannedShare {
    tool: Arc<Tool>,
    slots: Vec<PlannedSlot>,
}

/// Scores replies with the tools of their plans, through the store if there is one. All tools run at the same time, each
/// with all its replies in one call. A tool that cannot run, or that panics, has failed on its replies; the other tools'
/// scores stand. Replies that a tool has not started to score when `should_stop` returns true get [`Failure::Late`].
///
/// For each item: one score per tool, as in [`Scores`].
pub fn score_planned(items: &[PlannedItem], store: Option<&Store>, should_stop: ShouldStop) -> Vec<Vec<PlannedScore>> {
    let shares = shares(items);
    let run = |share: &PlannedShare| run_share(share, items, store, should_stop);
    let run = &run;
    let records: Vec<Vec<ScoreRecord>> = if let [only] = &shares[..] {
        vec![joined(catch_unwind(AssertUnwindSafe(|| run(only))), only)]
    } else {
        std::thread::scope(|scope| {
            let started: Vec<_> = shares.iter().map(|share| (share, scope.spawn(move || run(share)))).collect();
            started.into_iter().map(|(share, thread)| joined(thread.join(), share)).collect()
        })
    };
    let mut filled: Vec<Vec<Option<PlannedScore>>> =
        items.iter().map(|item| item.plan.tools.iter().map(|_| None).collect()).collect();
    for (share, records) in shares.iter().zip(records) {
        for (slot, record) in share.slots.iter().zip(records) {
            let weight = items[slot.item].plan.assignment.tools[slot.tool].weight;
            filled[slot.item][slot.tool] = Some(planned_score(&share.tool, weight, record));
        }
    }
    items.iter().zip(filled).map(|(item, scores)| settled(item, scores.into_iter().flatten().collect())).collect()
}

/// The work of each tool of a batch. Tools of the same name from different libraries are different tools.
fn shares(items: &[PlannedItem]) -> Vec<PlannedShare> {
    let mut shares: Vec<PlannedShare> = Vec::new();
    let mut known: BTreeMap<*const Tool, usize> = BTreeMap::new();
    for (item, planned) in items.iter().enumerate() {
        for (tool, opened) in planned.plan.tools.iter().enumerate() {
            let slot = PlannedSlot { item, tool };
            match known.entry(Arc::as_ptr(opened)) {
                Entry::Occupied(share) => shares[*share.get()].slots.push(slot),
                Entry::Vacant(new) => {
                    new.insert(shares.len());
                    shares.push(PlannedShare { tool: Arc::clone(opened), slots: vec![slot] });
                }
            }
        }
    }
    shares
}

fn run_share(
    share: &PlannedShare,
    items: &[PlannedItem],
    store: Option<&Store>,
    should_stop: ShouldStop,
) -> Vec<ScoreRecord> {
    let replies: Vec<(&Example, &Completion)> =
        share.slots.iter().map(|slot| (items[slot.item].example, items[slot.item].completion)).collect();
    score_cached(&share.tool, store, &replies, should_stop).unwrap_or_else(|error| {
        let outcome = Outcome::Failed(Failure::Crash(error.to_string()));
        vec![ScoreRecord::free(outcome); replies.len()]
    })
}

fn joined(records: std::thread::Result<Vec<ScoreRecord>>, share: &PlannedShare) -> Vec<ScoreRecord> {
    records.unwrap_or_else(|_| {
        let outcome = Outcome::Failed(Failure::Crash("the tool panicked".into()));
        vec![ScoreRecord::free(outcome); share.slots.len()]
    })
}

fn planned_score(tool: &Tool, weight: f64, record: ScoreRecord) -> PlannedScore {
    let ScoreRecord { outcome, reason, seconds, tokens, cached, .. } = record;
    PlannedScore {
        score: ToolScore { reason, ..ToolScore::new(tool.card().name.as_str().into(), weight, outcome) },
        identity: tool.identity().to_owned(),
        range: tool.card().range,
        seconds,
        tokens,
        cached,
    }
}

/// The scores of an item after its gates and vetoes have ruled, without those of tools that abstained.
fn settled(item: &PlannedItem, mut given: Vec<PlannedScore>) -> Vec<PlannedScore> {
    let range = |name: &str| given.iter().find(|g| *g.score.tool == *name).map_or([0.0, 1.0], |g| g.range);
    let mut scores = Scores { tools: given.iter().map(|g| g.score.clone()).collect() };
    settle(&item.plan.assignment.tools, &range, &mut scores);
    let mut kept = Vec::with_capacity(scores.tools.len());
    for score in scores.tools {
        if let Some(at) = given.iter().position(|g| g.score.tool == score.tool) {
            kept.push(PlannedScore { score, ..given.remove(at) });
        }
    }
    kept
}
