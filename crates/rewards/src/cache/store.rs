//! The score cache and the log of calls: one `SQLite` file, which several processes may use at once.
//!
//! No problem with the file can stop a run. A damaged file is moved away and replaced by a new one. When the file
//! cannot be written, scores are computed without a cache, and a warning says so.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, ffi, params};

use crate::tool::outcome::Outcome;
use crate::tool::reason::Reason;

/// The default name of the file of cached scores and logged calls. It lies in a run's folder or beside a library's
/// tools.
pub const STORE: &str = "scores.sqlite";

/// The key of a cached score: the first 16 bytes of a SHA-256 of tool, example and reply.
pub type ScoreKey = [u8; 16];

/// Longest time to wait for another process that is writing to the file, unless the caller says another.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of scores in memory at which all of them are dropped from memory. The file keeps them.
const MAX_IN_MEMORY: usize = 1 << 17;

/// The version of the tables in the file, stored as `SQLite`'s `user_version`.
const SCHEMA_VERSION: i64 = 1;

/// SQL that creates the tables: the cached scores by key, the reasons of those that have one, and the log with one row per
/// call. The reasons are a table of their own, so that files without it stay valid, and lookups of scores stay quick.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, score REAL NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS reasons (key BLOB PRIMARY KEY, reason TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS calls (
        at REAL NOT NULL, tool TEXT NOT NULL, identity TEXT NOT NULL, example TEXT NOT NULL, task TEXT NOT NULL,
        outcome TEXT NOT NULL, score REAL, why TEXT, seconds REAL NOT NULL, tokens INTEGER NOT NULL, cached INTEGER NOT NULL
    );";

/// A score in the cache, with the reason for it.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedScore {
    /// The score of the reply.
    pub score: f64,
    /// Why the tool gave the score; `None` if it said nothing.
    pub reason: Option<Reason>,
}

/// One call of a tool for one reply, as a row of the log of calls.
#[derive(Clone, Debug)]
pub struct LoggedCall<'a> {
    /// The tool's name.
    pub tool: &'a str,
    /// The tool's content hash: of its card, its code and its parts.
    pub identity: &'a str,
    /// The example's id.
    pub example: &'a str,
    /// The example's task, by which statistics are grouped.
    pub task: &'a str,
    /// The score that the tool gave, or why there is none.
    pub outcome: &'a Outcome,
    /// The reason of the score, which enters the cache with it.
    pub reason: Option<&'a Reason>,
    /// Seconds that the call took. For a tool that scored a batch in one call, the mean over the batch; for a cached
    /// score, 0.
    pub seconds: f64,
    /// Number of tokens of a language model that the call used, in prompt and answer; 0 for tools that ask none.
    pub tokens: u64,
    /// The key under which the score enters the cache; `None` for a score that is not to be cached.
    pub key: Option<ScoreKey>,
    /// Whether the score came from the cache, or from an equal reply in the same batch.
    pub cached: bool,
}

/// The open file of cached scores and logged calls.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    state: Mutex<StoreState>,
}

#[derive(Debug)]
struct StoreState {
    /// The connection to the file; `None` when the file cannot be used.
    connection: Option<Connection>,
    /// The scores that were read or written last, kept in memory.
    scores: HashMap<ScoreKey, CachedScore>,
    /// Longest time to wait for another process that is writing to the file.
    busy: Duration,
}

impl Store {
    /// Opens or creates the file. If that fails, a warning is logged, and the store keeps scores in memory only.
    pub fn open(path: &Path) -> Self {
        Self::open_waiting(path, BUSY_TIMEOUT)
    }

    /// As [`Self::open`], with the longest time to wait for another process that is writing to the file. If that is not
    /// enough, the file is not used any more.
    pub fn open_waiting(path: &Path, busy: Duration) -> Self {
        let connection = match connect(path, busy) {
            Err(e) if is_damage(&e) && is_ours(path) => rebuild(path, busy, &e),
            Err(e) => {
                tracing::warn!("{}: {e}; scores are computed without it and are not kept", path.display());
                None
            }
            Ok(connection) => Some(connection),
        };
        let state = StoreState { connection, scores: HashMap::new(), busy };
        Self { path: path.to_owned(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, StoreState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path of the `SQLite` file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cached scores for `keys`, in the same order; `None` for a key without a cached score.
    pub fn lookup(&self, keys: &[ScoreKey]) -> Vec<Option<CachedScore>> {
        let mut state = self.lock();
        let mut known: Vec<Option<CachedScore>> = keys.iter().map(|k| state.scores.get(k).cloned()).collect();
        let missing: Vec<usize> = (0..keys.len()).filter(|i| known[*i].is_none()).collect();
        let found = state.try_use(&self.path, |connection| {
            let mut query = connection.prepare_cached(
                "SELECT score, reason FROM scores LEFT JOIN reasons USING (key) WHERE scores.key = ?1",
            )?;
            let mut found = Vec::new();
            for i in &missing {
                let cached = query.query_row([&keys[*i][..]], |row| {
                    let reason: Option<String> = row.get(1)?;
                    Ok(CachedScore { score: row.get(0)?, reason: reason.as_deref().and_then(Reason::new) })
                });
                match cached {
                    Ok(cached) => found.push((*i, cached)),
                    Err(rusqlite::Error::QueryReturnedNoRows) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(found)
        });
        for (i, cached) in found.unwrap_or_default() {
            state.hold(keys[i], cached.clone());
            known[i] = Some(cached);
        }
        known
    }

    /// Logs calls, and caches the scores of those calls that have a key.
    pub fn log(&self, calls: &[LoggedCall]) {
        let mut state = self.lock();
        for call in calls {
            if let (Some(key), Some(score)) = (call.key, call.outcome.score()) {
                state.hold(key, CachedScore { score, reason: call.reason.cloned() });
            }
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        state.try_use(&self.path, |connection| {
            let transaction = connection.transaction()?;
            {
                let mut log = transaction
                    .prepare_cached("INSERT INTO calls VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
                let mut cache =
                    transaction.prepare_cached("INSERT OR IGNORE INTO scores (key, score) VALUES (?1, ?2)")?;
                let mut explain =
                    transaction.prepare_cached("INSERT OR IGNORE INTO reasons (key, reason) VALUES (?1, ?2)")?;
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
                        let is_new = cache.execute(params![&key[..], score])? > 0;
                        if let (Some(reason), true) = (call.reason, is_new) {
                            explain.execute(params![&key[..], reason.as_str()])?;
                        }
                    }
                }
            }
            transaction.commit()
        });
    }

    /// Runs a query on the file; `None` when the file cannot be used.
    pub(crate) fn read<T>(&self, query: impl FnMut(&mut Connection) -> rusqlite::Result<T>) -> Option<T> {
        self.lock().try_use(&self.path, query)
    }
}

impl StoreState {
    /// Keeps a score in memory. When memory already holds the largest number of scores, all of them are dropped from
    /// memory first.
    fn hold(&mut self, key: ScoreKey, score: CachedScore) {
        if self.scores.len() >= MAX_IN_MEMORY {
            self.scores.clear();
        }
        self.scores.entry(key).or_insert(score);
    }

    /// Runs a statement on the file at `path`. A damaged file is replaced once by a new one and the statement repeated;
    /// after any other error the file is not used again. `None` when the statement failed.
    fn try_use<T>(
        &mut self,
        path: &Path,
        mut statement: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Option<T> {
        for _ in 0..2 {
            match statement(self.connection.as_mut()?) {
                Ok(done) => return Some(done),
                Err(e) if is_damage(&e) => {
                    self.connection = None;
                    self.connection = rebuild(path, self.busy, &e);
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

/// Opens or creates a file for reading and writing, and creates its tables if they are missing. `busy` is the longest time to
/// wait for another process that is writing to the file.
fn connect(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(busy)?;
    let state = "SELECT user_version, (SELECT count(*) FROM sqlite_schema) FROM pragma_user_version";
    match connection.query_row(state, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))? {
        (0, 0) | (SCHEMA_VERSION, _) => {}
        (version, _) => {
            let why = format!(
                "was made by another program or version: its tables are of version {version}, not {SCHEMA_VERSION}"
            );
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_MISMATCH), Some(why)));
        }
    }
    // In this mode (a write-ahead log) readers do not wait for the writer, and a crash of the machine loses at most the
    // last scores. The switch fails when another process switches at the same time, which has the same effect.
    let _ = connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()));
    // The write-ahead log is merged into the file every 256 pages, a megabyte.
    connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 256;")?;
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"))?;
    Ok(connection)
}

/// Opens an existing file of scores and calls to read it. Statements cannot change it.
///
/// `SQLite` itself may write: a read-only connection would leave the files of the write-ahead log (`-wal`, `-shm`) beside
/// the file. When no other process has the file open, closing this one merges what a killed process left in the log, and
/// removes both files. Where the file is write-protected, the connection is read-only.
pub(crate) fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Whether a file that is not a readable database may be moved away. That is allowed only when its name ends in
/// `.sqlite`, so that a mistyped path never moves other data.
fn is_ours(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "sqlite")
}

/// Whether an error of `SQLite` means that the contents of the file are damaged.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Moves a damaged file away, together with the files that `SQLite` keeps beside it, and opens a new file. `why` is the
/// error that showed the damage. `None` when the file cannot be replaced.
fn rebuild(path: &Path, busy: Duration, why: &rusqlite::Error) -> Option<Connection> {
    let name = |end: &str| PathBuf::from(format!("{}{end}", path.display()));
    // Damaged files that were moved away earlier are kept.
    let free = (1..1000).map(|n| if n == 1 { ".damaged".to_owned() } else { format!(".damaged-{n}") });
    let end = free.into_iter().find(|end| !name(end).exists()).unwrap_or_else(|| ".damaged".into());
    let away = name(&end);
    let moved = std::fs::rename(path, &away);
    for beside in ["-wal", "-shm"] {
        let _ = std::fs::rename(name(beside), name(&format!("{end}{beside}")));
    }
    let reopened = moved.map_err(|e| e.to_string()).and_then(|()| connect(path, busy).map_err(|e| e.to_string()));
    match reopened {
        Ok(connection) => {
            let (path, away) = (path.display(), away.display());
            tracing::warn!("{path} was damaged ({why}); it was moved to {away}, and a new file takes its place");
            Some(connection)
        }
        Err(e) => {
            tracing::warn!("{} is damaged ({why}) and cannot be replaced ({e}); scores are not kept", path.display());
            None
        }
    }
}
