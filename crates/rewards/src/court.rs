//! The court: no tool is trusted before it has shown that it runs, always says the same, answers every text, ranks good
//! replies above bad ones, and pays for none of the usual hacks.

use std::time::{Duration, Instant};

use rlar_data::{Completion, Example, Needs, read_examples};

use crate::admission::{Admission, Probe, Status};
use crate::asks::{Ask, Kind, asks, cases};
use crate::card::{Role, ToolCard};
use crate::library::Tool;
use crate::ranking::judge_ranking;
use crate::{Failure, Outcome, RewardError};

/// Most examples that a tool is examined on.
const MOST_EXAMPLES: usize = 12;
/// Longest time that a tool may take for a reply, on average.
const PATIENCE: Duration = Duration::from_millis(100);
/// Replies after which a slow tool is sent away.
const TRIAL: usize = 4;
const FAST: &str = "is fast enough";

/// The examples of rlar's own on which tools are examined: those of a card's tasks, or all where it names none of them.
pub fn probes_for(card: &ToolCard) -> Result<Vec<Example>, RewardError> {
    let text = include_str!("../probes/probes.jsonl");
    let all = read_examples("probes.jsonl".as_ref(), text, Needs::Prompt)
        .map_err(|e| RewardError::tool(&card.name, e.to_string()))?;
    let task = |e: &Example| e.columns.get("task").and_then(|t| t.as_str()).unwrap_or_default().to_owned();
    let own: Vec<Example> = all.iter().filter(|e| card.tasks.contains(&task(e))).cloned().collect();
    Ok(if own.is_empty() { all } else { own })
}

/// Examines a tool on examples with references or demonstrations, and on the made cases of its card.
pub fn examine(tool: &Tool, identity: String, examples: &[Example]) -> Result<Admission, RewardError> {
    let card = tool.card();
    let cases = cases(card);
    let mut probes = Vec::new();
    let mut say = |name: &str, passed: bool, evidence: String| {
        probes.push(Probe { name: name.to_owned(), passed, evidence });
    };
    let judged = judged(tool, examples)?;
    let constraint = card.role == Role::Constraint;
    let used: &[&Example] = if constraint { &[] } else { &judged };
    let asks = asks(used, &cases, judged.first().copied(), card);
    let counts = |kind: Kind| asks.iter().filter(|a| a.kind == kind).count();
    let enough = if constraint { counts(Kind::Good) > 1 && counts(Kind::Bad) > 1 } else { used.len() > 2 };
    let needed = if constraint {
        "two made cases (`cases` in its card) for and two against"
    } else {
        "three examples that it judges"
    };
    say(
        "has something to be examined on",
        enough,
        format!("{} examples, {} cases; needed: {needed}", used.len(), cases.len()),
    );

    // A tool that takes its time is not asked everything.
    let clock = Instant::now();
    score(tool, &asks[..asks.len().min(TRIAL)])?;
    let each = clock.elapsed() / TRIAL as u32;
    if each >= PATIENCE {
        say(FAST, false, format!("{each:?} per reply, more than {PATIENCE:?}"));
        return Ok(Admission { identity, version: version(), status: Status::Refused, examples: used.len(), probes });
    }
    let clock = Instant::now();
    let outcomes = score(tool, &asks)?;
    let took = clock.elapsed();
    let again = score(tool, &asks.iter().rev().collect::<Vec<_>>())?;
    let failed = |kinds: &dyn Fn(Kind) -> bool, failures: &dyn Fn(&Failure) -> bool| {
        let of = asks.iter().zip(&outcomes).filter(|(a, _)| kinds(a.kind));
        let failed: Vec<String> = of
            .clone()
            .filter_map(|(a, o)| match o {
                Outcome::Failed(f) if failures(f) => Some(format!("{f} for {:?}", short(&a.reply.text))),
                _ => None,
            })
            .collect();
        (
            failed.is_empty(),
            failed.first().map_or_else(String::new, |f| format!("{} of {}: {f}", failed.len(), of.count())),
        )
    };
    let plain = |kind: Kind| matches!(kind, Kind::Good | Kind::Bad);
    let no_score = |f: &Failure| matches!(f, Failure::Reply(_));
    let (runs, why) = failed(&plain, &|f| !no_score(f));
    say("runs", runs, why);
    let (in_range, why) = failed(&|_| true, &no_score);
    say("gives finite scores in its range", in_range, why);
    let (total, why) = failed(&|kind| !plain(kind), &|f| !no_score(f));
    say("has a score for every text", total, why);
    let differs = outcomes.iter().zip(again.iter().rev()).zip(&asks).find(|((a, b), _)| a != b);
    let differs = differs.map(|((a, b), ask)| format!("{a:?}, then {b:?} for {:?}", short(&ask.reply.text)));
    say("says the same again, in any order", differs.is_none(), differs.unwrap_or_default());
    let each = took / u32::try_from(asks.len().max(1)).unwrap_or(u32::MAX);
    // The time itself is not kept: the same tool has the same report.
    let slow = if each < PATIENCE { String::new() } else { format!("{each:?} per reply, more than {PATIENCE:?}") };
    say(FAST, each < PATIENCE, slow);

    let scored: Vec<(&Ask, f64)> = asks.iter().zip(&outcomes).filter_map(|(a, o)| Some((a, o.score()?))).collect();
    if constraint {
        let wrong = wrong_cases(card, &scored);
        // An abstention is no answer to a case.
        let answered = scored.iter().filter(|(a, _)| plain(a.kind)).count();
        let silent = format!("{answered} of {} cases have a score", cases.len());
        let all = answered == cases.len() && enough;
        say("is right on its cases", wrong.is_empty() && all, if all { wrong.join("; ") } else { silent });
    } else {
        judge_ranking(card.role, &scored, &mut say);
    }
    let status = if probes.iter().all(|p| p.passed) { Status::Admitted } else { Status::Refused };
    Ok(Admission { identity, version: version(), status, examples: used.len() + cases.len(), probes })
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// Examples that a tool has something to say about, the first of them.
fn judged<'e>(tool: &Tool, examples: &'e [Example]) -> Result<Vec<&'e Example>, RewardError> {
    let mut found = Vec::new();
    for example in examples {
        let Some(good) = example.demonstration.as_ref().or(example.reference.as_ref()) else { continue };
        let outcome = tool.score(&[(example, &Completion::whole(good.clone()))])?;
        if !matches!(outcome.first(), Some(Outcome::Abstained(_)) | None) {
            found.push(example);
        }
        if found.len() == MOST_EXAMPLES {
            break;
        }
    }
    Ok(found)
}

fn score<'a>(
    tool: &Tool,
    asks: impl IntoIterator<Item = &'a (impl std::borrow::Borrow<Ask<'a>> + 'a)>,
) -> Result<Vec<Outcome>, RewardError> {
    let items: Vec<(&Example, &Completion)> =
        asks.into_iter().map(|a| (a.borrow().example, &a.borrow().reply)).collect();
    tool.score(&items)
}

fn short(text: &str) -> String {
    if text.chars().count() > 40 { text.chars().take(40).chain(['…']).collect() } else { text.to_owned() }
}

/// Made cases on whose other side of the middle a constraint's score lies.
fn wrong_cases(card: &ToolCard, scored: &[(&Ask, f64)]) -> Vec<String> {
    let middle = f64::midpoint(card.range[0], card.range[1]);
    let wrong = scored.iter().filter(|(a, s)| match a.kind {
        Kind::Good => *s < middle,
        Kind::Bad => *s >= middle,
        Kind::Hack(_) | Kind::Odd => false,
    });
    wrong.map(|(a, s)| format!("{s} for {:?}", short(&a.reply.text))).collect()
}
