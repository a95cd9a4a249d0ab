//! `rlar eval SUITE …`: policies on suites.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::suite::prompts::build_prompts;
use rlar_eval::suite::replies::read_replies;
use rlar_eval::suite::{GenerationOptions, LlmServer, LocalPolicy, ReplyGenerator, Suite, SuiteEval, SuiteMetric};
use rlar_grpo::CheckpointMetric;
use rlar_net::llm::{Budget, LlmLimits, OpenAi, OpenAiSettings, Secret};
use rlar_policy::{ComputeDevice, Policy, Precision};
use rlar_rewards::{Orchestrator, OrchestratorConfig, STORE, Store};
use rlar_run::{Progress, sha256, write_atomic};

use crate::cli::Measured;
use crate::output::print;
use crate::rewards::{language_model, orchestrator_with};
use crate::{Failure, assets, data, plan};

/// Tries and time for one reply of a server.
const TRIES: u32 = 4;
const DEADLINE: Duration = Duration::from_mins(10);

pub fn run(asked: &Measured, over: &(dyn Fn() -> bool + Sync)) -> Result<(), Failure> {
    if asked.suites.len() > 1 && (asked.answers.is_some() || asked.data.is_some()) {
        return Err(Failure::Request(anyhow!("--answers and --data are of one suite; name one")));
    }
    let llm = language_model(&asked.asked).map_err(Failure::Request)?;
    let mut exams = Vec::new();
    for name in &asked.suites {
        let (path, suite) = suite(name, asked).map_err(Failure::Request)?;
        let library = plan::library(asked.library.as_deref()).map_err(Failure::Request)?;
        let mut rewards = orchestrator_with(library, &asked.asked, "cpu", llm.clone());
        if let Some(out) = &asked.out {
            // What a tool said of a reply is not asked again.
            let folder = out.join(&suite.name);
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("--out {}", folder.display()))
                .map_err(Failure::Request)?;
            rewards = rewards.with_store(Store::open(&folder.join(STORE)));
        }
        let limit = asked.limit.map(|n| n as usize);
        exams.push(exam(&path, suite, limit, rewards).map_err(Failure::Request)?);
    }
    let names: Vec<&str> = exams.iter().map(|e| e.suite().name.as_str()).collect();
    if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
        return Err(Failure::Request(anyhow!("two suites are called `{}`", twice.1)));
    }
    if let Some(path) = &asked.answers {
        let Some(exam) = exams.first_mut() else { return Ok(()) };
        let bytes = std::fs::read(path).with_context(|| format!("--answers {}", path.display()));
        let replies = bytes.map_err(Failure::Request)?;
        let replies = read_replies(path, replies, exam.prompts()).map_err(|e| Failure::Request(e.into()))?;
        let fewest = replies.iter().map(Vec::len).min().unwrap_or(0);
        if let Some(metric) = exam.suite().metrics.iter().find(|m| m.samples_needed() > fewest) {
            let message =
                format!("--answers {}: `{metric}` needs more replies per prompt than {fewest}", path.display());
            return Err(Failure::Request(anyhow!(message)));
        }
        return told(exam, &path.display().to_string(), replies, asked, over).map_err(Failure::Job);
    }
    if let Some(url) = &asked.server {
        let server = LlmServer(Arc::new(server(url, asked).map_err(Failure::Request)?));
        let name = server.name();
        return sit(&mut exams, &server, &name, asked, over);
    }
    let (path, device, precision) = model(asked).map_err(Failure::Request)?;
    let device = ComputeDevice::with_precision(&device, precision).map_err(|e| Failure::Request(e.into()))?;
    let policy = Policy::load(&path, &device).map_err(|e| Failure::Job(e.into()))?;
    let shown = path.display().to_string();
    // Only what is kept must be told from what other weights would say.
    let weights = if asked.out.is_some() { identity(&path).map_err(Failure::Job)? } else { shown.clone() };
    let identity = format!("{weights} {precision:?}");
    let own = LocalPolicy { policy: &policy, identity, batch: asked.batch.into() };
    sit(&mut exams, &own, &shown, asked, over)
}

/// A hash of a model's files, and of the model that an adapter adapts.
fn identity(path: &Path) -> Result<String> {
    let mut all = rlar_run::hash_files(path)?;
    if let Ok(text) = std::fs::read(path.join("adapter_config.json")) {
        let adapter: serde_json::Value = serde_json::from_slice(&text)?;
        let base = adapter["base_model_name_or_path"].as_str().unwrap_or_default();
        let base = [path.join(base), PathBuf::from(base)].into_iter().find(|p| !base.is_empty() && p.exists());
        if let Some(base) = base {
            all += &rlar_run::hash_files(&base)?;
        }
    }
    Ok(sha256(all.as_bytes())[..32].to_owned())
}

/// A suite with what the command line changes in it.
fn suite(name: &str, asked: &Measured) -> Result<(PathBuf, Suite)> {
    let asset = assets::suite(name)?;
    let mut suite = Suite::parse(&asset.path, &asset.text)?;
    if let Some(data) = &asked.data {
        suite.data = Some(data.clone());
        suite.lines.clear();
    }
    let draw = &mut suite.sampling;
    draw.samples = asked.samples.map_or(draw.samples, |n| n as usize);
    draw.temperature = asked.temperature.unwrap_or(draw.temperature);
    draw.max_tokens = asked.max_tokens.map_or(draw.max_tokens, |n| n as usize);
    if asked.answers.is_some() {
        // As many as were recorded.
        draw.samples = usize::MAX;
    }
    if !asked.metric.is_empty() {
        let metrics =
            asked.metric.iter().map(|m| SuiteMetric::try_from(m.clone()).map_err(|e| anyhow!("--metric {e}")));
        suite.metrics = metrics.collect::<Result<_>>()?;
    }
    match suite.problems().into_iter().next() {
        Some((key, why)) => bail!("{} with the command line's changes: `{key}`: {why}", asset.path.display()),
        None => Ok((asset.path, suite)),
    }
}

/// A suite with its prompts and tools.
pub fn exam(path: &Path, suite: Suite, limit: Option<usize>, rewards: Orchestrator) -> Result<SuiteEval> {
    let tasks = build_prompts(&suite, &|name| data::find(path, name), limit)?;
    Ok(SuiteEval::new(suite, tasks, rewards)?)
}

/// The suites of a config, with the tools of its library, or rlar's own where that lacks one.
pub fn exams(plan: &plan::Plan) -> Result<Vec<SuiteEval>> {
    let config = &plan.config;
    let mut exams: Vec<SuiteEval> = Vec::new();
    for (i, sitting) in config.eval.suites.iter().enumerate() {
        let job = || -> Result<SuiteEval> {
            let asset = assets::suite_beside(&plan.config_path, &sitting.suite)?;
            let mut suite = Suite::parse(&asset.path, &asset.text)?;
            if let Some(data) = &sitting.data {
                suite.data = Some(data.clone());
                suite.lines.clear();
            }
            suite.check_samples_differ().map_err(|why| anyhow!("suite `{}`: {why}", suite.name))?;
            let mut library = plan::library(config.rewards.library.as_deref().map(Path::new))?;
            if suite.tools.iter().any(|m| library.card(&m.tool).is_none()) {
                library = plan::library(None)?;
            }
            exam(
                &asset.path,
                suite,
                sitting.limit,
                Orchestrator::new(library, plan::means(plan)?, OrchestratorConfig::default()),
            )
        };
        let key = format!("eval.suites[{i}]");
        let exam = job().with_context(|| format!("{}: `{key}`", plan.config_path.display()))?;
        if exams.iter().any(|e| e.suite().name == exam.suite().name) {
            bail!("{}: `{key}`: two suites are called `{}`", plan.config_path.display(), exam.suite().name);
        }
        exams.push(exam);
    }
    let known = |name: &str, figure: Option<&str>| {
        let exam = exams.iter().find(|e| e.suite().name == name)?;
        figure.is_none_or(|figure| exam.suite().has_metric_value(figure)).then_some(())
    };
    if let CheckpointMetric::Suite { suite, metric } = &config.eval.metric
        && known(suite, metric.as_deref()).is_none()
    {
        let names: Vec<&str> = exams.iter().map(|e| e.suite().name.as_str()).collect();
        let path = plan.config_path.display();
        bail!("{path}: `eval.metric`: `{}` is no figure of the suites {}", config.eval.metric, names.join(", "));
    }
    Ok(exams)
}

fn server(url: &str, asked: &Measured) -> Result<OpenAi> {
    let settings = OpenAiSettings {
        url: url.to_owned(),
        model: asked.server_model.clone().unwrap_or_default(),
        key: Secret::from_env("OPENAI_API_KEY"),
        deadline: DEADLINE,
        tries: TRIES,
        concurrency: asked.concurrency.into(),
        budget: Budget::new(LlmLimits::default()),
    };
    Ok(OpenAi::new(settings)?)
}

/// The model that answers, where it runs, and in which precision.
fn model(asked: &Measured) -> Result<(PathBuf, String, Precision)> {
    let device = |configured: String| asked.device.clone().unwrap_or(configured);
    if let Some(chosen) = asked.chosen() {
        let config = plan::to_measure(&chosen).0?.config;
        return Ok((config.model.path.unwrap_or_default().into(), device(config.device), config.precision));
    }
    let path = asked.model.as_ref().context("who answers? Pass --model, --server, --answers or --config")?;
    if let Some(policy) = assets::policy_of_run(path) {
        bail!("{} is a run; its model is {}", path.display(), policy.display());
    }
    if !path.exists() {
        bail!("model {} does not exist; a Hugging Face folder or a GGUF file is expected there", path.display());
    }
    Ok((path.clone(), device("cpu".into()), Precision::default()))
}

/// Lets an engine answer suites, one after the other.
fn sit(
    exams: &mut [SuiteEval],
    engine: &dyn ReplyGenerator,
    name: &str,
    asked: &Measured,
    over: &(dyn Fn() -> bool + Sync),
) -> Result<(), Failure> {
    for exam in exams.iter() {
        let suits = exam.suite().check_samples_differ().and_then(|()| engine.check_suite(exam.suite()));
        suits.map_err(|why| Failure::Request(anyhow!("suite `{}`: {why}", exam.suite().name)))?;
    }
    let mut job = || -> Result<()> {
        for exam in exams.iter_mut() {
            let kept = asked.out.as_ref().map(|out| out.join(&exam.suite().name).join("answers.jsonl"));
            let asking = GenerationOptions { seed: asked.seed.unwrap_or(0), cache: kept.as_deref(), cancelled: over };
            let bar = Progress::new(&exam.suite().name, exam.prompts().len() as u64, 0);
            let mut done = |n: usize| bar.step(n as u64, String::new());
            let replies = exam.generate(engine, &asking, &mut done)?;
            bar.finish();
            let hint = if kept.is_some() { "; the same command goes on" } else { "; with --out it could go on" };
            let replies = replies.ok_or_else(|| anyhow!("interrupted in suite `{}`{hint}", exam.suite().name))?;
            told(exam, name, replies, asked, over)?;
        }
        Ok(())
    };
    job().map_err(Failure::Job)
}

/// Judges replies, prints the figures, and writes them down.
fn told(
    exam: &mut SuiteEval,
    engine: &str,
    replies: Vec<Vec<rlar_eval::suite::generator::ReplyResult>>,
    asked: &Measured,
    over: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let bootstrap = Bootstrap { resamples: asked.bootstrap as usize, seed: asked.seed.unwrap_or(0) };
    let (marks, verdicts) = exam.evaluate(engine, replies, (asked.bootstrap > 0).then_some(bootstrap), over)?;
    if over() {
        bail!("interrupted while the replies to suite `{}` were judged", exam.suite().name);
    }
    if let Some(out) = &asked.out {
        let folder = out.join(&exam.suite().name);
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        write_atomic(&folder.join("results.json"), format!("{:#}\n", marks.json()).as_bytes())?;
        write_atomic(&folder.join("verdicts.jsonl"), exam.graded_jsonl(&verdicts).as_bytes())?;
    }
    print(&format!("{}\n", marks.table(asked.markdown)))
}
