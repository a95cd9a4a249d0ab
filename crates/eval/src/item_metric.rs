//! Turns the scores of one item into its value.

use crate::item::{Item, ItemKind};

/// The value of an item's scores, from 0 to 1; `None` where the completion with the highest score has no label.
///
/// For [`ItemKind::Ties`] it is whether every correct completion scores above every incorrect one, which is only a part of
/// the category's score; see [`crate::reward_bench_2`].
pub fn item_value(item: &Item, scores: &[f64]) -> Option<f64> {
    match item.kind {
        ItemKind::BestOfN => mean_label_of_best(&item.labels, scores),
        ItemKind::Pairwise | ItemKind::Ties => Some(f64::from(u8::from(correct_above_incorrect(item, scores)))),
        ItemKind::StyleMatrix => Some(StyleAccuracies::of(scores).mean()),
    }
}

/// The mean label of the completions with the highest score. With one correct completion it equals
/// [`best_of_n`](crate::reward_bench_2::best_of_n).
pub fn mean_label_of_best(labels: &[Option<f64>], scores: &[f64]) -> Option<f64> {
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let labels_of_best = labels.iter().zip(scores).filter(|(_, s)| **s >= best).filter_map(|(l, _)| *l);
    let (sum, n) = labels_of_best.fold((0.0, 0u32), |(sum, n), l| (sum + l, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// The scores of an item, split by its labels.
pub struct SplitScores {
    /// Scores of the correct completions.
    pub correct: Vec<f64>,
    /// Scores of the incorrect completions.
    pub incorrect: Vec<f64>,
}

impl SplitScores {
    /// Splits the scores of an item.
    pub fn of(item: &Item, scores: &[f64]) -> Self {
        let select = |correct: bool| {
            let selected = scores.iter().enumerate().filter(|(c, _)| item.is_correct(*c) == correct);
            selected.map(|(_, s)| *s).collect()
        };
        Self { correct: select(true), incorrect: select(false) }
    }
}

fn correct_above_incorrect(item: &Item, scores: &[f64]) -> bool {
    let SplitScores { correct, incorrect } = SplitScores::of(item, scores);
    let worst_correct = correct.iter().copied().fold(f64::INFINITY, f64::min);
    let best_incorrect = incorrect.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    !correct.is_empty() && worst_correct > best_incorrect
}

/// RM-Bench's accuracies, each from 0 to 1 (Liu et al., 2025; `compute_accuracy` of its `scripts/utils.py`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StyleAccuracies {
    /// The correct completion has the fancier style: concise < detailed < detailed with Markdown.
    pub easy: f64,
    /// Both completions have the same style.
    pub normal: f64,
    /// The incorrect completion has the fancier style.
    pub hard: f64,
}

impl StyleAccuracies {
    /// The accuracies of one item, from the scores of three correct completions, then three incorrect ones, each in the order
    /// of styles. A tie counts as lost. With another number of scores everything counts as lost.
    pub fn of(scores: &[f64]) -> Self {
        let mut accuracies = Self::default();
        if scores.len() != 6 {
            return accuracies;
        }
        let (correct, incorrect) = scores.split_at(3);
        for (i, c) in correct.iter().enumerate() {
            for (j, _) in incorrect.iter().enumerate().filter(|(_, w)| c > *w) {
                let accuracy = match i.cmp(&j) {
                    std::cmp::Ordering::Greater => &mut accuracies.easy,
                    std::cmp::Ordering::Equal => &mut accuracies.normal,
                    std::cmp::Ordering::Less => &mut accuracies.hard,
                };
                *accuracy += 1.0 / 3.0;
            }
        }
        accuracies
    }

    /// The mean of the three, which is the mean of all nine comparisons.
    pub fn mean(&self) -> f64 {
        (self.easy + self.normal + self.hard) / 3.0
    }

    /// The mean over items or categories.
    pub fn mean_of(all: &[Self]) -> Self {
        let mean = |f: fn(&Self) -> f64| all.iter().map(f).sum::<f64>() / all.len().max(1) as f64;
        Self { easy: mean(|s| s.easy), normal: mean(|s| s.normal), hard: mean(|s| s.hard) }
    }
}
