//! The tool card of a user's reward function.

use rlar_sandbox::FunctionSource;

use crate::tool::card::{ToolCard, ToolKind, ToolRole};
use crate::tool::python::entry::PythonFunction;

/// The range of a tool whose scores have no bounds.
pub const UNBOUNDED: [f64; 2] = [-1e300, 1e300];

/// The tool card of a user's reward function. `packages` are Python packages that the function may import besides those
/// that its entry in the config names.
pub fn function_card(entry: &PythonFunction, source: &FunctionSource, packages: &[String]) -> ToolCard {
    let FunctionSource { function, file, files, .. } = source;
    let mut requires: Vec<String> = packages.iter().chain(&entry.packages).cloned().collect();
    requires.sort();
    requires.dedup();
    ToolCard {
        name: entry.tool_name().to_owned(),
        kind: ToolKind::Python {
            function: function.clone(),
            file: file.clone(),
            modules: files.keys().filter(|name| *name != file).cloned().collect(),
            requires,
            ranked: entry.role.is_some(),
            trusted: entry.trusted,
            kwargs: entry.kwargs.clone(),
        },
        role: entry.role.unwrap_or(ToolRole::Quality),
        measures: format!("what `{function}` of {file} returns"),
        tasks: Vec::new(),
        needs_reference: false,
        bare: false,
        range: entry.range.unwrap_or(UNBOUNDED),
        cases: Vec::new(),
        origin: "a function of the user".into(),
    }
}
