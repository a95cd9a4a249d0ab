//! What the court said of a tool: the report that is kept in its folder.

use serde::{Deserialize, Serialize};

/// What the court says of a tool: kept as `admission.json` in its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    /// The identity of the tool that was examined: another one has to be examined anew.
    pub identity: String,
    /// The version of rlar that examined it.
    pub version: String,
    /// Judges: the language model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// What came of it.
    pub status: Status,
    /// Examples that were used.
    pub examples: usize,
    /// What was asked, and what came of each.
    pub probes: Vec<Probe>,
}

/// What came of an examination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It may score.
    Admitted,
    /// It may score with little weight: there was nothing to tell good replies from bad ones by.
    Provisional,
    /// A probe failed.
    Refused,
    /// A person took it out of use.
    Retired,
}

/// One question of the court.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// What the tool has to show.
    pub name: String,
    /// Whether it did.
    pub passed: bool,
    /// What was seen.
    pub evidence: String,
}

impl Admission {
    /// The probes that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Probe> {
        self.probes.iter().filter(|p| !p.passed)
    }
}
