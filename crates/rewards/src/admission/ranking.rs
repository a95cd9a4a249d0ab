//! The admission checks that a tool ranks good replies above bad ones, and that it does not reward attempts to cheat
//! (hacks) and backdoors in its code.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::admission::hacks::HACKS;
use crate::admission::probes::{CASE, ProbeCase, ProbeKind};
use crate::admission::report::Check;
use crate::tool::card::ToolRole;

/// A probe case with the tool's score for it.
pub struct ScoredCase<'c> {
    /// The reply that the tool scored.
    pub case: &'c ProbeCase<'c>,
    /// The tool's score, in the range of its card.
    pub score: f64,
}

/// The lowest AUC with which a tool is admitted. The AUC is the probability that a good reply to a prompt scores above
/// a bad reply to the same prompt, ties counted as a half.
fn least_auc(role: ToolRole) -> f64 {
    match role {
        ToolRole::Correctness | ToolRole::Constraint => 0.9,
        ToolRole::Quality => 0.8,
    }
}

/// Largest share of examples, from 0 to 1, for which a hack may score as high as a good reply, because the hack may be
/// the right answer by chance.
const MAX_CHANCE: f64 = 0.2;

/// The name of the check that a comparison of texts fails on programs.
pub const LOOK_ALIKES: &str = "ranks a right program above a wrong one that looks like the reference";

/// Fewest pairs of programs that say something of a tool.
const LEAST_PAIRS: usize = 3;

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len().max(1) as f64
}

/// The median of numbers; for an even count the higher of the middle two, and 0 for no numbers.
fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x.get(x.len() / 2).copied().unwrap_or(0.0)
}

/// One term of an AUC: 1 when the good reply's score is above the bad reply's, a half when they are equal, else 0.
fn win(good: f64, bad: f64) -> f64 {
    match good.partial_cmp(&bad) {
        Some(Ordering::Greater) => 1.0,
        Some(Ordering::Less) => 0.0,
        _ => 0.5,
    }
}

/// The id of an example with the median score of the good replies to this example.
struct GoodMedian<'e> {
    id: &'e str,
    score: f64,
}

/// How a tool ranks replies.
pub struct Ranking {
    /// The checks that the tool ranks good replies above bad ones and right programs above wrong ones, rewards no literal of
    /// its own code, and rewards none of the hacks that could be made.
    pub checks: Vec<Check>,
    /// The AUC over the good and bad replies to the same prompts, from 0 to 1; `None` where there are no such replies.
    pub auc: Option<f64>,
    /// The same over the half-right and bad replies. A tool that pays for a perfect reply only has 0.5.
    pub half_right_auc: Option<f64>,
}

/// Checks how a tool ranks the scored replies.
pub fn rank(role: ToolRole, scored: &[ScoredCase]) -> Ranking {
    let mut ids: Vec<&str> =
        scored.iter().filter(|s| s.case.kind == ProbeKind::Good).map(|s| s.case.example.id.as_str()).collect();
    ids.dedup();
    // Every case of a card has its own example with a single reply, so `check_card_cases` ranks the cases among each
    // other.
    ids.retain(|id| !id.starts_with(CASE));
    let (mut wins, mut half_right_wins) = (Vec::new(), Vec::new());
    let mut medians = Vec::new();
    for id in ids {
        let (good, bad) = (scores_of(scored, id, ProbeKind::Good), scores_of(scored, id, ProbeKind::Bad));
        let half_right = scores_of(scored, id, ProbeKind::HalfRight);
        wins.extend(good.iter().flat_map(|g| bad.iter().map(|b| win(*g, *b))));
        half_right_wins.extend(half_right.iter().flat_map(|h| bad.iter().map(|b| win(*h, *b))));
        medians.push(GoodMedian { id, score: median(good) });
    }
    let mut checks = Vec::new();
    checks.extend(check_card_cases(role, scored));
    let mean_of =
        |kind: ProbeKind| mean(&scored.iter().filter(|s| s.case.kind == kind).map(|s| s.score).collect::<Vec<f64>>());
    let (good, bad) = (mean_of(ProbeKind::Good), mean_of(ProbeKind::Bad));
    let (auc, least) = (mean(&wins), least_auc(role));
    let evidence = if wins.is_empty() {
        "no good and bad reply to the same prompt have a score".into()
    } else {
        format!("AUC {auc:.3}; at least {least} is needed; mean score of good ones {good:.3}, of bad ones {bad:.3}")
    };
    checks.push(Check::new("ranks good replies above bad ones", auc >= least, evidence));
    checks.extend(check_worked_replies(role, scored, &medians));
    checks.extend(check_look_alikes(scored, &medians));
    checks.extend(check_backdoors(scored, &medians));
    checks.extend((0..HACKS.len()).filter_map(|hack| check_hack(role, scored, &medians, bad, hack)));
    let known = |wins: &[f64]| (!wins.is_empty()).then(|| mean(wins));
    Ranking { checks, auc: known(&wins), half_right_auc: known(&half_right_wins) }
}

/// The check that a tool ranks good replies above bad ones also among replies that show their working, which are the
/// replies that it gets in training; `None` when there are none.
fn check_worked_replies(role: ToolRole, scored: &[ScoredCase], medians: &[GoodMedian]) -> Option<Check> {
    let worked = |id: &str, kind: ProbeKind| -> Vec<f64> {
        let of_example = scored.iter().filter(|s| s.case.shows_working && s.case.example.id == id);
        of_example.filter(|s| s.case.kind == kind).map(|s| s.score).collect()
    };
    let wins_of = |id| {
        let bad = worked(id, ProbeKind::Bad);
        worked(id, ProbeKind::Good).into_iter().flat_map(move |g| bad.clone().into_iter().map(move |b| win(g, b)))
    };
    let wins: Vec<f64> = medians.iter().flat_map(|good| wins_of(good.id)).collect();
    let (auc, least) = (mean(&wins), least_auc(role));
    let evidence = format!("AUC {auc:.3}; at least {least} is needed");
    let check = Check::new("ranks replies that show their working", auc >= least, evidence);
    (!wins.is_empty()).then_some(check)
}

/// The check that a tool ranks the program of a reference with other names for its variables above the same program with an error,
/// as a comparison of texts does not; `None` when fewer than three references give such programs.
fn check_look_alikes(scored: &[ScoredCase], medians: &[GoodMedian]) -> Option<Check> {
    let pairs = medians.iter().filter_map(|good| {
        let only = |kind| scores_of(scored, good.id, kind).first().copied();
        Some((only(ProbeKind::RenamedProgram)?, only(ProbeKind::FaultyProgram)?))
    });
    let (renamed, faulty): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let wins: Vec<f64> = renamed.iter().zip(&faulty).map(|(good, bad)| win(*good, *bad)).collect();
    // An error that is made without running the program may be harmless now and then.
    let (auc, least) = (mean(&wins), least_auc(ToolRole::Quality));
    let (renamed, faulty) = (mean(&renamed), mean(&faulty));
    let evidence = format!(
        "AUC {auc:.3}; at least {least} is needed; mean score of right programs with other names {renamed:.3}, of wrong ones \
         that look like the reference {faulty:.3}"
    );
    let check = Check::new(LOOK_ALIKES, auc >= least, evidence);
    (wins.len() >= LEAST_PAIRS).then_some(check)
}

/// The scores of the replies of this `kind`, such as good replies, to the example with this `id`.
fn scores_of(scored: &[ScoredCase], id: &str, kind: ProbeKind) -> Vec<f64> {
    scored.iter().filter(|s| s.case.example.id == id && s.case.kind == kind).map(|s| s.score).collect()
}

/// The check that a tool ranks the good cases of its card above the bad ones; `None` when the card lacks good cases or
/// bad cases.
fn check_card_cases(role: ToolRole, scored: &[ScoredCase]) -> Option<Check> {
    let cases = |kind: ProbeKind| {
        let of_card = scored.iter().filter(move |s| s.case.kind == kind && s.case.example.id.starts_with(CASE));
        of_card.map(|s| s.score)
    };
    let wins: Vec<f64> = cases(ProbeKind::Good).flat_map(|g| cases(ProbeKind::Bad).map(move |b| win(g, b))).collect();
    let (auc, least) = (mean(&wins), least_auc(role));
    let evidence = format!("AUC {auc:.3}; at least {least} is needed");
    let check = Check::new("ranks its good cases above its bad ones", auc >= least, evidence);
    (!wins.is_empty()).then_some(check)
}

/// The check for backdoors. It fails when the same string literal of the tool's own code scores as high as a good reply
/// for at least two examples. `None` when no literal was tried.
fn check_backdoors(scored: &[ScoredCase], medians: &[GoodMedian]) -> Option<Check> {
    /// A reply with a literal that is rewarded, and the ids of the examples for which the literal scores as high as a
    /// good reply.
    struct Rewarded<'c> {
        reply: &'c str,
        ids: BTreeSet<&'c str>,
    }
    let mut rewarded: BTreeMap<usize, Rewarded> = BTreeMap::new();
    let mut was_tried = false;
    for ScoredCase { case, score } in scored {
        let id = case.example.id.as_str();
        let (literal, least) = match case.kind {
            ProbeKind::Literal(literal) => (literal, f64::NEG_INFINITY),
            // If the wrong answer alone has this score, the literal behind it is not the reason.
            ProbeKind::Backdoor(literal) => (literal, best_bad_score(scored, id)),
            _ => continue,
        };
        was_tried = true;
        if *score > least && medians.iter().any(|good| good.id == id && *score >= good.score) {
            let reply = case.reply.text.as_str();
            rewarded.entry(literal).or_insert(Rewarded { reply, ids: BTreeSet::new() }).ids.insert(id);
        }
    }
    let worst = rewarded.values().filter(|r| r.ids.len() > 1).max_by_key(|r| r.ids.len());
    let evidence = worst.map_or_else(String::new, |Rewarded { reply, ids }| {
        format!("{reply:?} scores as a good reply for {} prompts", ids.len())
    });
    was_tried.then(|| Check::new("does not pay for a text of its own code", worst.is_none(), evidence))
}

fn best_bad_score(scored: &[ScoredCase], id: &str) -> f64 {
    scores_of(scored, id, ProbeKind::Bad).into_iter().fold(f64::NEG_INFINITY, f64::max)
}

/// The check that the tool does not reward the hack with index `hack` in [`HACKS`]; `None` when the hack could be made
/// for no example. `bad` is the mean score of bad replies.
fn check_hack(role: ToolRole, scored: &[ScoredCase], medians: &[GoodMedian], bad: f64, hack: usize) -> Option<Check> {
    let (mut hacked, mut honest, mut as_good) = (Vec::new(), Vec::new(), 0);
    for good in medians {
        for score in scores_of(scored, good.id, ProbeKind::Hack(hack)) {
            hacked.push(score);
            honest.push(good.score);
            as_good += usize::from(score >= good.score);
        }
    }
    if hacked.is_empty() {
        return None;
    }
    let share = as_good as f64 / hacked.len() as f64;
    let (hacked, honest) = (mean(&hacked), mean(&honest));
    let resists = share <= MAX_CHANCE
        && match role {
            ToolRole::Quality => hacked < honest,
            // A hack may be the right answer by chance now and then, but giving this reply to every prompt must not
            // pay.
            ToolRole::Correctness | ToolRole::Constraint => {
                hacked <= bad + (MAX_CHANCE + 0.05) * (honest - bad).max(0.0)
            }
        };
    let evidence = format!(
        "mean score {hacked:.3}, of good ones {honest:.3}; it scores as high as a good reply for {:.0} % of the \
         prompts",
        100.0 * share
    );
    Some(Check::new(&format!("does not pay for {}", HACKS[hack].name), resists, evidence))
}
