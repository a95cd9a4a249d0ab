//! Verifiers: untrusted scoring functions that are called many times, each in processes of its own.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::building_blocks::{BUILDING_BLOCKS, uses_building_blocks};
use crate::error::refused;
use crate::linux::meter::Meter;
use crate::linux::pool::Sandbox;
use crate::linux::role::ProcessRole;
use crate::linux::wire::{Wire, WireError};
use crate::linux::zygote::Process;
use crate::reward_function::{PRINTED_BYTES, printed};
use crate::verdict::{Execution, ShouldStop, Usage, Verdict};
use crate::{SandboxError, SandboxLimits};

/// The arguments of one call of a verifier's function.
pub type CallArguments = Vec<String>;

/// Number of calls that a process serves before it is replaced.
const CALLS: usize = 10_000;
/// Maximum number of calls in one frame (a message to a process).
const BATCH: usize = 64;
/// Every call whose number is a multiple of this is repeated in a fresh process, to compare the verdicts; so are calls
/// 1, 2, 4, 8, …
const SAMPLED: usize = 1024;
/// Maximum size of a compiled verifier, in bytes.
const COMPILED: usize = 16 << 20;
/// Maximum time that a verifier may take to load.
const LOAD: Duration = Duration::from_secs(20);

/// An untrusted scoring function in a sandbox.
#[derive(Debug)]
pub struct Verifier {
    sandbox: Sandbox,
    source: String,
    function: String,
    limits: SandboxLimits,
    /// Whether every call gets a fresh process.
    strict: bool,
    /// The compiled source, with that of the building blocks if it uses them (in Python's `marshal` format, in base64);
    /// empty until a process has loaded the source.
    compiled: OnceLock<String>,
    /// One process per slot of the pool; `None` until a process is needed there.
    processes: Vec<Mutex<Option<VerifierProcess>>>,
}

impl Verifier {
    /// Loads `function` from the Python `source`. Fails with [`SandboxError::Load`] if the source does not load.
    ///
    /// A source that mentions `rlar_tools` can import this module, which has the
    /// [building blocks](crate::building_blocks()).
    ///
    /// A process serves many calls. Some calls are repeated in a fresh process; if the verdicts differ, the call's
    /// verdict is [`Verdict::Unrepeatable`].
    pub fn start(sandbox: &Sandbox, source: &str, function: &str, limits: SandboxLimits) -> Result<Self, SandboxError> {
        let verifier = Self {
            sandbox: sandbox.clone(),
            source: source.to_owned(),
            function: function.to_owned(),
            limits,
            strict: false,
            compiled: OnceLock::new(),
            processes: (0..sandbox.workers()).map(|_| Mutex::new(None)).collect(),
        };
        let first = verifier.process(0)?;
        *verifier.processes[0].lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(verifier)
    }

    /// Makes the verifier use a fresh process for every call, so that no state can leak from one call to the next.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Starts a process that serves many calls; if the fork server dies, tries again, three times in all.
    fn process(&self, slot: usize) -> Result<VerifierProcess, SandboxError> {
        for _ in 0..3 {
            if let Some(process) = VerifierProcess::start(self, slot)? {
                return Ok(process);
            }
        }
        Err(refused("the sandbox's Python processes died at three attempts"))
    }

    /// Scores calls in parallel on all cores. The verdicts are in the order of the calls.
    pub fn score(&self, calls: &[CallArguments]) -> Result<Vec<Execution<Verdict>>, SandboxError> {
        self.score_until(calls, &|| false)
    }

    /// Like [`Verifier::score`], but once `should_stop` returns true, the calls that have not started are
    /// [`Verdict::Skipped`].
    pub fn score_until(
        &self,
        calls: &[CallArguments],
        should_stop: ShouldStop,
    ) -> Result<Vec<Execution<Verdict>>, SandboxError> {
        if self.strict {
            let score = |slot, call: &CallArguments| {
                if should_stop() { Ok(self.skipped()) } else { self.score_fresh(slot, call) }
            };
            return self.sandbox.in_parallel(calls, score);
        }
        // Equal shares: which process serves a call depends on its index among these calls alone.
        let share = calls.len().div_ceil(self.processes.len()).max(1);
        let shares: Vec<&[CallArguments]> = calls.chunks(share).collect();
        let served = if let [only] = shares[..] {
            vec![self.serve(only, 0, should_stop)?]
        } else {
            std::thread::scope(|scope| {
                let serve = |(slot, calls)| scope.spawn(move || self.serve(calls, slot, should_stop));
                let threads: Vec<_> = shares.into_iter().enumerate().map(serve).collect();
                let panicked = |_| Err(refused("a thread that served a verifier panicked"));
                threads.into_iter().map(|t| t.join().unwrap_or_else(panicked)).collect::<Result<Vec<_>, _>>()
            })?
        };
        Ok(served.into_iter().flatten().collect())
    }

    /// Scores a share of the calls in one process, several per frame (message) while they are quick and all run to
    /// completion.
    fn serve(
        &self,
        calls: &[CallArguments],
        slot: usize,
        should_stop: ShouldStop,
    ) -> Result<Vec<Execution<Verdict>>, SandboxError> {
        let mut idle = self.processes[slot].lock().unwrap_or_else(PoisonError::into_inner);
        let mut verdicts: Vec<Execution<Verdict>> = Vec::with_capacity(calls.len());
        // If a call of a frame fails, its calls are repeated one by one in a fresh process: those before this index.
        let mut unbatched = 0;
        while verdicts.len() < calls.len() {
            if should_stop() {
                verdicts.resize(calls.len(), self.skipped());
                break;
            }
            let mut process = match idle.take() {
                Some(process) => process,
                None => self.process(slot)?,
            };
            let remaining = &calls[verdicts.len()..];
            let size = if verdicts.len() < unbatched { 1 } else { process.batch_size().min(remaining.len()) };
            let batch = &remaining[..size];
            let mut results = process.call(batch, self);
            if size > 1 && !results.iter().all(|r| r.verdict.ran_to_completion()) {
                unbatched = verdicts.len() + size;
                continue;
            }
            // Earlier calls (memory, CPU time) or the death of the fork server may be the cause: repeat in a fresh
            // process.
            let may_be_innocent = process.calls > 1 || process.process.zygote().is_dead();
            let failed = |r: &CallResult| matches!(r.verdict, Verdict::Crashed(_) | Verdict::MemoryLimit);
            if may_be_innocent && results.len() == 1 && failed(&results[0]) {
                process = self.process(slot)?;
                results = process.call(batch, self);
            }
            for (CallResult { mut verdict, printed, usage }, call) in results.into_iter().zip(batch) {
                if verdict.ran_to_completion() && process.is_sampled() {
                    let again = self.score_fresh(slot, call)?.verdict;
                    if !verdict.agrees_with(&again) {
                        verdict = Verdict::Unrepeatable { first: Box::new(verdict), again: Box::new(again) };
                    }
                }
                verdicts.push(Execution { verdict, printed, usage, tier: self.sandbox.tier() });
            }
            if process.is_reusable {
                *idle = Some(process);
            }
        }
        // Memory is read once per share, as the peak of the last process.
        let peak = idle.as_ref().and_then(|p| p.meter.peak_memory());
        for v in &mut verdicts {
            v.usage.peak_memory = v.usage.peak_memory.or(peak);
        }
        Ok(verdicts)
    }

    /// The result of a call that was not made.
    fn skipped(&self) -> Execution<Verdict> {
        Execution::new(Verdict::Skipped, Usage::default(), self.sandbox.tier())
    }

    /// Scores one call in a fresh process.
    fn score_fresh(&self, slot: usize, call: &CallArguments) -> Result<Execution<Verdict>, SandboxError> {
        let began = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (mut process, mut wire) = self.fork(slot)?;
            let compiled = self.compiled.get().map_or("", String::as_str);
            // Loading has its own time limit, as it has in shared processes.
            let load = json!({ "compiled": compiled, "function": self.function });
            let loaded = wire.exchange(&load, LOAD, self.limits.output);
            let reply = match loaded {
                Ok(reply) if reply["ready"].is_string() => wire.exchange(&[call], self.limits.wall, self.longest(1)),
                other => other,
            };
            let mut usage = Usage { wall: began.elapsed(), bytes: wire.bytes(), ..Usage::default() };
            let Ok(exit) = process.end() else {
                if attempts < 3 {
                    continue;
                }
                return Err(refused("the sandbox's Python processes died at three attempts"));
            };
            usage.cpu = Some(exit.cpu);
            usage.peak_memory = Some(exit.peak_memory);
            let printed = reply.as_ref().map(|reply| printed(&reply[0])).unwrap_or_default();
            let verdict = match reply {
                Ok(reply) if reply.get("load").is_some() => Verdict::Raised(text(&reply, "load")),
                Ok(reply) => read(&reply[0]),
                Err(WireError::Closed) => Verdict::Crashed(exit.describe()),
                Err(error) => self.verdict_on(error),
            };
            return Ok(Execution { verdict, printed, usage, tier: self.sandbox.tier() });
        }
    }

    /// Maximum length, in bytes, of the message in which a process answers this number of calls.
    fn longest(&self, calls: usize) -> usize {
        self.limits.output + PRINTED_BYTES * calls
    }

    /// Forks a process, which waits for a verifier to load; returns the process and the connection to it.
    fn fork(&self, slot: usize) -> Result<(Process, Wire), SandboxError> {
        let (ours, theirs) = UnixStream::pair().map_err(refused)?;
        let process = self.sandbox.fork(slot, ProcessRole::Verifier, &self.limits, &[theirs.as_fd()])?;
        Ok((process, Wire::new(ours)))
    }

    /// The verdict on a call that a process did not reply to.
    fn verdict_on(&self, error: WireError) -> Verdict {
        match error {
            WireError::Deadline => Verdict::TimeLimit(self.limits.wall),
            WireError::TooLong => Verdict::OutputLimit,
            WireError::Closed => Verdict::Crashed("its process ended".into()),
            WireError::Malformed(why) => Verdict::Crashed(why.into()),
        }
    }
}

/// The verdict on one call, what was printed, and the resources that it used.
struct CallResult {
    verdict: Verdict,
    printed: String,
    usage: Usage,
}

/// A jailed process that serves many calls of one verifier.
#[derive(Debug)]
struct VerifierProcess {
    process: Process,
    wire: Wire,
    meter: Meter,
    /// Number of calls that the process has served.
    calls: usize,
    /// Wall time per call in the last frame (message with calls); `None` before the first.
    pace: Option<Duration>,
    /// Maximum wall time of a call.
    wall_limit: Duration,
    /// Whether the process may serve another call: not after a call that did not run to completion.
    is_reusable: bool,
}

impl VerifierProcess {
    /// Starts a process and loads the verifier in it; `None` if the fork server died meanwhile.
    fn start(verifier: &Verifier, slot: usize) -> Result<Option<Self>, SandboxError> {
        let (mut process, mut wire) = verifier.fork(slot)?;
        let blocks = uses_building_blocks(&verifier.source).then_some(BUILDING_BLOCKS);
        let load = json!({ "source": verifier.source, "blocks": blocks, "function": verifier.function });
        match wire.exchange(&load, LOAD, COMPILED) {
            Ok(reply) if reply["ready"].is_string() => {
                verifier.compiled.get_or_init(|| text(&reply, "ready"));
                let (meter, wall_limit) = (Meter::new(&process), verifier.limits.wall);
                Ok(Some(Self { process, wire, meter, calls: 0, pace: None, wall_limit, is_reusable: true }))
            }
            Ok(reply) => Err(SandboxError::Load(text(&reply, "load"))),
            Err(WireError::Deadline) => Err(SandboxError::Load(format!("no answer within {} s", LOAD.as_secs()))),
            Err(WireError::Closed) => match process.end() {
                Ok(exit) => {
                    let how = exit.describe();
                    Err(SandboxError::Load(format!("its process ended while loading ({how}; memory or CPU limit?)")))
                }
                Err(_) => Ok(None),
            },
            Err(WireError::TooLong) => Err(SandboxError::Load("its reply while loading is too long".into())),
            Err(WireError::Malformed(why)) => Err(SandboxError::Load(why.into())),
        }
    }

    /// How many calls to send in the next frame: as many as would take a twentieth of the time limit of one call at the
    /// present pace. Calls that are repeated in a fresh process are sent alone.
    fn batch_size(&self) -> usize {
        if (self.calls + 1).is_power_of_two() || (self.calls + 1).is_multiple_of(SAMPLED) {
            return 1;
        }
        let next = [(self.calls + 1).next_power_of_two(), (self.calls + 1).next_multiple_of(SAMPLED), CALLS + 1];
        let room = next.into_iter().min().unwrap_or(1) - self.calls - 1;
        let quick = self.pace.map_or(1.0, |pace| self.wall_limit.as_secs_f64() / 20.0 / pace.as_secs_f64().max(1e-7));
        (quick as usize).clamp(1, BATCH).min(room.max(1))
    }

    /// Whether the last call is to be repeated in a fresh process: calls 1, 2, 4, 8, … and every 1024th.
    fn is_sampled(&self) -> bool {
        self.calls.is_power_of_two() || self.calls.is_multiple_of(SAMPLED)
    }

    /// Sends calls in one frame. Returns one result per call, or a single result if the process did not reply properly.
    fn call(&mut self, calls: &[CallArguments], verifier: &Verifier) -> Vec<CallResult> {
        self.calls += calls.len();
        let began = Instant::now();
        let reply = self.wire.exchange(&calls, verifier.limits.wall, verifier.longest(calls.len()));
        let wall = began.elapsed();
        let bytes = self.wire.bytes();
        let replies = match reply {
            Ok(Value::Array(list)) if list.len() == calls.len() => Ok(list),
            Ok(_) => Err(WireError::Malformed("its reply does not match the calls")),
            Err(error) => Err(error),
        };
        match replies {
            Ok(replies) => {
                // The calls of a frame share its cost evenly.
                let n = calls.len() as u32;
                let cpu = self.meter.lap().map(|cpu| cpu / n);
                self.pace = Some(wall / n);
                let usage = Usage { wall: wall / n, cpu, peak_memory: None, bytes: bytes / u64::from(n) };
                let result = |reply| CallResult { verdict: read(reply), printed: printed(reply), usage };
                let results: Vec<CallResult> = replies.iter().map(result).collect();
                self.is_reusable &= results.iter().all(|r| r.verdict.ran_to_completion()) && self.calls < CALLS;
                results
            }
            Err(error) => {
                self.is_reusable = false;
                let exit = self.process.end().ok();
                let peak_memory = exit.as_ref().map(|e| e.peak_memory);
                let cpu = exit.as_ref().zip(self.meter.last()).map(|(e, before)| e.cpu.saturating_sub(before));
                let verdict = match (&error, exit) {
                    (WireError::Closed, Some(exit)) => Verdict::Crashed(exit.describe()),
                    _ => verifier.verdict_on(error),
                };
                let usage = Usage { wall, cpu, peak_memory, bytes };
                vec![CallResult { verdict, printed: String::new(), usage }]
            }
        }
    }
}

/// The text under a key of the process's answer; `no reason given` if there is none.
fn text(reply: &Value, key: &str) -> String {
    reply[key].as_str().unwrap_or("no reason given").to_owned()
}

/// Turns a process's reply to one call into a verdict.
fn read(reply: &Value) -> Verdict {
    let has = |key: &str| reply.get(key).is_some();
    match reply.get("score").unwrap_or(reply).as_f64() {
        Some(score) => Verdict::Score(score),
        None if reply["memory"] == true => Verdict::MemoryLimit,
        None if has("raised") => Verdict::Raised(text(reply, "raised")),
        None if has("infinite") => Verdict::NotFinite(text(reply, "infinite")),
        None if has("type") => Verdict::NotANumber(text(reply, "type")),
        None => Verdict::Crashed("what its process sent is not a valid result".into()),
    }
}
