//! RM-Bench (Liu et al., 2025): rows `id, prompt, chosen[3], rejected[3]`, each in the styles concise, detailed,
//! detailed with markdown. The domain is a column of `total_dataset.json`, else the beginning of the file's name.

use std::path::Path;

use super::{right_then_wrong, stem};
use crate::EvalError;
use crate::item::{Item, Kind};
use crate::rows::Row;

/// The domains in the order of the paper's table. `safety-refuse` and `safety-response` are one.
pub const DOMAINS: [&str; 4] = ["chat", "math", "code", "safety"];

pub(super) fn item(row: &Row, path: &Path) -> Result<Item, EvalError> {
    let said = if row.has("domain") { row.text("domain")? } else { stem(path).to_owned() };
    let domain = DOMAINS.into_iter().find(|d| said.starts_with(d)).ok_or_else(|| {
        let names = DOMAINS.join(", ");
        row.wrong(format!("`{said}` is no domain; add a column `domain` or begin the file's name with one of: {names}"))
    })?;
    let (chosen, rejected) = (row.texts("chosen")?, row.texts("rejected")?);
    for (key, list) in [("chosen", &chosen), ("rejected", &rejected)] {
        if list.len() != 3 {
            return Err(
                row.wrong(format!("`{key}` holds {} texts; it must hold one in each of three styles", list.len()))
            );
        }
    }
    Ok(Item {
        id: row.text("id")?,
        category: domain.to_owned(),
        prompt: row.text("prompt")?,
        completions: chosen.into_iter().chain(rejected).collect(),
        labels: right_then_wrong(3, 3),
        kind: Kind::Styles,
    })
}
