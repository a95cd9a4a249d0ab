//! The report of admission that is kept in a tool's folder.

use serde::{Deserialize, Serialize};

/// The result of the admission checks of a tool, kept as `admission.json` in the tool's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    /// Identity (content hash) of the examined tool. The report does not hold for a tool with another identity.
    pub identity: String,
    /// Version of rlar that examined the tool.
    pub version: String,
    /// Judges: the name of the language model that answered. `None` for other tools.
    #[serde(default, rename = "asked", skip_serializing_if = "Option::is_none")]
    pub llm: Option<String>,
    /// The decision.
    pub status: Status,
    /// Number of examples, preference pairs and card cases that were used.
    pub examples: usize,
    /// The checks, in the order in which they were made.
    #[serde(rename = "probes")]
    pub checks: Vec<Check>,
}

/// The decision about a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The tool may score.
    Admitted,
    /// The tool may score with a small weight: no example showed whether it ranks good replies above bad ones.
    Provisional,
    /// A check failed.
    Refused,
    /// A person took the tool out of use.
    Retired,
}

/// One admission check and its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What a good tool does, as the predicate of a sentence about the tool: "is fast enough".
    pub name: String,
    /// Whether the tool does it.
    pub passed: bool,
    /// The observation behind the result; empty when there is nothing to add.
    pub evidence: String,
}

impl Check {
    pub(crate) fn new(name: &str, passed: bool, evidence: String) -> Self {
        Self { name: name.to_owned(), passed, evidence }
    }
}

impl Admission {
    /// The report of a tool that a person takes out of use, with the reason as evidence.
    pub(crate) fn retired(identity: String, why: String) -> Self {
        Self {
            identity,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            llm: None,
            status: Status::Retired,
            examples: 0,
            checks: vec![Check::new("is in use", false, why)],
        }
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }
}
