//! `rlar generate`, `score`, `convert` and `gpu-check`: commands that run one model.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};

use super::ToolArguments;

use crate::cli::path::path;

#[derive(Args)]
pub struct GenerateArguments {
    /// A Hugging Face folder, a folder with a LoRA adapter, a GGUF file, or a model of the Hub as
    /// `OWNER/NAME[@REVISION][/FILE.gguf]`.
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub model: PathBuf,
    /// The text to continue, or the message to reply to if the model has a chat template. When absent, start a chat:
    /// every line of standard input is one user message.
    #[arg(long)]
    pub prompt: Option<String>,
    /// The system message of the chat.
    #[arg(long, value_name = "TEXT", conflicts_with = "plain")]
    pub system: Option<String>,
    /// Continue the prompt as plain text, without the chat template.
    #[arg(long, requires = "prompt")]
    pub plain: bool,
    /// Maximum length of a reply, in tokens.
    #[arg(long, default_value_t = 256)]
    pub max_tokens: usize,
    /// Sampling temperature; 0 always takes the most likely token. Where this option and the next four are absent, the
    /// model's `generation_config.json` decides; without that file, tokens are drawn from the full distribution at
    /// temperature 1.
    #[arg(long, allow_negative_numbers = true)]
    pub temperature: Option<f32>,
    /// Nucleus sampling: draw from the smallest set of tokens whose probabilities add up to this.
    #[arg(long)]
    pub top_p: Option<f32>,
    /// Draw from this many of the most likely tokens; 0 means all.
    #[arg(long)]
    pub top_k: Option<usize>,
    /// Draw only from tokens with at least this fraction of the most likely token's probability.
    #[arg(long)]
    pub min_p: Option<f32>,
    /// Penalty on tokens that have occurred; values above 1 make them less likely.
    #[arg(long)]
    pub repetition_penalty: Option<f32>,
    /// A text that ends the reply; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Seed of the sampling.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The device to compute on: `cpu`, `cuda:N` or `auto`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

#[derive(Args)]
#[command(group = ArgGroup::new("tools").multiple(true))]
pub struct ScoreArguments {
    /// A Hugging Face folder with a `…ForSequenceClassification` model, or such a model of the Hub as
    /// `OWNER/NAME[@REVISION]`.
    #[arg(long, value_name = "FOLDER", required_unless_present = "tools", conflicts_with = "tools", value_parser = path())]
    pub model: Option<PathBuf>,
    /// A tool of the library; may be given several times.
    #[arg(long, value_name = "NAME", group = "tools")]
    pub tool: Vec<String>,
    /// A Python function of your own, as `reward.py:accuracy`; may be given several times.
    #[arg(long, value_name = "FILE:FUNCTION", group = "tools")]
    pub python: Vec<String>,
    /// A folder of tools; rlar's built-in library when absent.
    #[arg(long, value_name = "FOLDER", requires = "tool", value_parser = path())]
    pub library: Option<PathBuf>,
    /// With --tool or --python: a file that caches scores and logs calls; several processes may share it.
    #[arg(long, value_name = "FILE", requires = "tools", value_parser = path())]
    pub cache: Option<PathBuf>,
    #[command(flatten)]
    pub tools: ToolArguments,
    /// JSONL rows with `prompt` (text or messages) and `response` (or `completion`), or with `messages` that end with
    /// the reply; an `id` is repeated in the output. Tools also read `reference` and other columns.
    #[arg(long, value_name = "FILE", required_unless_present = "prompt", conflicts_with_all = ["prompt", "response"], value_parser = path())]
    pub data: Option<PathBuf>,
    /// The prompt of a single reply to score.
    #[arg(long, requires = "response")]
    pub prompt: Option<String>,
    /// The reply to --prompt.
    #[arg(long, requires = "prompt")]
    pub response: Option<String>,
    /// With --tool or --python: the reference answer, a correct or good reply.
    #[arg(long, requires_all = ["prompt", "tools"])]
    pub reference: Option<String>,
    /// Maximum number of tokens in a batch of the reward model.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch_tokens: u32,
    /// The device to compute on: `cpu`, `cuda:N` or `auto`.
    #[arg(long, default_value = "cpu")]
    pub device: String,
}

/// The type of weights in files, as `--dtype` takes it.
#[derive(Clone, Copy, ValueEnum)]
pub enum DtypeArgument {
    Float32,
    Float16,
    Bfloat16,
}

#[derive(Args)]
pub struct ConvertArguments {
    /// A Hugging Face folder (of a language model or a reward model), a folder with a LoRA adapter, a GGUF file, or a
    /// model of the Hub as `OWNER/NAME[@REVISION][/FILE.gguf]`.
    #[arg(long, value_name = "PATH", value_parser = path())]
    pub model: PathBuf,
    /// The type of the weights to write; when absent, that of the model's safetensors, and `float32` for a GGUF file.
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<DtypeArgument>,
    /// The folder to write; it must be new or empty.
    #[arg(long, value_name = "FOLDER", value_parser = path())]
    pub output: PathBuf,
}

#[derive(Args)]
pub struct GpuCheckArguments {
    /// The device to check: `cuda:N`, `cpu` or `auto` (the first GPU if there is one, otherwise the CPU).
    #[arg(long, default_value = "cuda:0")]
    pub device: String,
}
