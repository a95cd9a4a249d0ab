//! Tools of the kind `model`: a reward model, run natively.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rlar_data::{Completion, Example};
use rlar_net::hub::{Hub, HubError, HubLimits, HubSettings};
use rlar_policy::{ComputeDevice, PolicyError, RewardModel, Turn};
use rlar_sandbox::ShouldStop;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Failure, Outcome};

/// The reward model of a card, and how its output becomes a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPointer {
    /// A Hugging Face folder with a `…ForSequenceClassification` model of one label, relative to the tool's folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Instead of a path: the model's name on the Hub, `owner/name`. `rlar fetch-rewards` downloads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// The commit on the Hub; required with `repo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The files of the repository that are needed; required with `repo`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// SHA-256 of the files that hold weights, by file name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
    /// Whether the score is the sigmoid of `(output - center) / scale`. Otherwise it is that number, clamped to the card's range.
    #[serde(default)]
    pub sigmoid: bool,
    /// The number that is subtracted from the output.
    #[serde(default)]
    pub center: f64,
    /// The number that the output is divided by; above 0.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub scale: f64,
    /// Most tokens of one forward pass.
    #[serde(default = "tokens")]
    #[schemars(range(min = 1))]
    pub batch_tokens: usize,
}

impl Default for ModelPointer {
    fn default() -> Self {
        Self {
            path: String::new(),
            repo: None,
            revision: None,
            files: Vec::new(),
            sha256: BTreeMap::new(),
            sigmoid: false,
            center: 0.0,
            scale: one(),
            batch_tokens: tokens(),
        }
    }
}

fn one() -> f64 {
    1.0
}

fn tokens() -> usize {
    4096
}

/// The folder of a model in the Hub's cache. Files with a SHA-256 in the card must have it.
fn cached_folder(repo: &str, pointer: &ModelPointer, hub: Option<&Hub>) -> Result<PathBuf, String> {
    let settings = match hub {
        Some(hub) => hub.settings().clone(),
        None => HubSettings::from_env(|name| std::env::var(name).ok()).map_err(|e| e.to_string())?,
    };
    // Opening a tool downloads nothing.
    let hub = Hub::new(HubSettings { offline: true, ..settings }).map_err(|e| e.to_string())?;
    let revision = pointer.revision.as_deref().unwrap_or("main");
    let names: Vec<&str> = pointer.files.iter().map(String::as_str).collect();
    let not_cached = |e: HubError| format!("{e}; `rlar fetch-rewards` downloads it");
    let folder = hub.download(repo, revision, &names, &HubLimits::default(), &mut |_| ()).map_err(not_cached)?;
    for (name, sha256) in &pointer.sha256 {
        // The name of a file in the cache is its hash, which was checked after the download.
        let cached = folder.join(name).read_link().ok().and_then(|p| Some(p.file_name()?.to_str()?.to_owned()));
        if cached.as_ref() != Some(sha256) {
            return Err(format!("{repo}: the cache's {name} is not the file that the card names by its SHA-256"));
        }
    }
    Ok(folder)
}

/// Number of conversations that are read between two checks of whether the time for scoring is over.
const BATCH: usize = 32;

/// A reward model that is ready to score.
#[derive(Debug)]
pub struct ModelScorer {
    model: RewardModel,
    pointer: ModelPointer,
    range: [f64; 2],
}

impl ModelScorer {
    /// Loads the model of a card from the tool's folder `home`, or from the Hub's cache.
    ///
    /// # Errors
    ///
    /// When the model is not there, is not the file of the card's hash, or has more than one label.
    pub fn load(
        home: &Path,
        pointer: &ModelPointer,
        range: [f64; 2],
        device: &str,
        hub: Option<&Hub>,
    ) -> Result<Self, PolicyError> {
        let path = match &pointer.repo {
            Some(repo) => cached_folder(repo, pointer, hub).map_err(PolicyError::Request)?,
            None => home.join(&pointer.path),
        };
        if !path.exists() {
            let message = format!("{} does not exist; a Hugging Face folder is expected there", path.display());
            return Err(PolicyError::Request(message));
        }
        let model = RewardModel::load(&path, &ComputeDevice::new(device)?)?;
        if model.labels() != 1 {
            let message = format!("{}: has {} labels; a reward has one", path.display(), model.labels());
            return Err(PolicyError::Request(message));
        }
        Ok(Self { model, pointer: pointer.clone(), range })
    }

    /// Scores items; the outcomes are in their order. A reply that makes the conversation longer than the model's context gets
    /// the lowest score; a prompt that is longer than that by itself is not judged.
    pub fn score(&self, items: &[(&Example, &Completion)], should_stop: ShouldStop) -> Vec<Outcome> {
        let positions = self.model.positions();
        let mut outcomes = vec![Outcome::Failed(Failure::Late); items.len()];
        let mut inputs = Vec::new();
        for (i, (example, completion)) in items.iter().enumerate() {
            let input = match self.input(example, completion.scored_text()) {
                Ok(input) => input,
                Err(e) => {
                    outcomes[i] = Outcome::Failed(Failure::Exception(e.to_string()));
                    continue;
                }
            };
            if input.ids.len() <= positions {
                inputs.push((i, input));
            } else if self.input(example, "").is_ok_and(|alone| alone.ids.len() > positions) {
                outcomes[i] =
                    Outcome::Abstained(format!("the prompt is longer than the model's {positions} positions"));
            } else {
                outcomes[i] = Outcome::Scored(self.range[0]);
            }
        }
        inputs.sort_by_key(|(i, input)| (input.ids.len(), *i));
        for batch in inputs.chunks(BATCH) {
            if should_stop() {
                break;
            }
            let (indices, batch): (Vec<usize>, Vec<_>) = batch.iter().cloned().unzip();
            let together = self.model.outputs(&batch, self.pointer.batch_tokens);
            for (at, i) in indices.into_iter().enumerate() {
                // When one input fails, the others of the batch are scored one by one.
                let outputs = match &together {
                    Ok(outputs) => Ok(outputs[at].clone()),
                    Err(_) => self.model.outputs(&batch[at..=at], self.pointer.batch_tokens).map(|mut o| o.remove(0)),
                };
                outcomes[i] = match outputs {
                    Ok(outputs) => self.outcome(&outputs),
                    Err(e) => Outcome::Failed(Failure::Reply(e.to_string())),
                };
            }
        }
        outcomes
    }

    /// The tokens of the conversation with the reply as the assistant's turn.
    fn input(&self, example: &Example, reply: &str) -> Result<rlar_policy::RewardInput, PolicyError> {
        let prompt = example.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content });
        let turns: Vec<Turn> = prompt.chain([Turn { role: "assistant", content: reply }]).collect();
        self.model.input(&turns)
    }

    /// The score of the model's outputs, one per label.
    fn outcome(&self, outputs: &[f32]) -> Outcome {
        let [output] = outputs else { return Outcome::Failed(Failure::Reply("no output".into())) };
        let output = (f64::from(*output) - self.pointer.center) / self.pointer.scale;
        let score = if self.pointer.sigmoid { 1.0 / (1.0 + (-output).exp()) } else { output };
        Outcome::Scored(score.clamp(self.range[0], self.range[1]))
    }
}
