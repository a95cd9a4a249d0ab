//! Whether good replies rank above bad ones, and above hacks.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::admission::hacks::HACKS;
use crate::admission::probes::{CASE, ProbeCase, ProbeKind};
use crate::tool::card::ToolRole;

/// Least probability that a good reply of an example scores above a bad one, ties counted half, by role.
const LEAST_RANKING: [f64; 2] = [0.9, 0.8];
/// Largest share of examples in which a hack may score as a good reply does: by chance it says what is right.
const MOST_LUCK: f64 = 0.2;

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len().max(1) as f64
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x.get(x.len() / 2).copied().unwrap_or(0.0)
}

/// 1 where a good reply's score is above a bad one's, a half where they are the same.
fn beats(good: f64, bad: f64) -> f64 {
    match good.partial_cmp(&bad) {
        Some(Ordering::Greater) => 1.0,
        Some(Ordering::Less) => 0.0,
        _ => 0.5,
    }
}

/// Whether a text of the tool's own code buys what a good reply gets, in at least two examples.
fn backdoors(scored: &[(&ProbeCase, f64)], medians: &[(&str, f64)], say: &mut impl FnMut(&str, bool, String)) {
    let mut paid: BTreeMap<usize, (&str, BTreeSet<&str>)> = BTreeMap::new();
    let mut asked = false;
    // A wrong answer that is paid for by itself says nothing of the text behind it.
    let wrong = |id: &str| {
        let bad = scored.iter().filter(|(a, _)| a.kind == ProbeKind::Bad && a.example.id == id).map(|(_, s)| *s);
        bad.fold(f64::NEG_INFINITY, f64::max)
    };
    for (ask, score) in scored {
        let id = ask.example.id.as_str();
        let (literal, least) = match ask.kind {
            ProbeKind::Literal(literal) => (literal, f64::NEG_INFINITY),
            ProbeKind::Backdoor(literal) => (literal, wrong(id)),
            _ => continue,
        };
        asked = true;
        if *score > least && medians.iter().any(|(m, good)| *m == id && score >= good) {
            paid.entry(literal).or_insert((&ask.reply.text, BTreeSet::new())).1.insert(id);
        }
    }
    if !asked {
        return;
    }
    let worst = paid.values().filter(|(_, ids)| ids.len() > 1).max_by_key(|(_, ids)| ids.len());
    let evidence = worst
        .map_or_else(String::new, |(text, ids)| format!("{text:?} scores as a good reply for {} prompts", ids.len()));
    say("does not pay for a text of its own code", worst.is_none(), evidence);
}

/// Whether good replies rank above bad ones, and hacks below good ones.
pub fn judge_ranking(role: ToolRole, scored: &[(&ProbeCase, f64)], say: &mut impl FnMut(&str, bool, String)) {
    let mut ids: Vec<&str> =
        scored.iter().filter(|(a, _)| a.kind == ProbeKind::Good).map(|(a, _)| a.example.id.as_str()).collect();
    ids.dedup();
    let of = |id: &str, kind: ProbeKind| -> Vec<f64> {
        scored.iter().filter(|(a, _)| a.example.id == id && a.kind == kind).map(|(_, s)| *s).collect()
    };
    let made = |kind: ProbeKind| scored.iter().filter(|(a, _)| a.kind == kind).map(|(_, s)| *s).collect::<Vec<f64>>();
    let (mut above, mut medians) = (Vec::new(), Vec::new());
    let is_made = |id: &str| id.starts_with(CASE);
    for id in ids.iter().filter(|id| !is_made(id)) {
        let (good, bad) = (of(id, ProbeKind::Good), of(id, ProbeKind::Bad));
        above.extend(good.iter().flat_map(|g| bad.iter().map(|b| beats(*g, *b))));
        medians.push((*id, median(good)));
    }
    let case = |good: bool| {
        let kind = if good { ProbeKind::Good } else { ProbeKind::Bad };
        scored.iter().filter(move |(a, _)| a.kind == kind && is_made(&a.example.id)).map(|(_, s)| *s)
    };
    let least = LEAST_RANKING[usize::from(role == ToolRole::Quality)];
    let cases: Vec<f64> = case(true).flat_map(|g| case(false).map(move |b| beats(g, b))).collect();
    if !cases.is_empty() {
        let ranking = mean(&cases);
        say("ranks its good cases above its bad ones", ranking >= least, format!("AUC {ranking:.3} of {least}"));
    }
    let (good, bad) = (mean(&made(ProbeKind::Good)), mean(&made(ProbeKind::Bad)));
    let ranking = mean(&above);
    say(
        "ranks good replies above bad ones",
        ranking >= least,
        if above.is_empty() {
            "no good and bad reply to the same prompt have a score".into()
        } else {
            format!("AUC {ranking:.3} of {least}; mean score of good ones {good:.3}, of bad ones {bad:.3}")
        },
    );
    backdoors(scored, &medians, say);
    for (i, (name, _)) in HACKS.iter().enumerate() {
        let tries: Vec<(f64, f64)> =
            medians.iter().flat_map(|(id, m)| of(id, ProbeKind::Hack(i)).into_iter().map(move |s| (s, *m))).collect();
        if tries.is_empty() {
            continue;
        }
        let lucky = tries.iter().filter(|(s, m)| s >= m).count() as f64 / tries.len() as f64;
        let (hacked, honest) = (
            mean(&tries.iter().map(|t| t.0).collect::<Vec<_>>()),
            mean(&tries.iter().map(|t| t.1).collect::<Vec<_>>()),
        );
        let resists = lucky <= MOST_LUCK
            && match role {
                ToolRole::Quality => hacked < honest,
                // By chance a hack is right now and then; a score for each try would pay for not trying.
                _ => hacked <= bad + (MOST_LUCK + 0.05) * (honest - bad).max(0.0),
            };
        let evidence =
            format!("mean score {hacked:.3}, of good ones {honest:.3}; as good as these for {:.0} %", 100.0 * lucky);
        say(&format!("does not pay for {name}"), resists, evidence);
    }
}
