//! Computes the value of one item, from 0 to 1, from a tool's scores of the item's completions.

use crate::item::{Item, ItemKind};

/// How well a tool scores an item's completions, from 0 to 1, by the rule of the item's [`ItemKind`]; `None` where the
/// completion with the highest score has no label.
///
/// For [`ItemKind::Ties`] the value says whether every correct completion has a higher score than every incorrect one.
/// The score of the category Ties depends on more than that; see [`crate::reward_bench_2`].
pub fn item_value(item: &Item, scores: &[f64]) -> Option<f64> {
    match item.kind {
        ItemKind::BestOfN => mean_label_of_best(&item.labels, scores),
        ItemKind::Pairwise | ItemKind::Ties => Some(f64::from(u8::from(correct_above_incorrect(item, scores)))),
        ItemKind::StyleMatrix => Some(StyleAccuracies::of(scores).mean()),
    }
}

/// The mean label of the completions that share the highest score; `None` where none of them has a label. Where only
/// one completion is correct, this equals [`best_of_n`](crate::reward_bench_2::best_of_n).
pub fn mean_label_of_best(labels: &[Option<f64>], scores: &[f64]) -> Option<f64> {
    let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let labels_of_best = labels.iter().zip(scores).filter(|(_, s)| **s >= best).filter_map(|(l, _)| *l);
    let (sum, n) = labels_of_best.fold((0.0, 0u32), |(sum, n), l| (sum + l, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

/// A tool's scores of an item's completions, separated into those of correct and those of incorrect completions.
pub struct SplitScores {
    /// Scores of the correct completions.
    pub correct: Vec<f64>,
    /// Scores of the incorrect completions.
    pub incorrect: Vec<f64>,
}

impl SplitScores {
    /// Separates the scores of an item's completions by the item's labels.
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

/// The accuracies of RM-Bench at three difficulties, each from 0 to 1 (Liu et al., 2025; `compute_accuracy` in its
/// `scripts/utils.py`). An item has three comparisons of a correct with an incorrect completion per difficulty.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StyleAccuracies {
    /// Accuracy in the comparisons where the correct completion has the more elaborate style. From plain to elaborate,
    /// the styles are concise, detailed, and detailed with Markdown.
    pub easy: f64,
    /// Accuracy in the comparisons where both completions have the same style.
    pub normal: f64,
    /// Accuracy in the comparisons where the incorrect completion has the more elaborate style.
    pub hard: f64,
}

impl StyleAccuracies {
    /// The accuracies on one item. `scores` holds the scores of three correct completions, then of three incorrect
    /// ones, each in the order concise, detailed, detailed with Markdown. Equal scores count as wrong. All accuracies
    /// are 0 unless there are six scores.
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

    /// The mean of the three accuracies, which is the share of all nine comparisons that are correct.
    pub fn mean(&self) -> f64 {
        (self.easy + self.normal + self.hard) / 3.0
    }

    /// The mean of several items' or categories' accuracies, for each difficulty; 0 where there are none.
    pub fn mean_of(all: &[Self]) -> Self {
        let mean = |f: fn(&Self) -> f64| all.iter().map(f).sum::<f64>() / all.len().max(1) as f64;
        Self { easy: mean(|s| s.easy), normal: mean(|s| s.normal), hard: mean(|s| s.hard) }
    }
}
