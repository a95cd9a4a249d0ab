//! Texts that may be very long, cut for the page.

use serde::Serialize;

/// The beginning of a text, and how long the whole text is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShownText {
    /// The text, or its first characters.
    pub text: String,
    /// Number of characters of the whole text.
    pub chars: usize,
    /// Whether `text` is only the beginning.
    pub cut: bool,
}

impl ShownText {
    /// The first `max` characters of a text.
    pub fn new(text: &str, max: usize) -> Self {
        let chars = text.chars().count();
        let end = text.char_indices().nth(max).map_or(text.len(), |(end, _)| end);
        Self { text: text[..end].to_owned(), chars, cut: end < text.len() }
    }
}

/// A text, or its first `max` characters with `…` behind them.
pub fn clipped(text: String, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
