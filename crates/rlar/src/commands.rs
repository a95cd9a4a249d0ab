//! Each command: a plan, one call, what is printed.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use rlar_eval::readers::BenchmarkFormat;
use rlar_eval::table::render;
use rlar_eval::{Accuracy, accuracy};
use rlar_grpo::{Job, Method, TrainError, dry_run, train};
use rlar_policy::{ComputeDevice, Policy, PolicyError, RewardModel};
use rlar_rewards::{FetchReport, FetchRequest, UncoveredTask, fetch_rewards};
use rlar_run::write_atomic;

use crate::cli::{self, Benchmark, Command, ConfigCommand, HubCommand};
use crate::fetched::{self, Downloads};
use crate::output::print;
use crate::{Failure, benchmark, data, generate, hub, plan, rewards, sandbox, schema, score, suites};

pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Train(arguments) => {
            let method = arguments.method.map(|method| match method {
                cli::Method::Grpo => Method::Grpo,
                cli::Method::Sft => Method::Sft,
                cli::Method::RewardModel => Method::RewardModel,
            });
            run_train(&arguments.training, method)
        }
        Command::Sft(arguments) => run_train(&arguments, Some(Method::Sft)),
        Command::TrainRm(arguments) => run_train(&arguments, Some(Method::RewardModel)),
        Command::Eval(asked) => measure(&asked),
        Command::Data { command } => data::run(&command),
        Command::FetchRewards(arguments) => fetch(&arguments),
        Command::Hub { command: HubCommand::Serve(arguments) } => hub::serve(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Score(arguments) => score::run(&arguments),
        Command::Convert(arguments) => convert(&arguments),
        Command::Rewards { library, asked, command } => rewards::run(library.as_deref(), &asked, command),
        Command::Config { command: ConfigCommand::Schema { markdown } } => {
            let text = if markdown { schema::markdown() } else { format!("{:#}\n", rlar_grpo::Config::schema()) };
            print(&text).map_err(Failure::Job)
        }
        Command::Sandbox { command } => sandbox::run(command),
    }
}

fn measure(asked: &cli::Eval) -> Result<(), Failure> {
    let over = || INTERRUPTED.load(Ordering::SeqCst);
    let cli::Eval { benchmark, measured } = asked;
    if let Some(benchmark) = benchmark {
        let (Benchmark::RewardbenchV2(arguments) | Benchmark::Rewards(arguments)) = benchmark;
        let only = matches!(benchmark, Benchmark::RewardbenchV2(_)).then_some(BenchmarkFormat::RewardBench2);
        on_interrupt(&INTERRUPTED).map_err(Failure::Job)?;
        return benchmark::run(arguments, only, &over);
    }
    if !measured.suites.is_empty() {
        on_interrupt(&INTERRUPTED).map_err(Failure::Job)?;
        return suites::run(measured, &over);
    }
    let Some(chosen) = measured.chosen() else {
        let message = "eval needs a suite (such as gsm8k), --config or a benchmark of rewards; see `rlar eval --help`";
        return Err(Failure::Request(anyhow::anyhow!(message)));
    };
    eval(&chosen)
}

/// Set by Ctrl-C.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn run_train(arguments: &cli::Training, method: Option<Method>) -> Result<(), Failure> {
    let plan = plan::plan(&arguments.chosen, |config| {
        config.train.method = method.unwrap_or(config.train.method);
        if let Some(minutes) = arguments.minutes {
            config.train.max_minutes = minutes;
        }
        config.train.steps = arguments.steps.unwrap_or(config.train.steps);
    });
    let plan = plan.and_then(plan::Plan::find_model).map_err(Failure::Request)?;
    let (rewards, agents) = plan::orchestrator(&plan).map_err(Failure::Request)?;
    plan::check_tools(&plan, &rewards).map_err(Failure::Request)?;
    let suites = suites::exams(&plan).map_err(Failure::Request)?;
    on_interrupt(&INTERRUPTED).map_err(Failure::Job)?;
    let folder = plan.config.run.folder.clone();
    let resume = match arguments.resume {
        Some(cli::Resume::Always) => true,
        Some(cli::Resume::Auto) => Path::new(&folder).join("config.yaml").exists(),
        None => false,
    };
    let kind = if plan.config.train.method == Method::RewardModel { "reward model" } else { "policy" };
    let adapter = plan.config.model.lora.as_ref().map(|_| format!("its adapter alone in {folder}/adapter, "));
    let adapter = adapter.unwrap_or_default();
    let job = Job {
        config: plan.config,
        train: plan.train,
        sizes: plan.sizes,
        heldout: plan.heldout,
        demonstrations: plan.demonstrations,
        preferences: plan.preferences,
        heldout_preferences: plan.heldout_preferences,
        suites,
        rewards,
        agents,
        resume,
        interrupted: &INTERRUPTED,
        progress: true,
    };
    if arguments.dry_run {
        let said = dry_run(job).map_err(|e| Failure::Job(e.into()))?;
        return print(&said).map_err(Failure::Job);
    }
    let failed = |e: TrainError| if e.is_request() { Failure::Request(e.into()) } else { Failure::Job(e.into()) };
    let report = train(job).map_err(failed)?;
    print(&format!("{report}\nThe {kind} is in {folder}/final, {adapter}everything else in {folder}\n"))
        .map_err(Failure::Job)
}

/// Sets a flag at Ctrl-C and at SIGTERM, so that the step in progress can end; the second ends the program at once.
fn on_interrupt(flag: &'static AtomicBool) -> Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot watch for Ctrl-C")?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            while asked_to_stop().await.is_ok() {
                if flag.swap(true, Ordering::SeqCst) {
                    std::process::exit(1);
                }
                let _ = writeln!(std::io::stderr(), "finishing this step; Ctrl-C again to stop at once");
            }
        });
    });
    Ok(())
}

#[cfg(unix)]
async fn asked_to_stop() -> std::io::Result<()> {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminated.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn asked_to_stop() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

fn eval(chosen: &cli::Chosen) -> Result<(), Failure> {
    let (plan, prefers) = plan::to_measure(chosen);
    if prefers {
        let message = "eval measures policies; a reward model's held-out pairs are measured by `rlar train-rm`, single \
                       replies by `rlar score`";
        return Err(Failure::Request(anyhow::anyhow!(message)));
    }
    let plan = plan.map_err(Failure::Request)?;
    if plan.heldout.is_empty() {
        return Err(Failure::Request(anyhow::anyhow!("{}: eval needs `data.heldout`", plan.config_path.display())));
    }
    let (mut rewards, _) = plan::orchestrator(&plan).map_err(Failure::Request)?;
    plan::check_tools(&plan, &rewards).map_err(Failure::Request)?;
    let config = plan.config;
    let path = config.model.path.clone().unwrap_or_default();
    let mut job = || -> Result<()> {
        let policy = Policy::load(Path::new(&path), &ComputeDevice::with_precision(&config.device, config.precision)?)?;
        let examples = &plan.heldout[..config.eval.examples(plan.heldout.len())];
        let [sampled, greedy] = config.protocols();
        let (sampled, _) = accuracy(&policy, examples, &mut rewards, &sampled)?;
        let (greedy, _) = accuracy(&policy, examples, &mut rewards, &greedy)?;
        let mut rows =
            vec![["kind", "sampled", "answers", "greedy", "answers", "unscored"].map(str::to_owned).to_vec()];
        let mut kinds: Vec<&str> = sampled.keys().map(String::as_str).filter(|k| *k != "all").collect();
        kinds.push("all");
        for kind in kinds {
            let of = |m: &BTreeMap<String, Accuracy>| m.get(kind).copied().unwrap_or_default();
            let (s, g) = (of(&sampled), of(&greedy));
            let percent = |a: Accuracy| format!("{:.1} %", a.percent());
            let (drawn, taken, unscored) = (s.answers, g.answers, s.unscored + g.unscored);
            let row = [kind.into(), percent(s), drawn.to_string(), percent(g), taken.to_string(), unscored.to_string()];
            rows.push(row.to_vec());
        }
        print(&render(&rows))
    };
    job().map_err(Failure::Job)
}

fn fetch(arguments: &cli::FetchRewards) -> Result<(), Failure> {
    // What rewards need does not depend on the policy: a model that is not there yet is no obstacle.
    let plan = plan::plan(&arguments.chosen, |_| ()).map_err(Failure::Request)?;
    if plan.train.is_empty() && plan.heldout.is_empty() {
        let message = format!("{}: names no prompts that need rewards", plan.config_path.display());
        return Err(Failure::Request(anyhow::anyhow!(message)));
    }
    let configured = plan.config.rewards.library.as_ref().map(Into::into);
    let folder = arguments.library.clone().or(configured).unwrap_or_else(|| "library".into());
    let examples: Vec<_> = plan.train.iter().chain(&plan.heldout).cloned().collect();
    let means = plan::means(&plan).map_err(Failure::Request)?;
    let agents = plan::agents(&plan.config, &means).map_err(Failure::Request)?;
    let job = || -> Result<FetchReport> {
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let agents = agents.with_cache(&folder)?;
        let r = &plan.config.rewards;
        let wanted = FetchRequest {
            folder: &folder,
            examples: &examples,
            demonstrations: &plan.demonstrations,
            sources: &r.sources,
            always: &r.always,
        };
        let mut downloads = Downloads::default();
        Ok(fetch_rewards(&wanted, &agents, &mut |news| downloads.tell(news))?)
    };
    let report = job().map_err(Failure::Job)?;
    print(&fetched::summary(&report, &folder)).map_err(Failure::Job)?;
    if let Some(first) = report.unanswered.first() {
        let n = report.unanswered.len();
        let message = format!("the library is not whole, the same command goes on: {first} ({n} such lines)");
        return Err(Failure::Job(anyhow::anyhow!(message)));
    }
    match report.uncovered.iter().next() {
        Some((task, UncoveredTask { prompts: n, reason })) => {
            Err(Failure::Job(anyhow::anyhow!("{n} prompts of `{task}` have no tool; the first: {reason}")))
        }
        None => Ok(()),
    }
}

fn convert(arguments: &cli::Convert) -> Result<(), Failure> {
    let out = &arguments.output;
    if !arguments.model.exists() {
        return Err(Failure::Request(anyhow::anyhow!("model {} does not exist", arguments.model.display())));
    }
    if out.is_file() {
        return Err(Failure::Request(anyhow::anyhow!("--output {} is a file; a folder is written", out.display())));
    }
    if std::fs::read_dir(out).is_ok_and(|mut inside| inside.next().is_some()) {
        return Err(Failure::Request(anyhow::anyhow!("--output {} holds files already", out.display())));
    }
    let job = || -> Result<()> {
        let device = ComputeDevice::new("cpu")?;
        let files = match RewardModel::load(&arguments.model, &device) {
            Ok(model) => model.files()?,
            Err(PolicyError::WrongHead { .. }) => Policy::load(&arguments.model, &device)?.merged()?.files()?,
            Err(e) => return Err(e.into()),
        };
        std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        for (name, bytes) in files {
            let path = out.join(name);
            write_atomic(&path, &bytes)?;
        }
        print(&format!("{}\n", out.display()))
    };
    job().map_err(Failure::Job)
}
