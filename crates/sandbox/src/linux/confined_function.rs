//! A user's reward function in the sandbox: each process serves many calls, and a call has the replies of one group.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::error::refused;
use crate::linux::pool::{Sandbox, lock};
use crate::linux::role::ProcessRole;
use crate::linux::wire::{Wire, WireError};
use crate::linux::zygote::Process;
use crate::reward_function::{
    FunctionForm, FunctionSource, GroupCall, GroupResult, GroupVerdict, PRINTED_BYTES, printed,
};
use crate::{SandboxError, SandboxLimits, ShouldStop};

/// Maximum time that the function's modules may take to load.
const LOAD: Duration = Duration::from_secs(20);

/// A user's reward function in a sandbox.
#[derive(Debug)]
pub struct ConfinedFunction {
    sandbox: Sandbox,
    source: FunctionSource,
    limits: SandboxLimits,
    form: OnceLock<FunctionForm>,
    /// What the modules printed while they were loaded for the first time.
    printed: OnceLock<String>,
    /// One process per slot of the pool; `None` until a process is needed there.
    processes: Vec<Mutex<Option<FunctionProcess>>>,
}

/// A jailed process that has loaded the function.
#[derive(Debug)]
struct FunctionProcess {
    process: Process,
    wire: Wire,
    /// Number of calls that the process has served.
    calls: usize,
}

impl ConfinedFunction {
    /// Loads the function. Fails with [`SandboxError::Load`] if its file does not load, holds no such function, or the
    /// function's signature fits no form or does not take the keyword arguments of the source.
    ///
    /// A call may take `limits.wall` for each of its replies. Calls 1, 2, 4, 8 … of a process are repeated in a fresh
    /// one; if the results differ, the verdict is [`GroupVerdict::Unrepeatable`].
    pub fn start(sandbox: &Sandbox, source: FunctionSource, limits: SandboxLimits) -> Result<Self, SandboxError> {
        let function = Self {
            sandbox: sandbox.clone(),
            source: source.with_building_blocks(),
            limits,
            form: OnceLock::new(),
            printed: OnceLock::new(),
            processes: (0..sandbox.workers()).map(|_| Mutex::new(None)).collect(),
        };
        *lock(&function.processes[0]) = Some(function.process(0)?);
        Ok(function)
    }

    /// Which form the function has: TRL's, verl's or rlar's.
    pub fn form(&self) -> FunctionForm {
        self.form.get().copied().unwrap_or(FunctionForm::Trl)
    }

    /// The beginning of what the function's modules printed while they were loaded.
    pub fn printed(&self) -> &str {
        self.printed.get().map_or("", String::as_str)
    }

    /// Makes the calls, in parallel on all cores; the results are in the order of the calls. Once `should_stop` returns
    /// true, the calls that have not started are [`GroupVerdict::Skipped`].
    pub fn call_until(&self, calls: &[GroupCall], should_stop: ShouldStop) -> Result<Vec<GroupResult>, SandboxError> {
        // Equal shares: which process serves a call depends on its index among these calls alone.
        let share = calls.len().div_ceil(self.processes.len()).max(1);
        let serve = |slot: usize, calls: &[GroupCall]| -> Result<Vec<GroupResult>, SandboxError> {
            calls.iter().map(|call| if should_stop() { Ok(skipped()) } else { self.call(call, slot) }).collect()
        };
        if calls.len() <= share {
            return serve(0, calls);
        }
        std::thread::scope(|scope| {
            let serve = &serve;
            let shares = calls.chunks(share).enumerate();
            let threads: Vec<_> = shares.map(|(slot, calls)| scope.spawn(move || serve(slot, calls))).collect();
            let panicked = |_| Err(refused("a thread that served a reward function panicked"));
            let served = threads.into_iter().map(|t| t.join().unwrap_or_else(panicked));
            Ok(served.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        })
    }

    /// Makes one call in the process of a slot. If the process dies in a later call than its first, earlier calls may
    /// be the cause (memory, CPU time), so the call is repeated in a fresh process.
    fn call(&self, call: &GroupCall, slot: usize) -> Result<GroupResult, SandboxError> {
        let mut idle = lock(&self.processes[slot]);
        let mut process = match idle.take() {
            Some(process) => process,
            None => self.process(slot)?,
        };
        let mut result = process.call(call, &self.limits);
        let is_dead = matches!(result.verdict, GroupVerdict::Crashed(_) | GroupVerdict::MemoryLimit);
        if is_dead && process.calls > 1 {
            process = self.process(slot)?;
            result = process.call(call, &self.limits);
        }
        if !result.verdict.ran_to_completion() {
            return Ok(result);
        }
        if process.calls.is_power_of_two() {
            let again = self.process(slot)?.call(call, &self.limits).verdict;
            if let Some(text) = difference(&result.verdict, &again) {
                result.verdict = GroupVerdict::Unrepeatable(text);
            }
        }
        *idle = Some(process);
        Ok(result)
    }

    /// Starts a process and loads the function in it; if the fork server dies, tries again, three times in all.
    fn process(&self, slot: usize) -> Result<FunctionProcess, SandboxError> {
        for _ in 0..3 {
            let (ours, theirs) = UnixStream::pair().map_err(refused)?;
            let mut process = self.sandbox.fork(slot, ProcessRole::Verifier, &self.limits, &[theirs.as_fd()])?;
            drop(theirs);
            let mut wire = Wire::new(ours);
            return Err(SandboxError::Load(match wire.exchange(&self.source, LOAD, self.limits.output) {
                Ok(reply) if reply["ready"].is_string() => {
                    self.form.get_or_init(|| FunctionForm::of(reply["ready"].as_str().unwrap_or_default()));
                    self.printed.get_or_init(|| printed(&reply));
                    return Ok(FunctionProcess { process, wire, calls: 0 });
                }
                Ok(reply) => reply["load"].as_str().unwrap_or("no reason given").to_owned(),
                Err(WireError::Deadline) => format!("no answer within {} s", LOAD.as_secs()),
                Err(WireError::Closed) => match process.end() {
                    Ok(exit) => {
                        format!("its process ended while loading ({}; memory or CPU limit?)", exit.describe())
                    }
                    Err(_) => continue,
                },
                Err(WireError::TooLong) => "its reply while loading is too long".into(),
                Err(WireError::Malformed(why)) => why.into(),
            }));
        }
        Err(refused("the sandbox's Python processes died at three attempts"))
    }
}

impl FunctionProcess {
    fn call(&mut self, call: &GroupCall, limits: &SandboxLimits) -> GroupResult {
        self.calls += 1;
        let began = Instant::now();
        let replies = call.replies.len();
        let limit = limits.wall * u32::try_from(replies).unwrap_or(1).max(1);
        let longest = limits.output + PRINTED_BYTES * replies;
        let reply: Result<Value, WireError> = self.wire.exchange(call, limit, longest);
        match reply {
            Ok(reply) => GroupResult::read(&reply, replies, began.elapsed()),
            Err(error) => GroupResult::without_reply(self.verdict_on(error, limit), began.elapsed()),
        }
    }

    /// The verdict on a call that got no reply.
    fn verdict_on(&mut self, error: WireError, limit: Duration) -> GroupVerdict {
        match error {
            WireError::Deadline => GroupVerdict::TimeLimit(limit),
            WireError::TooLong => GroupVerdict::OutputLimit,
            WireError::Malformed(why) => GroupVerdict::Crashed(why.into()),
            WireError::Closed => {
                let exit = self.process.end().ok();
                GroupVerdict::Crashed(exit.map_or_else(|| "its process ended".into(), |exit| exit.describe()))
            }
        }
    }
}

/// The result of a call that was not made.
pub fn skipped() -> GroupResult {
    GroupResult::without_reply(GroupVerdict::Skipped, Duration::ZERO)
}

/// What differs between the verdicts on the same call in two processes; `None` if they agree. Limits and crashes depend
/// on the load of the machine, and messages of exceptions may contain memory addresses, so these are not compared.
fn difference(first: &GroupVerdict, again: &GroupVerdict) -> Option<String> {
    if !again.ran_to_completion() || matches!((first, again), (GroupVerdict::Raised(_), GroupVerdict::Raised(_))) {
        return None;
    }
    (first != again)
        .then(|| format!("{} at first and {} for the same call in a fresh process", show(first), show(again)))
}

fn show(verdict: &GroupVerdict) -> String {
    let mut text = match verdict {
        GroupVerdict::Replies(results) => format!("{results:?}"),
        other => format!("{other:?}"),
    };
    if text.len() > 200 {
        text = text.chars().take(200).chain(['…']).collect();
    }
    text
}
