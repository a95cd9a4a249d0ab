//! Tools that agents made and that are not yet in a library.

use serde::{Deserialize, Serialize};

use crate::admission::report::Admission;

/// A tool that an agent (a language model with a task) made, with everything that its folder will hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTool {
    /// The tool's name.
    pub name: String,
    /// The text of the tool's `tool.yaml`.
    pub card: String,
    /// The code of a verifier; empty for other tools.
    pub source: String,
    /// The report of the tool's admission checks.
    pub admission: Admission,
}
