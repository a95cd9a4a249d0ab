//! The machine's sandbox: one fork server per core, replaced when it dies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::refused;
use crate::linux::interpreter::Interpreter;
use crate::linux::jail::Jail;
use crate::linux::packages::Packages;
use crate::linux::role::Role;
use crate::linux::tester::Tester;
use crate::linux::zygote::{self, Process, Zygote};
use crate::verdict::Tier;
use crate::{Limits, SandboxError};

/// What confines untrusted code on this machine, ready to run it. Clones share it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    interpreter: Interpreter,
    jail: Jail,
    slots: Vec<Slot>,
    /// Why it is not a better tier.
    why_not_better: Option<String>,
    /// The same with packages, by the folder that holds them.
    with_packages: Mutex<BTreeMap<PathBuf, Sandbox>>,
    as_root: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Slot {
    zygote: Mutex<Option<Arc<Zygote>>>,
    /// Held by the run that has the scratch folder to itself.
    turn: Mutex<()>,
    /// The process that runs tests, while no program needs it.
    pub tester: Mutex<Option<Tester>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sandbox {
    /// What a tier needs, worked out and not yet proven.
    pub(crate) fn plan(
        interpreter: Interpreter,
        tier: Tier,
        as_root: bool,
        packages: Option<&Path>,
        why_not_better: Option<String>,
    ) -> Result<Self, SandboxError> {
        let jail = Jail::plan(tier, as_root, &interpreter, zygote::CODE, packages)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = (0..cores).map(|_| Slot::default()).collect();
        let with_packages = Mutex::default();
        Ok(Self { shared: Arc::new(Shared { interpreter, jail, slots, why_not_better, with_packages, as_root }) })
    }

    /// Whether packages are installed already. Refuses any that `packages` does not allow.
    pub fn has_packages(&self, wanted: &[String], packages: &Packages) -> Result<bool, SandboxError> {
        Ok(wanted.is_empty() || packages.has(wanted, &self.shared.interpreter)?)
    }

    /// The same confinement with packages to import, which are installed where they are not yet. Refuses any that
    /// `packages` does not allow.
    pub fn with_packages(&self, wanted: &[String], packages: &Packages) -> Result<Self, SandboxError> {
        if wanted.is_empty() {
            return Ok(self.clone());
        }
        let site = packages.environment(wanted, &self.shared.interpreter)?;
        let mut known = lock(&self.shared.with_packages);
        if let Some(sandbox) = known.get(&site) {
            return Ok(sandbox.clone());
        }
        let Shared { interpreter, jail, as_root, .. } = &*self.shared;
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

    /// Replaces all fork servers by new ones.
    pub fn restart(&self) -> Result<(), SandboxError> {
        (0..self.workers()).for_each(|slot| self.discard(slot));
        self.warm()
    }

    /// How many runs go on at once.
    pub fn workers(&self) -> usize {
        self.shared.slots.len()
    }

    /// What confines code here.
    pub fn tier(&self) -> Tier {
        self.shared.jail.tier
    }

    /// What confines code here, for people.
    pub fn describe(&self) -> String {
        let Interpreter { python, version, .. } = &self.shared.interpreter;
        let better = self.shared.why_not_better.iter().map(|why| format!("not tier A: {why}\n"));
        let lines = [
            format!("tier {}\n", self.tier()),
            format!("Python {version} ({})\n", python.display()),
            format!("{} fork servers, one per core\n", self.workers()),
        ];
        lines.into_iter().chain(better).collect()
    }

    /// The fork server of a slot, started anew where it is missing or dead.
    pub(crate) fn zygote(&self, slot: usize) -> Result<Arc<Zygote>, SandboxError> {
        let mut place = lock(&self.shared.slots[slot].zygote);
        match &*place {
            Some(zygote) if !zygote.is_dead() => Ok(Arc::clone(zygote)),
            _ => Ok(Arc::clone(place.insert(Zygote::start(&self.shared.jail)?))),
        }
    }

    /// A process from a slot's fork server; a dead one is replaced once.
    pub(crate) fn fork(
        &self,
        slot: usize,
        role: Role,
        limits: &Limits,
        theirs: &[std::os::fd::BorrowedFd],
    ) -> Result<Process, SandboxError> {
        for _ in 0..2 {
            if let Ok(process) = self.zygote(slot)?.fork(role, limits, theirs) {
                return Ok(process);
            }
        }
        Err(refused("jailed interpreters die as soon as they are asked for a process"))
    }

    /// One of the places where runs take place, one at a time.
    pub(crate) fn slot(&self, slot: usize) -> &Slot {
        &self.shared.slots[slot]
    }

    /// The right to a slot's scratch folder.
    pub(crate) fn turn(&self, slot: usize) -> MutexGuard<'_, ()> {
        lock(&self.shared.slots[slot].turn)
    }

    /// Discards a slot's fork server, and its scratch folder with it; what else it serves may finish.
    pub(crate) fn discard(&self, slot: usize) {
        *lock(&self.shared.slots[slot].zygote) = None;
    }

    /// Does `work` for each item, one slot per thread, and keeps the order.
    pub(crate) fn in_parallel<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(usize, &T) -> Result<R, SandboxError> + Sync,
    ) -> Result<Vec<R>, SandboxError> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let serve = |slot: usize| -> Result<Vec<(usize, R)>, SandboxError> {
            let mut done = Vec::new();
            loop {
                let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(item) = items.get(i) else { return Ok(done) };
                done.push((i, work(slot, item)?));
            }
        };
        let mut done = Vec::with_capacity(items.len());
        std::thread::scope(|scope| -> Result<(), SandboxError> {
            let serve = &serve;
            let threads: Vec<_> =
                (0..self.workers().min(items.len())).map(|slot| scope.spawn(move || serve(slot))).collect();
            for thread in threads {
                done.extend(thread.join().map_err(|_| refused("a thread of the sandbox panicked"))??);
            }
            Ok(())
        })?;
        done.sort_by_key(|(i, _)| *i);
        Ok(done.into_iter().map(|(_, r)| r).collect())
    }
}
