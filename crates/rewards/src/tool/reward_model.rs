//! Tools of the kind `model`: a reward model (a sequence classifier with one output), run by rlar itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rlar_data::{Completion, Example, expand_home};
use rlar_net::hub::{Hub, HubError, HubLimits, HubSettings, file_sha256};
use rlar_policy::{ComputeDevice, PolicyError, RewardModel, Turn};
use rlar_sandbox::ShouldStop;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Failure, Outcome};

/// For a tool of kind `model`: where its reward model is, and how the model's output becomes a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPointer {
    /// Path of a Hugging Face folder with a `…ForSequenceClassification` model of one label, relative to the tool's
    /// folder. A card gives either `path` or `repo`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Name of the model on the Hugging Face Hub, `owner/name`, instead of `path`. `rlar fetch-rewards` downloads the
    /// model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Commit of the model's repository on the Hub; required with `repo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Names of the files to download from the model's repository on the Hub; required with `repo`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// With `repo`: SHA-256, in hexadecimal, that files of the repository must have, by file name. It is meant for the
    /// files that hold weights.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
    /// Whether the score is the sigmoid of `(output - center) / scale`; otherwise the score is `(output - center) /
    /// scale` itself. Either is clamped to the range of the tool's scores.
    #[serde(default)]
    pub sigmoid: bool,
    /// The number that is subtracted from the model's output before the division by `scale`.
    #[serde(default)]
    pub center: f64,
    /// The number that the model's output, less `center`, is divided by; above 0.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub scale: f64,
    /// Largest number of tokens in one forward pass over several conversations. A conversation that is longer than this
    /// gets a forward pass of its own.
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

/// The local folder of a Hub model that was downloaded earlier. A file for which the tool card gives a SHA-256 must
/// have that hash. Without a `hub`, environment variables name the cache of models.
fn cached_folder(repo: &str, pointer: &ModelPointer, hub: Option<&Hub>) -> Result<PathBuf, String> {
    let settings = match hub {
        Some(hub) => hub.settings().clone(),
        None => HubSettings::from_env(|name| std::env::var(name).ok()).map_err(|e| e.to_string())?,
    };
    // Opening a tool downloads nothing: the model must already be in the cache.
    let hub = Hub::new(HubSettings { offline: true, ..settings }).map_err(|e| e.to_string())?;
    let revision = pointer.revision.as_deref().unwrap_or("main");
    let names: Vec<&str> = pointer.files.iter().map(String::as_str).collect();
    let not_cached = |e: HubError| format!("{e}; `rlar fetch-rewards` downloads it");
    let folder = hub.download(repo, revision, &names, &HubLimits::default(), &mut |_| ()).map_err(not_cached)?;
    for (name, sha256) in &pointer.sha256 {
        // A file in this folder is a link to a file that is named by its SHA-256, which was checked after the download.
        // Where there are no links, the folder has the file itself.
        let path = folder.join(name);
        let cached = match path.read_link() {
            Ok(blob) => blob.file_name().and_then(|name| Some(name.to_str()?.to_owned())),
            Err(_) => file_sha256(&path).ok(),
        };
        if cached.as_ref() != Some(sha256) {
            return Err(format!("{repo}: the cache's {name} is not the file that the card names by its SHA-256"));
        }
    }
    Ok(folder)
}

/// Number of conversations that are scored between two checks of whether the time for scoring is over.
const BATCH: usize = 32;

/// A loaded reward model, with the settings that turn its outputs into scores.
#[derive(Debug)]
pub struct ModelScorer {
    model: RewardModel,
    pointer: ModelPointer,
    range: [f64; 2],
}

impl ModelScorer {
    /// Loads the model that `pointer` names: from the tool's folder `home`, or from the local cache of the Hugging Face
    /// Hub. `range` is the range of the tool's scores.
    ///
    /// # Errors
    ///
    /// When the model is not there, a file does not have the SHA-256 that the card gives, or the model does not have
    /// exactly one label.
    pub fn load(
        home: &Path,
        pointer: &ModelPointer,
        range: [f64; 2],
        device: &str,
        hub: Option<&Hub>,
    ) -> Result<Self, PolicyError> {
        let path = match &pointer.repo {
            Some(repo) => cached_folder(repo, pointer, hub).map_err(PolicyError::Request)?,
            None => home.join(expand_home(&pointer.path).map_err(PolicyError::Request)?),
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

    /// Scores replies, each with its example; the outcomes are in the order of `items`. A reply that makes the
    /// conversation longer than the model's context gets the lowest score of the range. A prompt that is too long even
    /// without a reply gets an abstention.
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
                // When a batch fails because of one input, each input of the batch is scored by itself.
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

    /// The tokens of the conversation that the model scores: the example's messages, then the reply as the assistant's
    /// turn.
    fn input(&self, example: &Example, reply: &str) -> Result<rlar_policy::RewardInput, PolicyError> {
        let prompt = example.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content });
        let turns: Vec<Turn> = prompt.chain([Turn { role: "assistant", content: reply }]).collect();
        self.model.input(&turns)
    }

    /// Turns the model's outputs for one conversation, of which there must be exactly one, into a score in the tool's
    /// range.
    fn outcome(&self, outputs: &[f32]) -> Outcome {
        let [output] = outputs else { return Outcome::Failed(Failure::Reply("no output".into())) };
        let output = (f64::from(*output) - self.pointer.center) / self.pointer.scale;
        let score = if self.pointer.sigmoid { 1.0 / (1.0 + (-output).exp()) } else { output };
        Outcome::Scored(score.clamp(self.range[0], self.range[1]))
    }
}
