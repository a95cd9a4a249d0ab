//! A sequence while it is generated: its tokens and text so far, and the conditions that end it.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::error::PolicyError;
use crate::generation::{Finish, Sample, StreamControl, TokenEvent};
use crate::sampling::Sampling;
use crate::tokenizer::{TextStream, Tokenizer};

/// A sequence of the batch that is being generated.
pub(crate) struct ActiveSequence {
    /// Index of the sequence's request.
    pub request: usize,
    /// Index of the sequence among the continuations of its request.
    pub index: usize,
    pub rng: ChaCha8Rng,
    pub sample: Sample,
    /// Largest number of tokens that this sequence may get.
    room: usize,
    stream: TextStream,
    /// Number of bytes of the text that were already passed to the caller.
    emitted: usize,
}

impl ActiveSequence {
    pub fn new(request: usize, index: usize, seed: u64, room: usize) -> Self {
        let sample = Sample::empty(Finish::Length);
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { request, index, rng, sample, room, stream: TextStream::default(), emitted: 0 }
    }

    /// Adds the text of the last sampled token. If the sequence ends with this token, returns why.
    pub fn advance(&mut self, tokenizer: &Tokenizer, sampling: &Sampling) -> Result<Option<Finish>, PolicyError> {
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
        // A stop text that is complete now ends in the text of the last token, but may begin before it.
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

    /// Passes the last sampled token to the caller, together with the text that became final with it.
    pub fn emit(
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
            Some(_) => sampling.stop_at(text).unwrap_or(text.len()),
            None => text.len() - held_back(text, &sampling.stop),
        };
        let new_text = text.get(self.emitted..certain).unwrap_or("");
        self.emitted = self.emitted.max(certain);
        Ok(on_token(TokenEvent { request: self.request, index: self.index, token, text: new_text, finish }))
    }

    /// Takes the finished sample out of the sequence. Its text ends before the end token, and before the stop text (or
    /// after it, where `include_stop` is set).
    pub fn end(&mut self, tokenizer: &Tokenizer, sampling: &Sampling, finish: Finish) -> Result<Sample, PolicyError> {
        let mut tokens = self.sample.tokens.as_slice();
        if let [before @ .., last] = tokens
            && (tokenizer.eos().contains(last) || sampling.stop_tokens.contains(last))
        {
            tokens = before;
        }
        let text = tokenizer.decode(tokens)?;
        let end = if finish == Finish::Stop { sampling.stop_at(&text) } else { None };
        let text = text[..end.unwrap_or(text.len())].to_owned();
        Ok(Sample { text, finish, ..std::mem::replace(&mut self.sample, Sample::empty(finish)) })
    }
}

/// Number of bytes at the end of `text` that may turn out to be the beginning of a stop text.
fn held_back(text: &str, stop: &[String]) -> usize {
    let longest = |s: &String| s.char_indices().map(|(i, _)| i).rev().find(|i| text.ends_with(&s[..*i])).unwrap_or(0);
    stop.iter().map(longest).max().unwrap_or(0)
}
