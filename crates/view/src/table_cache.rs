//! The metric tables of the runs that were looked at last, in bounded memory.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::answer::NoAnswer;
use crate::metric_table::{METRICS, MetricTable};

/// Largest number of values in memory, about 128 MiB; the run that was looked at last stays even if it has more.
const MAX_VALUES: usize = 16 << 20;

/// The tables, the one that was used last at the end.
#[derive(Debug, Default)]
pub struct TableCache(Mutex<Vec<CachedTable>>);

#[derive(Clone, Debug)]
struct CachedTable {
    run: String,
    table: Arc<Mutex<MetricTable>>,
    /// Number of values of the table when it was used last.
    size: usize,
}

impl TableCache {
    /// Calls `use_table` with the table of a run, after reading what was added to the run's file.
    pub fn with<T>(&self, run: &str, folder: &Path, use_table: impl FnOnce(&MetricTable) -> T) -> Result<T, NoAnswer> {
        let table = self.take(run);
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        table.refresh(folder).map_err(|error| NoAnswer::of_file(&folder.join(METRICS), &error))?;
        self.shrink(run, table.size());
        Ok(use_table(&table))
    }

    /// The table of a run, moved to the end; an empty one if there is none.
    fn take(&self, run: &str) -> Arc<Mutex<MetricTable>> {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tables.iter().position(|cached| cached.run == run).map(|index| tables.remove(index));
        let cached = known.unwrap_or_else(|| CachedTable { run: run.to_owned(), table: Arc::default(), size: 0 });
        let table = Arc::clone(&cached.table);
        tables.push(cached);
        table
    }

    /// Notes the size of a run's table, and drops the tables that were used longest ago while there are too many values.
    fn shrink(&self, run: &str, size: usize) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = tables.iter_mut().find(|cached| cached.run == run) {
            cached.size = size;
        }
        while tables.len() > 1 && tables.iter().map(|cached| cached.size).sum::<usize>() > MAX_VALUES {
            tables.remove(0);
        }
    }
}
