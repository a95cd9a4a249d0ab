//! Shares as percentages, of which the same share always gives the same text.

/// A share as a percentage with one decimal, without `%`, such as `38.2` for 0.3825; `NaN` for what is no finite number.
///
/// Halves are rounded to the even digit. A share that was computed in another order may differ in its last bits, which must
/// not decide how a half is rounded: 23 of 80 is 28.75 %, but `100.0 * (23.0 / 80.0)` is slightly less. So what lies beyond
/// the ninth decimal of the percentage does not count. The page of `rlar view` rounds in the same way.
pub fn percent(share: f64) -> String {
    /// Billionths of a percent in a tenth of a percent.
    const TENTH: u64 = 100_000_000;
    let billionths = (share.abs() * 1e11).round();
    if !billionths.is_finite() {
        return "NaN".to_owned();
    }
    let billionths = billionths as u64;
    let (whole, rest) = (billionths / TENTH, billionths % TENTH);
    let is_up = rest > TENTH / 2 || (rest == TENTH / 2 && whole % 2 == 1);
    let tenths = whole + u64::from(is_up);
    let sign = if share < 0.0 && tenths > 0 { "-" } else { "" };
    format!("{sign}{}.{}", tenths / 10, tenths % 10)
}
