//! The agents with everything that they use: language model, Hub, web search, sandbox.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rlar_data::Example;
use rlar_net::Secret;
use rlar_net::hub::Hub;
use rlar_net::llm::{LlmCache, LlmLog};
use rlar_net::web::WebSearch;

use crate::RewardError;
use crate::agents::builtin::BuiltinAgent;
use crate::agents::classify::{TaskLabels, classify};
use crate::agents::client::{LlmClient, UsageByRole};
use crate::agents::retrieve::HubConfig;
use crate::agents::tasks::TaskList;
use crate::tool::scoring::ToolContext;

/// The file of a folder that caches the language model's replies.
pub const EXCHANGES: &str = "exchanges.jsonl";

/// The file of a folder that logs every request to the language model, failed ones included.
pub const LOG: &str = "agents.jsonl";

/// The agents and the services that they use.
pub struct Agents {
    /// The language model; without it the builtin agent decides what it can and no verifier is written.
    pub llm: Option<LlmClient>,
    /// The Hub with the limits for models; without it no reward model is searched.
    pub hub: Option<(Hub, HubConfig)>,
    /// Web search engines, beside the Hub's own search.
    pub webs: Vec<Box<dyn WebSearch>>,
    /// Sandbox, device and services that new tools run with.
    pub context: ToolContext,
    /// Secrets that are removed from the log.
    pub secrets: Vec<Secret>,
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Agents").field("llm", &self.llm).field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Agents {
    /// Caches the replies of the language model in a folder (`exchanges.jsonl`), so that no request is sent twice, and logs
    /// every request there (`agents.jsonl`). Does nothing without a language model.
    pub fn with_cache(self, folder: &Path) -> Result<Self, RewardError> {
        let Some(client) = &self.llm else { return Ok(self) };
        let logged = LlmLog::new(client.llm(), &folder.join(LOG))?.redacting(self.secrets.clone());
        let cached = LlmClient::new(Arc::new(LlmCache::new(Arc::new(logged), &folder.join(EXCHANGES))?));
        Ok(Self { llm: Some(cached), ..self })
    }

    /// Usage of the language model so far, by role.
    pub fn usage(&self) -> UsageByRole {
        self.llm.as_ref().map(LlmClient::usage).unwrap_or_default()
    }

    /// The builtin agent's task label of an example.
    pub fn builtin_label(&self, example: &Example) -> String {
        BuiltinAgent.label(example)
    }

    /// Labels examples by their tasks.
    pub fn classify(&self, examples: &[&Example]) -> TaskLabels {
        classify(self.llm.as_ref(), examples, &mut TaskList::default())
    }

    /// Bytes of reward models that may be downloaded in total.
    pub fn download_budget(&self) -> u64 {
        self.hub.as_ref().map_or(0, |(_, config)| config.max_megabytes_in_all << 20)
    }
}
