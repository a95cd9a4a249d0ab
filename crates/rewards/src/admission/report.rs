//! The report of a tool's admission checks, which is stored in the tool's folder.

use serde::{Deserialize, Serialize};

/// The result of the admission checks of a tool, stored as `admission.json` in the tool's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Admission {
    /// Content hash of the examined tool. The report holds only for a tool with this hash.
    pub identity: String,
    /// Version of rlar that examined the tool.
    pub version: String,
    /// For tools of kind `judge`: the name of the language model that gave the scores. `None` for other tools.
    #[serde(default, rename = "asked", skip_serializing_if = "Option::is_none")]
    pub llm: Option<String>,
    /// The decision about the tool: whether it may score rollouts.
    pub status: Status,
    /// Number of examples, preference pairs and cases of the tool card on which the tool was examined.
    pub examples: usize,
    /// The probability that a good reply to a prompt scores above a bad reply to the same prompt, ties counted as a half
    /// (AUC), from 0 to 1; `None` where no good and bad reply to the same prompt had scores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auc: Option<f64>,
    /// The probability that a half-right reply scores above a bad reply to the same prompt, from 0 to 1, ties counted as a
    /// half: 0.5 for a tool that pays for a perfect reply only. `None` where there were no half-right replies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_right_auc: Option<f64>,
    /// The checks, in the order in which they were made.
    #[serde(rename = "probes")]
    pub checks: Vec<Check>,
}

/// The decision about a tool, which says whether it may score rollouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The tool passed every check and may score.
    Admitted,
    /// The tool passed every check and may score, but only with a small weight, because no example showed whether it
    /// ranks good replies above bad ones.
    Provisional,
    /// The tool failed a check and may not score.
    Refused,
    /// A person took the tool out of use, so that it may not score.
    Retired,
}

/// One admission check and its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What a good tool does, as the predicate of a sentence about the tool: "is fast enough".
    pub name: String,
    /// Whether the tool passed the check.
    pub passed: bool,
    /// What was observed that explains the result, such as a wrongly scored reply; empty when there is nothing to add.
    pub evidence: String,
}

impl Check {
    pub(crate) fn new(name: &str, passed: bool, evidence: String) -> Self {
        Self { name: name.to_owned(), passed, evidence }
    }
}

impl Admission {
    /// The report that replaces a tool's report when a person takes the tool out of use. The evidence of the only check
    /// is the reason, `why`.
    pub(crate) fn retired(identity: String, why: String) -> Self {
        Self {
            identity,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            llm: None,
            status: Status::Retired,
            examples: 0,
            auc: None,
            half_right_auc: None,
            checks: vec![Check::new("is in use", false, why)],
        }
    }

    /// The checks that the tool failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }
}
