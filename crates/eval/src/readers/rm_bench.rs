//! Reads RM-Bench (Liu et al., 2025). Rows have the columns `id, prompt, chosen[3], rejected[3]`; the three replies of
//! a list have the styles concise, detailed, and detailed with Markdown. The domain is a column in
//! `total_dataset.json`; in other files it is the beginning of the file's name.

use std::path::Path;

use super::{correct_then_incorrect, file_stem};
use crate::EvalError;
use crate::item::{Item, ItemKind};
use crate::rows::Row;

/// The domains, which are the benchmark's categories, in the order of the paper's table. `safety-refuse` and
/// `safety-response` are one domain.
pub const DOMAINS: [&str; 4] = ["chat", "math", "code", "safety"];

pub(super) fn item(row: &Row, path: &Path) -> Result<Item, EvalError> {
    let name = if row.has("domain") { row.text("domain")? } else { file_stem(path).to_owned() };
    let domain = DOMAINS.into_iter().find(|d| name.starts_with(d)).ok_or_else(|| {
        let domains = DOMAINS.join(", ");
        row.wrong(format!(
            "`{name}` is not a domain; add a column `domain` or begin the file's name with one of: {domains}"
        ))
    })?;
    let (chosen, rejected) = (row.texts("chosen")?, row.texts("rejected")?);
    for (key, list) in [("chosen", &chosen), ("rejected", &rejected)] {
        if list.len() != 3 {
            return Err(row.wrong(format!("`{key}` holds {} texts; it must hold three, one per style", list.len())));
        }
    }
    Ok(Item {
        id: row.text("id")?,
        category: domain.to_owned(),
        benchmark: None,
        prompt: row.text("prompt")?,
        completions: chosen.into_iter().chain(rejected).collect(),
        labels: correct_then_incorrect(3, 3),
        kind: ItemKind::StyleMatrix,
    })
}
