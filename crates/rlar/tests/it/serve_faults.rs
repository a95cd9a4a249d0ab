//! `rlar serve` when the machine fails it: no file descriptors left, a clock that jumps, a log that cannot be written.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rlar;
use crate::serve::{get, post, post_to, rewards, slow_item, started};

fn sums() -> Value {
    json!({ "items": [{ "prompt": "2 + 2 =", "reference": "4", "response": "4" }] })
}

/// CPU time that a process has used, in clock ticks of 10 ms.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Asks for `/healthz` on a connection that stays open.
fn is_healthy(stream: &mut TcpStream) -> bool {
    let head = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", stream.peer_addr().unwrap());
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"{\"status\":\"ok\"}") {
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..n]);
    }
    answer.starts_with(b"HTTP/1.1 200")
}

#[test]
fn without_a_free_file_connections_wait_and_are_served_once_there_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 24 && exec \"$0\" serve --port 0", env!("CARGO_BIN_EXE_rlar")])
        .current_dir(folder.path());
    let served = started(command);
    let mut known = TcpStream::connect(&served.address).unwrap();
    assert!(is_healthy(&mut known));
    let idle: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(&served.address).unwrap()).collect();
    served.logged("connections cannot be accepted and have to wait");
    // Who has a connection is served, and the server does not try again without a pause.
    assert!(is_healthy(&mut known));
    let before = cpu_ticks(served.child.id());
    thread::sleep(Duration::from_millis(300));
    let ticks = cpu_ticks(served.child.id()) - before;
    assert!(ticks < 10, "{ticks} clock ticks of 30");
    drop(idle);
    let (status, answer) = post(&served.address, "", &sums());
    assert_eq!((status, rewards(&answer)), (200, vec![json!(1.0)]), "{answer}");
    assert!(is_healthy(&mut known));
}

/// A library for `LD_PRELOAD` with which the wall clock is a day ahead in half of its calls, and the monotonic clock is
/// right. The calls are spread by a multiplicative hash, so that no rhythm of a program meets only one half.
#[cfg(target_env = "gnu")]
fn jumping_clock(folder: &Path) -> PathBuf {
    const SOURCE: &str = "
        #define _GNU_SOURCE
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t clock, struct timespec *now) {
            static unsigned calls;
            int result = (int)syscall(SYS_clock_gettime, clock, now);
            if (clock == CLOCK_REALTIME && __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED) * 2654435761u >> 31) now->tv_sec += 86400;
            return result;
        }";
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, SOURCE).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    library
}

#[cfg(target_env = "gnu")]
#[test]
fn a_clock_that_jumps_moves_no_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = rlar(folder.path(), &["serve", "--port", "0", "--log-format", "json"]);
    command.env("LD_PRELOAD", jumping_clock(folder.path()));
    let served = started(command);
    // The clock does jump: the log shows it.
    let mut days = BTreeSet::new();
    for _ in 0..12 {
        assert_eq!(get(&served.address, "/healthz").0, 200);
        let line: Value = serde_json::from_str(&served.logged("answered")).unwrap();
        days.insert(line["timestamp"].as_str().unwrap()[..10].to_owned());
    }
    assert!(days.len() > 1, "{days:?}");
    // A day ahead, nothing is late.
    let items = json!({ "items": [slow_item(0.1)], "deadline_s": 30 });
    let (status, answer) = post(&served.address, "", &items);
    assert_eq!((status, rewards(&answer)), (200, vec![json!(1.0)]), "{answer}");
    // A day behind, what takes too long ends all the same.
    let began = Instant::now();
    for (code, status) in [("while True: pass", "TimeLimitExceeded"), ("print(1)", "Finished")] {
        let program = json!({ "code": code, "language": "python", "run_timeout": 0.3 });
        let (_, answer) = post_to(&served.address, "/run_code", "", &program);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["run_result"]["status"], status, "{answer}");
    }
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_log_that_cannot_be_written_costs_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    // As on a full disk, every line of the log fails.
    let script = "exec \"$0\" serve --port 0 2>/dev/full";
    command.args(["-c", script, env!("CARGO_BIN_EXE_rlar")]).current_dir(folder.path());
    let served = started(command);
    for _ in 0..2 {
        let (status, answer) = post(&served.address, "", &sums());
        assert_eq!((status, rewards(&answer)), (200, vec![json!(1.0)]), "{answer}");
    }
    assert!(served.stopped().is_empty());
}
