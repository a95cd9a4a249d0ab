//! Libraries, caches and logs from the command line, and tools that are suspended during a run.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::training::metrics;
use crate::{refused, rlar, run, smoke, text};

fn lines(out: &std::process::Output) -> Vec<Value> {
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// Adds a verifier for expressions to the library `tools`.
fn library(folder: &Path, name: &str, body: &str) {
    let home = folder.join("tools").join(name);
    fs::create_dir_all(&home).unwrap();
    let card = format!(
        "name: {name}\nkind: verifier\nrole: correctness\nmeasures: m\ntasks: [expressions]\nneeds_reference: true\n\
         range: [0, 1]\nfunction: compute_x\nfile: v.py\norigin: test\n"
    );
    fs::write(home.join("tool.yaml"), card).unwrap();
    fs::write(home.join("v.py"), format!("def compute_x(prompt, reply, reference):\n    {body}\n")).unwrap();
}

const RIGHT: &str =
    "w = reply.strip().rstrip('.').split()\n    return float(bool(w) and w[-1].strip('$') == reference)";

#[test]
fn a_tool_scores_rows_and_says_why_where_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"id\": \"a\", \"prompt\": \"1/2?\", \"completion\": \"It is $0.5$.\", \"reference\": \"1/2\"}\n\
                {\"id\": \"a\", \"prompt\": \"1/2?\", \"response\": \"2\", \"reference\": \"1/2\"}\n\
                {\"prompt\": \"Hello?\", \"response\": \"Hello.\"}\n\
                {\"messages\": [{\"role\": \"user\", \"content\": \"1/2?\"}, {\"role\": \"assistant\", \"content\": \"0.5\"}], \"answer\": \"0.5\"}\n";
    fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
    let one = lines(&run(folder.path(), &["score", "--tool", "math_equivalence", "--data", "rows.jsonl"]));
    assert_eq!((&one[0]["id"], &one[0]["score"], &one[1]["score"]), (&"a".into(), &1.0.into(), &0.0.into()));
    assert!(one[2]["abstained"].as_str().unwrap().contains("no reference") && one[2].get("score").is_none());
    assert_eq!((&one[2]["id"], &one[3]["score"]), (&3.into(), &1.0.into()));
    let two = ["score", "--tool", "math_equivalence", "--tool", "brevity", "--data", "rows.jsonl"];
    let two = lines(&run(folder.path(), &two));
    assert_eq!(
        (&two[0]["math_equivalence"]["score"], &two[3]["brevity"]["score"]),
        (&1.0.into(), &(1.0 / 1.01).into())
    );
    fs::write(folder.path().join("rows.jsonl"), "{\"prompt\": \"x\"}\n").unwrap();
    let with = |tool: &str| run(folder.path(), &["score", "--tool", tool, "--data", "rows.jsonl"]);
    refused(&with("brevity"), 2, &["rows.jsonl:1", "`response`"]);
    refused(&with("nothing"), 2, &["no tool `nothing`", "brevity"]);
    refused(&run(folder.path(), &["score", "--data", "rows.jsonl"]), 2, &["--model"]);
}

#[test]
fn a_library_is_admitted_retired_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), "own", RIGHT);
    let with = |arguments: &[&str]| run(folder.path(), &[&["rewards", "--library", "tools"], arguments].concat());
    let status = || lines(&with(&["list", "--json"]))[0]["admission"].as_str().unwrap().to_owned();
    assert_eq!(status(), "not examined");
    let out = with(&["admit"]);
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
    assert_eq!(status(), "admitted");
    assert!(with(&["retire", "own", "--why", "pays for length"]).status.success());
    assert_eq!(status(), "retired");
    assert!(text(&with(&["show", "own"]).stdout).contains("pays for length"));
    assert!(with(&["admit"]).status.success());
    assert_eq!(status(), "retired");
    fs::create_dir(folder.path().join("other")).unwrap();
    fs::rename(folder.path().join("tools/own"), folder.path().join("other/own")).unwrap();
    library(folder.path(), "own", "return 0.0");
    library(folder.path(), "new", RIGHT);
    let diff = text(&with(&["diff", "other"]).stdout);
    assert!(diff.contains("- new") && diff.contains("~ own") && diff.contains("-    return 0.0"), "{diff}");
    refused(&with(&["admit", "own"]), 1, &["1 of 1 tools are refused"]);
    refused(&run(folder.path(), &["rewards", "retire", "brevity"]), 2, &["--library"]);
    refused(&run(folder.path(), &["rewards", "stats", "nowhere"]), 1, &["nowhere", "cannot be read"]);
}

#[test]
fn two_processes_share_a_library_and_a_cache() {
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), "own", RIGHT);
    let rows = (0..300).map(|i| {
        format!("{{\"prompt\": \"{i} + 1 =\", \"response\": \"{}\", \"reference\": \"{}\"}}\n", i + i % 2, i + 1)
    });
    fs::write(folder.path().join("rows.jsonl"), rows.collect::<Vec<_>>().concat()).unwrap();
    let arguments =
        ["score", "--tool", "own", "--library", "tools", "--cache", "tools/scores.sqlite", "--data", "rows.jsonl"];
    let start = || {
        let mut command = rlar(folder.path(), &arguments);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    let [a, b] = both.map(|out| lines(&out));
    assert_eq!(a, b);
    assert_eq!(a.iter().filter(|l| l["score"] == 1.0).count(), 150);
    assert_eq!(lines(&run(folder.path(), &arguments)), a);
    let stats = lines(&run(folder.path(), &["rewards", "stats", "tools", "--json"]));
    let stat = |key: &str| stats[0][key].as_u64().unwrap();
    assert_eq!((stat("calls"), stat("failed")), (900, 0));
    assert!((300..=600).contains(&stat("cached")), "{stats:?}");
    let table = text(&run(folder.path(), &["rewards", "stats", "tools"]).stdout);
    assert!(table.contains("own") && table.contains("900") && table.contains("0.500"), "{table}");
}

/// Writes the config of a job with a tool that fails on some prompts, and another tool that can take its place.
fn breaking(folder: &Path) -> String {
    library(
        folder,
        "a_fragile",
        "if prompt.startswith('9 + 2'): raise KeyError('nine')\n    return float(reply.strip() == reference)",
    );
    library(folder, "b_steady", "return float(reply.strip() == reference)");
    let rewards =
        "rewards:\n  library: tools\n  unadmitted: allow\n  failure_limit: 0.02\n  failure_window: 2\nsampling:";
    smoke(
        folder,
        &[
            ("warmup:\n  steps: 120", "warmup:\n  steps: 20"),
            ("sampling:", rewards),
            ("train:\n  steps: 300", "train:\n  steps: 12"),
            ("checkpoint_every: 10", "checkpoint_every: 3"),
        ],
    )
}

#[test]
fn a_tool_that_fails_too_often_is_suspended_and_the_run_goes_on_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = breaking(folder.path());
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("`a_fragile` failed on") && text(&out.stderr).contains("nine"));
    let records = metrics(&folder.path().join("run"));
    let at = records.iter().position(|r| r["suspended"][0] == "a_fragile").expect("it was not suspended");
    assert!(at > 0, "it never served");
    for (i, record) in records.iter().enumerate() {
        let asked = |tool: &str| record["tools"][tool]["outcomes"]["asked"].as_u64().unwrap_or(0);
        assert_eq!((asked("a_fragile") > 0, asked("b_steady") > 0), (i < at, i >= at), "step {}", i + 1);
    }
    // The run keeps the log of calls and the distribution of scores.
    let stats = lines(&run(folder.path(), &["rewards", "stats", "run", "--json"]));
    assert!(stats.iter().any(|s| s["tool"] == "a_fragile" && s["failed"].as_u64() > Some(0)));
    assert!(folder.path().join("run/library/b_steady/calibration.json").exists());

    // Resumed from an earlier checkpoint, the run suspends the tool at the same step.
    let last = |name: &str| fs::read(folder.path().join(name).join("final/model.safetensors")).unwrap();
    let whole = last("run");
    fs::remove_dir_all(folder.path().join("run/checkpoints/step-000032")).unwrap();
    let again = run(folder.path(), &["train", "--config", &config, "--run", "run", "--resume"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(last("run") == whole, "the resumed run ended otherwise");
    assert_eq!(metrics(&folder.path().join("run")), records);
}

#[test]
fn groups_that_teach_nothing_are_explained_by_tool() {
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), "own", "return 1.0");
    let rewards = "rewards:\n  library: tools\n  unadmitted: allow\nsampling:";
    let config = smoke(
        folder.path(),
        &[
            ("warmup:\n  steps: 120", "warmup:\n  steps: 20"),
            ("sampling:", rewards),
            ("train:\n  steps: 300", "train:\n  steps: 3"),
            ("prompts: 16", "prompts: 16\n  flat_steps: 2"),
        ],
    );
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
    refused(&out, 1, &["16 groups without spread", "`own` all highest in 16"]);
    let record = &metrics(&folder.path().join("run"))[0];
    assert_eq!(record["flat"]["tools"]["own"]["high"], 16);
}

#[test]
fn only_the_part_of_a_reply_that_the_config_names_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), "own", "return 1.0 if reply == '' else 0.0");
    let job = |scored: &str| {
        let rewards = format!("rewards:\n  library: tools\n  unadmitted: allow\n  scored: {scored}\nsampling:");
        smoke(
            folder.path(),
            &[
                ("warmup:\n  steps: 120", "warmup:\n  steps: 20"),
                ("sampling:", rewards.as_str()),
                ("train:\n  steps: 300", "train:\n  steps: 1"),
            ],
        )
    };
    // No reply has the marker.
    for (scored, name, mean) in [("{ after: \"@@\" }", "none", 1.0), ("{}", "all", 0.0)] {
        let config = job(scored);
        let out = run(folder.path(), &["train", "--config", &config, "--run", name]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let scored = &metrics(&folder.path().join(name))[0]["reward"]["mean"];
        assert!((scored.as_f64().unwrap() - mean).abs() < 0.2, "{name}: {scored}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_cannot_be_written_costs_the_cache_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), "own", RIGHT);
    fs::create_dir(folder.path().join("disk")).unwrap();
    let row = "{\"prompt\": \"1 + 1 =\", \"response\": \"2\", \"reference\": \"2\"}\n";
    fs::write(folder.path().join("rows.jsonl"), row).unwrap();
    let score = format!(
        "{} score --tool own --library disk/tools --cache disk/tools/scores.sqlite --data rows.jsonl",
        env!("CARGO_BIN_EXE_rlar")
    );
    // With a cache from before the disk became read-only, and without one.
    let script = format!(
        "mount -t tmpfs tmpfs disk || exit 77
         cp -r tools disk/tools
         {score} > before || exit 1
         mount -o remount,ro disk || exit 77
         {score} > after 2> log || exit 2
         mount -o remount,rw disk && rm disk/tools/scores.sqlite* && mount -o remount,ro disk || exit 77
         {score} > without 2>> log || exit 3"
    );
    let out = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .current_dir(folder.path())
        .output();
    match out {
        Ok(out) if out.status.code() == Some(0) => {}
        Ok(out) if matches!(out.status.code(), Some(1..=3)) && folder.path().join("before").exists() => {
            panic!("{:?}: {}", out.status, fs::read_to_string(folder.path().join("log")).unwrap_or_default())
        }
        other => {
            println!("skipped: this machine gives no mount namespace for a disk: {other:?}");
            return;
        }
    }
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("before"), "{\"id\":1,\"score\":1.0}\n");
    assert_eq!((read("after"), read("without")), (read("before"), read("before")));
    assert!(read("log").contains("scores.sqlite") && read("log").contains("not kept"), "{}", read("log"));
}

#[test]
fn a_rule_that_fails_stops_the_run_instead_of_being_left_out() {
    let folder = tempfile::tempdir().unwrap();
    library(folder.path(), "a_judge", "return float(reply.strip() == reference)");
    library(folder.path(), "z_rule", "if len(reply) > 1: raise ValueError('too long')\n    return 1.0");
    let rewards = "rewards:\n  library: tools\n  unadmitted: allow\n  always: [{ tool: z_rule, as: veto }]\nsampling:";
    let changes = [
        ("warmup:\n  steps: 120", "warmup:\n  steps: 20"),
        ("sampling:", rewards),
        ("train:\n  steps: 300", "train:\n  steps: 2"),
    ];
    let out = run(folder.path(), &["train", "--config", &smoke(folder.path(), &changes), "--run", "run"]);
    refused(&out, 1, &["tool `z_rule` failed on", "too long", "`rewards.always`"]);
}

#[test]
fn what_every_prompt_gets_besides_makes_no_reply_right() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [
        ("warmup:\n  steps: 120", "warmup:\n  steps: 60"),
        ("sampling:", "rewards:\n  always: [{ tool: concise, weight: 1 }]\nsampling:"),
        ("train:\n  steps: 300", "train:\n  steps: 2"),
    ];
    let out = run(folder.path(), &["train", "--config", &smoke(folder.path(), &changes), "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    for record in metrics(&folder.path().join("run")) {
        let mean = |tool: &str| record["tools"][tool]["score"]["mean"].as_f64().unwrap();
        assert!(mean("numeric_match") < 1.0 && mean("concise") > 0.99);
        assert!((record["accuracy"].as_f64().unwrap() - mean("numeric_match")).abs() < 1e-12, "{record}");
        assert!((record["reward"]["mean"].as_f64().unwrap() - mean("numeric_match") - mean("concise")).abs() < 1e-9);
    }
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("run/report.json")).unwrap()).unwrap();
    assert!(report["measured"][1]["sampled"]["all"]["right"].as_u64() < Some(152), "{report}");
}
