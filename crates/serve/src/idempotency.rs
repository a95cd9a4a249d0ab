//! The header `Idempotency-Key`: a repeated request gets the answer of the first one, also while that is being made.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use bytes::Bytes;
use tokio::sync::watch;

use crate::http_error::HttpError;

/// The header with the key.
const HEADER: &str = "idempotency-key";

/// Maximum number of characters of a key.
const MAX_KEY: usize = 256;

/// Maximum number of keys whose answers are kept.
const MAX_KEYS: usize = 4096;

/// Maximum size of all answers that are kept, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// The answers to the latest requests with a key. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct IdempotencyKeys(Arc<Mutex<KeyTable>>);

#[derive(Debug, Default)]
struct KeyTable {
    entries: HashMap<String, KeyEntry>,
    /// The keys with an answer, the oldest first.
    answered: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug)]
struct KeyEntry {
    /// Hash of what was asked.
    request: String,
    /// The answer, once it is there.
    answer: watch::Receiver<Option<Bytes>>,
}

/// What a key stands for.
#[derive(Debug)]
pub enum KeyUse {
    /// The key is new: the request is to be answered, and its answer given to the lease.
    New(KeyLease),
    /// The same was asked before; the answer is there, or will come. If the sender is gone, the request was refused.
    Known(watch::Receiver<Option<Bytes>>),
    /// The key was used for something else.
    OtherRequest,
}

/// The right and duty to answer the first request with a key. Dropping it without an answer frees the key.
#[derive(Debug)]
pub struct KeyLease {
    table: Arc<Mutex<KeyTable>>,
    key: String,
    answer: watch::Sender<Option<Bytes>>,
    is_answered: bool,
}

/// The key of a request; `None` if it has none.
pub fn key_of(headers: &HeaderMap) -> Result<Option<String>, HttpError> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let key = value.to_str().ok().map(str::trim).filter(|key| (1..=MAX_KEY).contains(&key.len()));
    let why = "`Idempotency-Key` must have 1 to 256 visible ASCII characters";
    key.map(|key| Some(key.to_owned())).ok_or_else(|| HttpError::bad_request("wrong_key", why))
}

fn lock(table: &Mutex<KeyTable>) -> MutexGuard<'_, KeyTable> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IdempotencyKeys {
    /// Looks up a key, and takes it if it is new. `request` is a hash of what is asked.
    pub fn take(&self, key: &str, request: &str) -> KeyUse {
        let mut table = lock(&self.0);
        if let Some(entry) = table.entries.get(key) {
            let is_same = entry.request == request;
            return if is_same { KeyUse::Known(entry.answer.clone()) } else { KeyUse::OtherRequest };
        }
        let (sender, receiver) = watch::channel(None);
        table.entries.insert(key.to_owned(), KeyEntry { request: request.to_owned(), answer: receiver });
        KeyUse::New(KeyLease { table: Arc::clone(&self.0), key: key.to_owned(), answer: sender, is_answered: false })
    }
}

impl KeyLease {
    /// Keeps the answer for repetitions, and gives it to those that wait. The oldest answers make room.
    pub fn answer(mut self, body: Bytes) {
        self.is_answered = true;
        let mut guard = lock(&self.table);
        let table = &mut *guard;
        table.bytes += body.len();
        table.answered.push_back(self.key.clone());
        self.answer.send_replace(Some(body));
        while table.answered.len() > MAX_KEYS || (table.bytes > MAX_BYTES && table.answered.len() > 1) {
            let Some(oldest) = table.answered.pop_front() else { break };
            let Some(entry) = table.entries.remove(&oldest) else { continue };
            table.bytes -= entry.answer.borrow().as_ref().map_or(0, Bytes::len);
        }
    }
}

impl Drop for KeyLease {
    fn drop(&mut self) {
        if !self.is_answered {
            lock(&self.table).entries.remove(&self.key);
        }
    }
}
