//! The pool of fork servers: one per core; a fork server that dies is replaced.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::refused;
use crate::linux::interpreter::Interpreter;
use crate::linux::jail::Jail;
use crate::linux::packages::Packages;
use crate::linux::role::ProcessRole;
use crate::linux::tester::Tester;
use crate::linux::zygote::{Process, Zygote};
use crate::verdict::Tier;
use crate::{SandboxError, SandboxLimits};

/// Confinement for untrusted code, with fork servers that all clones of a sandbox share.
///
/// Open a sandbox first; [`Verifier`](crate::Verifier) and [`Program`](crate::Program) run in it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    pool: Arc<Pool>,
}

/// What the clones of a sandbox share.
#[derive(Debug)]
struct Pool {
    interpreter: Interpreter,
    jail: Jail,
    slots: Vec<PoolSlot>,
    /// Why tier A does not work, if that is why this sandbox has tier B; otherwise `None`.
    why_not_better: Option<String>,
    /// Sandboxes of the same tier that can also import Python packages, by the folder of the packages.
    with_packages: Mutex<BTreeMap<PathBuf, Sandbox>>,
    /// Whether namespaces are made with root's capabilities instead of in a new user namespace.
    as_root: bool,
}

/// One place of the pool: a fork server, and what the processes that it forks share.
#[derive(Debug, Default)]
pub(crate) struct PoolSlot {
    /// The fork server; `None` before it was started and after it was discarded.
    zygote: Mutex<Option<Arc<Zygote>>>,
    /// Locked while a script uses the fork server's scratch folder.
    scratch: Mutex<()>,
    /// An idle tester (the trusted process that runs function tests); `None` while a program uses it, or if there is
    /// none yet.
    pub tester: Mutex<Option<Tester>>,
}

/// Locks a mutex, whether or not a thread panicked while it held the lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sandbox {
    /// Plans a sandbox without starting anything; whether it works on this machine is not known yet.
    pub(crate) fn plan(
        interpreter: Interpreter,
        tier: Tier,
        as_root: bool,
        packages: Option<&Path>,
        why_not_better: Option<String>,
    ) -> Result<Self, SandboxError> {
        let jail = Jail::plan(tier, as_root, &interpreter, packages)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = (0..cores).map(|_| PoolSlot::default()).collect();
        let with_packages = Mutex::default();
        Ok(Self { pool: Arc::new(Pool { interpreter, jail, slots, why_not_better, with_packages, as_root }) })
    }

    /// Whether the packages `wanted` are installed. Fails if `packages` does not allow one of them.
    pub fn has_packages(&self, wanted: &[String], packages: &Packages) -> Result<bool, SandboxError> {
        Ok(wanted.is_empty() || packages.has(wanted, &self.pool.interpreter)?)
    }

    /// A sandbox of the same tier in which the packages `wanted` can be imported. Installs them if they are missing.
    /// Fails if `packages` does not allow one of them.
    pub fn with_packages(&self, wanted: &[String], packages: &Packages) -> Result<Self, SandboxError> {
        if wanted.is_empty() {
            return Ok(self.clone());
        }
        let site = packages.environment(wanted, &self.pool.interpreter)?;
        let mut known = lock(&self.pool.with_packages);
        if let Some(sandbox) = known.get(&site) {
            return Ok(sandbox.clone());
        }
        let Pool { interpreter, jail, as_root, .. } = &*self.pool;
        let sandbox = Self::plan(interpreter.clone(), jail.tier, *as_root, Some(&site), None)?;
        Ok(known.entry(site).or_insert(sandbox).clone())
    }

    /// Starts all fork servers now, in parallel, instead of each at its first use.
    pub fn warm(&self) -> Result<(), SandboxError> {
        std::thread::scope(|scope| {
            let starts: Vec<_> = (0..self.workers()).map(|i| scope.spawn(move || self.zygote(i))).collect();
            starts.into_iter().try_for_each(|start| match start.join() {
                Ok(started) => started.map(|_| ()),
                Err(_) => Err(refused("starting a jailed interpreter panicked")),
            })
        })
    }

    /// Replaces all fork servers with new ones.
    pub fn restart(&self) -> Result<(), SandboxError> {
        (0..self.workers()).for_each(|slot| self.discard(slot));
        self.warm()
    }

    /// Number of slots, which is how many calls, programs or scripts can run at once.
    pub fn workers(&self) -> usize {
        self.pool.slots.len()
    }

    /// Tier of the sandbox's confinement.
    pub fn tier(&self) -> Tier {
        self.pool.jail.tier
    }

    /// The tier, the interpreter and the fork servers, as text for people.
    pub fn describe(&self) -> String {
        let Interpreter { python, version, .. } = &self.pool.interpreter;
        let better = self.pool.why_not_better.iter().map(|why| format!("not tier A: {why}\n"));
        let lines = [
            format!("tier {}\n", self.tier()),
            format!("Python {version} ({})\n", python.display()),
            format!("{} fork servers, one per core\n", self.workers()),
        ];
        lines.into_iter().chain(better).collect()
    }

    /// The fork server of a slot; it is started first if it is missing or dead.
    pub(crate) fn zygote(&self, slot: usize) -> Result<Arc<Zygote>, SandboxError> {
        let mut zygote = lock(&self.pool.slots[slot].zygote);
        match &*zygote {
            Some(running) if !running.is_dead() => Ok(Arc::clone(running)),
            _ => Ok(Arc::clone(zygote.insert(Zygote::start(&self.pool.jail)?))),
        }
    }

    /// Forks a process from a slot's fork server, which is replaced once if it is dead. `theirs` become descriptors 3,
    /// 4, … of the process.
    pub(crate) fn fork(
        &self,
        slot: usize,
        role: ProcessRole,
        limits: &SandboxLimits,
        theirs: &[std::os::fd::BorrowedFd],
    ) -> Result<Process, SandboxError> {
        for _ in 0..2 {
            if let Ok(process) = self.zygote(slot)?.fork(role, limits, theirs) {
                return Ok(process);
            }
        }
        Err(refused("the sandbox's fork server died twice while it started a process"))
    }

    /// The slot with this index.
    pub(crate) fn slot(&self, slot: usize) -> &PoolSlot {
        &self.pool.slots[slot]
    }

    /// Locks a slot's scratch folder for one script.
    pub(crate) fn lock_scratch(&self, slot: usize) -> MutexGuard<'_, ()> {
        lock(&self.pool.slots[slot].scratch)
    }

    /// Discards a slot's fork server and, with its mount namespace, its scratch folder. Processes that the fork server
    /// forked may finish.
    pub(crate) fn discard(&self, slot: usize) {
        *lock(&self.pool.slots[slot].zygote) = None;
    }

    /// Calls `work(slot, item)` for each item, in parallel, with one thread per slot. The results are in the order of
    /// the items.
    pub(crate) fn in_parallel<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(usize, &T) -> Result<R, SandboxError> + Sync,
    ) -> Result<Vec<R>, SandboxError> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work_through = |slot: usize| -> Result<Vec<(usize, R)>, SandboxError> {
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(item) = items.get(i) else { return Ok(done) };
                done.push((i, work(slot, item)?));
            }
        };
        let mut done = Vec::with_capacity(items.len());
        std::thread::scope(|scope| -> Result<(), SandboxError> {
            let work_through = &work_through;
            let threads: Vec<_> =
                (0..self.workers().min(items.len())).map(|slot| scope.spawn(move || work_through(slot))).collect();
            for thread in threads {
                done.extend(thread.join().map_err(|_| refused("a thread of the sandbox panicked"))??);
            }
            Ok(())
        })?;
        done.sort_by_key(|(i, _)| *i);
        Ok(done.into_iter().map(|(_, r)| r).collect())
    }
}
