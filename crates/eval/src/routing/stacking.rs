//! Stacking: fits one weight per tool so that the weighted sum of the tools' scores is higher for better completions.
//! The model is that of Bradley and Terry (1952) with a ridge penalty.

use super::{ScoreTable, Standardisation};

/// Two completions of an item that have different labels, as data from which the weights of the tools are fitted.
pub struct LabelledPair {
    /// For each tool, the standardised score of the better completion minus that of the worse one.
    pub difference: Vec<f64>,
    /// Weight of the pair's loss in the fit.
    pub weight: f64,
}

/// All pairs of completions of the given items that have different labels. A pair weighs the difference of its labels
/// divided by the number of the item's pairs, so an item weighs at most 1. A tool that failed has the difference 0.
pub fn labelled_pairs(table: &ScoreTable, items: &[usize], scales: &[Standardisation]) -> Vec<LabelledPair> {
    let mut all = Vec::new();
    for item in items {
        let labels = &table.item(*item).labels;
        let scores: Vec<Option<Vec<f64>>> = scales
            .iter()
            .enumerate()
            .map(|(tool, scale)| table.standardised(tool, *item, *scale).map(Iterator::collect))
            .collect();
        let difference = |a: usize, b: usize| -> Vec<f64> {
            scores.iter().map(|s| s.as_ref().map_or(0.0, |s| s[a] - s[b])).collect()
        };
        let mut pairs = Vec::new();
        for (a, better) in labels.iter().enumerate() {
            for (b, worse) in labels.iter().enumerate() {
                if let (Some(better), Some(worse)) = (better, worse)
                    && better > worse
                {
                    pairs.push(LabelledPair { difference: difference(a, b), weight: better - worse });
                }
            }
        }
        let share = 1.0 / pairs.len().max(1) as f64;
        pairs.retain(|pair| pair.difference.iter().any(|d| *d != 0.0));
        for pair in &mut pairs {
            pair.weight *= share;
        }
        all.append(&mut pairs);
    }
    all
}

/// The weights `w` that minimise `Σ weight · log(1 + exp(−w·difference)) + ridge/2 · |w − centre|²`, by Newton's
/// method. The sum is over pairs.
pub fn fit(pairs: &[LabelledPair], centre: &[f64], ridge: f64) -> Vec<f64> {
    let n = centre.len();
    let mut w = centre.to_vec();
    for _ in 0..25 {
        let mut gradient: Vec<f64> = w.iter().zip(centre).map(|(w, c)| ridge * (w - c)).collect();
        let mut hessian = vec![vec![0.0; n]; n];
        for LabelledPair { difference: x, weight } in pairs {
            let margin: f64 = x.iter().zip(&w).map(|(x, w)| x * w).sum();
            let wrong = 1.0 / (1.0 + margin.exp());
            let curvature = weight * wrong * (1.0 - wrong);
            for i in 0..n {
                gradient[i] -= weight * wrong * x[i];
                for j in 0..=i {
                    hessian[i][j] += curvature * x[i] * x[j];
                }
            }
        }
        for (i, row) in hessian.iter_mut().enumerate() {
            row[i] += ridge;
        }
        let Some(step) = solve(hessian, gradient) else { break };
        w.iter_mut().zip(&step).for_each(|(w, s)| *w -= s);
        if step.iter().all(|s| s.abs() < 1e-9) {
            break;
        }
    }
    w
}

/// Solves `A x = b` by Cholesky decomposition for a symmetric positive definite matrix `A`, of which `a` has the lower
/// triangle. `None` where `A` is not positive definite.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    for i in 0..n {
        for j in 0..=i {
            let sum = a[i][j] - (0..j).map(|k| a[i][k] * a[j][k]).sum::<f64>();
            if i == j && (sum.is_nan() || sum <= 0.0) {
                return None;
            }
            a[i][j] = if i == j { sum.sqrt() } else { sum / a[j][j] };
        }
    }
    for i in 0..n {
        b[i] = (b[i] - (0..i).map(|k| a[i][k] * b[k]).sum::<f64>()) / a[i][i];
    }
    for i in (0..n).rev() {
        b[i] = (b[i] - (i + 1..n).map(|k| a[k][i] * b[k]).sum::<f64>()) / a[i][i];
    }
    Some(b)
}
