//! Servers that a run starts, watches and ends. The process that it starts passes requests on to the server of this process,
//! which forgets its weights when such a process starts.

use std::fs;
use std::path::Path;

use rlar_grpo::config::{PublishBy, SamplingConfig, VllmStartConfig};

use crate::vllm::{Place, sampled, step};
use crate::vllm_server::{Faults, StandIn};

/// Listens on the port in its first argument, and passes everything on to the port in the second. If the file in the third
/// exists when a completion is asked for, it removes the file and ends.
const PROCESS: &str = r#"
import os, socket, sys, threading
port, behind, die = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
told = socket.create_connection(("127.0.0.1", behind))
told.sendall(b"GET /restart HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
while told.recv(4096):
    pass
def copy(source, target, is_request):
    while data := source.recv(65536):
        if is_request and b"/inference/" in data and os.path.exists(die):
            os.unlink(die)
            os._exit(7)
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
listener = socket.create_server(("127.0.0.1", port))
print("serves", sys.argv[4], flush=True)
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", behind))
    for way in ((client, server, True), (server, client, False)):
        threading.Thread(target=copy, args=way, daemon=True).start()
"#;

/// Sampling by one server that the run starts.
fn sampling(place: &Place, command: &[&str], restarts: u32) -> SamplingConfig {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let mut sampling = place.sampling(&[]);
    let vllm = sampling.vllm.as_mut().unwrap();
    vllm.start = Some(VllmStartConfig { command, deadline: 30.0, restarts, ..VllmStartConfig::default() });
    sampling
}

/// The number of times that the process was started.
fn starts(run: &Path) -> usize {
    fs::read_to_string(run.join("vllm-0.log")).unwrap().matches("serves").count()
}

#[test]
fn a_server_of_the_run_that_dies_is_started_again_as_often_as_the_config_allows() {
    let place = Place::new(PublishBy::Lora);
    let server: StandIn = place.serve(Faults::default());
    let (run, die) = (place.folder.path(), place.folder.path().join("die"));
    let behind = server.url.rsplit(':').next().unwrap();
    let command = ["python3", "-c", PROCESS, "{port}", behind, die.to_str().unwrap(), "{model}"];
    let sampling = sampling(&place, &command, 2);
    let mut trainer = place.trainer();
    trainer.servers = Some(place.start(&sampling, &trainer.model).unwrap());
    let log = fs::read_to_string(run.join("vllm-0.log")).unwrap();
    assert!(log.contains(&format!("serves {}", run.join("model").display())), "{log}");
    let first = sampled(&trainer, &sampling, 0).unwrap();

    // It dies while it samples.
    fs::write(&die, "").unwrap();
    assert_eq!(sampled(&trainer, &sampling, 0).unwrap(), first);
    assert!(!die.exists() && starts(run) == 2);

    // It dies while it gets weights.
    step(&mut trainer);
    fs::write(&die, "").unwrap();
    sampled(&trainer, &sampling, 1).unwrap();
    assert!(!die.exists() && starts(run) == 3);

    fs::write(&die, "").unwrap();
    let error = sampled(&trainer, &sampling, 1).unwrap_err();
    assert!(error.contains("the server ended (exit status: 7)") && error.contains("vllm-0.log"), "{error}");
    assert!(error.contains("It is not started again: `sampling.vllm.start.restarts` is 2"), "{error}");
    assert_eq!(starts(run), 3);
}

#[test]
fn a_server_that_does_not_start_is_an_error_with_the_end_of_its_log() {
    let place = Place::new(PublishBy::Lora);
    let sampling =
        sampling(&place, &["sh", "-c", "echo no GPU for port $0, server $1; exit 5", "{port}", "{index}"], 3);
    let error = place.start(&sampling, &place.trainer().model).unwrap_err().to_string();
    assert!(error.starts_with("`sampling.vllm`: `start`: "), "{error}");
    assert!(error.contains("ended (exit status: 5)") && error.contains(", server 0"), "{error}");
    assert!(!error.contains("{port}") && error.contains("no GPU for port "), "{error}");
}
