//! The engine: a batch of requests over one cache, sequences leaving as they end and new ones joining.

use std::fmt;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::cache::{KvCache, values};
use crate::decoder::Decoder;
use crate::error::PolicyError;
use crate::ops::in_pool;
use crate::sampling::{Sampling, sample_token};
use crate::tokenizer::{TextStream, Tokenizer};

/// A prompt and how often to continue it.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// One stream of random numbers per wanted continuation; it depends on nothing else.
    pub seeds: Vec<u64>,
}

/// Why a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// An end token or a stop text.
    Stop,
    /// `max_tokens` or the model's positions were used up.
    Length,
    /// The caller wanted no more of it.
    Cancelled,
}

/// One continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Sampled tokens, the end token included.
    pub tokens: Vec<u32>,
    /// Their log-probs under the sampling temperature (1 when greedy) over the whole vocabulary: what a trainer
    /// computes again.
    pub log_probs: Vec<f32>,
    /// Their log-probs under the distribution that they were drawn from, cuts and penalty included.
    pub drawn_log_probs: Vec<f32>,
    /// Their log-probs under temperature 1 over the whole vocabulary.
    pub plain_log_probs: Vec<f32>,
    /// The text before the end token or stop text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

impl Sample {
    fn empty(finish: Finish) -> Self {
        let (log_probs, drawn_log_probs, plain_log_probs) = (Vec::new(), Vec::new(), Vec::new());
        Self { tokens: Vec::new(), log_probs, drawn_log_probs, plain_log_probs, text: String::new(), finish }
    }
}

/// A token that was just sampled.
#[derive(Clone, Copy, Debug)]
pub struct TokenEvent<'a> {
    /// Index of the request.
    pub request: usize,
    /// Index of the continuation within the request.
    pub index: usize,
    /// The token's id.
    pub token: u32,
    /// Text that became final with this token: whole characters only, and nothing that may still turn out to be the
    /// beginning of a stop text.
    pub text: &'a str,
    /// Why the continuation ends with this token; `None` while it goes on.
    pub finish: Option<Finish>,
}

/// What the caller of [`Engine::stream`] wants after a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamControl {
    /// Sample on.
    Continue,
    /// End this sequence; all others go on.
    EndSequence,
    /// End all sequences.
    EndAll,
}

/// Samples from a decoder.
#[derive(Clone, Debug)]
pub struct Engine<'a> {
    decoder: Decoder,
    tokenizer: &'a Tokenizer,
    batch: usize,
}

struct Active {
    request: usize,
    index: usize,
    rng: ChaCha8Rng,
    sample: Sample,
    room: usize,
    stream: TextStream,
    /// Bytes of the stream's text that were passed to the caller.
    emitted: usize,
}

/// Bytes that a job takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The model.
    pub weights: u64,
    /// Keys and values of all sequences at their longest.
    pub cache: u64,
    /// Rows in flight, in the larger of a prefill and a step.
    pub activations: u64,
    /// What the machine has left, weights included; unknown on a GPU.
    pub available: Option<u64>,
}

impl MemoryPlan {
    fn needed(&self) -> u64 {
        self.weights + self.cache + self.activations
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mb = |bytes: u64| format!("{} MB", bytes.div_ceil(1 << 20));
        let parts = [("weights", self.weights), ("cache", self.cache), ("activations", self.activations)];
        let parts = parts.map(|(name, bytes)| format!("{name} {}", mb(bytes))).join(", ");
        match self.available {
            Some(available) => write!(f, "memory: {parts}; {} available", mb(available)),
            None => write!(f, "memory: {parts}"),
        }
    }
}

impl<'a> Engine<'a> {
    /// An engine that runs about `batch` sequences at a time, those of one request together.
    pub fn new(decoder: &Decoder, tokenizer: &'a Tokenizer, batch: usize) -> Self {
        Self { decoder: decoder.clone(), tokenizer, batch: batch.max(1) }
    }

    /// An engine whose tokens do not depend on what else is in the batch, to the last bit: every row of a matrix
    /// product is summed in the same order whatever stands beside it. Only on the CPU; prompts run more slowly.
    pub fn deterministic(self) -> Result<Self, PolicyError> {
        Ok(Self { decoder: self.decoder.steady()?, ..self })
    }

    /// What `requests` take, with this many bytes left on the machine beside the weights.
    pub fn plan(&self, requests: &[GenerationRequest], sampling: &Sampling) -> MemoryPlan {
        let c = self.decoder.config();
        let length =
            |r: &GenerationRequest| r.prompt.len().saturating_add(sampling.max_tokens).min(c.max_position_embeddings);
        let longest = requests.iter().map(length).max().unwrap_or(0);
        let group = requests.iter().map(|r| r.seeds.len()).max().unwrap_or(0);
        let sequences = requests.iter().map(|r| r.seeds.len()).sum::<usize>().min(self.batch.max(group));
        let per_token = 2 * c.layers.len() * c.heads.kv_width();
        let prompt = requests.iter().map(|r| r.prompt.len()).max().unwrap_or(0);
        let prefill = prompt * (self.batch / group.max(1)).clamp(1, requests.len().max(1));
        // Scores of a tile of queries, for as many sequences as run at once.
        let scores = 256 * prompt * rayon::current_num_threads().min(sequences.max(1));
        let row = 4 * c.hidden_size + 3 * c.intermediate_size + 2 * c.heads.query_width();
        let weights = 4 * self.decoder.layout().parameters() as u64;
        MemoryPlan {
            weights,
            cache: 4 * (sequences * longest * per_token) as u64,
            activations: 4 * (prefill.max(sequences) * row + scores + 2 * sequences * c.vocab_size) as u64,
            available: self.decoder.on_cpu().then(free_memory).flatten().map(|free| free + weights),
        }
    }

    /// Continues every request.
    pub fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
    ) -> Result<Vec<Vec<Sample>>, PolicyError> {
        self.stream(requests, sampling, &mut |_| StreamControl::Continue)
    }

    /// [`Engine::generate`] that calls `on_token` after every sampled token.
    pub fn stream(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        on_token: &mut (dyn FnMut(TokenEvent) -> StreamControl + Send),
    ) -> Result<Vec<Vec<Sample>>, PolicyError> {
        self.check(requests, sampling)?;
        in_pool(|| self.run(requests, sampling, on_token))
    }

    fn run(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        on_token: &mut (dyn FnMut(TokenEvent) -> StreamControl + Send),
    ) -> Result<Vec<Vec<Sample>>, PolicyError> {
        let mut done: Vec<Vec<Option<Sample>>> = requests.iter().map(|r| vec![None; r.seeds.len()]).collect();
        let mut waiting = 0;
        let mut active: Vec<Active> = Vec::new();
        let mut cache = self.decoder.cache();
        let mut ending = false;
        while !ending && (waiting < requests.len() || !active.is_empty()) {
            let mut fresh = Vec::new();
            let mut taken = active.len();
            while waiting < requests.len() && (taken == 0 || taken + requests[waiting].seeds.len() <= self.batch) {
                taken += requests[waiting].seeds.len();
                fresh.push(waiting);
                waiting += 1;
            }
            let first = if fresh.is_empty() {
                let last: Vec<u32> = active.iter().filter_map(|a| a.sample.tokens.last().copied()).collect();
                let hidden = self.decoder.extend(&last, &vec![1; last.len()], &mut cache);
                draw(&values(self.decoder.logits(&hidden)), &mut active, requests, sampling)?;
                0
            } else {
                let (joined, new) = self.prefill(requests, &fresh, sampling)?;
                cache.join(joined);
                let first = active.len();
                active.extend(new);
                first
            };
            let mut keep: Vec<usize> = (0..first).collect();
            for (i, a) in active.iter_mut().enumerate().skip(first) {
                let mut finish = a.advance(self.tokenizer, sampling)?;
                let next = a.emit(self.tokenizer, sampling, finish, on_token)?;
                ending |= next == StreamControl::EndAll;
                if finish.is_none() && (next != StreamControl::Continue || ending) {
                    finish = Some(Finish::Cancelled);
                }
                match finish {
                    Some(finish) => done[a.request][a.index] = Some(a.end(self.tokenizer, sampling, finish)?),
                    None => keep.push(i),
                }
            }
            if keep.len() < active.len() {
                cache.reorder(&keep);
                let mut old: Vec<Option<Active>> = active.into_iter().map(Some).collect();
                active = keep.iter().filter_map(|i| old[*i].take()).collect();
            }
        }
        for mut a in active {
            done[a.request][a.index] = Some(a.end(self.tokenizer, sampling, Finish::Cancelled)?);
        }
        let never = || Sample::empty(Finish::Cancelled);
        let whole = |samples: Vec<Option<Sample>>| samples.into_iter().map(|s| s.unwrap_or_else(never)).collect();
        Ok(done.into_iter().map(whole).collect())
    }

    fn check(&self, requests: &[GenerationRequest], sampling: &Sampling) -> Result<(), PolicyError> {
        sampling.check().map_err(PolicyError::Request)?;
        let positions = self.decoder.config().max_position_embeddings;
        for r in requests {
            if r.prompt.is_empty() || r.prompt.len() >= positions {
                let (n, room) = (r.prompt.len(), positions - 1);
                let message = format!("a prompt of {n} tokens does not fit this model's 1 to {room}");
                return Err(PolicyError::Request(message));
            }
        }
        let plan = self.plan(requests, sampling);
        match plan.available {
            Some(available) if plan.needed() > available => Err(PolicyError::Request(format!(
                "{plan}: too little. Sample fewer sequences at a time, shorten prompts or `max_tokens`, or use a smaller model"
            ))),
            _ => Ok(()),
        }
    }

    /// Runs the prompts once each, then copies what was remembered to every continuation and draws its first token.
    fn prefill(
        &self,
        requests: &[GenerationRequest],
        which: &[usize],
        sampling: &Sampling,
    ) -> Result<(KvCache, Vec<Active>), PolicyError> {
        let lens: Vec<usize> = which.iter().map(|r| requests[*r].prompt.len()).collect();
        let ids: Vec<u32> = which.iter().flat_map(|r| requests[*r].prompt.iter().copied()).collect();
        let mut cache = self.decoder.cache();
        cache.push(which.len());
        let hidden = self.decoder.extend(&ids, &lens, &mut cache);
        let ends = lens.iter().scan(0i64, |end, n| {
            *end += *n as i64;
            Some(*end - 1)
        });
        let logits = values(self.decoder.logits(&Decoder::select_rows(hidden, ends.collect())));
        let vocab = logits.len() / which.len().max(1);
        let (mut order, mut rows, mut active) = (Vec::new(), Vec::new(), Vec::new());
        for (i, r) in which.iter().enumerate() {
            let request = &requests[*r];
            let room = self.decoder.config().max_position_embeddings - request.prompt.len();
            for (index, seed) in request.seeds.iter().enumerate() {
                order.push(i);
                rows.extend_from_slice(&logits[i * vocab..(i + 1) * vocab]);
                active.push(Active::new(*r, index, *seed, sampling.max_tokens.min(room)));
            }
        }
        cache.reorder(&order);
        draw(&rows, &mut active, requests, sampling)?;
        Ok((cache, active))
    }
}

fn draw(
    logits: &[f32],
    active: &mut [Active],
    requests: &[GenerationRequest],
    sampling: &Sampling,
) -> Result<(), PolicyError> {
    let vocab = logits.len() / active.len().max(1);
    active.par_iter_mut().zip(logits.par_chunks(vocab.max(1))).try_for_each(|(a, row)| {
        let u = a.rng.random();
        let seen = requests[a.request].prompt.iter().chain(&a.sample.tokens).copied();
        let drawn = sample_token(row, sampling, seen, u).ok_or_else(|| {
            PolicyError::Request("the model's logits are not finite: its weights are damaged or diverged".into())
        })?;
        a.sample.tokens.push(drawn.token);
        a.sample.log_probs.push(drawn.log_prob);
        a.sample.drawn_log_probs.push(drawn.drawn_log_prob);
        a.sample.plain_log_probs.push(drawn.plain_log_prob);
        Ok(())
    })
}

impl Active {
    fn new(request: usize, index: usize, seed: u64, room: usize) -> Self {
        let sample = Sample::empty(Finish::Length);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { request, index, rng, sample, room, stream: TextStream::default(), emitted: 0 }
    }

    /// Takes in the last token; says whether the sequence ends with it.
    fn advance(&mut self, tokenizer: &Tokenizer, sampling: &Sampling) -> Result<Option<Finish>, PolicyError> {
        let Some(token) = self.sample.tokens.last().copied() else { return Ok(None) };
        if tokenizer.eos().contains(&token) || sampling.stop_tokens.contains(&token) {
            return Ok(Some(Finish::Stop));
        }
        let before = self.stream.text().len();
        self.stream.push(tokenizer, token)?;
        let full = self.sample.tokens.len() >= self.room;
        if full {
            self.stream.finish(tokenizer)?;
        }
        // A stop text ends in the fresh part, and may begin before it.
        let stopped = sampling.stop.iter().any(|s| {
            let mut from = before.saturating_sub(s.len());
            while !self.stream.text().is_char_boundary(from) {
                from -= 1;
            }
            self.stream.text()[from..].contains(s.as_str())
        });
        if stopped {
            return Ok(Some(Finish::Stop));
        }
        Ok(full.then_some(Finish::Length))
    }

    /// Passes the last token to the caller, with the text that became final.
    fn emit(
        &mut self,
        tokenizer: &Tokenizer,
        sampling: &Sampling,
        finish: Option<Finish>,
        on_token: &mut (dyn FnMut(TokenEvent) -> StreamControl + Send),
    ) -> Result<StreamControl, PolicyError> {
        let Some(token) = self.sample.tokens.last().copied() else { return Ok(StreamControl::Continue) };
        if finish.is_some() {
            self.stream.finish(tokenizer)?;
        }
        let text = self.stream.text();
        let certain = match finish {
            Some(_) => stop_at(text, &sampling.stop).unwrap_or(text.len()),
            None => text.len() - held_back(text, &sampling.stop),
        };
        let fresh = text.get(self.emitted..certain).unwrap_or("");
        self.emitted = self.emitted.max(certain);
        Ok(on_token(TokenEvent { request: self.request, index: self.index, token, text: fresh, finish }))
    }

    fn end(&mut self, tokenizer: &Tokenizer, sampling: &Sampling, finish: Finish) -> Result<Sample, PolicyError> {
        let mut tokens = self.sample.tokens.as_slice();
        if let [before @ .., last] = tokens
            && (tokenizer.eos().contains(last) || sampling.stop_tokens.contains(last))
        {
            tokens = before;
        }
        let text = tokenizer.decode(tokens)?;
        let end = if finish == Finish::Stop { stop_at(&text, &sampling.stop) } else { None };
        let text = text[..end.unwrap_or(text.len())].to_owned();
        Ok(Sample { text, finish, ..std::mem::replace(&mut self.sample, Sample::empty(finish)) })
    }
}

/// Where the first stop text begins.
fn stop_at(text: &str, stop: &[String]) -> Option<usize> {
    stop.iter().filter_map(|s| text.find(s.as_str())).min()
}

/// Bytes at the end of `text` that may be the beginning of a stop text.
fn held_back(text: &str, stop: &[String]) -> usize {
    let longest = |s: &String| s.char_indices().map(|(i, _)| i).rev().find(|i| text.ends_with(&s[..*i])).unwrap_or(0);
    stop.iter().map(longest).max().unwrap_or(0)
}

/// Bytes that the system can still give without swapping, if it says.
pub fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb << 10)
}
