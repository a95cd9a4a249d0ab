//! `rlar train`, `sft` and `train-rm`.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rlar_grpo::{Config, Job, Method, Report, dry_run, hub_commits};
use rlar_run::{Build, OutputMode, wrap};
use rlar_view::measured_by::measured_by;
use rlar_view::metric_table::MetricTable;
use serde_json::{Value, json};

use crate::cli::{Resume, TrainingArguments};
use crate::error::BadRequestExt;
use crate::model::HubCommits;
use crate::output::print;
use crate::setup::LoadedConfig;
use crate::{interrupt, output, setup, suites};

pub fn run(arguments: &TrainingArguments, method: Option<Method>) -> Result<()> {
    let job = job(arguments, method).bad_request()?;
    interrupt::watch()?;
    if arguments.dry_run {
        return print(dry_run(job)?);
    }
    let (config, mode) = (job.config.clone(), job.output);
    let report = match rlar_grpo::train(job) {
        Err(error) if error.is_request() => Err(error).bad_request()?,
        result => result?,
    };
    if mode == OutputMode::Json {
        return summary_event(&report, &config);
    }
    print(format!("{report}{}\n{}", what_measured(&report, &config), where_things_are(&config)))
}

/// The line that says which tools measured the held-out accuracy, and whether the policy was trained on them; empty where
/// nothing held out was measured.
fn what_measured(report: &Report, config: &Config) -> String {
    if report.measured.as_ref().is_none_or(|measured| measured.after.sampled.is_empty()) {
        return String::new();
    }
    let (run, mut table) = (Path::new(&config.run.folder), MetricTable::default());
    // Records that cannot be read say nothing of the tools that were trained on.
    let _ = table.refresh(run);
    measured_by(run, &table).heldout.map(|source| format!("{}\n", wrap(&source.text))).unwrap_or_default()
}

/// The last lines of a run: where its files are, and what to do with them.
fn where_things_are(config: &Config) -> String {
    let folder = &config.run.folder;
    let replies = format!("See its replies and their scores: rlar rollouts {folder}");
    let (kind, next) = match config.train.method {
        Method::Grpo if config.train.tinker.is_some() => ("policy's adapter", replies),
        Method::Grpo => ("policy", replies),
        Method::Sft => ("policy", format!("Try it: rlar generate --model {folder}/final")),
        Method::RewardModel => {
            ("reward model", format!("Score replies with it: rlar score --model {folder}/final --data FILE"))
        }
    };
    let adapter = match &config.model.lora {
        Some(_) => {
            let readme = Path::new(folder).join("adapter/README.md").exists();
            let how = if readme { "; README.md there says how PEFT loads it" } else { "" };
            format!("Its adapter alone is in {folder}/adapter{how}\n")
        }
        None => String::new(),
    };
    format!("The {kind} is in {folder}/final\n{adapter}Everything else is in {folder}\n{next}\n")
}

/// Prints the last event of a run: the report, and where the files are.
fn summary_event(report: &Report, config: &Config) -> Result<()> {
    let folder = &config.run.folder;
    let mut event = json!({ "run": folder, "model": format!("{folder}/final") });
    if let (Value::Object(event), Value::Object(report)) = (&mut event, serde_json::to_value(report)?) {
        event.extend(report);
    }
    output::mode().event("summary", event);
    Ok(())
}

/// What this program was built from.
fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("RLAR_COMMIT").map(str::to_owned),
        features: if cfg!(feature = "cuda") { vec!["cuda".to_owned()] } else { Vec::new() },
    }
}

/// The training job that the command line describes, with the config and data read and checked.
fn job(arguments: &TrainingArguments, method: Option<Method>) -> Result<Job<'static>> {
    let began = Instant::now();
    let loaded = setup::load(&arguments.config, |config| {
        let train = &mut config.train;
        train.method = method.unwrap_or(train.method);
        train.max_minutes = arguments.minutes.unwrap_or(train.max_minutes);
        train.steps = arguments.steps.unwrap_or(train.steps);
        Ok(())
    })?;
    let resume = match arguments.resume {
        Some(Resume::Always) => true,
        Some(Resume::Auto) => Path::new(&loaded.config.run.folder).join("config.yaml").exists(),
        None => false,
    };
    let pinned = if resume { hub_commits(Path::new(&loaded.config.run.folder))? } else { HubCommits::new() };
    let loaded = loaded.find_models(&pinned)?;
    let earlier = resume.then(|| Path::new(&loaded.config.run.folder));
    let (rewards, agents) = setup::orchestrator(&loaded, earlier)?;
    setup::check_tools(&loaded, &rewards)?;
    let suites = suites::of_config(&loaded, &mut Err)?;
    let LoadedConfig { config, model, hub_commits, train, sizes, heldout, demonstrations, .. } = loaded;
    let LoadedConfig { preferences, heldout_preferences, .. } = loaded;
    Ok(Job {
        began,
        config,
        model,
        hub_commits,
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
        output: output::mode(),
        build: build(),
    })
}
