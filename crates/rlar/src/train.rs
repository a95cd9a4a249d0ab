//! `rlar train`, `sft` and `train-rm`.

use std::path::Path;

use anyhow::Result;
use rlar_grpo::{Job, Method, dry_run};

use crate::cli::{Resume, TrainingArguments};
use crate::error::BadRequestExt;
use crate::output::print;
use crate::setup::LoadedConfig;
use crate::{interrupt, setup, suites};

pub fn run(arguments: &TrainingArguments, method: Option<Method>) -> Result<()> {
    let job = job(arguments, method).bad_request()?;
    interrupt::watch()?;
    if arguments.dry_run {
        return print(dry_run(job)?);
    }
    let folder = job.config.run.folder.clone();
    let kind = if job.config.train.method == Method::RewardModel { "reward model" } else { "policy" };
    let adapter = match &job.config.model.lora {
        Some(_) => format!("its adapter alone in {folder}/adapter, "),
        None => String::new(),
    };
    let report = match rlar_grpo::train(job) {
        Err(error) if error.is_request() => Err(error).bad_request()?,
        result => result?,
    };
    print(format!("{report}\nThe {kind} is in {folder}/final, {adapter}everything else in {folder}\n"))
}

/// The training job that the command line describes, with the config and data read and checked.
fn job(arguments: &TrainingArguments, method: Option<Method>) -> Result<Job<'static>> {
    let loaded = setup::load(&arguments.config, |config| {
        let train = &mut config.train;
        train.method = method.unwrap_or(train.method);
        train.max_minutes = arguments.minutes.unwrap_or(train.max_minutes);
        train.steps = arguments.steps.unwrap_or(train.steps);
        Ok(())
    })?;
    let loaded = loaded.find_model()?;
    let resume = match arguments.resume {
        Some(Resume::Always) => true,
        Some(Resume::Auto) => Path::new(&loaded.config.run.folder).join("config.yaml").exists(),
        None => false,
    };
    let earlier = resume.then(|| Path::new(&loaded.config.run.folder));
    let (rewards, agents) = setup::orchestrator(&loaded, earlier)?;
    setup::check_tools(&loaded, &rewards)?;
    let suites = suites::of_config(&loaded, &mut Err)?;
    let LoadedConfig { config, train, sizes, heldout, demonstrations, preferences, heldout_preferences, .. } = loaded;
    Ok(Job {
        config,
        train,
        sizes,
        heldout,
        demonstrations,
        preferences,
        heldout_preferences,
        suites,
        rewards,
        agents,
        resume,
        interrupted: interrupt::flag(),
        progress: true,
    })
}
