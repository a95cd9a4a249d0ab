//! Patterns and schemas that are compiled once, not for every reply.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most that are kept: rows may each bring their own.
const KEPT: usize = 256;

/// What was made of texts; nothing where nothing can be made of one.
pub struct Compiled<T>(Mutex<HashMap<String, Option<Arc<T>>>>);

impl<T> Compiled<T> {
    /// Nothing yet.
    pub fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// What `make` makes of a text, or made of it before.
    pub fn get(&self, text: &str, make: impl FnOnce() -> Option<T>) -> Option<Arc<T>> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.get(text) {
            return made.clone();
        }
        if made.len() >= KEPT {
            made.clear();
        }
        made.entry(text.to_owned()).or_insert(make().map(Arc::new)).clone()
    }
}
