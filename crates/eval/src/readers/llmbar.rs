//! Reads LLMBar (Zeng et al., 2024): instructions, each with an output that follows the instruction and one that does
//! not. Each of the five sets is a file; the overall score is the mean of the sets' scores, as in the paper. Equal
//! scores of the two outputs count as half correct, like a judge that decides for a different output in each order.

use std::path::Path;

use super::file_stem;
use crate::EvalError;
use crate::item::{Item, ItemKind};
use crate::rows::Row;

/// The five sets, which are the benchmark's categories; each is the name of a file without its extension.
pub const SETS: [&str; 5] =
    ["Natural", "Adversarial_Neighbor", "Adversarial_GPTInst", "Adversarial_GPTOut", "Adversarial_Manual"];

pub(super) fn item(row: &Row, path: &Path) -> Result<Item, EvalError> {
    let labels = match row.needed("label")?.as_u64() {
        Some(1) => vec![Some(1.0), Some(0.0)],
        Some(2) => vec![Some(0.0), Some(1.0)],
        _ => return Err(row.wrong("`label` must be 1 or 2, the number of the better output")),
    };
    Ok(Item {
        id: super::id(row, "id")?,
        category: file_stem(path).to_owned(),
        benchmark: None,
        prompt: row.text("input")?,
        completions: vec![row.text("output_1")?, row.text("output_2")?],
        labels,
        kind: ItemKind::BestOfN,
    })
}
