//! The libraries in service: the present one, and a few earlier ones for clients that have pinned them.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rlar_rewards::Orchestrator;
use rlar_rewards::agents::Agents;

use crate::served_library::ServedLibrary;

/// Number of libraries that stay in service, the present one included.
const KEPT: usize = 4;

/// The tools to serve.
#[derive(Debug)]
pub struct LoadedRewards {
    /// The tools with their config.
    pub rewards: Orchestrator,
    /// Agents with a language model that chooses tools beside; `None` for none.
    pub agents: Option<Agents>,
    /// What else the rewards depend on, such as the text of a config; a part of the library's hash.
    pub settings: String,
}

/// Where the tools come from.
pub struct RewardSource {
    /// Loads the tools, at the start and whenever they may have changed. An error is a message for people.
    pub load: Box<dyn Fn() -> Result<LoadedRewards, String> + Send + Sync>,
    /// The folder of the library, which is watched for changes; `None` for tools that do not change.
    pub folder: Option<PathBuf>,
}

impl fmt::Debug for RewardSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RewardSource").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What a reload has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Hash of the present library.
    pub hash: String,
    /// Whether it is another one than before.
    pub changed: bool,
}

/// The libraries in service.
#[derive(Debug)]
pub struct Libraries {
    source: RewardSource,
    served: Mutex<ServedList>,
    /// Held while a library is loaded, so that two reloads do not race.
    loading: Mutex<()>,
}

#[derive(Debug)]
struct ServedList {
    current: Arc<ServedLibrary>,
    /// The newest first.
    earlier: VecDeque<Arc<ServedLibrary>>,
}

impl ServedList {
    fn all(&self) -> impl Iterator<Item = &Arc<ServedLibrary>> {
        std::iter::once(&self.current).chain(&self.earlier)
    }
}

impl Libraries {
    /// Loads the first library.
    pub fn load(source: RewardSource) -> Result<Self, String> {
        let current = Arc::new(ServedLibrary::new((source.load)()?)?);
        let served = Mutex::new(ServedList { current, earlier: VecDeque::new() });
        Ok(Self { source, served, loading: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, ServedList> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present library.
    pub fn current(&self) -> Arc<ServedLibrary> {
        Arc::clone(&self.lock().current)
    }

    /// The library with this hash; `None` if it is not in service any more.
    pub fn pinned(&self, hash: &str) -> Option<Arc<ServedLibrary>> {
        self.lock().all().find(|library| library.hash == hash).cloned()
    }

    /// The hashes of the libraries in service, the newest first.
    pub fn hashes(&self) -> Vec<String> {
        self.lock().all().map(|library| library.hash.clone()).collect()
    }

    /// Loads the library again. One with the hash of the present library replaces it, so that suspended tools get
    /// another chance. An error leaves the present library in service.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = Arc::new(ServedLibrary::new((self.source.load)()?)?);
        let hash = loaded.hash.clone();
        let mut served = self.lock();
        let before = std::mem::replace(&mut served.current, loaded);
        let changed = before.hash != hash;
        served.earlier.retain(|earlier| earlier.hash != hash);
        if changed {
            served.earlier.push_front(before);
            served.earlier.truncate(KEPT - 1);
        }
        Ok(Reloaded { hash, changed })
    }
}
