//! Fields of a JSON object, read with their type and range.

use serde_json::Value;

/// A JSON object whose fields are read by name. Errors name the field; `null` counts as absent.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub &'a Value);

impl<'a> Fields<'a> {
    /// A field; `None` where it is absent or `null`.
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    /// A size from 1 to 2^24.
    pub fn size(self, key: &str) -> Result<usize, String> {
        let value = self.get(key).ok_or_else(|| format!("`{key}` is missing"))?;
        match value.as_u64() {
            Some(n) if (1..=1 << 24).contains(&n) => Ok(n as usize),
            _ => Err(format!("`{key}` is {value}; it must lie between 1 and 2^24")),
        }
    }

    /// A size from 1 to 2^24, or `default` where it is absent.
    pub fn size_or(self, key: &str, default: usize) -> Result<usize, String> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    /// A number of layers, at most 4096: each takes memory before any file is read.
    pub fn depth(self, key: &str) -> Result<usize, String> {
        match self.size(key)? {
            n if n <= 4096 => Ok(n),
            n => Err(format!("`{key}` is {n}; at most 4096 are supported")),
        }
    }

    /// A finite number above 0.
    pub fn positive(self, key: &str) -> Result<f64, String> {
        match self.number(key)? {
            x if x > 0.0 => Ok(x),
            x => Err(format!("`{key}` is {x}; it must be more than 0")),
        }
    }

    /// A finite number above 0, or `default` where it is absent.
    pub fn positive_or(self, key: &str, default: f64) -> Result<f64, String> {
        if self.get(key).is_some() { self.positive(key) } else { Ok(default) }
    }

    /// An integer, or `default` where it is absent.
    pub fn integer_or(self, key: &str, default: i64) -> Result<i64, String> {
        self.get(key).map_or(Ok(default), |v| v.as_i64().ok_or_else(|| format!("`{key}` is {v}, not a whole number")))
    }

    /// A finite number.
    pub fn number(self, key: &str) -> Result<f64, String> {
        let value = self.get(key).ok_or_else(|| format!("`{key}` is missing"))?;
        value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| format!("`{key}` is {value}, not a number"))
    }

    /// A finite number, or `default` where it is absent.
    pub fn number_or(self, key: &str, default: f64) -> Result<f64, String> {
        if self.get(key).is_some() { self.number(key) } else { Ok(default) }
    }

    /// A boolean, or `default` where it is absent.
    pub fn flag_or(self, key: &str, default: bool) -> Result<bool, String> {
        self.get(key).map_or(Ok(default), |v| v.as_bool().ok_or_else(|| format!("`{key}` is {v}, not true or false")))
    }

    /// A text, or `default` where it is absent.
    pub fn text_or(self, key: &str, default: &'a str) -> Result<&'a str, String> {
        self.get(key).map_or(Ok(default), |v| v.as_str().ok_or_else(|| format!("`{key}` is {v}, not a text")))
    }

    /// The epsilon of a norm, above 0, or `default` where it is absent.
    pub fn eps(self, key: &str, default: f64) -> Result<f32, String> {
        let eps = self.number_or(key, default)?;
        if eps > 0.0 { Ok(eps as f32) } else { Err(format!("`{key}` must be positive")) }
    }

    /// Refuses a field whose value is not supported. An absent field is accepted.
    pub fn refuse(self, key: &str, allowed: impl Fn(&Value) -> bool) -> Result<(), String> {
        match self.get(key) {
            Some(value) if !allowed(value) => Err(format!("`{key}` {value} is not supported")),
            _ => Ok(()),
        }
    }
}
