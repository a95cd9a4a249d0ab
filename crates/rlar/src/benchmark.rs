//! `rlar eval rewardbench-v2` and `rlar eval rewards`: how well tools, reward models and judges score a benchmark, and
//! whether choosing among them per prompt does better.

use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::judge::best_of_four::PromptStyle;
use rlar_eval::judge::{JudgeMode, judge_benchmark};
use rlar_eval::readers::{BenchmarkFormat, read_benchmark, read_benchmark_as};
use rlar_eval::report::side_by_side;
use rlar_eval::reward_bench_2::RewardBenchVersion;
use rlar_eval::reward_bench_files::{ScoredModel, eval_set, eval_set_scores};
use rlar_eval::score_benchmark::score_benchmark;
use rlar_eval::scores::CommonScores;
use rlar_eval::table::{markdown, render};
use rlar_eval::{Benchmark, BenchmarkReport, BenchmarkScores};
use rlar_net::llm::{Llm, LlmCache};
use rlar_rewards::{Library, Orchestrator, ToolCard, ToolKind};
use rlar_run::{OutputMode, Progress, write_atomic};
use serde_json::json;

use crate::cli::{JudgePrompt, RewardBenchmarkArguments};
use crate::error::BadRequestExt;
use crate::find::data_files;
use crate::interrupt::is_interrupted;
use crate::output::{mode, print};
use crate::rewards::{check_tool, language_model, orchestrator_with};
use crate::suites::how_to_continue;
use crate::{model, routing, setup};

/// Path of RewardBench 2 in the folder of downloaded data.
const REWARDBENCH2: &str = "rewardbench-v2/test.parquet";

/// Evaluates rewards on a benchmark. `format` is the format of its files; if `None`, their columns show it.
pub fn run(arguments: &RewardBenchmarkArguments, format: Option<BenchmarkFormat>) -> Result<()> {
    let Inputs { benchmark, mut rewards, tools, given, llm } = Inputs::prepare(arguments, format).bad_request()?;
    let llm = match (llm, &arguments.out) {
        (Some(llm), Some(out)) => Some(cached(llm, out)?),
        (llm, _) => llm,
    };
    mode().event("start", json!({ "benchmark": benchmark.name, "items": benchmark.items.len() }));
    let mut scores = Vec::new();
    for name in &tools {
        scores.push(score_with_tool(arguments, &benchmark, &mut rewards, name)?);
    }
    let judged = match &llm {
        Some(llm) => score_with_judges(arguments, &benchmark, llm.as_ref())?,
        None => JudgeScores::default(),
    };
    let generative = scores.len()..scores.len() + judged.scores.len();
    scores.extend(judged.scores);
    scores.extend(given);
    let bootstrap = Bootstrap { resamples: arguments.bootstrap as usize, seed: arguments.seed };
    let compat = if arguments.compat.is_some() { RewardBenchVersion::V0_1_4 } else { RewardBenchVersion::Newest };
    let report = |s: &BenchmarkScores| {
        BenchmarkReport::new(&benchmark, s, compat, (bootstrap.resamples > 0).then_some(bootstrap))
    };
    let reports: Vec<BenchmarkReport> = scores.iter().map(report).collect();
    let tables = if arguments.route.is_empty() && !arguments.cross_fit {
        Vec::new()
    } else {
        routing::tables(arguments, &benchmark, &scores, rewards.library(), llm.as_ref(), bootstrap)?
    };
    if let Some(out) = &arguments.out {
        write(out, &benchmark, &scores, &reports, &generative)?;
        if !tables.is_empty() {
            write_atomic(&out.join("routing.json"), format!("{:#}\n", json!(tables)).as_bytes())?;
        }
    }
    if mode() == OutputMode::Json {
        for note in judged.notes.lines() {
            mode().event("note", json!({ "message": note }));
        }
        for report in &reports {
            mode().event("result", report.json());
        }
        if !tables.is_empty() {
            mode().event("routing", json!({ "tables": tables }));
        }
        return Ok(());
    }
    let mut text = summary(arguments, &benchmark, &reports);
    text += &judged.notes;
    text += &routing::text(arguments, &tables);
    print(text)
}

/// Formats a table for the terminal, or as Markdown with `--markdown`.
pub fn table(arguments: &RewardBenchmarkArguments, rows: &[Vec<String>]) -> String {
    if arguments.markdown { markdown(rows) } else { render(rows) }
}

/// What the command line names, read and checked: the benchmark, and what scores it.
struct Inputs {
    /// The items to score.
    benchmark: Benchmark,
    /// The orchestrator that runs the reward tools.
    rewards: Orchestrator,
    /// Names of the tools to score with; all of them are open in `rewards`.
    tools: Vec<String>,
    /// Scores that were read from the files of `--scores`.
    given: Vec<BenchmarkScores>,
    /// The language model for `--judge` and `--route agent`; `None` if the command line names none.
    llm: Option<Arc<dyn Llm>>,
}

impl Inputs {
    fn prepare(arguments: &RewardBenchmarkArguments, format: Option<BenchmarkFormat>) -> Result<Self> {
        let benchmark = read(arguments, format)?;
        let mut library = setup::library(arguments.library.as_deref())?;
        arguments.tool.iter().try_for_each(|tool| check_tool(&library, tool))?;
        let models: Vec<String> =
            arguments.model.iter().map(|path| add_model(&mut library, path)).collect::<Result<_>>()?;
        let tools = tools(arguments, &library, &models)?;
        let (benchmark, given) = read_scores(arguments, benchmark)?;
        let llm = language_model(&arguments.tools)?;
        if llm.is_none() {
            let needs_llm = |option: &str| {
                anyhow!("{option} asks a language model: name one with --llm, --llm-local or --llm-replay")
            };
            if !arguments.judge.is_empty() {
                return Err(needs_llm("--judge"));
            }
            if arguments.route.iter().any(|route| route == "agent") {
                return Err(needs_llm("--route agent"));
            }
        }
        let scored: Vec<&str> = tools.iter().map(String::as_str).chain(given.iter().map(|s| s.tool.as_str())).collect();
        routing::check(arguments, &scored)?;
        let mut rewards = orchestrator_with(library, &arguments.tools, &arguments.device, llm.clone());
        for tool in &tools {
            rewards.open(tool)?;
        }
        Ok(Self { benchmark, rewards, tools, given, llm })
    }
}

/// A language model whose replies are stored in the folder `out`, so that no request is sent twice, even by a continued
/// evaluation.
fn cached(llm: Arc<dyn Llm>, out: &Path) -> Result<Arc<dyn Llm>> {
    std::fs::create_dir_all(out).with_context(|| format!("--out {}", out.display())).bad_request()?;
    Ok(Arc::new(LlmCache::new(llm, &out.join("exchanges.jsonl"))?))
}

/// Reads the benchmark from the files of `--data`, or RewardBench 2 from the downloaded data, and restricts it to
/// `--subset` and `--limit`.
fn read(arguments: &RewardBenchmarkArguments, format: Option<BenchmarkFormat>) -> Result<Benchmark> {
    let files = if !arguments.data.is_empty() {
        arguments.data.clone()
    } else if format == Some(BenchmarkFormat::RewardBench2) {
        let found = data_files(Path::new(""), REWARDBENCH2);
        let found = found.context("without --data, RewardBench 2 is read from the downloaded data")?;
        found.into_iter().map(|file| file.path).collect()
    } else {
        bail!("--data is missing: give the benchmark's files (only RewardBench 2 is found without it)");
    };
    let parts = files.iter().map(|path| read_part(path, format)).collect::<Result<Vec<_>>>()?;
    let mut benchmark = Benchmark::join(parts)?;
    for name in &arguments.subset {
        if !benchmark.items.iter().any(|item| item.category == *name) {
            let categories: Vec<&str> = benchmark.categories().iter().map(|(name, _)| *name).collect();
            bail!("--subset {name}: the data have {}", categories.join(", "));
        }
    }
    if !arguments.subset.is_empty() {
        benchmark = benchmark.select(|item| arguments.subset.contains(&item.category));
    }
    Ok(match arguments.limit {
        Some(limit) => benchmark.limit(limit as usize),
        None => benchmark,
    })
}

fn read_part(path: &Path, format: Option<BenchmarkFormat>) -> Result<Benchmark> {
    let bytes = std::fs::read(path).with_context(|| format!("--data {}", path.display()))?;
    Ok(match format {
        Some(format) => read_benchmark_as(path, &bytes, format)?,
        None => read_benchmark(path, &bytes)?,
    })
}

/// Reads the files of `--scores`. Returns the benchmark and each tool's scores of its items. With `--only-scored`, both
/// have only the items for which the files have scores of every tool.
fn read_scores(
    arguments: &RewardBenchmarkArguments,
    benchmark: Benchmark,
) -> Result<(Benchmark, Vec<BenchmarkScores>)> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("--scores {}", path.display()));
    let files = arguments.scores.iter().map(read).collect::<Result<Vec<_>>>()?;
    let files: Vec<(&Path, &[u8])> = arguments.scores.iter().zip(&files).map(|(p, b)| (p.as_path(), &b[..])).collect();
    if arguments.only_scored {
        let total = benchmark.items.len();
        let CommonScores { benchmark: common, scores, unknown_rows } =
            BenchmarkScores::read_common(&files, &benchmark)?;
        let left_out = total - common.items.len();
        if left_out + unknown_rows > 0 {
            tracing::warn!(
                "--only-scored leaves out {left_out} of {total} items, and {unknown_rows} scores of items that the benchmark \
                 does not have"
            );
        }
        return Ok((common, scores));
    }
    let mut scores = Vec::new();
    for (path, bytes) in files {
        scores.extend(BenchmarkScores::read(path, bytes, &benchmark)?);
    }
    Ok((benchmark, scores))
}

/// Adds a reward model to the library as a tool whose score is the model's raw output, and returns the tool's name.
fn add_model(library: &mut Library, path: &Path) -> Result<String> {
    let source = model::find(path).context("--model")?;
    let home = std::path::absolute(&source.path)?;
    if !home.join("config.json").is_file() {
        bail!("--model {}: a Hugging Face folder with a reward model is expected there", path.display());
    }
    let folder = home.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A run's final model gets the name of the run.
    let folder = match (source.repository, folder.as_str(), home.parent().and_then(Path::file_name)) {
        (Some(repository), ..) => repository.id.split('/').next_back().unwrap_or_default().to_owned(),
        (None, "final", Some(run)) => run.to_string_lossy().into_owned(),
        _ => folder,
    };
    let sanitised = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let mut name: String = folder.chars().map(sanitised).collect();
    while library.card(&name).is_some() {
        name.push('_');
    }
    let card = format!(
        "name: {name}\nkind: model\nrole: quality\nmeasures: a reward model\ntasks: [any]\nneeds_reference: false\n\
         range: [-1000000000, 1000000000]\nmodel: {{ path: {} }}\norigin: the command line\n",
        serde_json::to_string(&home.to_string_lossy())?
    );
    library.add(&home.join("tool.yaml"), card, String::new(), None)?;
    Ok(name)
}

/// Names of the tools to score with: those that the command line names, or, if it names nothing to score with, all
/// admitted tools that need no reference, except judges, `code_tests` and `instructions`.
fn tools(arguments: &RewardBenchmarkArguments, library: &Library, models: &[String]) -> Result<Vec<String>> {
    let named: Vec<String> = arguments.tool.iter().chain(models).cloned().collect();
    if let Some((_, twice)) = named.iter().enumerate().find(|(i, name)| named[..*i].contains(name)) {
        bail!("tool `{twice}` is named twice");
    }
    if let Some(card) = named.iter().filter_map(|n| library.card(n)).find(|c| c.needs_reference) {
        bail!("tool `{}` needs a reference, and the prompts of a benchmark of rewards have none", card.name);
    }
    if !named.is_empty() || !arguments.scores.is_empty() || !arguments.judge.is_empty() {
        return Ok(named);
    }
    // Judges ask a language model, `code_tests` runs programs, `instructions` reads IFEval's columns: only if named.
    let is_default = |c: &&ToolCard| {
        let is_cheap =
            !matches!(c.kind, ToolKind::Judge(_)) && !matches!(c.builtin(), Some("code_tests" | "instructions"));
        !c.needs_reference && is_cheap && library.is_admitted(&c.name)
    };
    let names: Vec<String> = library.cards().filter(is_default).map(|c| c.name.clone()).collect();
    if names.is_empty() {
        bail!("no tool of the library can score without a reference; name --tool, --model or --scores")
    }
    Ok(names)
}

fn score_with_tool(
    arguments: &RewardBenchmarkArguments,
    benchmark: &Benchmark,
    rewards: &mut Orchestrator,
    name: &str,
) -> Result<BenchmarkScores> {
    let cache = arguments.out.as_ref().map(|out| out.join("items").join(format!("{name}.jsonl")));
    let bar = Progress::new(mode(), name, benchmark.items.len() as u64, 0);
    let mut on_item = |n: usize| bar.step(n as u64, &[]);
    let scores = score_benchmark(benchmark, rewards.open(name)?, cache.as_deref(), &is_interrupted, &mut on_item)?;
    bar.finish();
    scores.ok_or_else(|| {
        anyhow!("interrupted while `{name}` scored items; {}", how_to_continue(arguments.out.as_deref()))
    })
}

/// The scores of generative judges (language models that compare or rate replies), and remarks on them for the user.
#[derive(Default)]
struct JudgeScores {
    /// Scores by judge, one entry per option `--judge`.
    scores: Vec<BenchmarkScores>,
    notes: String,
}

fn score_with_judges(
    arguments: &RewardBenchmarkArguments,
    benchmark: &Benchmark,
    llm: &dyn Llm,
) -> Result<JudgeScores> {
    let mut all = JudgeScores::default();
    for prompt in &arguments.judge {
        let bar = Progress::new(mode(), "judge", benchmark.items.len() as u64, 0);
        let mut on_item = |n: usize| bar.step(n as u64, &[]);
        let judged =
            judge_benchmark(benchmark, llm, judge_mode(*prompt, arguments.seed), &is_interrupted, &mut on_item)?;
        bar.finish();
        let judged = judged.ok_or_else(|| {
            anyhow!("interrupted while the judge scored items; {}", how_to_continue(arguments.out.as_deref()))
        })?;
        if judged.without_verdict > 0 {
            writeln!(
                all.notes,
                "{} of {} answers of {} hold no verdict; they are scored as `reward-bench` scores them",
                judged.without_verdict, judged.answers, judged.scores.tool
            )?;
        }
        all.scores.push(judged.scores);
    }
    Ok(all)
}

/// How a judge scores items: by ratings, or as the best of four with one of the prompts of `reward-bench`.
fn judge_mode(prompt: JudgePrompt, seed: u64) -> JudgeMode {
    match prompt {
        JudgePrompt::Ratings => JudgeMode::Ratings,
        JudgePrompt::Four => JudgeMode::BestOfFour { style: PromptStyle::System, seed },
        JudgePrompt::FourMerged => JudgeMode::BestOfFour { style: PromptStyle::Merged, seed },
        JudgePrompt::FourBare => JudgeMode::BestOfFour { style: PromptStyle::Bare, seed },
    }
}

/// The printed result: the report of a single tool, or a table with one row per tool and one column per category.
fn summary(arguments: &RewardBenchmarkArguments, benchmark: &Benchmark, reports: &[BenchmarkReport]) -> String {
    match reports {
        [report] if arguments.markdown => report.markdown(),
        [report] => report.terminal(),
        reports => {
            let table = table(arguments, &side_by_side(reports));
            format!("{}\n\n{table}{}", benchmark.name, footnotes(reports))
        }
    }
}

/// Notes below the table of several tools: which categories are missing, and that `≥` marks a lower bound because items
/// without a score count as wrong.
fn footnotes(reports: &[BenchmarkReport]) -> String {
    let missing = reports.first().map_or(&[][..], |r| &r.missing);
    let mut notes = Vec::new();
    if !missing.is_empty() {
        notes.push(format!("the overall scores are without: {}\n", missing.join(", ")));
    }
    if reports.iter().any(|r| r.overall.failed > 0) {
        notes.push("≥: a lower bound; items without a score count as wrong\n".to_owned());
    }
    if notes.is_empty() { String::new() } else { format!("\n{}", notes.concat()) }
}

/// A tool's name with only characters that a file name may have; names of judges contain a server's address.
fn file_name(tool: &str) -> String {
    let sanitised = |c: char| if c.is_alphanumeric() || "-_.+".contains(c) { c } else { '-' };
    tool.replace('/', "--").chars().map(sanitised).collect()
}

/// Writes results and scores in the format of `reward-bench`. `generative` is the range of indices of the `scores` that
/// judges gave.
fn write(
    out: &Path,
    benchmark: &Benchmark,
    scores: &[BenchmarkScores],
    reports: &[BenchmarkReport],
    generative: &Range<usize>,
) -> Result<()> {
    for (i, (scores, report)) in scores.iter().zip(reports).enumerate() {
        let generative = generative.contains(&i);
        let source = ScoredModel {
            model: format!("rlar/{}", file_name(&scores.tool)),
            model_type: if generative { "Generative RM" } else { "Custom Classifier" }.into(),
            chat_template: None,
            generative,
        };
        let paths = source.paths()?;
        for (path, text) in [
            (paths.eval_set, eval_set(report, &source)),
            (paths.eval_set_scores, eval_set_scores(benchmark, scores, &source)),
        ] {
            let path = out.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(out)).with_context(|| path.display().to_string())?;
            write_atomic(&path, text.as_bytes())?;
        }
    }
    Ok(())
}
