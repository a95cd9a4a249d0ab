//! A run that is being written while it is viewed.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpStream;

use rlar_view::ViewServer;
use serde_json::{Value, json};

use crate::client::{asked, connect, found, read_until};
use crate::fixture::{record, write, write_metrics, write_run};
use crate::serve;

fn listen(server: &ViewServer) -> TcpStream {
    let mut stream = connect(server.address());
    let request = format!("GET /api/growth HTTP/1.1\r\nhost: {}\r\n\r\n", server.address());
    stream.write_all(request.as_bytes()).unwrap();
    let head = read_until(&mut stream, "retry: 2000");
    assert!(head.contains("text/event-stream"), "{head}");
    stream
}

#[test]
fn a_record_counts_when_its_line_is_finished_and_a_rewritten_file_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let server = serve(folder.path());
    let rewards = || -> Value {
        let metrics = found(&server, "metrics", &[asked("run", "one"), asked("columns", "reward/mean")]);
        json!([metrics["last_steps"], metrics["columns"][0]["mean"]])
    };
    write_metrics(&run, &[record(1, 0.5)]);
    assert_eq!(rewards(), json!([[1], [0.5]]));
    let (line, mut file) =
        (record(2, 0.25).to_string(), OpenOptions::new().append(true).open(run.join("metrics.jsonl")).unwrap());
    file.write_all(&line.as_bytes()[..20]).unwrap();
    assert_eq!(rewards(), json!([[1], [0.5]]));
    file.write_all(&line.as_bytes()[20..]).unwrap();
    file.write_all(b"\n").unwrap();
    assert_eq!(rewards(), json!([[1, 2], [0.5, 0.25]]));
    // A resume from an earlier checkpoint drops the last steps and takes them again; the file may end up longer.
    write_metrics(&run, &[record(1, 0.5), record(2, 0.125), record(3, 0.0)]);
    assert_eq!(rewards(), json!([[1, 2, 3], [0.5, 0.125, 0.0]]));
}

#[test]
fn open_pages_are_told_which_run_has_grown() {
    let folder = tempfile::tempdir().unwrap();
    for run in ["one", "two"] {
        write_run(&folder.path().join(run));
    }
    let server = serve(folder.path());
    let mut events = listen(&server);
    write_metrics(&folder.path().join("two"), &(1..=9).map(|step| record(step, 0.5)).collect::<Vec<_>>());
    let told = read_until(&mut events, "\"two\"");
    assert!(told.contains("event: growth\ndata: ") && !told.contains("\"one\""), "{told}");
    write_run(&folder.path().join("three"));
    read_until(&mut events, "three");
}

#[test]
fn a_server_that_stops_ends_the_events() {
    let folder = tempfile::tempdir().unwrap();
    write_run(&folder.path().join("one"));
    let server = serve(folder.path());
    let mut events = listen(&server);
    let began = std::time::Instant::now();
    server.stop();
    assert!(began.elapsed().as_secs() < 4, "the events held up the stop");
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut events, &mut rest).unwrap();
}

#[test]
fn a_run_before_its_first_step_is_shown_without_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("young");
    write(&run.join("config.yaml"), "version: 1\n");
    write(&run.join("inputs.json"), "{}");
    let server = serve(folder.path());
    let metrics = found(&server, "metrics", &[asked("run", "young")]);
    assert_eq!((&metrics["steps"], &metrics["last_step"]), (&json!(0), &Value::Null));
    for path in ["steps", "library", "assignments", "exchanges", "evaluations", "hints"] {
        found(&server, path, &[asked("run", "young")]);
    }
}
