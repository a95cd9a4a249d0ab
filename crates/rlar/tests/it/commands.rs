use std::fs;

use rlar_oracles::{needs_oracles, oracle};

use crate::{refused, rlar, run, smoke, text};

#[test]
fn every_command_has_help_with_an_example() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["train", "eval", "fetch-rewards", "generate"] {
        let out = run(folder.path(), &[command, "--help"]);
        assert!(out.status.success() && text(&out.stdout).contains("Example"), "{command}");
    }
    let out = run(folder.path(), &["config", "schema", "--help"]);
    assert!(out.status.success() && text(&out.stdout).contains("Example"));
    assert!(text(&run(folder.path(), &["--version"]).stdout).contains("(cpu"));
}

#[test]
fn a_reader_that_closes_the_output_ends_the_program_without_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = rlar(folder.path(), &["config", "schema"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success() && out.stderr.is_empty(), "{:?}: {}", out.status, text(&out.stderr));
}

#[test]
fn the_schema_is_json_schema_and_the_reference_is_made_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&run(folder.path(), &["config", "schema"]).stdout).unwrap();
    assert!(schema["$schema"].is_string() && schema["properties"]["train"].is_object());
    let markdown = text(&run(folder.path(), &["config", "schema", "--markdown"]).stdout);
    let committed = include_str!("../../../../docs/reference/config.md");
    assert!(markdown == committed, "docs/reference/config.md is out of date; run `just docs`");
}

#[test]
fn the_reference_of_commands_is_what_help_says() {
    let folder = tempfile::tempdir().unwrap();
    let markdown = text(&run(folder.path(), &["commands"]).stdout);
    let committed = include_str!("../../../../docs/reference/commands.md");
    assert!(markdown == committed, "docs/reference/commands.md is out of date; run `just docs`");
    // Every row of a command's table has words of its help, and every choice is there.
    for part in
        ["## rlar rewards test\n", "`--seed <SEED>`", "`auto`: Continue the run", "rlar train --config math.yaml"]
    {
        assert!(markdown.contains(part), "{part}");
    }
    assert!(!markdown.contains("## rlar commands"), "a hidden command is described");
}

#[test]
fn init_names_the_run_after_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures/models/llama");
    let init = ["init", "--data", "datasets/digits/train.jsonl", "--model", model];
    for (output, file, run_folder) in [
        (&[][..], "job.yaml", "runs/job"),
        (&["--output", "it's: larger.yaml"][..], "it's: larger.yaml", "runs/it's: larger"),
    ] {
        let out = run(folder.path(), &[&init[..], output].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        let yaml = fs::read_to_string(folder.path().join(file)).unwrap();
        let config: serde_yaml::Value = serde_yaml::from_str(&yaml).unwrap();
        assert_eq!(config["run"]["folder"].as_str(), Some(run_folder));
    }
}

#[test]
fn rewards_are_fetched_from_anywhere_with_an_embedded_config() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path(), &["fetch-rewards", "--config", "math.yaml", "--library", "tools"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("last_number") && text(&out.stdout).contains("numeric_match"));
    assert!(folder.path().join("tools/last_number/verifier.py").exists());
    let again = run(folder.path(), &["fetch-rewards", "--config", "math.yaml", "--library", "tools"]);
    assert_eq!(again.stdout, out.stdout);
}

#[needs_oracles]
#[test]
fn rewardbench_2_names_what_is_there_and_what_is_absent() {
    let data = oracle!("data/rewardbench2_sample");
    let folder = tempfile::tempdir().unwrap();
    let (ties, precise) = (data.join("ties_30_50.jsonl"), data.join("precise_if_619_620.jsonl"));
    let files = [ties.canonicalize().unwrap(), precise.canonicalize().unwrap()];
    let files = files.each_ref().map(|f| f.to_str().unwrap());
    let with = |more: &[&str]| {
        let out = run(folder.path(), &[&["eval", "rewardbench-v2", "--data"], &files[..], more].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let table = with(&["--tool", "brevity", "--bootstrap", "200", "--out", "results"]);
    for part in ["Precise IF", "Ties", "overall", "95 %", "without: Factuality, Math, Safety, Focus"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    // Files in the format of reward-bench give the same table when they are read again, and no item is scored again.
    let scores = "results/eval-set-scores/rlar/brevity.json";
    let again = with(&["--scores", scores, "--bootstrap", "200"]);
    let rows = |table: &str| table.lines().skip(2).take(5).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(rows(&again), rows(&table));
    let kept = std::fs::read_to_string(folder.path().join("results/items/brevity.jsonl")).unwrap();
    with(&["--tool", "brevity", "--out", "results"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("results/items/brevity.jsonl")).unwrap(), kept);
    // An interrupted evaluation scores the remaining items only.
    let half = &kept[..kept.len() / 2];
    std::fs::write(folder.path().join("results/items/brevity.jsonl"), half).unwrap();
    with(&["--tool", "brevity", "--out", "results"]);
    let lines = std::fs::read_to_string(folder.path().join("results/items/brevity.jsonl")).unwrap();
    assert_eq!(lines.lines().filter(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()).count(), 43);
    // Routes are compared with each single tool.
    let routed = with(&["--route", "builtin", "--route", "static:concise", "--out", "results"]);
    let written = std::fs::read_to_string(folder.path().join("results/routing.json")).unwrap();
    for part in ["best static tool", "uniform ensemble", "route builtin", "route static:concise", "oracle per item"] {
        assert!(routed.contains(part), "{part} is not in {routed}");
        assert!(written.contains(part), "{part} is not in {written}");
    }
    // With --json, too.
    let file = folder.path().join("results/routing.json");
    std::fs::remove_file(&file).unwrap();
    let events = with(&["--route", "static:concise", "--out", "results", "--json"]);
    let written = std::fs::read_to_string(file).unwrap();
    assert!(events.contains("\"event\":\"routing\"") && events.contains("route static:concise"), "{events}");
    assert!(written.contains("route static:concise"), "{written}");
}

#[test]
fn a_judge_is_prompted_in_two_ways_and_answers_without_a_verdict_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let row = |i: usize| {
        let (id, good) = (i.to_string(), format!("good {i}"));
        serde_json::json!({ "id": id, "subset": "Math", "prompt": "p", "chosen": [good], "rejected": ["b", "c", "d"] })
            .to_string()
    };
    std::fs::write(folder.path().join("rows.jsonl"), (0..4).map(row).collect::<Vec<_>>().join("\n")).unwrap();
    // The judge's answers: the correct completion is the best, and there is no verdict for the last item.
    let mut script = String::new();
    for i in 0..4 {
        for c in 0..4 {
            let answer = if i == 3 {
                "It depends."
            } else if c == 0 {
                "9"
            } else {
                "2"
            };
            let task = format!("'Math: {i} #{c}'");
            script += &[
                "- request: { role: judge, template: ratings-1, task: ",
                &task,
                " }\n  reply: { text: '",
                answer,
                "' }\n",
            ]
            .concat();
        }
        let task = format!("'Math: {i}'");
        script +=
            &["- request: { role: judge, template: four-1, task: ", &task, " }\n  reply: { text: 'none of them' }\n"]
                .concat();
    }
    std::fs::write(folder.path().join("judge.yaml"), script).unwrap();
    let asked = ["eval", "rewardbench-v2", "--data", "rows.jsonl", "--judge", "ratings", "--judge", "four"];
    refused(&run(folder.path(), &asked), 2, &["--judge", "--llm, --llm-local or --llm-replay"]);
    let nowhere = [&asked[..], &["--llm-local", "nowhere.gguf"]].concat();
    refused(&run(folder.path(), &nowhere), 2, &["--llm-local", "nowhere.gguf"]);
    let with = [&asked[..], &["--llm-replay", "judge.yaml", "--out", "out"]].concat();
    let out = run(folder.path(), &with);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let table = text(&out.stdout);
    for part in ["81.2", "25.0", "4 of 16 answers", "4 of 4 answers", "hold no verdict"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    let written = folder.path().join("out/eval-set-scores/rlar");
    let files: Vec<_> =
        std::fs::read_dir(written).unwrap().map(|e| std::fs::read_to_string(e.unwrap().path()).unwrap()).collect();
    assert!(files.len() == 2 && files.iter().all(|f| f.contains("Generative RM")), "{files:?}");
}

#[test]
fn scores_of_a_part_are_compared_where_all_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &[serde_json::Value]| {
        let rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
        std::fs::write(folder.path().join(name), rows.join("\n")).unwrap();
    };
    let pair =
        |i: usize| serde_json::json!({ "id": i.to_string(), "prompt": "p", "chosen": "good", "rejected": "bad" });
    write("pairs.jsonl", &(0..5).map(pair).collect::<Vec<_>>());
    let score = |i: usize| serde_json::json!({ "id": i.to_string(), "scores": [1.0, 0.0] });
    write("one.jsonl", &(0..4).map(score).collect::<Vec<_>>());
    write("two.jsonl", &(1..5).map(score).collect::<Vec<_>>());
    let asked =
        ["eval", "rewards", "--data", "pairs.jsonl", "--scores", "one.jsonl", "--scores", "two.jsonl", "--out", "out"];
    refused(&run(folder.path(), &asked), 2, &["one has no scores of 1 of 5 items", "--only-scored"]);
    let out = run(folder.path(), &[&asked[..], &["--only-scored"]].concat());
    assert!(out.status.success() && text(&out.stdout).contains("100.0"), "{}", text(&out.stderr));
    let written = std::fs::read_to_string(folder.path().join("out/eval-set-scores/rlar/one.json")).unwrap();
    assert!(!written.contains("\"0\"") && written.contains("\"1\"") && !written.contains("\"4\""), "{written}");
}

#[test]
fn a_benchmark_names_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let with = |data: &str, tool: &str| run(folder.path(), &["eval", "rewardbench-v2", "--data", data, "--tool", tool]);
    refused(&with("nowhere.jsonl", "brevity"), 2, &["--data nowhere.jsonl", "No such file"]);
    let row = r#"{"id":"1","subset":"Math","prompt":"p","chosen":["a"],"rejected":["b","c","d"]}"#;
    std::fs::write(folder.path().join("rows.jsonl"), row).unwrap();
    refused(&with("rows.jsonl", "skywork"), 2, &["`skywork`", "brevity", "last_number"]);
    refused(&with("rows.jsonl", "exact_match"), 2, &["`exact_match` needs a reference"]);
    let more = |more: &[&str]| run(folder.path(), &[&["eval", "rewards", "--data", "rows.jsonl"], more].concat());
    refused(&more(&["--limit", "0"]), 2, &["--limit"]);
    refused(&more(&["--route", "static:bravity"]), 2, &["--route static:bravity", "brevity"]);
    refused(&more(&["--route", "best"]), 2, &["--route best", "builtin"]);
    refused(&more(&["--route", "agent"]), 2, &["--route agent", "--llm"]);
    refused(&more(&["--tool", "brevity", "--cross-fit"]), 2, &["at least two tools"]);
    refused(&more(&["--judge", "four"]), 2, &["--judge", "--llm"]);
    let bare = run(folder.path(), &["eval", "rewards", "--tool", "brevity"]);
    refused(&bare, 2, &["--data"]);
    let twice = ["eval", "rewardbench-v2", "--tool", "brevity", "--data", "rows.jsonl", "rows.jsonl"];
    refused(&run(folder.path(), &twice), 2, &["id `1` occurs twice in `Math`"]);
}

#[cfg(target_os = "linux")]
#[test]
fn the_sandbox_shows_itself() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path(), &["sandbox", "status"]);
    assert!(text(&out.stdout).contains("tier "), "{}", text(&out.stderr));
    std::fs::write(folder.path().join("p.py"), "print(int(input()) * 2)").unwrap();
    std::fs::write(folder.path().join("in.txt"), "21").unwrap();
    let out = run(folder.path(), &["sandbox", "run", "p.py", "--input", "in.txt"]);
    assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(0), "42\n"), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("exit code 0"));
    std::fs::write(folder.path().join("p.py"), "while True: pass").unwrap();
    refused(&run(folder.path(), &["sandbox", "run", "p.py", "--seconds", "0.2"]), 1, &["no end within 200ms"]);
    refused(&run(folder.path(), &["sandbox", "run", "nowhere.py"]), 2, &["nowhere.py"]);
    let out = run(folder.path(), &["sandbox", "attack"]);
    assert!(out.status.success(), "{}", text(&out.stdout));
    assert!(
        text(&out.stdout).contains("equal_to_everything") && text(&out.stdout).contains("attacks contained on tier")
    );
}

#[test]
fn a_reward_model_scores_rows_and_single_replies() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures/models");
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"id\": \"a\", \"prompt\": \"w2 w5 w7\", \"response\": \"w9 w3\"}\n\
                {\"messages\": [{\"role\": \"user\", \"content\": \"w30\"}, {\"role\": \"assistant\", \"content\": \"w4\"}]}\n";
    std::fs::write(folder.path().join("rows.jsonl"), rows).unwrap();
    for name in ["deberta_v3_reward", "qwen3_reward"] {
        let model = format!("{models}/{name}");
        let out = run(folder.path(), &["score", "--model", &model, "--data", "rows.jsonl"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let lines: Vec<serde_json::Value> =
            text(&out.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!((&lines[0]["id"], &lines[1]["id"]), (&"a".into(), &2.into()));
        let one = run(folder.path(), &["score", "--model", &model, "--prompt", "w2 w5 w7", "--response", "w9 w3"]);
        let one: serde_json::Value = serde_json::from_str(&text(&one.stdout)).unwrap();
        let [a, b] = [&one, &lines[0]].map(|line| line["score"].as_f64().unwrap());
        assert!((a - b).abs() < 1e-5, "{a} is not {b}");
    }
    let bert = format!("{models}/bert");
    let out = run(folder.path(), &["score", "--model", &bert, "--prompt", "w2", "--response", "w9"]);
    assert!(text(&out.stdout).contains("\"scores\":["));
}

#[test]
fn scoring_says_what_is_wrong_with_a_request() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures/models");
    let folder = tempfile::tempdir().unwrap();
    let refused = |row: &str, model: &str, code: i32, words: &[&str]| {
        std::fs::write(folder.path().join("rows.jsonl"), row).unwrap();
        let model = format!("{models}/{model}");
        let out = run(folder.path(), &["score", "--model", &model, "--data", "rows.jsonl"]);
        assert_eq!(out.status.code(), Some(code), "{}", text(&out.stderr));
        for word in words {
            assert!(text(&out.stderr).contains(word), "`{}` does not mention `{word}`", text(&out.stderr));
        }
    };
    refused("{\"prompt\": \"a\"}\n", "bert", 2, &["rows.jsonl:1", "`response`"]);
    refused("{\"response\": \"a\"}\n", "bert", 2, &["rows.jsonl:1", "`prompt`"]);
    let good = "{\"prompt\": \"w2\", \"response\": \"w3\"}\n";
    refused(good, "nowhere", 2, &["nowhere", "does not exist"]);
    refused(good, "llama", 2, &["language model", "rlar generate"]);
    let long = format!("{{\"id\": \"long\", \"prompt\": \"{}\", \"response\": \"w3\"}}\n", "w2 ".repeat(60));
    refused(&long, "bert", 1, &["long", "at most 32"]);
}

#[test]
fn a_chat_takes_its_turns_from_standard_input_and_streams_replies() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures/models");
    let folder = tempfile::tempdir().unwrap();
    let model = format!("{models}/qwen3");
    let chat = |lines: &str| {
        use std::io::Write;
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_rlar"))
            .args(["generate", "--model", &model, "--max-tokens", "4", "--temperature", "0"])
            .current_dir(folder.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let one = chat("w2 w3\n");
    assert!(one.status.success(), "{}", text(&one.stderr));
    assert!(text(&one.stderr).contains("memory: weights") && text(&one.stderr).contains("cut off: --max-tokens"));
    let two = chat("w2 w3\n\nw4\n");
    let lines = text(&two.stdout);
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.starts_with(&text(&one.stdout)));
}

#[test]
fn a_tilde_is_the_home_folder_in_configs_and_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("rows.jsonl"), r#"{"prompt": "1 + 1 =", "response": "2", "reference": "2"}"#).unwrap();
    let output = |arguments: &[&str]| rlar(folder.path(), arguments).env("HOME", &home).output().unwrap();
    let scored = output(&["score", "--tool", "exact_match", "--data=~/rows.jsonl"]);
    assert!(text(&scored.stdout).contains("\"score\":1.0"), "{}", text(&scored.stderr));
    let config = smoke(folder.path(), &[("folder: runs/smoke", "folder: ~/runs/x")]);
    let dry = output(&["train", "--config", &config, "--dry-run"]);
    assert!(text(&dry.stdout).contains(&format!("folder: {}/runs/x", home.display())), "{}", text(&dry.stderr));
    let dry = output(&["train", "--config", &config, "--dry-run", "--run=~/y"]);
    assert!(text(&dry.stdout).contains(&format!("folder: {}/y", home.display())), "{}", text(&dry.stderr));
    refused(&output(&["train", "--config", &config, "--run", "~bob/x"]), 2, &["~bob/x"]);
    let config = smoke(folder.path(), &[("folder: runs/smoke", "folder: ~bob/x")]);
    refused(&output(&["train", "--config", &config, "--dry-run"]), 2, &["job.yaml:", "run.folder", "~bob/x"]);
}
