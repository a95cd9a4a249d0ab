//! The court: no tool is trusted before it has shown that it runs, always says the same, answers every text, ranks good
//! replies above bad ones, and pays for none of the usual hacks.

use std::time::{Duration, Instant};

use rlar_data::{Completion, Example, Needs, Preference, read_examples};

use crate::admission::probes::{ProbeCase, ProbeKind, cases, paired, probe_cases};
use crate::admission::ranking::judge_ranking;
use crate::admission::report::{Admission, Check, Status};
use crate::tool::card::{ToolCard, ToolKind, ToolRole};
use crate::tool::scoring::Tool;
use crate::{Failure, Outcome, RewardError};

/// How much a tool is asked, and how much is forgiven, by its kind.
struct Effort {
    /// Most examples, and most pairs.
    examples: usize,
    /// Longest time for a reply, on average.
    patience: Duration,
    /// Replies that it is asked about a second time.
    again: usize,
    /// How far a second score may lie from the first, as a part of the range.
    apart: f64,
    /// What part of the second scores may lie further away, and what part of all calls may fail.
    forgiven: f64,
}

impl Effort {
    fn of(tool: &Tool) -> Self {
        let exact =
            Self { examples: 12, patience: Duration::from_millis(100), again: usize::MAX, apart: 0.0, forgiven: 0.0 };
        if tool.has(ToolKind::Judge) {
            // It costs money, and no server is the same for ever.
            Self { examples: 3, patience: Duration::from_mins(1), again: 24, apart: 0.1, forgiven: 0.05 }
        } else if tool.has(ToolKind::Model) {
            // Which replies share a batch may change the last digits.
            Self { patience: Duration::from_secs(20), apart: 1e-4, ..exact }
        } else {
            exact
        }
    }
}

/// Replies after which a slow tool is sent away.
const FIRST_CASES: u32 = 4;
/// Tries of a tool that seems slow.
const TRIES: usize = 4;
pub const FAST: &str = "is fast enough";
pub const SAME: &str = "says the same again, in any order";

/// The examples of rlar's own on which tools are examined: those of a card's tasks, or all where it names none of them.
pub fn probes_for(card: &ToolCard) -> Result<Vec<Example>, RewardError> {
    let text = include_str!("../../probes/probes.jsonl");
    let all = read_examples("probes.jsonl".as_ref(), text, Needs::Prompt)
        .map_err(|e| RewardError::tool(&card.name, e.to_string()))?;
    let task = |e: &Example| e.columns.get("task").and_then(|t| t.as_str()).unwrap_or_default().to_owned();
    let own: Vec<Example> = all.iter().filter(|e| card.tasks.contains(&task(e))).cloned().collect();
    Ok(if own.is_empty() { all } else { own })
}

/// Examines a tool on examples with references or demonstrations, on pairs of a better and a worse reply, and on the made
/// cases of its card. Examples without either show what a tool does, not whether that is good: it is admitted as
/// provisional, then.
pub fn examine(tool: &Tool, examples: &[Example], pairs: &[Preference]) -> Result<Admission, RewardError> {
    let card = tool.card();
    let effort = Effort::of(tool);
    let cases = cases(card);
    let pairs = paired(&pairs[..pairs.len().min(effort.examples)]);
    let mut probes = Vec::new();
    let mut say = |name: &str, passed: bool, evidence: String| {
        probes.push(Check { name: name.to_owned(), passed, evidence });
    };
    let judged = judged(tool, examples, effort.examples)?;
    let constraint = card.role == ToolRole::Constraint;
    let blind: Vec<&Example> = if judged.is_empty() && pairs.is_empty() && cases.is_empty() {
        examples.iter().take(effort.examples).collect()
    } else {
        Vec::new()
    };
    let used: &[&Example] = if constraint { &[] } else { &[&judged[..], &blind].concat() };
    let literals = tool.literals();
    let probe_cases = probe_cases(used, &pairs, &cases, judged.first().copied(), card, &literals);
    let counts = |kind: ProbeKind| probe_cases.iter().filter(|a| a.kind == kind).count();
    let provisional = !constraint && !blind.is_empty() && !card.needs_reference;
    let (enough, needed) = if constraint {
        let both = counts(ProbeKind::Good) > 1 && counts(ProbeKind::Bad) > 1;
        (both, "two made cases (`cases` in its card) for and two against")
    } else {
        (used.len() + pairs.len() > 2, "three examples that it judges, or three pairs")
    };
    let had = format!("{} examples, {} pairs, {} cases; needed: {needed}", used.len(), pairs.len(), cases.len());
    say("has something to be examined on", enough, had);
    let report = |status: Status, probes: Vec<Check>| Admission {
        identity: tool.identity().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        llm: tool.llm_name(),
        status,
        examples: used.len() + pairs.len() + cases.len(),
        checks: probes,
    };

    // A tool that takes its time is not asked everything.
    let some = &probe_cases[..probe_cases.len().min(FIRST_CASES as usize)];
    let clock = Instant::now();
    let first = score(tool, some)?;
    let each = quickest(tool, some, clock.elapsed(), effort.patience)?;
    let unanswered = |o: &Outcome| matches!(o, Outcome::Failed(Failure::Unanswered(_)));
    if let Some(Outcome::Failed(failure)) = first.first().filter(|_| first.iter().all(unanswered)) {
        return Err(RewardError::tool(&card.name, format!("cannot be examined: it {failure}")));
    }
    if each >= effort.patience {
        say(FAST, false, slow(each, &effort));
        return Ok(report(Status::Refused, probes));
    }
    let clock = Instant::now();
    let outcomes = score(tool, &probe_cases)?;
    let took = clock.elapsed();
    let failed = |kinds: &dyn Fn(ProbeKind) -> bool, failures: &dyn Fn(&Failure) -> bool| {
        let of = probe_cases.iter().zip(&outcomes).filter(|(a, _)| kinds(a.kind));
        let failed: Vec<String> = of
            .clone()
            .filter_map(|(a, o)| match o {
                Outcome::Failed(f) if failures(f) => Some(format!("{f} for {:?}", short(&a.reply.text))),
                _ => None,
            })
            .collect();
        let most = effort.forgiven * of.clone().count() as f64;
        let why = failed.first().map_or_else(String::new, |f| format!("{} of {}: {f}", failed.len(), of.count()));
        (failed.len() as f64 <= most, why)
    };
    let plain = |kind: ProbeKind| matches!(kind, ProbeKind::Good | ProbeKind::Bad);
    let no_score = |f: &Failure| matches!(f, Failure::Reply(_));
    let (runs, why) = failed(&plain, &|f| !no_score(f));
    say("runs", runs, why);
    let (in_range, why) = failed(&|_| true, &no_score);
    say("gives finite scores in its range", in_range, why);
    let (total, why) = failed(&|kind| !plain(kind), &|f| !no_score(f));
    say("has a score for every text", total, why);
    let (same, why) = repeats(tool, &effort, &probe_cases, &outcomes)?;
    say(SAME, same, why);
    let mut each = took / u32::try_from(probe_cases.len().max(1)).unwrap_or(u32::MAX);
    if each >= effort.patience {
        each = quickest(tool, some, effort.patience * FIRST_CASES, effort.patience)?;
    }
    let is_fast = each < effort.patience;
    // The time itself is not kept: the same tool has the same report.
    say(FAST, is_fast, if is_fast { String::new() } else { slow(each, &effort) });

    let scored: Vec<(&ProbeCase, f64)> =
        probe_cases.iter().zip(&outcomes).filter_map(|(a, o)| Some((a, o.score()?))).collect();
    if constraint {
        let wrong = wrong_cases(card, &scored);
        // An abstention is no answer to a case.
        let answered = scored.iter().filter(|(a, _)| plain(a.kind)).count();
        let silent = format!("{answered} of {} cases have a score", cases.len());
        let all = answered == cases.len() && enough;
        say("is right on its cases", wrong.is_empty() && all, if all { wrong.join("; ") } else { silent });
    } else if provisional {
        let first = scored.first().map(|(_, s)| *s);
        let apart = scored.iter().any(|(_, s)| Some(*s) != first);
        say("tells replies apart", apart, if apart { String::new() } else { format!("{first:?} for all of them") });
    } else {
        judge_ranking(card.role, &scored, &mut say);
    }
    let status = match (probes.iter().all(|p| p.passed), provisional) {
        (true, true) => Status::Provisional,
        (true, false) => Status::Admitted,
        (false, _) => Status::Refused,
    };
    Ok(report(status, probes))
}

fn slow(each: Duration, effort: &Effort) -> String {
    format!("{each:?} per reply, more than {:?}", effort.patience)
}

/// Time for a reply: the best of a few tries, as the machine may have been busy with something else.
fn quickest(tool: &Tool, some: &[ProbeCase], first: Duration, patience: Duration) -> Result<Duration, RewardError> {
    let mut best = first;
    for _ in 1..TRIES {
        if best / FIRST_CASES < patience {
            break;
        }
        let clock = Instant::now();
        score(tool, some)?;
        best = best.min(clock.elapsed());
    }
    Ok(best / FIRST_CASES)
}

/// Whether a tool gives the same scores when it is asked again, the last reply first.
fn repeats(
    tool: &Tool,
    effort: &Effort,
    probe_cases: &[ProbeCase],
    first: &[Outcome],
) -> Result<(bool, String), RewardError> {
    // Of many replies, some from all over them.
    let stride = probe_cases.len().div_ceil(effort.again.min(probe_cases.len()).max(1)).max(1);
    let places: Vec<usize> = (0..probe_cases.len()).rev().step_by(stride).collect();
    let again = score(tool, &places.iter().map(|i| &probe_cases[*i]).collect::<Vec<_>>())?;
    let [low, high] = tool.card().range;
    let same = |a: &Outcome, b: &Outcome| match (a.score(), b.score()) {
        (Some(a), Some(b)) => (a - b).abs() <= effort.apart * (high - low),
        _ => a == b,
    };
    let differs = || places.iter().zip(&again).filter(|(i, b)| !same(&first[**i], b));
    let shown = differs()
        .next_back()
        .map(|(i, b)| format!("{:?}, then {b:?} for {:?}", first[*i], short(&probe_cases[*i].reply.text)));
    let few = differs().count() as f64 <= effort.forgiven * places.len() as f64;
    Ok((few, if few { String::new() } else { shown.unwrap_or_default() }))
}

/// Examples that a tool has something to say about, the first of them.
fn judged<'e>(tool: &Tool, examples: &'e [Example], most: usize) -> Result<Vec<&'e Example>, RewardError> {
    let mut found = Vec::new();
    for example in examples {
        let Some(good) = example.demonstration.as_ref().or(example.reference.as_ref()) else { continue };
        let outcome = tool.score(&[(example, &Completion::whole(good.clone()))])?;
        if !matches!(outcome.first(), Some(Outcome::Abstained(_)) | None) {
            found.push(example);
        }
        if found.len() == most {
            break;
        }
    }
    Ok(found)
}

fn score<'a>(
    tool: &Tool,
    probe_cases: impl IntoIterator<Item = &'a (impl std::borrow::Borrow<ProbeCase<'a>> + 'a)>,
) -> Result<Vec<Outcome>, RewardError> {
    let items: Vec<(&Example, &Completion)> =
        probe_cases.into_iter().map(|a| (a.borrow().example, &a.borrow().reply)).collect();
    tool.score(&items)
}

fn short(text: &str) -> String {
    if text.chars().count() > 40 { text.chars().take(40).chain(['…']).collect() } else { text.to_owned() }
}

/// Made cases on whose other side of the middle a constraint's score lies.
fn wrong_cases(card: &ToolCard, scored: &[(&ProbeCase, f64)]) -> Vec<String> {
    let middle = f64::midpoint(card.range[0], card.range[1]);
    let wrong = scored.iter().filter(|(a, s)| match a.kind {
        ProbeKind::Good => *s < middle,
        ProbeKind::Bad => *s >= middle,
        ProbeKind::Hack(_) | ProbeKind::Literal(_) | ProbeKind::Backdoor(_) | ProbeKind::Odd => false,
    });
    wrong.map(|(a, s)| format!("{s} for {:?}", short(&a.reply.text))).collect()
}
