//! Tools of the kind `model`: a reward model, run natively.

use std::path::Path;

use rlar_data::{Completion, Example};
use rlar_policy::{PolicyError, RewardModel, Turn, device};
use rlar_sandbox::Over;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Failure, Outcome};

/// Where a card's reward model is and how its output becomes a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelPointer {
    /// A Hugging Face folder with a `…ForSequenceClassification` model of one label, relative to the tool's folder.
    pub path: String,
    /// Whether the score is the sigmoid of the output; else the output itself, cut to the card's range.
    #[serde(default)]
    pub sigmoid: bool,
    /// Tokens at a time.
    #[serde(default = "tokens")]
    #[schemars(range(min = 1))]
    pub batch_tokens: usize,
}

fn tokens() -> usize {
    4096
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
    /// Loads the model of a card in a tool's folder.
    pub fn load(home: &Path, pointer: &ModelPointer, range: [f64; 2], place: &str) -> Result<Self, PolicyError> {
        let path = home.join(&pointer.path);
        if !path.exists() {
            let message = format!("{} does not exist; a Hugging Face folder is expected there", path.display());
            return Err(PolicyError::Request(message));
        }
        let scorer = RewardModel::load(&path, &device(place)?)?;
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
            let input = match self.input(example, completion.scored()) {
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

    fn input(&self, example: &Example, reply: &str) -> Result<rlar_policy::reward::Input, PolicyError> {
        let said = example.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content });
        let turns: Vec<Turn> = said.chain([Turn { role: "assistant", content: reply }]).collect();
        self.scorer.input(&turns)
    }

    fn outcome(&self, outputs: &[f32]) -> Outcome {
        let [output] = outputs else { return Outcome::Failed(Failure::Reply("no output".into())) };
        let output = f64::from(*output);
        let score = if self.pointer.sigmoid { 1.0 / (1.0 + (-output).exp()) } else { output };
        Outcome::Scored(score.clamp(self.range[0], self.range[1]))
    }
}
