//! `data`: what a job trains and measures on.

use rlar_eval::PromptFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The data. A path is looked for as given, then beside the config file and one folder above it, then among the files that
/// the binary contains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// JSONL of prompts with references, to train on with `grpo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// JSONL of prompts with references to measure on; with `reward_model`, of pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<String>,
    /// JSONL of demonstrations for supervised fine-tuning: prompts with a reply, or conversations whose assistant turns are
    /// learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<String>,
    /// JSONL of prompts with a chosen and a rejected reply, for `reward_model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<String>,
    /// Several domains, each with its own `train`, `heldout` and `demonstrations`, which then stand here instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixture: Vec<Domain>,
    /// How messages become the text of a prompt.
    #[serde(default = "chat")]
    pub format: PromptFormat,
    /// Prompts with fewer tokens are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_prompt_tokens: Option<usize>,
    /// Prompts with more tokens are left out. Without this key a prompt that is too long for the model is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prompt_tokens: Option<usize>,
}

impl DataConfig {
    /// Whether a prompt with this number of tokens is used.
    pub fn fits(&self, tokens: usize) -> bool {
        self.min_prompt_tokens.is_none_or(|n| tokens >= n) && self.max_prompt_tokens.is_none_or(|n| tokens <= n)
    }

    /// Whether there are demonstrations.
    pub fn has_demonstrations(&self) -> bool {
        self.demonstrations.is_some() || self.mixture.iter().any(|d| d.demonstrations.is_some())
    }

    /// The paths of one kind with their keys: that of the data as a whole, or one per domain of the mixture.
    pub fn files<'c>(
        &'c self,
        name: &str,
        whole: &'c Option<String>,
        of_domain: impl Fn(&'c Domain) -> &'c Option<String>,
    ) -> Vec<(String, Option<&'c str>)> {
        if self.mixture.is_empty() {
            return vec![(format!("data.{name}"), whole.as_deref())];
        }
        let key = |i: usize| format!("data.mixture[{i}].{name}");
        self.mixture.iter().enumerate().map(|(i, d)| (key(i), of_domain(d).as_deref())).collect()
    }
}

/// One domain of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// JSONL of prompts to train on. A domain without them is only measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// JSONL of prompts to measure on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<String>,
    /// JSONL of demonstrations for supervised fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<String>,
    /// Weight of the domain: its share of a step's prompts, relative to the other domains' weights.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1e6))]
    pub weight: f64,
    /// The first step that draws prompts from it. Counted in prompts drawn, so that groups replaced by dynamic sampling bring
    /// it forward.
    #[serde(default)]
    pub from: u64,
    /// The first step that no longer draws prompts from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

fn one() -> f64 {
    1.0
}

fn chat() -> PromptFormat {
    PromptFormat::Chat
}
