//! The threads that score: each takes a batch from the queue, scores it, and sends the answers.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use rlar_rewards::{PlannedItem, PlannedScore, domain, score_planned};

use crate::answer::{scored, unscored};
use crate::drift::SeenReply;
use crate::intake::{PromptRow, ReadyItem};
use crate::metrics::{Label, labels};
use crate::queue::ScoringJob;
use crate::served_library::ItemPlan;
use crate::server::ServeState;
use crate::wire::{ItemAnswer, ItemStatus, PartOutcome};

/// Number of items up to which requests are scored together.
const BATCH: usize = 256;

/// Starts the threads. They end when the queue is closed and empty.
pub fn start(state: &ServeState) -> std::io::Result<Vec<JoinHandle<()>>> {
    let worker = |number: usize| {
        let state = Arc::clone(state);
        std::thread::Builder::new().name(format!("scoring-{number}")).spawn(move || work(&state))
    };
    (0..state.options.workers.max(1)).map(worker).collect()
}

fn work(state: &ServeState) {
    while let Some(jobs) = state.queue.take(BATCH) {
        let began = Instant::now();
        let count = jobs.iter().map(|job| job.items.len()).sum();
        // A panic costs the answers of this batch, which are then `failed`, and not the thread.
        if catch_unwind(AssertUnwindSafe(|| score_jobs(state, jobs))).is_err() {
            tracing::error!("scoring a batch of {count} items panicked; they have failed");
        }
        state.queue.done(count, began.elapsed());
    }
}

fn score_jobs(state: &ServeState, jobs: Vec<ScoringJob>) {
    let now = Instant::now();
    let (late, jobs): (Vec<ScoringJob>, Vec<ScoringJob>) = jobs
        .into_iter()
        // Nobody waits for the answers of these.
        .filter(|job| !job.reply.is_closed())
        .partition(|job| job.deadline <= now);
    for job in late {
        let why = "it waited in the queue until its deadline";
        let answers = job.items.into_iter().map(|item| unscored(item.id, ItemStatus::Failed, why)).collect();
        // A client that has gone has no use for them.
        let _ = job.reply.send(answers);
    }
    let Some(first) = jobs.first() else { return };
    let library = Arc::clone(&first.library);
    let items: Vec<&ReadyItem> = jobs.iter().flat_map(|job| &job.items).collect();
    let plans = library.plan(items.iter().copied());
    let planned: Vec<PlannedItem> = items
        .iter()
        .zip(&plans)
        .filter_map(|(item, plan)| match plan {
            ItemPlan::Tools { plan, .. } => {
                Some(PlannedItem { plan, example: &item.prompt.example, completion: &item.completion })
            }
            ItemPlan::Nothing { .. } => None,
        })
        .collect();
    let deadline = jobs.iter().map(|job| job.deadline).max().unwrap_or(now);
    let should_stop = || Instant::now() >= deadline;
    let given = score_planned(&planned, library.store.as_deref(), &should_stop);
    drop(planned);
    for suspended in library.count_failures(given.iter().flatten(), state.options.failure_limit) {
        state.alerts.suspended(&suspended, &library.hash, &state.metrics);
    }
    count_scores(state, &given);
    let answers = answers(&items, plans, given, state);
    drop(items);
    let mut answers = answers.into_iter();
    for job in jobs {
        let own: Vec<ItemAnswer> = answers.by_ref().take(job.items.len()).collect();
        let failed = own.iter().filter(|answer| answer.status == ItemStatus::Failed).count();
        tracing::debug!(request = job.request, items = own.len(), failed, "scored");
        let _ = job.reply.send(own);
    }
}

/// The answers to items, in order. The monitor sees the scores on the way.
fn answers(
    items: &[&ReadyItem],
    plans: Vec<ItemPlan>,
    given: Vec<Vec<PlannedScore>>,
    state: &ServeState,
) -> Vec<ItemAnswer> {
    let mut given = given.into_iter();
    let mut groups: BTreeMap<*const PromptRow, SeenGroup> = BTreeMap::new();
    let mut answers = Vec::with_capacity(items.len());
    for (item, plan) in items.iter().zip(plans) {
        let id = item.id.clone();
        let scores = match &plan {
            ItemPlan::Tools { .. } => given.next().unwrap_or_default(),
            ItemPlan::Nothing { .. } => Vec::new(),
        };
        let group = groups.entry(Arc::as_ptr(&item.prompt));
        let group = group.or_insert_with(|| SeenGroup { prompt: &item.prompt, replies: Vec::new() });
        group.replies.push(SeenReply::of(&scores));
        answers.push(match plan {
            ItemPlan::Tools { chosen, .. } => scored(id, scores, chosen),
            ItemPlan::Nothing { status, why } => unscored(id, status, why),
        });
    }
    for group in groups.into_values() {
        if let Some(alert) = state.drift.observe(domain(&group.prompt.example), group.replies) {
            state.alerts.drift(&alert, &state.metrics);
        }
    }
    answers
}

/// The replies to one prompt, for the monitor.
struct SeenGroup<'i> {
    prompt: &'i PromptRow,
    replies: Vec<SeenReply>,
}

/// Counts the scores of tools by outcome, their times, and the hits of the cache.
fn count_scores(state: &ServeState, given: &[Vec<PlannedScore>]) {
    let mut outcomes: BTreeMap<String, f64> = BTreeMap::new();
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut tokens: BTreeMap<&str, f64> = BTreeMap::new();
    let (mut hits, mut misses) = (0.0, 0.0);
    for score in given.iter().flatten() {
        let tool = &*score.score.tool;
        let outcome = match &score.score.outcome {
            rlar_rewards::Outcome::Scored(_) => PartOutcome::Scored,
            rlar_rewards::Outcome::Abstained(_) => PartOutcome::Abstained,
            rlar_rewards::Outcome::Failed(_) => PartOutcome::Failed,
        };
        let series = labels(&[Label { name: "tool", value: tool }, Label { name: "outcome", value: outcome.as_str() }]);
        *outcomes.entry(series).or_default() += 1.0;
        if score.cached {
            hits += 1.0;
        } else {
            misses += 1.0;
            times.entry(tool).or_default().push(score.seconds);
        }
        if score.tokens > 0 {
            *tokens.entry(tool).or_default() += score.tokens as f64;
        }
    }
    for (tool, count) in tokens {
        let series = labels(&[Label { name: "tool", value: tool }]);
        state.metrics.count("rlar_tool_tokens_total", "Tokens of language models that tools used.", series, count);
    }
    for (series, count) in outcomes {
        state.metrics.count("rlar_tool_scores_total", "Scores of tools by outcome.", series, count);
    }
    for (tool, seconds) in times {
        let series = labels(&[Label { name: "tool", value: tool }]);
        state.metrics.times("rlar_tool_seconds", "Seconds that a tool needed for a reply.", series, &seconds);
    }
    for (result, count) in [("hit", hits), ("miss", misses)] {
        let series = labels(&[Label { name: "result", value: result }]);
        state.metrics.count("rlar_cache_total", "Scores that came from the cache, and that did not.", series, count);
    }
}
