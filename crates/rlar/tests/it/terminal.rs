//! What a command shows: text, bars, nothing but the result, or events in JSON.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::{refused, rlar, run, smoke, text};

/// Writes the config of a job of four steps, which measures held-out prompts after every second one.
fn four_steps(folder: &Path) -> String {
    smoke(
        folder,
        &[
            ("warmup:\n  steps: 120", "warmup:\n  steps: 5"),
            ("train:\n  steps: 300", "train:\n  steps: 4"),
            ("  samples: 8", "  samples: 1\n  limit: 4\n  every: 2"),
        ],
    )
}

/// Each line of the output as an event.
fn events(stdout: &[u8]) -> Vec<Value> {
    text(stdout).lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn named<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

#[test]
fn events_are_json_lines_from_the_start_to_the_summary() {
    let folder = tempfile::tempdir().unwrap();
    let config = four_steps(folder.path());
    let train = ["train", "--config", &config, "--run", "run", "--seed", "1", "--json"];
    let out = run(folder.path(), &train);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let events = events(&out.stdout);
    assert_eq!(events[0]["event"], "start");
    assert_eq!((&events[0]["method"], &events[0]["steps"], &events[0]["done"]), (&"grpo".into(), &4.into(), &0.into()));
    let steps = named(&events, "step");
    let of_phase = |phase: &str| steps.iter().filter(|step| step["phase"] == phase).count();
    assert_eq!((of_phase("warm-up"), of_phase("train")), (5, 4));
    let recorded = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    for (line, event) in recorded.lines().zip(&steps[5..]) {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["reward"], event["reward"]);
        assert_eq!(record["step"], event["step"]);
    }
    let at = |name: &str| named(&events, name).iter().map(|e| e["step"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(at("measurement"), [2, 4]);
    assert!(named(&events, "measurement").iter().all(|e| e["accuracy"].is_number() && e["is_best"].is_boolean()));
    assert!(at("hint").iter().all(|step| *step == 3) && !at("hint").is_empty());
    let checkpoints = named(&events, "checkpoint");
    let last = checkpoints.last().unwrap();
    assert_eq!((&last["warmup"], &last["step"]), (&5.into(), &4.into()));
    assert!(folder.path().join(last["path"].as_str().unwrap()).join("state.json").exists());
    let evaluations = named(&events, "evaluation");
    let when: Vec<&Value> = evaluations.iter().map(|e| &e["when"]).collect();
    assert_eq!(when, ["before", "after"]);
    let summary = events.last().unwrap();
    assert_eq!((&summary["event"], &summary["steps"]), (&"summary".into(), &4.into()));
    assert_eq!((&summary["run"], &summary["model"]), (&"run".into(), &"run/final".into()));
    assert_eq!(summary["trend"]["figure"], "reward");
    // The same command again is refused: in words for people, and as an event.
    let again = run(folder.path(), &train);
    refused(&again, 2, &["holds an earlier run"]);
    let failed: Value = serde_json::from_str(&text(&again.stdout)).unwrap();
    assert_eq!((&failed["event"], &failed["exit_code"]), (&"error".into(), &2.into()));
    assert!(failed["message"].as_str().unwrap().contains("holds an earlier run"));
}

#[test]
fn evaluations_and_fetched_rewards_are_events_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = four_steps(folder.path());
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = run(folder.path(), &["eval", "--config", &config, "--model", "run/final", "--json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let held_out = events(&out.stdout);
    let result = named(&held_out, "result");
    assert_eq!((held_out[0]["event"].as_str(), result.len()), (Some("start"), 1));
    assert!(result[0]["sampled"]["all"]["answers"].as_u64() > Some(0), "{}", result[0]);
    let out = run(folder.path(), &["fetch-rewards", "--config", "math.yaml", "--library", "tools", "--json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let fetched = events(&out.stdout);
    let tools = named(&fetched, "result")[0]["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["tool"] == "last_number" && tool["prompts"].is_u64()), "{tools:?}");
    let pair = r#"{"id": "1", "prompt": "p", "chosen": "good", "rejected": "bad"}"#;
    fs::write(folder.path().join("pairs.jsonl"), pair).unwrap();
    fs::write(folder.path().join("mine.jsonl"), r#"{"id": "1", "scores": [1.0, 0.0]}"#).unwrap();
    let out = run(folder.path(), &["eval", "rewards", "--data", "pairs.jsonl", "--scores", "mine.jsonl", "--json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let scored = events(&out.stdout);
    let result = named(&scored, "result")[0];
    assert_eq!((result["tool"].as_str(), result["overall"]["score"].as_f64()), (Some("mine"), Some(1.0)));
}

#[test]
fn quiet_prints_the_result_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = four_steps(folder.path());
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run", "--quiet"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&out.stderr), "");
    let result = text(&out.stdout);
    assert!(result.starts_with("held-out accuracy\n") && result.contains("4 steps in "), "{result}");
    let before = ["-q", "eval", "--config", &config, "--model", "run/final"];
    let out = run(folder.path(), &before);
    assert!(out.status.success() && out.stderr.is_empty(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).starts_with("kind "), "{}", text(&out.stdout));
    refused(&run(folder.path(), &["train", "--config", "nowhere.yaml", "--quiet"]), 2, &["nowhere.yaml"]);
}

#[test]
fn without_a_terminal_every_step_is_one_plain_line_within_80_columns() {
    let folder = tempfile::tempdir().unwrap();
    let config = four_steps(folder.path());
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(!out.stdout.contains(&0x1b) && !out.stderr.contains(&0x1b));
    let log = text(&out.stderr);
    let steps: Vec<&str> = log.lines().filter(|line| line.starts_with("train ")).collect();
    assert_eq!(steps.len(), 4, "{log}");
    for (i, line) in steps.iter().enumerate() {
        assert!(line.starts_with(&format!("train {}/4  reward ", i + 1)), "{line}");
    }
    assert!(log.lines().any(|line| line.starts_with("step 2: held-out accuracy ")), "{log}");
    let report = text(&out.stdout);
    for line in steps.into_iter().chain(report.lines()) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn a_run_without_held_out_data_ends_with_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(
        folder.path(),
        &[
            ("warmup:\n  steps: 120", "warmup:\n  steps: 5"),
            ("train:\n  steps: 300", "train:\n  steps: 4"),
            ("  heldout: datasets/digits/heldout.jsonl\n", ""),
        ],
    );
    let began = Instant::now();
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run", "--quiet"]);
    let wall = began.elapsed().as_secs_f64();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let shown = text(&out.stdout);
    for part in ["mean reward ", " in the first 2 steps, ", " in the last 2\n", "4 steps in ", "rlar rollouts run\n"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    assert!(shown.contains("The policy is in run/final\nEverything else is in run\n"), "{shown}");
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("run/report.json")).unwrap()).unwrap();
    let rewards: Vec<f64> = crate::training::metrics(&folder.path().join("run"))
        .iter()
        .map(|m| m["reward"]["mean"].as_f64().unwrap())
        .collect();
    // The seconds of all phases, those outside the steps included, are what the command took.
    let seconds: Vec<f64> = report["seconds"].as_object().unwrap().values().map(|s| s.as_f64().unwrap()).collect();
    let total = seconds.iter().sum::<f64>();
    assert!(report["seconds"]["outside"].as_f64().unwrap() > 0.0 && total <= wall, "{report}");
    let line = format!("\n4 steps in {total:.0} s; ");
    assert!(shown.contains(&line) && shown.contains("loading and saving "), "{shown}");
    let first = report["trend"]["first"].as_f64().unwrap();
    assert!((first - f64::midpoint(rewards[0], rewards[1])).abs() < 1e-12, "{first}, {rewards:?}");
}

#[test]
fn completions_name_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let out = run(folder.path(), &["completions", shell]);
        assert!(out.status.success(), "{shell}: {}", text(&out.stderr));
        let script = text(&out.stdout);
        for command in ["train", "fetch-rewards", "rollouts", "completions"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    refused(&run(folder.path(), &["completions", "cmd"]), 2, &["powershell"]);
}

/// Runs rlar with a terminal of 24 lines and 80 columns as its standard input, output and error, and gives what it
/// wrote there.
#[cfg(unix)]
fn in_a_terminal(folder: &Path, arguments: &[&str], no_color: &str) -> String {
    const SCRIPT: &str = r#"
import fcntl, os, pty, struct, sys, termios
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(2, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    sys.stdout.buffer.write(part)
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;
    let program = rlar(folder, arguments);
    let mut python = std::process::Command::new("python3");
    python.arg("-c").arg(SCRIPT).arg(program.get_program()).args(program.get_args()).current_dir(folder);
    let out = python.env("TERM", "xterm").env("NO_COLOR", no_color).output().unwrap();
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// Text without escape sequences (`ESC [`, parameters, a letter).
#[cfg(unix)]
fn without_escapes(output: &str) -> String {
    let mut parts = output.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = |part: &str| part.split_once(|c: char| c.is_ascii_alphabetic()).map_or(String::new(), |(_, r)| r.into());
    first + &parts.map(rest).collect::<String>()
}

#[cfg(unix)]
#[test]
fn in_a_terminal_bars_fit_and_steps_remain() {
    let folder = tempfile::tempdir().unwrap();
    let config = four_steps(folder.path());
    let shown = in_a_terminal(folder.path(), &["train", "--config", &config, "--run", "run", "--seed", "1"], "");
    assert!(shown.contains('\u{1b}') && !shown.contains("eta 0s"), "{shown:?}");
    let shown = without_escapes(&shown);
    let drawn: Vec<&str> = shown.split(['\r', '\n']).collect();
    let is_bar = |line: &&str| line.contains(['█', '░']);
    assert!(drawn.iter().any(|line| line.starts_with("train ") && is_bar(line)), "{drawn:?}");
    for line in &drawn {
        // A bar has a second line for what is going on; it follows without a line break, because a bar fills its line.
        let columns = if is_bar(line) { 160 } else { 80 };
        assert!(line.chars().count() <= columns, "{line:?}");
    }
    for step in 1..=4 {
        let begin = format!("train {step}/4  reward ");
        assert!(drawn.iter().any(|line| line.starts_with(&begin)), "{begin}: {drawn:?}");
    }
}

#[cfg(unix)]
#[test]
fn with_no_color_a_terminal_gets_no_escape_sequence() {
    let folder = tempfile::tempdir().unwrap();
    let config = four_steps(folder.path());
    let shown = in_a_terminal(folder.path(), &["train", "--config", &config, "--run", "run"], "1");
    assert!(!shown.contains('\u{1b}') && shown.contains("train 4/4  reward "), "{shown:?}");
}
