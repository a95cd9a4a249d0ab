//! The log of what the judges of a run are asked and answer.

use std::path::Path;
use std::sync::Arc;

use rlar_net::Secret;

use super::Orchestrator;
use crate::RewardError;
use crate::tool::card::ToolKind;

impl Orchestrator {
    /// From now on, logs what judges are asked and answer in the file at `path`, without the secrets. Does nothing if no tool
    /// of the library is a judge, or without a language model.
    pub fn log_judges(&self, path: &Path, secrets: Vec<Secret>) -> Result<(), RewardError> {
        let has_judge = self.library.cards().any(|card| matches!(card.kind, ToolKind::Judge(_)));
        match &self.context.llm {
            Some(llm) if has_judge => self.context.judge_log.open(Arc::clone(llm), path, secrets),
            _ => Ok(()),
        }
    }
}
