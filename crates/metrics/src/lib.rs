//! Metrics of a text beside a reference: pure functions, used by reward tools and evaluation alike.
//!
//! [`math`] decides whether two answers are mathematically equal (as Math-Verify does), [`overlap`] has BLEU, chrF, TER and
//! ROUGE to the digit of sacrebleu and rouge-score, [`ifeval`] the instruction checks of `IFEval`.

pub mod ifeval;
pub mod math;
pub mod overlap;
mod sentences;
