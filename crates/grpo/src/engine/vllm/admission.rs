//! What a server must be before it gets weights: a vLLM of a known version, with the right model, tokenizer and settings.

use rlar_vllm::{OLDEST, ServedModel, VllmError, VllmServer};

use crate::config::PublishBy;

/// The log-probs that training needs: at the sampling temperature, over the whole vocabulary.
const LOGPROBS_MODE: &str = "processed_logprobs";

/// What every server must offer.
#[derive(Debug)]
pub(super) struct Requirements {
    /// The name of the base model, if the config gives one.
    pub model: Option<String>,
    pub weights: PublishBy,
    /// Rank of the adapter; 0 without one.
    pub rank: usize,
    /// Longest sequence that is sampled, the canary included, in tokens.
    pub longest: usize,
    /// A text in several scripts, and its token ids by the policy's tokenizer.
    pub probe: TokenizedProbe,
}

/// A text with its token ids.
#[derive(Debug)]
pub(super) struct TokenizedProbe {
    pub text: &'static str,
    pub tokens: Vec<u32>,
}

/// A text that tokenizers cut in different ways.
pub(super) const PROBE: &str = "Größe: 12.5 + 30 = 42;\n\n\tfn main() {}  it's 日本語 🙂 \u{a0}Ω";

/// A server that can be used.
#[derive(Clone, Debug)]
pub(super) struct AdmittedServer {
    /// The name of its base model.
    pub base: String,
    /// Whether it computes in single precision.
    pub is_float32: bool,
}

impl Requirements {
    /// Checks a server. The error says how to start vLLM.
    pub async fn check(&self, server: &VllmServer) -> Result<AdmittedServer, String> {
        let text = |error: VllmError| match error {
            VllmError::KeyRefused { .. } => format!("{error}, in the variable that `sampling.vllm.api_key_env` names"),
            _ => error.to_string(),
        };
        let fault = |why: String| Err(format!("{}: {why}", server.url()));
        let version = server.version().await.map_err(text)?;
        let oldest = OLDEST;
        if minor_version(&version).is_none_or(|numbers| numbers < oldest) {
            return fault(format!("vLLM {version} is too old; update it to {}.{} or newer", oldest.0, oldest.1));
        }
        let models = server.models().await.map_err(text)?;
        let base = match self.base(&models) {
            Ok(base) => base,
            Err(why) => return fault(why),
        };
        let tokens = server.tokenize(&base.id, self.probe.text).await.map_err(text)?;
        if tokens.is_some_and(|tokens| tokens != self.probe.tokens) {
            return fault(format!(
                "the tokenizer of its model `{}` is not that of `model.path`; serve the model that is trained",
                base.id
            ));
        }
        if let Some(longest) = base.max_model_len.filter(|longest| *longest < self.longest) {
            let needed = self.longest;
            return fault(format!(
                "it takes sequences of {longest} tokens, and prompt and reply, or the canary, have up to {needed}; start \
                 vLLM with `--max-model-len {needed}`"
            ));
        }
        let facts = server.facts().await.map_err(text)?;
        if let Some(mode) = facts.logprobs_mode.filter(|mode| mode != LOGPROBS_MODE) {
            return fault(format!("its log-probs are `{mode}`; start vLLM with `--logprobs-mode {LOGPROBS_MODE}`"));
        }
        if self.weights == PublishBy::Lora {
            if facts.has_lora == Some(false) {
                return fault("it takes no adapters; start vLLM with `--enable-lora`".into());
            }
            if let Some(limit) = facts.max_lora_rank.filter(|limit| *limit < self.rank) {
                let rank = self.rank;
                return fault(format!(
                    "it takes adapters up to rank {limit}, and `model.lora.rank` is {rank}; start vLLM with \
                     `--max-lora-rank` of at least {rank}"
                ));
            }
        }
        Ok(AdmittedServer { base: base.id.clone(), is_float32: facts.is_float32 == Some(true) })
    }

    /// The base model of a server among the models that it serves.
    fn base<'a>(&self, models: &'a [ServedModel]) -> Result<&'a ServedModel, String> {
        let mut bases = models.iter().filter(|model| model.parent.is_none());
        let Some(name) = &self.model else {
            return bases.next().ok_or_else(|| "it serves no model".to_owned());
        };
        let names: Vec<String> = bases.clone().map(|model| format!("`{}`", model.id)).collect();
        bases.find(|model| model.id == *name).ok_or_else(|| {
            format!("it serves {} and not `{name}`, which `sampling.vllm.model` names", names.join(", "))
        })
    }
}

/// Major and minor number of a version such as `0.32.0`; `None` for another text.
fn minor_version(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split(['.', '+', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
