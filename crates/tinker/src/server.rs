//! A server of the Tinker API.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::TinkerError;
use crate::adapter::AdapterFiles;
use crate::checkpoint::CheckpointPath;
use crate::codec::Codec;
use crate::connection::{Answer, ApiCall, Connection, Repeat, Traffic, TryError, json_body};
use crate::model_bodies::{Done, UnloadBody};
use crate::pending::{Pending, ServerQueue, Ticket};
use crate::server_codec::ServerCodec;
use crate::session::TrainingSession;
use crate::settings::TinkerSettings;

/// The media type of everything but passes and samples.
pub(crate) const JSON: &str = "application/json";

/// A server of the Tinker API. Clones share the connection.
#[derive(Clone, Debug)]
pub struct TinkerServer {
    pub(crate) connection: Arc<Connection>,
    pub(crate) codec: ServerCodec,
}

#[derive(Deserialize)]
struct Capabilities {
    supported_models: Vec<SupportedModel>,
}

#[derive(Deserialize)]
struct SupportedModel {
    model_name: Option<String>,
}

#[derive(Deserialize)]
struct Health {
    status: String,
}

#[derive(Serialize)]
struct SessionBody<'a> {
    tags: &'a [&'a str],
    user_metadata: Option<()>,
    sdk_version: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Deserialize)]
struct CreatedSession {
    session_id: String,
    info_message: Option<String>,
    warning_message: Option<String>,
    error_message: Option<String>,
}

impl TinkerServer {
    /// A server that takes passes as JSON or as protobuf, which its answer to the first one shows. Sends nothing yet.
    pub fn new(settings: TinkerSettings) -> Result<Self, TinkerError> {
        Ok(Self { connection: Arc::new(Connection::new(settings)?), codec: ServerCodec::unknown() })
    }

    /// A server that takes passes in one form only. Sends nothing yet.
    pub fn with_codec(settings: TinkerSettings, codec: Arc<dyn Codec>) -> Result<Self, TinkerError> {
        Ok(Self { connection: Arc::new(Connection::new(settings)?), codec: ServerCodec::given(codec) })
    }

    /// The media type of passes; `None` before the server has taken the first one, which every new model sends.
    pub fn pass_type(&self) -> Option<&'static str> {
        self.codec.known().map(|codec| codec.media_type())
    }

    /// The address, without secrets.
    pub fn url(&self) -> &str {
        &self.connection.url
    }

    /// Bytes and time of the protocol so far.
    pub fn traffic(&self) -> Traffic {
        self.connection.traffic()
    }

    /// Whether the server is there and answers.
    pub async fn check_health(&self) -> Result<(), TinkerError> {
        let call = Self::get("healthz", "healthz");
        let connection = &self.connection;
        let health: Health = connection.send(&call, |answer| connection.json(call.name, answer)).await?;
        if health.status == "ok" {
            return Ok(());
        }
        let (url, message) = (connection.url.clone(), format!("the status is `{}`, not `ok`", health.status));
        Err(TinkerError::Malformed { url, call: call.name, message })
    }

    /// The names of the models that the server offers.
    pub async fn supported_models(&self) -> Result<Vec<String>, TinkerError> {
        let call = Self::get("get_server_capabilities", "get_server_capabilities");
        let connection = &self.connection;
        let found: Capabilities = connection.send(&call, |answer| connection.json(call.name, answer)).await?;
        Ok(found.supported_models.into_iter().filter_map(|model| model.model_name).collect())
    }

    /// Refuses a server that does not offer a model. SkyRL 0.3 itself accepts every name, and trains its own model.
    pub async fn require_model(&self, model: &str) -> Result<(), TinkerError> {
        let offered = self.supported_models().await?;
        if offered.iter().any(|name| name == model) {
            return Ok(());
        }
        Err(self.wrong_model(model, &offered))
    }

    pub(crate) fn wrong_model(&self, model: &str, offered: &[String]) -> TinkerError {
        let offered: Vec<String> = offered.iter().take(20).map(|name| format!("`{name}`")).collect();
        let offered = if offered.is_empty() { "none".into() } else { offered.join(", ") };
        TinkerError::WrongModel { url: self.connection.url.clone(), model: model.to_owned(), offered }
    }

    /// Starts a session and its heartbeats, which end when the session and its models are dropped. Must be called in a tokio
    /// runtime. `tags` are words by which people find the session.
    pub async fn start_session(&self, tags: &[&str]) -> Result<TrainingSession, TinkerError> {
        let name = "create_session";
        let sdk_version = concat!("rlar-", env!("CARGO_PKG_VERSION"));
        let body = json_body(&SessionBody { tags, user_metadata: None, sdk_version, kind: name });
        let connection = &self.connection;
        // A session that is created twice costs nothing: without a model it is a row in a table.
        let call = ApiCall { name, path: name, body: Some(&body), accept: JSON, repeat: Repeat::Safe };
        let created: CreatedSession = connection.send(&call, |answer| connection.json(name, answer)).await?;
        let url = &connection.url;
        for message in [&created.info_message, &created.warning_message].into_iter().flatten() {
            tracing::warn!("{url}: {name}: the server says: {message}");
        }
        if let Some(message) = created.error_message {
            return Err(TinkerError::Refused { url: url.clone(), call: name, status: 200, message });
        }
        Ok(TrainingSession::new(self.clone(), created.session_id))
    }

    /// Downloads the adapter that [`crate::TrainingModel::save_adapter`] saved.
    pub async fn download_adapter(&self, checkpoint: &CheckpointPath) -> Result<AdapterFiles, TinkerError> {
        let name = "checkpoint_archive";
        let path = archive_path(checkpoint);
        let call = Self::get(name, &path);
        let connection = &self.connection;
        let location = connection.send(&call, |answer| match (answer.status, &answer.location) {
            (302 | 307, Some(location)) => Ok(location.clone()),
            _ => Err(connection.refused(name, answer).into()),
        });
        let location = location.await?;
        let mut failures = 0;
        let answer = loop {
            let message = match connection.follow(&location).await {
                Ok(answer) if answer.status < 500 && !answer.is_busy() => break answer,
                Ok(answer) => connection.status_message(&answer),
                Err(TryError::NotTaken(message) | TryError::Lost(message)) => message,
                Err(TryError::Late(limit)) => format!("no complete answer within {} s", limit.as_secs_f64()),
            };
            failures += 1;
            if failures >= connection.settings.retries.tries {
                return Err(connection.unreachable(name, &message, failures));
            }
            connection.pause(failures).await;
        };
        if answer.status != 200 {
            return Err(connection.refused(name, &answer));
        }
        AdapterFiles::from_archive(&answer.body.bytes)
            .map_err(|message| TinkerError::BadArchive { url: connection.url.clone(), message })
    }

    /// Frees a model, which may be one of an earlier session, and waits for it. Its checkpoints remain.
    ///
    /// On SkyRL's JAX backend, gradients of passes that no step followed stay in the model's place:
    /// [`TrainingModel::unload`](crate::TrainingModel::unload) uses them up before.
    pub async fn unload_model(&self, model_id: &str) -> Result<(), TinkerError> {
        let name = "unload_model";
        let body = json_body(&UnloadBody { model_id, kind: name });
        let connection = &self.connection;
        let call = ApiCall { name, path: name, body: Some(&body), accept: JSON, repeat: Repeat::Safe };
        let ticket: Ticket = connection.send(&call, |answer| connection.json(name, answer)).await?;
        let done: Pending<Done> = Pending::json(connection, name, ticket.request_id);
        done.result().await.map(|_| ())
    }

    /// Waits until a checkpoint is complete whose acknowledgement was lost. `is_there` tells the answer of a complete one.
    pub(crate) async fn wait_for_checkpoint(
        &self,
        call: &ApiCall<'_>,
        is_there: impl Fn(&Answer) -> bool,
    ) -> Result<(), TinkerError> {
        let connection = &self.connection;
        let began = std::time::Instant::now();
        let mut waits = 0;
        loop {
            let status = connection.send(call, |answer| match answer.status {
                // Still being written.
                425 => Ok(false),
                _ if is_there(answer) => Ok(true),
                _ => Err(connection.refused(call.name, answer).into()),
            });
            if status.await? {
                return Ok(());
            }
            if began.elapsed() > connection.settings.deadlines.result {
                let seconds = connection.settings.deadlines.result.as_secs();
                let (url, request_id, queue) =
                    (connection.url.clone(), "of the checkpoint".into(), ServerQueue::Unknown);
                return Err(TinkerError::TimedOut { url, call: call.name, request_id, seconds, queue });
            }
            waits += 1;
            connection.pause(waits).await;
        }
    }

    /// A GET request, which is always safe to repeat.
    pub(crate) fn get<'a>(name: &'static str, path: &'a str) -> ApiCall<'a> {
        ApiCall { name, path, body: None, accept: JSON, repeat: Repeat::Safe }
    }
}

/// Where the archive of an adapter is, below `/api/v1/`.
pub(crate) fn archive_path(checkpoint: &CheckpointPath) -> String {
    format!("training_runs/{}/checkpoints/{}/archive", checkpoint.model_id(), checkpoint.name())
}
