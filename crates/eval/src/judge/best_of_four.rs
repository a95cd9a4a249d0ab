//! Asks a judge for the best of four completions, of which the correct one is shown at a random position.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rlar_data::{Message, Role};

use super::{fill, user};

/// How a judge's instructions are put into its prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PromptStyle {
    /// The instructions are a system message.
    #[default]
    System,
    /// The instructions are in the user message, before the question, for models without system messages
    /// (`--no_system_prompt` of the reference implementation).
    Merged,
    /// Shorter instructions that ask for the verdict alone are in the user message. The reference implementation uses
    /// them for Gemini.
    Bare,
}

/// The position, from 0 to 3, at which the judge is shown the correct completion. In the item the correct completion is
/// the first of four; it is swapped with the completion at this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position(u8);

impl Position {
    /// A position from 0 to 3. Greater numbers are taken modulo 4.
    pub fn new(position: u8) -> Self {
        Self(position % 4)
    }

    /// Draws a random position, which depends only on the seed and the number of the random stream. (The reference
    /// implementation draws from NumPy's global state, without a seed.)
    pub fn draw(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self::new(rng.random_range(0..4))
    }

    /// The indices of the four completions in the order in which the judge is shown them.
    pub fn order(self) -> [usize; 4] {
        let mut order = [0, 1, 2, 3];
        order.swap(0, usize::from(self.0));
        order
    }
}

/// The messages that ask a judge for the best of four completions. The first of `completions` is the correct one.
pub fn prompt(question: &str, completions: [&str; 4], position: Position, style: PromptStyle) -> Vec<Message> {
    let [a, b, c, d] = position.order().map(|i| completions[i]);
    let values = [("question", question), ("answer_a", a), ("answer_b", b), ("answer_c", c), ("answer_d", d)];
    let request = fill(include_str!("best_of_four_user.txt"), &values);
    let instructions = include_str!("best_of_four_system.txt");
    match style {
        PromptStyle::System => vec![Message::new(Role::System, instructions), user(request)],
        PromptStyle::Merged => vec![user(format!("{instructions}\n\n{request}"))],
        PromptStyle::Bare => vec![user(include_str!("best_of_four_bare.txt").to_owned() + &request)],
    }
}

/// Reads a judge's verdict: the shown position, from 0, that the reply names. Of `[[A]]` to `[[D]]`, the alphabetically
/// first that occurs anywhere in the reply counts; `None` where there is none.
pub fn parse(reply: &str) -> Option<u8> {
    (0..4).find(|position| reply.contains(&format!("[[{}]]", char::from(b'A' + position))))
}

/// The scores of the four completions in the item's order: 1 for the one that the verdict names, 0 for the others.
/// Without a verdict all scores are equal, so that the item has the value of a random guess, as in the reference
/// implementation.
pub fn scores(verdict: Option<u8>, position: Position) -> [f64; 4] {
    let mut scores = [0.0; 4];
    if let Some(best) = verdict.and_then(|v| position.order().get(usize::from(v)).copied()) {
        scores[best] = 1.0;
    }
    scores
}
