//! Checks of a config whose policy a Tinker server trains: what such a server cannot do is refused by the key that asks for
//! it.

use std::time::Duration;

use rlar_policy::Precision;
use rlar_tinker::{TinkerServer, TinkerSettings};

use crate::config::check::Problems;
use crate::config::model::SaveDtype;
use crate::config::{Config, KlEstimator, Method, SamplingEngine, Surrogate, TrainingEngine};

impl Config {
    /// Checks the engine that trains.
    pub(super) fn check_training_engine(&self, found: &mut Problems) {
        if self.train.engine == TrainingEngine::Local {
            let message = "has no effect without `train.engine: tinker`";
            found.add_if(self.train.tinker.is_some(), "train.tinker", message);
            return;
        }
        self.check_tinker_server(found);
        self.check_served_model(found);
        self.check_server_samples(found);
        self.check_server_trains(found);
    }

    fn check_tinker_server(&self, found: &mut Problems) {
        let is_grpo = self.train.method == Method::Grpo;
        let message = "`tinker` is for `grpo`; other methods train in this process";
        found.add_if(!is_grpo, "train.engine", message);
        let tinker = self.train.tinker.clone().unwrap_or_default();
        if tinker.server.is_empty() {
            found.add("train.tinker", "name the server in `server`, such as http://gpu-1:8000");
        } else if let Err(why) = TinkerServer::new(TinkerSettings::new(&tinker.server)) {
            found.add("train.tinker.server", why.to_string());
        }
        let seconds = tinker.deadline;
        let is_duration = Duration::try_from_secs_f64(seconds).is_ok();
        found.add_if(!is_duration, "train.tinker.deadline", format!("{seconds} is not a duration"));
    }

    /// Checks the keys about the model, which is on the server, and what is done with it in this process.
    fn check_served_model(&self, found: &mut Problems) {
        let model = &self.model;
        let message = "`tinker` trains a model that its server loaded from a folder: name the same one at `model.path`";
        found.add_if(model.scratch.is_some(), "train.engine", message);
        let is_gguf = model.path.as_ref().is_some_and(|path| path.to_lowercase().ends_with(".gguf"));
        let message = "Tinker servers load Hugging Face folders, not GGUF files; name the folder of the server's model";
        found.add_if(is_gguf, "model.path", message);
        let message = "the server makes the adapter; give its rank as `train.tinker.rank` instead";
        found.add_if(model.lora.is_some(), "model.lora", message);
        let message = "only the adapter comes back from the server, in the type in which it stores it; leave it out";
        found.add_if(model.save_dtype != SaveDtype::Auto, "model.save_dtype", message);
        let message = "the server computes; leave it out";
        found.add_if(self.device.starts_with("cuda"), "device", message);
        found.add_if(self.precision != Precision::F32, "precision", message);
        let message = "the warm-up trains in this process; do it in a run of its own (`rlar sft`), and start the server with \
                       that run's `final`";
        found.add_if(self.warmup.steps > 0, "warmup.steps", message);
        let message = "suites sample in this process; measure them after training with `rlar eval`";
        found.add_if(!self.eval.suites.is_empty(), "eval.suites", message);
    }

    /// Checks what the server cannot sample. Its log-probs are those of the policy at the temperature 1, whatever it
    /// samples at.
    fn check_server_samples(&self, found: &mut Problems) {
        let sampling = &self.sampling;
        let message = "with `train.engine: tinker`, the server that trains also samples; leave it out";
        found.add_if(sampling.engine != SamplingEngine::Local, "sampling.engine", message);
        let at_one = (sampling.temperature - 1.0).abs() < f32::EPSILON;
        let message = "a Tinker server gives log-probs at the temperature 1 only; use 1";
        found.add_if(!at_one, "sampling.temperature", message);
        let message = "a Tinker server gives log-probs over the whole vocabulary only; leave it out";
        for (key, is_cut) in [
            ("top_p", sampling.top_p < 1.0),
            ("top_k", sampling.top_k > 0),
            ("min_p", sampling.min_p > 0.0),
            ("repetition_penalty", (sampling.repetition_penalty - 1.0).abs() > f32::EPSILON),
        ] {
            found.add_if(is_cut, format!("sampling.{key}"), message);
        }
        let message = "a Tinker server ends replies at end tokens or at texts, not at both; leave it out";
        found.add_if(!sampling.stop.is_empty(), "sampling.stop", message);
    }

    /// Checks the parts of the update that the server computes.
    fn check_server_trains(&self, found: &mut Problems) {
        let (train, a) = (&self.train, &self.algorithm);
        let message =
            "the server has one copy of the adapter, and cannot sample with that of the step before; leave it out";
        found.add_if(train.asynchronous, "train.asynchronous", message);
        let message = "the server chooses its micro-batches (SkyRL: `train_micro_batch_size`); leave it out";
        found.add_if(train.micro_batch_tokens.is_some(), "train.micro_batch_tokens", message);
        let message = "the server decides that (SkyRL: `gradient_checkpointing`); leave it out";
        found.add_if(train.recompute_layers, "train.recompute_layers", message);
        let message = "the surrogate that Tinker servers compute is `ppo`";
        found.add_if(a.surrogate != Surrogate::Ppo, "algorithm.surrogate", message);
        let message = "the `ppo` of Tinker servers has no such bound; leave it out";
        found.add_if(a.dual_clip.is_some(), "algorithm.dual_clip", message);
        found.add_if(a.ratio_max.is_some(), "algorithm.ratio_max", message);
        found.add_if(a.off_policy_mask.is_some(), "algorithm.off_policy_mask", message);
        let message = "needs log-probs of a reference model, which the engine `tinker` does not give; use `none`";
        found.add_if(a.kl.estimator != KlEstimator::None, "algorithm.kl.estimator", message);
        let message = "needs entropies, which the engine `tinker` does not give; leave it out";
        found.add_if(a.entropy_bonus > 0.0, "algorithm.entropy_bonus", message);
        found.add_if(a.top_entropy < 1.0, "algorithm.top_entropy", message);
        let message = "Tinker servers do not clip gradients; write 0";
        found.add_if(self.optimizer.max_norm > 0.0, "optimizer.max_norm", message);
    }
}
