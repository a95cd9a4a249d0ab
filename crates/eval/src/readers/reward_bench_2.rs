//! Reads RewardBench 2 (Malik et al., 2025). Rows have the columns `id, prompt, chosen[], rejected[], num_correct,
//! num_incorrect, total_completions, models[], subset, additional_metadata`, as in `allenai/reward-bench-2`. How the
//! benchmark's score is computed is in [`crate::reward_bench_2`].

use super::correct_then_incorrect;
use crate::EvalError;
use crate::item::{Item, ItemKind};
use crate::reward_bench_2::{SUBSETS, TiesId};
use crate::rows::Row;

pub(super) fn item(row: &Row) -> Result<Item, EvalError> {
    let (id, category) = (row.text("id")?, row.text("subset")?);
    let (chosen, rejected) = (row.texts("chosen")?, row.texts("rejected")?);
    let (num_correct, num_incorrect) = (chosen.len(), rejected.len());
    row.check_count("num_correct", num_correct)?;
    row.check_count("num_incorrect", num_incorrect)?;
    row.check_count("total_completions", num_correct + num_incorrect)?;
    if !SUBSETS.contains(&category.as_str()) {
        return Err(row.wrong(format!("subset `{category}` is not one of: {}", SUBSETS.join(", "))));
    }
    let kind = if category == "Ties" { ItemKind::Ties } else { ItemKind::BestOfN };
    if kind == ItemKind::Ties && TiesId::parse(&id).is_none() {
        return Err(
            row.wrong(format!("id `{id}` in Ties must be `ref:N` or `tied:N`, where N pairs the rows of a prompt"))
        );
    }
    let completions = chosen.into_iter().chain(rejected).collect();
    let labels = correct_then_incorrect(num_correct, num_incorrect);
    Ok(Item { id, category, benchmark: None, prompt: row.text("prompt")?, completions, labels, kind })
}
