//! Calls a user's reward function with the replies of each group, and decides what its results mean.

use std::path::Path;
use std::sync::Arc;

use rlar_data::{Completion, Example};
use rlar_sandbox::{
    ConfinedFunction, FunctionSource, GroupCall, GroupResult, GroupVerdict, ReplyResult, SandboxError, ShouldStop,
    UnconfinedFunction,
};
use serde_json::{Map, Value, json};

use crate::tool::card::{ToolCard, ToolKind};
use crate::tool::python::run_state::FunctionRun;
use crate::tool::reason::Reason;
use crate::tool::score_record::ScoreRecord;
use crate::tool::scoring::ToolContext;
use crate::{Failure, Outcome, RewardError};

/// A user's reward function, ready to score.
#[derive(Debug)]
pub struct PythonScorer {
    tool: String,
    function: LoadedFunction,
    run: Arc<FunctionRun>,
    /// Whether every reply is scored in a call of its own, and prints are dropped, as in the admission checks.
    alone: bool,
}

/// The function in the sandbox, or trusted outside it.
#[derive(Debug)]
enum LoadedFunction {
    Confined(ConfinedFunction),
    Trusted(UnconfinedFunction),
}

/// A group (replies to one example) for which the call of the function gave no results.
struct FailedGroup {
    /// Indices of the group's replies among the items to score.
    items: Vec<usize>,
    failure: Failure,
}

/// Makes an outcome of a number: a score, or the failure that the number lies outside the tool's range.
type InRange<'a> = &'a dyn Fn(f64) -> Outcome;

impl PythonScorer {
    /// Loads the function of a tool: in the sandbox, or unconfined if the card says so. `home` is the function's
    /// folder, and `texts` is a JSON object that maps the names of its files to their texts.
    pub fn open(card: &ToolCard, home: &Path, texts: &str, context: &ToolContext) -> Result<Self, RewardError> {
        let broken = |why: String| RewardError::tool(&card.name, why);
        let ToolKind::Python { function, file, requires, trusted, kwargs, .. } = &card.kind else {
            return Err(broken("is not a Python function".into()));
        };
        let files = serde_json::from_str(texts).map_err(|e| broken(format!("its files: {e}")))?;
        let (function, file_name, folder) = (function.clone(), file.clone(), home.to_owned());
        let source = FunctionSource { function, file: file_name, files, folder, kwargs: kwargs.clone() };
        let limits = context.limits;
        let loaded = if *trusted {
            UnconfinedFunction::start(source, limits.wall).map(LoadedFunction::Trusted)
        } else {
            let sandbox = context.sandbox.clone().and_then(|s| s.with_packages(requires, &context.packages));
            let confined = sandbox.and_then(|sandbox| ConfinedFunction::start(&sandbox, source, limits));
            confined.map(LoadedFunction::Confined)
        };
        let function = loaded.map_err(|error| match error {
            SandboxError::Load(why) => {
                let hint = package_hint(&why, *trusted);
                broken(if why.contains(file) { why + &hint } else { format!("{file}: {why}{hint}") })
            }
            other => broken(other.to_string()),
        })?;
        let printed = match &function {
            LoadedFunction::Confined(function) => function.printed(),
            LoadedFunction::Trusted(function) => function.printed(),
        };
        context.functions.keep(&card.name, None, printed);
        Ok(Self { tool: card.name.clone(), function, run: Arc::clone(&context.functions), alone: false })
    }

    /// The function as it is during its admission checks: every reply gets a call of its own, so that a failure names
    /// the reply.
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Scores replies, each with its example; the records are in the order of `items`. All replies to one example go to
    /// the function in one call.
    ///
    /// If a call fails, its replies are tried one by one. Those that fail alone have failed, and the others go to the
    /// function again in one call. `lowest` is the score of a reply that fails although the example's reference, scored
    /// in its place, does not fail; with `None`, every failure stays a failure.
    pub fn score(
        &self,
        items: &[(&Example, &Completion)],
        lowest: Option<f64>,
        in_range: InRange,
        should_stop: ShouldStop,
    ) -> Result<Vec<ScoreRecord>, SandboxError> {
        let late = ScoreRecord::free(Outcome::Failed(Failure::Late));
        let mut records = vec![late; items.len()];
        let groups = if self.alone { (0..items.len()).map(|i| vec![i]).collect() } else { groups(items) };
        let failed = self.score_groups(items, groups, &mut records, in_range, should_stop)?;
        let (single, several): (Vec<FailedGroup>, Vec<FailedGroup>) =
            failed.into_iter().partition(|group| group.items.len() == 1);
        let mut culprits: Vec<usize> = single.into_iter().flat_map(|group| group.items).collect();
        culprits.extend(self.isolate(items, several, &mut records, in_range, should_stop)?);
        if let (Some(lowest), LoadedFunction::Confined(_)) = (lowest, &self.function) {
            self.attribute(items, &culprits, lowest, &mut records, should_stop)?;
        }
        Ok(records)
    }

    /// Makes one call per group, and writes the results into `records`. A group is a list of indices of `items`.
    /// Returns the groups without results, whose records hold the failure.
    fn score_groups(
        &self,
        items: &[(&Example, &Completion)],
        groups: Vec<Vec<usize>>,
        records: &mut [ScoreRecord],
        in_range: InRange,
        should_stop: ShouldStop,
    ) -> Result<Vec<FailedGroup>, SandboxError> {
        let calls: Vec<GroupCall> = groups.iter().map(|group| self.group_call(items, group)).collect();
        let results = self.call(&calls, should_stop)?;
        let mut failed = Vec::new();
        for (group, result) in groups.into_iter().zip(results) {
            let GroupResult { verdict, printed, prints, wall } = result;
            if !self.alone {
                self.run.keep(&self.tool, group.first().map(|i| items[*i].0.id.as_str()), &printed);
            }
            let seconds = wall.as_secs_f64() / group.len().max(1) as f64;
            let outcomes = match verdict {
                GroupVerdict::Replies(results) => self.outcomes(&results, in_range),
                other => {
                    let failure = self.failure(other);
                    if failure != Failure::Late {
                        failed.push(FailedGroup { items: group.clone(), failure: failure.clone() });
                    }
                    vec![Outcome::Failed(failure); group.len()]
                }
            };
            let shared = if group.len() > 1 { format!("printed for the group: {printed}") } else { printed.clone() };
            let shared = Reason::new(&shared).filter(|_| !printed.trim().is_empty() && prints.is_empty());
            for (i, (item, outcome)) in group.into_iter().zip(outcomes).enumerate() {
                let reason = prints.get(i).map_or_else(|| shared.clone(), |own| Reason::new(own));
                records[item] = ScoreRecord { reason, seconds, cacheable: false, ..ScoreRecord::free(outcome) };
            }
        }
        Ok(failed)
    }

    /// Finds the replies that make the calls of groups fail, and scores the others without them. Returns the replies
    /// that fail alone.
    fn isolate(
        &self,
        items: &[(&Example, &Completion)],
        failed: Vec<FailedGroup>,
        records: &mut [ScoreRecord],
        in_range: InRange,
        should_stop: ShouldStop,
    ) -> Result<Vec<usize>, SandboxError> {
        let mut culprits = Vec::new();
        let mut remaining = Vec::new();
        for FailedGroup { items: group, failure } in failed {
            let alone = group.iter().map(|i| vec![*i]).collect();
            let own = self.score_groups(items, alone, records, in_range, should_stop)?;
            let own: Vec<usize> = own.into_iter().flat_map(|g| g.items).collect();
            let others: Vec<usize> = group.into_iter().filter(|i| !own.contains(i)).collect();
            for other in &others {
                // What a reply scores alone does not count: scores may depend on the other replies of the group.
                records[*other].outcome = Outcome::Failed(failure.clone());
            }
            if !own.is_empty() && !others.is_empty() {
                remaining.push(others);
            }
            culprits.extend(own);
        }
        self.score_groups(items, remaining, records, in_range, should_stop)?;
        Ok(culprits)
    }

    /// Gives the score `lowest` to those replies that failed alone (`culprits`, as indices of `items`) although the
    /// example's reference, or an empty reply if there is none, gets a score in their place.
    fn attribute(
        &self,
        items: &[(&Example, &Completion)],
        culprits: &[usize],
        lowest: f64,
        records: &mut [ScoreRecord],
        should_stop: ShouldStop,
    ) -> Result<(), SandboxError> {
        let controls: Vec<GroupCall> = culprits
            .iter()
            .map(|i| {
                let example = items[*i].0;
                let control = Completion::whole(example.reference.clone().unwrap_or_default());
                self.group_call(&[(example, &control)], &[0])
            })
            .collect();
        for (i, control) in culprits.iter().zip(self.call(&controls, should_stop)?) {
            let is_scored = |results: &[ReplyResult]| matches!(results, [ReplyResult::Score(_)]);
            if matches!(&control.verdict, GroupVerdict::Replies(results) if is_scored(results)) {
                records[*i].blame_reply(lowest);
            }
        }
        Ok(())
    }

    fn call(&self, calls: &[GroupCall], should_stop: ShouldStop) -> Result<Vec<GroupResult>, SandboxError> {
        match &self.function {
            LoadedFunction::Confined(function) => function.call_until(calls, should_stop),
            LoadedFunction::Trusted(function) => function.call_until(calls, should_stop),
        }
    }

    fn group_call(&self, items: &[(&Example, &Completion)], group: &[usize]) -> GroupCall {
        let Some((example, _)) = group.first().map(|i| items[*i]) else { return GroupCall::default() };
        let state = json!({ "global_step": self.run.step(), "max_steps": self.run.steps() });
        let replies: Vec<&Completion> = group.iter().map(|i| items[*i].1).collect();
        GroupCall {
            prompt: example.prompt().to_owned(),
            messages: serde_json::to_value(&example.messages).unwrap_or_default(),
            conversational: example.conversational,
            reference: example.reference.clone().unwrap_or_default(),
            columns: row_columns(example),
            ids: replies.iter().map(|reply| token_ids(reply)).collect(),
            replies: replies.iter().map(|reply| reply.scored_text().to_owned()).collect(),
            state: state.as_object().cloned().unwrap_or_default(),
        }
    }

    /// The outcomes of the replies of a group whose call returned `results`. If the function returned `None` for all of
    /// them, they are abstentions; if only for some, these are failures.
    fn outcomes(&self, results: &[ReplyResult], in_range: InRange) -> Vec<Outcome> {
        if results.iter().all(|result| *result == ReplyResult::Nothing) {
            let why = "the function returned None for every reply to this prompt";
            return vec![Outcome::Abstained(why.into()); results.len()];
        }
        let outcome = |result: &ReplyResult| match result {
            ReplyResult::Score(score) => in_range(*score),
            ReplyResult::Nothing => {
                let why = format!("`{}` returned None, but scores for other replies to the same prompt", self.tool);
                Outcome::Failed(Failure::Reply(why))
            }
            ReplyResult::Wrong(what) => Outcome::Failed(Failure::Reply(what.clone())),
        };
        results.iter().map(outcome).collect()
    }

    /// The failure to record for every reply of a group whose call ended without results.
    fn failure(&self, verdict: GroupVerdict) -> Failure {
        match verdict {
            GroupVerdict::Wrong(what) | GroupVerdict::Unrepeatable(what) => Failure::Reply(what),
            GroupVerdict::Raised(error) => {
                let hint = package_hint(&error, matches!(self.function, LoadedFunction::Trusted(_)));
                Failure::Exception(error + &hint)
            }
            GroupVerdict::TimeLimit(limit) => Failure::Limit(format!("no answer within {limit:?}")),
            GroupVerdict::MemoryLimit => Failure::Limit("memory".into()),
            GroupVerdict::OutputLimit => Failure::Limit("output".into()),
            GroupVerdict::Crashed(how) => Failure::Crash(how),
            GroupVerdict::Replies(_) => Failure::Crash("what its process sent is not a valid result".into()),
            GroupVerdict::Skipped => Failure::Late,
        }
    }
}

/// Groups items by example: for every example the indices of its items, in the order in which the examples first
/// appear.
fn groups(items: &[(&Example, &Completion)]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for (i, (example, _)) in items.iter().enumerate() {
        let group = *known.entry(std::ptr::from_ref::<Example>(example)).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(i);
    }
    groups
}

/// The columns of an example's row by their names. The reference also has the name `answer`, under which data may hold
/// it.
fn row_columns(example: &Example) -> Map<String, Value> {
    let mut columns = example.columns.clone();
    let known = [
        ("id", Some(&example.id)),
        ("domain", example.domain.as_ref()),
        ("reference", example.reference.as_ref()),
        ("answer", example.reference.as_ref()),
        ("demonstration", example.demonstration.as_ref()),
    ];
    for (name, value) in known {
        if let (Some(value), false) = (value, columns.contains_key(name)) {
            columns.insert(name.into(), json!(value));
        }
    }
    if !columns.contains_key("prompt") {
        columns.insert("prompt".into(), json!(example.prompt()));
    }
    columns
}

/// The token ids of a reply. A reply that no model sampled has none; the bytes of its text stand for them.
fn token_ids(reply: &Completion) -> Vec<u32> {
    if reply.tokens.is_empty() { reply.scored_text().bytes().map(u32::from).collect() } else { reply.tokens.clone() }
}

/// Advice to append to the message of an `error` about a Python module that cannot be imported; empty for other errors.
/// `trusted` says whether the function runs outside the sandbox.
fn package_hint(error: &str, trusted: bool) -> String {
    let Some((_, rest)) = error.split_once("No module named '") else { return String::new() };
    let name = rest.split(['\'', '.']).next().unwrap_or_default();
    if trusted {
        return format!(
            "; install `{name}` for the Python that runs trusted functions (`RLAR_PYTHON`, or else `python3`)"
        );
    }
    format!(
        "; if `{name}` is a package, name it in `packages` (on the command line: `--package {name}`), or let the function \
         run unconfined with `trusted: true`; a module of your own must be in the function's folder and be named in an \
         `import` statement"
    )
}
