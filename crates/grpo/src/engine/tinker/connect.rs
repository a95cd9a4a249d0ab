//! Reaches the server, checks what it is, and starts a session.

use std::sync::Arc;
use std::time::Duration;

use rlar_net::{BackgroundRuntime, Secret};
use rlar_run::Checkpoint;
use rlar_tinker::{
    CheckpointPath, Deadlines, NewModel, TinkerError, TinkerServer, TinkerSettings, Traffic, TrainingModel,
    TrainingSession,
};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::TinkerConfig;
use crate::engine::AGAIN;
use crate::engine::tinker::served_policy::ServedPolicy;
use crate::engine::tinker::server_loss::{MEASURED_TOKENS, MeasuredLoss, measure_loss};
use crate::engine::tinker::tokenizer_probe::{TokenizerCheck, check_tokenizer};
use crate::engine::tinker::trainer::{CHECKPOINT, SavedModel, TinkerTrainer};

/// The text from which the tokens of the checks come.
const TEXT: &str =
    "A canary in a coal mine fell silent before the miners could smell the gas: 3 of 17 birds, 8.5 % of all.";

/// A server with a session of this run. Clones are the same session.
#[derive(Clone, Debug)]
pub struct TinkerEngine {
    pub(super) shared: Arc<TinkerShared>,
}

/// What the engine of a run consists of.
#[derive(Debug)]
pub(super) struct TinkerShared {
    session: TrainingSession,
    pub server: TinkerServer,
    new_model: NewModel,
    pub policy: ServedPolicy,
    tokenizer: TokenizerCheck,
    pub loss: MeasuredLoss,
    // Ends last, because the session's heartbeats run in it.
    pub runtime: BackgroundRuntime,
}

/// What is written into the run's folder of the server and of what was measured of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TinkerRecord {
    /// The server's address, without secrets.
    pub server: String,
    /// The name of the base model on the server.
    pub base_model: String,
    /// Rank of the adapter.
    pub rank: u32,
    /// The server's id of the model that is trained. The next process of the run unloads it.
    pub model_id: String,
    /// What was found out about the server's tokenizer.
    pub tokenizer: TokenizerCheck,
    /// How the server makes one loss of the losses of tokens.
    pub loss: MeasuredLoss,
    /// Whether the server recognises a request that is sent twice.
    pub recognises_repeats: bool,
    /// Requests to the server since this process began.
    pub requests: u64,
    /// Bytes sent to the server since this process began.
    pub sent_bytes: u64,
    /// Bytes received from the server since this process began.
    pub received_bytes: u64,
}

/// What the checks of a server found.
struct Checked {
    session: TrainingSession,
    new_model: NewModel,
    tokenizer: TokenizerCheck,
    loss: MeasuredLoss,
}

impl TinkerEngine {
    /// Reaches the server and starts a session. Then finds out on a model of its own whether the server has the policy's
    /// tokenizer and how it averages losses, so that a server that cannot be used is an error before the first step. `seed` is
    /// that of the adapter's first weights; `earlier` is the id of a model that an earlier process of the run has left.
    pub fn start(
        config: &TinkerConfig,
        policy: ServedPolicy,
        seed: u64,
        earlier: Option<&str>,
    ) -> Result<Self, TrainError> {
        let failed = |message: String| TrainError::Tinker { message };
        let key = config.api_key_env.as_deref().map(|variable| {
            let unset = || failed(format!("`api_key_env`: the environment variable {variable} is not set"));
            Secret::from_env(variable).ok_or_else(unset)
        });
        let result = Duration::try_from_secs_f64(config.deadline).unwrap_or(Duration::MAX);
        let settings = TinkerSettings {
            key: key.transpose()?,
            deadlines: Deadlines { result, ..Deadlines::default() },
            ..TinkerSettings::new(&config.server)
        };
        let server = TinkerServer::new(settings).map_err(|e| failed(e.to_string()))?;
        let runtime = BackgroundRuntime::start().map_err(failed)?;
        let checked = runtime.wait(check(&server, config, &policy, seed, earlier)).and_then(|checked| checked);
        let Checked { session, new_model, tokenizer, loss } = checked.map_err(failed)?;
        if tokenizer == TokenizerCheck::NotShown {
            tracing::warn!(
                "{}: nothing that it sampled shows whether its tokenizer is that of the model at `model.path`; make sure that it \
                 serves this model",
                config.server
            );
        }
        let shared = TinkerShared { session, server, new_model, policy, tokenizer, loss, runtime };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A trainer with a new adapter.
    pub fn first(&self) -> Result<TinkerTrainer, TrainError> {
        let shared = &self.shared;
        let model = self.wait(shared.session.create_model(&shared.new_model))?;
        Ok(TinkerTrainer::new(self.clone(), model, 0))
    }

    /// A trainer with the adapter and the optimizer that a checkpoint names, after this number of optimizer steps.
    pub fn resumed(&self, checkpoint: &Checkpoint, optimizer_steps: u64) -> Result<TinkerTrainer, TrainError> {
        let wrong = |message: String| TrainError::Checkpoint { path: checkpoint.path.join(CHECKPOINT), message };
        let saved: SavedModel = serde_json::from_slice(&checkpoint.read(CHECKPOINT)?)?;
        let from = CheckpointPath::parse(&saved.checkpoint).map_err(|e| wrong(e.to_string()))?;
        let shared = &self.shared;
        let loading = shared.session.create_model_from(&shared.new_model, &from);
        let loaded = shared.runtime.wait(loading).map_err(|message| TrainError::Tinker { message })?;
        let model = loaded.map_err(|e| {
            wrong(format!(
                "names {from}, which the server does not load: {e}. Start the server with the checkpoints that it had, remove \
                 this checkpoint's folder to go on from the one before, or start a new run"
            ))
        })?;
        Ok(TinkerTrainer::new(self.clone(), model, optimizer_steps))
    }

    /// The tokenizer with which prompts are written and replies are read.
    pub fn policy(&self) -> &ServedPolicy {
        &self.shared.policy
    }

    /// Waits for work of the server.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T, TinkerError>>) -> Result<T, TrainError> {
        let done = self.shared.runtime.wait(work).map_err(|message| TrainError::Tinker { message })?;
        done.map_err(|error| TrainError::Tinker { message: format!("{error} ({AGAIN})") })
    }

    /// The record of the server and of the model that is trained.
    pub(super) fn record(&self, model: &TrainingModel) -> TinkerRecord {
        let TinkerShared { server, new_model, tokenizer, loss, .. } = &*self.shared;
        let Traffic { requests, sent_bytes, received_bytes, .. } = server.traffic();
        TinkerRecord {
            server: server.url().to_owned(),
            base_model: new_model.base_model.clone(),
            rank: new_model.rank,
            model_id: model.id().to_owned(),
            tokenizer: *tokenizer,
            loss: *loss,
            recognises_repeats: model.recognises_repeats(),
            requests,
            sent_bytes,
            received_bytes,
        }
    }
}

/// Checks the server on a model of its own, which takes the place that the trained model has afterwards, so that gradients that a
/// killed client left there are gone. The error says what is wrong.
async fn check(
    server: &TinkerServer,
    config: &TinkerConfig,
    policy: &ServedPolicy,
    seed: u64,
    earlier: Option<&str>,
) -> Result<Checked, String> {
    let text = |error: TinkerError| error.to_string();
    server.check_health().await.map_err(text)?;
    let base_model = base_model(server, config.model.as_deref(), policy).await?;
    if let Some(model_id) = earlier
        && let Err(error) = server.unload_model(model_id).await
    {
        // A server that was restarted does not have it any more.
        tracing::debug!("{error}");
    }
    let session = server.start_session(&["rlar"]).await.map_err(text)?;
    let new_model = NewModel { base_model, rank: config.rank, seed: Some((seed % (1 << 31)) as u32) };
    let mut model = session.create_model(&new_model).await.map_err(text)?;
    let tokens: Vec<u32> = policy.tokenizer.encode(TEXT).map_err(|e| e.to_string())?;
    let tokens: Vec<u32> = tokens.into_iter().cycle().take(MEASURED_TOKENS).collect();
    let url = server.url();
    let found = async {
        let sampler = model.sampler().await.map_err(text)?;
        let tokenizer = check_tokenizer(&sampler, policy, &tokens).await?;
        let loss = measure_loss(&mut model, &tokens).await?;
        Ok::<(TokenizerCheck, MeasuredLoss), String>((tokenizer, loss))
    };
    let found = found.await;
    let unloaded = model.unload().await;
    let (tokenizer, loss) = found.map_err(|why| if why.starts_with(url) { why } else { format!("{url}: {why}") })?;
    unloaded.map_err(text)?;
    Ok(Checked { session, new_model, tokenizer, loss })
}

/// The name of the base model on the server: the one that the config names, or the only one that the server offers, which must
/// have the name or the path of the model that the config trains.
async fn base_model(server: &TinkerServer, named: Option<&str>, policy: &ServedPolicy) -> Result<String, String> {
    if let Some(name) = named {
        return server.require_model(name).await.map(|()| name.to_owned()).map_err(|e| e.to_string());
    }
    let offered = server.supported_models().await.map_err(|e| e.to_string())?;
    match offered.as_slice() {
        [one] if policy.is_called(one) => Ok(one.clone()),
        [one] => Err(format!(
            "{}: the server's only model is `{one}`, and `model.path` is {}. If they are the same model, write \
             `train.tinker.model: {one}`",
            server.url(),
            policy.name()
        )),
        [] => Err(format!("{}: the server offers no model", server.url())),
        several => Err(format!(
            "{}: the server offers several models ({}); name the one at `model.path` in `model`",
            server.url(),
            several.join(", ")
        )),
    }
}
