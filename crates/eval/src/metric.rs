//! What one item's scores are worth.

use crate::item::{Item, Kind};

/// The worth of an item's scores, from 0 to 1; `None` where nobody labelled what the scores pick.
/// For [`Kind::Ties`] it is whether every right completion beats every wrong one, which is only a part of the
/// category's figure ([`crate::ties`]).
pub fn value(item: &Item, scores: &[f64]) -> Option<f64> {
    match item.kind {
        Kind::Pick => pick(&item.labels, scores),
        Kind::Beat | Kind::Ties => Some(f64::from(u8::from(beats(item, scores)))),
        Kind::Styles => Some(Styles::of(scores).mean()),
    }
}

/// The mean label of the completions with the highest score. With one right completion this is RewardBench 2's
/// best of n: `1 / (number of maxima)` if the right one is among them, else 0.
pub fn pick(labels: &[Option<f64>], scores: &[f64]) -> Option<f64> {
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let picked = labels.iter().zip(scores).filter(|(_, s)| **s >= best);
    let (sum, known) = picked.filter_map(|(l, _)| *l).fold((0.0, 0u32), |(sum, n), l| (sum + l, n + 1));
    (known > 0).then(|| sum / f64::from(known))
}

/// `1 / (number of maxima)` if the first, right completion is one of them, else 0: `results` of the reference
/// implementation's `reroll_and_score_dataset`.
pub fn best_of_n(scores: &[f64]) -> f64 {
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let maxima = scores.iter().filter(|s| **s >= best).count();
    if scores.first().is_some_and(|s| *s >= best) { 1.0 / maxima as f64 } else { 0.0 }
}

/// Scores of right and of wrong completions, apart.
pub fn apart(item: &Item, scores: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (right, wrong): (Vec<_>, Vec<_>) = scores.iter().copied().enumerate().partition(|(c, _)| item.is_right(*c));
    let only = |side: Vec<(usize, f64)>| side.into_iter().map(|(_, s)| s).collect();
    (only(right), only(wrong))
}

fn beats(item: &Item, scores: &[f64]) -> bool {
    let (right, wrong) = apart(item, scores);
    let low = right.iter().copied().fold(f64::INFINITY, f64::min);
    let high = wrong.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    !right.is_empty() && low > high
}

/// RM-Bench's accuracies (Liu et al., 2025; `compute_accuracy` of its `scripts/utils.py`), each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Styles {
    /// The right answer has the fancier style: concise < detailed < detailed with markdown.
    pub easy: f64,
    /// Both have the same style.
    pub normal: f64,
    /// The wrong answer has the fancier style.
    pub hard: f64,
}

impl Styles {
    /// Of the scores of three right completions, then three wrong ones, each in the order of styles. A tie is
    /// lost. Other numbers of scores count as lost.
    pub fn of(scores: &[f64]) -> Self {
        let mut styles = Self::default();
        if scores.len() != 6 {
            return styles;
        }
        let (right, wrong) = scores.split_at(3);
        for (i, r) in right.iter().enumerate() {
            for (j, _) in wrong.iter().enumerate().filter(|(_, w)| r > *w) {
                let part = match i.cmp(&j) {
                    std::cmp::Ordering::Greater => &mut styles.easy,
                    std::cmp::Ordering::Equal => &mut styles.normal,
                    std::cmp::Ordering::Less => &mut styles.hard,
                };
                *part += 1.0 / 3.0;
            }
        }
        styles
    }

    /// The mean of the three, which is that of all nine comparisons.
    pub fn mean(&self) -> f64 {
        (self.easy + self.normal + self.hard) / 3.0
    }

    /// The mean of several.
    pub fn mean_of(all: &[Self]) -> Self {
        let mean = |f: fn(&Self) -> f64| all.iter().map(f).sum::<f64>() / all.len().max(1) as f64;
        Self { easy: mean(|s| s.easy), normal: mean(|s| s.normal), hard: mean(|s| s.hard) }
    }
}
