//! `rlar rewards`, and the options of every command that runs reward tools.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::ConfigArguments;
use crate::cli::path::{path, path_text};

#[derive(Subcommand)]
pub enum RewardsCommand {
    /// List the reward tools of a library, and whether each passed its admission checks, so that training may use it.
    #[command(after_help = "Examples:\n  rlar rewards list\n  rlar rewards list --library library --json")]
    List {
        /// Print a JSON object per tool, one on each line.
        #[arg(long)]
        json: bool,
    },
    /// Show a tool's card (`tool.yaml`), source and admission report.
    #[command(after_help = "Example:\n  rlar rewards show math_equivalence")]
    Show {
        /// The tool's name.
        tool: String,
    },
    /// Score one reply, or those of a file, with a tool or with a Python function of your own.
    #[command(
        after_help = "Examples:\n  rlar rewards test math_equivalence --prompt 'What is 1/2 + 1/4?' --reference 3/4 --response 'It is 0.75.'\n  rlar rewards test code_tests --prompt 'Add.' --response 'def add(a, b): return a + b' --column 'tests=[\"assert add(1, 2) == 3\"]'\n  rlar rewards test reward.py:accuracy --data rows.jsonl"
    )]
    Test {
        /// The tool's name, or a Python function as `reward.py:accuracy`.
        tool: String,
        /// The prompt that the reply answers: a text, or messages as a JSON list, with which functions in TRL's form get
        /// lists of messages.
        #[arg(long, default_value = "(no prompt)")]
        prompt: String,
        /// The reply to score.
        #[arg(long, required_unless_present = "data")]
        response: Option<String>,
        /// JSONL rows with `prompt` and `response`: a reply, or a list of replies that form a group. A row without
        /// `response` is tried on its `demonstration` or `reference`.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "response", "reference", "column"])]
        data: Option<PathBuf>,
        /// The reference answer, a correct or good reply.
        #[arg(long)]
        reference: Option<String>,
        /// A further column of the example, as JSON or text; may be given several times.
        #[arg(long, value_name = "NAME=VALUE")]
        column: Vec<String>,
    },
    /// Say which tools score the prompts of a config, and why: a JSON object per prompt, one on each line, with its `file`
    /// where the config has several data sets.
    #[command(
        after_help = "Examples:\n  rlar rewards choose --config math.yaml\n  rlar rewards choose --config math.yaml --agent builtin --data other.jsonl"
    )]
    Choose {
        #[command(flatten)]
        config: ConfigArguments,
        /// JSONL prompts to choose for, instead of the config's.
        #[arg(long, value_name = "FILE", value_parser = path())]
        data: Option<PathBuf>,
        /// Who chooses, instead of the config's `rewards.agent`.
        #[arg(long)]
        agent: Option<ChoosingAgent>,
    },
    /// Run the admission checks, which a tool must pass to be used: among others, it ranks good replies above bad ones, and
    /// rewards none of 28 hacks. Each tool's report is written into its folder. Exits with 1 if a tool is refused or cannot
    /// be examined.
    #[command(
        after_help = "Examples:\n  rlar rewards admit --library library\n  rlar rewards admit my_tool --library library --data examples.jsonl"
    )]
    Admit {
        /// The tools' names; when absent, all tools of the library that are not retired.
        tools: Vec<String>,
        /// JSONL examples with references or demonstrations to run the checks on. Without this and `--preferences`,
        /// built-in examples.
        #[arg(long, value_name = "FILE", value_parser = path())]
        data: Option<PathBuf>,
        /// JSONL pairs of replies (`prompt`, `chosen`, `rejected`) to run the checks on.
        #[arg(long, value_name = "FILE", value_parser = path())]
        preferences: Option<PathBuf>,
    },
    /// Retire a tool, so that no prompt uses it any more. `admit` with its name brings it back.
    #[command(after_help = "Example:\n  rlar rewards retire old_tool --library library --why 'rewards length'")]
    Retire {
        /// The tool's name.
        tool: String,
        /// The reason, kept in the tool's admission report.
        #[arg(long, default_value = "no reason given")]
        why: String,
    },
    /// Compare two libraries, such as a run's snapshot with the current one: tools in only one of them, and lines that
    /// differ.
    #[command(after_help = "Example:\n  rlar rewards diff runs/math/library --library library")]
    Diff {
        /// The folder of the library to compare with.
        #[arg(value_parser = path())]
        other: PathBuf,
    },
    /// Print statistics of a log of tool calls: number of calls, distribution of scores, time and tokens.
    #[command(after_help = "Examples:\n  rlar rewards stats runs/math\n  rlar rewards stats scores.sqlite --json")]
    Stats {
        /// The folder of a run or a library, or the log file itself.
        #[arg(value_name = "PATH", value_parser = path())]
        path: PathBuf,
        /// Print a JSON object per tool, one on each line.
        #[arg(long)]
        json: bool,
    },
}

/// What the command line lets tools use: Python packages and a language model.
#[derive(Args)]
pub struct ToolArguments {
    /// Run Python functions that the command line names unconfined, in an ordinary Python process.
    #[arg(long, global = true)]
    pub trusted: bool,
    /// A keyword argument for every call of Python functions that the command line names, as JSON or text; may be given
    /// several times.
    #[arg(long, value_name = "NAME=VALUE", global = true)]
    pub kwarg: Vec<String>,
    /// A Python package that verifiers may import, as a pip requirement; may be given several times. Installed at first
    /// use.
    #[arg(long, value_name = "PACKAGE", global = true)]
    pub package: Vec<String>,
    /// The OpenAI-compatible server of judges, such as `http://localhost:8000/v1`; `OPENAI_API_KEY` holds its key.
    #[arg(long, value_name = "URL", global = true, requires = "llm_model")]
    pub llm: Option<String>,
    /// The model's name on that server.
    #[arg(long, value_name = "NAME", global = true)]
    pub llm_model: Option<String>,
    /// A chat model for judges that rlar runs on the CPU instead of a server: a Hugging Face folder, a GGUF file, or a
    /// model of the Hub as `OWNER/NAME[@REVISION]`.
    #[arg(long, value_name = "MODEL", global = true, conflicts_with = "llm", value_parser = path())]
    pub llm_local: Option<PathBuf>,
    /// Answer judges from recorded exchanges instead of a server.
    #[arg(long, value_name = "FILE", global = true, conflicts_with_all = ["llm", "llm_local"], value_parser = path_text)]
    pub llm_replay: Option<String>,
    /// Record the exchanges with the language model in this file.
    #[arg(long, value_name = "FILE", global = true, value_parser = path_text)]
    pub llm_record: Option<String>,
}

/// Who chooses the tools of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChoosingAgent {
    /// Fixed rules.
    Builtin,
    /// The language model of `rewards.llm`.
    Llm,
}
