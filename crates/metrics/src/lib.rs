//! Metrics that compare a text with a reference, or check its form. They are pure functions, used by reward tools and
//! by evaluation.
//!
//! - [`math`]: whether two answers are mathematically equal, as Math-Verify decides it.
//! - [`overlap`]: BLEU, chrF, TER and ROUGE, equal to the last digit to sacrebleu and rouge-score.
//! - [`ifeval`]: whether a reply follows an instruction about its form, as `IFEval` checks it.
//!
//! ```
//! use rlar_metrics::math::{MathRules, equivalent};
//! use rlar_metrics::overlap::{BleuTokenizer, bleu};
//!
//! assert!(equivalent(r"The answer is \boxed{\frac{3}{4}}.", "0.75", MathRules::default()));
//! assert!(!equivalent("about 0.33", "1/3", MathRules::default()));
//! let score = bleu::sentence("the cat sat down", &["the cat sat down"], BleuTokenizer::Mteval13a);
//! assert!((score - 100.0).abs() < 1e-9);
//! ```

pub mod ifeval;
pub mod math;
pub mod overlap;
mod sentences;
