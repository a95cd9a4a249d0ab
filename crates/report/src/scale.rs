//! The axes of a plot: from values to places, and the values at which an axis has a label.

/// An axis over a range of values.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
    /// Where the axis has labels, rising, inside of its range.
    pub ticks: Vec<f64>,
}

impl Scale {
    /// A linear axis that holds all values, with about `count` labels at round numbers. If it is `rounded`, its ends are such
    /// numbers, too.
    pub fn linear(values: impl Iterator<Item = f64>, count: usize, rounded: bool) -> Self {
        let (low, high) = range(values);
        let (low, high) = if low < high { (low, high) } else { widened(low) };
        let step = round_step((high / 2.0 - low / 2.0) * 2.0 / count.max(1) as f64);
        let (low, high) =
            if rounded { ((low / step).floor() * step, (high / step).ceil() * step) } else { (low, high) };
        let mut ticks = Vec::new();
        let first = (low / step).ceil();
        for i in 0..=2 * count {
            let tick = (first + i as f64) * step;
            if tick > high + step * 1e-9 {
                break;
            }
            // A sum of steps that should be 0 is a tiny number.
            ticks.push(if tick.abs() < step * 1e-9 { 0.0 } else { tick });
        }
        ticks.dedup();
        Self { low, high, is_log: false, ticks }
    }

    /// A logarithmic axis that holds all values above 0, with labels at powers of ten, at 1, 2 and 5 times them, or, in
    /// a narrow range, at round numbers.
    pub fn log(values: impl Iterator<Item = f64>) -> Self {
        // Smaller values have fewer digits, and their half may be 0.
        let (low, high) = range(values.filter(|value| *value > 0.0).map(|value| value.max(1e-300)));
        let (low, high) = if low < high { (low, high) } else { (low / 2.0, low * 2.0) };
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let every = ((last - first) / 6).max(1);
        let factors: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let powers = (first..=last).step_by(every as usize);
        let ticks = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
        let mut ticks: Vec<f64> = ticks.filter(|tick| (low..=high).contains(tick)).collect();
        if ticks.len() < 2 {
            ticks = Self::linear([low, high].into_iter(), 5, false).ticks;
        }
        Self { low, high, is_log: true, ticks }
    }

    /// The place of a value: 0 at the lower end of the axis, 1 at the upper end. Values outside are put at an end.
    pub fn place(&self, value: f64) -> f64 {
        let (low, high, value) = if self.is_log {
            (self.low.ln(), self.high.ln(), value.max(f64::MIN_POSITIVE).ln())
        } else {
            (self.low / 2.0, self.high / 2.0, value / 2.0)
        };
        if low < high { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
    }
}

/// The lowest and the highest of some values; 0 and 1 without values.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values.filter(|value| value.is_finite());
    ends.fold(None, |ends: Option<(f64, f64)>, value| {
        Some(ends.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    })
    .unwrap_or((0.0, 1.0))
}

/// A range around a single value.
fn widened(value: f64) -> (f64, f64) {
    if value == 0.0 { (0.0, 1.0) } else { (value - value.abs() * 0.1, value + value.abs() * 0.1) }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    if !(step.is_finite() && step > 0.0) {
        return 1.0;
    }
    let power = 10f64.powi(step.log10().floor().clamp(-300.0, 300.0) as i32);
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|round| *round >= step).unwrap_or(step)
}
