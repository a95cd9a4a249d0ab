//! A session: models live as long as its heartbeats.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::TinkerError;
use crate::checkpoint::CheckpointPath;
use crate::connection::{ApiCall, Connection, Repeat, TryError, json_body};
use crate::model::TrainingModel;
use crate::server::{JSON, TinkerServer};

/// A session. Its models live on the server as long as its heartbeats, which end when the session and all its models are
/// dropped. Clones are the same session.
#[derive(Clone, Debug)]
pub struct TrainingSession {
    state: Arc<SessionState>,
}

/// A model to create: a LoRA adapter on a base model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewModel {
    /// The base model's name, one of [`TinkerServer::supported_models`].
    pub base_model: String,
    /// The LoRA rank, at least 1.
    pub rank: u32,
    /// The seed of the adapter's first weights; `None` lets the server choose.
    pub seed: Option<u32>,
}

#[derive(Debug)]
struct SessionState {
    server: TinkerServer,
    id: String,
    life: Arc<Life>,
    /// Number of models created so far.
    models: AtomicU64,
    heartbeat: JoinHandle<()>,
}

impl Drop for SessionState {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

/// What is known of a session's life.
#[derive(Debug)]
struct Life {
    began: Instant,
    /// Milliseconds from `began` to the last heartbeat that the server answered.
    last: AtomicU64,
    /// How the server said that the session is gone.
    lost: OnceLock<String>,
}

#[derive(Serialize)]
struct HeartbeatBody<'a> {
    session_id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl TrainingSession {
    pub(crate) fn new(server: TinkerServer, id: String) -> Self {
        let life = Arc::new(Life { began: Instant::now(), last: AtomicU64::new(0), lost: OnceLock::new() });
        let heartbeat = tokio::spawn(beat(server.connection.clone(), id.clone(), life.clone()));
        Self { state: Arc::new(SessionState { server, id, life, models: AtomicU64::new(0), heartbeat }) }
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// The server.
    pub fn server(&self) -> &TinkerServer {
        &self.state.server
    }

    /// Refuses a session that the server has forgotten, or whose heartbeats it has not answered for too long.
    pub fn check_alive(&self) -> Result<(), TinkerError> {
        let (life, connection) = (&self.state.life, &self.state.server.connection);
        let silent = life.began.elapsed().saturating_sub(Duration::from_millis(life.last.load(Ordering::Relaxed)));
        let message = match life.lost.get() {
            Some(message) => message.clone(),
            None if silent > connection.settings.deadlines.session => {
                format!("the server has answered no heartbeat for {} s", silent.as_secs())
            }
            None => return Ok(()),
        };
        Err(TinkerError::SessionLost { url: connection.url.clone(), session: self.state.id.clone(), message })
    }

    /// Creates a model with fresh LoRA weights, and finds out whether the server recognises repeated requests.
    ///
    /// If an acknowledgement is lost, the server may keep an unused adapter until the session ends.
    pub async fn create_model(&self, new: &NewModel) -> Result<TrainingModel, TinkerError> {
        let mut model = self.created(new).await?;
        model.probe().await?;
        Ok(model)
    }

    /// Creates a model with the weights and the optimizer of a checkpoint, whose rank it must have.
    pub async fn create_model_from(&self, new: &NewModel, from: &CheckpointPath) -> Result<TrainingModel, TinkerError> {
        let connection = &self.state.server.connection;
        for _ in 0..connection.settings.retries.tries.max(1) {
            let mut model = self.created(new).await?;
            // Servers permit it only as a model's first request.
            match model.load_weights(from).await {
                Ok(true) => {
                    model.probe().await?;
                    return Ok(model);
                }
                Ok(false) => model.unload().await?,
                Err(error) => {
                    // A server that answers can take back the place that the model has.
                    if matches!(error, TinkerError::Refused { .. } | TinkerError::Failed { .. }) {
                        let _ = model.unload().await;
                    }
                    return Err(error);
                }
            }
        }
        let (url, message) =
            (connection.url.clone(), "no acknowledgement arrived for any of several models".to_owned());
        Err(TinkerError::Unacknowledged { url, call: "load_weights", message })
    }

    async fn created(&self, new: &NewModel) -> Result<TrainingModel, TinkerError> {
        self.check_alive()?;
        self.state.server.require_model(&new.base_model).await?;
        let number = self.state.models.fetch_add(1, Ordering::Relaxed);
        TrainingModel::create(self.clone(), new, number).await
    }
}

/// Sends heartbeats until the task is aborted or the server says that it does not know the session.
async fn beat(connection: Arc<Connection>, id: String, life: Arc<Life>) {
    let name = "session_heartbeat";
    let body = json_body(&HeartbeatBody { session_id: &id, kind: name });
    let call = ApiCall { name, path: name, body: Some(&body), accept: JSON, repeat: Repeat::Safe };
    let mut ticks = interval(connection.settings.heartbeat.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let url = &connection.url;
        match connection.once(&call, connection.settings.deadlines.answer).await {
            Ok(answer) if answer.status == 200 => {
                life.last.store(life.began.elapsed().as_millis() as u64, Ordering::Relaxed);
            }
            Ok(answer) if matches!(answer.status, 404 | 410) => {
                let message = format!("the server does not know it any more: {}", connection.reason(&answer));
                tracing::warn!("{url}: session {id}: {message}");
                let _ = life.lost.set(message);
                return;
            }
            Ok(answer) => tracing::warn!("{url}: {name}: {}", connection.refused(name, &answer)),
            Err(TryError::NotTaken(message) | TryError::Lost(message)) => tracing::warn!("{url}: {name}: {message}"),
            Err(TryError::Late(limit)) => tracing::warn!("{url}: {name}: no answer within {} s", limit.as_secs_f64()),
        }
    }
}
