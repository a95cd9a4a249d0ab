//! Chats with one server or several that serve the same model.

use std::fmt;

use crate::http::redacted;
use crate::least_outstanding::{LeastOutstanding, ServerLease};
use crate::llm::concurrency::ChatPermit;
use crate::llm::connection::OpenAiConnection;
use crate::llm::{ChatProgress, ChatReply, ChatRequest, LlmError, OpenAiSettings};
use crate::retry::{AttemptError, RetryError, RetryPolicy, tried, with_retries};
use crate::runtime::BackgroundRuntime;

/// The servers of a client. A chat goes to the server with the fewest under way, and to another one if that fails.
pub(crate) struct ChatServers {
    pub settings: OpenAiSettings,
    /// The connections, at least one.
    connections: Vec<OpenAiConnection>,
    routing: LeastOutstanding,
    pub background: BackgroundRuntime,
}

/// The permission for one chat with a server, until it is dropped.
struct ChatPlace<'a> {
    connection: &'a OpenAiConnection,
    lease: ServerLease<'a>,
    _permit: ChatPermit<'a>,
}

impl fmt::Debug for ChatServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl ChatServers {
    /// Creates the connections without sending a request. [`LlmError::Request`] if the settings are invalid.
    pub fn new(settings: OpenAiSettings) -> Result<Self, LlmError> {
        let urls = std::iter::once(&settings.url).chain(&settings.others);
        let connect = |url: &String| OpenAiConnection::new(OpenAiSettings { url: url.clone(), ..settings.clone() });
        let connections: Vec<OpenAiConnection> = urls.map(connect).collect::<Result<_, _>>()?;
        let failed = |message: String| LlmError::Request { address: redacted(&settings.url), message };
        let background = BackgroundRuntime::start().map_err(failed)?;
        let routing = LeastOutstanding::new(connections.len());
        Ok(Self { settings, connections, routing, background })
    }

    /// An error of the client itself.
    pub fn failed(&self, message: String) -> LlmError {
        LlmError::Request { address: redacted(&self.settings.url), message }
    }

    /// The largest number of chats under way, over all servers.
    pub fn concurrency(&self) -> usize {
        self.settings.concurrency.max(1).saturating_mul(self.connections.len())
    }

    /// The context of the model in tokens, as far as it is known: the smallest that a server has.
    pub fn context(&self) -> Option<u64> {
        self.connections.iter().filter_map(OpenAiConnection::context).min()
    }

    /// Asks the servers for their limits, unless they have answered before.
    pub async fn ask_limits(&self) {
        for connection in &self.connections {
            connection.ask_limits().await;
        }
    }

    /// Sends a request with its retries. Of several servers, one that has not failed on it is asked again.
    pub async fn chat(
        &self,
        request: &ChatRequest,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, LlmError> {
        self.settings.budget.check()?;
        let OpenAiSettings { tries, deadline, .. } = self.settings;
        let policy = RetryPolicy { tries, deadline, per_try: deadline };
        let mut failed: Vec<usize> = Vec::new();
        let first = self.place(&failed).await?;
        let mut address = redacted(first.connection.address.as_str());
        let mut place = Some(first);
        let chat = with_retries(&policy, async |number| {
            let here = match place.take() {
                Some(here) => here,
                None => self.place(&failed).await.map_err(AttemptError::Fatal)?,
            };
            address = redacted(here.connection.address.as_str());
            match here.connection.chat_without_refused(request, number, on_progress).await {
                Ok(reply) => {
                    here.lease.succeeded();
                    Ok(reply)
                }
                Err(AttemptError::Retry { message, after }) => {
                    tracing::warn!("{address}: {message} ({})", tried(number));
                    here.lease.failed();
                    let index = here.lease.index();
                    failed.push(index);
                    // Another server need not wait for as long as this one asks.
                    let has_other = (0..self.connections.len()).any(|other| !failed.contains(&other));
                    if !has_other {
                        failed.retain(|other| *other == index);
                    }
                    if self.connections.len() == 1 {
                        place = Some(here);
                    }
                    Err(AttemptError::Retry { message, after: after.filter(|_| !has_other) })
                }
                Err(fatal) => Err(fatal),
            }
        });
        let reply = chat.await;
        reply.map_err(|e| match e {
            RetryError::Fatal(error) => error,
            RetryError::Exhausted(message) => LlmError::Request { address, message },
            RetryError::Deadline(message) => {
                LlmError::Deadline { address, message: format!("{message}; `rewards.llm.deadline` sets this limit") }
            }
        })
    }

    /// Chooses a server, and waits until fewer chats are under way than it can take.
    async fn place(&self, failed: &[usize]) -> Result<ChatPlace<'_>, LlmError> {
        let lease = self.routing.lease(0..self.connections.len(), failed);
        let lease = lease.ok_or_else(|| self.failed("no server is named".into()))?;
        let connection = &self.connections[lease.index()];
        connection.ask_limits().await;
        Ok(ChatPlace { connection, lease, _permit: connection.acquire().await })
    }
}
