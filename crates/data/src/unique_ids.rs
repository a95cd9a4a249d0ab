//! The check that no two examples of a data set have the same id.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use crate::error::DataError;
use crate::example_list::ExampleList;

/// Hashes of the ids of a data set's examples, and the lines that the examples are from: twelve bytes for each. Equal
/// hashes are compared by the ids themselves.
#[derive(Debug, Default)]
pub struct UniqueIds {
    hashes: Vec<u64>,
    lines: Vec<u32>,
    files: Vec<FirstOfFile>,
}

/// Where the examples of a file begin.
#[derive(Debug)]
struct FirstOfFile {
    /// Index of the file's first example.
    index: usize,
    path: Arc<Path>,
}

impl UniqueIds {
    /// Adds the id of the next example, which is from this line of the file at `path`.
    pub fn push(&mut self, path: &Arc<Path>, line: usize, id: &str) {
        if self.files.last().is_none_or(|last| last.path != *path) {
            self.files.push(FirstOfFile { index: self.hashes.len(), path: path.clone() });
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        self.hashes.push(hasher.finish());
        self.lines.push(u32::try_from(line).unwrap_or(u32::MAX));
    }

    /// Fails for the first example whose id an earlier example has. `examples` are those whose ids were added.
    pub fn check(self, examples: &ExampleList) -> Result<(), DataError> {
        let mut sorted = self.hashes.clone();
        sorted.sort_unstable();
        let mut twice: Vec<u64> = sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        drop(sorted);
        twice.dedup();
        if twice.is_empty() {
            return Ok(());
        }
        let mut first_of_id: BTreeMap<String, usize> = BTreeMap::new();
        let candidates = (0..self.hashes.len()).filter(|index| twice.binary_search(&self.hashes[*index]).is_ok());
        for index in candidates {
            let id = examples.get(index)?.id;
            if let Some(first) = first_of_id.get(&id) {
                let file = self.files.iter().rev().find(|file| file.index <= index);
                let path = file.map_or_else(Default::default, |file| file.path.to_path_buf());
                let message = format!("the id `{id}` is also that of line {}", self.lines[*first]);
                return Err(DataError::Row { path, line: self.lines[index] as usize, message });
            }
            first_of_id.insert(id, index);
        }
        Ok(())
    }
}
