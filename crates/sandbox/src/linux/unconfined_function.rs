//! A trusted reward function: it runs unconfined in an ordinary Python process, because the user asked for it.
//!
//! The process gets one line of JSON per call and answers with one. It has a process group of its own, which is killed
//! when a call exceeds its time, when the process dies, and at the end; so the processes that it started end with it. If
//! rlar itself is killed, the process sees its standard input close and kills its group.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use crate::linux::confined_function::skipped;
use crate::linux::pool::lock;
use crate::reward_function::{FunctionForm, FunctionSource, GroupCall, GroupResult, GroupVerdict, printed};
use crate::{SandboxError, ShouldStop};

/// The Python program that runs in the process of a trusted function.
const CODE: &str = concat!(
    include_str!("../python/brief.py"),
    include_str!("../python/function.py"),
    include_str!("../python/unconfined.py"),
);
/// Maximum time that the function's modules may take to load; importing `torch` takes many seconds.
const LOAD: Duration = Duration::from_mins(5);
/// Maximum length, in bytes, of the line in which the process sends the result of a call.
const LONGEST: u64 = 1 << 20;
/// Number of bytes that are kept, from the end, of what the process writes to its standard output and error without
/// Python's `sys.stdout` and `sys.stderr`, as native libraries do.
const KEPT: usize = 4096;

/// A reward function that runs unconfined. Its process is started when needed, and again after a crash.
#[derive(Debug)]
pub struct UnconfinedFunction {
    source: FunctionSource,
    python: OsString,
    /// Maximum wall time per reply of a call.
    wall: Duration,
    form: FunctionForm,
    printed: String,
    process: Mutex<Option<UnconfinedProcess>>,
}

impl UnconfinedFunction {
    /// Starts the Python that the environment variable `RLAR_PYTHON` names, or else `python3`, and loads the function.
    /// Fails with [`SandboxError::Load`] if that is not possible. A call may take `wall` for each of its replies.
    pub fn start(source: FunctionSource, wall: Duration) -> Result<Self, SandboxError> {
        let source = source.with_building_blocks();
        let python = std::env::var_os("RLAR_PYTHON").unwrap_or_else(|| "python3".into());
        let (process, ready) = UnconfinedProcess::start(&python, &source)?;
        let form = FunctionForm::of(ready["ready"].as_str().unwrap_or_default());
        let printed = printed(&ready);
        Ok(Self { source, python, wall, form, printed, process: Mutex::new(Some(process)) })
    }

    /// Which form the function has: TRL's, verl's or rlar's.
    pub fn form(&self) -> FunctionForm {
        self.form
    }

    /// The beginning of what the function's modules printed while they were loaded.
    pub fn printed(&self) -> &str {
        &self.printed
    }

    /// Makes the calls, one after the other. Once `should_stop` returns true, the calls that have not started are
    /// [`GroupVerdict::Skipped`].
    pub fn call_until(&self, calls: &[GroupCall], should_stop: ShouldStop) -> Result<Vec<GroupResult>, SandboxError> {
        let mut process = lock(&self.process);
        calls.iter().map(|c| if should_stop() { Ok(skipped()) } else { self.call(c, &mut process) }).collect()
    }

    fn call(&self, call: &GroupCall, slot: &mut Option<UnconfinedProcess>) -> Result<GroupResult, SandboxError> {
        let mut process = match slot.take() {
            Some(process) => process,
            None => UnconfinedProcess::start(&self.python, &self.source)?.0,
        };
        let began = Instant::now();
        let limit = self.wall * u32::try_from(call.replies.len()).unwrap_or(1).max(1);
        let request = serde_json::to_string(call).map_err(|e| SandboxError::Load(e.to_string()))?;
        let mut result = match process.exchange(request, limit) {
            Ok(reply) => GroupResult::read(&reply, call.replies.len(), began.elapsed()),
            Err(verdict) => GroupResult::without_reply(verdict, began.elapsed()),
        };
        result.printed.push_str(&process.take_output());
        if result.verdict.ran_to_completion() || matches!(result.verdict, GroupVerdict::MemoryLimit) {
            *slot = Some(process);
        }
        Ok(result)
    }
}

/// The process of a trusted function; killed with its process group when dropped.
#[derive(Debug)]
struct UnconfinedProcess {
    child: Child,
    /// Lines for the process. A thread writes them, so that a process that does not read cannot block rlar.
    requests: Sender<String>,
    /// Lines from the process; an error if one is too long.
    replies: Receiver<Result<String, GroupVerdict>>,
    /// The end of what the process wrote to the descriptors of standard output and error.
    output: Arc<Mutex<Vec<u8>>>,
}

impl UnconfinedProcess {
    /// Starts a process and loads the function in it. Returns the process, and the message that it sent after loading.
    fn start(python: &OsString, source: &FunctionSource) -> Result<(Self, Value), SandboxError> {
        let shown = python.to_string_lossy();
        let child = Command::new(python)
            .args(["-c", CODE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = child.map_err(|e| SandboxError::Load(format!("cannot run `{shown}`: {e}")))?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(SandboxError::Load(format!("`{shown}` has no standard streams")));
        };
        let (requests, replies, output) = (write_lines(stdin), read_lines(stdout), keep_output(stderr));
        let mut process = Self { child, requests, replies, output };
        let folder = if source.folder.as_os_str().is_empty() { ".".into() } else { source.folder.to_string_lossy() };
        let load = json!({
            "files": source.files, "file": source.file, "function": source.function, "kwargs": source.kwargs,
            "folder": folder,
        });
        match process.exchange(load.to_string(), LOAD) {
            Ok(reply) if reply["ready"].is_string() => Ok((process, reply)),
            Ok(reply) => Err(SandboxError::Load(reply["load"].as_str().unwrap_or("no reason given").to_owned())),
            Err(GroupVerdict::TimeLimit(limit)) => Err(SandboxError::Load(format!("no answer within {limit:?}"))),
            Err(GroupVerdict::Crashed(how)) => {
                Err(SandboxError::Load(format!("its process ended while loading: {how}")))
            }
            Err(_) => Err(SandboxError::Load("its reply while loading is too long".into())),
        }
    }

    /// Sends a line to the process and waits for its answer within `limit`. If there is no valid answer, the error is
    /// the verdict on the call, and the process must not be used again.
    fn exchange(&mut self, request: String, limit: Duration) -> Result<Value, GroupVerdict> {
        let reply = match self.requests.send(request) {
            Ok(()) => self.replies.recv_timeout(limit),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        match reply {
            Ok(line) => serde_json::from_str(&line?)
                .map_err(|_| GroupVerdict::Crashed("what it sent is not a line of JSON".into())),
            Err(RecvTimeoutError::Timeout) => Err(GroupVerdict::TimeLimit(limit)),
            Err(RecvTimeoutError::Disconnected) => {
                let how = self.kill();
                let output = self.take_output();
                let last =
                    output.trim_end().lines().last().map_or(String::new(), |line| format!("; it last wrote: {line}"));
                Err(GroupVerdict::Crashed(how + &last))
            }
        }
    }

    /// Returns, and forgets, what the process wrote to its standard output and error without Python's `sys.stdout` and
    /// `sys.stderr`.
    fn take_output(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut *lock(&self.output))).into_owned()
    }

    /// Kills the process with its group, and returns how it ended.
    fn kill(&mut self) -> String {
        // A process that has ended keeps its PID, and so the name of its group, until `wait`. If it ends by itself, its
        // own status is reported.
        let deadline = Instant::now() + Duration::from_millis(200);
        let group = Pid::from_child(&self.child);
        let mut ended = None;
        while ended.is_none() && Instant::now() < deadline {
            // Descriptors close a moment before a process can be waited for.
            let options = rustix::process::WaitIdOptions::EXITED
                | rustix::process::WaitIdOptions::NOWAIT
                | rustix::process::WaitIdOptions::NOHANG;
            ended = rustix::process::waitid(rustix::process::WaitId::Pid(group), options).ok().flatten();
            if ended.is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let _ = kill_process_group(group, Signal::KILL);
        self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string())
    }
}

impl Drop for UnconfinedProcess {
    fn drop(&mut self) {
        // Without effect if the process has been waited for: `try_wait` then knows its status.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Starts a thread that writes lines to a process.
fn write_lines(mut stdin: ChildStdin) -> Sender<String> {
    let (sender, lines) = channel::<String>();
    std::thread::spawn(move || {
        for line in lines {
            if stdin.write_all((line + "\n").as_bytes()).and_then(|()| stdin.flush()).is_err() {
                return;
            }
        }
    });
    sender
}

/// Starts a thread that reads lines from a process.
fn read_lines(stdout: ChildStdout) -> Receiver<Result<String, GroupVerdict>> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        loop {
            let mut line = Vec::new();
            match stdout.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let is_whole = line.ends_with(b"\n");
            let text = String::from_utf8_lossy(&line).into_owned();
            let sent = sender.send(if is_whole { Ok(text) } else { Err(GroupVerdict::OutputLimit) });
            if sent.is_err() || !is_whole {
                return;
            }
        }
    });
    lines
}

/// Starts a thread that reads all that a process writes to `stderr`, and keeps the last [`KEPT`] bytes of it.
fn keep_output(mut stderr: ChildStderr) -> Arc<Mutex<Vec<u8>>> {
    let output = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&output);
    std::thread::spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(n @ 1..) = stderr.read(&mut buffer) {
            let mut kept = lock(&kept);
            kept.extend_from_slice(&buffer[..n]);
            let surplus = kept.len().saturating_sub(KEPT);
            kept.drain(..surplus);
        }
    });
    output
}
