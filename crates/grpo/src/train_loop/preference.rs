//! Preferences: the loss of a pair of scores, and the pairs as tokens.

use rlar_data::Preference;
use rlar_policy::{PolicyError, RewardInput, RewardModel, Turn};

/// The loss of a chosen and a rejected reply's scores under a Bradley–Terry model with a margin (Bradley & Terry, 1952;
/// Touvron et al., 2023, eq. 2), `−log σ(chosen − rejected − margin)`, and its slope by the chosen score; the slope by
/// the rejected one is the opposite.
pub fn bradley_terry(chosen: f64, rejected: f64, margin: f64) -> (f64, f64) {
    let x = chosen - rejected - margin;
    // log(1 + exp(−x)) without overflow.
    let loss = (-x).max(0.0) + (-x.abs()).exp().ln_1p();
    let slope = -1.0 / (1.0 + x.exp());
    (loss, slope)
}

/// A pair of replies as a reward model reads them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The better one.
    pub chosen: RewardInput,
    /// The worse one.
    pub rejected: RewardInput,
    /// How much better it should score at least.
    pub margin: f64,
}

impl Pair {
    /// Tokens of both.
    pub fn len(&self) -> usize {
        self.chosen.ids.len() + self.rejected.ids.len()
    }

    /// Whether neither has tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The tokens of every pair. One that does not fit the model's positions is refused by name.
pub fn pairs(model: &RewardModel, preferences: &[Preference]) -> Result<Vec<Pair>, PolicyError> {
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
        Ok(Pair { chosen: input(&p.chosen)?, rejected: input(&p.rejected)?, margin: p.margin })
    };
    preferences.iter().map(pair).collect()
}
