//! `rlar eval` evaluates policies on a config's held-out data (in this module) and on suites (in [`suites`]), and
//! rewards on a benchmark (in [`benchmark`]).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use rlar_eval::readers::BenchmarkFormat;
use rlar_eval::table::render;
use rlar_eval::{Accuracy, accuracy};
use rlar_grpo::Method;
use rlar_policy::{ComputeDevice, Policy};
use rlar_rewards::Orchestrator;
use rlar_run::{Progress, percent};
use serde_json::json;

use crate::cli::{BenchmarkCommand, ConfigArguments, EvalArguments};
use crate::error::{BadRequestExt, bad_request};
use crate::output::{mode, print_result};
use crate::setup::LoadedConfig;
use crate::{benchmark, interrupt, setup, suites};

pub fn run(arguments: &EvalArguments) -> Result<()> {
    if let Some(benchmark) = &arguments.benchmark {
        interrupt::watch()?;
        return match benchmark {
            BenchmarkCommand::RewardbenchV2(arguments) => {
                benchmark::run(arguments, Some(BenchmarkFormat::RewardBench2))
            }
            BenchmarkCommand::Rewards(arguments) => benchmark::run(arguments, None),
        };
    }
    if !arguments.policy.suites.is_empty() {
        interrupt::watch()?;
        return suites::run(&arguments.policy);
    }
    match arguments.policy.config_arguments() {
        Some(config) => heldout(&config),
        None => Err(bad_request(
            "eval needs a suite (such as gsm8k), --config or a benchmark of rewards; see `rlar eval --help`",
        )),
    }
}

/// Prints the accuracy of a policy on the held-out data of a config.
fn heldout(arguments: &ConfigArguments) -> Result<()> {
    let (loaded, mut rewards) = load(arguments).bad_request()?;
    let config = &loaded.config;
    let name = config.model.path.as_deref().unwrap_or_default();
    let path = loaded.model.as_ref().map_or(Path::new(name), |model| &model.path);
    let device = ComputeDevice::with_precision(&config.device, config.precision).bad_request()?;
    let policy = Policy::load_frozen(path, &device).bad_request()?;
    let examples = &loaded.heldout[..config.eval.examples(loaded.heldout.len())];
    let start = json!({ "model": name, "prompts": examples.len() });
    mode().event("start", start);
    let shown = Progress::watch(mode(), "held-out", rewards.activity());
    let [sampled, greedy] = config.protocols();
    let (sampled, _) = accuracy(&policy, examples, &mut rewards, &sampled)?;
    let (greedy, _) = accuracy(&policy, examples, &mut rewards, &greedy)?;
    drop(shown);
    print_result(|| json!({ "model": name, "sampled": sampled, "greedy": greedy }), || table(&sampled, &greedy))
}

fn load(arguments: &ConfigArguments) -> Result<(LoadedConfig, Orchestrator)> {
    let loaded = setup::load_for_eval(arguments, |config| {
        if config.train.method == Method::RewardModel {
            bail!(
                "eval evaluates policies; `rlar train-rm` evaluates a reward model on its held-out pairs, `rlar score` \
                 scores single replies"
            );
        }
        Ok(())
    })?;
    if loaded.heldout.is_empty() {
        bail!("{}: eval needs `data.heldout`", loaded.path.display());
    }
    let (rewards, _) = setup::orchestrator(&loaded, Some(Path::new(&loaded.config.run.folder)))?;
    setup::check_tools(&loaded, &rewards)?;
    Ok((loaded, rewards))
}

/// A table of accuracies by kind of example; the total is the last row.
fn table(sampled: &BTreeMap<String, Accuracy>, greedy: &BTreeMap<String, Accuracy>) -> String {
    let mut rows = vec![["kind", "sampled", "answers", "greedy", "answers", "unscored"].map(str::to_owned).to_vec()];
    let kinds = sampled.keys().map(String::as_str).filter(|kind| *kind != "all").chain(["all"]);
    for kind in kinds {
        let sampled = sampled.get(kind).copied().unwrap_or_default();
        let greedy = greedy.get(kind).copied().unwrap_or_default();
        let shown = |accuracy: Accuracy| format!("{} %", percent(accuracy.percent() / 100.0));
        rows.push(vec![
            kind.to_owned(),
            shown(sampled),
            sampled.answers.to_string(),
            shown(greedy),
            greedy.answers.to_string(),
            (sampled.unscored + greedy.unscored).to_string(),
        ]);
    }
    render(&rows)
}
