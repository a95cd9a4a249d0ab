//! Answers as people and models write them, each notation with right and wrong replies.

mod formulas;
mod numbers;
mod units;
mod wholes;

use rlar_metrics::math::{MathRules, equivalent, unclear};

/// Whether a reply is right; `None` if the reference cannot be compared.
fn judged(reference: &str, reply: &str) -> Option<bool> {
    let rules = MathRules { sets_for_relations: true, ..MathRules::default() };
    unclear(reference).is_none().then(|| equivalent(reply, reference, rules))
}
