//! The command line: its commands, their arguments and their help texts.

mod benchmark;
mod eval;
mod models;
mod path;
mod report;
mod rewards;
mod runs;
mod sandbox;
mod serve;
mod sources;
mod training;
mod view;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use path::path;
use rlar_run::OutputMode;

pub use benchmark::{BenchmarkCommand, JudgePrompt, RewardBenchmarkArguments};
pub use eval::{EvalArguments, PolicyEvalArguments};
pub use models::{ConvertArguments, DtypeArgument, GenerateArguments, GpuCheckArguments, ScoreArguments};
pub use report::{PlotArguments, ReportArguments};
pub use rewards::{ChoosingAgent, RewardsCommand, ToolArguments};
pub use runs::{CompareArguments, InitArguments, RolloutsArguments};
pub use sandbox::{SandboxCommand, SandboxRunArguments, TierArgument};
pub use serve::{LogFormat, ServeArguments};
pub use sources::{DataCommand, HubCommand, HubServeArguments};
pub use training::{ConfigArguments, FetchRewardsArguments, MethodArgument, Resume, TrainArguments, TrainingArguments};
pub use view::ViewArguments;

const VERSION: &str = if cfg!(feature = "cuda") {
    concat!(env!("CARGO_PKG_VERSION"), " (cpu, cuda)")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (cpu)")
};

/// Reinforcement learning of language models from agent rewards.
#[derive(Parser)]
#[command(name = "rlar", version = VERSION, after_help = "Exit codes: 0 success, 1 the job failed, 2 the request was wrong.")]
pub struct Arguments {
    /// Print nothing but the result, warnings and errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// The form in which the command shows progress, messages and results. `--json` takes precedence over `--quiet`,
    /// because it prints nothing but JSON anyway.
    pub fn output_mode(&self) -> OutputMode {
        let is_json = match &self.command {
            Command::Train(arguments) => arguments.training.json,
            Command::Sft(arguments) | Command::TrainRm(arguments) => arguments.json,
            Command::FetchRewards(arguments) => arguments.json,
            Command::Eval(arguments) => match &arguments.benchmark {
                Some(BenchmarkCommand::RewardbenchV2(arguments) | BenchmarkCommand::Rewards(arguments)) => {
                    arguments.json
                }
                None => arguments.policy.json,
            },
            _ => false,
        };
        match (is_json, self.quiet) {
            (true, _) => OutputMode::Json,
            (false, true) => OutputMode::Quiet,
            (false, false) => OutputMode::Text,
        }
    }
}

impl Arguments {
    /// What is logged when the environment does not say: warnings; a server also logs its requests, unless `--quiet` is
    /// given.
    pub fn default_log(&self) -> &'static str {
        let is_server = matches!(self.command, Command::Serve(_));
        if is_server && !self.quiet { "warn,rlar_serve=info" } else { "warn" }
    }

    /// The form of the log's lines.
    pub fn log_format(&self) -> LogFormat {
        match &self.command {
            Command::Serve(arguments) => arguments.log_format,
            _ => LogFormat::Text,
        }
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a policy.
    #[command(
        after_help = "Examples:\n  rlar train --config math.yaml\n  rlar train --config math.yaml --seed 1 --run runs/math-1\n  rlar train --config math.yaml --resume"
    )]
    Train(TrainArguments),
    /// Fine-tune a policy on demonstrations: rows with `prompt` and `demonstration`, or with `messages`, of which the
    /// assistant's turns are learned.
    #[command(after_help = "Example:\n  rlar sft --config sft.yaml")]
    Sft(TrainingArguments),
    /// Train a reward model on pairs: rows with `prompt`, `chosen`, `rejected` and optionally `margin`.
    #[command(
        after_help = "Examples:\n  rlar train-rm --config reward-model.yaml\n  rlar score --model runs/reward-model/final --prompt '2 + 2 =' --response 4"
    )]
    TrainRm(TrainingArguments),
    /// Evaluate a policy on suites or on a config's held-out data, or rewards on a benchmark.
    #[command(
        after_help = "Suites: arithmetic, code, gsm8k, gsm8k-base, humaneval, humaneval-base, ifeval, math500, mbpp, multi30k-en-de, translation, wmt22-en-de, wmt22-en-zh, or the path of a suite's YAML file (docs/reference/evaluation.md).\n\nExamples:\n  rlar eval arithmetic --model runs/math/final\n  rlar eval humaneval --server http://localhost:8000/v1 --server-model qwen --samples 20 --temperature 0.8 --metric pass@10\n  rlar eval wmt22-en-de --answers translations.de\n  rlar eval --config math.yaml --model runs/math/final\n  rlar eval rewardbench-v2 --data rows.jsonl --tool brevity"
    )]
    Eval(Box<EvalArguments>),
    /// Write a commented config for a data set and a model.
    #[command(after_help = "Example:\n  rlar init --data gsm8k/train.parquet --model SmolLM2-135M-Instruct")]
    Init(InitArguments),
    /// Say everything that is wrong with a config, its data, model, tools and suites, at once.
    #[command(after_help = "Example:\n  rlar check --config math.yaml")]
    Check(ConfigArguments),
    /// Show the replies of a step of a run, with their scores and why tools failed.
    #[command(
        after_help = "Examples:\n  rlar rollouts runs/math --worst\n  rlar rollouts runs/math --best --limit 2\n  rlar rollouts runs/math --step 10 --failed"
    )]
    Rollouts(RolloutsArguments),
    /// Show how the configs of runs differ, and their metrics side by side; the first run is the baseline.
    #[command(after_help = "Examples:\n  rlar compare runs/one runs/other\n  rlar compare runs/seed-*")]
    Compare(CompareArguments),
    /// Show runs in a local web page: from every number to the replies behind it, from every reply to the reasons of its
    /// reward.
    #[command(
        after_help = "Prints the page's address. It is for this machine alone, and nothing is written into a run.\n\nExamples:\n  rlar view runs/math\n  rlar view runs --port 9000 --no-browser"
    )]
    View(ViewArguments),
    /// Write what is known of runs into one page to pass on, or into Markdown for a README or a model card.
    #[command(
        after_help = "Nothing is written into a run.\n\nExamples:\n  rlar report runs/math --html math.html\n  rlar report runs/one runs/other --html both.html\n  rlar report runs/math --markdown results.md --plots"
    )]
    Report(ReportArguments),
    /// Draw a metric of runs as SVG.
    #[command(
        after_help = "Examples:\n  rlar plot runs/math reward --svg reward.svg\n  rlar plot runs/one runs/other kl --log --smooth 0.9 > kl.svg"
    )]
    Plot(PlotArguments),
    /// Fill a library folder with the reward tools that a config's data needs: curated ones, and what agents write and find
    /// if the config names a language model or a Hub. An interrupted command continues where it stopped.
    #[command(after_help = "Example:\n  rlar fetch-rewards --config math.yaml --library library")]
    FetchRewards(FetchRewardsArguments),
    /// Score replies with a reward model or with reward tools.
    #[command(
        after_help = "Examples:\n  rlar score --model skywork-reward --prompt '2 + 2?' --response 'It is 4.'\n  rlar score --model skywork-reward --data replies.jsonl\n  rlar score --tool math_equivalence --data replies.jsonl --cache scores.sqlite"
    )]
    Score(ScoreArguments),
    /// Serve rewards over HTTP to trainers that run elsewhere. A reply that was not scored never gets a number.
    #[command(
        after_help = "Prints the address as the first line of standard output. docs/reference/serve.md describes the routes.\n\nExamples:\n  rlar serve --library library\n  rlar serve --config multitask.yaml --port 9000\n  RLAR_SERVE_TOKEN=$(openssl rand -hex 32) rlar serve --library library --host 0.0.0.0"
    )]
    Serve(Box<ServeArguments>),
    /// Write a model as a Hugging Face folder: from a GGUF file, or with its LoRA adapter merged.
    #[command(
        after_help = "Examples:\n  rlar convert --model model.gguf --output model\n  rlar convert --model runs/lora/adapter --output merged"
    )]
    Convert(ConvertArguments),
    /// Continue a prompt, or chat turn by turn; replies are streamed.
    #[command(
        after_help = "Examples:\n  rlar generate --model SmolLM2-135M-Instruct.Q4_1.gguf\n  rlar generate --model runs/math/final --prompt '12 + 30 ='\n  rlar generate --model model.gguf --prompt '1, 2, 3,' --plain --temperature 0"
    )]
    Generate(GenerateArguments),
    /// List, try, admit, retire and compare reward tools.
    Rewards {
        /// A folder of tools; rlar's built-in library when absent.
        #[arg(long, value_name = "FOLDER", global = true, value_parser = path())]
        library: Option<PathBuf>,
        #[command(flatten)]
        tools: ToolArguments,
        #[command(subcommand)]
        command: RewardsCommand,
    },
    /// List and download published data sets.
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Serve a folder of models as the Hugging Face Hub would, for machines without a network.
    Hub {
        #[command(subcommand)]
        command: HubCommand,
    },
    /// Describe the format of configs.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Check that a device computes correctly, in f32 and bf16, against recorded results and against the CPU.
    #[command(after_help = "Example:\n  rlar gpu-check --device cuda:0")]
    GpuCheck(GpuCheckArguments),
    /// Print the reference of all commands as Markdown.
    #[command(hide = true)]
    Commands,
    /// Print a script with which a shell completes commands and options of rlar.
    #[command(
        after_help = "Examples:\n  rlar completions bash > ~/.local/share/bash-completion/completions/rlar\n  rlar completions zsh > ~/.zfunc/_rlar\n  rlar completions fish > ~/.config/fish/completions/rlar.fish"
    )]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Inspect and try the sandbox that runs untrusted code.
    Sandbox {
        #[command(subcommand)]
        command: SandboxCommand,
    },
}

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON Schema of configs, or a reference of their keys.
    #[command(
        after_help = "Examples:\n  rlar config schema > rlar.schema.json\n  rlar config schema --markdown > docs/reference/config.md"
    )]
    Schema {
        /// Print the reference, as Markdown.
        #[arg(long)]
        markdown: bool,
    },
}
