//! Preference pairs: their token ids, and the Bradley–Terry loss of the two scores of a pair.

use rlar_data::Preference;
use rlar_policy::chat::on_rendering_thread;
use rlar_policy::{PolicyError, RewardInput, RewardModel, Turn};

/// The loss of a preference pair, and its derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairLoss {
    /// Bradley–Terry loss of the pair, in nats.
    pub value: f64,
    /// Derivative of the loss with respect to the chosen reply's score. The derivative with respect to the rejected
    /// reply's score is its negative.
    pub grad_chosen: f64,
}

/// The loss `−log σ(chosen − rejected − margin)` of the scores of a chosen and a rejected reply: Bradley–Terry with a
/// margin (Bradley & Terry, 1952; Touvron et al., 2023, eq. 2).
pub fn bradley_terry(chosen: f64, rejected: f64, margin: f64) -> PairLoss {
    let x = chosen - rejected - margin;
    // Computes log(1 + exp(−x)) without overflow.
    let value = (-x).max(0.0) + (-x.abs()).exp().ln_1p();
    PairLoss { value, grad_chosen: -1.0 / (1.0 + x.exp()) }
}

/// The token ids of a preference pair: the prompt with its chosen reply, and the prompt with its rejected reply.
#[derive(Clone, Debug)]
pub struct PreferencePair {
    /// Token ids of the prompt with the chosen reply.
    pub chosen: RewardInput,
    /// Token ids of the prompt with the rejected reply.
    pub rejected: RewardInput,
    /// By how much the score of the chosen reply should exceed that of the rejected reply.
    pub margin: f64,
}

impl PreferencePair {
    /// Number of tokens of both sequences: the prompt with the chosen reply, and the prompt with the rejected one.
    pub fn len(&self) -> usize {
        self.chosen.ids.len() + self.rejected.ids.len()
    }

    /// Whether both sequences are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The token ids of every preference pair. A sequence that is empty or longer than the model's context is an error with
/// the pair's id.
pub fn preference_pairs(model: &RewardModel, preferences: &[Preference]) -> Result<Vec<PreferencePair>, PolicyError> {
    let pair = |p: &Preference| {
        let input = |reply: &str| {
            let mut turns: Vec<Turn> =
                p.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content }).collect();
            turns.push(Turn { role: "assistant", content: reply });
            let input = model.input(&turns)?;
            let (have, room) = (input.ids.len(), model.positions());
            if have == 0 || have > room {
                let message = format!("preference `{}` has {have} tokens; the model has room for 1 to {room}", p.id);
                return Err(PolicyError::Request(message));
            }
            Ok(input)
        };
        Ok(PreferencePair { chosen: input(&p.chosen)?, rejected: input(&p.rejected)?, margin: p.margin })
    };
    if preferences.is_empty() {
        return Ok(Vec::new());
    }
    on_rendering_thread(|| preferences.iter().map(pair).collect())?
}
