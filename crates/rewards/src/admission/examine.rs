//! The admission checks of a tool, which it must pass before it may score: the tool runs, gives the same scores again,
//! has a score for every text, ranks good replies above bad ones, does not reward the usual attempts to cheat (hacks),
//! and is fast enough.

use std::time::{Duration, Instant};

use rlar_data::{Completion, Example, Needs, Preference, read_examples};

use crate::admission::counterexamples::{Counterexample, counterexamples};
use crate::admission::probes::{ProbeCase, ProbeKind, ProbeSources, case_examples, pair_examples};
use crate::admission::ranking::{ScoredCase, rank};
use crate::admission::report::{Admission, Check, Status};
use crate::tool::card::{ToolCard, ToolRole};
use crate::tool::scoring::Tool;
use crate::{Failure, Outcome, RewardError};

/// The extent of the admission checks of a tool, and the deviations that they tolerate. These depend on the kind of the
/// tool.
struct ProbeLimits {
    /// Largest number of examples, and largest number of preference pairs, from which probe cases are made.
    examples: usize,
    /// Limit on the mean time for the score of one reply: a tool that needs this long or longer is refused.
    time: Duration,
    /// Largest number of probe cases that are scored a second time, to compare the scores; 0 if a second score may differ.
    repeats: usize,
    /// Largest difference between the first and the second score of a probe case that still counts as equal, as a
    /// fraction of the tool's score range.
    difference: f64,
    /// Largest share, from 0 to 1, of second scores that may differ by more than `difference`, and of calls of the tool
    /// that may fail.
    tolerated: f64,
}

impl ProbeLimits {
    fn of(tool: &Tool) -> Self {
        let exact = Self {
            examples: 12,
            time: Duration::from_millis(100),
            repeats: usize::MAX,
            difference: 0.0,
            tolerated: 0.0,
        };
        if tool.card().is_trusted() {
            // It may ask a server, and need not give the same answer again.
            Self { examples: 3, time: Duration::MAX, repeats: 0, tolerated: 0.05, ..exact }
        } else if tool.card().is_python() {
            // `rewards.deadline` limits the time of a user's function.
            Self { time: Duration::MAX, ..exact }
        } else if tool.has_judge() {
            // Calls cost money, and a server does not always give the same answer.
            Self { examples: 3, time: Duration::from_mins(1), repeats: 24, difference: 0.1, tolerated: 0.05 }
        } else if tool.has_model() {
            // The composition of a batch may change the last digits.
            Self { time: Duration::from_secs(20), difference: 1e-4, ..exact }
        } else {
            exact
        }
    }
}

/// Number of probe cases that are scored and timed first, so that a slow tool is refused before it gets all cases.
const FIRST_CASES: u32 = 4;
/// Largest number of times that the first probe cases are timed to measure a tool's speed; the shortest time counts.
const TIMINGS: usize = 4;
/// The name of the admission check of a tool's speed.
pub const FAST: &str = "is fast enough";
/// The name of the admission check that a tool gives a reply the same score again, in whatever order replies come.
pub const SAME: &str = "says the same again, in any order";

/// The examples for admission checks that come with rlar (`probes.jsonl`): those for the tasks that a tool card names,
/// or all of them when there are none for these tasks.
pub fn probes_for(card: &ToolCard) -> Result<Vec<Example>, RewardError> {
    let text = include_str!("../../probes/probes.jsonl");
    let all = read_examples("probes.jsonl".as_ref(), text.as_bytes(), Needs::Prompt)
        .map_err(|e| RewardError::tool(&card.name, e.to_string()))?;
    let task = |e: &Example| e.columns.get("task").and_then(|t| t.as_str()).unwrap_or_default().to_owned();
    let of_tasks: Vec<Example> = all.iter().filter(|e| card.tasks.contains(&task(e))).cloned().collect();
    Ok(if of_tasks.is_empty() { all } else { of_tasks })
}

/// Runs the admission checks of a tool: on examples, on preference pairs, and on the cases of its card (replies that
/// the card marks as good or bad).
///
/// Examples with neither reference nor demonstration do not show whether a tool ranks good replies above bad ones. A
/// tool that is examined on such examples alone gets at best the status [`Status::Provisional`].
///
/// # Errors
///
/// When the tool cannot be run, or when the language model that it asks answers none of the first probe cases.
pub fn examine(tool: &Tool, examples: &[Example], pairs: &[Preference]) -> Result<Admission, RewardError> {
    examine_closely(tool, examples, pairs).map(|examination| examination.admission)
}

/// The admission checks of a tool, with replies that the tool scored wrongly.
#[derive(Clone, Debug, PartialEq)]
pub struct Examination {
    /// The report of the checks.
    pub admission: Admission,
    /// Replies that a refused tool scored wrongly or could not score, one for each fault. Empty when the tool was not
    /// refused, or was refused for its speed before it scored all probe cases.
    pub counterexamples: Vec<Counterexample>,
}

/// Runs the admission checks of a tool like [`examine`], and keeps replies that the tool scored wrongly.
///
/// # Errors
///
/// Those of [`examine`].
pub fn examine_closely(tool: &Tool, examples: &[Example], pairs: &[Preference]) -> Result<Examination, RewardError> {
    let limits = ProbeLimits::of(tool);
    let material = Material::gather(tool, examples, pairs, &limits)?;
    let mut cases = material.sources.probe_cases(tool.card(), &tool.literals());
    if tool.card().is_trusted() && !tool.card().is_ranked() {
        // Calls may take seconds, so only the necessary ones are made.
        cases.retain(|case| case.kind.is_of_known_worth() || case.reply.text.is_empty());
    }
    let enough = material.check_amount(tool.card(), &cases);
    let has_enough = enough.passed;
    let mut checks = vec![enough];

    let first_cases = &cases[..cases.len().min(FIRST_CASES as usize)];
    let seconds_each = time_first_cases(tool, first_cases, &limits)?;
    if seconds_each >= limits.time {
        checks.push(check_speed(seconds_each, &limits));
        let admission = material.report(tool, Status::Refused, checks);
        return Ok(Examination { admission, counterexamples: Vec::new() });
    }
    let start = Instant::now();
    let outcomes = score(tool, &cases)?;
    let took = start.elapsed();
    checks.extend(check_failures(&cases, &outcomes, limits.tolerated));
    if limits.repeats > 0 {
        checks.push(check_repeats(tool, &limits, &cases, &outcomes)?);
    }
    let mut seconds_each = took / u32::try_from(cases.len().max(1)).unwrap_or(u32::MAX);
    if seconds_each >= limits.time {
        seconds_each = fastest(tool, first_cases, limits.time * FIRST_CASES, limits.time)?;
    }
    checks.push(check_speed(seconds_each, &limits));

    let scored: Vec<ScoredCase> = cases
        .iter()
        .zip(&outcomes)
        .filter_map(|(case, outcome)| Some(ScoredCase { case, score: outcome.score()? }))
        .collect();
    let (mut auc, mut half_right_auc) = (None, None);
    if !tool.card().is_ranked() {
        // Nothing is known about what its scores mean.
    } else if material.is_constraint {
        checks.push(check_constraint(tool.card(), &scored, material.sources.case_examples.len(), has_enough));
    } else if material.is_provisional {
        checks.push(check_distinction(&scored));
    } else {
        let ranking = rank(tool.card().role, &scored);
        checks.extend(ranking.checks);
        (auc, half_right_auc) = (ranking.auc, ranking.half_right_auc);
    }
    let status = match (checks.iter().all(|check| check.passed), material.is_provisional) {
        (true, true) => Status::Provisional,
        (true, false) => Status::Admitted,
        (false, _) => Status::Refused,
    };
    let is_refused = status == Status::Refused;
    let counterexamples = if is_refused { counterexamples(&cases, &outcomes, &scored) } else { Vec::new() };
    let admission = Admission { auc, half_right_auc, ..material.report(tool, status, checks) };
    Ok(Examination { admission, counterexamples })
}

/// The sources of a tool's probe cases, and which admission checks they allow.
struct Material<'e> {
    sources: ProbeSources<'e>,
    is_constraint: bool,
    /// Whether the examples have no replies of known worth, so that nothing shows whether the tool ranks good replies
    /// above bad ones.
    is_provisional: bool,
}

impl<'e> Material<'e> {
    fn gather(
        tool: &Tool,
        examples: &'e [Example],
        pairs: &'e [Preference],
        limits: &ProbeLimits,
    ) -> Result<Self, RewardError> {
        let card = tool.card();
        let is_constraint = card.is_ranked() && card.role == ToolRole::Constraint;
        let pairs = pair_examples(&pairs[..pairs.len().min(limits.examples)]);
        let case_examples = case_examples(card);
        let judged = if card.is_ranked() {
            judged_examples(tool, examples, limits.examples)?
        } else {
            examples.iter().take(limits.examples).collect()
        };
        // Without any reply of known worth, the tool is examined on prompts alone.
        let is_blind = card.is_ranked() && judged.is_empty() && pairs.is_empty() && case_examples.is_empty();
        let prompts_alone: Vec<&Example> =
            if is_blind { examples.iter().take(limits.examples).collect() } else { Vec::new() };
        let is_provisional = !is_constraint && !prompts_alone.is_empty() && !card.needs_reference;
        let first_judged = judged.first().copied();
        // A constraint is examined only on pairs and on the cases of its card.
        let used = if is_constraint { Vec::new() } else { judged.into_iter().chain(prompts_alone).collect() };
        let sources = ProbeSources { examples: used, pairs, case_examples, judged: first_judged };
        Ok(Self { sources, is_constraint, is_provisional })
    }

    /// The check that there are enough examples, pairs and card cases to examine the tool on.
    fn check_amount(&self, card: &ToolCard, cases: &[ProbeCase]) -> Check {
        let count = |kind: ProbeKind| cases.iter().filter(|case| case.kind == kind).count();
        let ProbeSources { examples, pairs, case_examples, .. } = &self.sources;
        let (enough, needed) = if !card.is_ranked() {
            (!examples.is_empty() || !pairs.is_empty(), "an example or a pair")
        } else if card.role == ToolRole::Constraint {
            let both = count(ProbeKind::Good) > 1 && count(ProbeKind::Bad) > 1;
            (both, "two good and two bad replies (`cases` of its card, or pairs)")
        } else {
            (examples.len() + pairs.len() > 2, "three examples that it judges, or three pairs")
        };
        let (e, p, c) = (examples.len(), pairs.len(), case_examples.len());
        let evidence = format!("{e} examples, {p} pairs, {c} cases; needed: {needed}");
        Check::new("has something to be examined on", enough, evidence)
    }

    /// The report of checks without AUCs.
    fn report(&self, tool: &Tool, status: Status, checks: Vec<Check>) -> Admission {
        let ProbeSources { examples, pairs, case_examples, .. } = &self.sources;
        Admission {
            identity: tool.identity().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            llm: tool.llm_name(),
            status,
            examples: examples.len() + pairs.len() + case_examples.len(),
            auc: None,
            half_right_auc: None,
            checks,
        }
    }
}

/// The first examples, at most `limit`, for which the tool does not abstain from scoring the good reply (the
/// demonstration, otherwise the reference).
fn judged_examples<'e>(tool: &Tool, examples: &'e [Example], limit: usize) -> Result<Vec<&'e Example>, RewardError> {
    let mut judged = Vec::new();
    for example in examples {
        let Some(good) = example.demonstration.as_ref().or(example.reference.as_ref()) else { continue };
        let outcome = tool.score(&[(example, &Completion::whole(good.clone()))])?;
        if !matches!(outcome.first(), Some(Outcome::Abstained(_)) | None) {
            judged.push(example);
        }
        if judged.len() == limit {
            break;
        }
    }
    Ok(judged)
}

fn score<'c>(tool: &Tool, cases: impl IntoIterator<Item = &'c ProbeCase<'c>>) -> Result<Vec<Outcome>, RewardError> {
    let items: Vec<(&Example, &Completion)> = cases.into_iter().map(|case| (case.example, &case.reply)).collect();
    tool.score(&items)
}

/// The mean time that the tool needs for the score of one of the first cases; an error when the tool's language model
/// answers none of them.
fn time_first_cases(tool: &Tool, cases: &[ProbeCase], limits: &ProbeLimits) -> Result<Duration, RewardError> {
    let start = Instant::now();
    let outcomes = score(tool, cases)?;
    let each = fastest(tool, cases, start.elapsed(), limits.time)?;
    let is_unanswered = |o: &Outcome| matches!(o, Outcome::Failed(Failure::Unanswered(_)));
    match outcomes.first() {
        Some(Outcome::Failed(failure)) if outcomes.iter().all(is_unanswered) => {
            Err(RewardError::tool(&tool.card().name, format!("cannot be examined: it {failure}")))
        }
        _ => Ok(each),
    }
}

/// The mean time that the tool needs for the score of one of the first cases. While this is at least `limit`, the cases
/// are timed again, because the machine may have been busy, and the shortest time counts. `first` is the time of the
/// first timing, for all these cases together.
fn fastest(tool: &Tool, cases: &[ProbeCase], first: Duration, limit: Duration) -> Result<Duration, RewardError> {
    let mut best = first;
    for _ in 1..TIMINGS {
        if best / FIRST_CASES < limit {
            break;
        }
        let start = Instant::now();
        score(tool, cases)?;
        best = best.min(start.elapsed());
    }
    Ok(best / FIRST_CASES)
}

fn check_speed(each: Duration, limits: &ProbeLimits) -> Check {
    let is_fast = each < limits.time;
    // A time that is short enough is left out of the report, so that the same tool always has the same report.
    let evidence = if is_fast { String::new() } else { format!("{each:?} per reply, more than {:?}", limits.time) };
    Check::new(FAST, is_fast, evidence)
}

/// Three checks: that the tool does not fail on replies of known worth, that its scores are in the range of its card,
/// and that it does not fail on any other text. In each check, a share `tolerated` of the calls may fail.
fn check_failures(cases: &[ProbeCase], outcomes: &[Outcome], tolerated: f64) -> [Check; 3] {
    let is_no_score = |failure: &Failure| matches!(failure, Failure::Reply(_));
    let check = |name: &str, includes: &dyn Fn(ProbeKind) -> bool, counts: &dyn Fn(&Failure) -> bool| {
        let included: Vec<(&ProbeCase, &Outcome)> =
            cases.iter().zip(outcomes).filter(|(case, _)| includes(case.kind)).collect();
        let failed: Vec<String> = included
            .iter()
            .filter_map(|(case, outcome)| match outcome {
                Outcome::Failed(f) if counts(f) => Some(format!("{f} for {}", shown(case))),
                _ => None,
            })
            .collect();
        let evidence =
            failed.first().map_or_else(String::new, |f| format!("{} of {}: {f}", failed.len(), included.len()));
        Check::new(name, failed.len() as f64 <= tolerated * included.len() as f64, evidence)
    };
    [
        check("runs", &ProbeKind::is_of_known_worth, &|f| !is_no_score(f)),
        check("gives finite scores in its range", &|_| true, &is_no_score),
        check("has a score for every text", &|kind| !kind.is_of_known_worth(), &|f| !is_no_score(f)),
    ]
}

/// The check that the tool gives the same scores again when the cases come in the opposite order.
fn check_repeats(
    tool: &Tool,
    limits: &ProbeLimits,
    cases: &[ProbeCase],
    first: &[Outcome],
) -> Result<Check, RewardError> {
    // When there are more cases than may be repeated, the repeated ones are spread evenly over them.
    let stride = cases.len().div_ceil(limits.repeats.min(cases.len()).max(1)).max(1);
    let indices: Vec<usize> = (0..cases.len()).rev().step_by(stride).collect();
    let second = score(tool, indices.iter().map(|i| &cases[*i]))?;
    let [low, high] = tool.card().range;
    let is_same = |a: &Outcome, b: &Outcome| match (a.score(), b.score()) {
        (Some(a), Some(b)) => (a - b).abs() <= limits.difference * (high - low),
        _ => a == b,
    };
    let different: Vec<(usize, &Outcome)> =
        indices.iter().copied().zip(&second).filter(|(i, again)| !is_same(&first[*i], again)).collect();
    let is_repeatable = different.len() as f64 <= limits.tolerated * indices.len() as f64;
    let evidence = match different.last() {
        Some((i, again)) if !is_repeatable => {
            format!("{:?}, then {again:?} for {}", first[*i], shown(&cases[*i]))
        }
        _ => String::new(),
    };
    Ok(Check::new(SAME, is_repeatable, evidence))
}

/// The check that a constraint scores every good case (of its card or of a pair) at least at the middle of its score
/// range, and every bad case below.
fn check_constraint(card: &ToolCard, scored: &[ScoredCase], cases: usize, has_enough: bool) -> Check {
    let wrong = wrong_cases(card, scored);
    // A case from which the tool abstains is not decided.
    let decided = scored.iter().filter(|s| s.case.kind.is_of_known_worth()).count();
    let all = decided == cases && has_enough;
    let evidence = if all { wrong.join("; ") } else { format!("{decided} of {cases} cases have a score") };
    Check::new("is right on its cases", wrong.is_empty() && all, evidence)
}

/// Descriptions of the cases that a constraint scores wrongly: good ones below the middle of its score range, bad ones
/// at it or above.
fn wrong_cases(card: &ToolCard, scored: &[ScoredCase]) -> Vec<String> {
    let middle = f64::midpoint(card.range[0], card.range[1]);
    let wrong = scored.iter().filter(|s| match s.case.kind {
        ProbeKind::Good => s.score < middle,
        ProbeKind::Bad => s.score >= middle,
        _ => false,
    });
    wrong.map(|s| format!("{} for {:?}", s.score, shortened(&s.case.reply.text))).collect()
}

/// The check that a tool does not give every reply the same score. Without replies of known worth, nothing more can be
/// checked.
fn check_distinction(scored: &[ScoredCase]) -> Check {
    let first = scored.first().map(|s| s.score);
    let differs = scored.iter().any(|s| Some(s.score) != first);
    let evidence = if differs { String::new() } else { format!("{first:?} for all of them") };
    Check::new("tells replies apart", differs, evidence)
}

/// A probe case in the words of a report: its reply, cut to 40 characters, and the id of its example.
fn shown(case: &ProbeCase) -> String {
    let reply = shortened(&case.reply.text);
    // Examples that are made of pairs and card cases have ids that no file has.
    match case.example.id.strip_prefix('\0') {
        Some(_) => format!("{reply:?}"),
        None => format!("{reply:?}, a reply to the example `{}`", case.example.id),
    }
}

/// A text cut to its first 40 characters; `…` marks a cut.
fn shortened(text: &str) -> String {
    if text.chars().count() > 40 { text.chars().take(40).chain(['…']).collect() } else { text.to_owned() }
}
