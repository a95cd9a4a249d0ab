//! The result of a search for new tools: admitted and rejected ones, with counts.

use serde::{Deserialize, Serialize};

use crate::library::new_tool::NewTool;

/// A new tool or model that was not admitted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RejectedTool {
    /// The name of the tool, or the Hub id of the model.
    pub name: String,
    /// Why it was rejected.
    #[serde(rename = "why")]
    pub reason: String,
    /// What the agent wrote; `None` for models and when no reply was usable.
    #[serde(skip)]
    pub files: Option<DraftFiles>,
}

/// The files of a verifier that an agent wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftFiles {
    /// The card, as YAML.
    pub card: String,
    /// The Python code.
    pub source: String,
}

/// How many verifiers the agents wrote. On disk it is a list of three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[usize; 3]", into = "[usize; 3]")]
pub struct VerifierCounts {
    /// Verifiers that were requested from the language model.
    pub written: usize,
    /// Those whose last version runs without errors.
    pub runnable: usize,
    /// Those that were admitted.
    pub admitted: usize,
}

impl From<[usize; 3]> for VerifierCounts {
    fn from([written, runnable, admitted]: [usize; 3]) -> Self {
        Self { written, runnable, admitted }
    }
}

impl From<VerifierCounts> for [usize; 3] {
    fn from(counts: VerifierCounts) -> Self {
        [counts.written, counts.runnable, counts.admitted]
    }
}

impl VerifierCounts {
    /// Adds other counts to these.
    pub fn add(&mut self, other: Self) {
        self.written += other.written;
        self.runnable += other.runnable;
        self.admitted += other.admitted;
    }
}

/// How many reward models the agents found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelCounts {
    /// Models that the searches returned.
    pub considered: usize,
    /// Those that were admitted as tools.
    pub admitted: usize,
}

impl ModelCounts {
    /// Adds other counts to these.
    pub fn add(&mut self, other: Self) {
        self.considered += other.considered;
        self.admitted += other.admitted;
    }
}

/// What the agents found or wrote for a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolSet {
    /// Tools that passed admission.
    pub admitted: Vec<NewTool>,
    /// Tools and models that did not.
    pub rejected: Vec<RejectedTool>,
    /// How many verifiers were written.
    pub verifiers: VerifierCounts,
    /// How many reward models were found.
    pub models: ModelCounts,
    /// Steps that were skipped because the language model or the Hub did not answer; the same request may succeed later.
    pub unanswered: Vec<String>,
}

impl ToolSet {
    /// Adds the results of another search.
    pub fn add(&mut self, other: Self) {
        self.admitted.extend(other.admitted);
        self.rejected.extend(other.rejected);
        self.verifiers.add(other.verifiers);
        self.models.add(other.models);
        self.unanswered.extend(other.unanswered);
    }
}
