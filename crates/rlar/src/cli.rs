//! What can be typed.

mod benchmark;
mod measured;
mod sources;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use benchmark::{Benchmark, Judging, RewardBenchmark};
pub use measured::Measured;
pub use sources::{DataCommand, HubCommand, HubServe};

const VERSION: &str = if cfg!(feature = "cuda") {
    concat!(env!("CARGO_PKG_VERSION"), " (cpu, cuda)")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (cpu)")
};

/// Reinforcement learning of language models from agent rewards.
#[derive(Parser)]
#[command(name = "rlar", version = VERSION, after_help = "Exit codes: 0 success, 1 the job failed, 2 the request was wrong.")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Train a policy.
    #[command(
        after_help = "Examples:\n  rlar train --config math.yaml\n  rlar train --config math.yaml --seed 1 --run runs/math-1\n  rlar train --config math.yaml --resume"
    )]
    Train(Train),
    /// Fine-tune a policy on demonstrations.
    #[command(after_help = "Example:\n  rlar sft --config sft.yaml")]
    Sft(Training),
    /// Train a reward model on pairs of replies.
    #[command(after_help = "Example:\n  rlar train-rm --config reward-model.yaml")]
    TrainRm(Training),
    /// Measure a policy on suites or on a config's held-out data, or rewards on a benchmark.
    #[command(
        after_help = "Suites: arithmetic, code, gsm8k, gsm8k-base, humaneval, humaneval-base, ifeval, math500, mbpp, multi30k-en-de, translation, wmt22-en-de, wmt22-en-zh, or a YAML of your own (docs/eval.md).\n\nExamples:\n  rlar eval arithmetic --model runs/math/final\n  rlar eval humaneval --server http://localhost:8000/v1 --server-model qwen --samples 20 --temperature 0.8 --metric pass@10\n  rlar eval wmt22-en-de --answers translations.de\n  rlar eval --config math.yaml --model runs/math/final\n  rlar eval rewardbench-v2 --data rows.jsonl --tool brevity"
    )]
    Eval(Box<Eval>),
    /// Fill a library folder with the reward tools that a config's data needs.
    #[command(after_help = "Example:\n  rlar fetch-rewards --config math.yaml --library library")]
    FetchRewards(FetchRewards),
    /// Score replies with a reward model or with a tool.
    #[command(
        after_help = "Examples:\n  rlar score --model skywork-reward --prompt '2 + 2?' --response 'It is 4.'\n  rlar score --model skywork-reward --data replies.jsonl\n  rlar score --tool math_equivalence --data replies.jsonl --cache scores.sqlite"
    )]
    Score(Score),
    /// Write a model as a Hugging Face folder: from a GGUF file, or with its LoRA adapter merged.
    #[command(
        after_help = "Examples:\n  rlar convert --model model.gguf --output model\n  rlar convert --model runs/lora/adapter --output merged"
    )]
    Convert(Convert),
    /// Continue a prompt, or chat.
    #[command(
        after_help = "Examples:\n  rlar generate --model SmolLM2-135M-Instruct.Q4_1.gguf\n  rlar generate --model runs/math/final --prompt '12 + 30 ='\n  rlar generate --model model.gguf --prompt '1, 2, 3,' --plain --temperature 0"
    )]
    Generate(Generate),
    /// Reward tools: what there is, what they say, whether they may be trusted.
    Rewards {
        /// A folder with tools; rlar's own when absent.
        #[arg(long, value_name = "FOLDER", global = true)]
        library: Option<PathBuf>,
        #[command(flatten)]
        asked: Asked,
        #[command(subcommand)]
        command: RewardsCommand,
    },
    /// Published data sets.
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// A hub of one's own, for machines without a network.
    Hub {
        #[command(subcommand)]
        command: HubCommand,
    },
    /// About configs.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// About the sandbox.
    Sandbox {
        #[command(subcommand)]
        command: SandboxCommand,
    },
}

#[derive(Subcommand)]
pub enum RewardsCommand {
    /// List the tools of a library, with what admission said of them.
    #[command(after_help = "Examples:\n  rlar rewards list\n  rlar rewards list --library library --json")]
    List {
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Show a tool's card, its source and its admission.
    #[command(after_help = "Example:\n  rlar rewards show math_equivalence")]
    Show {
        /// The tool.
        tool: String,
    },
    /// Ask a tool about a reply.
    #[command(
        after_help = "Examples:\n  rlar rewards test math_equivalence --prompt 'What is 1/2 + 1/4?' --reference 3/4 --response 'It is 0.75.'\n  rlar rewards test code_tests --prompt 'Add.' --response 'def add(a, b): return a + b' --column 'tests=[\"assert add(1, 2) == 3\"]'"
    )]
    Test {
        /// The tool.
        tool: String,
        /// What was asked.
        #[arg(long, default_value = "(no prompt)")]
        prompt: String,
        /// The reply.
        #[arg(long)]
        response: String,
        /// The right or a good reply.
        #[arg(long)]
        reference: Option<String>,
        /// A further column of the example, as JSON or text; may be given several times.
        #[arg(long, value_name = "NAME=VALUE")]
        column: Vec<String>,
    },
    /// Examine tools and keep the reports in their folders. Exits with 1 when any is refused.
    #[command(
        after_help = "Examples:\n  rlar rewards admit --library library\n  rlar rewards admit my_tool --library library --data examples.jsonl"
    )]
    Admit {
        /// The tools; all of the library but the retired when absent.
        tools: Vec<String>,
        /// Examples with references (or demonstrations) to examine on, as JSONL; rlar's own when absent.
        #[arg(long, value_name = "FILE")]
        data: Option<PathBuf>,
        /// Pairs of replies (`prompt`, `chosen`, `rejected`) to examine on, as JSONL.
        #[arg(long, value_name = "FILE")]
        preferences: Option<PathBuf>,
    },
    /// Take a tool out of use: nothing chooses it any more. Admitting it by name brings it back.
    #[command(after_help = "Example:\n  rlar rewards retire old_tool --library library --why 'pays for length'")]
    Retire {
        /// The tool.
        tool: String,
        /// Why, for those who ask later.
        #[arg(long, default_value = "no reason given")]
        why: String,
    },
    /// Compare a library with another, such as the snapshot of a run: tools that are in one of them only, and lines that
    /// differ.
    #[command(after_help = "Example:\n  rlar rewards diff runs/math/library --library library")]
    Diff {
        /// The other folder.
        other: PathBuf,
    },
    /// Statistics of a log of calls: how often each tool was asked, what it said, what it took.
    #[command(after_help = "Examples:\n  rlar rewards stats runs/math\n  rlar rewards stats scores.sqlite --json")]
    Stats {
        /// A run's folder, a library's, or the file itself.
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
}

/// What tools run with.
#[derive(Args)]
pub struct Asked {
    /// A Python package that verifiers may import, as pip writes it; may be given several times. Installed at first use.
    #[arg(long, value_name = "PACKAGE", global = true)]
    pub package: Vec<String>,
    /// An OpenAI-compatible server for judges, such as `http://localhost:8000/v1`; its key is in `OPENAI_API_KEY`.
    #[arg(long, value_name = "URL", global = true, requires = "llm_model")]
    pub llm: Option<String>,
    /// The model's name on that server.
    #[arg(long, value_name = "NAME", global = true)]
    pub llm_model: Option<String>,
    /// Recorded exchanges that answer judges instead.
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "llm")]
    pub llm_replay: Option<String>,
    /// Record the exchanges with the server in this file.
    #[arg(long, value_name = "FILE", global = true)]
    pub llm_record: Option<String>,
}

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON Schema of configs, or the reference for people.
    #[command(
        after_help = "Examples:\n  rlar config schema > rlar.schema.json\n  rlar config schema --markdown > docs/config.md"
    )]
    Schema {
        /// Print Markdown.
        #[arg(long)]
        markdown: bool,
    },
}

#[derive(Subcommand)]
pub enum SandboxCommand {
    /// Say what confines untrusted code on this machine.
    #[command(after_help = "Example:\n  rlar sandbox status")]
    Status,
    /// Run a Python program confined, and say how it ended and what it took.
    #[command(after_help = "Example:\n  rlar sandbox run program.py --input input.txt --seconds 5")]
    Run(SandboxRun),
    /// Let the shipped attacks loose and say what contained each.
    #[command(after_help = "Examples:\n  rlar sandbox attack\n  rlar sandbox attack --tier b")]
    Attack {
        /// Use this tier instead of the best that the machine allows.
        #[arg(long)]
        tier: Option<Tier>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Tier {
    A,
    B,
}

#[derive(Args)]
pub struct SandboxRun {
    /// The program.
    pub file: PathBuf,
    /// A file with its standard input; none when absent.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Longest time.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Address space, in megabytes.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(64..=1 << 20))]
    pub megabytes: u64,
    /// Use this tier instead of the best that the machine allows.
    #[arg(long)]
    pub tier: Option<Tier>,
}

/// The config of a job and what may differ from run to run.
#[derive(Args)]
pub struct Chosen {
    /// A YAML file: looked for as given, then under `configs/`, then among those embedded here.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Use another seed than the config's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Use another run folder than the config's.
    #[arg(long, value_name = "FOLDER")]
    pub run: Option<PathBuf>,
    /// Use another model than the config's: a Hugging Face folder or a GGUF file. Training starts from it as it is,
    /// without the config's warm-up.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Method {
    Grpo,
    Sft,
    RewardModel,
}

/// What `--resume` asks for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Resume {
    /// Continue the run that the folder holds; an error where it holds none.
    Always,
    /// Continue it where there is one, else start.
    Auto,
}

#[derive(Args)]
pub struct Train {
    #[command(flatten)]
    pub training: Training,
    /// Use another method than the config's; `sft` is the control of an experiment.
    #[arg(long)]
    pub method: Option<Method>,
}

#[derive(Args)]
pub struct Training {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Continue the run that the folder holds; with `auto`, start one where it holds none.
    #[arg(long, num_args = 0..=1, default_missing_value = "always", value_name = "WHEN")]
    pub resume: Option<Resume>,
    /// Print what would be done (config, memory, tokens, tools, time) and write nothing.
    #[arg(long, conflicts_with = "resume")]
    pub dry_run: bool,
    /// Take this many steps instead of the config's.
    #[arg(long)]
    pub steps: Option<u64>,
    /// Stop after this much time in sampling, scoring and training.
    #[arg(long)]
    pub minutes: Option<f64>,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Eval {
    #[command(subcommand)]
    pub benchmark: Option<Benchmark>,
    #[command(flatten)]
    pub measured: Measured,
}

#[derive(Args)]
pub struct FetchRewards {
    #[command(flatten)]
    pub chosen: Chosen,
    /// The folder to fill; the config's `rewards.library`, else `library`, when absent.
    #[arg(long, value_name = "FOLDER")]
    pub library: Option<PathBuf>,
}

#[derive(Args)]
pub struct Generate {
    /// A Hugging Face folder, one with a LoRA adapter, or a GGUF file.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// What to continue, or to reply to when the model has a chat template. Without it, a chat begins: every line of
    /// standard input is a turn.
    #[arg(long)]
    pub prompt: Option<String>,
    /// Standing instructions for a chat.
    #[arg(long, value_name = "TEXT", conflicts_with = "plain")]
    pub system: Option<String>,
    /// Continue the text as it is, without the chat template.
    #[arg(long, requires = "prompt")]
    pub plain: bool,
    /// Longest reply, in tokens.
    #[arg(long, default_value_t = 256)]
    pub max_tokens: usize,
    /// 0 takes the likeliest token. Where this and the next four are absent, the model's `generation_config.json` decides,
    /// else the whole distribution at temperature 1.
    #[arg(long, allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Draw from the smallest set of tokens with this much probability.
    #[arg(long)]
    pub top_p: Option<f32>,
    /// Draw from this many likeliest tokens; 0 is all.
    #[arg(long)]
    pub top_k: Option<usize>,
    /// Draw from tokens at least this many times as likely as the likeliest.
    #[arg(long)]
    pub min_p: Option<f32>,
    /// More than 1 makes tokens that occurred less likely.
    #[arg(long)]
    pub repetition_penalty: Option<f32>,
    /// A text that ends the reply; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// `cpu`, `cuda:N` or `auto`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

#[derive(Args)]
pub struct Score {
    /// A Hugging Face folder with a `…ForSequenceClassification` model.
    #[arg(long, value_name = "FOLDER", required_unless_present = "tool", conflicts_with = "tool")]
    pub model: Option<PathBuf>,
    /// A tool of the library; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub tool: Vec<String>,
    /// Folder with tools; rlar's own when absent.
    #[arg(long, value_name = "FOLDER", requires = "tool")]
    pub library: Option<PathBuf>,
    /// With --tool: a file that remembers scores and logs calls; several processes may share it.
    #[arg(long, value_name = "FILE", requires = "tool")]
    pub cache: Option<PathBuf>,
    #[command(flatten)]
    pub asked: Asked,
    /// JSONL rows: `prompt` (text or messages) and `response` (or `completion`), or `messages` that end with the reply; `id`
    /// is kept. Tools also read `reference` and other columns.
    #[arg(long, value_name = "FILE", required_unless_present = "prompt", conflicts_with_all = ["prompt", "response"])]
    pub data: Option<PathBuf>,
    /// A question, to score one reply.
    #[arg(long, requires = "response")]
    pub prompt: Option<String>,
    /// The reply to it.
    #[arg(long, requires = "prompt")]
    pub response: Option<String>,
    /// With --tool: the right or a good reply.
    #[arg(long, requires_all = ["prompt", "tool"])]
    pub reference: Option<String>,
    /// Tokens at a time.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
    /// `cpu`, `cuda:N` or `auto`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

#[derive(Args)]
pub struct Convert {
    /// A Hugging Face folder (of a language model or a reward model), one with a LoRA adapter, or a GGUF file.
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// The folder to write; it must be new or empty.
    #[arg(long, value_name = "FOLDER")]
    pub output: PathBuf,
}
