//! The one-factor model of correlations: what tools have in common.

/// Largest loading. A loading of 1 would say that a tool makes no error, and give it an infinite weight (Heywood, 1931).
const MAX_LOADING: f64 = 0.95;

/// Loadings from which the fit starts if the tools do not agree on average, so that some that agree are found.
const MIXED_START: f64 = 0.3;

/// Strength of a weak pull of all loadings to a common value. It decides where the correlations do not: of two tools that
/// agree with each other alone, only the product of the loadings is known.
const PULL: f64 = 0.003;

const MAX_SWEEPS: usize = 3000;

/// Sweeps end when no loading changes by more than this.
const TOLERANCE: f64 = 1e-12;

/// The loading of each tool on the factor that all tools have in common, from 0 to 0.95: the `λ` that minimise
/// `Σ_{i<j} (R_ij − λ_i λ_j)²` over the known correlations `R`, `[tool][tool]` (Harman and Jones, 1966; found by
/// coordinate descent), up to a weak pull to a common value. A tool that contradicts the others has the loading 0, as has one whose correlations are unknown.
pub fn loadings(correlations: &[Vec<Option<f64>>]) -> Vec<f64> {
    let tools = correlations.len();
    let known = |i: usize| (0..tools).filter(move |j| *j != i).filter_map(move |j| Some((j, correlations[i][j]?)));
    let (sum, count) = (0..tools).flat_map(known).fold((0.0, 0.0), |(sum, n), (_, r)| (sum + r, n + 1.0));
    let start = if sum > 0.0 { (sum / count).sqrt().min(MAX_LOADING) } else { MIXED_START };
    let common = if sum > 0.0 { start } else { 0.0 };
    let mut loadings = vec![start; tools];
    for _ in 0..MAX_SWEEPS {
        let mut change = 0.0_f64;
        for i in 0..tools {
            let (product, square) =
                known(i).fold((0.0, 0.0), |(p, s), (j, r)| (p + r * loadings[j], s + loadings[j] * loadings[j]));
            let fitted = (product + PULL * common) / (square + PULL);
            let new = if square > 0.0 { fitted.clamp(0.0, MAX_LOADING) } else { 0.0 };
            change = change.max((new - loadings[i]).abs());
            loadings[i] = new;
        }
        if change <= TOLERANCE {
            break;
        }
    }
    loadings
}
