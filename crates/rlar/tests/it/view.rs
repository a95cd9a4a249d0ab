//! `rlar view`: its first line, the port it takes, what it refuses, and how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{refused, rlar, run};

/// A running `rlar view`; dropping it kills the process.
struct Viewed {
    child: Child,
    /// Host and port.
    address: String,
}

impl Drop for Viewed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn view(folder: &Path, arguments: &[&str]) -> Viewed {
    let mut command = rlar(folder, &[&["view", "--no-browser"], arguments].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')).unwrap().to_owned();
    Viewed { child, address }
}

/// What `/api/runs` answers.
fn runs_of(viewed: &Viewed) -> String {
    let mut stream = TcpStream::connect(&viewed.address).unwrap();
    write!(stream, "GET /api/runs HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", viewed.address).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn write_run(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.yaml"), "version: 1\n").unwrap();
    std::fs::write(folder.join("metrics.jsonl"), "{\"step\":1,\"accuracy\":0.5}\n").unwrap();
}

#[test]
fn a_run_is_shown_until_a_signal_and_a_port_in_use_gives_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("runs/one"));
    let first = view(folder.path(), &["--port", "0"]);
    let answer = runs_of(&first);
    assert!(answer.contains("\"name\":\"one\"") && answer.contains("\"last_step\":1"), "{answer}");
    let port = first.address.rsplit_once(':').unwrap().1;
    let mut second = view(folder.path(), &["runs", "--port", port]);
    assert_ne!(second.address, first.address);
    assert!(runs_of(&second).contains("\"name\":\"one\""));
    let id = second.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert!(second.child.wait().unwrap().success());
    let mut said = String::new();
    second.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains(&format!("port {port} is in use")), "{said}");
}

#[test]
fn a_folder_that_is_no_run_is_a_wrong_request() {
    let folder = tempfile::tempdir().unwrap();
    refused(&run(folder.path(), &["view", "--no-browser", "."]), 2, &["is no run and holds none", "config.yaml"]);
}
