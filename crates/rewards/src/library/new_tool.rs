//! A tool that no library holds yet.

use serde::{Deserialize, Serialize};

use crate::admission::report::Admission;

/// A tool that is new to a library: everything that its folder holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTool {
    /// Its name.
    pub name: String,
    /// Its card, as YAML.
    pub card: String,
    /// A verifier's code.
    pub source: String,
    /// What the court said of it.
    pub admission: Admission,
}
