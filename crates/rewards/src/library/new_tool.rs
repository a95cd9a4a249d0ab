//! A tool on its way into a library.

use serde::{Deserialize, Serialize};

use crate::admission::report::Admission;

/// A tool that an agent made, with everything that its folder will hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTool {
    /// The tool's name.
    pub name: String,
    /// The text of its `tool.yaml`.
    pub card: String,
    /// The code of a verifier; empty for other tools.
    pub source: String,
    /// Its admission report.
    pub admission: Admission,
}
