//! The examples of a large data set, most of which a run never looks at.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tempfile::SpooledTempFile;

use crate::error::DataError;
use crate::example::{Example, Message};
use crate::parallel::on_all_cores;

/// Number of bytes of a data set that are held in memory; a larger one is held in a temporary file.
const IN_MEMORY: usize = 32 << 20;
/// Largest number of examples of a block, and of their bytes; one example may have more.
const BLOCK: usize = 8192;
const BLOCK_BYTES: u64 = 4 << 20;

/// A list of examples that takes little memory: each is kept as JSON and parsed when it is asked for. The JSON of a data
/// set of more than 32 MB is in a temporary file without a name, in the folder that the environment variable `TMPDIR`
/// names. An example is returned exactly as it was added.
#[derive(Debug, Default)]
pub struct ExampleList {
    sets: Vec<StoredSet>,
    /// Number of examples with a worked solution.
    worked_solutions: usize,
}

/// The examples of one data set.
#[derive(Debug)]
struct StoredSet {
    json: Mutex<SpooledTempFile>,
    /// Where the JSON of each example ends, in bytes.
    ends: Vec<u64>,
}

/// An example as it is stored. Unlike [`Example`], its further columns are apart, because one may have the name of
/// another field.
#[derive(Serialize)]
struct StoredExample<'e> {
    id: &'e str,
    messages: &'e [Message],
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'e str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    further_references: &'e [String],
    #[serde(skip_serializing_if = "is_false")]
    conversational: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    worked_solution: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    demonstration: Option<&'e str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    columns: &'e Map<String, Value>,
}

/// What [`StoredExample`] wrote.
#[derive(Deserialize)]
struct LoadedExample {
    id: String,
    messages: Vec<Message>,
    reference: Option<String>,
    #[serde(default)]
    further_references: Vec<String>,
    #[serde(default)]
    conversational: bool,
    worked_solution: Option<String>,
    domain: Option<String>,
    demonstration: Option<String>,
    #[serde(default)]
    columns: Map<String, Value>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde prescribes the signature
fn is_false(value: &bool) -> bool {
    !value
}

impl ExampleList {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.sets.iter().map(|set| set.ends.len()).sum()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of examples that keep the worked solution from which their reference was taken.
    pub fn worked_solutions(&self) -> usize {
        self.worked_solutions
    }

    /// Adds examples at the end of the last data set.
    ///
    /// # Errors
    ///
    /// When the temporary file cannot be written.
    pub fn push_all(&mut self, examples: Vec<Example>) -> Result<(), DataError> {
        if examples.is_empty() {
            return Ok(());
        }
        if self.sets.is_empty() {
            self.sets.push(StoredSet { json: Mutex::new(SpooledTempFile::new(IN_MEMORY)), ends: Vec::new() });
        }
        self.worked_solutions += examples.iter().filter(|example| example.worked_solution.is_some()).count();
        let encoded = on_all_cores(examples, |share| share.iter().map(encoded).collect::<Result<Vec<Vec<u8>>, _>>());
        let encoded = encoded.into_iter().collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let encoded: Vec<Vec<u8>> = encoded.into_iter().flatten().collect();
        self.sets.last_mut().map_or(Ok(()), |set| set.append(&encoded)).map_err(wrong)
    }

    /// Adds the examples of another list behind these, as data sets of their own.
    pub fn append(&mut self, other: Self) {
        self.sets.extend(other.sets);
        self.worked_solutions += other.worked_solutions;
    }

    /// The example with this index.
    ///
    /// # Errors
    ///
    /// When there is no such example, or the temporary file cannot be read.
    pub fn get(&self, index: usize) -> Result<Example, DataError> {
        let mut in_set = index;
        for set in &self.sets {
            if in_set < set.ends.len() {
                return set.load(in_set, in_set + 1)?.pop().ok_or_else(|| missing(index));
            }
            in_set -= set.ends.len();
        }
        Err(missing(index))
    }

    /// All examples in order, some thousands at a time, so that few of them are in memory.
    pub fn blocks(&self) -> impl Iterator<Item = Result<Vec<Example>, DataError>> {
        self.sets.iter().flat_map(|set| {
            let mut first = 0;
            std::iter::from_fn(move || {
                let end = set.end_of_block(first);
                let block = (first < end).then(|| set.load(first, end));
                first = end;
                block
            })
        })
    }

    /// All examples in order, one at a time.
    pub fn iter(&self) -> impl Iterator<Item = Result<Example, DataError>> {
        self.blocks().flat_map(|block| match block {
            Ok(examples) => examples.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }

    /// Calls `work` with every example, on all processor cores, and `take` with the results in order. Ends at the first
    /// error of either.
    pub fn for_each<R: Send, E: From<DataError>>(
        &self,
        work: impl Fn(Example) -> R + Sync,
        mut take: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        for block in self.blocks() {
            let shares = on_all_cores(block?, |share| share.into_iter().map(&work).collect::<Vec<R>>());
            shares.into_iter().flatten().try_for_each(&mut take)?;
        }
        Ok(())
    }
}

impl TryFrom<Vec<Example>> for ExampleList {
    type Error = DataError;

    fn try_from(examples: Vec<Example>) -> Result<Self, DataError> {
        let mut list = Self::default();
        list.push_all(examples)?;
        Ok(list)
    }
}

impl StoredSet {
    fn append(&mut self, encoded: &[Vec<u8>]) -> io::Result<()> {
        let json = self.json.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut end = json.seek(SeekFrom::End(0))?;
        json.write_all(&encoded.concat())?;
        for one in encoded {
            end += one.len() as u64;
            self.ends.push(end);
        }
        Ok(())
    }

    /// Where the JSON of an example begins, in bytes.
    fn start(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// The end of the block of examples that begins with the example `first`.
    fn end_of_block(&self, first: usize) -> usize {
        let last = (first + BLOCK).min(self.ends.len());
        let limit = self.start(first) + BLOCK_BYTES;
        let fitting = self.ends[first.min(last)..last].partition_point(|end| *end <= limit);
        (first + fitting.max(1)).min(last)
    }

    /// The examples from `first` up to and not including `end`.
    fn load(&self, first: usize, end: usize) -> Result<Vec<Example>, DataError> {
        let from = self.start(first);
        let mut bytes = vec![0; usize::try_from(self.start(end) - from).unwrap_or(usize::MAX)];
        {
            let mut json = self.json.lock().unwrap_or_else(PoisonError::into_inner);
            json.seek(SeekFrom::Start(from)).map_err(wrong)?;
            json.read_exact(&mut bytes).map_err(wrong)?;
        }
        let places: Vec<usize> = (first..end).collect();
        let at = |index: usize| (self.start(index) - from) as usize;
        let one = |index: usize| loaded(&bytes[at(index)..at(index + 1)]);
        let shares = on_all_cores(places, |share| share.into_iter().map(one).collect::<Result<Vec<_>, _>>());
        Ok(shares.into_iter().collect::<Result<Vec<_>, _>>().map_err(wrong)?.into_iter().flatten().collect())
    }
}

fn encoded(example: &Example) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&StoredExample {
        id: &example.id,
        messages: &example.messages,
        reference: example.reference.as_deref(),
        further_references: &example.further_references,
        conversational: example.conversational,
        worked_solution: example.worked_solution.as_deref(),
        domain: example.domain.as_deref(),
        demonstration: example.demonstration.as_deref(),
        columns: &example.columns,
    })
}

fn loaded(json: &[u8]) -> serde_json::Result<Example> {
    let known: LoadedExample = serde_json::from_slice(json)?;
    Ok(Example {
        id: known.id,
        messages: known.messages,
        reference: known.reference,
        further_references: known.further_references,
        conversational: known.conversational,
        worked_solution: known.worked_solution,
        domain: known.domain,
        demonstration: known.demonstration,
        columns: known.columns,
    })
}

/// The error of the temporary file.
fn wrong(e: impl Into<io::Error>) -> DataError {
    DataError::Io { path: std::env::temp_dir().join("examples of the data set"), source: e.into() }
}

fn missing(index: usize) -> DataError {
    wrong(io::Error::other(format!("there is no example {index}")))
}
