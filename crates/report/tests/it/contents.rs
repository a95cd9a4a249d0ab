//! What a report says is what the run's files say.

use rlar_report::{PlotLook, ReportError, accuracy_text, short_accuracy_text};
use rlar_view::evaluations::{CountedReplies, HeldOutRow};
use serde_json::json;

use crate::fixture::{FixtureReply, record, write, write_metrics, write_rollouts, write_run};
use crate::markup::{start_tags, text_of};
use crate::{page, paths, report};

#[test]
fn the_figures_are_those_of_the_metrics_file() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let rewards = [0.25, 0.125, 0.5, 0.75, 0.625];
    let records: Vec<_> = rewards.iter().zip(1..).map(|(reward, step)| record(step, *reward)).collect();
    write_metrics(&run, &records);
    let text = text_of(&page(&[&run]));
    for part in [
        "Mean rewardfrom 0.25 at step 1 to 0.625 at step 5, lowest 0.125, highest 0.75.",
        "exact, or nearly",
        "from 0.01 at step 1 to 0.01 at step 5",
        // The mean of the five rewards.
        "reward/mean0.45",
        "kl/k30.01",
        "5 of 5",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    for metric in ["Entropy of the next token", "Tokens per second"] {
        assert!(!text.contains(metric), "{metric} is not in the run's metrics");
    }
}

#[test]
fn a_report_says_what_was_measured_chosen_admitted_and_hinted() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    write(&run.join("checkpoints/step-000005/state.json"), json!({ "version": "0.1.0", "threads": 2 }).to_string());
    let text = text_of(&page(&[&run]));
    for part in [
        "ended: all steps are done",
        // Wilson's interval of 2 and of 6 of 8, as R's `binom.confint` has them.
        "25.0 % (7.1 to 59.1; 2 of 8)",
        "75.0 % (40.9 to 92.9; 6 of 8)",
        "pass@10.5 (0.4 to 0.6)",
        "strict (gate, weight 0.5), exact, or nearly",
        "Accuracy is measured by the reward’s own tool `exact, or nearly`, on which the policy is trained",
        "The policy is trained on `exact, or nearly`: the accuracy cannot show that this reward was hacked.",
        "a model1the reference is a number",
        "refused, 1 of 2 checks passed",
        "is fast: 9 s",
        "1. Step 3, hint: nearly no reply is right",
        "1. Step 3, agents: signal of `math`: no spread",
        "Step 5, hint: replies were cut off",
        "step-000003-math.md",
        "found 42, wanted 42",
        "version",
        "rlar 0.1.0, as of the newest checkpoint",
        "threads2",
        "max_tokens: 64",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn the_summary_says_what_the_run_was_what_it_reached_and_took() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    write(
        &run.join("config.yaml"),
        "version: 1\ntrain:\n  method: grpo\n  steps: 5\nmodel:\n  path: a/model\ndata:\n  train: sums.jsonl\n",
    );
    let html = page(&[&run]);
    let text = text_of(&html);
    let summary = &text[text.find("What it was").unwrap()..text.rfind("Runs and commands").unwrap()];
    for part in [
        "grpo of a/model on sums.jsonl; 5 of 5 steps, ended: all steps are done",
        // Rewards rise by a tenth with each of the five steps.
        "Mean reward0.15 in the first 2 steps, 0.45 in the last",
        "Held-out accuracy, sampled25.0 % (7.1 to 59.1) before training, 75.0 % (40.9 to 92.9) after",
        "Measured byHeld-out accuracy is measured by",
        "Toolsexact, or nearly (2 prompts), strict (2 prompts)",
        "Time3 s: training 100.0 %",
        "Cost2 requests to the language model with 30 tokens",
        "Computed onnot recorded",
        "Hintnearly no reply is right",
    ] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    // Every figure about replies leads to samples of them.
    assert_eq!(html.matches("href=\"#replies-0-1\"").count(), html.matches("href=\"#replies-0-4\"").count());
    assert!(html.matches("href=\"#replies-0-1\"").count() > 3, "{html}");
}

#[test]
fn what_a_run_was_computed_on_is_shown_and_what_changed_when_it_went_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let process = |step: u64, cpu: &str| {
        let line = json!({ "step": step, "time": 1.0, "version": "0.1.0", "commit": "abc123", "features": [], "cpu": cpu,
                           "kernel": "linux 6.1 x86_64", "cores": 2, "threads": 2, "instructions": ["avx2", "fma"],
                           "memory": 8u64 << 30, "device": "cpu", "gpus": [] });
        format!("{line}\n")
    };
    write(&run.join("environment.jsonl"), process(0, "EPYC") + &process(3, "EPYC"));
    let text = text_of(&page(&[&run]));
    for part in
        ["Computed onEPYC, 2 cores, 8.0 GiB, rlar 0.1.0, commit abc123", "instruction setsavx2, fma", "From step 3 on"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("with another"), "the same machine is no other one: {text}");
    write(&run.join("environment.jsonl"), process(0, "EPYC") + &process(3, "Xeon"));
    let text = text_of(&page(&[&run]));
    for part in ["; from step 3 on with another CPU", "continued on another machine or by another build"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let markdown = report(&[&run]).markdown(None, PlotLook::default()).text;
    assert!(
        markdown.contains("- computed on: `EPYC, 2 cores") && markdown.contains("- Mean reward: `0.15"),
        "{markdown}"
    );
}

#[test]
fn sampled_replies_to_the_same_prompts_do_not_narrow_the_interval() {
    let counted = |right, answers| Some(CountedReplies { answers, right, unscored: 0 });
    let row = |decoding, right, answers| HeldOutRow {
        kind: "all".to_owned(),
        decoding,
        before: counted(right, answers),
        after: None,
    };
    let rows = [row("sampled", 16, 64), row("greedy", 3, 8)];
    assert_eq!(accuracy_text(&rows, &rows[0], |row| row.before), "25.0 % (7.1 to 59.1; 16 of 64)");
    assert_eq!(accuracy_text(&rows, &rows[0], |row| row.after), "–");
    assert_eq!(short_accuracy_text(&rows, &rows[0], |row| row.before), "25.0 % (7.1 to 59.1)");
    // Without greedy replies the number of prompts is not known.
    assert_eq!(accuracy_text(&rows[..1], &rows[0], |row| row.before), "25.0 % (16.0 to 36.8; 16 of 64)");
}

#[test]
fn samples_are_the_best_the_median_and_the_worst_reply_of_the_widest_group() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let reply = |group, completion, reward| FixtureReply {
        group,
        prompt: "p",
        completion,
        reward,
        advantage: None,
        verdicts: json!([["strict", 1.0, { "scored": 1.0 }, null]]),
    };
    let replies = [
        reply(0, "narrow", Some(0.5)),
        reply(0, "narrow", Some(0.25)),
        reply(1, "sample worst", Some(-1.0)),
        reply(1, "not chosen", Some(0.75)),
        reply(1, "sample best", Some(1.0)),
        reply(1, "sample median", Some(0.5)),
        reply(1, "without", None),
    ];
    for step in [1, 2, 3, 4] {
        write_rollouts(&run, step, &replies);
    }
    let text = text_of(&page(&[&run]));
    let places = |word: &str| text.match_indices(word).map(|(place, _)| place).collect::<Vec<_>>();
    let [best, median, worst] = ["sample best", "sample median", "sample worst"].map(places);
    // Of the first, the middle and the last step.
    assert_eq!([best.len(), median.len(), worst.len()], [3; 3]);
    assert!(best.iter().zip(&median).zip(&worst).all(|((best, median), worst)| best < median && median < worst));
    assert!(!text.contains("not chosen") && !text.contains("narrow"), "{text}");
    assert!(text.contains("5 replies to this prompt in the step, 1 without a reward"), "{text}");
    for step in ["Step 1, example example-1", "Step 2, example example-1", "Step 4, example example-1"] {
        assert!(text.contains(step), "{step}: {text}");
    }
}

#[test]
fn several_runs_are_overlaid_and_their_configs_compared() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("a/run"), folder.path().join("b/run"));
    write_run(&one);
    write_run(&other);
    write(
        &other.join("config.yaml"),
        "version: 1\nseed: 3\ntrain:\n  method: grpo\n  steps: 9\nsampling:\n  max_tokens: 64\n",
    );
    let html = page(&[&one, &other]);
    let text = text_of(&html);
    for part in
        ["1 key with different values", "train.steps59", "a/run: from 0.1 at step 1", "b/run: from 0.1 at step 1"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("train.method"), "keys that are the same are not listed");
    let curves = |class: &str| {
        start_tags(&html)
            .iter()
            .filter(|tag| tag.name == "path" && tag.attributes.iter().any(|(_, v)| v == class))
            .count()
    };
    assert!(curves("curve-0") > 0 && curves("curve-0") == curves("curve-1"));
    let markdown = report(&[&one, &other]).markdown(None, PlotLook::default()).text;
    assert!(markdown.contains("`train.steps` | `5` | `9` |"), "{markdown}");
    let twice = rlar_report::Report::read(&paths(&[&one, &one])).unwrap_err();
    assert!(matches!(twice, ReportError::NamedTwice(_)), "{twice}");
}

#[test]
fn two_spellings_of_a_path_and_files_with_the_same_data_are_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let runs = ["one", "other"].map(|name| folder.path().join(name));
    let configs = [("a.jsonl", "h.jsonl", "./lib//x/../y"), ("copies/a.jsonl", "g.jsonl", "lib/y")];
    for (run, (train, heldout, library)) in runs.iter().zip(configs) {
        write_run(run);
        let config = format!(
            "version: 1\ndata:\n  train: {train}\n  heldout: {heldout}\nrewards:\n  library: {library}\n  url: http://a//b\n"
        );
        write(&run.join("config.yaml"), config);
        write(&run.join("inputs.json"), json!({ "train": "same", "heldout": heldout }).to_string());
    }
    let text = text_of(&page(&[&runs[0], &runs[1]]));
    for part in ["1 key with different values", "data.heldouth.jsonlg.jsonl"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_suite_is_evaluated_again_as_the_config_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let suites = "    - { suite: my/gsm8k.yaml, limit: 20 }\n    - { suite: ifeval, data: two words.jsonl }\n";
    write(&run.join("config.yaml"), format!("version: 1\neval:\n  suites:\n{suites}"));
    let text = text_of(&page(&[&run]));
    for command in ["my/gsm8k.yaml --limit 20", "ifeval --data 'two words.jsonl'"] {
        let command = format!("$ rlar eval {command} --model {}/final", run.display());
        assert!(text.contains(&command), "{command}: {text}");
    }
}

#[test]
fn a_page_needs_nothing_but_itself_and_has_text_beside_every_plot() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let html = page(&[&run]);
    let tags = start_tags(&html);
    let all = || tags.iter().flat_map(|tag| tag.attributes.iter());
    assert!(
        all().all(|(name, _)| !["src", "srcset", "style", "data", "action"].contains(&name.as_str())
            && !name.starts_with("on"))
    );
    assert!(all().filter(|(name, _)| name == "href").all(|(_, address)| address.starts_with('#')));
    assert!(!html.contains("url(") && !html.contains("@import") && !html.contains("://"));
    let policy = all().find(|(name, value)| name == "content" && value.contains("default-src")).unwrap();
    assert!(policy.1.starts_with("default-src 'none'") && !policy.1.contains("script"));
    let anchors: Vec<&str> = all().filter(|(name, _)| name == "id").map(|(_, id)| id.as_str()).collect();
    let unique: std::collections::BTreeSet<_> = anchors.iter().collect();
    assert_eq!(unique.len(), anchors.len(), "an id is there once");
    for (name, value) in all() {
        let targets: Vec<&str> = match name.as_str() {
            "href" => vec![&value[1..]],
            "aria-labelledby" => value.split(' ').collect(),
            _ => continue,
        };
        assert!(targets.iter().all(|target| anchors.contains(target)), "{name}=\"{value}\" leads nowhere");
    }
    let named = |tag: &&crate::markup::StartTag| tag.attributes.iter().any(|(name, _)| name == "aria-labelledby");
    assert!(tags.iter().filter(|tag| tag.name == "svg").count() > 3);
    assert_eq!(tags.iter().filter(|tag| tag.name == "svg").filter(named).count(), html.matches("<desc ").count());
    assert!(
        tags.iter().filter(|tag| tag.name == "th").all(|tag| tag.attributes.iter().any(|(name, _)| name == "scope"))
    );
}

#[test]
fn markdown_has_the_results_the_config_and_plots_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    let written = report(&[&run]).markdown(Some("my results"), PlotLook::default());
    for part in [
        "| `all` | sampled | 25.0 % (7.1 to 59.1; 2 of 8) | 75.0 % (40.9 to 92.9; 6 of 8) |",
        "<details><summary>Config</summary>\n\n```yaml\nversion: 1\n",
        "Held-out accuracy is measured by `exact, or nearly`, `strict`, of which the policy is trained on `exact, or nearly`",
        "![Mean reward](my%20results-reward.svg)",
        "```sh\nrlar train --config ",
    ] {
        assert!(written.text.contains(part), "{part}: {}", written.text);
    }
    assert_eq!(written.plots[0].name, "my results-reward.svg");
    let plain = report(&[&run]).markdown(None, PlotLook::default());
    assert!(plain.plots.is_empty() && !plain.text.contains("!["));
}
