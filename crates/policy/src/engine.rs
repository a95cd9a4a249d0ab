//! Generation with continuous batching: sequences leave the batch as soon as they end, and new ones take their place.

use rand::RngExt;
use rayon::prelude::*;

use crate::active::ActiveSequence;
use crate::cache::{KvCache, values};
use crate::decoder::Decoder;
use crate::error::PolicyError;
use crate::generation::{Finish, GenerationRequest, Sample, StreamControl, TokenEvent};
use crate::memory::{MemoryPlan, free_memory};
use crate::ops::in_pool;
use crate::prefix_cache::{KnownPrefix, PrefixCache, shared};
use crate::sampling::{Sampling, sample_token};
use crate::tokenizer::Tokenizer;

/// Samples continuations of prompts with a decoder.
#[derive(Clone, Debug)]
pub struct Engine<'a> {
    decoder: Decoder,
    tokenizer: &'a Tokenizer,
    batch: usize,
    prefixes: Option<&'a PrefixCache>,
}

impl<'a> Engine<'a> {
    /// Makes an engine that runs about `batch` sequences of a decoder at a time. All continuations of a request start
    /// together, even if there are more than `batch`. On the CPU, the tokens and log-probs of a sequence do not depend on the
    /// other sequences of the batch, to the last bit.
    pub fn new(decoder: &Decoder, tokenizer: &'a Tokenizer, batch: usize) -> Self {
        Self { decoder: decoder.for_sampling(), tokenizer, batch: batch.max(1), prefixes: None }
    }

    /// Makes the engine read prompts from where they differ from those that it has read before and kept in `prefixes`, and
    /// keep what it reads there. The log-probs of a sequence then depend on that, by rounding errors.
    #[must_use]
    pub fn with_prefixes(self, prefixes: &'a PrefixCache) -> Self {
        Self { prefixes: Some(prefixes), ..self }
    }

    /// Estimates the memory that generation for `requests` needs.
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
        // The attention scores of a tile of queries are held for as many sequences as run in parallel.
        let scores = 256 * prompt * rayon::current_num_threads().min(sequences.max(1));
        let row = 4 * c.hidden_size + 3 * c.intermediate_size + 2 * c.heads.query_width();
        let weights = self.decoder.weight_bytes();
        MemoryPlan {
            weights,
            cache: 4 * (sequences * longest * per_token) as u64,
            activations: 4 * (prefill.max(sequences) * row + scores + 2 * sequences * c.vocab_size) as u64,
            available: self.decoder.on_cpu().then(free_memory).flatten().map(|free| free + weights),
        }
    }

    /// Samples the continuations of every request, one per seed, in the order of the requests and seeds.
    pub fn generate(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
    ) -> Result<Vec<Vec<Sample>>, PolicyError> {
        self.stream(requests, sampling, &mut |_| StreamControl::Continue)
    }

    /// Samples as [`Engine::generate`] does, and calls `on_token` after every sampled token.
    pub fn stream(
        &self,
        requests: &[GenerationRequest],
        sampling: &Sampling,
        on_token: &mut (dyn FnMut(TokenEvent) -> StreamControl + Send),
    ) -> Result<Vec<Vec<Sample>>, PolicyError> {
        self.check(requests, sampling)?;
        let mut waiting = requests.iter().cloned();
        let mut samples = self.serve(&mut || waiting.next(), sampling, on_token)?;
        let unstarted = |r: &GenerationRequest| vec![Sample::empty(Finish::Cancelled); r.seeds.len()];
        samples.extend(requests[samples.len()..].iter().map(unstarted));
        Ok(samples)
    }

    /// Samples as [`Engine::stream`] does, continuations of requests that come while others go on: `next` is asked for one when
    /// there is a place in the batch, and ends the work by giving none when no sequence is left. Requests are numbered in the
    /// order in which they come. Returns the samples of those that were started. A prompt that is empty or too long ends all.
    pub fn serve(
        &self,
        next: &mut (dyn FnMut() -> Option<GenerationRequest> + Send),
        sampling: &Sampling,
        on_token: &mut (dyn FnMut(TokenEvent) -> StreamControl + Send),
    ) -> Result<Vec<Vec<Sample>>, PolicyError> {
        in_pool(|| self.run(next, sampling, on_token))
    }

    fn run(
        &self,
        next: &mut (dyn FnMut() -> Option<GenerationRequest> + Send),
        sampling: &Sampling,
        on_token: &mut (dyn FnMut(TokenEvent) -> StreamControl + Send),
    ) -> Result<Vec<Vec<Sample>>, PolicyError> {
        let (mut requests, mut done): (Vec<GenerationRequest>, Vec<Vec<Option<Sample>>>) = (Vec::new(), Vec::new());
        let mut waiting = next();
        let mut active: Vec<ActiveSequence> = Vec::new();
        let mut cache = self.decoder.cache();
        let mut ending = false;
        while !ending && (waiting.is_some() || !active.is_empty()) {
            let mut joining = Vec::new();
            let mut taken = active.len();
            while let Some(request) = waiting.take_if(|r| taken == 0 || taken + r.seeds.len() <= self.batch) {
                self.check_prompt(&request)?;
                taken += request.seeds.len();
                joining.push(requests.len());
                done.push(vec![None; request.seeds.len()]);
                requests.push(request);
                waiting = next();
            }
            let first = if joining.is_empty() {
                let last: Vec<u32> = active.iter().filter_map(|a| a.sample.tokens.last().copied()).collect();
                let hidden = self.decoder.extend(&last, &vec![1; last.len()], &mut cache);
                draw(&values(self.decoder.logits(&hidden)), &mut active, &requests, sampling)?;
                0
            } else {
                let (joined, new) = self.prefill(&requests, &joining, sampling)?;
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
                let mut old: Vec<Option<ActiveSequence>> = active.into_iter().map(Some).collect();
                active = keep.iter().filter_map(|i| old[*i].take()).collect();
            }
            if waiting.is_none() && active.len() < self.batch {
                waiting = next();
            }
        }
        for mut a in active {
            done[a.request][a.index] = Some(a.end(self.tokenizer, sampling, Finish::Cancelled)?);
        }
        let unstarted = || Sample::empty(Finish::Cancelled);
        let finished =
            |samples: Vec<Option<Sample>>| samples.into_iter().map(|s| s.unwrap_or_else(unstarted)).collect();
        Ok(done.into_iter().map(finished).collect())
    }

    fn check(&self, requests: &[GenerationRequest], sampling: &Sampling) -> Result<(), PolicyError> {
        sampling.check().map_err(PolicyError::Sampling)?;
        requests.iter().try_for_each(|request| self.check_prompt(request))?;
        let plan = self.plan(requests, sampling);
        if plan.is_too_large() { Err(PolicyError::Memory(plan)) } else { Ok(()) }
    }

    fn check_prompt(&self, request: &GenerationRequest) -> Result<(), PolicyError> {
        let (tokens, positions) = (request.prompt.len(), self.decoder.config().max_position_embeddings);
        if tokens == 0 || tokens >= positions {
            return Err(PolicyError::PromptLength { tokens, most: positions - 1 });
        }
        Ok(())
    }

    /// Starts the requests with the indices `which`: runs each prompt once, copies its keys and values to every
    /// continuation of the request, and samples the first token of each continuation.
    fn prefill(
        &self,
        requests: &[GenerationRequest],
        which: &[usize],
        sampling: &Sampling,
    ) -> Result<(KvCache, Vec<ActiveSequence>), PolicyError> {
        let prompts: Vec<&[u32]> = which.iter().map(|r| requests[*r].prompt.as_slice()).collect();
        let (mut cache, known) = self.begin(&prompts);
        let new: Vec<&[u32]> = prompts.iter().zip(&known).map(|(prompt, known)| &prompt[*known..]).collect();
        let lens: Vec<usize> = new.iter().map(|new| new.len()).collect();
        let hidden = self.decoder.extend(&new.concat(), &lens, &mut cache);
        if let (Some(prefixes), [prompt]) = (self.prefixes, prompts.as_slice()) {
            prefixes.keep(prompt, &cache, 0);
        }
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
                active.push(ActiveSequence::new(*r, index, *seed, sampling.max_tokens.min(room)));
            }
        }
        cache.reorder(&order);
        draw(&rows, &mut active, requests, sampling)?;
        Ok((cache, active))
    }

    /// A cache with a sequence for each prompt, which holds the known beginning of the prompt, and the number of tokens of
    /// each. What all prompts begin with is read once.
    fn begin(&self, prompts: &[&[u32]]) -> (KvCache, Vec<usize>) {
        let mut cache = self.decoder.cache();
        let Some(prefixes) = self.prefixes else {
            cache.push(prompts.len());
            return (cache, vec![0; prompts.len()]);
        };
        // The last token of a prompt must be read to know what comes next.
        let beginnings: Vec<&[u32]> = prompts.iter().map(|prompt| &prompt[..prompt.len() - 1]).collect();
        if let [first, others @ ..] = beginnings.as_slice() {
            let common = others.iter().map(|other| shared(first, other)).min().map_or(&first[..0], |n| &first[..n]);
            let KnownPrefix { mut cache, tokens } = self.known(prefixes, common);
            if tokens < common.len() {
                self.decoder.extend(&common[tokens..], &[common.len() - tokens], &mut cache);
                prefixes.keep(common, &cache, 0);
            }
        }
        let mut lens = Vec::with_capacity(prompts.len());
        for beginning in beginnings {
            let known = self.known(prefixes, beginning);
            cache.join(known.cache);
            lens.push(known.tokens);
        }
        (cache, lens)
    }

    /// The known beginning of a prompt, as a cache with one sequence, which may be empty.
    fn known(&self, prefixes: &PrefixCache, tokens: &[u32]) -> KnownPrefix {
        prefixes.find(tokens).unwrap_or_else(|| {
            let mut cache = self.decoder.cache();
            cache.push(1);
            KnownPrefix { cache, tokens: 0 }
        })
    }
}

/// Samples the next token of every sequence from `logits` `[active, vocab]` and appends it to the sequence.
fn draw(
    logits: &[f32],
    active: &mut [ActiveSequence],
    requests: &[GenerationRequest],
    sampling: &Sampling,
) -> Result<(), PolicyError> {
    let vocab = logits.len() / active.len().max(1);
    active.par_iter_mut().zip(logits.par_chunks(vocab.max(1))).try_for_each(|(a, row)| {
        let u = a.rng.random();
        let seen = requests[a.request].prompt.iter().chain(&a.sample.tokens).copied();
        let drawn = sample_token(row, sampling, seen, u).ok_or(PolicyError::LogitsNotFinite)?;
        a.sample.tokens.push(drawn.token);
        a.sample.log_probs.push(drawn.log_prob);
        a.sample.drawn_log_probs.push(drawn.drawn_log_prob);
        a.sample.plain_log_probs.push(drawn.plain_log_prob);
        Ok(())
    })
}
