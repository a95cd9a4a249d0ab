//! Reads LLMBar (Zeng et al., 2024): instructions with an output that follows them and one that does not. Each set is a file,
//! and the paper averages over sets. A tie counts one half, like the mean over both orders of a judge.

use std::path::Path;

use super::file_stem;
use crate::EvalError;
use crate::item::{Item, ItemKind};
use crate::rows::Row;

/// The sets, by the names of their files.
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
        prompt: row.text("input")?,
        completions: vec![row.text("output_1")?, row.text("output_2")?],
        labels,
        kind: ItemKind::BestOfN,
    })
}
