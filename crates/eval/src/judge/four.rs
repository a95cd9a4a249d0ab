//! The best of four completions, the right one in a shuffled place.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rlar_data::{Message, Role};

use super::{fill, user};

/// How the instructions reach the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As a system message.
    #[default]
    System,
    /// Before the question, for models without system messages (`--no_system_prompt`).
    Merged,
    /// The shorter instructions that ask for the verdict alone, before the question: the reference's for Gemini.
    Bare,
}

/// Where the right completion, the first of four, is shown; the one shown there goes to the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u8);

impl Place {
    /// From 0 to 3, larger numbers wrap.
    pub fn new(place: u8) -> Self {
        Self(place % 4)
    }

    /// A place for the `index`-th item; the reference draws from NumPy's global state, unseeded.
    pub fn draw(seed: u64, index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        Self::new(rng.random_range(0..4))
    }

    /// The completions in the order shown.
    pub fn order(self) -> [usize; 4] {
        let mut order = [0, 1, 2, 3];
        order.swap(0, usize::from(self.0));
        order
    }
}

/// The conversation that asks for the best of four completions.
pub fn prompt(question: &str, completions: [&str; 4], place: Place, style: Style) -> Vec<Message> {
    let [a, b, c, d] = place.order().map(|i| completions[i]);
    let values = [("question", question), ("answer_a", a), ("answer_b", b), ("answer_c", c), ("answer_d", d)];
    let asked = fill(include_str!("four_user.txt"), &values);
    let system = include_str!("four_system.txt");
    match style {
        Style::System => vec![Message { role: Role::System, content: system.to_owned() }, user(asked)],
        Style::Merged => vec![user(format!("{system}\n\n{asked}"))],
        Style::Bare => vec![user(include_str!("four_bare.txt").to_owned() + &asked)],
    }
}

/// The place that a reply names: the first of `[[A]]` to `[[D]]`, in the order of the alphabet, that occurs
/// anywhere in it.
pub fn parse(reply: &str) -> Option<u8> {
    (0..4).find(|place| reply.contains(&format!("[[{}]]", char::from(b'A' + place))))
}

/// A verdict as scores of the completions in the item's order: 1 for the best. Without a verdict all are equal,
/// which is worth a quarter, as in the reference.
pub fn scores(verdict: Option<u8>, place: Place) -> [f64; 4] {
    let mut scores = [0.0; 4];
    if let Some(shown) = verdict.and_then(|v| place.order().get(usize::from(v)).copied()) {
        scores[shown] = 1.0;
    }
    scores
}
