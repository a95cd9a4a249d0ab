//! The building blocks of verifiers: functions of the Python module `rlar_tools`, which untrusted code may import.

use std::fmt;

/// The source of the Python module `rlar_tools`.
pub const BUILDING_BLOCKS: &str = include_str!("python/rlar_tools.py");

/// Whether Python source may import the building blocks, because it mentions their module `rlar_tools`.
pub fn uses_building_blocks(source: &str) -> bool {
    source.contains("rlar_tools")
}

/// A function of the Python module `rlar_tools`. Displayed as text, it is a line such as
/// `last_number(text) -> float | None: The last number in the text, or None if there is none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildingBlock {
    /// Name of the function.
    pub name: &'static str,
    /// Name, parameters and type of the result, as Python writes them.
    pub signature: &'static str,
    /// What the function returns, in less than a sentence.
    pub summary: &'static str,
    /// A Python expression that calls the function and whose value is true.
    pub example: &'static str,
}

impl fmt::Display for BuildingBlock {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.signature, self.summary)
    }
}

/// The functions of the Python module `rlar_tools`, in the order of its source.
pub fn building_blocks() -> Vec<BuildingBlock> {
    let lines = BUILDING_BLOCKS.lines();
    let with_next = lines.clone().zip(lines.skip(1));
    with_next.filter_map(|(line, next)| building_block(line.strip_prefix("def ")?, next)).collect()
}

/// Reads a building block from a function's header (the text after `def`) and its docstring. `None` for a function that
/// is not public, or has a docstring of another form.
fn building_block(header: &'static str, docstring: &'static str) -> Option<BuildingBlock> {
    let signature = header.strip_suffix(':').filter(|header| !header.starts_with('_'))?;
    let (name, _) = signature.split_once('(')?;
    let text = docstring.trim().trim_start_matches('r').strip_prefix('"')?.strip_suffix('"')?;
    let (summary, example) = text.split_once(". Example: ")?;
    Some(BuildingBlock { name, signature, summary, example })
}
