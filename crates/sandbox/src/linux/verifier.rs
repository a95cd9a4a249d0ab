//! Scoring functions: many calls each, so each has processes of its own.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::refused;
use crate::linux::meter::Meter;
use crate::linux::pool::Sandbox;
use crate::linux::role::Role;
use crate::linux::wire::{Broken, Wire};
use crate::linux::zygote::Process;
use crate::verdict::{Measured, Over, Usage, Verdict};
use crate::{Limits, SandboxError};

/// Arguments of one call.
pub type Call = Vec<String>;

/// Calls after which a process is replaced.
const CALLS: usize = 10_000;
/// Most calls in one message.
const BATCH: usize = 64;
/// One call in so many is repeated in a fresh process, after the first few, of which more are.
const SAMPLED: usize = 1024;
/// Longest compiled verifier, in bytes.
const COMPILED: usize = 16 << 20;
/// Longest wait for a verifier to load.
const LOAD: Duration = Duration::from_secs(20);

/// A function that scores, confined.
#[derive(Debug)]
pub struct Verifier {
    sandbox: Sandbox,
    source: String,
    function: String,
    limits: Limits,
    strict: bool,
    /// The source as the interpreter compiled it.
    compiled: OnceLock<String>,
    workers: Vec<Mutex<Option<Worker>>>,
}

impl Verifier {
    /// Loads `function` of `source` once, so that one that does not load is refused here. Its processes serve many
    /// calls; on some of them the call is repeated in a fresh process, and a different answer is
    /// [`Verdict::Unrepeatable`].
    pub fn start(sandbox: &Sandbox, source: &str, function: &str, limits: Limits) -> Result<Self, SandboxError> {
        let verifier = Self {
            sandbox: sandbox.clone(),
            source: source.to_owned(),
            function: function.to_owned(),
            limits,
            strict: false,
            compiled: OnceLock::new(),
            workers: (0..sandbox.workers()).map(|_| Mutex::new(None)).collect(),
        };
        let first = verifier.worker(0)?;
        *verifier.workers[0].lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(verifier)
    }

    /// The same with a fresh process for every call: nothing can leak from one to the next.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    fn worker(&self, slot: usize) -> Result<Worker, SandboxError> {
        for _ in 0..3 {
            if let Some(worker) = Worker::start(self, slot)? {
                return Ok(worker);
            }
        }
        Err(refused("jailed interpreters keep dying"))
    }

    /// Verdicts in the order of the calls.
    pub fn score(&self, calls: &[Call]) -> Result<Vec<Measured<Verdict>>, SandboxError> {
        self.score_until(calls, &|| false)
    }

    /// The same, until `over` says that no more verdicts are wanted: calls that have not begun by then are
    /// [`Verdict::NotAsked`].
    pub fn score_until(&self, calls: &[Call], over: Over) -> Result<Vec<Measured<Verdict>>, SandboxError> {
        if self.strict {
            let judge = |slot, call: &Call| if over() { Ok(self.not_asked()) } else { self.once(slot, call) };
            return self.sandbox.in_parallel(calls, judge);
        }
        // Equal shares: which process serves a call depends on its place among these calls alone.
        let share = calls.len().div_ceil(self.workers.len()).max(1);
        let shares: Vec<&[Call]> = calls.chunks(share).collect();
        let served = if let [only] = shares[..] {
            vec![self.serve(only, 0, over)?]
        } else {
            std::thread::scope(|scope| {
                let serve = |(slot, calls)| scope.spawn(move || self.serve(calls, slot, over));
                let threads: Vec<_> = shares.into_iter().enumerate().map(serve).collect();
                let panicked = |_| Err(refused("a thread that served a verifier panicked"));
                threads.into_iter().map(|t| t.join().unwrap_or_else(panicked)).collect::<Result<Vec<_>, _>>()
            })?
        };
        Ok(served.into_iter().flatten().collect())
    }

    /// One process serves a share of the calls, several at a time while they are quick and orderly.
    fn serve(&self, calls: &[Call], slot: usize, over: Over) -> Result<Vec<Measured<Verdict>>, SandboxError> {
        let mut place = self.workers[slot].lock().unwrap_or_else(PoisonError::into_inner);
        let mut verdicts: Vec<Measured<Verdict>> = Vec::with_capacity(calls.len());
        // Calls that did not go well in company are done again one by one, from a fresh process on.
        let mut alone = 0;
        while verdicts.len() < calls.len() {
            if over() {
                verdicts.resize(calls.len(), self.not_asked());
                break;
            }
            let mut worker = match place.take() {
                Some(worker) => worker,
                None => self.worker(slot)?,
            };
            let left = &calls[verdicts.len()..];
            let together = if verdicts.len() < alone { 1 } else { worker.batch().min(left.len()) };
            let batch = &left[..together];
            let mut answers = worker.call(batch, self);
            if together > 1 && !answers.iter().all(|a| a.0.is_an_answer()) {
                alone = verdicts.len() + together;
                continue;
            }
            // What earlier calls left behind (memory, CPU time) must not be held against this one, nor the death of its
            // fork server.
            let innocent = worker.calls > 1 || worker.process.zygote().is_dead();
            if matches!(answers[..], [Answer(Verdict::Crashed(_) | Verdict::MemoryLimit, _)]) && innocent {
                worker = self.worker(slot)?;
                answers = worker.call(batch, self);
            }
            for (Answer(mut verdict, usage), call) in answers.into_iter().zip(batch) {
                if verdict.is_an_answer() && worker.is_sampled() {
                    let again = self.once(slot, call)?.verdict;
                    if !verdict.agrees_with(&again) {
                        verdict = Verdict::Unrepeatable { first: Box::new(verdict), again: Box::new(again) };
                    }
                }
                verdicts.push(Measured { verdict, usage, tier: self.sandbox.tier() });
            }
            if worker.is_fit {
                *place = Some(worker);
            }
        }
        // Memory is read once per share: the largest so far, of the process that is left.
        let peak = place.as_ref().and_then(|w| w.meter.peak_memory());
        for v in &mut verdicts {
            v.usage.peak_memory = v.usage.peak_memory.or(peak);
        }
        Ok(verdicts)
    }

    fn not_asked(&self) -> Measured<Verdict> {
        Measured { verdict: Verdict::NotAsked, usage: Usage::default(), tier: self.sandbox.tier() }
    }

    /// One call in a process of its own.
    fn once(&self, slot: usize, call: &Call) -> Result<Measured<Verdict>, SandboxError> {
        let began = Instant::now();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (mut process, mut wire) = self.fork(slot)?;
            let compiled = self.compiled.get().map_or("", String::as_str);
            // Loading has a time of its own, as where processes are shared.
            let load = json!({ "compiled": compiled, "function": self.function });
            let loaded = wire.exchange(&load, LOAD, self.limits.output);
            let reply = match loaded {
                Ok(reply) if reply["ready"].is_string() => wire.exchange(&[call], self.limits.wall, self.limits.output),
                other => other,
            };
            let mut usage = Usage { wall: began.elapsed(), bytes: wire.bytes(), ..Usage::default() };
            let Ok(exit) = process.end() else {
                if attempts < 3 {
                    continue;
                }
                return Err(refused("jailed interpreters keep dying"));
            };
            usage.cpu = Some(exit.cpu);
            usage.peak_memory = Some(exit.peak_memory);
            let verdict = match reply {
                Ok(reply) if reply.get("load").is_some() => Verdict::Raised(text(&reply, "load")),
                Ok(reply) => read(&reply[0]),
                Err(Broken::Closed) => Verdict::Crashed(exit.describe()),
                Err(broken) => self.broke(broken),
            };
            return Ok(Measured { verdict, usage, tier: self.sandbox.tier() });
        }
    }

    /// A process that waits for the verifier, and the wire to it.
    fn fork(&self, slot: usize) -> Result<(Process, Wire), SandboxError> {
        let (mine, theirs) = UnixStream::pair().map_err(refused)?;
        let process = self.sandbox.fork(slot, Role::Verifier, &self.limits, &[theirs.as_fd()])?;
        Ok((process, Wire::new(mine)))
    }

    fn broke(&self, broken: Broken) -> Verdict {
        match broken {
            Broken::Deadline => Verdict::TimeLimit(self.limits.wall),
            Broken::TooLong => Verdict::OutputLimit,
            Broken::Closed => Verdict::Crashed("its process ended".into()),
            Broken::Garbled(why) => Verdict::Crashed(why.into()),
        }
    }
}

/// A verdict and what it took.
struct Answer(Verdict, Usage);

/// A jailed process that waits for calls.
#[derive(Debug)]
struct Worker {
    process: Process,
    wire: Wire,
    meter: Meter,
    calls: usize,
    /// How long a call took, lately, and how long one may take.
    pace: Option<Duration>,
    patience: Duration,
    /// Whether it may serve another call: after anything but an orderly answer a process is not trusted with one.
    is_fit: bool,
}

impl Worker {
    /// Loads the verifier; `None` when the fork server died over it.
    fn start(verifier: &Verifier, slot: usize) -> Result<Option<Self>, SandboxError> {
        let (mut process, mut wire) = verifier.fork(slot)?;
        let load = json!({ "source": verifier.source, "function": verifier.function });
        match wire.exchange(&load, LOAD, COMPILED) {
            Ok(reply) if reply["ready"].is_string() => {
                verifier.compiled.get_or_init(|| text(&reply, "ready"));
                let (meter, patience) = (Meter::of(&process), verifier.limits.wall);
                Ok(Some(Self { process, wire, meter, calls: 0, pace: None, patience, is_fit: true }))
            }
            Ok(reply) => Err(SandboxError::Load(text(&reply, "load"))),
            Err(Broken::Deadline) => Err(SandboxError::Load(format!("no answer within {} s", LOAD.as_secs()))),
            Err(Broken::Closed) => match process.end() {
                Ok(exit) => {
                    let how = exit.describe();
                    Err(SandboxError::Load(format!("its process ended while loading ({how}; memory or CPU limit?)")))
                }
                Err(_) => Ok(None),
            },
            Err(Broken::TooLong) => Err(SandboxError::Load("it answers with a flood".into())),
            Err(Broken::Garbled(why)) => Err(SandboxError::Load(why.into())),
        }
    }

    /// How many calls to send at once: as many as take a twentieth of the time that one may take, by what they took
    /// so far. The calls that are repeated in a fresh process travel alone.
    fn batch(&self) -> usize {
        if (self.calls + 1).is_power_of_two() || (self.calls + 1).is_multiple_of(SAMPLED) {
            return 1;
        }
        let next = [(self.calls + 1).next_power_of_two(), (self.calls + 1).next_multiple_of(SAMPLED), CALLS + 1];
        let room = next.into_iter().min().unwrap_or(1) - self.calls - 1;
        let quick = self.pace.map_or(1.0, |pace| self.patience.as_secs_f64() / 20.0 / pace.as_secs_f64().max(1e-7));
        (quick as usize).clamp(1, BATCH).min(room.max(1))
    }

    /// Early and then ever more rarely, by count.
    fn is_sampled(&self) -> bool {
        self.calls.is_power_of_two() || self.calls.is_multiple_of(SAMPLED)
    }

    /// One verdict per call, or one alone that says why there are not as many.
    fn call(&mut self, calls: &[Call], verifier: &Verifier) -> Vec<Answer> {
        self.calls += calls.len();
        let began = Instant::now();
        let longest = verifier.limits.output;
        let reply = self.wire.exchange(&calls, verifier.limits.wall, longest);
        let wall = began.elapsed();
        let bytes = self.wire.bytes();
        let reply = match reply {
            Ok(Value::Array(list)) if list.len() == calls.len() => Ok(list),
            Ok(_) => Err(Broken::Garbled("its reply does not answer the calls")),
            Err(broken) => Err(broken),
        };
        match reply {
            Ok(list) => {
                // Calls that travel together share what they took.
                let n = calls.len() as u32;
                let cpu = self.meter.lap().map(|cpu| cpu / n);
                self.pace = Some(wall / n);
                let usage = Usage { wall: wall / n, cpu, peak_memory: None, bytes: bytes / u64::from(n) };
                let answers: Vec<Answer> = list.iter().map(|reply| Answer(read(reply), usage)).collect();
                self.is_fit &= answers.iter().all(|a| a.0.is_an_answer()) && self.calls < CALLS;
                answers
            }
            Err(broken) => {
                self.is_fit = false;
                let exit = self.process.end().ok();
                let peak_memory = exit.as_ref().map(|e| e.peak_memory);
                let cpu = exit.as_ref().zip(self.meter.last()).map(|(e, before)| e.cpu.saturating_sub(before));
                let verdict = match (&broken, exit) {
                    (Broken::Closed, Some(exit)) => Verdict::Crashed(exit.describe()),
                    _ => verifier.broke(broken),
                };
                vec![Answer(verdict, Usage { wall, cpu, peak_memory, bytes })]
            }
        }
    }
}

fn text(reply: &Value, key: &str) -> String {
    reply[key].as_str().unwrap_or("no reason given").to_owned()
}

/// The verdict in a reply.
fn read(reply: &Value) -> Verdict {
    let has = |key: &str| reply.get(key).is_some();
    match reply.as_f64() {
        Some(score) => Verdict::Score(score),
        None if reply["memory"] == true => Verdict::MemoryLimit,
        None if has("raised") => Verdict::Raised(text(reply, "raised")),
        None if has("infinite") => Verdict::NotFinite(text(reply, "infinite")),
        None if has("type") => Verdict::NotANumber(text(reply, "type")),
        None => Verdict::Crashed("its reply was not one".into()),
    }
}
