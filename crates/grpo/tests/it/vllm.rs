//! Sampling by vLLM servers, against a server of this process that answers vLLM's calls.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use rlar_grpo::algorithm::loss::Minibatch;
use rlar_grpo::config::{PublishBy, SamplingConfig, VllmConfig};
use rlar_grpo::engine::local::trainer::LocalTrainer;
use rlar_grpo::engine::sampler::{SampledReply, check_replies};
use rlar_grpo::engine::trainer::{Objective, PassOptions, TrainSample, Trainer};
use rlar_grpo::engine::vllm::{VllmEngine, VllmSetup};
use rlar_grpo::{Config, Job, TrainError, train};
use rlar_policy::{ComputeDevice, GenerationRequest, Lora, ModelConfig, Policy, SavedActivations, Sequence, Tokenizer};
use rlar_run::Activity;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::jobs::similarity_job;
use crate::vllm_server::{Faults, GENERATE, StandIn};

const OPTIONS: PassOptions =
    PassOptions { temperature: 1.0, tokens_per_micro_batch: 4096, saved: SavedActivations::All, seed: 0 };

/// A tiny random policy with these weights.
fn random(seed: u64) -> Policy {
    let tokenizer = Tokenizer::train(["1 + 2 = 3", "12 - 7 = 5"], 270).unwrap();
    let config = ModelConfig::new(json!({
        "model_type": "llama", "vocab_size": tokenizer.vocab_size(), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "rope_theta": 10_000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
    }));
    Policy::random(config.unwrap(), tokenizer, seed, &ComputeDevice::new("cpu").unwrap()).unwrap()
}

/// A model on disk, and the place where weights are published.
pub struct Place {
    pub folder: TempDir,
    by: PublishBy,
}

impl Place {
    pub fn new(by: PublishBy) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), by };
        place.save("model", 5);
        place
    }

    /// Saves a random model under a name.
    fn save(&self, name: &str, seed: u64) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        for (file, contents) in random(seed).files().unwrap() {
            fs::write(path.join(file), contents).unwrap();
        }
        path
    }

    fn model(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    pub fn serve(&self, faults: Faults) -> StandIn {
        StandIn::start(&self.model(), faults)
    }

    /// A trainer of the model, or of an adapter on it.
    pub fn trainer(&self) -> LocalTrainer {
        let policy = Policy::load(&self.model(), &ComputeDevice::new("cpu").unwrap()).unwrap();
        let target_modules = ["q_proj", "v_proj", "down_proj"].map(str::to_owned).to_vec();
        let lora = Lora { r: 2, lora_alpha: 4.0, target_modules, lora_dropout: 0.0, use_rslora: false };
        LocalTrainer::new(match self.by {
            PublishBy::Lora => policy.adapt(lora, 1, self.model().into()).unwrap(),
            PublishBy::Reload => policy,
        })
        .unwrap()
    }

    pub fn sampling(&self, servers: &[&StandIn]) -> SamplingConfig {
        let vllm = VllmConfig {
            servers: servers.iter().map(|server| server.url.clone()).collect(),
            weights: self.by,
            canary_gap: Some(1e-3),
            ..VllmConfig::default()
        };
        SamplingConfig { max_tokens: 6, batch: 4, vllm: Some(vllm), ..SamplingConfig::default() }
    }

    pub fn start(&self, sampling: &SamplingConfig, policy: &Policy) -> Result<VllmEngine, TrainError> {
        let (run, model) = (self.folder.path(), &self.model());
        VllmEngine::start(VllmSetup { sampling, run, model, longest: 20, is_float32: true }, policy)
    }

    /// A trainer whose replies these servers sample.
    fn started(&self, servers: &[&StandIn]) -> LocalTrainer {
        let mut trainer = self.trainer();
        trainer.servers = Some(self.start(&self.sampling(servers), &trainer.model).unwrap());
        trainer
    }
}

/// Takes an optimizer step that changes the log-probs by far more than rounding.
pub fn step(trainer: &mut LocalTrainer) {
    let config: Config =
        serde_json::from_value(json!({ "version": 1, "model": { "path": "m" }, "data": { "train": "t" } })).unwrap();
    let sequence = Sequence { prompt: &[7, 8, 9], completion: &[40, 41, 42] };
    let old = trainer.log_probs(&[sequence], OPTIONS).unwrap().log_probs;
    let sample =
        TrainSample { sequence, advantage: 1.0, old_log_probs: &old, ref_log_probs: &[], sampler_log_probs: &[] };
    let minibatch = Minibatch { replies: 1, tokens: 3, max_tokens: 6, entropy_floor: None };
    trainer.forward_backward(&[sample], Objective { algorithm: &config.algorithm, minibatch }, OPTIONS).unwrap();
    trainer.optimizer_step(&config.optimizer, 0.1).unwrap();
}

fn requests() -> Vec<GenerationRequest> {
    vec![
        GenerationRequest { prompt: vec![11, 12, 13], seeds: vec![1 << 40, 3 << 50, 9] },
        GenerationRequest { prompt: vec![60, 61, 62, 63], seeds: vec![4, 8, u64::MAX] },
    ]
}

/// Publishes the weights after `version` steps and samples, and checks that the trainer computes the same log-probs.
pub fn sampled(
    trainer: &LocalTrainer,
    sampling: &SamplingConfig,
    version: u64,
) -> Result<Vec<Vec<SampledReply>>, String> {
    let sampler = trainer.publish(version).map_err(|e| e.to_string())?;
    let progress = Activity::default().phase("sampling", 6, "replies");
    let mut finished = Vec::new();
    let mut on_reply = |reply: rlar_grpo::engine::sampler::FinishedReply| finished.push(reply);
    let replies = sampler.sample(&requests(), sampling, &progress, &mut on_reply).map_err(|e| e.to_string())?;
    check_replies(&requests(), &replies, version).map_err(|e| e.to_string())?;
    assert_eq!(finished.len(), 6);
    for reply in finished {
        let same = &replies[reply.request][reply.index];
        assert_eq!((&reply.text, &reply.tokens), (&same.text, &same.tokens));
    }
    for (request, group) in requests().iter().zip(&replies) {
        for reply in group {
            let sequence = Sequence { prompt: &request.prompt, completion: &reply.tokens };
            let own = trainer.log_probs(&[sequence], OPTIONS).unwrap().log_probs;
            let gap = own.iter().zip(&reply.log_probs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap < 1e-4, "the log-probs differ by {gap}");
            assert_eq!(reply.log_probs, reply.drawn_log_probs);
        }
    }
    Ok(replies)
}

/// Number of completions that a server was asked for.
fn completions(server: &StandIn) -> usize {
    server.take_calls().iter().filter(|path| *path == GENERATE).count()
}

#[test]
fn replies_are_sampled_by_the_published_weights_of_every_step() {
    for by in [PublishBy::Reload, PublishBy::Lora] {
        let place = Place::new(by);
        let servers = [place.serve(Faults::default()), place.serve(Faults::default())];
        let all: Vec<&StandIn> = servers.iter().collect();
        let (mut trainer, sampling) = (place.started(&all), place.sampling(&all));
        let first = sampled(&trainer, &sampling, 0).unwrap();
        assert_eq!(sampled(&trainer, &sampling, 0).unwrap(), first, "the seeds decide");
        for version in 1..=2 {
            step(&mut trainer);
            for server in &servers {
                drop(server.take_calls());
            }
            let replies = sampled(&trainer, &sampling, version).unwrap();
            assert_ne!(replies[0][0].log_probs, first[0][0].log_probs);
            for server in &servers {
                let calls = server.take_calls();
                let (before, generated) = calls.split_at(calls.iter().position(|path| path == GENERATE).unwrap());
                let load: &[&str] = match by {
                    PublishBy::Lora => &["/v1/unload_lora_adapter", "/v1/load_lora_adapter"],
                    PublishBy::Reload => &["/collective_rpc"],
                };
                let after = ["/update_weight_version", "/reset_prefix_cache", "/resume"];
                let expected: [&[&str]; 3] = [&["/weight_info", "/pause"], load, &after];
                assert_eq!(before, expected.concat());
                // The canary, and replies: no server samples all of them.
                assert!(generated.iter().filter(|path| *path == GENERATE).count() > 1, "{generated:?}");
            }
        }
        // Of all published weights, the last are left, and they go with the engine.
        assert_eq!(fs::read_dir(place.folder.path().join("vllm")).unwrap().count(), 1);
        drop(trainer);
        assert_eq!(fs::read_dir(place.folder.path().join("vllm")).unwrap().count(), 0);
    }
}

#[test]
fn a_cache_that_is_not_cleared_is_caught_by_the_canary() {
    let place = Place::new(PublishBy::Reload);
    let server = place.serve(Faults { keeps_cache: true, ..Faults::default() });
    let (mut trainer, sampling) = (place.started(&[&server]), place.sampling(&[&server]));
    step(&mut trainer);
    let error = sampled(&trainer, &sampling, 1).unwrap_err();
    assert!(error.contains("log-probs on the canary differ from the trainer's"), "{error}");
    // A server that clears its cache again is taken back.
    server.state().faults.keeps_cache = false;
    sampled(&trainer, &sampling, 1).unwrap();
}

#[test]
fn servers_that_cannot_be_used_are_named_before_the_first_step() {
    type Change = fn(&mut Faults);
    let not_found = || (404, json!({ "detail": "Not Found" }).to_string());
    let cases: Vec<(PublishBy, Change, &str)> = vec![
        (
            PublishBy::Reload,
            |f| drop(f.answers.insert("/version", (200, r#"{"version": "0.29.1"}"#.into()))),
            "is too old",
        ),
        (PublishBy::Reload, |f| f.max_model_len = Some(315), "--max-model-len 316"),
        (PublishBy::Reload, |f| f.token_shift = 1, "the tokenizer of its model `policy` is not that of `model.path`"),
        (
            PublishBy::Reload,
            |f| f.info = Some(|info| info["vllm_config"]["model_config"]["logprobs_mode"] = "raw_logprobs".into()),
            "--logprobs-mode processed_logprobs",
        ),
        (PublishBy::Lora, |f| f.info = Some(|info| info["vllm_config"]["lora_config"] = Value::Null), "--enable-lora"),
        (
            PublishBy::Lora,
            |f| f.info = Some(|info| info["vllm_config"]["lora_config"]["max_lora_rank"] = 1.into()),
            "`--max-lora-rank` of at least 2",
        ),
        (
            PublishBy::Reload,
            |f| drop(f.answers.insert("/reset_prefix_cache", (200, r#"{"success": false}"#.into()))),
            "prefix cache was not cleared",
        ),
        (
            PublishBy::Lora,
            |f| {
                drop(
                    f.answers
                        .insert("/v1/load_lora_adapter", (404, r#"{"error": {"message": "No adapter found"}}"#.into())),
                );
            },
            "see `sampling.vllm.path`",
        ),
        (
            PublishBy::Reload,
            |f| drop(f.answers.insert("/collective_rpc", (500, "Meta tensors".into()))),
            "Restart the server, whose own weights are gone",
        ),
        (PublishBy::Reload, |f| f.label = Some(Value::Null), "which weights sampled"),
        (PublishBy::Reload, |f| f.label = Some(json!([{ "version": "other" }])), "weights `other` sampled a reply"),
        (PublishBy::Reload, |f| f.few_log_probs = true, "15 log-probs for 16 tokens"),
        (PublishBy::Reload, |f| f.last_log_prob = Some(-9999.0), "token 15 of the completion is not a finite number"),
        (PublishBy::Reload, |f| f.cut = 10, "the answer ends too early"),
    ];
    for (by, change, part) in cases {
        let place = Place::new(by);
        let mut faults = Faults::default();
        change(&mut faults);
        let server = place.serve(faults);
        let good = place.serve(Faults::default());
        let error = place.start(&place.sampling(&[&good, &server]), &place.trainer().model).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`sampling.vllm`: {}: ", server.url)), "{part}: {error}");
        assert!(error.contains(part), "{part}: {error}");
    }
    for (path, by, part) in [
        ("/server_info", PublishBy::Reload, "VLLM_SERVER_DEV_MODE=1"),
        ("/v1/unload_lora_adapter", PublishBy::Lora, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
        ("/inference/v1/generate", PublishBy::Reload, "--enable-scale-out"),
    ] {
        let place = Place::new(by);
        let server = place.serve(Faults { answers: [(path, not_found())].into(), ..Faults::default() });
        let error = place.start(&place.sampling(&[&server]), &place.trainer().model).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn another_model_a_wrong_key_and_an_unreachable_server_are_named_before_the_first_step() {
    let place = Place::new(PublishBy::Lora);
    let policy = place.trainer().model;
    let other = StandIn::start(&place.save("other", 6), Faults::default());
    let mut sampling = place.sampling(&[&other]);
    sampling.vllm.as_mut().unwrap().model = Some("qwen".into());
    let error = place.start(&sampling, &policy).unwrap_err().to_string();
    assert!(error.contains("it serves `policy` and not `qwen`"), "{error}");

    let guarded = place.serve(Faults::default());
    guarded.state().key = Some("sesame".into());
    let error = place.start(&place.sampling(&[&guarded]), &policy).unwrap_err().to_string();
    assert!(error.contains("the server refuses a request without a key (status 401)"), "{error}");
    let mut sampling = place.sampling(&[&guarded]);
    sampling.vllm.as_mut().unwrap().api_key_env = Some("RLAR_TEST_NO_SUCH_KEY".into());
    let error = place.start(&sampling, &policy).unwrap_err().to_string();
    assert!(error.contains("the environment variable RLAR_TEST_NO_SUCH_KEY is not set"), "{error}");

    // A port on which no server listens any more.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut sampling = place.sampling(&[]);
    sampling.vllm.as_mut().unwrap().servers = vec![format!("http://{gone}")];
    let error = place.start(&sampling, &policy).unwrap_err().to_string();
    assert!(error.contains(&format!("http://{gone}: weight_info: no connection")), "{error}");

    // A server that keeps its own weights although it says that it loaded others.
    let place = Place::new(PublishBy::Reload);
    let answers = [("/collective_rpc", (200, r#"{"results": [null]}"#.to_owned()))].into();
    let server = StandIn::start(&place.save("other", 6), Faults { answers, ..Faults::default() });
    let error = place.start(&place.sampling(&[&server]), &place.trainer().model).unwrap_err().to_string();
    assert!(error.contains("log-probs on the canary differ"), "{error}");
}

#[test]
fn replies_that_a_server_fails_on_are_sampled_by_another() {
    let place = Place::new(PublishBy::Reload);
    let servers = [place.serve(Faults::default()), place.serve(Faults::default())];
    let all: Vec<&StandIn> = servers.iter().collect();
    let (trainer, sampling) = (place.started(&all), place.sampling(&all));
    let expected = sampled(&trainer, &sampling, 0).unwrap();
    for (cut, aborted) in [(1, 0), (0, 1)] {
        servers[0].state().faults = Faults { cut, aborted, ..Faults::default() };
        assert_eq!(sampled(&trainer, &sampling, 0).unwrap(), expected);
        let faults = servers[0].state().faults.clone();
        assert_eq!((faults.cut, faults.aborted), (0, 0), "the fault was met");
    }

    // A server that fails on every reply, and one that was restarted and has other weights.
    let failing = [("/inference/v1/generate", (500, "EngineDeadError".to_owned()))].into();
    servers[0].state().faults.answers = failing;
    assert_eq!(sampled(&trainer, &sampling, 0).unwrap(), expected);
    servers[0].state().faults = Faults::default();
    assert_eq!(sampled(&trainer, &sampling, 0).unwrap(), expected);
    servers[0].restart();
    for server in &servers {
        drop(server.take_calls());
    }
    assert_eq!(sampled(&trainer, &sampling, 0).unwrap(), expected);
    assert!(completions(&servers[0]) > 0, "the restarted server was asked");
    // It is given the weights again, and samples again.
    assert_eq!(sampled(&trainer, &sampling, 0).unwrap(), expected);
    assert!(completions(&servers[0]) > 1);
}

#[test]
fn a_reply_that_is_late_is_sampled_by_another() {
    let place = Place::new(PublishBy::Reload);
    let servers = [place.serve(Faults::default()), place.serve(Faults::default())];
    let mut sampling = place.sampling(&servers.each_ref());
    sampling.vllm.as_mut().unwrap().deadline = 2.0;
    let mut trainer = place.trainer();
    trainer.servers = Some(place.start(&sampling, &trainer.model).unwrap());
    let expected = sampled(&trainer, &sampling, 0).unwrap();
    servers[0].state().faults.unanswered = 1;
    assert_eq!(sampled(&trainer, &sampling, 0).unwrap(), expected);
    assert_eq!(servers[0].state().faults.unanswered, 0, "the fault was met");
}

/// Runs `work` and returns the warnings of its thread.
fn warnings(work: impl FnOnce()) -> Vec<String> {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (lines, level) = (Lines::default(), tracing_subscriber::filter::LevelFilter::WARN);
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_loss_of_a_server_is_told_once_and_its_return_once() {
    let place = Place::new(PublishBy::Reload);
    let servers = [place.serve(Faults::default()), place.serve(Faults::default())];
    let all: Vec<&StandIn> = servers.iter().collect();
    let (mut trainer, sampling) = (place.started(&all), place.sampling(&all));
    let told = warnings(|| {
        servers[1].state().faults.answers = [("/weight_info", (503, "down".to_owned()))].into();
        for version in 1..=4 {
            step(&mut trainer);
            if version == 4 {
                servers[1].state().faults.answers.clear();
            }
            sampled(&trainer, &sampling, version).unwrap();
        }
    });
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line.contains(&servers[1].url)), "{told:?}");
    assert!(told[0].contains("samples nothing until") && told[1].contains("samples again"), "{told:?}");
}

#[test]
fn after_a_failed_call_for_weights_a_server_is_lost_until_it_is_restarted() {
    let place = Place::new(PublishBy::Reload);
    let servers = [place.serve(Faults::default()), place.serve(Faults::default())];
    let all: Vec<&StandIn> = servers.iter().collect();
    let (mut trainer, sampling) = (place.started(&all), place.sampling(&all));
    step(&mut trainer);
    servers[1].state().faults.answers = [("/collective_rpc", (500, "Meta tensors".to_owned()))].into();
    sampled(&trainer, &sampling, 1).unwrap();

    // The fault is gone, and the server was not restarted.
    servers[1].state().faults.answers.clear();
    step(&mut trainer);
    drop(servers[1].take_calls());
    sampled(&trainer, &sampling, 2).unwrap();
    assert_eq!(servers[1].take_calls(), ["/weight_info"]);

    servers[1].restart();
    step(&mut trainer);
    sampled(&trainer, &sampling, 3).unwrap();
    assert!(completions(&servers[1]) > 1, "the restarted server samples again");

    // Without any server, the run ends with the reasons.
    for server in &servers {
        server.state().faults.answers = [("/pause", (503, "busy".to_owned()))].into();
    }
    step(&mut trainer);
    let error = sampled(&trainer, &sampling, 4).unwrap_err();
    assert!(error.contains("no server can sample with the weights after step 4"), "{error}");
    assert!(servers.iter().all(|server| error.contains(&server.url)), "{error}");
}

#[test]
fn a_stop_text_ends_a_reply_as_it_does_in_this_process() {
    let place = Place::new(PublishBy::Reload);
    let server = place.serve(Faults::default());
    let trainer = place.started(&[&server]);
    let stop: Vec<String> = ["e", "a", "1", "2", " "].map(str::to_owned).to_vec();
    for include_stop in [false, true] {
        let settings =
            |max_tokens| SamplingConfig { max_tokens, stop: stop.clone(), include_stop, ..place.sampling(&[&server]) };
        let replies = sampled(&trainer, &settings(40), 0).unwrap();
        for reply in replies.iter().flatten() {
            let whole = trainer.model.tokenizer.decode(&reply.tokens).unwrap();
            let end = settings(40).at(1.0).stop_at(&whole).unwrap_or(whole.len());
            assert_eq!(reply.text, whole[..end]);
        }
    }
}

/// A job of three steps whose replies a server samples.
fn job<'i>(place: &Place, server: &StandIn, interrupted: &'i AtomicBool) -> Job<'i> {
    let config: Config = serde_json::from_value(json!({
        "version": 1,
        "run": { "folder": place.folder.path().join("run") },
        "model": { "path": place.model(), "lora": { "rank": 2, "alpha": 4, "targets": ["q_proj", "v_proj"] } },
        "data": { "train": "words.jsonl", "format": "plain" },
        "sampling": { "max_tokens": 6, "engine": "vllm", "vllm": { "servers": [server.url], "canary_gap": 1e-3 } },
        "train": { "steps": 3, "prompts": 2, "group_size": 4, "asynchronous": true },
        "optimizer": { "learning_rate": 0.01, "warmup_steps": 0 },
    }))
    .unwrap();
    similarity_job(config, &place.model(), "w3w5w3", interrupted)
}

#[test]
fn a_run_samples_by_a_server_one_step_ahead_and_measures_the_gap() {
    let place = Place::new(PublishBy::Lora);
    let server = place.serve(Faults::default());
    let interrupted = AtomicBool::new(false);
    train(job(&place, &server, &interrupted)).unwrap();
    let metrics = fs::read_to_string(place.folder.path().join("run/metrics.jsonl")).unwrap();
    let metrics: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(metrics.len(), 3);
    let staleness: Vec<Value> = metrics.iter().map(|record| record["staleness"].clone()).collect();
    assert_eq!(staleness, [0, 1, 1]);
    let gap = metrics[0]["sampler_trainer_gap"].as_f64().unwrap();
    assert!(gap < 1e-4, "{gap}");
    // The trial and the weights of two steps: each had a name of its own.
    assert_eq!(server.state().sampled_by.len(), 3);
    assert_eq!(fs::read_dir(place.folder.path().join("run/vllm")).unwrap().count(), 0);
}

#[test]
fn the_weights_of_a_step_are_seen_under_the_path_of_the_config() {
    let place = Place::new(PublishBy::Reload);
    let server = place.serve(Faults::default());
    let mut sampling = place.sampling(&[&server]);
    let shared: &Path = &place.folder.path().join("shared");
    sampling.vllm.as_mut().unwrap().path = Some(shared.display().to_string());
    let engine = place.start(&sampling, &place.trainer().model).unwrap();
    assert_eq!(fs::read_dir(shared).unwrap().count(), 1);
    drop(engine);
    assert_eq!(fs::read_dir(shared).unwrap().count(), 0);
}
