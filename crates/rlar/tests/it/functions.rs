//! Python functions of the user as rewards: `rewards.python` in a config, and `rewards test` and `score` on the command
//! line.

use std::fs;
use std::path::Path;

use crate::training::metrics;
use crate::{refused, run, smoke, text};

/// A function of TRL's form that imports a module beside it.
const ACCURACY: &str = "from parsing import last_number\n\n\ndef accuracy(completions, reference, **kwargs):\n    \
                        print('scoring', len(completions), 'replies to', reference[0])\n    return [float(last_number(c) == r) \
                        for c, r in zip(completions, reference)]\n";
const PARSING: &str = "import re\n\n\ndef last_number(text):\n    found = re.findall(r'\\d+', text)\n    return found[-1] if \
                       found else None\n";

/// Writes the two modules and a smoke config with these lines under `rewards:` and this number of steps.
fn job(folder: &Path, rewards: &str, steps: usize) -> String {
    fs::write(folder.join("reward.py"), ACCURACY).unwrap();
    fs::write(folder.join("parsing.py"), PARSING).unwrap();
    let rewards = format!("rewards:\n{rewards}\nsampling:");
    let steps = format!("train:\n  steps: {steps}");
    let changes = [
        ("sampling:", rewards.as_str()),
        ("train:\n  steps: 300", steps.as_str()),
        ("  steps: 120", if steps.ends_with(" 300") { "  steps: 120" } else { "  steps: 20" }),
        ("checkpoint_every: 10", "checkpoint_every: 3"),
    ];
    smoke(folder, &changes)
}

fn train(folder: &Path, config: &str, more: &[&str]) -> std::process::Output {
    run(folder, &[&["train", "--config", config, "--run", "run"], more].concat())
}

#[test]
fn a_policy_learns_from_a_function_of_trls_form() {
    let folder = tempfile::tempdir().unwrap();
    let config = job(folder.path(), "  python: reward.py:accuracy", 300);
    let out = train(folder.path(), &config, &[]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let path = folder.path().join("run");
    let rewards: Vec<f64> = metrics(&path).iter().map(|m| m["reward"]["mean"].as_f64().unwrap()).collect();
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (early, late) = (mean(&rewards[..20]), mean(&rewards[rewards.len() - 20..]));
    assert!(late > early + 0.2, "reward {early:.3} at first, {late:.3} at the end");
    let assignments = fs::read_to_string(path.join("assignments.jsonl")).unwrap();
    assert!(assignments.lines().all(|l| l.contains("accuracy") && l.contains("`rewards.python`")), "{assignments}");
    for file in ["reward.py", "parsing.py", "admission.json", "tool.yaml"] {
        assert!(path.join("library/accuracy").join(file).exists(), "{file}");
    }
    let prints = fs::read_to_string(path.join("prints.log")).unwrap();
    assert!(prints.contains("── accuracy, step 1, example `train-"), "{prints}");
    assert!(prints.contains("scoring 8 replies to"), "a group goes to the function in one call");
    let measured = run(folder.path(), &["eval", "--config", &config, "--model", "run/final"]);
    assert!(text(&measured.stdout).contains("digits"), "{}", text(&measured.stderr));
}

#[test]
fn a_resume_refuses_a_changed_function_and_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = job(folder.path(), "  python: [{ function: reward.py:accuracy, weight: 2, range: [0, 1] }]", 4);
    let out = train(folder.path(), &config, &[]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    fs::write(folder.path().join("parsing.py"), format!("{PARSING}# changed\n")).unwrap();
    let out = train(folder.path(), &config, &["--resume"]);
    refused(&out, 2, &["`parsing.py` of the function `accuracy` was changed"]);
    fs::write(folder.path().join("parsing.py"), PARSING).unwrap();
    let out = train(folder.path(), &config, &["--resume"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[test]
fn a_resume_takes_the_verdicts_of_a_trusted_function_from_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let config = job(folder.path(), "  python: [{ function: lots.py:draw, trusted: true }]", 8);
    let lots = "import os, random\n\n\ndef draw(completions, trainer_state, **kwargs):\n    if trainer_state.max_steps:\n        \
                open('calls', 'a').write('%d\\n' % trainer_state.global_step)\n    return [random.random() for c in completions]\n";
    fs::write(folder.path().join("lots.py"), lots).unwrap();
    let out = train(folder.path(), &config, &[]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("not confined by the sandbox: draw"), "{}", text(&out.stderr));
    let path = folder.path().join("run");
    let before = metrics(&path);
    let weights = || fs::read(path.join("final/model.safetensors")).unwrap();
    let first = weights();
    // Without its newest checkpoint the run repeats its last steps.
    let mut checkpoints: Vec<_> = fs::read_dir(path.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
    checkpoints.sort();
    fs::remove_dir_all(checkpoints.pop().unwrap()).unwrap();
    fs::remove_dir_all(path.join("final")).unwrap();
    let calls = || fs::read_to_string(folder.path().join("calls")).unwrap();
    let steps_before: Vec<String> = calls().lines().map(str::to_owned).collect();
    let out = train(folder.path(), &config, &["--resume"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("not confined by the sandbox: draw"), "{}", text(&out.stderr));
    assert_eq!(metrics(&path), before);
    assert!(weights() == first, "the resumed run ends with other weights");
    let again: Vec<String> = calls().lines().skip(steps_before.len()).map(str::to_owned).collect();
    assert!(again.iter().all(|step| steps_before.last() == Some(step)), "steps were scored again: {again:?}");
}

#[test]
fn wrong_functions_are_refused_before_the_run_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    let message = |rewards: &str, words: &[&str]| {
        let config = job(f, rewards, 4);
        refused(&train(f, &config, &[]), 2, words);
    };
    message("  python: missing.py:f", &["job.yaml:", "`rewards.python[0]`: missing.py does not exist"]);
    message("  python: reward.py", &["job.yaml:", "as `reward.py:accuracy`"]);
    message("  python: reward.py:acuracy", &["holds no function `acuracy`; did you mean `accuracy`?"]);
    message("  python: [{ function: reward.py:accuracy, wieght: 2 }]", &["wieght`; did you mean `weight`?"]);
    message("  python: [reward.py:accuracy, reward.py:accuracy]", &["job.yaml:", "another with `name`"]);
    message("  python: [{ function: reward.py:accuracy, as: gate }]", &["`least` or `range`"]);
    message(
        "  python: reward.py:accuracy\n  agent: llm\n  llm: { url: 'http://127.0.0.1:9', model: m }",
        &["no effect"],
    );
    fs::write(f.join("odd.py"), "def score(text, answer):\n    return 1.0\n").unwrap();
    message(
        "  python: odd.py:score",
        &[
            "takes (text, answer)",
            "(odd.py:1)",
            "`f(prompts, completions, **columns)`",
            "solution_str",
            "candidate_response",
        ],
    );
    fs::write(f.join("odd.py"), "def score(solution_str, tolerance=0.1):\n    return tolerance\n").unwrap();
    message(
        "  python: [{ function: odd.py:score, kwargs: { tolerence: 0.5 } }]",
        &["`rewards.python[0]`", "does not take the keyword argument `tolerence`", "did you mean `tolerance`?"],
    );
    message(
        "  python: [{ function: odd.py:score, reward_kwargs: { tolerance: 0.5 } }]",
        &["here it is `rewards.python.kwargs`"],
    );
    let tried = ["rewards", "test", "odd.py:score", "--response", "x", "--kwarg", "tolerance=0.5"];
    assert_eq!(text(&run(f, &tried).stdout), "0.5\n");
    refused(&run(f, &[&tried[..5], &["--kwarg", "tolerance"]].concat()), 2, &["--kwarg tolerance: NAME=VALUE"]);
    fs::write(f.join("odd.py"), "def score(completions, **kwargs):\n    return [float(c) for c in completions]\n")
        .unwrap();
    message(
        "  python: odd.py:score",
        &["odd.py:score is refused", "ValueError", "(odd.py:2)", "a reply to the example `train-"],
    );
    fs::write(f.join("odd.py"), "import nonesuch\ndef score(completions, **kwargs):\n    return []\n").unwrap();
    message("  python: odd.py:score", &["No module named 'nonesuch' (odd.py:1)", "--package nonesuch"]);
    assert!(!f.join("run").exists(), "a refused request must touch nothing");
}

#[test]
fn a_function_that_fails_in_training_stops_the_run_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = job(folder.path(), "  python: late.py:score", 6);
    let late = "def score(completions, trainer_state, **kwargs):\n    if trainer_state.global_step == 2: raise \
                KeyError('boom')\n    return [0.5 * len(c) for c in completions]\n";
    fs::write(folder.path().join("late.py"), late).unwrap();
    let out = train(folder.path(), &config, &[]);
    refused(
        &out,
        1,
        &["tool `score` failed", "KeyError: 'boom' (late.py:2)", "`rewards.python` prescribes it for every prompt"],
    );
}

#[test]
fn the_command_line_tries_a_function_on_rows_and_groups_and_shows_its_prints() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    job(f, "  python: reward.py:accuracy", 4);
    let rows = "{\"prompt\": \"2 + 3 =\", \"answer\": \"5\", \"response\": \"It is 5.\"}\n{\"prompt\": \"1 + 1 =\", \"answer\": \
                \"2\", \"id\": \"b\", \"response\": [\"2\", \"3\"]}\n{\"prompt\": \"4 + 4 =\", \"answer\": \"8\"}\n";
    fs::write(f.join("rows.jsonl"), rows).unwrap();
    let out = run(f, &["rewards", "test", "reward.py:accuracy", "--data", "rows.jsonl"]);
    let shown = text(&out.stdout);
    let expected = "1  \"It is 5.\"  1\nb  \"2\"  1\nb  \"3\"  0\n3  \"8\"  1\n";
    assert!(shown.starts_with(expected), "{shown}{}", text(&out.stderr));
    assert!(shown.contains("\n1 of 3 rows has no `response`: its reference was scored as the reply\n"), "{shown}");
    assert!(shown.contains("scoring 2 replies to 2"), "{shown}");
    let own = rows.lines().take(2).collect::<Vec<_>>().join("\n");
    let none = "{\"prompt\": \"1 + 1 =\", \"answer\": \"2\"}\n";
    let demonstrated = none.replace('}', ", \"demonstration\": \"It is 2.\"}");
    fs::write(f.join("own.jsonl"), own).unwrap();
    fs::write(f.join("none.jsonl"), format!("{none}{none}{demonstrated}")).unwrap();
    let shown = text(&run(f, &["rewards", "test", "reward.py:accuracy", "--data", "own.jsonl"]).stdout);
    assert!(!shown.contains("as the reply"), "{shown}");
    let shown = text(&run(f, &["rewards", "test", "numeric_match", "--data", "none.jsonl"]).stdout);
    let expected = "1 of 3 rows has no `response`: its demonstration was scored as the reply\n\
                    2 of 3 rows have no `response`: their reference was scored as the reply\n";
    assert!(shown.ends_with(expected), "{shown}");
    let out =
        run(f, &["rewards", "test", "reward.py:accuracy", "--prompt", "p", "--reference", "7", "--response", "7"]);
    assert!(text(&out.stdout).starts_with("1\n"), "{}", text(&out.stderr));
    fs::write(f.join("scored.jsonl"), rows.lines().next().unwrap()).unwrap();
    let score = ["score", "--python", "reward.py:accuracy", "--data", "scored.jsonl"];
    let out = run(f, &score);
    assert_eq!(
        text(&out.stdout),
        "{\"id\":1,\"score\":1.0,\"reason\":\"scoring 1 replies to 5\"}\n",
        "{}",
        text(&out.stderr)
    );
    assert!(text(&out.stderr).contains("scoring 1 replies to 5"));
    let out = run(f, &[&score[..], &["--trusted", "--tool", "numeric_match"]].concat());
    assert_eq!(
        text(&out.stdout),
        "{\"id\":1,\"numeric_match\":{\"score\":1.0,\"reason\":\"`5` against `5`\"},\
         \"accuracy\":{\"score\":1.0,\"reason\":\"scoring 1 replies to 5\"}}\n",
        "{}",
        text(&out.stderr)
    );
    assert!(text(&out.stderr).contains("not confined"));
    refused(&run(f, &["rewards", "test", "reward.py:acc", "--response", "x"]), 2, &["did you mean `accuracy`?"]);
    refused(&run(f, &["rewards", "test", "none.py:acc", "--response", "x"]), 2, &["none.py does not exist"]);
}
