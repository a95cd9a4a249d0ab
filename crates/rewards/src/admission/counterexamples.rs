//! Counterexamples: replies that a refused tool scored wrongly, as concrete cases from which its author can mend it.

use std::fmt;

use crate::Outcome;
use crate::admission::hacks::HACKS;
use crate::admission::probes::{ProbeCase, ProbeKind};
use crate::admission::ranking::ScoredCase;

/// Largest number of hacks (attempts to cheat) among the counterexamples of a tool.
const MAX_HACKS: usize = 2;

/// A reply that a tool scored wrongly, or could not score.
#[derive(Clone, Debug, PartialEq)]
pub struct Counterexample {
    /// The prompt that the reply answers.
    pub prompt: String,
    /// The reference of the prompt's example; `None` when the example has none.
    pub reference: Option<String>,
    /// The reply.
    pub reply: String,
    /// What the tool did wrong.
    pub fault: Fault,
}

/// What a tool did wrong with a reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The tool failed, or its score was not a finite number in its range; holds the error.
    Failed(String),
    /// A good reply got this score, and a bad reply to the same prompt got at least as much.
    TooLow(f64),
    /// A bad reply got this score, and a good reply to the same prompt got no more.
    TooHigh(f64),
    /// An attempt to cheat got this score, as much as a good reply to the same prompt; holds the score and what the
    /// reply is, such as "an empty reply".
    Cheated(f64, &'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "the function fails: {error}"),
            Self::TooLow(score) => write!(f, "it is a good reply and got only {score:.2}"),
            Self::TooHigh(score) => write!(f, "it is a bad reply and got {score:.2}"),
            Self::Cheated(score, what) => write!(f, "it is {what}, deserves 0.0 and got {score:.2}"),
        }
    }
}

/// Replies that a tool scored wrongly: at most one failure, one good reply, one bad reply, a right and a wrong program, two
/// hacks (attempts to cheat), and one string literal of the tool's own code. `outcomes` belong to `cases`, in the same order;
/// `scored` are the cases with a score.
pub fn counterexamples(cases: &[ProbeCase], outcomes: &[Outcome], scored: &[ScoredCase]) -> Vec<Counterexample> {
    let failed = cases.iter().zip(outcomes).find_map(|(case, outcome)| match outcome {
        Outcome::Failed(failure) => Some(counterexample(case, Fault::Failed(failure.to_string()))),
        _ => None,
    });
    let mut found: Vec<Counterexample> = failed.into_iter().collect();
    // The good reply that loses against a bad one by the widest margin, with this bad reply.
    let lost = |good: &&ScoredCase| best_bad(scored, good).map(|bad| bad.score - good.score);
    let losers = of_kind(scored, |kind| kind == ProbeKind::Good).filter(|good| lost(good).is_some_and(|by| by >= 0.0));
    let worst = losers.max_by(|a, b| lost(a).unwrap_or(0.0).total_cmp(&lost(b).unwrap_or(0.0)));
    if let Some((good, bad)) = worst.and_then(|good| Some((good, best_bad(scored, good)?))) {
        found.push(counterexample(good.case, Fault::TooLow(good.score)));
        found.push(counterexample(bad.case, Fault::TooHigh(bad.score)));
    }
    let lost = |pair: &LookAlikePair| pair.faulty.score - pair.renamed.score;
    let worst = look_alikes(scored).filter(|pair| lost(pair) >= 0.0).max_by(|a, b| lost(a).total_cmp(&lost(b)));
    if let Some(LookAlikePair { renamed, faulty }) = worst {
        found.push(counterexample(renamed.case, Fault::TooLow(renamed.score)));
        found.push(counterexample(faulty.case, Fault::Cheated(faulty.score, "the reference with an error in it")));
    }
    let is_paid = |s: &&ScoredCase| worst_good(scored, s).is_some_and(|good| s.score >= good && s.score > 0.0);
    let mut names: Vec<&str> = Vec::new();
    for (s, hack) in scored.iter().filter_map(|s| Some((s, hack_name(s.case.kind)?))) {
        if names.len() < MAX_HACKS && !names.contains(&hack) && is_paid(&s) {
            names.push(hack);
            found.push(counterexample(s.case, Fault::Cheated(s.score, hack)));
        }
    }
    let is_literal = |kind| matches!(kind, ProbeKind::Literal(_) | ProbeKind::Backdoor(_));
    let literal = of_kind(scored, is_literal).find(is_paid);
    found.extend(literal.map(|s| counterexample(s.case, Fault::Cheated(s.score, "a text of the function's own code"))));
    found
}

/// The program of a reference with other names, and the same with an error.
struct LookAlikePair<'s, 'c> {
    renamed: &'s ScoredCase<'c>,
    faulty: &'s ScoredCase<'c>,
}

fn look_alikes<'s, 'c>(scored: &'s [ScoredCase<'c>]) -> impl Iterator<Item = LookAlikePair<'s, 'c>> {
    of_kind(scored, |kind| kind == ProbeKind::RenamedProgram).filter_map(move |renamed| {
        let same_prompt = |s: &&ScoredCase| s.case.example.id == renamed.case.example.id;
        let faulty = of_kind(scored, |kind| kind == ProbeKind::FaultyProgram).find(same_prompt)?;
        Some(LookAlikePair { renamed, faulty })
    })
}

fn counterexample(case: &ProbeCase, fault: Fault) -> Counterexample {
    Counterexample {
        prompt: case.example.prompt().to_owned(),
        reference: case.example.reference.clone(),
        reply: case.reply.text.clone(),
        fault,
    }
}

fn hack_name(kind: ProbeKind) -> Option<&'static str> {
    match kind {
        ProbeKind::Hack(hack) => Some(HACKS[hack].name),
        _ => None,
    }
}

fn of_kind<'s, 'c>(
    scored: &'s [ScoredCase<'c>],
    is_wanted: impl Fn(ProbeKind) -> bool + 's,
) -> impl Iterator<Item = &'s ScoredCase<'c>> {
    scored.iter().filter(move |s| is_wanted(s.case.kind))
}

/// The bad reply with the highest score to the prompt that `good`, a good reply, answers; `None` if no bad reply to it
/// has a score.
fn best_bad<'s, 'c>(scored: &'s [ScoredCase<'c>], good: &ScoredCase) -> Option<&'s ScoredCase<'c>> {
    let same_prompt = |s: &&ScoredCase| s.case.example.id == good.case.example.id;
    of_kind(scored, |kind| kind == ProbeKind::Bad).filter(same_prompt).max_by(|a, b| a.score.total_cmp(&b.score))
}

/// The lowest score of a good reply to the prompt that `other` answers; `None` if no good reply to it has a score.
fn worst_good(scored: &[ScoredCase], other: &ScoredCase) -> Option<f64> {
    let good = of_kind(scored, |kind| kind == ProbeKind::Good).filter(|s| s.case.example.id == other.case.example.id);
    good.map(|s| s.score).min_by(f64::total_cmp)
}
