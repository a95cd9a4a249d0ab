//! `rlar eval SUITE …`: policies on suites; and the suites of a training config.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rlar_data::{DataFile, DataFiles, KeyProblem, nearest};
use rlar_eval::EvalError;
use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::suite::generator::ReplyResult;
use rlar_eval::suite::prompts::build_prompts;
use rlar_eval::suite::replies::read_replies;
use rlar_eval::suite::{GenerationOptions, LlmServer, LocalPolicy, ReplyGenerator, Suite, SuiteEval, SuiteMetric};
use rlar_grpo::CheckpointMetric;
use rlar_net::llm::{OpenAi, OpenAiSettings, Secret};
use rlar_policy::{ComputeDevice, Policy, Precision};
use rlar_rewards::{Orchestrator, OrchestratorConfig, STORE, Store};
use rlar_run::{Progress, hash_files, sha256, write_atomic};
use serde_json::json;

use crate::cli::PolicyEvalArguments;
use crate::error::{BadRequestExt, bad_request, message};
use crate::find::data_files;
use crate::interrupt::is_interrupted;
use crate::output::{mode, print_result};
use crate::rewards::{language_model, orchestrator_with};
use crate::setup::{LoadedConfig, OnError};
use crate::{assets, model, setup};

/// Maximum number of attempts to get one reply from a server.
const TRIES: u32 = 4;
/// Maximum time for one reply of a server, all attempts together.
const DEADLINE: Duration = Duration::from_mins(10);

pub fn run(arguments: &PolicyEvalArguments) -> Result<()> {
    let mut suites = load(arguments).bad_request()?;
    if let Some(path) = &arguments.answers {
        let Some(suite) = suites.first_mut() else { return Ok(()) };
        let replies = recorded_replies(path, suite).bad_request()?;
        return grade(suite, &path.display().to_string(), replies, arguments);
    }
    if let Some((url, others)) = arguments.server.split_first() {
        let server = LlmServer(Arc::new(server(url, others, arguments).bad_request()?));
        return evaluate(&mut suites, &server, &server.name(), arguments);
    }
    let model = EvaluatedModel::find(arguments).bad_request()?;
    let device = ComputeDevice::with_precision(&model.device, model.precision).bad_request()?;
    let policy = Policy::load_frozen(&model.path, &device).bad_request()?;
    // Replies that are kept must not be taken for those of other weights at the same path, or of other products.
    let weights = if arguments.out.is_some() { weights_hash(&model.path, &policy)? } else { model.name.clone() };
    let products = if policy.is_quantised() { "quantised".to_owned() } else { format!("{:?}", model.precision) };
    let identity = format!("{weights} {products}");
    let generator = LocalPolicy { policy: &policy, identity, batch: arguments.batch.into() };
    evaluate(&mut suites, &generator, &model.name, arguments)
}

/// The suites that the command line names, each with its prompts and tools.
fn load(arguments: &PolicyEvalArguments) -> Result<Vec<SuiteEval>> {
    if arguments.suites.len() > 1 && (arguments.answers.is_some() || arguments.data.is_some()) {
        bail!("--answers and --data belong to one suite; name only one");
    }
    let llm = language_model(&arguments.tools)?;
    let mut suites: Vec<SuiteEval> = Vec::new();
    for name in &arguments.suites {
        let (path, suite) = overridden_suite(name, arguments)?;
        let library = setup::library(arguments.library.as_deref())?;
        let mut rewards = orchestrator_with(library, &arguments.tools, "cpu", llm.clone());
        if let Some(out) = &arguments.out {
            // Scores are cached beside the replies, so that a continued evaluation does not compute them again.
            let folder = out.join(&suite.name);
            std::fs::create_dir_all(&folder).with_context(|| format!("--out {}", folder.display()))?;
            rewards = rewards.with_store(Store::open(&folder.join(STORE)));
        }
        let limit = arguments.limit.map(|n| n as usize);
        let prompts = build_prompts(&suite, &|name| suite_files(&path, name), limit);
        let prompts = match &arguments.data {
            Some(data) => prompts.with_context(|| format!("--data {data}"))?,
            None => prompts?,
        };
        suites.push(SuiteEval::new(suite, prompts, rewards)?);
    }
    for (i, suite) in suites.iter().enumerate() {
        let name = &suite.suite().name;
        if suites[..i].iter().any(|earlier| earlier.suite().name == *name) {
            bail!("two suites are called `{name}`");
        }
    }
    Ok(suites)
}

/// A suite with the overrides of the command line, and the path of the suite's file.
fn overridden_suite(name: &str, arguments: &PolicyEvalArguments) -> Result<(PathBuf, Suite)> {
    let asset = assets::suite(name)?;
    let mut suite = Suite::parse(&asset.path, &asset.text)?;
    if let Some(data) = &arguments.data {
        suite.data = Some(DataFiles::One(data.clone()));
        suite.lines.clear();
    }
    let sampling = &mut suite.sampling;
    sampling.samples = arguments.samples.map_or(sampling.samples, |n| n as usize);
    sampling.temperature = arguments.temperature.unwrap_or(sampling.temperature);
    sampling.max_tokens = arguments.max_tokens.map_or(sampling.max_tokens, |n| n as usize);
    if arguments.answers.is_some() {
        // The number of recorded replies decides.
        sampling.samples = usize::MAX;
    }
    if !arguments.metric.is_empty() {
        let metrics =
            arguments.metric.iter().map(|m| SuiteMetric::try_from(m.clone()).map_err(|e| anyhow!("--metric {e}")));
        suite.metrics = metrics.collect::<Result<_>>()?;
    }
    match suite.problems().into_iter().next() {
        Some(KeyProblem { key, message }) => {
            bail!("{} with the command line's overrides: `{key}`: {message}", asset.path.display())
        }
        None => Ok((asset.path, suite)),
    }
}

/// The data files that a name in the file `named_by` stands for (see [`data_files`]), with an [`EvalError`] as suites
/// need it.
fn suite_files(named_by: &Path, name: &str) -> Result<Vec<DataFile>, EvalError> {
    data_files(named_by, name).map_err(|error| EvalError::Mismatch(message(&error)))
}

/// The suites of a training config. A suite whose tools the config's library lacks uses rlar's built-in library.
/// `on_error` is called with each error; if it returns `Ok`, the remaining suites are still read.
pub fn of_config(loaded: &LoadedConfig, on_error: &mut OnError) -> Result<Vec<SuiteEval>> {
    let config = &loaded.config;
    let mut suites: Vec<SuiteEval> = Vec::new();
    for i in 0..config.eval.suites.len() {
        let suite = suite_of_config(loaded, i).and_then(|suite| {
            let name = &suite.suite().name;
            if suites.iter().any(|earlier| earlier.suite().name == *name) {
                bail!("two suites are called `{name}`");
            }
            Ok(suite)
        });
        match suite {
            Ok(suite) => suites.push(suite),
            Err(error) => on_error(loaded.problem(&format!("eval.suites[{i}]"), message(&error)))?,
        }
    }
    if suites.len() == config.eval.suites.len()
        && let Some(problem) = metric_problem(&config.eval.metric, &suites)
    {
        on_error(loaded.problem("eval.metric", problem))?;
    }
    Ok(suites)
}

/// The problem if `metric`, which decides which checkpoint is best, names a suite or a value that `suites` do not have;
/// `None` if they have it, or if the metric is not one of a suite.
fn metric_problem(metric: &CheckpointMetric, suites: &[SuiteEval]) -> Option<String> {
    let CheckpointMetric::Suite { suite: name, metric: value } = metric else { return None };
    let suites = || suites.iter().map(SuiteEval::suite);
    let has_value = |suite: &Suite| value.as_ref().is_none_or(|value| suite.has_metric_value(value));
    if suites().any(|suite| suite.name == *name && has_value(suite)) {
        return None;
    }
    let names: Vec<&str> = suites().map(|suite| suite.name.as_str()).collect();
    let values = suites().flat_map(|suite| {
        let values = suite.metrics.iter().flat_map(|metric| metric.value_names());
        values.map(move |value| format!("{}/{value}", suite.name))
    });
    let known: Vec<String> = names.iter().map(|name| (*name).to_owned()).chain(values).collect();
    let hint = nearest(&metric.to_string(), known.iter().map(String::as_str));
    Some(format!("`{metric}` is not a metric of the suites {}{hint}", names.join(", ")))
}

/// The suite that the entry of `eval.suites` with this index names.
fn suite_of_config(loaded: &LoadedConfig, index: usize) -> Result<SuiteEval> {
    let config = &loaded.config;
    let entry = &config.eval.suites[index];
    let asset = assets::suite_beside(&loaded.path, &entry.suite)?;
    let mut suite = Suite::parse(&asset.path, &asset.text)?;
    if let Some(data) = &entry.data {
        suite.data = Some(data.clone());
        suite.lines.clear();
    }
    suite.check_samples_differ().map_err(|why| anyhow!("suite `{}`: {why}", suite.name))?;
    let mut library = setup::configured_library(loaded)?;
    if suite.tools.iter().any(|m| library.card(&m.tool).is_none()) {
        library = setup::library(None)?;
    }
    let rewards = Orchestrator::new(library, setup::tool_context(loaded)?, OrchestratorConfig::default());
    // The files that the config names are looked for beside the config, those of the suite beside the suite.
    let is_of_config = |name: &str| entry.data.as_ref().is_some_and(|data| data.names().contains(&name));
    let find = |name: &str| suite_files(if is_of_config(name) { &loaded.path } else { &asset.path }, name);
    let prompts = build_prompts(&suite, &find, entry.limit)?;
    Ok(SuiteEval::new(suite, prompts, rewards)?)
}

/// Reads the replies to a suite's prompts from the file of `--answers`, one list per prompt. Fails if a prompt has
/// fewer replies than the suite's metrics need.
fn recorded_replies(path: &Path, suite: &SuiteEval) -> Result<Vec<Vec<ReplyResult>>> {
    let bytes = std::fs::read(path).with_context(|| format!("--answers {}", path.display()))?;
    let replies = read_replies(path, &bytes, suite.prompts())?;
    let fewest = replies.iter().map(Vec::len).min().unwrap_or(0);
    if let Some(metric) = suite.suite().metrics.iter().find(|m| m.samples_needed() > fewest) {
        bail!("--answers {}: `{metric}` needs more replies per prompt than {fewest}", path.display());
    }
    Ok(replies)
}

/// The client of the servers that the command line names: one, or several with the same model.
fn server(url: &str, others: &[String], arguments: &PolicyEvalArguments) -> Result<OpenAi> {
    let model = arguments.server_model.clone().unwrap_or_default();
    let settings = OpenAiSettings {
        others: others.to_vec(),
        key: Secret::from_env("OPENAI_API_KEY"),
        deadline: DEADLINE,
        first_token: DEADLINE / 2,
        tries: TRIES,
        concurrency: arguments.concurrency.into(),
        ..OpenAiSettings::new(url, model)
    };
    Ok(OpenAi::new(settings)?)
}

/// The model on disk to evaluate, and how it runs.
struct EvaluatedModel {
    /// The model as the command line or the config names it.
    name: String,
    path: PathBuf,
    device: String,
    precision: Precision,
}

impl EvaluatedModel {
    fn find(arguments: &PolicyEvalArguments) -> Result<Self> {
        let device = |default: String| arguments.device.clone().unwrap_or(default);
        if let Some(config) = arguments.config_arguments() {
            let LoadedConfig { config, model, .. } = setup::load_for_eval(&config, |_| Ok(()))?;
            let name = config.model.path.unwrap_or_default();
            let path = model.map_or_else(|| name.clone().into(), |model| model.path);
            return Ok(Self { name, path, device: device(config.device), precision: config.precision });
        }
        let name = arguments.model.as_ref();
        let name = name.context("nothing to evaluate: pass --model, --server, --answers or --config")?;
        let (path, name) = (model::find(name)?.path, name.display().to_string());
        Ok(Self { name, path, device: device("cpu".into()), precision: Precision::default() })
    }
}

/// A hash of a model's files; for an adapter, also of its base model's files.
fn weights_hash(path: &Path, policy: &Policy) -> Result<String> {
    let mut hashes = hash_files(path)?;
    if let Some(base) = policy.base_model() {
        hashes += &hash_files(base)?;
    }
    Ok(sha256(hashes.as_bytes())[..32].to_owned())
}

/// Generates and grades the replies to each suite.
fn evaluate(
    suites: &mut [SuiteEval],
    generator: &dyn ReplyGenerator,
    name: &str,
    arguments: &PolicyEvalArguments,
) -> Result<()> {
    for suite in suites.iter().map(SuiteEval::suite) {
        let check = suite.check_samples_differ().and_then(|()| generator.check_suite(suite));
        check.map_err(|why| bad_request(format!("suite `{}`: {why}", suite.name)))?;
    }
    for suite in suites {
        let suite_name = &suite.suite().name;
        let cache = arguments.out.as_ref().map(|out| out.join(suite_name).join("answers.jsonl"));
        let options = GenerationOptions {
            seed: arguments.seed.unwrap_or(0),
            cache: cache.as_deref(),
            cancelled: &is_interrupted,
        };
        let prompts = suite.prompts().len();
        mode().event("start", json!({ "suite": suite_name, "engine": name, "prompts": prompts }));
        let bar = Progress::new(mode(), suite_name, prompts as u64, 0);
        let replies = suite.generate(generator, &options, &mut |n| bar.step(n as u64, &[]))?;
        bar.finish();
        let Some(replies) = replies else {
            bail!("interrupted in suite `{suite_name}`; {}", how_to_continue(arguments.out.as_deref()));
        };
        grade(suite, name, replies, arguments)?;
    }
    Ok(())
}

/// Advice on how to continue an interrupted evaluation, for the end of an error message. `out` is the folder of
/// `--out`.
pub fn how_to_continue(out: Option<&Path>) -> &'static str {
    match out {
        Some(_) => "run the same command again to continue",
        None => "with --out, it could be continued",
    }
}

/// Grades replies, writes the results to `--out`, and prints them.
fn grade(
    suite: &mut SuiteEval,
    generator: &str,
    replies: Vec<Vec<ReplyResult>>,
    arguments: &PolicyEvalArguments,
) -> Result<()> {
    let bootstrap = Bootstrap { resamples: arguments.bootstrap as usize, seed: arguments.seed.unwrap_or(0) };
    let bootstrap = (arguments.bootstrap > 0).then_some(bootstrap);
    let shown = Progress::watch(mode(), "grading", suite.activity());
    let (results, verdicts) = suite.evaluate(generator, replies, bootstrap, &is_interrupted)?;
    drop(shown);
    let name = &suite.suite().name;
    if is_interrupted() {
        bail!("interrupted while the replies to suite `{name}` were graded");
    }
    if let Some(out) = &arguments.out {
        let folder = out.join(name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        write_atomic(&folder.join("results.json"), format!("{:#}\n", results.json()).as_bytes())?;
        write_atomic(&folder.join("verdicts.jsonl"), suite.graded_jsonl(&verdicts).as_bytes())?;
    }
    print_result(|| results.json(), || format!("{}\n", results.table(arguments.markdown)))
}
