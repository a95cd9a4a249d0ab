//! Mean and variance of a list of numbers.

/// The mean of the values; 0 where there are no values.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The unbiased sample variance of the values, whose mean is given; 0 for fewer than two values.
pub fn sample_variance(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0).max(1.0)
}
