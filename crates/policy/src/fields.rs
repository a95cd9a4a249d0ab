//! Reading the fields of a JSON object with checks of their type and range.

use serde_json::Value;

/// A JSON object whose fields are read by name. Errors name the field. A field that is `null` counts as absent.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(pub &'a Value);

impl<'a> Fields<'a> {
    /// Returns a field; `None` where it is absent or `null`.
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    /// Reads an integer from 1 to 2^24. An absent field is an error.
    pub fn size(self, key: &str) -> Result<usize, String> {
        let value = self.get(key).ok_or_else(|| format!("`{key}` is missing"))?;
        match value.as_u64() {
            Some(n) if (1..=1 << 24).contains(&n) => Ok(n as usize),
            _ => Err(format!("`{key}` is {value}; it must lie between 1 and 2^24")),
        }
    }

    /// Reads an integer from 1 to 2^24; an absent field gives `default`.
    pub fn size_or(self, key: &str, default: usize) -> Result<usize, String> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    /// Reads a number of layers from 1 to 4096. The limit is low because every layer takes memory before any file of
    /// weights is read.
    pub fn depth(self, key: &str) -> Result<usize, String> {
        match self.size(key)? {
            n if n <= 4096 => Ok(n),
            n => Err(format!("`{key}` is {n}; at most 4096 are supported")),
        }
    }

    /// Reads a finite number above 0. An absent field is an error.
    pub fn positive(self, key: &str) -> Result<f64, String> {
        match self.number(key)? {
            x if x > 0.0 => Ok(x),
            x => Err(format!("`{key}` is {x}; it must be more than 0")),
        }
    }

    /// Reads a finite number above 0; an absent field gives `default`.
    pub fn positive_or(self, key: &str, default: f64) -> Result<f64, String> {
        if self.get(key).is_some() { self.positive(key) } else { Ok(default) }
    }

    /// Reads an integer; an absent field gives `default`.
    pub fn integer_or(self, key: &str, default: i64) -> Result<i64, String> {
        self.get(key).map_or(Ok(default), |v| v.as_i64().ok_or_else(|| format!("`{key}` is {v}, not a whole number")))
    }

    /// Reads a finite number. An absent field is an error.
    pub fn number(self, key: &str) -> Result<f64, String> {
        let value = self.get(key).ok_or_else(|| format!("`{key}` is missing"))?;
        value.as_f64().filter(|x| x.is_finite()).ok_or_else(|| format!("`{key}` is {value}, not a number"))
    }

    /// Reads a finite number; an absent field gives `default`.
    pub fn number_or(self, key: &str, default: f64) -> Result<f64, String> {
        if self.get(key).is_some() { self.number(key) } else { Ok(default) }
    }

    /// Reads a boolean; an absent field gives `default`.
    pub fn flag_or(self, key: &str, default: bool) -> Result<bool, String> {
        self.get(key).map_or(Ok(default), |v| v.as_bool().ok_or_else(|| format!("`{key}` is {v}, not true or false")))
    }

    /// Reads a text; an absent field gives `default`.
    pub fn text_or(self, key: &str, default: &'a str) -> Result<&'a str, String> {
        self.get(key).map_or(Ok(default), |v| v.as_str().ok_or_else(|| format!("`{key}` is {v}, not a text")))
    }

    /// Reads the epsilon of a norm, a finite number above 0; an absent field gives `default`.
    pub fn eps(self, key: &str, default: f64) -> Result<f32, String> {
        let eps = self.number_or(key, default)?;
        if eps > 0.0 { Ok(eps as f32) } else { Err(format!("`{key}` must be positive")) }
    }

    /// Returns an error where the value of a field is not `allowed`, because rlar does not support it. An absent field
    /// is accepted.
    pub fn refuse(self, key: &str, allowed: impl Fn(&Value) -> bool) -> Result<(), String> {
        match self.get(key) {
            Some(value) if !allowed(value) => Err(format!("`{key}` {value} is not supported")),
            _ => Ok(()),
        }
    }
}
