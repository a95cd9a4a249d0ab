//! Which function runs which command.

use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use rlar_grpo::Method;
use rlar_policy::{ComputeDevice, FloatType, Policy, PolicyError, RewardModel};
use rlar_run::write_atomic;

use crate::cli::{Arguments, Command, ConfigCommand, ConvertArguments, DtypeArgument, HubCommand, MethodArgument};
use crate::error::{BadRequestExt, bad_request};
use crate::output::print;
use crate::{
    check, command_reference, compare, data, eval, fetch_rewards, generate, gpu_check, hub, init, model, report,
    rewards, rollouts, sandbox, schema, score, serve, train, view,
};

pub fn run(command: Command) -> Result<()> {
    match command {
        Command::Train(arguments) => {
            let method = arguments.method.map(|method| match method {
                MethodArgument::Grpo => Method::Grpo,
                MethodArgument::Sft => Method::Sft,
                MethodArgument::RewardModel => Method::RewardModel,
            });
            train::run(&arguments.training, method)
        }
        Command::Sft(arguments) => train::run(&arguments, Some(Method::Sft)),
        Command::TrainRm(arguments) => train::run(&arguments, Some(Method::RewardModel)),
        Command::Eval(arguments) => eval::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Rollouts(arguments) => rollouts::run(&arguments),
        Command::Compare(arguments) => compare::run(&arguments),
        Command::View(arguments) => view::run(&arguments),
        Command::Report(arguments) => report::run(&arguments),
        Command::Plot(arguments) => report::plot(&arguments),
        Command::Data { command } => data::run(&command),
        Command::FetchRewards(arguments) => fetch_rewards::run(&arguments),
        Command::Hub { command: HubCommand::Serve(arguments) } => hub::serve(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Score(arguments) => score::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Convert(arguments) => convert(&arguments),
        Command::Rewards { library, tools, command } => rewards::run(library.as_deref(), &tools, command),
        Command::Config { command: ConfigCommand::Schema { markdown: true } } => print(schema::markdown()),
        Command::Config { command: ConfigCommand::Schema { markdown: false } } => {
            print(format!("{:#}\n", rlar_grpo::Config::schema()))
        }
        Command::Commands => print(command_reference::markdown(Arguments::command())),
        Command::Completions { shell } => completions(shell),
        Command::GpuCheck(arguments) => gpu_check::run(&arguments),
        Command::Sandbox { command } => sandbox::run(command),
    }
}

/// Prints the script with which a shell completes commands and options of `rlar`.
fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "rlar", &mut script);
    print(script)
}

fn convert(arguments: &ConvertArguments) -> Result<()> {
    let output = &arguments.output;
    if output.is_file() {
        return Err(bad_request(format!("--output {} is a file; a folder is written", output.display())));
    }
    if std::fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(bad_request(format!("--output {} is not empty", output.display())));
    }
    let model = model::find(&arguments.model).bad_request()?;
    let float_type = arguments.dtype.map(|dtype| match dtype {
        DtypeArgument::Float32 => FloatType::Float32,
        DtypeArgument::Float16 => FloatType::Float16,
        DtypeArgument::Bfloat16 => FloatType::Bfloat16,
    });
    let files = convert_model(&model.path, float_type)?;
    std::fs::create_dir_all(output).with_context(|| output.display().to_string())?;
    for (name, bytes) in files {
        write_atomic(&output.join(name), &bytes)?;
    }
    print(format!("{}\n", output.display()))
}

/// Loads the reward model or language model at a path and returns it as the files of a Hugging Face folder, with the
/// weights in the type `float_type`, or in that of the model's own files. A LoRA adapter of a language model is merged
/// into it.
fn convert_model(path: &Path, float_type: Option<FloatType>) -> Result<Vec<rlar_policy::File>> {
    let device = ComputeDevice::new("cpu")?;
    match RewardModel::load(path, &device) {
        Ok(model) => Ok(model.published_files(float_type)?),
        Err(PolicyError::WrongHead { .. }) => Ok(Policy::load(path, &device)?.merged()?.published_files(float_type)?),
        Err(error) => Err(error.into()),
    }
}
