//! Servers on this machine, in the place of which small programs stand: they start, end and are killed as a vLLM would.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rlar_net::Secret;
use rlar_vllm::{ServerCommand, ServerProcess, VllmServer, VllmSettings};

/// A program that answers every GET request with 200 on the port in its first argument. Before, it starts a process that does
/// nothing, and writes the PIDs of both.
const SERVER: &str = r#"
import http.server, os, subprocess, sys
child = subprocess.Popen(["sleep", "1000"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("pids", os.getpid(), child.pid, flush=True)
server.serve_forever()
"#;

/// Names the folder of [`an_owner`].
const OWNER: &str = "RLAR_TEST_OWNER";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn command(words: &[&str], folder: &Path) -> ServerCommand {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    ServerCommand { words, key: None, log: folder.join("server.log") }
}

fn client(port: u16) -> VllmServer {
    VllmServer::new(VllmSettings::new(&format!("http://127.0.0.1:{port}"))).unwrap()
}

/// Starts [`SERVER`] and waits until it answers.
async fn started(folder: &Path) -> ServerProcess {
    let port = free_port();
    let mut process = ServerProcess::start(command(&["python3", "-c", SERVER, &port.to_string()], folder)).unwrap();
    process.ready(&client(port), Duration::from_secs(30)).await.unwrap();
    assert_eq!(process.ended(), None);
    process
}

/// The PIDs that [`SERVER`] wrote last.
fn pids(folder: &Path) -> Vec<String> {
    let log = fs::read_to_string(folder.join("server.log")).unwrap();
    let line = log.lines().rev().find_map(|line| line.strip_prefix("pids ")).unwrap();
    line.split(' ').map(str::to_owned).collect()
}

/// Waits until the processes have ended; a zombie has ended, too.
fn assert_all_end(pids: &[String]) {
    let runs = |pid: &String| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with(['Z', 'X']))
    };
    let began = Instant::now();
    while pids.iter().any(runs) {
        assert!(began.elapsed() < Duration::from_secs(20), "a process of the server runs on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn a_server_ends_with_all_that_it_started_when_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let process = started(folder.path()).await;
    let pids = pids(folder.path());
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    drop(process);
    assert_all_end(&pids);
}

#[tokio::test]
async fn a_server_that_is_killed_has_ended_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = started(folder.path()).await;
    let pids = pids(folder.path());
    assert!(Command::new("kill").args(["-KILL", &pids[0]]).status().unwrap().success());
    let began = Instant::now();
    let how = loop {
        if let Some(how) = process.ended() {
            break how;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the end was not noticed");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!((how.as_str(), process.ended().as_deref()), ("exit status: 137", Some("exit status: 137")));
    assert_all_end(&pids);
}

/// Not a test of its own: the process that [`a_server_is_killed_with_the_process_that_started_it`] kills.
#[test]
#[ignore = "run by another test"]
fn an_owner() {
    let Some(folder) = std::env::var_os(OWNER) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let process = runtime.block_on(started(Path::new(&folder)));
    fs::write(Path::new(&folder).join("ready"), "").unwrap();
    std::thread::sleep(Duration::from_mins(1));
    drop(process);
}

#[test]
fn a_server_is_killed_with_the_process_that_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::an_owner", "--ignored", "--nocapture"])
        .env(OWNER, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !folder.path().join("ready").exists() {
        assert!(began.elapsed() < Duration::from_secs(30), "the server does not start");
        assert!(owner.try_wait().unwrap().is_none(), "the owner ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pids = pids(folder.path());
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_all_end(&pids);
}

#[tokio::test]
async fn a_start_that_fails_shows_the_end_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("server.log"), "of an earlier start\n").unwrap();
    let server = client(free_port());
    let limit = Duration::from_secs(30);
    let program =
        "for i in $(seq 40); do echo line $i; done; echo \"key $VLLM_API_KEY, $VLLM_SERVER_DEV_MODE\" >&2; exit 3";
    let with_key = ServerCommand { key: Some(Secret::new("sesame")), ..command(&["sh", "-c", program], folder.path()) };
    let error = ServerProcess::start(with_key).unwrap().ready(&server, limit).await.unwrap_err().to_string();
    assert!(error.contains("ended (exit status: 3) before it answered at http://127.0.0.1:"), "{error}");
    assert!(error.contains("line 40\n  key [secret], 1") && !error.contains("line 20\n"), "{error}");
    assert!(!error.contains("sesame") && error.contains("server.log"), "{error}");

    let silent = command(&["sh", "-c", "exit 4"], folder.path());
    let error = ServerProcess::start(silent).unwrap().ready(&server, limit).await.unwrap_err().to_string();
    assert!(error.contains("exit status: 4") && error.contains("is empty") && !error.contains("earlier"), "{error}");

    let unknown = command(&["no-such-program"], folder.path());
    let error = ServerProcess::start(unknown).unwrap().ready(&server, limit).await.unwrap_err().to_string();
    assert!(error.contains("`no-such-program` ended (exit status: 127)") && error.contains("not found"), "{error}");

    let late = command(&["sleep", "1000"], folder.path());
    let limit = Duration::from_millis(50);
    let error = ServerProcess::start(late).unwrap().ready(&server, limit).await.unwrap_err().to_string();
    assert!(error.contains("`sleep 1000` does not answer") && error.contains("after 0.05 s"), "{error}");

    let error = ServerProcess::start(command(&["true"], &folder.path().join("nowhere"))).unwrap_err().to_string();
    assert!(error.contains("cannot write its log"), "{error}");
}
