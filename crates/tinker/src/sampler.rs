//! Completions of the weights that a model had at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::TinkerError;
use crate::codec::Body;
use crate::connection::{ApiCall, ReadError, Repeat, json_body};
use crate::json_codec::ModelInput;
use crate::pending::{Pending, Ticket};
use crate::server::JSON;
use crate::session::TrainingSession;

/// Samples from the weights that a model had when [`crate::TrainingModel::sampler`] was called.
///
/// It refuses to sample once the model has taken a further step. SkyRL's JAX backend has one copy of the weights: it would
/// answer with the new weights, or put the old ones back into the model.
#[derive(Debug)]
pub struct RemoteSampler {
    session: TrainingSession,
    id: String,
    /// Number of the next request.
    next: AtomicU64,
    /// Optimizer steps of the model when its weights were saved.
    step: u64,
    /// Optimizer steps of the model now.
    model_steps: Arc<AtomicU64>,
}

/// What to sample.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRequest {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// Number of completions.
    pub count: u32,
    /// Longest completion, in tokens.
    pub max_tokens: u32,
    /// The temperature; 0 takes the most probable token.
    pub temperature: f32,
    /// The seed of the first completion; SkyRL gives the i-th one the seed `seed + i`, so requests for several completions
    /// need seeds that are at least `count` apart.
    pub seed: u32,
    /// What ends a completion before it has `max_tokens` tokens.
    pub stop: StopAt,
}

/// What ends a completion. Servers take tokens or texts, not both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StopAt {
    /// One of these tokens; with none, nothing does.
    Tokens(Vec<u32>),
    /// The token with which one of these texts is complete, by the server's own tokenizer.
    Texts(Vec<String>),
}

impl StopAt {
    fn is_never(&self) -> bool {
        match self {
            Self::Tokens(tokens) => tokens.is_empty(),
            Self::Texts(texts) => texts.is_empty(),
        }
    }
}

/// One completion.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledSequence {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The log-probability of every token. Shape `[time]`.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub stop_reason: StopReason,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It has the largest number of tokens.
    Length,
    /// A token that ends it.
    Stop,
}

#[derive(Serialize)]
struct SampleBody<'a> {
    sampling_session_id: &'a str,
    seq_id: u64,
    num_samples: u32,
    prompt: ModelInput<'a>,
    sampling_params: ParamsBody<'a>,
    prompt_logprobs: bool,
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct ParamsBody<'a> {
    max_tokens: u32,
    seed: u32,
    temperature: f32,
    #[serde(skip_serializing_if = "StopAt::is_never")]
    stop: &'a StopAt,
    top_k: i32,
    top_p: f32,
}

impl RemoteSampler {
    pub(crate) fn new(session: TrainingSession, id: String, step: u64, model_steps: Arc<AtomicU64>) -> Self {
        Self { session, id, next: AtomicU64::new(1), step, model_steps }
    }

    /// Asks for completions over the whole vocabulary (no top-k, no top-p), so that the log-probs are those of the policy.
    pub async fn sample(&self, request: &SampleRequest) -> Result<Pending<Vec<SampledSequence>>, TinkerError> {
        self.session.check_alive()?;
        let connection = self.session.server().connection.clone();
        let model = self.model_steps.load(Ordering::Relaxed);
        if model != self.step {
            return Err(TinkerError::StaleSampler { url: connection.url.clone(), sampler: self.step, model });
        }
        let name = "asample";
        let body = json_body(&SampleBody {
            sampling_session_id: &self.id,
            seq_id: self.next.fetch_add(1, Ordering::Relaxed),
            num_samples: request.count,
            prompt: ModelInput::new(&request.prompt),
            sampling_params: ParamsBody {
                max_tokens: request.max_tokens,
                seed: request.seed,
                temperature: request.temperature,
                stop: &request.stop,
                top_k: -1,
                top_p: 1.0,
            },
            prompt_logprobs: false,
            kind: "sample",
        });
        // With its seed, a repeated request gives the same completions and changes nothing.
        let call = ApiCall { name, path: name, body: Some(&body), accept: JSON, repeat: Repeat::Safe };
        let ticket: Ticket = connection.send(&call, |answer| connection.json(name, answer)).await?;
        let codec = self.session.server().codec.clone();
        let accept = codec.accept();
        let (reader, count) = (connection.clone(), request.count as usize);
        let read = move |body: &Body| -> Result<Vec<SampledSequence>, ReadError> {
            let codec = codec.reader(body).ok_or_else(|| reader.unknown_type(name, body))?;
            let sequences = codec.decode_samples(body).map_err(|error| reader.read_error(name, error))?;
            let wrong = |what: String, received, expected| {
                ReadError::Final(TinkerError::WrongLength {
                    url: reader.url.clone(),
                    call: name,
                    what,
                    received,
                    expected,
                })
            };
            if sequences.len() != count {
                return Err(wrong("completions".into(), sequences.len(), count));
            }
            match sequences.iter().enumerate().find(|(_, s)| s.logprobs.len() != s.tokens.len()) {
                Some((i, s)) => Err(wrong(format!("log-probs of completion {i}"), s.logprobs.len(), s.tokens.len())),
                None => Ok(sequences),
            }
        };
        Ok(Pending::new(connection, name, ticket.request_id, accept, Box::new(read)))
    }
}
