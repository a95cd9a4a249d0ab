//! Sampling: how a token is drawn from logits.

use crate::ops::kernels;

/// Settings by which tokens are sampled, and by which a reply ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Temperature by which the logits are divided; 0 means greedy: the likeliest token is always taken.
    pub temperature: f32,
    /// Nucleus sampling: only the smallest set of likeliest tokens whose probabilities add up to at least `top_p` can
    /// be sampled; 1 means all tokens.
    pub top_p: f32,
    /// Only the `top_k` likeliest tokens can be sampled; 0 means all tokens.
    pub top_k: usize,
    /// Only tokens whose probability is at least `min_p` times that of the likeliest token can be sampled; 0 means all
    /// tokens (Nguyen et al., 2024).
    pub min_p: f32,
    /// For tokens that already occur in the prompt or the reply, positive logits are divided by this number and
    /// negative ones are multiplied by it; 1 means no penalty (Keskar et al., 2019).
    pub repetition_penalty: f32,
    /// Largest number of tokens of a reply.
    pub max_tokens: usize,
    /// Texts that end a reply as soon as they occur in it.
    pub stop: Vec<String>,
    /// Whether the text of a reply ends with the stop text that ended it, instead of before it.
    pub include_stop: bool,
    /// Ids of tokens that end a reply, in addition to the end tokens of the model's tokenizer.
    pub stop_tokens: Vec<u32>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            max_tokens: 256,
            stop: Vec::new(),
            include_stop: false,
            stop_tokens: Vec::new(),
        }
    }
}

impl Sampling {
    /// Checks that every setting is possible; the error names the one that is not.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, x: f32, ok: bool, range: &str| {
            if ok { Ok(()) } else { Err(format!("`{name}` cannot be {x}; it must be {range}")) }
        };
        let Self { temperature, top_p, min_p, repetition_penalty: penalty, .. } = *self;
        let warm = (1e-6..1e6).contains(&temperature);
        within("temperature", temperature, temperature == 0.0 || warm, "0, or from 0.000001 to below 1000000")?;
        within("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0 and at most 1")?;
        within("min_p", min_p, (0.0..=1.0).contains(&min_p), "from 0 to 1")?;
        within("repetition_penalty", penalty, penalty > 0.0 && penalty.is_finite(), "finite and above 0")?;
        if self.max_tokens == 0 {
            return Err("`max_tokens` cannot be 0".into());
        }
        if self.stop.iter().any(String::is_empty) {
            return Err("`stop` holds an empty text, which every reply contains".into());
        }
        Ok(())
    }

    /// Byte of `text` at which a reply ends because of a stop text: where the stop text begins, or with `include_stop`,
    /// where it ends. `None` where `text` holds no stop text. Of several stop texts, the one that begins first counts,
    /// and of those that begin at the same byte, the shortest.
    pub fn stop_at(&self, text: &str) -> Option<usize> {
        let found = self.stop.iter().filter_map(|stop| Some((text.find(stop.as_str())?, stop.len())));
        found.min().map(|(start, length)| if self.include_stop { start + length } else { start })
    }

    /// Returns a stop text that occurs in `needed`, so that a reply would end before it holds all of `needed`; `None`
    /// where no stop text prevents `needed`. With `include_stop`, a stop text at the very end of `needed` does not
    /// prevent it.
    pub fn prevents(&self, needed: &str) -> Option<&str> {
        let cut = |stop: &&String| match needed.find(stop.as_str()) {
            Some(at) => !self.include_stop || at + stop.len() < needed.len(),
            None => false,
        };
        self.stop.iter().find(cut).map(String::as_str)
    }

    /// Whether all tokens can be sampled, because top-k, top-p and min-p are off.
    fn is_uncut(&self) -> bool {
        self.top_k == 0 && self.top_p >= 1.0 && self.min_p <= 0.0
    }
}

/// A sampled token, and its log-prob under three distributions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampledToken {
    /// Id of the token.
    pub token: u32,
    /// Log-prob of the token at the sampling temperature (1 when greedy) over the whole vocabulary, without the
    /// repetition penalty. Training computes log-probs of the same kind, so that it can compare them with this one.
    pub log_prob: f32,
    /// Log-prob under the distribution from which the token was drawn: after penalty, temperature, top-k, top-p and
    /// min-p. 0 when greedy.
    pub drawn_log_prob: f32,
    /// Log-prob of the token at temperature 1 over the whole vocabulary, without the repetition penalty.
    pub plain_log_prob: f32,
}

/// A softmax that is not normalised yet: the exponentials of the logits, and their sum.
struct Softmax<'a> {
    logits: &'a [f32],
    best: usize,
    scale: f64,
    /// Numerator of each token's probability: `exp((logit − top) · scale)`, where `top` is the largest logit.
    weights: Vec<f32>,
    total: f64,
}

impl<'a> Softmax<'a> {
    fn new(logits: &'a [f32], scale: f64) -> Self {
        let first = (0, f32::NEG_INFINITY);
        let (best, top) =
            logits.iter().enumerate().fold(first, |best, (i, x)| if *x > best.1 { (i, *x) } else { best });
        let weights = kernels::weights(logits, top, scale as f32);
        let finite = top.is_finite() && !logits.iter().any(|x| x.is_nan());
        let total = if finite { weights.chunks(64).map(chunk_sum).sum() } else { f64::NAN };
        Self { logits, best, scale, weights, total }
    }

    fn weight(&self, i: usize) -> f64 {
        f64::from(self.weights[i])
    }

    fn log_prob(&self, i: usize) -> f32 {
        (f64::from(self.logits[i] - self.logits[self.best]) * self.scale - self.total.ln()) as f32
    }

    /// Index of the token at which the running sum of the numerators first exceeds `target`.
    fn select(&self, target: f64) -> usize {
        let mut before = 0.0;
        for (c, chunk) in self.weights.chunks(64).enumerate() {
            let sum = chunk_sum(chunk);
            if before + sum > target {
                let inside = select(chunk.iter().map(|w| f64::from(*w)), target - before);
                return inside.map_or(self.best, |i| c * 64 + i);
            }
            before += sum;
        }
        self.best
    }
}

fn chunk_sum(chunk: &[f32]) -> f64 {
    chunk.iter().map(|w| f64::from(*w)).sum()
}

/// Samples a token from `logits` `[vocab]`. `u` is a uniform random number in `[0, 1)`, and `seen` the tokens that the
/// repetition penalty applies to. `None` where a logit is not finite.
pub fn sample_token(
    logits: &[f32],
    sampling: &Sampling,
    seen: impl Iterator<Item = u32>,
    u: f64,
) -> Option<SampledToken> {
    let greedy = sampling.temperature == 0.0;
    let scale = if greedy { 1.0 } else { 1.0 / f64::from(sampling.temperature) };
    let full = Softmax::new(logits, scale);
    if !full.total.is_finite() {
        return None;
    }
    let plain_log_prob = |i: usize, log_prob: f32| {
        if (scale - 1.0).abs() < f64::EPSILON { log_prob } else { Softmax::new(logits, 1.0).log_prob(i) }
    };
    let drawn = |i: usize, drawn_log_prob: f32| {
        let log_prob = full.log_prob(i);
        SampledToken { token: i as u32, log_prob, drawn_log_prob, plain_log_prob: plain_log_prob(i, log_prob) }
    };
    let changed = penalised(logits, sampling.repetition_penalty, seen);
    let changed = changed.as_deref().map(|z| Softmax::new(z, scale));
    let from = changed.as_ref().unwrap_or(&full);
    if greedy {
        return Some(drawn(from.best, 0.0));
    }
    if sampling.is_uncut() {
        let token = from.select(u * from.total);
        return Some(drawn(token, from.log_prob(token)));
    }
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_unstable_by(|a, b| from.logits[*b].total_cmp(&from.logits[*a]).then(a.cmp(b)));
    if sampling.top_k > 0 {
        order.truncate(sampling.top_k);
    }
    // The order of the cuts is top-k, top-p, min-p. Each applies to the tokens that the previous one left, as in
    // `transformers`.
    let left: f64 = order.iter().map(|i| from.weight(*i)).sum();
    let mut mass = 0.0;
    let enough = order.iter().position(|i| {
        mass += from.weight(*i);
        mass >= f64::from(sampling.top_p) * left
    });
    order.truncate(enough.map_or(order.len(), |i| i + 1));
    let least = f64::from(sampling.min_p);
    let likely = order.iter().take_while(|i| from.weight(**i) >= least).count();
    order.truncate(likely.max(1));
    let kept: f64 = order.iter().map(|i| from.weight(*i)).sum();
    let token = select(order.iter().map(|i| from.weight(*i)), u * kept).map_or(from.best, |i| order[i]);
    Some(drawn(token, (from.weight(token) / kept).ln() as f32))
}

/// The logits with the repetition penalty applied to the tokens `seen`; `None` where the penalty is 1 and changes
/// nothing.
fn penalised(logits: &[f32], penalty: f32, seen: impl Iterator<Item = u32>) -> Option<Vec<f32>> {
    if (penalty - 1.0).abs() < f32::EPSILON {
        return None;
    }
    let mut changed = logits.to_vec();
    for token in seen {
        let (Some(z), Some(from)) = (changed.get_mut(token as usize), logits.get(token as usize)) else { continue };
        *z = if *from > 0.0 { from / penalty } else { from * penalty };
    }
    Some(changed)
}

/// Index at which the running sum of `weights` first exceeds `target`; where it never does (rounding), the last index
/// with a positive weight. `None` where no weight is positive.
fn select(weights: impl Iterator<Item = f64>, target: f64) -> Option<usize> {
    let mut sum = 0.0;
    let mut last = None;
    for (i, w) in weights.enumerate() {
        sum += w;
        if w > 0.0 {
            last = Some(i);
        }
        if sum > target {
            return Some(i);
        }
    }
    last
}
