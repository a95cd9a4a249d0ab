//! The log of what judges were asked and answered during a run.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rlar_net::Secret;
use rlar_net::llm::{ChatProgress, ChatReply, ChatRequest, Llm, LlmError, LlmLog};

use crate::RewardError;

/// The file in a run's folder with the newest exchanges of judges. When it is full, it becomes `judges-before.jsonl`.
pub const JUDGES: &str = "judges.jsonl";

/// Largest size of each of the two files, in bytes.
const MAX_FILE: u64 = 32 << 20;

/// The log of the exchanges of all judges; nothing is logged before [`JudgeLog::open`].
#[derive(Debug, Default)]
pub struct JudgeLog {
    /// The language model of the judges with the log around it.
    logged: OnceLock<LlmLog>,
}

impl JudgeLog {
    /// From now on, logs the exchanges with the language model `llm` in the file at `path`, without the secrets. Only the
    /// first call has an effect.
    pub fn open(&self, llm: Arc<dyn Llm>, path: &Path, secrets: Vec<Secret>) -> Result<(), RewardError> {
        if self.logged.get().is_none() {
            let log = LlmLog::new(llm, path)?.redacting(secrets).bounded(MAX_FILE);
            self.logged.get_or_init(|| log);
        }
        Ok(())
    }
}

/// The language model of a judge, whose exchanges are logged once the log is open.
#[derive(Debug)]
pub struct JudgeLlm {
    llm: Arc<dyn Llm>,
    log: Arc<JudgeLog>,
}

impl JudgeLlm {
    /// The language model `llm` with the log `log`.
    pub fn new(llm: Arc<dyn Llm>, log: Arc<JudgeLog>) -> Self {
        Self { llm, log }
    }

    fn logged(&self) -> &dyn Llm {
        match self.log.logged.get() {
            Some(logged) => logged,
            None => &*self.llm,
        }
    }
}

impl Llm for JudgeLlm {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.logged().chat(request)
    }

    fn chat_with_progress(
        &self,
        request: &ChatRequest,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, LlmError> {
        self.logged().chat_with_progress(request, on_progress)
    }

    fn context(&self) -> Option<u64> {
        self.llm.context()
    }

    fn concurrency(&self) -> usize {
        self.llm.concurrency()
    }

    fn name(&self) -> String {
        self.llm.name()
    }
}
