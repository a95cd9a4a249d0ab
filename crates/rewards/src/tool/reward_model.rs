//! Tools of the kind `model`: a reward model, run natively.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rlar_data::{Completion, Example};
use rlar_net::hub::{Hub, HubError, HubLimits, HubSettings};
use rlar_policy::{ComputeDevice, PolicyError, RewardModel, Turn};
use rlar_sandbox::Over;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Failure, Outcome};

/// Where a card's reward model is and how its output becomes a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPointer {
    /// A Hugging Face folder with a `…ForSequenceClassification` model of one label, relative to the tool's folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// Instead of a path: the model's name on the Hub, `owner/name`, which `rlar fetch-rewards` downloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Its commit there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Its files that are needed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// SHA-256 of those that hold its weights.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
    /// Whether the score is the sigmoid of `(output - center) / scale`; else that number itself, cut to the card's range.
    #[serde(default)]
    pub sigmoid: bool,
    /// What is subtracted from the output.
    #[serde(default)]
    pub center: f64,
    /// What the output is divided by.
    #[serde(default = "one")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub scale: f64,
    /// Tokens at a time.
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

/// Where the cache holds a model, which must be the one that the card means.
fn cached(repo: &str, pointer: &ModelPointer, hub: Option<&Hub>) -> Result<PathBuf, String> {
    let settings = match hub {
        Some(hub) => hub.settings().clone(),
        None => HubSettings::from_env(|name| std::env::var(name).ok()).map_err(|e| e.to_string())?,
    };
    // Nothing is downloaded by opening a tool.
    let hub = Hub::new(HubSettings { offline: true, ..settings }).map_err(|e| e.to_string())?;
    let revision = pointer.revision.as_deref().unwrap_or("main");
    let names: Vec<&str> = pointer.files.iter().map(String::as_str).collect();
    let missing = |e: HubError| format!("{e}; `rlar fetch-rewards` downloads it");
    let folder = hub.download(repo, revision, &names, &HubLimits::default(), &mut |_| ()).map_err(missing)?;
    for (name, sha256) in &pointer.sha256 {
        // The cache names what it holds by its hash, which was checked when it came.
        let held = folder.join(name).read_link().ok().and_then(|p| Some(p.file_name()?.to_str()?.to_owned()));
        if held.as_ref() != Some(sha256) {
            return Err(format!("{repo}: the cache's {name} is not the file that the card names by its SHA-256"));
        }
    }
    Ok(folder)
}

/// Conversations that are read before it is asked again whether their scores are still wanted.
const AT_ONCE: usize = 32;

/// A reward model that is ready to score.
#[derive(Debug)]
pub struct Model {
    scorer: RewardModel,
    pointer: ModelPointer,
    range: [f64; 2],
}

impl Model {
    /// Loads the model of a card in a tool's folder, or in the Hub's cache.
    pub fn load(
        home: &Path,
        pointer: &ModelPointer,
        range: [f64; 2],
        device: &str,
        hub: Option<&Hub>,
    ) -> Result<Self, PolicyError> {
        let path = match &pointer.repo {
            Some(repo) => cached(repo, pointer, hub).map_err(PolicyError::Request)?,
            None => home.join(&pointer.path),
        };
        if !path.exists() {
            let message = format!("{} does not exist; a Hugging Face folder is expected there", path.display());
            return Err(PolicyError::Request(message));
        }
        let scorer = RewardModel::load(&path, &ComputeDevice::new(device)?)?;
        if scorer.labels() != 1 {
            let message = format!("{}: has {} labels; a reward has one", path.display(), scorer.labels());
            return Err(PolicyError::Request(message));
        }
        Ok(Self { scorer, pointer: pointer.clone(), range })
    }

    /// Outcomes in the order of the items. A reply that leaves the model no room scores the minimum; a prompt that does so
    /// by itself is not judged.
    pub fn score(&self, items: &[(&Example, &Completion)], over: Over) -> Vec<Outcome> {
        let room = self.scorer.positions();
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
            if input.ids.len() <= room {
                inputs.push((i, input));
            } else if self.input(example, "").is_ok_and(|alone| alone.ids.len() > room) {
                outcomes[i] = Outcome::Abstained(format!("the prompt is longer than the model's {room} positions"));
            } else {
                outcomes[i] = Outcome::Scored(self.range[0]);
            }
        }
        inputs.sort_by_key(|(i, input)| (input.ids.len(), *i));
        for piece in inputs.chunks(AT_ONCE) {
            if over() {
                break;
            }
            let (places, piece): (Vec<usize>, Vec<_>) = piece.iter().cloned().unzip();
            let together = self.scorer.outputs(&piece, self.pointer.batch_tokens);
            for (at, i) in places.into_iter().enumerate() {
                // One input that breaks the model breaks no other's score.
                let outputs = match &together {
                    Ok(outputs) => Ok(outputs[at].clone()),
                    Err(_) => self.scorer.outputs(&piece[at..=at], self.pointer.batch_tokens).map(|mut o| o.remove(0)),
                };
                outcomes[i] = match outputs {
                    Ok(outputs) => self.outcome(&outputs),
                    Err(e) => Outcome::Failed(Failure::Reply(e.to_string())),
                };
            }
        }
        outcomes
    }

    fn input(&self, example: &Example, reply: &str) -> Result<rlar_policy::RewardInput, PolicyError> {
        let said = example.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content });
        let turns: Vec<Turn> = said.chain([Turn { role: "assistant", content: reply }]).collect();
        self.scorer.input(&turns)
    }

    fn outcome(&self, outputs: &[f32]) -> Outcome {
        let [output] = outputs else { return Outcome::Failed(Failure::Reply("no output".into())) };
        let output = (f64::from(*output) - self.pointer.center) / self.pointer.scale;
        let score = if self.pointer.sigmoid { 1.0 / (1.0 + (-output).exp()) } else { output };
        Outcome::Scored(score.clamp(self.range[0], self.range[1]))
    }
}
