//! Section `data`: the files that a job trains and measures on.

use rlar_data::{ColumnTemplates, DataFiles};
use rlar_eval::PromptFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The data files: JSONL, a JSON list, Parquet, CSV or TSV, each also gzipped. `docs/reference/config.md`, Paths, says
/// in which folders they are looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Prompts with reference answers, to train on with `grpo`: a file, a list of files or a pattern such as
    /// `data/*.parquet`, `hub:OWNER/NAME@REVISION/PATH`, or a mapping from a column's name to the text file with its
    /// values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<DataFiles>,
    /// Prompts with reference answers to measure on; with `reward_model`, preference pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<DataFiles>,
    /// Demonstrations for supervised fine-tuning: prompts with a reply, or conversations. In a
    /// conversation, only assistant turns are learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<DataFiles>,
    /// Prompts with a chosen and a rejected reply: to train on with `reward_model`, or as evidence for
    /// `rewards.weights: learned`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<DataFiles>,
    /// How the columns of the rows become prompts, references and the like, as templates. Without it, the usual names
    /// are read (`prompt` or `messages`, `reference` or `answer`, `domain`, `demonstration`, `id`) and the forms of GSM8K,
    /// MATH, APPS, TACO, Alpaca, TRL and verl are recognised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<ColumnTemplates>,
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

    /// The data sets that the config names under the key `name`, such as `train`. Without `data.mixture` this is one
    /// set, with the files `whole`; with it, one set per domain, with the files that `of_domain` returns.
    pub fn sets<'c>(
        &'c self,
        name: &str,
        whole: &'c Option<DataFiles>,
        of_domain: impl Fn(&'c Domain) -> &'c Option<DataFiles>,
    ) -> Vec<DataSet<'c>> {
        let columns = ("data.columns".to_owned(), self.columns.as_ref());
        let set = |key, files: &'c Option<DataFiles>, (columns_key, columns)| DataSet {
            key,
            files: files.as_ref(),
            columns_key,
            columns,
        };
        if self.mixture.is_empty() {
            return vec![set(format!("data.{name}"), whole, columns)];
        }
        let domain_set = |(i, domain): (usize, &'c Domain)| {
            let own = domain.columns.as_ref().map(|own| (format!("data.mixture[{i}].columns"), Some(own)));
            set(format!("data.mixture[{i}].{name}"), of_domain(domain), own.unwrap_or_else(|| columns.clone()))
        };
        self.mixture.iter().enumerate().map(domain_set).collect()
    }
}

/// The files of a data set that a config names, with how their columns are read.
#[derive(Clone, Debug)]
pub struct DataSet<'c> {
    /// The config key of the files, such as `data.train`.
    pub key: String,
    /// The files; `None` where the key is absent.
    pub files: Option<&'c DataFiles>,
    /// The config key of the templates in `columns`, such as `data.columns`, for messages.
    pub columns_key: String,
    /// The templates by which columns become prompts, references and the like; `None` if the config has none.
    pub columns: Option<&'c ColumnTemplates>,
}

/// One domain of a mixture: its files, its weight, and the steps in which its prompts are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// Prompts to train on. A domain without this key is only measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<DataFiles>,
    /// Prompts to measure on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heldout: Option<DataFiles>,
    /// Demonstrations for supervised fine-tuning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<DataFiles>,
    /// Templates of this domain's columns, which replace `data.columns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<ColumnTemplates>,
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
