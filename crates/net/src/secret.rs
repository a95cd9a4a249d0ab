//! Secret texts, such as API keys, that are never printed.

use std::fmt;

use serde::{Serialize, Serializer};

/// The text that is printed in place of a secret.
const SHOWN: &str = "[secret]";

/// A secret text, such as an API key. `Display`, `Debug` and `Serialize` give `[secret]` instead of the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    /// The environment variable that contained the secret; `None` if the secret came from elsewhere.
    variable: Option<String>,
}

impl Secret {
    /// Makes a secret from a text, without the white space at its ends that files and shells often add.
    pub fn new(text: &str) -> Self {
        Self { text: text.trim().to_owned(), variable: None }
    }

    /// Reads a secret from an environment variable, whose name appears in error messages. `None` if the variable is
    /// unset, blank or not Unicode.
    pub fn from_env(variable: &str) -> Option<Self> {
        let secret = Self::new(&std::env::var(variable).ok()?);
        (!secret.text.is_empty()).then(|| Self { variable: Some(variable.to_owned()), ..secret })
    }

    /// The environment variable that contained the secret; `None` if the secret came from elsewhere.
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }

    /// The secret text, for the code that sends it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Replaces every occurrence of this secret in a text by `[secret]`, also where the secret is escaped as in JSON.
    pub fn redact(&self, text: &str) -> String {
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
