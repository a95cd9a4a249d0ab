//! The result of the agents' search for new tools of a task: admitted and rejected tools, with counts.

use serde::{Deserialize, Serialize};

use crate::library::new_tool::NewTool;

/// A tool that an agent wrote, or a model that it found, that did not become a tool of the library, with the reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RejectedTool {
    /// The name of the tool; for a model, its Hub id.
    pub name: String,
    /// Why the tool or model was rejected.
    #[serde(rename = "why")]
    pub reason: String,
    /// The files that the agent wrote; `None` for models, and when the language model gave no usable reply.
    #[serde(skip)]
    pub files: Option<DraftFiles>,
}

/// The files of a verifier that an agent wrote and that was rejected.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftFiles {
    /// The tool card (`tool.yaml`), as YAML.
    pub card: String,
    /// The Python code of the verifier.
    pub source: String,
}

/// How many verifiers the agents wrote. In files, these counts are a list of three numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[usize; 3]", into = "[usize; 3]")]
pub struct VerifierCounts {
    /// Number of verifiers that the language model was asked to write.
    pub written: usize,
    /// Number of written verifiers of which at least one draft runs without errors on ordinary replies.
    pub runnable: usize,
    /// Number of written verifiers that passed the admission checks.
    pub admitted: usize,
    /// Number of written verifiers whose first draft runs without errors on ordinary replies. It is not stored in
    /// files.
    pub first_runnable: usize,
    /// Number of admitted verifiers that only hand their arguments to one building block. It is not stored in files.
    pub wrappers: usize,
}

impl From<[usize; 3]> for VerifierCounts {
    fn from([written, runnable, admitted]: [usize; 3]) -> Self {
        Self { written, runnable, admitted, ..Self::default() }
    }
}

impl From<VerifierCounts> for [usize; 3] {
    fn from(counts: VerifierCounts) -> Self {
        [counts.written, counts.runnable, counts.admitted]
    }
}

impl VerifierCounts {
    /// Adds the counts of another search to these.
    pub fn add(&mut self, other: Self) {
        self.written += other.written;
        self.runnable += other.runnable;
        self.admitted += other.admitted;
        self.first_runnable += other.first_runnable;
        self.wrappers += other.wrappers;
    }
}

/// How many reward models the agents found, and how many of them became tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelCounts {
    /// Number of models that the searches found.
    pub considered: usize,
    /// Number of found models that became tools, because they passed the admission checks.
    pub admitted: usize,
}

impl ModelCounts {
    /// Adds the counts of another search to these.
    pub fn add(&mut self, other: Self) {
        self.considered += other.considered;
        self.admitted += other.admitted;
    }
}

/// The tools and models that the agents found or wrote for a task, admitted and rejected ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolSet {
    /// New tools that passed the admission checks.
    pub admitted: Vec<NewTool>,
    /// New tools and models that were rejected, each with the reason.
    pub rejected: Vec<RejectedTool>,
    /// How many verifiers the agents wrote.
    pub verifiers: VerifierCounts,
    /// How many reward models the agents found.
    pub models: ModelCounts,
    /// Messages about the steps that were skipped because the language model or the Hub did not answer. The same
    /// request may succeed later.
    pub unanswered: Vec<String>,
}

impl ToolSet {
    /// Adds the tools and counts of another search to these.
    pub fn add(&mut self, other: Self) {
        self.admitted.extend(other.admitted);
        self.rejected.extend(other.rejected);
        self.verifiers.add(other.verifiers);
        self.models.add(other.models);
        self.unanswered.extend(other.unanswered);
    }
}
