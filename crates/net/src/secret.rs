//! A text that never shows.

use std::fmt;

use serde::{Serialize, Serializer};

/// What is shown in a secret's place.
const SHOWN: &str = "[secret]";

/// A secret, such as a key: printing, debugging or serialising it shows `[secret]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    /// The environment variable that it comes from.
    variable: Option<String>,
}

impl Secret {
    /// A secret without the white space at its ends, which files and shells like to add.
    pub fn new(text: &str) -> Self {
        Self { text: text.trim().to_owned(), variable: None }
    }

    /// The secret in an environment variable, whose name errors tell; `None` if it is unset, blank or not Unicode.
    pub fn from_env(variable: &str) -> Option<Self> {
        let secret = Self::new(&std::env::var(variable).ok()?);
        (!secret.text.is_empty()).then(|| Self { variable: Some(variable.to_owned()), ..secret })
    }

    /// The environment variable that it comes from, if it comes from one.
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    /// The text itself, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.text
    }

    /// A text with this secret taken out, also where it stands as JSON writes it.
    pub(crate) fn taken_out(&self, text: &str) -> String {
        if self.text.is_empty() {
            return text.to_owned();
        }
        let text = text.replace(&self.text, SHOWN);
        let escaped = serde_json::Value::from(self.text.as_str()).to_string();
        text.replace(&escaped[1..escaped.len() - 1], SHOWN)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHOWN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(SHOWN)
    }
}
