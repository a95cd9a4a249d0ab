//! Asks for the best of four completions, with the correct one at a random position.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rlar_data::{Message, Role};

use super::{fill, user};

/// How the instructions reach the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptStyle {
    /// As a system message.
    #[default]
    System,
    /// In the user message, before the question, for models without system messages (`--no_system_prompt`).
    Merged,
    /// Shorter instructions that ask for the verdict alone, in the user message; the reference implementation uses them for
    /// Gemini.
    Bare,
}

/// Where the correct completion, the first of four, is shown. It changes places with the completion there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u8);

impl Position {
    /// A position from 0 to 3; greater numbers wrap around.
    pub fn new(position: u8) -> Self {
        Self(position % 4)
    }

    /// Draws a position from a random stream. The reference implementation draws from NumPy's global state, unseeded.
    pub fn draw(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self::new(rng.random_range(0..4))
    }

    /// The indices of the completions in the order in which they are shown.
    pub fn order(self) -> [usize; 4] {
        let mut order = [0, 1, 2, 3];
        order.swap(0, usize::from(self.0));
        order
    }
}

/// The conversation that asks for the best of four completions.
pub fn prompt(question: &str, completions: [&str; 4], position: Position, style: PromptStyle) -> Vec<Message> {
    let [a, b, c, d] = position.order().map(|i| completions[i]);
    let values = [("question", question), ("answer_a", a), ("answer_b", b), ("answer_c", c), ("answer_d", d)];
    let request = fill(include_str!("best_of_four_user.txt"), &values);
    let instructions = include_str!("best_of_four_system.txt");
    match style {
        PromptStyle::System => vec![Message { role: Role::System, content: instructions.to_owned() }, user(request)],
        PromptStyle::Merged => vec![user(format!("{instructions}\n\n{request}"))],
        PromptStyle::Bare => vec![user(include_str!("best_of_four_bare.txt").to_owned() + &request)],
    }
}

/// The shown position, from 0, that a reply names: the alphabetically first of `[[A]]` to `[[D]]` that occurs anywhere in it.
pub fn parse(reply: &str) -> Option<u8> {
    (0..4).find(|position| reply.contains(&format!("[[{}]]", char::from(b'A' + position))))
}

/// The scores of the completions in the item's order: 1 for the best, 0 for the others. Without a verdict all are equal, which
/// has the value of a guess, as in the reference implementation.
pub fn scores(verdict: Option<u8>, position: Position) -> [f64; 4] {
    let mut scores = [0.0; 4];
    if let Some(best) = verdict.and_then(|v| position.order().get(usize::from(v)).copied()) {
        scores[best] = 1.0;
    }
    scores
}
