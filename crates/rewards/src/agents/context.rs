//! The agents with the services that they use: language model, Hub, web search and sandbox.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rlar_data::Example;
use rlar_net::Secret;
use rlar_net::hub::Hub;
use rlar_net::llm::{LlmCache, LlmLog};
use rlar_net::web::WebSearch;

use crate::RewardError;
use crate::agents::classify::{TaskLabels, classify};
use crate::agents::client::{LlmClient, UsageByRole};
use crate::agents::llm_event::LlmObserver;
use crate::agents::retrieve::HubConfig;
use crate::agents::tasks::TaskList;
use crate::tool::scoring::ToolContext;

/// Name of the file, in a given folder, that caches the language model's replies.
pub const EXCHANGES: &str = "exchanges.jsonl";

/// Name of the file, in a given folder, that logs every request to the language model, failed ones included.
pub const LOG: &str = "agents.jsonl";

/// The agents and the services that they use.
pub struct Agents {
    /// The language model; `None` for none. Without it, the builtin agent (fixed rules) labels examples and chooses
    /// tools, and no verifier is written.
    pub llm: Option<LlmClient>,
    /// The Hugging Face Hub, with the limits for models; `None` for none. Without it, no reward models are searched
    /// for.
    pub hub: Option<(Hub, HubConfig)>,
    /// Web search engines that look for reward models, besides the Hub's own search; may be empty.
    pub webs: Vec<Box<dyn WebSearch>>,
    /// The sandbox, device and services with which new tools run.
    pub context: ToolContext,
    /// Secrets, such as API keys, that are removed from the log of requests.
    pub secrets: Vec<Secret>,
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Agents").field("llm", &self.llm).field("hub", &self.hub).finish_non_exhaustive()
    }
}

impl Agents {
    /// Caches the replies of the language model in `folder` (`exchanges.jsonl`), so that no request is sent twice, and
    /// logs every request there (`agents.jsonl`). Does nothing without a language model.
    pub fn with_cache(self, folder: &Path) -> Result<Self, RewardError> {
        let Some(client) = &self.llm else { return Ok(self) };
        let logged = LlmLog::new(client.llm(), &folder.join(LOG))?.redacting(self.secrets.clone());
        let cached = client.replaced_by(Arc::new(LlmCache::new(Arc::new(logged), &folder.join(EXCHANGES))?));
        Ok(Self { llm: Some(cached), ..self })
    }

    /// The agents, whose requests to the language model are told to `observer`.
    #[must_use]
    pub fn observed_by(self, observer: LlmObserver) -> Self {
        Self { llm: self.llm.map(|client| client.observed_by(observer)), ..self }
    }

    /// Usage of the language model so far, by agent role; empty without a language model.
    pub fn usage(&self) -> UsageByRole {
        self.llm.as_ref().map(LlmClient::usage).unwrap_or_default()
    }

    /// Gives examples the labels of their tasks.
    pub fn classify(&self, examples: &[&Example]) -> TaskLabels {
        classify(self.llm.as_ref(), examples, &mut TaskList::default())
    }

    /// Number of bytes of reward models that may be downloaded in total; 0 without a Hub.
    pub fn download_budget(&self) -> u64 {
        self.hub.as_ref().map_or(0, |(_, config)| config.max_megabytes_in_all << 20)
    }
}
