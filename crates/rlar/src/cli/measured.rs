//! `rlar eval` on suites, and on a config's held-out data.

use std::path::PathBuf;

use clap::Args;

use super::{Asked, Chosen};

#[derive(Args)]
pub struct Measured {
    /// Suites: names of rlar's own, or YAML files. Without any, the held-out data of `--config`.
    #[arg(value_name = "SUITE")]
    pub suites: Vec<String>,
    /// A config: whose held-out data are measured, or, with suites, whose run's final policy answers. Looked for as given, then
    /// under `configs/`, then among those embedded here.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The model that answers: a Hugging Face folder, one with a LoRA adapter, or a GGUF file.
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,
    /// With suites: an OpenAI-compatible server that answers, such as `http://localhost:8000/v1`; its key is in
    /// `OPENAI_API_KEY`.
    #[arg(long, value_name = "URL", requires_all = ["suites", "server_model"], conflicts_with_all = ["model", "answers", "config"])]
    pub server: Option<String>,
    /// The model's name on that server.
    #[arg(long, value_name = "NAME", requires = "server")]
    pub server_model: Option<String>,
    /// Requests to that server at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// With one suite: replies that were recorded elsewhere. JSONL rows with `id` (or `task_id`, `key`, `prompt`) and `reply` (or
    /// `completion`, `response`, `output`), or a text with a line per prompt.
    #[arg(long, value_name = "FILE", requires = "suites", conflicts_with_all = ["model", "config", "samples", "temperature", "max_tokens"])]
    pub answers: Option<PathBuf>,
    /// With one suite: read these rows instead of those that it names.
    #[arg(long, value_name = "FILE", requires = "suites")]
    pub data: Option<String>,
    /// With suites: only the first prompts.
    #[arg(long, value_name = "N", requires = "suites", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// With suites: this many replies per prompt instead of the suite's.
    #[arg(long, value_name = "N", requires = "suites", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub samples: Option<u32>,
    /// With suites: another temperature than the suite's; 0 takes the likeliest token.
    #[arg(long, requires = "suites")]
    pub temperature: Option<f32>,
    /// With suites: another longest reply than the suite's, in tokens.
    #[arg(long, value_name = "N", requires = "suites", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
    /// With suites: these figures instead of the suite's, such as `pass@10` or `maj@8`; may be given several times.
    #[arg(long, value_name = "NAME", requires = "suites")]
    pub metric: Vec<String>,
    /// With suites: a folder with tools instead of rlar's own.
    #[arg(long, value_name = "FOLDER", requires = "suites")]
    pub library: Option<PathBuf>,
    /// With suites: a folder for replies, verdicts and figures of each; an interrupted evaluation goes on from there.
    #[arg(long, value_name = "FOLDER", requires = "suites")]
    pub out: Option<PathBuf>,
    /// With suites: sequences at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: u16,
    /// With suites: resamples for 95 % intervals; 0 gives none.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub bootstrap: u32,
    /// With suites: print Markdown.
    #[arg(long, requires = "suites")]
    pub markdown: bool,
    /// With suites: where the model runs: `cpu`, `cuda:N` or `auto`; the config's, else the CPU, when absent.
    #[arg(long, requires = "suites")]
    pub device: Option<String>,
    /// Seed of draws and resamples; without suites, another than the config's.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Use another run folder than the config's.
    #[arg(long, value_name = "FOLDER", requires = "config")]
    pub run: Option<PathBuf>,
    #[command(flatten)]
    pub asked: Asked,
}

impl Measured {
    /// The config and what differs from it, where there is one.
    pub fn chosen(&self) -> Option<Chosen> {
        let config = self.config.clone()?;
        Some(Chosen { config, seed: self.seed, run: self.run.clone(), model: self.model.clone() })
    }
}
