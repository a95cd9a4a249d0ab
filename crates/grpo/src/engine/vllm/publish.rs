//! Publishes weights to the servers.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rlar_net::{BackgroundRuntime, Secret};
use rlar_policy::{Policy, Tokenizer};
use rlar_vllm::{GeneratedTokens, VllmError, VllmServer, VllmSettings};
use tokio::task::JoinSet;

use crate::TrainError;
use crate::config::{PublishBy, SamplingConfig, VllmConfig};
use crate::engine::AGAIN;
use crate::engine::vllm::admission::{PROBE, Requirements, TokenizedProbe};
use crate::engine::vllm::canary::Canary;
use crate::engine::vllm::sampler::VllmSampler;
use crate::engine::vllm::servers::{ServerHealth, Servers, other_weights};
use crate::engine::vllm::started::StartedServers;
use crate::engine::vllm::weights_folder::WeightsFolder;

/// How often a server is asked to continue the canary's prompt while connections break.
const CANARIES: u32 = 4;

/// The largest difference on the canary, in nats, where the config gives none.
const CANARY_GAP: f64 = 0.05;

/// The same where server and trainer compute in single precision.
const CANARY_GAP_FLOAT32: f64 = 0.0005;

/// vLLM servers that sample with the weights that are published to them. Clones are the same servers.
#[derive(Clone, Debug)]
pub struct VllmEngine {
    pub(super) shared: Arc<VllmShared>,
}

/// What the engine of a run consists of.
#[derive(Debug)]
pub(super) struct VllmShared {
    pub runtime: BackgroundRuntime,
    pub servers: Servers,
    pub tokenizer: Tokenizer,
    /// Longest sequence of the policy, in tokens.
    pub positions: usize,
    /// Number of tokens of the policy.
    pub vocabulary: usize,
    settings: VllmConfig,
    /// The folder in which weights are published.
    folder: PathBuf,
    /// What labels of this process begin with. A server whose label begins otherwise was restarted, or serves others.
    session: String,
    requirements: Requirements,
    canary: Canary,
    /// Whether the policy computes in single precision throughout.
    is_float32: bool,
    /// The weights that were published last.
    published: Mutex<Option<PublishedWeights>>,
}

/// Weights that were published.
#[derive(Debug)]
struct PublishedWeights {
    label: String,
    folder: WeightsFolder,
}

/// What the engine needs to know of a run.
#[derive(Clone, Copy, Debug)]
pub struct VllmSetup<'a> {
    /// The section `sampling` of the config.
    pub sampling: &'a SamplingConfig,
    /// The run's folder.
    pub run: &'a Path,
    /// The model that servers are started with, unless the policy is an adapter: then it is the adapter's base.
    pub model: &'a Path,
    /// Longest sequence that is sampled, prompt and reply together, in tokens.
    pub longest: usize,
    /// Whether the policy computes in single precision throughout.
    pub is_float32: bool,
}

/// Why a server did not get weights.
#[derive(Debug)]
struct Refusal {
    /// For people; begins with the server's address.
    why: String,
    /// Whether its weights are unknown now.
    is_wrecked: bool,
}

impl From<VllmError> for Refusal {
    fn from(error: VllmError) -> Self {
        Self { why: error.to_string(), is_wrecked: error.leaves_weights_unknown() }
    }
}

impl Refusal {
    /// A fault that changes nothing about the server's weights.
    fn harmless(why: String) -> Self {
        Self { why, is_wrecked: false }
    }
}

/// A server that loaded weights and continued the canary's prompt.
struct LoadedWeights {
    model: String,
    continuation: GeneratedTokens,
}

impl VllmEngine {
    /// Reaches the servers, checks what they are, and publishes the policy's weights once on trial, so that a server that
    /// cannot be used is an error before the first step.
    pub fn start(setup: VllmSetup, policy: &Policy) -> Result<Self, TrainError> {
        let failed = |message: String| TrainError::Vllm { message };
        let config = setup.sampling.vllm.clone().unwrap_or_default();
        let key = config.api_key_env.as_deref().map(|variable| {
            let unset = || failed(format!("`api_key_env`: the environment variable {variable} is not set"));
            Secret::from_env(variable).ok_or_else(unset)
        });
        let key = key.transpose()?;
        let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX);
        let server = |url: &String| {
            VllmServer::new(VllmSettings {
                key: key.clone(),
                completion: seconds(config.deadline),
                weights: seconds(config.weights_deadline),
                ..VllmSettings::new(url)
            })
        };
        let start = |start| {
            let model = policy.base_model().unwrap_or(setup.model);
            let model = std::path::absolute(model).unwrap_or_else(|_| model.to_owned());
            StartedServers::start(start, &model, setup.run, key.as_ref()).map_err(failed)
        };
        let started = config.start.as_ref().map(start).transpose()?;
        let urls = started.as_ref().map_or_else(|| config.servers.clone(), StartedServers::urls);
        let servers: Result<Vec<VllmServer>, VllmError> = urls.iter().map(server).collect();
        let servers = Servers::new(servers.map_err(|error| failed(error.to_string()))?, started);
        let folder = config.path.as_ref().map_or_else(|| setup.run.join("vllm"), PathBuf::from);
        let folder = std::path::absolute(&folder).map_err(|e| failed(format!("`path`: {}: {e}", folder.display())))?;
        let decoder = policy.decoder.config();
        let canary = Canary::new(policy, setup.sampling.temperature)?;
        let longest = setup.longest.min(decoder.max_position_embeddings).max(canary.tokens());
        let probe = TokenizedProbe { text: PROBE, tokens: policy.tokenizer.encode(PROBE)? };
        let requirements = Requirements {
            model: config.model.clone(),
            weights: config.weights,
            rank: policy.layout().lora().map_or(0, |lora| lora.r),
            longest,
            probe,
        };
        let shared = VllmShared {
            runtime: BackgroundRuntime::start().map_err(failed)?,
            servers,
            tokenizer: policy.tokenizer.clone(),
            positions: decoder.max_position_embeddings,
            vocabulary: decoder.vocab_size,
            settings: config,
            folder,
            session: format!("{:016x}", RandomState::new().build_hasher().finish()),
            requirements,
            canary,
            is_float32: setup.is_float32,
            published: Mutex::new(None),
        };
        let engine = Self { shared: Arc::new(shared) };
        if let Some(started) = &engine.shared.servers.started {
            engine.wait_for_started(started)?;
            let faults = started.faults();
            if !faults.is_empty() {
                return Err(failed(format!("`start`: {}", faults.join("; "))));
            }
        }
        let trial = format!("{}-trial", engine.shared.session);
        engine.publish_as(&trial, policy)?;
        let faults = engine.shared.servers.faults(&trial);
        if faults.is_empty() { Ok(engine) } else { Err(failed(faults.join("; "))) }
    }

    /// Publishes the policy's weights, which have taken `weight_version` training steps, to all servers that can be reached
    /// and do not have them yet. Returns a sampler that uses them. An error if no server has them. Servers of this run that
    /// have ended are started again; while others sample, they are not waited for.
    pub fn publish(&self, policy: &Policy, weight_version: u64) -> Result<VllmSampler, TrainError> {
        let label = format!("{}-{weight_version}", self.shared.session);
        let servers = &self.shared.servers;
        servers.restart();
        self.publish_as(&label, policy)?;
        if !servers.has_ready(&label) && !self.publish_to_started(&label, policy)? {
            let faults = servers.faults(&label).join("; ");
            let message =
                format!("no server can sample with the weights after step {weight_version}: {faults} ({AGAIN})");
            return Err(TrainError::Vllm { message });
        }
        // Only servers that start again need the weights again.
        let policy = servers.started.as_ref().map(|_| policy.clone());
        Ok(VllmSampler::new(self.clone(), label, weight_version, policy))
    }

    /// Starts the servers of this run that have ended again, waits for all that are starting, and publishes weights to them.
    /// Returns whether a server has these weights then; `false` if none was starting.
    pub(super) fn publish_to_started(&self, label: &str, policy: &Policy) -> Result<bool, TrainError> {
        let servers = &self.shared.servers;
        let Some(started) = &servers.started else { return Ok(false) };
        let mut was_starting = started.is_starting();
        // One that ends while it is starting may start once more, as often as the config allows.
        loop {
            self.wait_for_started(started)?;
            servers.restart();
            if !started.is_starting() {
                break;
            }
            was_starting = true;
        }
        if was_starting {
            self.publish_as(label, policy)?;
        }
        Ok(was_starting && servers.has_ready(label))
    }

    fn wait_for_started(&self, started: &StartedServers) -> Result<(), TrainError> {
        let waited = started.wait(&self.shared.servers.all, &self.shared.runtime);
        waited.map_err(|message| TrainError::Vllm { message })
    }

    /// Publishes weights under a label, and sets the state of every server. Servers that have them already, or run no more,
    /// are left alone.
    fn publish_as(&self, label: &str, policy: &Policy) -> Result<(), TrainError> {
        let shared = &self.shared;
        let servers = &shared.servers;
        let waits = |index: &usize| !servers.is_ready(*index, label) && !servers.has_ended(*index);
        let waiting: Vec<usize> = (0..servers.all.len()).filter(waits).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let mut published = shared.published.lock().unwrap_or_else(PoisonError::into_inner);
        let by = shared.settings.weights;
        // Of the weights before, nothing is sampled any more.
        let previous = published.take_if(|last| last.label != label);
        let current = if let Some(current) = published.take() {
            current
        } else {
            let folder = WeightsFolder::write(&shared.folder, label, policy, by)?;
            PublishedWeights { label: label.to_owned(), folder }
        };
        let loading = LoadPlan {
            label: label.to_owned(),
            folder: current.folder.path(),
            previous: previous.as_ref().map(|last| last.label.clone()),
        };
        *published = Some(current);
        drop(published);
        let results = shared.runtime.wait(load_all(Arc::clone(shared), waiting, loading));
        let results = results.map_err(|message| TrainError::Vllm { message })?;
        for LoadResult { index, result } in results {
            let health = match result.and_then(|loaded| shared.compare(index, policy, loaded)) {
                Ok(model) => ServerHealth::Ready { label: label.to_owned(), model },
                Err(Refusal { why, is_wrecked }) => ServerHealth::Lost { why, is_wrecked },
            };
            shared.servers.set(index, health);
        }
        Ok(())
    }
}

/// The weights that servers are to load.
#[derive(Clone, Debug)]
struct LoadPlan {
    label: String,
    /// Path of their folder, as the servers see it.
    folder: String,
    /// Label of the weights before; `None` if there are none.
    previous: Option<String>,
}

/// What became of a server that was to load weights.
struct LoadResult {
    index: usize,
    result: Result<LoadedWeights, Refusal>,
}

/// Has servers load weights, all at the same time.
async fn load_all(shared: Arc<VllmShared>, servers: Vec<usize>, loading: LoadPlan) -> Vec<LoadResult> {
    let mut tasks = JoinSet::new();
    for index in servers {
        let (shared, loading) = (Arc::clone(&shared), loading.clone());
        tasks.spawn(async move { LoadResult { index, result: shared.load(index, &loading).await } });
    }
    let mut done = tasks.join_all().await;
    done.sort_by_key(|loaded| loaded.index);
    done
}

/// The name of the adapter with the weights of a label.
fn adapter(label: &str) -> String {
    format!("rlar-{label}")
}

impl VllmShared {
    /// Has a server load weights and continue the canary's prompt. A server that was restarted, or is new, is checked first.
    async fn load(&self, index: usize, loading: &LoadPlan) -> Result<LoadedWeights, Refusal> {
        let server = &self.servers.all[index];
        let label = server.weight_version().await.map_err(|e| self.unreached(index, &e))?;
        let is_known = label.starts_with(&self.session);
        if is_known && self.servers.is_wrecked(index) {
            let why = format!("{}: its weights are unknown since a call failed; restart it", server.url());
            return Err(Refusal { why, is_wrecked: true });
        }
        let base = if let Some(admitted) = self.servers.admitted(index).filter(|_| is_known) {
            admitted.base
        } else {
            let admitted = self.requirements.check(server).await.map_err(Refusal::harmless)?;
            self.servers.set_admitted(index, admitted.clone());
            server.set_weight_version(&format!("{}-connected", self.session)).await?;
            admitted.base
        };
        let model = match self.replace_weights(server, loading, base).await {
            Ok(model) => model,
            Err(refusal) => {
                // It may serve others, who would wait for ever.
                let _ = server.resume().await;
                return Err(refusal);
            }
        };
        // A paused server answers no request, so the canary comes after `resume`; nothing else is sampled before it.
        let request = self.canary.request(&model);
        let mut continuation = server.generate(&request).await;
        for _ in 1..CANARIES {
            if matches!(continuation, Err(VllmError::Lost { .. })) {
                continuation = server.generate(&request).await;
            }
        }
        let continuation = continuation.map_err(|e| Refusal::harmless(e.to_string()))?;
        if let Some(why) = other_weights(&continuation, &loading.label) {
            return Err(Refusal::harmless(format!("{}: {why}", server.url())));
        }
        if let (PublishBy::Lora, Some(previous)) = (self.settings.weights, &loading.previous)
            && let Err(error) = server.unload_adapter(&adapter(previous)).await
        {
            tracing::debug!("{error}");
        }
        Ok(LoadedWeights { model, continuation })
    }

    /// Pauses a server, has it load weights, and clears its cache. Returns the name of the model with these weights.
    async fn replace_weights(&self, server: &VllmServer, loading: &LoadPlan, base: String) -> Result<String, Refusal> {
        server.pause().await?;
        let model = match self.settings.weights {
            PublishBy::Lora => {
                let name = adapter(&loading.label);
                // A try before this one may have got this far.
                server.unload_adapter(&name).await?;
                server.load_adapter(&name, &loading.folder).await.map_err(|error| {
                    let why =
                        format!("{error} (it reads the adapter from {}; see `sampling.vllm.path`)", loading.folder);
                    Refusal { why, ..error.into() }
                })?;
                name
            }
            PublishBy::Reload => {
                server.reload_weights(&loading.folder).await.map_err(|error| {
                    let why = format!(
                        "{error} (it reads the weights from {}; see `sampling.vllm.path`). Restart the server, whose \
                         own weights are gone",
                        loading.folder
                    );
                    Refusal { why, ..error.into() }
                })?;
                base
            }
        };
        server.set_weight_version(&loading.label).await?;
        server.reset_prefix_cache().await?;
        server.resume().await?;
        Ok(model)
    }

    /// The refusal of a server that does not say which weights it has: what was known of its weights stays known.
    fn unreached(&self, index: usize, error: &VllmError) -> Refusal {
        Refusal { why: error.to_string(), is_wrecked: self.servers.is_wrecked(index) }
    }

    /// Compares the canary's log-probs of a server with the policy's. Returns the name of the server's model.
    fn compare(&self, index: usize, policy: &Policy, loaded: LoadedWeights) -> Result<String, Refusal> {
        let url = self.servers.all[index].url();
        let gap = self.canary.gap(policy, &loaded.continuation);
        let gap = gap.map_err(|why| Refusal::harmless(format!("{url}: {why}; it serves another model")))?;
        let is_float32 = self.is_float32 && self.servers.admitted(index).is_some_and(|server| server.is_float32);
        let default = if is_float32 { CANARY_GAP_FLOAT32 } else { CANARY_GAP };
        let most = self.settings.canary_gap.unwrap_or(default);
        if gap <= most {
            return Ok(loaded.model);
        }
        Err(Refusal::harmless(format!(
            "{url}: its log-probs on the canary differ from the trainer's by {gap:.3e} nats on average, more than \
             `sampling.vllm.canary_gap`, {most}: it has the weights or cached keys and values of another step, run or model, or \
             computes in another precision. Restart the server with the model that is trained; of a model with tied \
             embeddings, a vLLM on a CPU does not reload all weights"
        )))
    }
}
