//! RewardBench 2 (Malik et al., 2025): rows `id, prompt, chosen[], rejected[], num_correct, num_incorrect,
//! total_completions, models[], subset, additional_metadata`, as `allenai/reward-bench-2` publishes them.

use super::right_then_wrong;
use crate::EvalError;
use crate::item::{Item, Kind};
use crate::rows::Row;
use crate::ties::parse_id;

/// The subsets in the order of the paper's table.
pub const SUBSETS: [&str; 6] = ["Factuality", "Precise IF", "Math", "Safety", "Focus", "Ties"];

pub(super) fn item(row: &Row) -> Result<Item, EvalError> {
    let (id, category) = (row.text("id")?, row.text("subset")?);
    let (chosen, rejected) = (row.texts("chosen")?, row.texts("rejected")?);
    let (right, wrong) = (chosen.len(), rejected.len());
    row.counts("num_correct", right)?;
    row.counts("num_incorrect", wrong)?;
    row.counts("total_completions", right + wrong)?;
    if !SUBSETS.contains(&category.as_str()) {
        return Err(row.wrong(format!("subset `{category}` is not one of: {}", SUBSETS.join(", "))));
    }
    let kind = if category == "Ties" { Kind::Ties } else { Kind::Pick };
    if kind == Kind::Ties && parse_id(&id).is_none() {
        return Err(
            row.wrong(format!("id `{id}` in Ties must be `ref:N` or `tied:N`, which pairs the rows of a prompt"))
        );
    }
    let completions = chosen.into_iter().chain(rejected).collect();
    Ok(Item { id, category, prompt: row.text("prompt")?, completions, labels: right_then_wrong(right, wrong), kind })
}
