//! How sure a share is.

/// The two-sided 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A 95 % interval of a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShareInterval {
    /// The share.
    pub share: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

/// The share `right / answers` with Wilson's score interval (1927) for `trials` independent trials; `None` without answers.
///
/// Replies to the same prompt are not independent. With the number of prompts as `trials` the interval is never too narrow
/// for that reason.
pub fn share_interval(right: u64, answers: u64, trials: u64) -> Option<ShareInterval> {
    if answers == 0 || trials == 0 {
        return None;
    }
    let n = trials as f64;
    let share = (right as f64 / answers as f64).min(1.0);
    let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(ShareInterval { share, low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
}
