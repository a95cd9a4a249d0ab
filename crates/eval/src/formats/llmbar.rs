//! LLMBar (Zeng et al., 2024): instructions with an output that follows them and one that does not. The sets are
//! files; the paper's average is that of the sets. A tie is half right, as the mean over both orders has it.

use std::path::Path;

use super::stem;
use crate::EvalError;
use crate::item::{Item, Kind};
use crate::rows::Row;

/// The sets, which are the files' names.
pub const SETS: [&str; 5] =
    ["Natural", "Adversarial_Neighbor", "Adversarial_GPTInst", "Adversarial_GPTOut", "Adversarial_Manual"];

pub(super) fn item(row: &Row, path: &Path) -> Result<Item, EvalError> {
    let labels = match row.needed("label")?.as_u64() {
        Some(1) => vec![Some(1.0), Some(0.0)],
        Some(2) => vec![Some(0.0), Some(1.0)],
        _ => return Err(row.wrong("`label` must be 1 or 2, the output that is better")),
    };
    Ok(Item {
        id: super::id(row, "id")?,
        category: stem(path).to_owned(),
        prompt: row.text("input")?,
        completions: vec![row.text("output_1")?, row.text("output_2")?],
        labels,
        kind: Kind::Pick,
    })
}
