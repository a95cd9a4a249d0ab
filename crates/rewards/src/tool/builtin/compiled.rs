//! A cache of compiled regular expressions and JSON schemas, so that they are not compiled anew for every reply.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Number of entries at which the cache is emptied. There must be a limit, because every row of a data set may have its
/// own pattern.
const MAX_ENTRIES: usize = 256;

/// A cache of compiled values by their source texts. The entry is `None` for a text that cannot be compiled.
pub struct Compiled<T>(Mutex<HashMap<String, Option<Arc<T>>>>);

impl<T> Compiled<T> {
    /// An empty cache.
    pub fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// The compiled value of a text; `None` when the text cannot be compiled. `compile` is called only if the cache
    /// does not hold the text.
    pub fn get(&self, text: &str, compile: impl FnOnce() -> Option<T>) -> Option<Arc<T>> {
        let mut compiled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(text) {
            return known.clone();
        }
        if compiled.len() >= MAX_ENTRIES {
            compiled.clear();
        }
        compiled.entry(text.to_owned()).or_insert(compile().map(Arc::new)).clone()
    }
}
