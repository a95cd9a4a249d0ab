//! The posterior of non-negative weights in a Bradley-Terry model: its mode, and draws from a normal approximation.

/// A pair of replies as the model sees it.
pub(super) struct StandardisedPair {
    /// For each tool, the score of the better reply minus that of the worse one, divided by the tool's deviation; 0 where
    /// the tool says nothing.
    pub(super) differences: Vec<f64>,
    pub(super) weight: f64,
}

/// The mode of the posterior, with what a draw from its normal approximation needs.
#[derive(Clone, Debug)]
pub(super) struct Posterior {
    /// The weights, all at least 0.
    pub(super) mode: Vec<f64>,
    /// The lower triangle `L` of `H = L Lᵀ`, where `H` is the matrix of second derivatives at the mode.
    cholesky: Vec<Vec<f64>>,
}

const MAX_STEPS: usize = 100;

/// A step that would make the posterior less likely is halved at most this often.
const MAX_HALVINGS: usize = 40;

/// Relative difference of losses that may be a rounding error of their sums.
const LOSS_ROUNDING: f64 = 1e-12;

const MAX_SWEEPS: usize = 500;

/// Steps and sweeps end when no weight changes by more than this.
const TOLERANCE: f64 = 1e-10;

impl Posterior {
    /// Finds the `w ≥ 0` that minimises `Σ weight · ln(1 + exp(−wᵀd)) + ridge/2 · |w − centre|²`: Newton's method, where
    /// each step solves the bounded quadratic problem, and is halved until it lowers the loss. Whole steps may go back and
    /// forth for ever where many pairs contradict the start, because the logistic curve is flat there.
    pub(super) fn fit<'p>(
        pairs: impl Iterator<Item = &'p StandardisedPair> + Clone,
        centre: &[f64],
        ridge: f64,
    ) -> Self {
        let mut mode: Vec<f64> = centre.iter().map(|c| c.max(0.0)).collect();
        for _ in 0..MAX_STEPS {
            let Derivatives { gradient, hessian } = Derivatives::at(&mode, pairs.clone(), centre, ridge);
            let linear: Vec<f64> = hessian.iter().zip(&gradient).map(|(row, g)| dot(row, &mode) - g).collect();
            let next = descend(&mode, minimise(&hessian, &linear, &mode), |w| loss(w, pairs.clone(), centre, ridge));
            let change = largest_change(&next, &mode);
            mode = next;
            if change <= TOLERANCE {
                break;
            }
        }
        let cholesky = cholesky(Derivatives::at(&mode, pairs, centre, ridge).hessian);
        Self { mode, cholesky }
    }

    /// Weights drawn from the normal distribution around the mode, cut at 0. `normal` gives standard normal numbers.
    pub(super) fn draw(&self, normal: &mut dyn FnMut() -> f64) -> Vec<f64> {
        let n = self.mode.len();
        let mut drawn: Vec<f64> = (0..n).map(|_| normal()).collect();
        for i in (0..n).rev() {
            let later: f64 = (i + 1..n).map(|k| self.cholesky[k][i] * drawn[k]).sum();
            drawn[i] = (drawn[i] - later) / self.cholesky[i][i];
        }
        self.mode.iter().zip(drawn).map(|(mode, deviation)| (mode + deviation).max(0.0)).collect()
    }
}

/// What is minimised: `Σ weight · ln(1 + exp(−wᵀd)) + ridge/2 · |w − centre|²`.
fn loss<'p>(w: &[f64], pairs: impl Iterator<Item = &'p StandardisedPair>, centre: &[f64], ridge: f64) -> f64 {
    let of_pair = |pair: &StandardisedPair| {
        let log_odds = dot(&pair.differences, w);
        // Large log-odds of either sign must not overflow.
        pair.weight * ((-log_odds.abs()).exp().ln_1p() + (-log_odds).max(0.0))
    };
    let distance: f64 = w.iter().zip(centre).map(|(w, c)| (w - c).powi(2)).sum();
    pairs.map(of_pair).sum::<f64>() + ridge / 2.0 * distance
}

/// The point on the way from `from` to `to` that is reached after halving the way until `loss` is no higher than at `from`;
/// `from` itself if there is none. The loss is at least 0.
fn descend(from: &[f64], to: Vec<f64>, loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let before = loss(from) * (1.0 + LOSS_ROUNDING);
    let mut next = to;
    for _ in 0..MAX_HALVINGS {
        if loss(&next) <= before {
            return next;
        }
        next = next.iter().zip(from).map(|(next, from)| f64::midpoint(*next, *from)).collect();
    }
    from.to_vec()
}

/// The first and second derivatives of what is minimised.
struct Derivatives {
    gradient: Vec<f64>,
    hessian: Vec<Vec<f64>>,
}

impl Derivatives {
    fn at<'p>(w: &[f64], pairs: impl Iterator<Item = &'p StandardisedPair>, centre: &[f64], ridge: f64) -> Self {
        let n = w.len();
        let mut gradient: Vec<f64> = w.iter().zip(centre).map(|(w, c)| ridge * (w - c)).collect();
        let diagonal = |i: usize| (0..n).map(|j| if i == j { ridge } else { 0.0 }).collect();
        let mut hessian: Vec<Vec<f64>> = (0..n).map(diagonal).collect();
        for StandardisedPair { differences: d, weight } in pairs {
            let wrong = 1.0 / (1.0 + dot(d, w).exp());
            let curvature = weight * wrong * (1.0 - wrong);
            for (i, row) in hessian.iter_mut().enumerate() {
                gradient[i] -= weight * wrong * d[i];
                row.iter_mut().zip(d).for_each(|(entry, d_j)| *entry += curvature * (d[i] * d_j));
            }
        }
        Self { gradient, hessian }
    }
}

/// The `w ≥ 0` that minimises `½ wᵀ A w − wᵀ b` for a positive definite matrix `A`, by coordinate descent from `start`.
fn minimise(matrix: &[Vec<f64>], linear: &[f64], start: &[f64]) -> Vec<f64> {
    let mut w = start.to_vec();
    for _ in 0..MAX_SWEEPS {
        let mut change = 0.0_f64;
        for (i, row) in matrix.iter().enumerate() {
            let new = (w[i] + (linear[i] - dot(row, &w)) / row[i]).max(0.0);
            change = change.max((new - w[i]).abs());
            w[i] = new;
        }
        if change <= TOLERANCE {
            break;
        }
    }
    w
}

/// The lower triangle `L` of a positive definite matrix `A = L Lᵀ`.
fn cholesky(mut a: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for i in 0..a.len() {
        for j in 0..=i {
            let rest = a[i][j] - (0..j).map(|k| a[i][k] * a[j][k]).sum::<f64>();
            a[i][j] = if i == j { rest.sqrt() } else { rest / a[j][j] };
        }
    }
    a
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn largest_change(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}
