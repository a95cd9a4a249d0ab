//! Section `data`: the files that a job trains and measures on.

use rlar_eval::PromptFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The data files. A path is looked for as given, then beside the config file, then one folder above it, then among the
/// files that are embedded in the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// JSONL file of prompts with reference answers, to train on with `grpo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// JSONL file of prompts with reference answers to measure on; with `reward_model`, of preference pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<String>,
    /// JSONL file of demonstrations for supervised fine-tuning: prompts with a reply, or conversations. In a
    /// conversation, only assistant turns are learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<String>,
    /// JSONL file of prompts with a chosen and a rejected reply, to train on with `reward_model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<String>,
    /// Several domains, each with its own `train`, `heldout` and `demonstrations`. With this key, those three keys of
    /// `data` itself must be absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mixture: Vec<Domain>,
    /// How the messages of a prompt become text: `chat` applies the model's chat template, `plain` concatenates their
    /// contents.
    #[serde(default = "chat")]
    pub format: PromptFormat,
    /// Smallest length of a prompt, in tokens; shorter prompts are left out. Without this key there is no lower limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_prompt_tokens: Option<usize>,
    /// Largest length of a prompt, in tokens; longer prompts are left out. Without this key, a prompt that is too long
    /// for the model is an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prompt_tokens: Option<usize>,
}

impl DataConfig {
    /// Whether a prompt of this length, in tokens, is within `min_prompt_tokens` and `max_prompt_tokens`.
    pub fn fits(&self, tokens: usize) -> bool {
        self.min_prompt_tokens.is_none_or(|n| tokens >= n) && self.max_prompt_tokens.is_none_or(|n| tokens <= n)
    }

    /// Whether any file of demonstrations is named, in `data` itself or in a domain.
    pub fn has_demonstrations(&self) -> bool {
        self.demonstrations.is_some() || self.mixture.iter().any(|d| d.demonstrations.is_some())
    }

    /// Config keys and paths of the files for the key `name`. Without a mixture this is the one file `whole`; with a
    /// mixture, the file `of_domain` of each domain. The path is `None` where the key is absent.
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

/// One domain of a mixture: its files, its weight, and the steps in which its prompts are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// JSONL file of prompts to train on. A domain without this key is only measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<String>,
    /// JSONL file of prompts to measure on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<String>,
    /// JSONL file of demonstrations for supervised fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<String>,
    /// Weight of the domain: its share of a step's prompts is this weight divided by the sum of the weights of all
    /// active domains.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1e6))]
    pub weight: f64,
    /// The first step (counted from 0) that draws prompts from this domain. The step is converted to a number of drawn
    /// prompts, so it comes earlier when dynamic sampling draws more prompts per step.
    #[serde(default)]
    pub from: u64,
    /// The first step (counted from 0) that no longer draws prompts from this domain. Without this key the domain is
    /// drawn from until the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

fn one() -> f64 {
    1.0
}

fn chat() -> PromptFormat {
    PromptFormat::Chat
}
