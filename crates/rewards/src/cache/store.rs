//! The score cache and the audit log: one `SQLite` file, used by several processes at once.
//!
//! Nothing here can stop a run. A file that is damaged is moved away and made anew; where nothing can be written, scores are
//! computed as if there were no cache, and a warning says so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi, params};

use crate::tool::outcome::Outcome;

/// The name of the file beside a library's tools.
pub const STORE: &str = "scores.sqlite";

/// What a score is remembered by: a hash of the tool, the example and the reply.
pub type Key = [u8; 16];

/// Longest wait for another process that writes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most scores that are held in memory.
const HELD: usize = 1 << 20;

/// The version of the tables.
const LAYOUT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, score REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS calls (
        at REAL NOT NULL, tool TEXT NOT NULL, identity TEXT NOT NULL, example TEXT NOT NULL, task TEXT NOT NULL,
        outcome TEXT NOT NULL, score REAL, why TEXT, seconds REAL NOT NULL, tokens INTEGER NOT NULL, cached INTEGER NOT NULL
    );";

/// One line of the audit log.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The tool.
    pub tool: &'a str,
    /// Its content hash.
    pub identity: &'a str,
    /// The example's id.
    pub example: &'a str,
    /// What tables group by.
    pub task: &'a str,
    /// What it said.
    pub outcome: &'a Outcome,
    /// How long it took, in seconds; of a batch the mean.
    pub seconds: f64,
    /// Tokens of a language model.
    pub tokens: u64,
    /// Under what it is remembered; nothing for what is not.
    pub key: Option<Key>,
    /// Whether it was remembered.
    pub cached: bool,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Nothing where the file cannot be used.
    connection: Option<Connection>,
    held: HashMap<Key, f64>,
}

impl Store {
    /// Opens or creates the file. What stands in the way is a warning.
    pub fn open(path: &Path) -> Self {
        let connection = match connect(path) {
            Err(e) if is_damage(&e) && is_ours(path) => rebuild(path, &e),
            Err(e) => {
                tracing::warn!("{}: {e}; scores are computed without it and are not kept", path.display());
                None
            }
            Ok(connection) => Some(connection),
        };
        Self { path: path.to_owned(), inner: Mutex::new(Inner { connection, held: HashMap::new() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Scores that are known, in the order of the keys.
    pub fn recall(&self, keys: &[Key]) -> Vec<Option<f64>> {
        let mut inner = self.inner();
        let mut known: Vec<Option<f64>> = keys.iter().map(|k| inner.held.get(k).copied()).collect();
        let missing: Vec<usize> = (0..keys.len()).filter(|i| known[*i].is_none()).collect();
        let found = inner.try_use(&self.path, |connection| {
            let mut query = connection.prepare_cached("SELECT score FROM scores WHERE key = ?1")?;
            let mut found = Vec::new();
            for i in &missing {
                match query.query_row([&keys[*i][..]], |row| row.get::<_, f64>(0)) {
                    Ok(score) => found.push((*i, score)),
                    Err(rusqlite::Error::QueryReturnedNoRows) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(found)
        });
        for (i, score) in found.unwrap_or_default() {
            inner.hold(keys[i], score);
            known[i] = Some(score);
        }
        known
    }

    /// Logs calls, and remembers the scores that have a key.
    pub fn keep(&self, calls: &[Call]) {
        let mut inner = self.inner();
        for call in calls {
            if let (Some(key), Some(score)) = (call.key, call.outcome.score()) {
                inner.hold(key, score);
            }
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        inner.try_use(&self.path, |connection| {
            let transaction = connection.transaction()?;
            {
                let mut log = transaction
                    .prepare_cached("INSERT INTO calls VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
                let mut remember =
                    transaction.prepare_cached("INSERT OR IGNORE INTO scores (key, score) VALUES (?1, ?2)")?;
                for call in calls {
                    let (outcome, score, why) = match call.outcome {
                        Outcome::Scored(score) => ("scored", Some(*score), None),
                        Outcome::Abstained(why) => ("abstained", None, Some(why.clone())),
                        Outcome::Failed(failure) => ("failed", None, Some(failure.to_string())),
                    };
                    log.execute(params![
                        at,
                        call.tool,
                        call.identity,
                        call.example,
                        call.task,
                        outcome,
                        score,
                        why,
                        call.seconds,
                        call.tokens as i64,
                        call.cached
                    ])?;
                    if let (Some(key), Some(score), false) = (call.key, score, call.cached) {
                        remember.execute(params![&key[..], score])?;
                    }
                }
            }
            transaction.commit()
        });
    }

    /// Runs a query over the log; nothing where there is no log.
    pub(crate) fn read<T>(&self, query: impl FnMut(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        self.inner().try_use(&self.path, query)
    }
}

impl Inner {
    fn hold(&mut self, key: Key, score: f64) {
        if self.held.len() >= HELD {
            self.held.clear();
        }
        self.held.entry(key).or_insert(score);
    }

    /// Uses the file: once more after it was damaged, and never again after it refused.
    fn try_use<T>(&mut self, path: &Path, mut with: impl FnMut(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        for _ in 0..2 {
            match with(self.connection.as_mut()?) {
                Ok(done) => return Some(done),
                Err(e) if is_damage(&e) => {
                    self.connection = None;
                    self.connection = rebuild(path, &e);
                }
                Err(e) => {
                    tracing::warn!("{}: {e}; from now on scores are not kept", path.display());
                    self.connection = None;
                }
            }
        }
        None
    }
}

/// Opens a file as it is kept, with its tables.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    let state = "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version";
    match connection.query_row(state, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))? {
        (0, 0) | (LAYOUT, _) => {}
        (version, _) => {
            let why =
                format!("was made by another program or version: its tables are of version {version}, not {LAYOUT}");
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_MISMATCH), Some(why)));
        }
    }
    // Readers and a writer do not wait for each other; a crash of the machine may lose the last scores, no more.
    // A process that comes while another one switches need not switch itself.
    let _ = connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()));
    // The log beside the file is emptied every megabyte.
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 256;")?;
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {LAYOUT}; COMMIT;"))?;
    Ok(connection)
}

/// Opens an existing file to read its log only.
pub(crate) fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Whether a file that cannot be read as a database was one: nobody's data is moved away for a typing mistake.
fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "sqlite")
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Moves a damaged file away, with what belongs to it, and makes a new one.
fn rebuild(path: &Path, why: &rusqlite::Error) -> Option<Connection> {
    let name = |end: &str| PathBuf::from(format!("{}{end}", path.display()));
    // What was moved away before stays.
    let free = (1..1000).map(|n| if n == 1 { ".damaged".to_owned() } else { format!(".damaged-{n}") });
    let end = free.into_iter().find(|end| !name(end).exists()).unwrap_or_else(|| ".damaged".into());
    let away = name(&end);
    let moved = std::fs::rename(path, &away);
    for beside in ["-wal", "-shm"] {
        let _ = std::fs::rename(name(beside), name(&format!("{end}{beside}")));
    }
    let made = moved.map_err(|e| e.to_string()).and_then(|()| connect(path).map_err(|e| e.to_string()));
    match made {
        Ok(connection) => {
            let (path, away) = (path.display(), away.display());
            tracing::warn!("{path} was damaged ({why}); it is now {away}, and a new one is filled");
            Some(connection)
        }
        Err(e) => {
            tracing::warn!("{} is damaged ({why}) and cannot be made anew ({e}); scores are not kept", path.display());
            None
        }
    }
}
