//! A vLLM server on this machine that is started, watched and ended.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rlar_net::Secret;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::time::{sleep, timeout};

use crate::{VllmError, VllmServer};

/// The shell script that runs the server, whose words are its arguments. It ends as the server ends. When its standard input
/// closes, because the process that started it was killed, it kills its process group.
const SUPERVISE: &str = r#"
exec 3<&0
trap : TERM
"$@" </dev/null 3<&- &
server=$!
(trap '' TERM; read -r line; kill -KILL 0) <&3 &
exec 3<&- </dev/null
wait "$server"
status=$?
while [ "$status" -gt 128 ] && kill -0 "$server" 2>/dev/null; do
    wait "$server"
    status=$?
done
exit "$status"
"#;

/// What vLLM needs in its environment to be paused and given weights.
const ENVIRONMENT: [&str; 2] = ["VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"];

/// The environment variable from which vLLM takes the key that it asks for.
const KEY: &str = "VLLM_API_KEY";

/// How long a server may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// The pause between two looks at a server that is starting.
const PAUSE: Duration = Duration::from_millis(100);

/// The pause between two looks at a server that is ending.
const END_PAUSE: Duration = Duration::from_millis(10);

/// Longest wait for one answer of a server that is starting, during which its end is not noticed.
const ANSWER: Duration = Duration::from_secs(5);

/// How many bytes and lines at the end of a log an error shows at most.
const SHOWN_BYTES: u64 = 8 << 10;
const SHOWN_LINES: usize = 15;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct ServerCommand {
    /// The program, which is looked for in `PATH`, and its arguments.
    pub words: Vec<String>,
    /// The key that clients must send, given to the server as `VLLM_API_KEY`; `None` gives none.
    pub key: Option<Secret>,
    /// The file to which the server's output is appended.
    pub log: PathBuf,
}

/// A server that was started, with all processes that it starts: they are in a process group of their own. They are ended
/// when this is dropped (at first by `SIGTERM`), and killed when this process is killed.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    command: ServerCommand,
    /// Length of the log before the start, in bytes.
    log_start: u64,
    /// How it ended; `None` while it runs.
    end: Option<String>,
}

impl ServerProcess {
    /// Starts a server, which does not answer yet.
    pub fn start(command: ServerCommand) -> Result<Self, VllmError> {
        let shown = command.words.join(" ");
        let failed = |message: String| VllmError::Start { command: shown.clone(), message };
        if command.words.is_empty() {
            return Err(failed("has no program".into()));
        }
        let in_log = |e: std::io::Error| failed(format!("cannot write its log, {}: {e}", command.log.display()));
        let log = OpenOptions::new().create(true).append(true).open(&command.log).map_err(in_log)?;
        let log_start = log.metadata().map_err(in_log)?.len();
        let errors = log.try_clone().map_err(in_log)?;
        let child = Command::new("sh")
            .args(["-c", SUPERVISE, "rlar"])
            .args(&command.words)
            .envs(ENVIRONMENT.map(|name| (name, "1")))
            .envs(command.key.iter().map(|key| (KEY, key.reveal())))
            .stdin(Stdio::piped())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn();
        let child = child.map_err(|e| failed(format!("cannot be started by `sh`: {e}")))?;
        Ok(Self { child, command, log_start, end: None })
    }

    /// How the server ended, such as `exit status: 1`; `None` while it runs. What it started is killed then.
    pub fn ended(&mut self) -> Option<String> {
        if self.end.is_none() && self.has_exited() {
            // Until `wait`, the process keeps its PID, and so the name of its group.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            self.end = Some(self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string()));
        }
        self.end.clone()
    }

    /// Waits until the server answers at `/health`. An error if it ends, or does not answer within `limit`; it shows the last
    /// lines of the log.
    pub async fn ready(&mut self, server: &VllmServer, limit: Duration) -> Result<(), VllmError> {
        let began = Instant::now();
        loop {
            if let Some(how) = self.ended() {
                let (url, last) = (server.url(), self.last_lines());
                return Err(self.failed(format!("ended ({how}) before it answered at {url}{last}")));
            }
            let wait = ANSWER.min(limit.saturating_sub(began.elapsed()));
            if matches!(timeout(wait, server.health()).await, Ok(Ok(()))) {
                return Ok(());
            }
            if began.elapsed() >= limit {
                let (seconds, last) = (limit.as_secs_f64(), self.last_lines());
                return Err(self.failed(format!("does not answer at {} after {seconds} s{last}", server.url())));
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks the server to end, without waiting for it, so that several can end at the same time.
    pub fn ask_to_end(&self) {
        if self.end.is_none() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::TERM);
        }
    }

    fn failed(&self, message: String) -> VllmError {
        VllmError::Start { command: self.command.words.join(" "), message }
    }

    /// Whether the process has ended; it can still be waited for.
    fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), options), Ok(None))
    }

    /// The end of what the server wrote since its start, for the end of a message, without the key.
    pub fn last_lines(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut log = File::open(&self.command.log)?;
            let end = log.metadata()?.len();
            log.seek(SeekFrom::Start(self.log_start.max(end.saturating_sub(SHOWN_BYTES))))?;
            let mut bytes = Vec::new();
            log.take(SHOWN_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let log = self.command.log.display();
        match read() {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let text = self.command.key.as_ref().map_or_else(|| text.to_string(), |key| key.redact(&text));
                let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
                let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n  ");
                if last.is_empty() {
                    format!("; its log, {log}, is empty")
                } else {
                    format!("; the last lines of its log, {log}:\n  {last}")
                }
            }
            Err(e) => format!("; its log, {log}, cannot be read: {e}"),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        if self.end.is_some() {
            return;
        }
        self.ask_to_end();
        let began = Instant::now();
        while !self.has_exited() && began.elapsed() < GRACE {
            std::thread::sleep(END_PAUSE);
        }
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}
