//! The servers that this run has started on this machine.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rlar_net::{BackgroundRuntime, Secret};
use rlar_vllm::{ServerCommand, ServerProcess, VllmServer};

use crate::config::VllmStartConfig;

/// How long a server that fails may take to answer or to end before it is ended.
const DYING: Duration = Duration::from_secs(10);

/// The servers that this run has started. They end when this is dropped.
#[derive(Debug)]
pub(super) struct StartedServers {
    ports: Vec<u16>,
    deadline: Duration,
    restarts: u32,
    servers: Mutex<Vec<StartedServer>>,
}

#[derive(Debug)]
struct StartedServer {
    command: ServerCommand,
    state: ProcessState,
    /// How often it was started again.
    restarts: u32,
}

/// What became of the process of a server.
#[derive(Debug)]
enum ProcessState {
    /// It does not answer yet.
    Starting(ServerProcess),
    /// It has answered.
    Up(ServerProcess),
    /// It runs no more. The text says why, with the last lines of its log.
    Ended(String),
}

impl StartedServer {
    /// Why the server runs no more; `None` while it runs.
    fn end(&mut self) -> Option<String> {
        let process = match &mut self.state {
            ProcessState::Starting(process) | ProcessState::Up(process) => process,
            ProcessState::Ended(why) => return Some(why.clone()),
        };
        let how = process.ended()?;
        let why = end(process, &how);
        self.state = ProcessState::Ended(why.clone());
        Some(why)
    }

    /// Starts the server; one that still runs is ended first.
    fn start(&mut self) {
        self.state = ProcessState::Ended("the server is ended".into());
        self.state = match ServerProcess::start(self.command.clone()) {
            Ok(process) => ProcessState::Starting(process),
            Err(error) => ProcessState::Ended(error.to_string()),
        };
    }
}

/// What is said of a server that ended.
fn end(process: &ServerProcess, how: &str) -> String {
    format!("the server ended ({how}){}", process.last_lines())
}

impl StartedServers {
    /// Starts servers of a model, which do not answer yet. They log into the run's folder.
    pub fn start(config: &VllmStartConfig, model: &Path, run: &Path, key: Option<&Secret>) -> Result<Self, String> {
        let ports = free_ports(config.count).map_err(|e| format!("`start`: there is no free port: {e}"))?;
        let (mut servers, model) = (Vec::new(), model.display().to_string());
        for (index, port) in ports.iter().enumerate() {
            let (index, port) = (index.to_string(), port.to_string());
            let filled =
                |word: &String| word.replace("{port}", &port).replace("{index}", &index).replace("{model}", &model);
            let command = ServerCommand {
                words: config.command.iter().map(filled).collect(),
                key: key.cloned(),
                log: run.join(format!("vllm-{index}.log")),
            };
            let state = ProcessState::Ended("the server is not started yet".into());
            let mut server = StartedServer { command, state, restarts: 0 };
            server.start();
            servers.push(server);
        }
        let deadline = Duration::try_from_secs_f64(config.deadline).unwrap_or(Duration::MAX);
        Ok(Self { ports, deadline, restarts: config.restarts, servers: Mutex::new(servers) })
    }

    /// The addresses of the servers.
    pub fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    /// Waits until every server that runs answers. One that does not in time is ended. `servers` are their clients.
    pub fn wait(&self, servers: &[VllmServer], runtime: &BackgroundRuntime) -> Result<(), String> {
        for (started, server) in self.lock().iter_mut().zip(servers) {
            if started.end().is_some() {
                continue;
            }
            let ended = ProcessState::Ended("the server is ended".into());
            let (mut process, limit) = match std::mem::replace(&mut started.state, ended) {
                ProcessState::Starting(process) => (process, self.deadline),
                ProcessState::Up(process) => (process, DYING),
                ProcessState::Ended(_) => continue,
            };
            started.state = match runtime.wait(process.ready(server, limit))? {
                Ok(()) => ProcessState::Up(process),
                Err(error) => ProcessState::Ended(process.ended().map_or(error.to_string(), |how| end(&process, &how))),
            };
        }
        Ok(())
    }

    /// Why servers run no more, for people.
    pub fn faults(&self) -> Vec<String> {
        self.lock().iter_mut().filter_map(StartedServer::end).collect()
    }

    /// Whether a server runs that has not answered yet.
    pub fn is_starting(&self) -> bool {
        let is_starting =
            |started: &mut StartedServer| started.end().is_none() && matches!(started.state, ProcessState::Starting(_));
        self.lock().iter_mut().any(is_starting)
    }

    /// Whether a server runs no more.
    pub fn has_ended(&self, index: usize) -> bool {
        self.lock().get_mut(index).is_some_and(|started| started.end().is_some())
    }

    /// Starts a server again if it runs no more, or if its weights are unknown, unless that was done too often. `None` for a
    /// server that goes on.
    pub fn restart(&self, index: usize, is_wrecked: bool) -> Option<RestartResult> {
        let mut servers = self.lock();
        let started = servers.get_mut(index)?;
        let end = started.end().or_else(|| is_wrecked.then(|| "the server's weights are unknown".to_owned()))?;
        let most = self.restarts;
        if started.restarts >= most {
            let why = format!("{end}\nIt is not started again: `sampling.vllm.start.restarts` is {most}");
            return Some(RestartResult { why, is_starting: false });
        }
        started.restarts += 1;
        started.start();
        let number = started.restarts;
        Some(RestartResult { why: format!("{end}\nIt is started again, time {number} of {most}"), is_starting: true })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<StartedServer>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StartedServers {
    fn drop(&mut self) {
        for started in self.lock().iter() {
            if let ProcessState::Starting(process) | ProcessState::Up(process) = &started.state {
                process.ask_to_end();
            }
        }
    }
}

/// What became of a server that was to start again.
#[derive(Debug)]
pub(super) struct RestartResult {
    /// What happened, for people.
    pub why: String,
    /// Whether it was started.
    pub is_starting: bool,
}

/// Free ports of this machine.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    // All are held until the last is found, so that none is found twice.
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
