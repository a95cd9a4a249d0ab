//! Keys and values of prompts that were read, for later prompts that begin in the same way.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cache::KvCache;

/// The keys and values of prompts that an engine has read. A prompt that begins like one of them is read from where they
/// differ, which saves most of the work for requests with the same instructions or examples. On the CPU; an engine on a GPU
/// keeps nothing. A cache serves one model: weights that change make it invalid.
#[derive(Debug)]
pub struct PrefixCache {
    /// Largest number of tokens that are kept, but for the newest prompt.
    tokens: usize,
    /// The kept prompts; the one that was used last is at the end.
    kept: Mutex<Vec<KeptPrompt>>,
}

#[derive(Debug)]
struct KeptPrompt {
    tokens: Vec<u32>,
    /// The keys and values of the tokens, as the only sequence.
    cache: KvCache,
}

/// A part of a kept prompt: the keys and values of the first tokens of another prompt, as the only sequence of a cache.
#[derive(Debug)]
pub(crate) struct KnownPrefix {
    pub cache: KvCache,
    /// Number of tokens.
    pub tokens: usize,
}

impl PrefixCache {
    /// Makes an empty cache that keeps prompts with `tokens` tokens in total. The least recently used ones are dropped; the
    /// newest is kept even if it is longer.
    pub fn new(tokens: usize) -> Self {
        Self { tokens, kept: Mutex::default() }
    }

    /// The keys and values of the longest known beginning of `tokens`; `None` if no beginning is known.
    pub(crate) fn find(&self, tokens: &[u32]) -> Option<KnownPrefix> {
        let mut kept = self.lock();
        let shared = |k: &KeptPrompt| shared(&k.tokens, tokens);
        let best = (0..kept.len()).max_by_key(|i| shared(&kept[*i]))?;
        let tokens = shared(&kept[best]);
        if tokens == 0 {
            return None;
        }
        let used = kept.remove(best);
        let cache = used.cache.prefix(0, tokens)?;
        kept.push(used);
        Some(KnownPrefix { cache, tokens })
    }

    /// Keeps a sequence of a cache, whose tokens are `tokens`.
    pub(crate) fn keep(&self, tokens: &[u32], cache: &KvCache, sequence: usize) {
        let Some(cache) = cache.prefix(sequence, tokens.len()) else { return };
        let mut kept = self.lock();
        // A prompt that the new one continues is no longer needed.
        kept.retain(|k| !tokens.starts_with(&k.tokens));
        kept.push(KeptPrompt { tokens: tokens.to_vec(), cache });
        let mut total: usize = kept.iter().map(|k| k.tokens.len()).sum();
        while total > self.tokens && kept.len() > 1 {
            total -= kept.remove(0).tokens.len();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<KeptPrompt>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of tokens with which both begin.
pub(crate) fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
