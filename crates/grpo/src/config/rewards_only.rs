//! A config that has only `version` and `rewards`: enough to score replies for another trainer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::{Config, RewardsConfig};

/// The rewards of a job that another program trains, for `rlar serve`. It has no model and no data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RewardsOnly {
    /// Version of the config format: 1.
    pub version: u32,
    /// The device that computes: `cpu`, `cuda:0`, `cuda:1` …, or `auto`.
    #[serde(default = "super::cpu")]
    pub device: String,
    /// The reward tools: verifiers, judges and reward models that score replies.
    #[serde(default)]
    pub rewards: RewardsConfig,
}

impl RewardsOnly {
    /// The JSON Schema of such a config.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// A config with these rewards and without model and data. [`Config::problems`] would refuse it;
    /// [`Config::reward_problems`] does not.
    ///
    /// # Errors
    ///
    /// None that is known: the sections that are left out have defaults.
    pub fn into_config(self) -> Result<Config, serde_json::Error> {
        let config: Config = serde_json::from_value(json!({ "version": self.version, "model": {}, "data": {} }))?;
        Ok(Config { device: self.device, rewards: self.rewards, ..config })
    }
}
