//! The monitor: whether the rewards of a run still tell good replies from bad ones, by what every step shows of them.
//!
//! Four signs, per domain: *coverage* (no admitted tool fits), *signal* (the replies of nearly every group get the
//! lowest score alike), *agreement* (two tools rank the same replies the opposite way), *hacking* (the tools pay for replies
//! that the audit does not, or reward goes up while the audit goes down).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::tool::card::CardCase;

/// When what is seen is a breach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Watch {
    /// Steps that are looked at together.
    #[schemars(range(min = 2, max = 1000))]
    pub window: usize,
    /// Coverage: share of replies without any tool, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub uncovered: f64,
    /// Signal: share of groups whose replies all get the lowest score.
    #[schemars(range(min = 0, max = 1))]
    pub flat: f64,
    /// Agreement: rank correlation (Kendall's tau, within groups) of two tools below which they contradict each other.
    #[schemars(range(min = -1, max = 1))]
    pub agreement: f64,
    /// Hacking: share of audited replies that are paid for (half of the highest reward or more) and that the audit gives less
    /// than half.
    #[schemars(range(min = 0, max = 1))]
    pub overpaid: f64,
    /// Hacking: how far the reward rises, and the audit falls, over the window, as a part of the range.
    #[schemars(range(min = 0, max = 1))]
    pub drift: f64,
    /// Steps after a breach in which none of the same domain is reported.
    pub cooldown: u64,
    /// How often tools are asked for, per domain and sign.
    #[schemars(range(min = 1))]
    pub tries: u64,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            window: 8,
            uncovered: 0.1,
            flat: 0.95,
            agreement: -0.3,
            overpaid: 0.3,
            drift: 0.15,
            cooldown: 20,
            tries: 2,
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Prompts without a tool.
    Coverage,
    /// Tools that tell nothing apart.
    Signal,
    /// Tools that contradict each other.
    Agreement,
    /// Tools that are exploited.
    Hacking,
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Coverage => "coverage",
            Self::Signal => "signal",
            Self::Agreement => "agreement",
            Self::Hacking => "hacking",
        })
    }
}

/// A reason to renew the rewards of a domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// The domain: what the prompts say of their task.
    pub domain: String,
    /// What is wrong.
    pub sign: Sign,
    /// The step that showed it.
    pub step: u64,
    /// The tools that are to be replaced.
    pub tools: Vec<String>,
    /// What was noticed, without figures.
    pub what: String,
    /// The figures.
    pub figures: String,
    /// Replies that were paid for and should not have been.
    pub overpaid: Vec<CardCase>,
}

/// One reply as the monitor sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// The reference.
    pub reference: Option<&'a str>,
    /// The reply.
    pub reply: &'a str,
    /// The tools that were asked, with what they said as a part of their range.
    pub scores: Vec<(&'a str, Option<f64>)>,
    /// The weighted mean of those; nothing where one gave no score or none was asked.
    pub reward: Option<f64>,
    /// What the audit said of it, as a part of its range, where it was asked.
    pub audit: Option<f64>,
}

/// What one step showed of one domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Step {
    replies: usize,
    uncovered: usize,
    groups: usize,
    lowest: usize,
    /// Sum and number of rewards of audited replies, and the audit's sum.
    audited: (f64, usize, f64),
    overpaid: usize,
    /// Per pair of tools: pairs of replies that both rank alike, and that they rank the opposite way.
    pairs: BTreeMap<String, [u64; 2]>,
    tools: BTreeSet<String>,
}

/// The last steps of every domain, and what was reported of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    steps: BTreeMap<String, VecDeque<Step>>,
    /// Replies that were overpaid lately, by domain.
    overpaid: BTreeMap<String, VecDeque<CardCase>>,
    /// The step of the last breach, by domain.
    last: BTreeMap<String, u64>,
    /// Breaches, by domain and sign.
    tries: BTreeMap<String, u64>,
}

/// Replies that are shown of those that were overpaid.
const SHOWN: usize = 8;

/// Least replies that anything is said of.
const FEWEST: usize = 8;

impl Monitor {
    /// Takes the groups of one domain that a step drew, and says what is wrong, unless it `waits` for new tools already.
    pub fn observe(
        &mut self,
        step: u64,
        domain: &str,
        groups: &[Vec<Seen>],
        watch: &Watch,
        waits: bool,
    ) -> Option<Breach> {
        let mut seen = Step { groups: groups.len(), ..Step::default() };
        for group in groups {
            seen.take(group);
            for reply in group.iter().filter(|r| is_overpaid(r)) {
                self.keep(domain, reply);
            }
        }
        let window = self.steps.entry(domain.to_owned()).or_default();
        window.push_back(seen);
        while window.len() > watch.window {
            window.pop_front();
        }
        let recent = self.last.get(domain).is_some_and(|last| step < last + watch.cooldown);
        if recent || waits {
            return None;
        }
        let (sign, what, figures) = breach(window, watch)?;
        let tries = self.tries.entry(format!("{domain}: {sign}")).or_default();
        if *tries >= watch.tries {
            return None;
        }
        *tries += 1;
        self.last.insert(domain.to_owned(), step);
        let tools: BTreeSet<String> = window.iter().flat_map(|s| s.tools.iter().cloned()).collect();
        let overpaid = if sign == Sign::Hacking {
            self.overpaid.get(domain).cloned().unwrap_or_default()
        } else {
            VecDeque::new()
        };
        Some(Breach {
            domain: domain.to_owned(),
            sign,
            step,
            tools: tools.into_iter().collect(),
            what,
            figures,
            overpaid: overpaid.into(),
        })
    }

    /// Forgets what was seen of a domain: its tools are others now.
    pub fn renewed(&mut self, domain: &str) {
        self.steps.remove(domain);
        self.overpaid.remove(domain);
    }

    fn keep(&mut self, domain: &str, reply: &Seen) {
        let kept = self.overpaid.entry(domain.to_owned()).or_default();
        if kept.iter().any(|c| c.reply == reply.reply) {
            return;
        }
        kept.push_back(CardCase {
            reply: reply.reply.to_owned(),
            good: false,
            prompt: reply.prompt.to_owned(),
            reference: reply.reference.map(str::to_owned),
            columns: serde_json::Map::new(),
        });
        while kept.len() > SHOWN {
            kept.pop_front();
        }
    }
}

fn is_overpaid(reply: &Seen) -> bool {
    reply.reward.zip(reply.audit).is_some_and(|(reward, audit)| reward >= 0.5 && audit < 0.5)
}

impl Step {
    fn take(&mut self, group: &[Seen]) {
        self.replies += group.len();
        self.uncovered += group.iter().filter(|r| r.scores.is_empty()).count();
        let known: Vec<f64> = group.iter().filter_map(|r| r.reward).collect();
        self.lowest += usize::from(!known.is_empty() && known.iter().all(|r| *r <= 0.0));
        for reply in group {
            self.tools.extend(reply.scores.iter().map(|(tool, _)| (*tool).to_owned()));
            if let Some((reward, audit)) = reply.reward.zip(reply.audit) {
                let (rewards, n, audits) = &mut self.audited;
                (*rewards, *n, *audits) = (*rewards + reward, *n + 1, *audits + audit);
                self.overpaid += usize::from(is_overpaid(reply));
            }
        }
        for (i, first) in group.iter().enumerate() {
            for second in &group[i + 1..] {
                self.compare(first, second);
            }
        }
    }

    /// Counts for every pair of tools whether they rank two replies alike.
    fn compare(&mut self, first: &Seen, second: &Seen) {
        let differs = |tool: &str| {
            let of = |r: &Seen| r.scores.iter().find(|(name, _)| *name == tool).and_then(|(_, s)| *s);
            of(first).zip(of(second)).map(|(a, b)| a - b).filter(|d| d.abs() > 1e-9)
        };
        for (i, (a, _)) in first.scores.iter().enumerate() {
            for (b, _) in &first.scores[i + 1..] {
                if let Some((x, y)) = differs(a).zip(differs(b)) {
                    let counts = self.pairs.entry(format!("{a} and {b}")).or_default();
                    counts[usize::from((x > 0.0) != (y > 0.0))] += 1;
                }
            }
        }
    }
}

/// What a window shows: the sign, in words, in figures.
fn breach(window: &VecDeque<Step>, watch: &Watch) -> Option<(Sign, String, String)> {
    let sum = |f: fn(&Step) -> usize| window.iter().map(f).sum::<usize>();
    let (replies, uncovered) = (sum(|s| s.replies), sum(|s| s.uncovered));
    if replies >= FEWEST && uncovered as f64 > watch.uncovered * replies as f64 {
        let figures = format!("{uncovered} of {replies} replies had no tool");
        return Some((Sign::Coverage, "no admitted tool fits these prompts".into(), figures));
    }
    if window.len() < watch.window {
        return None;
    }
    let half = window.len() / 2;
    let means = |steps: &mut dyn Iterator<Item = &Step>| {
        let (rewards, n, audits) =
            steps.fold((0.0, 0, 0.0), |(r, n, a), s| (r + s.audited.0, n + s.audited.1, a + s.audited.2));
        (n > 0).then(|| (rewards / n as f64, audits / n as f64))
    };
    let (early, late) = (means(&mut window.iter().take(half)), means(&mut window.iter().skip(half)));
    let (overpaid, audited) = (sum(|s| s.overpaid), sum(|s| s.audited.1));
    let drifts = early.zip(late).is_some_and(|(a, b)| b.0 - a.0 >= watch.drift && a.1 - b.1 >= watch.drift);
    let pays = overpaid as f64 > watch.overpaid * audited as f64;
    if audited >= FEWEST && (pays || drifts) {
        let went = early.zip(late).map_or_else(String::new, |(a, b)| {
            format!("; reward {:.3} → {:.3}, audit {:.3} → {:.3}", a.0, b.0, a.1, b.1)
        });
        let figures = format!("{overpaid} of {audited} audited replies were paid for and should not have been{went}");
        return Some((Sign::Hacking, "the policy is paid for replies that an audit finds wrong".into(), figures));
    }
    let tau = |counts: [u64; 2]| (counts[0] as f64 - counts[1] as f64) / (counts[0] + counts[1]).max(1) as f64;
    let mut pairs: BTreeMap<&str, [u64; 2]> = BTreeMap::new();
    for (pair, counts) in window.iter().flat_map(|s| &s.pairs) {
        let all = pairs.entry(pair).or_default();
        (all[0], all[1]) = (all[0] + counts[0], all[1] + counts[1]);
    }
    let apart = pairs.into_iter().find(|(_, c)| c[0] + c[1] >= 50 && tau(*c) < watch.agreement);
    if let Some((pair, counts)) = apart {
        let figures = format!("rank correlation {:.2} over {} pairs of replies", tau(counts), counts[0] + counts[1]);
        return Some((Sign::Agreement, format!("the tools {pair} contradict each other"), figures));
    }
    let (groups, lowest) = (sum(|s| s.groups), sum(|s| s.lowest));
    if groups >= FEWEST && lowest as f64 > watch.flat * groups as f64 {
        let figures = format!("every reply of {lowest} of {groups} groups got the lowest score");
        return Some((
            Sign::Signal,
            "nearly every reply gets the lowest score: the tools reward no progress".into(),
            figures,
        ));
    }
    None
}
