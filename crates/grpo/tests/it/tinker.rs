//! Training by a server of the Tinker API, against a server of this process that trains as SkyRL does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rlar_grpo::algorithm::loss::Minibatch;
use rlar_grpo::config::{Algorithm, Config, OptimizerConfig, TinkerConfig};
use rlar_grpo::engine::local::trainer::LocalTrainer;
use rlar_grpo::engine::tinker::{ServedPolicy, ServerLoss, TinkerEngine, TinkerRecord, TokenizerCheck};
use rlar_grpo::engine::trainer::{Objective, TrainSample, Trainer};
use rlar_grpo::{Job, Report, TrainError, train};
use rlar_policy::{ComputeDevice, ModelConfig, Policy, Sequence, Tokenizer};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::jobs::similarity_job;
use crate::tinker_server::{BASE, Faults, OPTIONS, StandIn, Wrong, lora};

/// The rank of adapters.
const RANK: u32 = 4;

/// The seed of adapters.
const SEED: u64 = 5;

/// The losses that servers make of those of tokens.
const LOSSES: [ServerLoss; 4] =
    [ServerLoss::Sum, ServerLoss::SequenceSum, ServerLoss::SequenceMean, ServerLoss::TokenMean];

/// Optimizer steps of the model on which a server is checked: one to begin with, three norms, one of known size.
const CHECK_STEPS: usize = 5;

/// A folder with a tiny random model.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self::with_tokenizer(Tokenizer::train(["1 + 2 = 3", "12 - 7 = 5"], 270).unwrap())
    }

    fn with_tokenizer(tokenizer: Tokenizer) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let config = ModelConfig::new(json!({
            "model_type": "llama", "vocab_size": tokenizer.vocab_size(), "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 512, "rope_theta": 10_000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
        }));
        let policy = Policy::random(config.unwrap(), tokenizer, 3, &ComputeDevice::new("cpu").unwrap()).unwrap();
        fs::create_dir_all(place.model()).unwrap();
        for (file, contents) in policy.files().unwrap() {
            fs::write(place.model().join(file), contents).unwrap();
        }
        place
    }

    fn model(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    fn policy(&self) -> Policy {
        Policy::load(&self.model(), &ComputeDevice::new("cpu").unwrap()).unwrap()
    }

    fn serve(&self, loss: ServerLoss, faults: Faults) -> StandIn {
        StandIn::start(&self.model(), loss, faults)
    }

    fn engine(&self, config: &TinkerConfig) -> Result<TinkerEngine, TrainError> {
        TinkerEngine::start(config, ServedPolicy::load(self.model().into()).unwrap(), SEED, None)
    }
}

fn settings(server: &StandIn) -> TinkerConfig {
    TinkerConfig { server: server.url.clone(), model: Some(BASE.into()), rank: RANK, ..TinkerConfig::default() }
}

/// The log-probs of a sequence under a policy.
fn logprobs(policy: &Policy) -> Vec<f32> {
    let sequence = Sequence { prompt: &[7, 8, 9], completion: &[40, 41, 42, 43, 44] };
    rlar_policy::floats(&policy.decoder.log_probs(&[sequence], 1.0).log_probs)
}

fn largest_gap(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Two optimizer steps on replies of different lengths, some of whose ratios are clipped. The steps are proportional to the
/// gradient. Returns the norms of the gradients.
fn two_steps(trainer: &mut impl Trainer, algorithm: &Algorithm) -> Vec<f64> {
    let sequences = [
        Sequence { prompt: &[7, 8, 9], completion: &[40, 41] },
        Sequence { prompt: &[10], completion: &[42, 43, 44, 45, 46] },
        Sequence { prompt: &[11, 12], completion: &[47] },
    ];
    let current = trainer.log_probs(&sequences, OPTIONS).unwrap();
    let current: Vec<Vec<f32>> =
        current.by_completion(sequences.iter().copied()).map(|known| known.log_probs.to_vec()).collect();
    // A ratio of 1.5 is clipped where the advantage is positive, one of 0.9 is not.
    let old = |log_probs: &Vec<f32>| -> Vec<f32> {
        log_probs.iter().enumerate().map(|(i, x)| x - if i % 2 == 1 { 1.5f32.ln() } else { 0.9f32.ln() }).collect()
    };
    let old: Vec<Vec<f32>> = current.iter().map(old).collect();
    let sampler: Vec<Vec<f32>> = old.iter().map(|values| values.iter().map(|x| x - 0.3).collect()).collect();
    let advantages = [1.25, -0.75, 0.5];
    let samples: Vec<TrainSample> = (0..sequences.len())
        .map(|i| TrainSample {
            sequence: sequences[i],
            advantage: advantages[i],
            old_log_probs: &old[i],
            ref_log_probs: &[],
            sampler_log_probs: &sampler[i],
        })
        .collect();
    // Five replies and 21 tokens: two replies have no gradient.
    let minibatch = Minibatch { replies: 5, tokens: 21, max_tokens: 16, entropy_floor: None };
    let optimizer = OptimizerConfig { eps: 1.0, weight_decay: 0.01, max_norm: 0.0, ..OptimizerConfig::default() };
    let mut step = || {
        let pass = trainer.forward_backward(&samples, Objective { algorithm, minibatch }, OPTIONS).unwrap();
        assert_eq!(pass.losses.len(), samples.len());
        trainer.optimizer_step(&optimizer, 3e-3).unwrap()
    };
    vec![step(), step()]
}

#[test]
fn a_step_on_a_server_is_the_step_of_this_process_however_the_server_averages() {
    let place = Place::new();
    let mut norms = Vec::new();
    for loss in LOSSES {
        let server = place.serve(loss, Faults::default());
        let engine = place.engine(&settings(&server)).unwrap();
        for aggregate in ["token_mean", "sequence_mean", "sequence_sum", "constant"] {
            let correction = if aggregate == "constant" { "token_truncate" } else { "none" };
            let algorithm: Algorithm =
                serde_json::from_value(json!({ "aggregate": aggregate, "correction": { "mode": correction } }))
                    .unwrap();
            let policy = place.policy().adapt(lora(RANK as usize), SEED, place.model().into()).unwrap();
            let before = logprobs(&policy);
            let mut local = LocalTrainer::new(policy).unwrap();
            let mut remote = engine.first().unwrap();
            let (here, there) = (two_steps(&mut local, &algorithm), two_steps(&mut remote, &algorithm));
            for (here, there) in here.iter().zip(&there) {
                assert!((here / there - 1.0).abs() < 1e-4, "{loss:?}, {aggregate}: {here} and {there}");
            }
            let after = logprobs(&local.model);
            let id = remote.record().model_id;
            let served = logprobs(&server.state().models[&id].policy);
            let (moved, gap) = (largest_gap(&before, &after), largest_gap(&after, &served));
            assert!(moved > 2e-5 && gap < 2e-3 * moved + 1e-5, "{loss:?}, {aggregate}: moved {moved:e}, gap {gap:e}");
            norms.push(here[0]);
            remote.unload();
        }
    }
    // The four aggregations are four steps.
    let mut four = norms[..4].to_vec();
    four.sort_by(f64::total_cmp);
    assert!(four.windows(2).all(|two| two[1] / two[0] > 1.05), "{four:?}");
}

#[test]
fn what_a_server_averages_and_its_tokenizer_are_found_out_on_a_model_that_is_gone_afterwards() {
    let place = Place::new();
    for loss in LOSSES {
        let server = place.serve(loss, Faults::default());
        let engine = place.engine(&settings(&server)).unwrap();
        assert!(server.state().models.is_empty());
        let record: TinkerRecord = engine.first().unwrap().record();
        assert_eq!((record.loss.loss, record.tokenizer), (loss, TokenizerCheck::Same));
        assert!((record.loss.scale - 1.0).abs() < 0.3, "{record:?}");
        assert_eq!((record.base_model.as_str(), record.recognises_repeats), (BASE, false));
        let steps = server.state().calls.iter().filter(|call| *call == "optim_step").count();
        assert_eq!(steps, CHECK_STEPS);
    }
}

#[test]
fn a_server_that_cannot_be_used_is_refused_by_name_before_a_step() {
    let place = Place::new();
    let refused = |faults: Faults, change: &dyn Fn(&mut TinkerConfig), words: &[&str]| {
        let server = place.serve(ServerLoss::SequenceMean, faults.clone());
        let mut config = settings(&server);
        change(&mut config);
        let error = place.engine(&config).err().unwrap_or_else(|| panic!("{faults:?} is not refused")).to_string();
        for word in words.iter().chain(&["`train.tinker`"]) {
            assert!(error.contains(word), "{faults:?}: `{error}` does not mention `{word}`");
        }
        let address = server.url.as_str();
        assert!(config.api_key_env.is_some() || error.contains(address), "{error}");
    };
    let same = |_: &mut TinkerConfig| ();
    refused(Faults { key: Some("sesame".into()), ..Faults::default() }, &same, &["refuses", "401"]);
    let unset = |config: &mut TinkerConfig| config.api_key_env = Some("RLAR_NO_SUCH_KEY".into());
    refused(Faults::default(), &unset, &["api_key_env", "RLAR_NO_SUCH_KEY"]);
    let other = |config: &mut TinkerConfig| config.model = Some("other".into());
    refused(Faults::default(), &other, &["does not offer the model `other`", BASE]);
    let several = Faults { further_models: vec!["second".into()], ..Faults::default() };
    let unnamed = |config: &mut TinkerConfig| config.model = None;
    refused(several, &unnamed, &["several models", BASE, "second", "`model`"]);
    refused(Faults::default(), &unnamed, &["only model", BASE, "`model.path` is", "`train.tinker.model"]);
    let large = |config: &mut TinkerConfig| config.rank = 64;
    refused(Faults::default(), &large, &["LoRA rank 64", "between 1 and 8"]);
    let wrong = |wrong: Wrong| Faults { wrong: Some(wrong), ..Faults::default() };
    refused(wrong(Wrong::ShiftsTokens), &same, &["tokenizer is not that of", "model.path"]);
    let average = "is none that rlar knows";
    refused(wrong(Wrong::Factor(3.0)), &same, &[average, "algorithm.aggregate"]);
    refused(wrong(Wrong::CountsAllPositions), &same, &[average]);
    refused(wrong(Wrong::HidesNorm), &same, &["does not say the norm", "learning_rate"]);
    refused(wrong(Wrong::Nan), &same, &["log-prob 0 of datum 0 is not a finite number"]);
    refused(wrong(Wrong::FewLogProbs), &same, &["log-probs of datum 0: 6 instead of 7"]);
}

#[test]
fn a_server_with_other_merges_of_the_same_number_of_tokens_is_refused() {
    let merges = |alphabet: &str| {
        let words = alphabet.split(' ').map(|word| word.repeat(3));
        Tokenizer::train(words.collect::<Vec<String>>().iter().map(String::as_str), 320).unwrap()
    };
    let mine =
        Place::with_tokenizer(merges("ab cd ef gh ij kl mn op qr st uv wx yz AB CD EF GH IJ KL MN OP QR ST UV WX YZ"));
    let theirs =
        Place::with_tokenizer(merges("ba dc fe hg ji lk nm po rq ts vu xw zy BA DC FE HG JI LK NM PO RQ TS VU XW ZY"));
    let same = mine.serve(ServerLoss::Sum, Faults::default());
    assert_eq!(mine.engine(&settings(&same)).unwrap().first().unwrap().record().tokenizer, TokenizerCheck::Same);
    let other = theirs.serve(ServerLoss::Sum, Faults::default());
    let error = mine.engine(&settings(&other)).unwrap_err().to_string();
    assert!(error.contains("tokenizer is not that of the model"), "{error}");
}

#[test]
fn a_folder_with_two_models_or_without_a_config_is_refused_by_its_path() {
    let place = Place::new();
    fs::remove_file(place.model().join("model.safetensors")).unwrap();
    assert!(ServedPolicy::load(place.model().into()).is_ok(), "the weights are needed for nothing");
    let path = place.model().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["vocab_size"] = 100.into();
    fs::write(&path, config.to_string()).unwrap();
    let error = ServedPolicy::load(place.model().into()).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("two models"), "{error}");
    fs::remove_file(&path).unwrap();
    assert!(ServedPolicy::load(place.model().into()).unwrap_err().to_string().contains("config.json"));
}

/// A job of four steps, with a checkpoint after the second and after the fourth.
fn job<'i>(place: &Place, name: &str, server: &StandIn, interrupted: &'i AtomicBool) -> Job<'i> {
    let config: Config = serde_json::from_value(json!({
        "version": 1,
        "run": { "folder": place.folder.path().join(name), "checkpoint_every": 2 },
        "model": { "path": place.model() },
        "data": { "train": "words.jsonl", "heldout": "words.jsonl", "format": "plain" },
        "sampling": { "max_tokens": 6 },
        "train": {
            "steps": 4, "prompts": 2, "group_size": 4, "engine": "tinker",
            "tinker": { "server": server.url, "model": BASE, "rank": RANK },
        },
        "optimizer": { "learning_rate": 0.01, "warmup_steps": 0, "max_norm": 0 },
        "eval": { "every": 2, "samples": 2 },
    }))
    .unwrap();
    // Random replies have some of these characters in this order, and not all as many.
    let reference: String = (' '..='~').collect();
    let job = similarity_job(config, &place.model(), &reference, interrupted);
    let heldout = job.train.iter().map(Result::unwrap).collect();
    Job { heldout, ..job }
}

/// The records of a run without what depends on the clock.
fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let record = |line: &str| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        for clock in ["seconds", "tokens_per_second", "time", "memory"] {
            record.as_object_mut().unwrap().remove(clock);
        }
        record
    };
    text.lines().map(record).collect()
}

fn assert_evaluated(report: &Report) {
    let measured = report.measured.as_ref().unwrap();
    for evaluation in [&measured.before, &measured.after] {
        assert_eq!((evaluation.sampled["all"].answers, evaluation.greedy["all"].answers), (8, 4));
    }
}

#[test]
fn a_run_is_trained_and_measured_by_the_server_and_its_adapter_comes_back() {
    let (place, interrupted) = (Place::new(), AtomicBool::new(false));
    let server = place.serve(ServerLoss::SequenceMean, Faults::default());
    let run = place.folder.path().join("run");
    assert_evaluated(&train(job(&place, "run", &server, &interrupted)).unwrap());
    let metrics = metrics(&run);
    assert_eq!(metrics.len(), 4);
    for record in &metrics {
        let gap = record["sampler_trainer_gap"].as_f64().unwrap();
        assert!(gap < 1e-4, "{record}");
        assert!(record["grad_norm"].as_f64().unwrap() > 0.0 && record["entropy"].is_null(), "{record}");
    }
    assert!(metrics[1]["eval"]["accuracy"].is_number() && metrics[0]["eval"].is_null());

    // The adapter in `final/` is the model of the last checkpoint.
    let named = fs::read(run.join("checkpoints/step-000004/tinker.json")).unwrap();
    let named: Value = serde_json::from_slice(&named).unwrap();
    let state = server.state();
    let saved = &state.checkpoints[named["checkpoint"].as_str().unwrap()];
    let adapter = Policy::load(&run.join("final"), &ComputeDevice::new("cpu").unwrap()).unwrap();
    assert_eq!(largest_gap(&logprobs(&adapter), &logprobs(&saved.policy)), 0.0);
    assert!(largest_gap(&logprobs(&adapter), &logprobs(&place.policy())) > 1e-3);
    assert_eq!(saved.moments.steps, 4);
    assert!(state.models.is_empty(), "the run leaves a model on the server");
    assert!(!run.join("start").exists());
}

#[test]
fn a_step_whose_acknowledgement_is_lost_ends_the_run_and_a_resume_takes_it_again() {
    let (place, interrupted) = (Place::new(), AtomicBool::new(false));
    let whole = place.serve(ServerLoss::SequenceMean, Faults::default());
    train(job(&place, "whole", &whole, &interrupted)).unwrap();

    let lost = Faults { loses_step: Some(CHECK_STEPS + 3), ..Faults::default() };
    let server = place.serve(ServerLoss::SequenceMean, lost);
    let error = train(job(&place, "broken", &server, &interrupted)).unwrap_err().to_string();
    for word in ["optim_step", "may have taken this request", "`--resume`", &server.url] {
        assert!(error.contains(word), "{error}");
    }
    let left: Vec<String> = server.state().models.keys().cloned().collect();
    assert_eq!(left.len(), 1);
    // The server took the step, and does not hear of it again.
    assert_eq!(server.state().models[&left[0]].moments.steps, 3);

    server.state().faults = Faults::default();
    let mut again = job(&place, "broken", &server, &interrupted);
    again.resume = true;
    assert_evaluated(&train(again).unwrap());
    assert!(server.state().models.is_empty(), "the model of the lost process is still there");
    let [whole, broken] = ["whole", "broken"].map(|name| place.folder.path().join(name));
    assert_eq!(metrics(&whole), metrics(&broken));
    let weights = |run: &Path| fs::read(run.join("final/adapter_model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&broken), "the resumed run has other weights");
}

#[test]
fn a_checkpoint_that_the_server_has_lost_is_named() {
    let (place, interrupted) = (Place::new(), AtomicBool::new(false));
    let server =
        place.serve(ServerLoss::SequenceMean, Faults { loses_step: Some(CHECK_STEPS + 3), ..Faults::default() });
    train(job(&place, "run", &server, &interrupted)).unwrap_err();
    let other = place.serve(ServerLoss::SequenceMean, Faults::default());
    let mut again = job(&place, "run", &other, &interrupted);
    again.resume = true;
    let error = train(again).unwrap_err().to_string();
    for word in ["step-000002", "tinker.json", "tinker://model_1/weights/step-2-0", "Checkpoint not found"] {
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(other.state().models.len(), 0);
}
