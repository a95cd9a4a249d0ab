//! Assigns tools to examples and scores batches with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rlar_data::{Completion, Example};
use rlar_sandbox::{Limits, Over, Packages, Sandbox, SandboxError};

use serde::{Deserialize, Serialize};

use crate::admission::Admission;
use crate::agent::{Assignment, BuiltinAgent};
use crate::library::{Library, Tool};
use crate::{Outcome, RewardError};

/// The outcomes of one completion: tool, weight, outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores(pub Vec<(Arc<str>, f64, Outcome)>);

impl Scores {
    /// The weighted sum, or `None` when any tool gave no score or none was asked.
    pub fn total(&self) -> Option<f64> {
        if self.0.is_empty() {
            return None;
        }
        self.0.iter().map(|(_, weight, outcome)| outcome.score().map(|s| s * weight)).sum()
    }
}

/// Chooses, opens and runs reward tools.
#[derive(Debug)]
pub struct Orchestrator {
    library: Library,
    agent: BuiltinAgent,
    sandbox: Result<Sandbox, SandboxError>,
    packages: Packages,
    limits: Limits,
    tools: BTreeMap<String, Tool>,
    assigned: BTreeMap<String, Assignment>,
}

impl Orchestrator {
    /// An orchestrator over a library.
    pub fn new(library: Library, limits: Limits) -> Self {
        Self {
            library,
            agent: BuiltinAgent,
            sandbox: Sandbox::open(),
            packages: Packages::default(),
            limits,
            tools: BTreeMap::new(),
            assigned: BTreeMap::new(),
        }
    }

    /// The same with packages that verifiers may import.
    #[must_use]
    pub fn allowing(mut self, packages: Packages) -> Self {
        self.packages = packages;
        self
    }

    /// The library.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Chooses the tools of an example without opening them.
    pub fn choose(&self, example: &Example) -> Result<Assignment, RewardError> {
        self.agent.assign(example, self.library.cards())
    }

    /// The packages that opening a tool would install.
    pub fn missing_packages(&self, tool: &str) -> Result<Vec<String>, RewardError> {
        let required = self.library.cards().find(|c| c.name == tool).map_or(&[][..], |c| &c.requires);
        let Ok(sandbox) = &self.sandbox else { return Ok(Vec::new()) };
        let has = sandbox.has_packages(required, &self.packages);
        let has = has.map_err(|e| RewardError::tool(tool, e.to_string()))?;
        Ok(if has { Vec::new() } else { required.to_vec() })
    }

    /// Chooses the tools of an example, once, and opens them.
    pub fn assign(&mut self, example: &Example) -> Result<&Assignment, RewardError> {
        let key = key(example);
        if !self.assigned.contains_key(&key) {
            let assignment = self.choose(example)?;
            for choice in &assignment.tools {
                self.open(&choice.tool)?;
            }
            self.assigned.insert(key.clone(), assignment);
        }
        Ok(&self.assigned[&key])
    }

    /// Takes over the assignments of an earlier process for these examples, and opens their tools.
    pub fn recall(&mut self, assigned: Vec<(&Example, Assignment)>) -> Result<(), RewardError> {
        for (example, assignment) in assigned {
            for choice in &assignment.tools {
                self.open(&choice.tool)?;
            }
            self.assigned.insert(key(example), assignment);
        }
        Ok(())
    }

    /// A tool by name, started where it is not yet.
    pub fn open(&mut self, name: &str) -> Result<&Tool, RewardError> {
        if !self.tools.contains_key(name) {
            let tool = self.library.open(name, &self.sandbox, &self.packages, self.limits)?;
            self.tools.insert(name.to_owned(), tool);
        }
        Ok(&self.tools[name])
    }

    /// Keeps what the court said of a tool, which is opened anew when it is needed.
    pub fn admit(&mut self, tool: &str, admission: Admission) {
        self.library.set_admission(tool, admission);
        self.tools.remove(tool);
    }

    /// Scores each completion with the tools of its example; every tool sees its share of the batch at once.
    pub fn score(&mut self, items: &[(&Example, &Completion)]) -> Result<Vec<Scores>, RewardError> {
        self.score_until(items, &|| false)
    }

    /// The same, until `over` says that no more outcomes are wanted: what has not begun by then has failed.
    pub fn score_until(&mut self, items: &[(&Example, &Completion)], over: Over) -> Result<Vec<Scores>, RewardError> {
        let mut shares: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        let mut scores = Vec::with_capacity(items.len());
        for (i, (example, _)) in items.iter().enumerate() {
            let assignment = self.assign(example)?;
            let mut slots = Vec::new();
            for (j, choice) in assignment.tools.iter().enumerate() {
                shares.entry(choice.tool.clone()).or_default().push((i, j));
                slots.push((Arc::from(choice.tool.as_str()), choice.weight, Outcome::Abstained("not asked".into())));
            }
            scores.push(Scores(slots));
        }
        for (name, share) in shares {
            let part: Vec<_> = share.iter().map(|(i, _)| items[*i]).collect();
            for ((i, j), outcome) in share.into_iter().zip(self.tools[&name].score_until(&part, over)?) {
                scores[i].0[j].2 = outcome;
            }
        }
        Ok(scores)
    }
}

/// What assignments are remembered by: ids are unique within a file only.
fn key(example: &Example) -> String {
    format!("{}\0{}\0{:?}", example.id, example.prompt(), example.reference)
}
