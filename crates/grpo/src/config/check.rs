//! Checks of a config that its JSON Schema cannot express: mostly values of several keys that are impossible together.
//! Types and ranges of single keys are in the schema.

use rlar_data::{ColumnTemplates, KeyProblem};
use rlar_eval::stop_conflict;
use rlar_policy::ComputeDevice;
use rlar_rewards::{CombineAs, LlmConfig, PythonFunction};

use crate::config::vllm::{MAX_LORA_RANK, MIN_TEMPERATURE};
use crate::config::{
    Agent, Algorithm, CheckpointMetric, Combine, Config, CorrectionMode, Domain, Estimator, Kl, KlEstimator, KlTarget,
    Method, PublishBy, SamplingEngine, Scratch, Surrogate, VERSION, WeightSource,
};

/// The problems found so far, each with its config key.
#[derive(Default)]
pub(super) struct Problems(Vec<KeyProblem>);

impl Problems {
    pub(super) fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(KeyProblem::new(key, message));
    }

    pub(super) fn add_if(&mut self, is_wrong: bool, key: impl Into<String>, message: impl Into<String>) {
        if is_wrong {
            self.add(key, message);
        }
    }
}

impl Config {
    /// Finds the values that are impossible together; empty for a valid config. The data and the machine are not looked
    /// at.
    pub fn problems(&self) -> Vec<KeyProblem> {
        let mut found = Problems::default();
        self.check_start(&mut found);
        self.check_data(&mut found);
        self.check_method(&mut found);
        self.check_evaluation(&mut found);
        self.check_algorithm(&mut found);
        self.check_rewards(&mut found);
        self.check_weights(&mut found);
        self.check_sampling_engine(&mut found);
        self.check_training_engine(&mut found);
        self.check_surroundings(&mut found);
        found.0
    }

    /// Finds the values of `version` and `rewards` that are impossible; empty for valid ones. This is all that a config
    /// needs when another program trains.
    pub fn reward_problems(&self) -> Vec<KeyProblem> {
        let mut found = Problems::default();
        self.check_version(&mut found);
        self.check_rewards(&mut found);
        let message = "`learned` is for `rlar train`: weights are learned from the replies of a run";
        found.add_if(self.rewards.weights == WeightSource::Learned, "rewards.weights", message);
        found.0
    }

    /// Finds a `device` or `precision` that this machine does not have; empty if it has both.
    pub fn device_problems(&self) -> Vec<KeyProblem> {
        let mut found = Problems::default();
        if let Err(error) = ComputeDevice::with_precision(&self.device, self.precision) {
            let key = if ComputeDevice::new(&self.device).is_ok() { "precision" } else { "device" };
            found.add(key, error.to_string());
        }
        found.0
    }

    /// Finds values that are impossible when `data.train` has this number of prompts.
    pub fn data_problems(&self, prompts: usize) -> Vec<KeyProblem> {
        let mut found = Problems::default();
        let minibatches = self.train.minibatches;
        let is_uneven = prompts < self.train.prompts && !prompts.is_multiple_of(minibatches);
        let message = format!("{minibatches} does not divide the {prompts} prompts of `data.train`");
        found.add_if(is_uneven, "train.minibatches", message);
        found.0
    }

    fn check_version(&self, found: &mut Problems) {
        let has_version = self.version == VERSION;
        found.add_if(!has_version, "version", format!("is {}; this build reads version {VERSION}", self.version));
    }

    /// Checks the version and the model to start from.
    fn check_start(&self, found: &mut Problems) {
        self.check_version(found);
        let is_ambiguous = self.model.path.is_some() == self.model.scratch.is_some();
        found.add_if(is_ambiguous, "model", "needs exactly one of `path` and `scratch`");
        if let Some(lora) = &self.model.lora {
            if self.model.scratch.is_some() {
                found.add("model.lora", "adapts the model at `model.path`; a model from scratch has no base to adapt");
            } else if let Err(why) = lora.lora().check() {
                found.add("model.lora", why);
            }
        }
        if let Some(scratch) = &self.model.scratch {
            self.check_scratch(scratch, found);
        }
    }

    fn check_scratch(&self, scratch: &Scratch, found: &mut Problems) {
        if !scratch.hidden_size.is_multiple_of(2 * scratch.heads) {
            let message = format!("{} is not a multiple of twice the {} heads", scratch.hidden_size, scratch.heads);
            found.add("model.scratch.hidden_size", message);
        } else if let Err(why) = scratch.model(scratch.vocab_size) {
            found.add("model.scratch", why);
        }
        let is_grpo = self.train.method == Method::Grpo;
        let has_no_warmup = !self.data.has_demonstrations() || self.warmup.steps == 0;
        let message = "a model from scratch needs `data.demonstrations` and some warm-up steps";
        found.add_if(is_grpo && has_no_warmup, "warmup.steps", message);
        let (max_tokens, positions) = (self.sampling.max_tokens, scratch.positions);
        let message = format!("{max_tokens} leaves no room for a prompt in {positions} positions");
        found.add_if(is_grpo && max_tokens >= positions, "sampling.max_tokens", message);
    }

    fn check_data(&self, found: &mut Problems) {
        let data = &self.data;
        let needs_demonstrations = self.warmup.steps > 0 || self.train.method == Method::Sft;
        found.add_if(
            needs_demonstrations && !data.has_demonstrations(),
            "data",
            "supervised fine-tuning needs `demonstrations`",
        );
        let has_prompts = data.train.is_some() || data.mixture.iter().any(|d| d.train.is_some());
        found.add_if(
            self.train.method == Method::Grpo && !has_prompts,
            "data",
            "`grpo` needs prompts to train on: `train`",
        );
        let is_empty_range = data.min_prompt_tokens.zip(data.max_prompt_tokens).is_some_and(|(min, max)| min > max);
        found.add_if(is_empty_range, "data.min_prompt_tokens", "is more than `max_prompt_tokens`");
        let templates =
            data.mixture.iter().enumerate().map(|(i, d)| (format!("data.mixture[{i}].columns"), &d.columns));
        for (key, columns) in templates.chain([("data.columns".to_owned(), &data.columns)]) {
            if let Some(Err(e)) = columns.as_ref().map(ColumnTemplates::compile) {
                found.add(format!("{key}.{}", e.name), e.reason);
            }
        }
        if !data.mixture.is_empty() {
            self.check_mixture(&data.mixture, found);
        }
    }

    fn check_mixture(&self, mixture: &[Domain], found: &mut Problems) {
        let data = &self.data;
        found.add_if(
            data.train.is_some() || data.heldout.is_some() || data.demonstrations.is_some(),
            "data.mixture",
            "replaces `train`, `heldout` and `demonstrations`; move them into an entry of `data.mixture`",
        );
        found.add_if(
            self.train.method == Method::RewardModel,
            "data.mixture",
            "is for policies; `reward_model` reads `preferences`",
        );
        for (i, domain) in mixture.iter().enumerate() {
            let is_empty = domain.until.is_some_and(|until| until <= domain.from);
            found.add_if(
                is_empty,
                format!("data.mixture[{i}].until"),
                "is not after `from`: it would never be drawn from",
            );
        }
        let is_drawn_from = |step: u64| {
            let mut with_prompts = mixture.iter().filter(|d| d.train.is_some());
            with_prompts.any(|d| d.from <= step && d.until.is_none_or(|until| step < until))
        };
        let starts = mixture.iter().filter_map(|d| d.until).chain([0]).filter(|step| *step < self.train.steps);
        if let Some(step) = starts.filter(|step| !is_drawn_from(*step)).min() {
            found.add("data.mixture", format!("no domain with `train` is drawn from at step {step}"));
        }
    }

    fn check_method(&self, found: &mut Problems) {
        if self.train.method == Method::RewardModel {
            found.add_if(self.data.preferences.is_none(), "data", "`reward_model` needs `preferences`");
            found.add_if(self.model.lora.is_some(), "model.lora", "is for policies; a reward model trains all weights");
            found.add_if(self.train.recompute_layers, "train.recompute_layers", "is for policies");
            let message = "a reward model has no warm-up; train the language model first with `rlar sft`";
            found.add_if(self.warmup.steps > 0, "warmup.steps", message);
        }
        let (minibatches, prompts) = (self.train.minibatches, self.train.prompts);
        found.add_if(
            !prompts.is_multiple_of(minibatches),
            "train.minibatches",
            format!("{minibatches} does not divide the {prompts} prompts of a step"),
        );
        let max_minutes = self.train.max_minutes;
        found.add_if(
            !(max_minutes >= 0.0 && max_minutes.is_finite()),
            "train.max_minutes",
            format!("{max_minutes} is not a duration; 0 is no limit"),
        );
    }

    fn check_evaluation(&self, found: &mut Problems) {
        let eval = &self.eval;
        let has_heldout = self.data.heldout.is_some() || self.data.mixture.iter().any(|d| d.heldout.is_some());
        let has_suites = !eval.suites.is_empty();
        let measures = (has_heldout || has_suites) && eval.every > 0;
        let needed = "needs `data.heldout` or `eval.suites`, and `eval.every`";
        found.add_if(self.run.keep_best > 0 && !measures, "run.keep_best", needed);
        found.add_if(eval.patience > 0 && !measures, "eval.patience", needed);
        found.add_if(
            eval.every > 0 && !has_heldout && !has_suites,
            "eval.every",
            "needs `data.heldout` or `eval.suites`",
        );
        found.add_if(
            has_suites && self.train.method == Method::RewardModel,
            "eval.suites",
            "are for policies; a reward model is measured on `data.heldout`",
        );
        let metric = &eval.metric;
        if matches!(metric, CheckpointMetric::Suite { .. }) {
            let message = format!("`{metric}` is neither `sampled` nor `greedy`, and there are no `eval.suites`");
            found.add_if(!has_suites, "eval.metric", message);
        } else {
            let message = format!("`{metric}` needs `data.heldout`; name one of `eval.suites`");
            found.add_if(measures && !has_heldout, "eval.metric", message);
        }
    }

    fn check_algorithm(&self, found: &mut Problems) {
        let a = &self.algorithm;
        let group_size = self.train.group_size;
        found.add_if(
            a.pass_k == 1 || a.pass_k > group_size,
            "algorithm.pass_k",
            format!("is {}; it must be 2 to the group size of {group_size}, or 0", a.pass_k),
        );
        found.add_if(
            a.advantage == Estimator::MaxRl && (a.overlong.soft_tokens > 0 || a.kl.target == KlTarget::Reward),
            "algorithm.advantage",
            "`max_rl` needs scores of at least 0: no `overlong.soft_tokens`, no `kl.in: reward`",
        );
        check_without_effect(a, found);
        check_surrogate(a, found);
        let separately = a.combine == Combine::NormaliseThenSum;
        let kl_in_reward = a.kl.target == KlTarget::Reward && a.kl.estimator != KlEstimator::None;
        found.add_if(
            kl_in_reward && separately,
            "algorithm.kl.in",
            "`reward` needs `combine: sum_then_normalise`: normalised on its own, its weight would be lost",
        );
        found.add_if(
            a.overlong.soft_tokens > 0 && separately,
            "algorithm.overlong.soft_tokens",
            "needs `combine: sum_then_normalise`: normalised on its own, a penalty of a hundredth would count as much as \
             one of 1",
        );
        found.add_if(
            a.correction.low > a.correction.high,
            "algorithm.correction.low",
            format!("is more than `high`, {}", a.correction.high),
        );
        found.add_if(
            a.overlong.soft_tokens > self.sampling.max_tokens,
            "algorithm.overlong.soft_tokens",
            format!("is more than `sampling.max_tokens`, {}", self.sampling.max_tokens),
        );
    }

    fn check_rewards(&self, found: &mut Problems) {
        let rewards = &self.rewards;
        let conflict = rewards.scored.as_ref().and_then(|part| stop_conflict(part, &self.sampling.at(1.0)));
        if let Some(why) = conflict.filter(|_| self.train.method == Method::Grpo) {
            found.add("sampling.stop", why);
        }
        for (domain, tools) in &rewards.assign {
            let has_term = tools.iter().any(|tool| tool.combine == CombineAs::Term);
            let key = format!("rewards.assign.{domain}");
            found.add_if(!has_term, key, "needs a term: a tool that is neither a gate nor a veto");
        }
        let assigned = rewards.assign.values().flatten().map(|tool| ("rewards.assign", tool));
        for (key, tool) in assigned.chain(rewards.always.iter().map(|tool| ("rewards.always", tool))) {
            let is_wrong = tool.combine == CombineAs::Term && (!tool.weight.is_finite() || tool.weight == 0.0);
            let message = format!("the weight of `{}` is {}; it must be a number other than 0", tool.tool, tool.weight);
            found.add_if(is_wrong, key, message);
        }
        self.check_functions(found);
        if let Some(why) = rewards.llm.as_ref().and_then(LlmConfig::problem) {
            found.add("rewards.llm", why);
        }
        let asks_llm = rewards.agent == Agent::Llm || rewards.evolve.is_some();
        if asks_llm && rewards.llm.is_none() {
            let key = if rewards.agent == Agent::Llm { "rewards.agent" } else { "rewards.evolve" };
            found.add(key, "asks a language model: name one in `rewards.llm`");
        }
    }

    fn check_weights(&self, found: &mut Problems) {
        if self.rewards.weights == WeightSource::Learned {
            let message = "`learned` is for `grpo`: weights are learned from its replies";
            found.add_if(self.train.method != Method::Grpo, "rewards.weights", message);
            let message = "`learned` needs `algorithm.combine: normalise_then_sum`, which makes scores comparable";
            found.add_if(self.algorithm.combine != Combine::NormaliseThenSum, "rewards.weights", message);
        }
    }

    /// Checks what vLLM servers cannot do. Without cuts of the distribution, their log-probs are both those of the policy
    /// and those of the distribution that tokens were drawn from.
    fn check_sampling_engine(&self, found: &mut Problems) {
        let sampling = &self.sampling;
        if sampling.engine == SamplingEngine::Local {
            let message = "has no effect without `sampling.engine: vllm`";
            found.add_if(sampling.vllm.is_some(), "sampling.vllm", message);
            return;
        }
        let is_grpo = self.train.method == Method::Grpo;
        found.add_if(!is_grpo, "sampling.engine", "`vllm` is for `grpo`: no other method samples");
        let message = "`vllm` needs the model that its servers serve at `model.path`";
        found.add_if(self.model.scratch.is_some(), "sampling.engine", message);
        let cut = "vLLM gives no log-probs over the whole vocabulary with it";
        for (key, is_cut) in [
            ("top_p", sampling.top_p < 1.0),
            ("top_k", sampling.top_k > 0),
            ("min_p", sampling.min_p > 0.0),
            ("repetition_penalty", (sampling.repetition_penalty - 1.0).abs() > f32::EPSILON),
        ] {
            found.add_if(
                is_cut,
                format!("sampling.{key}"),
                format!("{cut}; leave it out with `sampling.engine: vllm`"),
            );
        }
        let message = format!("vLLM samples at {MIN_TEMPERATURE} instead");
        found.add_if(sampling.temperature < MIN_TEMPERATURE, "sampling.temperature", message);
        let vllm = sampling.vllm.clone().unwrap_or_default();
        found.0.extend(vllm.problems());
        let by_lora = vllm.weights == PublishBy::Lora;
        let message = "`lora` needs `model.lora`; `reload` publishes all weights";
        found.add_if(by_lora && self.model.lora.is_none(), "sampling.vllm.weights", message);
        let rank = self.model.lora.as_ref().map_or(0, |lora| lora.rank);
        let message = format!("vLLM takes ranks up to {MAX_LORA_RANK}; `sampling.vllm.weights: reload` takes any");
        found.add_if(by_lora && rank > MAX_LORA_RANK, "model.lora.rank", message);
    }

    /// Checks the functions in `rewards.python`. Beside them, no language-model agent may choose or replace tools,
    /// because the functions score every prompt.
    fn check_functions(&self, found: &mut Problems) {
        let rewards = &self.rewards;
        let functions = &rewards.python;
        let key = |i: usize| format!("rewards.python[{i}]");
        for (i, function) in functions.iter().enumerate() {
            let (name, earlier) = (function.tool_name(), &functions[..i]);
            let message = format!("`{name}` is the name of an earlier function too; give this one another with `name`");
            found.add_if(earlier.iter().any(|f| f.tool_name() == name), key(i), message);
            if let Some(why) = function.problem() {
                found.add(key(i), why);
            }
        }
        let is_veto = |combine: CombineAs| combine == CombineAs::Veto;
        let has_veto =
            functions.iter().any(|f| is_veto(f.combine)) || rewards.always.iter().any(|t| is_veto(t.combine));
        let is_unbounded_term = |f: &PythonFunction| f.combine == CombineAs::Term && f.range.is_none();
        if let Some(i) = functions.iter().position(is_unbounded_term).filter(|_| has_veto) {
            found.add(key(i), "a veto gives a reply the lowest score: say what that is with `range`");
        }
        if functions.is_empty() {
            return;
        }
        let has_term = functions.iter().any(|f| f.combine == CombineAs::Term);
        found.add_if(!has_term, "rewards.python", "needs a term: a function that is neither a gate nor a veto");
        let message = "has no effect: the functions in `rewards.python` score every prompt";
        found.add_if(rewards.agent == Agent::Llm, "rewards.agent", message);
        found.add_if(rewards.evolve.is_some(), "rewards.evolve", message);
    }

    /// Checks the device's name and the run's folder.
    fn check_surroundings(&self, found: &mut Problems) {
        let device = self.device.as_str();
        let is_cuda = device.strip_prefix("cuda:").is_some_and(|n| n.parse::<usize>().is_ok());
        found.add_if(
            !matches!(device, "auto" | "cpu") && !is_cuda,
            "device",
            format!("`{device}` is not one of: cpu, cuda:0, cuda:1 …, auto"),
        );
        found.add_if(self.run.folder.trim().is_empty(), "run.folder", "is empty");
    }
}

/// Finds settings that have no effect because of the value of another key.
fn check_without_effect(a: &Algorithm, found: &mut Problems) {
    let default = Algorithm::default();
    let kl = Kl { estimator: default.kl.estimator, ..a.kl.clone() };
    let differs_from_default = a.sapo_temperature.map(f64::to_bits) != default.sapo_temperature.map(f64::to_bits);
    let settings = [
        ("kl", kl != default.kl && a.kl.estimator == KlEstimator::None, "`kl.estimator`"),
        ("pass_k", a.pass_k > 0 && a.advantage != Estimator::PassAtK, "`advantage: pass_at_k`"),
        ("sapo_temperature", differs_from_default && a.surrogate != Surrogate::Sapo, "`surrogate: sapo`"),
        (
            "correction",
            a.correction != default.correction && a.correction.mode == CorrectionMode::None,
            "`correction.mode`",
        ),
    ];
    for (key, has_no_effect, needed) in settings {
        found.add_if(has_no_effect, format!("algorithm.{key}"), format!("has no effect without {needed}"));
    }
}

/// Checks the settings of the surrogate loss.
fn check_surrogate(a: &Algorithm, found: &mut Problems) {
    let is_ppo = matches!(a.surrogate, Surrogate::Ppo | Surrogate::Gspo);
    for (key, bound) in [("dual_clip", a.dual_clip), ("ratio_max", a.ratio_max)] {
        let message = "is for the surrogates `ppo` and `gspo`";
        found.add_if(bound.is_some() && !is_ppo, format!("algorithm.{key}"), message);
    }
    found.add_if(
        a.ratio_max.is_some_and(|ratio| ratio <= 1.0 + a.clip_high),
        "algorithm.ratio_max",
        format!("must be more than 1 + `clip_high`, {}", 1.0 + a.clip_high),
    );
    found.add_if(
        a.sapo_temperature.iter().any(|t| !t.is_finite() || *t <= 0.0),
        "algorithm.sapo_temperature",
        "must be two positive numbers",
    );
    let corrects_replies = matches!(a.correction.mode, CorrectionMode::SequenceTruncate | CorrectionMode::SequenceMask);
    found.add_if(
        corrects_replies && a.surrogate == Surrogate::Vespo,
        "algorithm.correction.mode",
        "`vespo` weighs whole replies itself; correct tokens",
    );
}
