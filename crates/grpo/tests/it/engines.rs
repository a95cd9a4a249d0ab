//! The GRPO loop on an engine other than the one in this process.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rlar_data::{Example, ExampleList, Needs, read_examples, read_rows};
use rlar_grpo::report::metrics_log::{METRICS, MetricsLog};
use rlar_grpo::report::rollout_files::RolloutFiles;
use rlar_grpo::rollouts::collect::Collector;
use rlar_grpo::rollouts::drawn_prompts::TrainingPrompts;
use rlar_grpo::rollouts::mixture::{DrawPlan, Mixture};
use rlar_grpo::rollouts::tool_health::ToolHealth;
use rlar_grpo::train_loop::TrainLoop;
use rlar_grpo::train_loop::grpo::Grpo;
use rlar_grpo::update::train_state::{Counters, TrainState};
use rlar_grpo::{Config, TrainError};
use rlar_policy::Tokenizer;
use rlar_rewards::{Assignment, Library, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_run::{Disk, JOURNAL, OutputMode, Progress, RunFolder};
use rlar_sandbox::SandboxLimits;
use serde_json::{Value, json};

use crate::scripted_engine::{Call, Fault, PassFault, RIGHT, SAMPLED, STATE, Script, ScriptedTrainer, TrainedReply};

fn config(train: &Value) -> Config {
    let mut config = json!({
        "version": 1, "model": { "path": "on-a-server" }, "data": { "train": "words.jsonl", "format": "plain" },
        "sampling": { "max_tokens": 6 }, "train": { "steps": 3, "prompts": 2, "group_size": 2 },
        "optimizer": { "learning_rate": 0.01, "warmup_steps": 0 },
    });
    for (key, value) in train.as_object().unwrap() {
        config["train"][key] = value.clone();
    }
    let config: Config = serde_json::from_value(config).unwrap();
    assert!(config.problems().is_empty());
    config
}

/// Prompts whose reference is the text of the first reply to every prompt.
fn examples() -> ExampleList {
    let row = |prompt| json!({ "prompt": prompt, "reference": RIGHT, "domain": "words" }).to_string();
    let rows = ["w", "ww", "www", "wwww"].map(row).join("\n");
    read_examples("words.jsonl".as_ref(), rows.as_bytes(), Needs::Prompt).unwrap().try_into().unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::train([RIGHT], 270).unwrap()
}

fn rewards() -> Orchestrator {
    let context = ToolContext::new(SandboxLimits::default());
    let mut rewards = Orchestrator::new(Library::curated().unwrap(), context, OrchestratorConfig::default());
    let tools = serde_json::from_value(json!([{ "tool": "edit_similarity" }])).unwrap();
    let (by, why) = ("test".to_owned(), "replies differ in it".to_owned());
    rewards.assign_domain("words", Assignment { example: "words".into(), tools, by, why });
    rewards
}

/// Token ids of the prompts.
fn prompts() -> Vec<Vec<u32>> {
    examples().iter().map(|example| tokenizer().encode_whole(example.unwrap().prompt()).unwrap()).collect()
}

fn mixture(config: &Config) -> Mixture {
    let plan = DrawPlan { per_step: config.train.prompts as u64, steps: config.train.steps };
    Mixture::new(&[], &[4], plan, &|_| true)
}

/// Runs the train loop in the folder `folder` from a state on; a state after some steps continues the run there.
fn train(folder: &Path, config: &Config, state: &mut TrainState<ScriptedTrainer>) -> Result<String, TrainError> {
    let (examples, tokenizer, mut rewards) = (examples(), tokenizer(), rewards());
    let heldout: Vec<Example> = examples.iter().map(Result::unwrap).filter(|_| config.data.heldout.is_some()).collect();
    let is_resumed = folder.join("config.yaml").exists();
    let run = RunFolder::open(folder, is_resumed, Disk::default()).unwrap();
    run.write("config.yaml", b"").unwrap();
    let done = state.counters.step;
    let progress = Progress::new(OutputMode::Quiet, "train", config.train.steps, done);
    let log = MetricsLog::open(&run, METRICS, done, false, progress).unwrap();
    let journal = run.journal(done).unwrap();
    let collector = Collector {
        config,
        prompts: TrainingPrompts { examples: &examples, tokenizer: &tokenizer, format: config.data.format },
        heldout: &heldout,
        mixture: mixture(config),
        rewards: &mut rewards,
        tool_health: ToolHealth::default(),
        evolution: None,
        weights: None,
        preferences: &[],
        assignments: None,
        next: None,
    };
    let rollout_files = RolloutFiles::open(&run, Disk::default(), done).unwrap();
    let mut method = Grpo { collector, rollout_files, heldout: &heldout, suites: &mut [] };
    TrainLoop { run: &run, config, journal, log, interrupted: &AtomicBool::new(false) }.run(state, &mut method)
}

fn metrics(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(METRICS)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The calls without the replies in them.
fn kinds(calls: &[Call]) -> Vec<String> {
    let kind = |call: &Call| match call {
        Call::Publish(version) => format!("publish {version}"),
        Call::ForwardBackward(replies) => format!("train on {}", replies.len()),
        Call::OptimizerStep(_) => "step".to_owned(),
    };
    calls.iter().map(kind).collect()
}

#[test]
fn each_step_trains_another_engine_on_the_replies_of_the_weights_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (config, script) = (config(&json!({})), Script::default());
    let mut state = TrainState::fresh(ScriptedTrainer::new(&script));
    assert_eq!(train(folder.path(), &config, &mut state).unwrap(), "all steps are done");

    let calls = script.take_calls();
    let step = |version| [format!("publish {version}"), "train on 4".to_owned(), "step".to_owned()];
    assert_eq!(kinds(&calls), [step(0), step(1), step(2)].concat());
    assert!(calls.iter().all(|call| !matches!(call, Call::OptimizerStep(lr) if *lr != 0.01)), "{calls:?}");

    let Call::ForwardBackward(replies) = &calls[1] else { panic!("{calls:?}") };
    let drawn = mixture(&config).draw(2, 0, config.seed);
    for (i, reply) in replies.iter().enumerate() {
        let TrainedReply { prompt, completion, advantage, old_log_probs } = reply;
        assert_eq!(prompt, &prompts()[drawn[i / 2]]);
        assert_eq!(completion, &[60 + i as u32 % 2, 61]);
        assert_eq!(old_log_probs, &SAMPLED);
        // Of two replies, one is a standard deviation's 1/√2 above the mean, the other as much below.
        let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
        assert!((advantage * sign - 0.5f64.sqrt()).abs() < 1e-3, "{reply:?}");
    }

    let metrics = metrics(folder.path());
    assert_eq!(metrics.len(), 3);
    for record in &metrics {
        assert_eq!(record["grad_norm"], 0.25);
        assert_eq!(record["sampler_trainer_gap"], 0.5);
        assert_eq!(record["entropy"], Value::Null, "the engine gives no entropies");
        assert_eq!(record["staleness"], 0);
    }
}

#[test]
fn with_importance_correction_rollouts_have_the_log_probs_of_the_trainer_beside_the_samplers() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |name: &str, config: &Config| {
        let run = folder.path().join(name);
        train(&run, config, &mut TrainState::fresh(ScriptedTrainer::new(&Script::default()))).unwrap();
        let path = run.join("rollouts/step-000001.parquet");
        let rows = read_rows(&path, &fs::read(&path).unwrap()).unwrap();
        rows.into_iter().map(|row| row.columns).collect::<Vec<_>>()
    };
    let mut config = config(&json!({ "steps": 1 }));
    let plain = rows("plain", &config);
    assert!(plain.iter().all(|row| !row.contains_key("trainer_log_probs")), "the trainer computed none: {plain:?}");
    config.algorithm = serde_json::from_value(json!({ "correction": { "mode": "token_truncate" } })).unwrap();
    let corrected = rows("corrected", &config);
    assert_eq!(corrected.len(), 4);
    for row in &corrected {
        let values = |column: &str| serde_json::from_str::<Vec<f32>>(row[column].as_str().unwrap()).unwrap();
        assert_eq!((values("log_probs"), values("trainer_log_probs")), (SAMPLED.to_vec(), vec![-1.5, -1.5]));
    }
}

#[test]
fn a_batch_that_is_collected_ahead_is_sampled_by_the_weights_before_the_update() {
    let folder = tempfile::tempdir().unwrap();
    let (config, script) = (config(&json!({ "asynchronous": true })), Script::default());
    train(folder.path(), &config, &mut TrainState::fresh(ScriptedTrainer::new(&script))).unwrap();
    let expected =
        ["publish 0", "publish 0", "train on 4", "step", "publish 1", "train on 4", "step", "train on 4", "step"];
    assert_eq!(kinds(&script.take_calls()), expected);
    let staleness: Vec<Value> = metrics(folder.path()).iter().map(|record| record["staleness"].clone()).collect();
    assert_eq!(staleness, [0, 1, 1]);
}

#[test]
fn a_checkpoint_names_the_engines_own_state_and_the_run_continues_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::default();
    let mut state = TrainState::fresh(ScriptedTrainer::new(&script));
    train(folder.path(), &config(&json!({ "steps": 2 })), &mut state).unwrap();

    let checkpoint = folder.path().join("checkpoints/step-000002");
    assert_eq!(fs::read_to_string(checkpoint.join(STATE)).unwrap(), "2");
    let config = config(&json!({}));
    let newest =
        RunFolder::open(folder.path(), true, Disk::default()).unwrap().checkpoints().newest().unwrap().0.unwrap();
    let counters = Counters::parse(&newest.read("state.json").unwrap(), &checkpoint).unwrap();
    assert_eq!((counters.step, counters.optimizer_steps), (2, 2));
    let mut state = TrainState { trainer: ScriptedTrainer::load(&newest), counters };
    train(folder.path(), &config, &mut state).unwrap();
    assert_eq!(kinds(&state.trainer.script.take_calls()), ["publish 2", "train on 4", "step"]);
    assert_eq!(metrics(folder.path()).len(), 3);
}

#[test]
fn steps_after_a_lost_trainer_are_taken_again_on_the_same_replies_without_sampling() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&json!({}));
    let lost = Script { fails_after: Some(1), ..Script::default() };
    let error = train(folder.path(), &config, &mut TrainState::fresh(ScriptedTrainer::new(&lost))).unwrap_err();
    assert_eq!(error.to_string(), "the training server is gone");
    let before = lost.take_calls();
    assert_eq!(kinds(&before), ["publish 0", "train on 4", "step", "publish 1"]);

    let script = Script::default();
    train(folder.path(), &config, &mut TrainState::fresh(ScriptedTrainer::new(&script))).unwrap();
    let again = script.take_calls();
    assert_eq!(kinds(&again), ["train on 4", "step", "train on 4", "step", "publish 2", "train on 4", "step"]);
    assert_eq!(again[0], before[1]);
}

#[test]
fn replies_that_are_not_what_was_asked_for_are_not_trained_on_and_the_example_is_named() {
    let version =
        "weights of version 1 sampled a reply, and those of version 0 were to; such a reply is not trained on";
    for (fault, message) in [
        (Fault::OtherWeights, version),
        (Fault::FewLogProbs, "a reply of 2 tokens has 1 log-probs"),
        (Fault::Nan, "a log-prob of a reply is NaN"),
        (Fault::Missing, "1 of 2 replies came back"),
        (Fault::Empty, "a reply has no tokens"),
        (Fault::Refused, "http://gpu-7:8000 answered 503"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&json!({}));
        let script = Script { fault: Some(fault), ..Script::default() };
        let error = train(folder.path(), &config, &mut TrainState::fresh(ScriptedTrainer::new(&script))).unwrap_err();
        let failing = &examples().get(mixture(&config).draw(2, 0, config.seed)[1]).unwrap().id;
        assert_eq!(
            error.to_string(),
            format!("step 1: sampling replies to example `{failing}`: {message}"),
            "{fault:?}"
        );
        assert_eq!(kinds(&script.take_calls()), ["publish 0"], "{fault:?}");
        // A resumed run samples anew.
        assert_eq!(fs::read_to_string(folder.path().join(JOURNAL)).unwrap(), "", "{fault:?}");
    }
}

#[test]
fn a_pass_without_the_log_probs_of_its_tokens_changes_no_weights() {
    let diverged = "the gradient or a log-prob is not finite; start again with a lower learning rate";
    for (fault, message) in [
        (PassFault::FewLogProbs, "the trainer gave 7 log-probs for 8 tokens"),
        (PassFault::Nan, diverged),
        (PassFault::Entropies, "the trainer gave 1 entropies for 0 tokens"),
        (PassFault::FewLosses, "the trainer gave 3 losses for 4 replies"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let script = Script { pass_fault: Some(fault), ..Script::default() };
        let mut state = TrainState::fresh(ScriptedTrainer::new(&script));
        let error = train(folder.path(), &config(&json!({})), &mut state).unwrap_err();
        assert_eq!(error.to_string(), format!("step 1: {message}"), "{fault:?}");
        assert_eq!(kinds(&script.take_calls()), ["publish 0", "train on 4"], "{fault:?}");
    }
}

#[test]
fn an_objective_with_entropies_is_refused_where_the_engine_gives_none() {
    for (key, value) in [("top_entropy", 0.5), ("entropy_bonus", 0.01)] {
        let folder = tempfile::tempdir().unwrap();
        let mut yaml = serde_json::to_value(config(&json!({}))).unwrap();
        yaml["algorithm"][key] = value.into();
        let config: Config = serde_json::from_value(yaml).unwrap();
        let script = Script::default();
        let error = train(folder.path(), &config, &mut TrainState::fresh(ScriptedTrainer::new(&script))).unwrap_err();
        let wanted =
            format!("step 1: `algorithm.{key}` needs entropies, which this engine does not give; leave it out");
        assert_eq!(error.to_string(), wanted);
        assert_eq!(kinds(&script.take_calls()), ["publish 0"]);
    }
}

#[test]
fn held_out_prompts_are_answered_by_the_engines_sampler() {
    let folder = tempfile::tempdir().unwrap();
    let mut yaml = serde_json::to_value(config(&json!({ "steps": 1 }))).unwrap();
    yaml["data"]["heldout"] = "words.jsonl".into();
    yaml["eval"] = json!({ "every": 1, "samples": 2 });
    let config: Config = serde_json::from_value(yaml).unwrap();
    let script = Script::default();
    train(folder.path(), &config, &mut TrainState::fresh(ScriptedTrainer::new(&script))).unwrap();
    // One of the two replies to every prompt is the reference.
    assert_eq!(metrics(folder.path())[0]["eval"]["accuracy"], 0.5);
}
