//! `rlar eval rewardbench-v2` and `rlar eval rewards`: how good are rewards, and does it pay to choose among them?

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::judge::best_of_four::PromptStyle;
use rlar_eval::judge::{JudgeMode, judge_benchmark};
use rlar_eval::readers::{BenchmarkFormat, read_benchmark, read_benchmark_as};
use rlar_eval::report::side_by_side;
use rlar_eval::reward_bench_2::RewardBenchVersion;
use rlar_eval::reward_bench_files::{ScoredModel, eval_set, eval_set_scores};
use rlar_eval::routing::{
    CrossFit, Route, RouteChoice, ScoreTable, Strategy, compare, comparison_rows, cross_fit, cross_fit_rows,
};
use rlar_eval::score_benchmark::{item_example, score_benchmark};
use rlar_eval::scores::CommonScores;
use rlar_eval::table::{markdown, render};
use rlar_eval::{Benchmark, BenchmarkReport, BenchmarkScores};
use rlar_net::llm::{Llm, LlmCache};
use rlar_rewards::agents::client::LlmClient;
use rlar_rewards::agents::select::select;
use rlar_rewards::{BuiltinAgent, Library, Orchestrator, ToolCard, ToolKind};
use rlar_run::{Progress, write_atomic};

use crate::cli::{Judging, RewardBenchmark};
use crate::output::print;
use crate::rewards::{known, language_model, orchestrator_with};
use crate::{Failure, data, plan};

/// Where RewardBench 2 lies once it is fetched.
const REWARDBENCH2: &str = "rewardbench-v2/test.parquet";

pub fn run(
    arguments: &RewardBenchmark,
    only: Option<BenchmarkFormat>,
    over: &(dyn Fn() -> bool + Sync),
) -> Result<(), Failure> {
    let benchmark = read(arguments, only).map_err(Failure::Request)?;
    let mut library = plan::library(arguments.library.as_deref()).map_err(Failure::Request)?;
    arguments.tool.iter().try_for_each(|tool| known(&library, tool))?;
    let models: Vec<String> = arguments
        .model
        .iter()
        .map(|path| add_model(&mut library, path))
        .collect::<Result<_>>()
        .map_err(Failure::Request)?;
    let asked = tools(arguments, &library, &models).map_err(Failure::Request)?;
    let (benchmark, given) = read_scores(arguments, benchmark).map_err(Failure::Request)?;
    let llm = language_model(&arguments.asked).map_err(Failure::Request)?;
    let asked_by_tools = llm.clone();
    let asks = |what: &str| anyhow!("{what} asks a language model: name one with --llm or --llm-replay");
    let llm = match (llm, arguments.judge.is_empty(), arguments.route.iter().any(|r| r == "agent")) {
        (None, false, _) => return Err(Failure::Request(asks("--judge"))),
        (None, _, true) => return Err(Failure::Request(asks("--route agent"))),
        // Nothing is asked twice, neither now nor where an interrupted evaluation goes on.
        (Some(llm), ..) if arguments.out.is_some() => {
            let path = arguments.out.iter().map(|out| out.join("exchanges.jsonl")).next().unwrap_or_default();
            let folder = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(folder)
                .with_context(|| format!("--out {}", folder.display()))
                .map_err(Failure::Request)?;
            Some(Arc::new(LlmCache::new(llm, &path).map_err(|e| Failure::Job(e.into()))?) as Arc<dyn Llm>)
        }
        (llm, ..) => llm,
    };
    let judges = judges(arguments);
    let scored: Vec<&str> = asked.iter().map(String::as_str).chain(given.iter().map(|s| s.tool.as_str())).collect();
    check_routes(arguments, &scored, judges.len()).map_err(Failure::Request)?;
    let mut rewards = orchestrator_with(library, &arguments.asked, &arguments.device, asked_by_tools);
    for tool in &asked {
        rewards.open(tool).map_err(|e| Failure::Request(e.into()))?;
    }
    let job = || -> Result<()> {
        let mut scores = Vec::new();
        for name in &asked {
            let kept = arguments.out.as_ref().map(|out| out.join("items").join(format!("{name}.jsonl")));
            let bar = Progress::new(name, benchmark.items.len() as u64, 0);
            let mut done = |n: usize| bar.step(n as u64, String::new());
            let told = score_benchmark(&benchmark, rewards.open(name)?, kept.as_deref(), over, &mut done)?;
            bar.finish();
            let hint = if kept.is_some() { "; the same command goes on" } else { "; with --out it could go on" };
            scores.push(told.ok_or_else(|| anyhow!("interrupted while `{name}` was asked{hint}"))?);
        }
        let (judged, notes) = match &llm {
            Some(llm) => ask_judges(arguments, &benchmark, llm.as_ref(), &judges, over)?,
            None => (Vec::new(), String::new()),
        };
        let generative = scores.len()..scores.len() + judged.len();
        scores.extend(judged);
        scores.extend(given);
        let bootstrap = Bootstrap { resamples: arguments.bootstrap as usize, seed: arguments.seed };
        let compat = if arguments.compat.is_some() { RewardBenchVersion::V0_1_4 } else { RewardBenchVersion::Newest };
        let report = |s: &BenchmarkScores| {
            BenchmarkReport::new(&benchmark, s, compat, (bootstrap.resamples > 0).then_some(bootstrap))
        };
        let reports: Vec<BenchmarkReport> = scores.iter().map(report).collect();
        if let Some(out) = &arguments.out {
            write(out, &benchmark, &scores, &reports, &generative)?;
        }
        let table = |rows: &[Vec<String>]| if arguments.markdown { markdown(rows) } else { render(rows) };
        let mut said = match &reports[..] {
            [one] if arguments.markdown => one.markdown(),
            [one] => one.terminal(),
            several => {
                let below = missing(several);
                format!("{}\n\n{}{below}", benchmark.name, table(&side_by_side(several)))
            }
        };
        said += &notes;
        if !arguments.route.is_empty() || arguments.cross_fit {
            let bootstrap = Bootstrap { resamples: arguments.bootstrap.max(1000) as usize, ..bootstrap };
            let compared = ScoreTable::new(&benchmark, &scores)?;
            let routes = arguments.route.iter();
            let chosen = routes.map(|r| route(r, &compared, &rewards, llm.as_ref()));
            let lines = compare(&compared, &chosen.flatten().collect::<Vec<_>>(), bootstrap);
            said = said + "\nChoosing among tools\n\n" + &table(&comparison_rows(&lines));
            if arguments.cross_fit {
                let settings = CrossFit { splits: 200, seed: arguments.seed, bootstrap };
                let fitted = cross_fit(&compared, &Strategy::ALL, settings);
                said = said + "\nFitted on one half, reported on the other\n\n" + &table(&cross_fit_rows(&fitted));
            }
        }
        print(&said)
    };
    job().map_err(Failure::Job)
}

/// The benchmark of the files, or the part of it that is asked for.
fn read(arguments: &RewardBenchmark, only: Option<BenchmarkFormat>) -> Result<Benchmark> {
    let part = |path: &std::path::PathBuf| -> Result<Benchmark> {
        let bytes = std::fs::read(path).with_context(|| format!("--data {}", path.display()))?;
        Ok(match only {
            Some(format) => read_benchmark_as(path, &bytes, format)?,
            None => read_benchmark(path, &bytes)?,
        })
    };
    let fetched = || -> Result<Vec<std::path::PathBuf>> {
        if only != Some(BenchmarkFormat::RewardBench2) {
            bail!("--data: name the benchmark's files");
        }
        Ok(vec![
            data::find(Path::new(""), REWARDBENCH2).context("without --data, the fetched RewardBench 2 is read")?.0,
        ])
    };
    let files = if arguments.data.is_empty() { fetched()? } else { arguments.data.clone() };
    let parts = files.iter().map(part).collect::<Result<Vec<_>>>()?;
    let mut benchmark = Benchmark::join(parts)?;
    for name in &arguments.subset {
        if !benchmark.items.iter().any(|i| i.category == *name) {
            let there: Vec<&str> = benchmark.categories().iter().map(|(n, _)| *n).collect();
            bail!("--subset {name}: the data have {}", there.join(", "));
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

/// The benchmark, or the part of it that is scored, and the scores that were made elsewhere.
fn read_scores(arguments: &RewardBenchmark, benchmark: Benchmark) -> Result<(Benchmark, Vec<BenchmarkScores>)> {
    let read = |path: &std::path::PathBuf| std::fs::read(path).with_context(|| format!("--scores {}", path.display()));
    let files = arguments.scores.iter().map(read).collect::<Result<Vec<_>>>()?;
    let files: Vec<(&Path, &[u8])> = arguments.scores.iter().zip(&files).map(|(p, b)| (p.as_path(), &b[..])).collect();
    if arguments.only_scored {
        let CommonScores { benchmark: common, scores, unknown_rows: strange } =
            BenchmarkScores::read_common(&files, &benchmark)?;
        let (left_out, of) = (benchmark.items.len() - common.items.len(), benchmark.items.len());
        if left_out + strange > 0 {
            tracing::warn!("--only-scored leaves out {left_out} of {of} items, and {strange} scores of others");
        }
        return Ok((common, scores));
    }
    let mut all = Vec::new();
    for (path, bytes) in files {
        all.extend(BenchmarkScores::read(path, bytes, &benchmark)?);
    }
    Ok((benchmark, all))
}

/// Declares a reward model as a tool that gives its output as it is.
fn add_model(library: &mut Library, path: &Path) -> Result<String> {
    let home = std::path::absolute(path)?;
    if !home.join("config.json").is_file() {
        bail!("--model {}: a Hugging Face folder with a reward model is expected there", path.display());
    }
    let folder = home.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A run's model is called by its run.
    let folder = match (folder.as_str(), home.parent().and_then(Path::file_name)) {
        ("final", Some(run)) => run.to_string_lossy().into_owned(),
        _ => folder,
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let mut name: String = folder.chars().map(plain).collect();
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

/// What the language model says as a judge, in every way that is asked for, and what there is to note about it.
fn ask_judges(
    arguments: &RewardBenchmark,
    benchmark: &Benchmark,
    llm: &dyn Llm,
    ways: &[JudgeMode],
    over: &(dyn Fn() -> bool + Sync),
) -> Result<(Vec<BenchmarkScores>, String)> {
    let (mut scores, mut notes) = (Vec::new(), String::new());
    for way in ways {
        let bar = Progress::new("judge", benchmark.items.len() as u64, 0);
        let judged = judge_benchmark(benchmark, llm, *way, over, &mut |n| bar.step(n as u64, String::new()))?;
        bar.finish();
        let hint = if arguments.out.is_some() { "; the same command goes on" } else { "; with --out it could go on" };
        let judged = judged.ok_or_else(|| anyhow!("interrupted while the judge was asked{hint}"))?;
        if judged.unread > 0 {
            let (n, of, tool) = (judged.unread, judged.answers, &judged.scores.tool);
            writeln!(notes, "{n} of {of} answers of {tool} hold no verdict; they count as the reference counts them")?;
        }
        scores.push(judged.scores);
    }
    Ok((scores, notes))
}

/// How the language model is asked as a judge.
fn judges(arguments: &RewardBenchmark) -> Vec<JudgeMode> {
    let way = |how: &Judging| match how {
        Judging::Ratings => JudgeMode::Ratings,
        Judging::Four => JudgeMode::BestOfFour { style: PromptStyle::System, seed: arguments.seed },
        Judging::FourMerged => JudgeMode::BestOfFour { style: PromptStyle::Merged, seed: arguments.seed },
        Judging::FourBare => JudgeMode::BestOfFour { style: PromptStyle::Bare, seed: arguments.seed },
    };
    arguments.judge.iter().map(way).collect()
}

/// The tools that are asked.
fn tools(arguments: &RewardBenchmark, library: &Library, models: &[String]) -> Result<Vec<String>> {
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
    // What asks a language model or runs programs is named by whoever wants it.
    let suits = |c: &&ToolCard| {
        let free = c.kind != ToolKind::Judge && c.builtin() != "code_tests" && c.builtin() != "instructions";
        !c.needs_reference && free && library.is_admitted(&c.name)
    };
    let names: Vec<String> = library.cards().filter(suits).map(|c| c.name.clone()).collect();
    if names.is_empty() {
        bail!("no tool of the library can do without a reference; name --tool, --model or --scores")
    }
    Ok(names)
}

/// Refuses routes that are none, or among tools that are not scored, before any is asked.
fn check_routes(arguments: &RewardBenchmark, scored: &[&str], judges: usize) -> Result<()> {
    for route in &arguments.route {
        match (route.as_str(), route.strip_prefix("static:")) {
            (_, Some(tool)) if !scored.contains(&tool) => bail!("--route {route}: scored are {}", scored.join(", ")),
            ("oracle" | "builtin" | "agent", _) | (_, Some(_)) => {}
            _ => bail!("--route {route}: possible are static:NAME, oracle, builtin, agent"),
        }
    }
    if scored.len() + judges < 2 && (arguments.cross_fit || !arguments.route.is_empty()) {
        bail!(
            "--route and --cross-fit compare at least two tools; name more with --tool, --model, --judge or --scores"
        );
    }
    Ok(())
}

/// The choices of a route; the oracles are compared anyway.
fn route(name: &str, table: &ScoreTable, rewards: &Orchestrator, llm: Option<&Arc<dyn Llm>>) -> Option<Route> {
    let position = |tool: &str| table.tools().iter().position(|s| s.tool == tool);
    let all = || RouteChoice::Weights(vec![1.0; table.tools().len()]);
    let items = || (0..table.len()).map(|i| item_example(table.item(i)));
    let cards: Vec<&ToolCard> = table.tools().iter().filter_map(|s| rewards.library().card(&s.tool)).collect();
    let builtin = |e: &rlar_data::Example| {
        let chosen = BuiltinAgent.assign(e, cards.iter().copied(), &|_| false).ok();
        chosen.and_then(|a| position(&a.tools.first()?.tool)).map_or_else(all, RouteChoice::Tool)
    };
    let mut shown = format!("route {name}");
    let choices = match (name.strip_prefix("static:").and_then(position), llm) {
        (Some(place), _) => vec![RouteChoice::Tool(place); table.len()],
        _ if name == "oracle" => return None,
        (None, Some(llm)) if name == "agent" => {
            let client = LlmClient::new(llm.clone());
            let mut unanswered = 0;
            let mut choose =
                |e: rlar_data::Example| match select(&client, &e, e.domain.as_deref().unwrap_or("any"), &cards) {
                    Ok(selected) => {
                        let mut weights = vec![0.0; table.tools().len()];
                        for choice in &selected.assignment.tools {
                            if let Some(place) = position(&choice.tool) {
                                weights[place] = choice.weight;
                            }
                        }
                        RouteChoice::Weights(weights)
                    }
                    Err(why) => {
                        unanswered += 1;
                        tracing::warn!("{}: {why}; the builtin agent chooses", e.id);
                        builtin(&e)
                    }
                };
            let choices = items().map(&mut choose).collect();
            if unanswered > 0 {
                shown = format!("{shown} ({unanswered} of {} by the builtin agent)", table.len());
            }
            choices
        }
        _ => items().map(|e| builtin(&e)).collect(),
    };
    Some(Route { name: shown, choices })
}

fn missing(reports: &[BenchmarkReport]) -> String {
    let absent = reports.first().map_or(&[][..], |r| &r.missing);
    let absent = if absent.is_empty() {
        String::new()
    } else {
        format!("the overall figures are without: {}\n", absent.join(", "))
    };
    let failed = reports.iter().any(|r| r.overall.failed > 0);
    let bound = if failed { "≥: a lower bound; items without a score count as wrong\n" } else { "" };
    if absent.is_empty() && bound.is_empty() { String::new() } else { format!("\n{absent}{bound}") }
}

/// A tool's name as a file's: a server's address is part of some.
fn file_name(tool: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.+".contains(c) { c.to_string() } else { "-".into() };
    tool.replace('/', "--").chars().map(plain).collect()
}

/// Writes the reference's files; some of the scores are those of generative judges.
fn write(
    out: &Path,
    benchmark: &Benchmark,
    scores: &[BenchmarkScores],
    reports: &[BenchmarkReport],
    generative: &std::ops::Range<usize>,
) -> Result<()> {
    for (i, (scores, report)) in scores.iter().zip(reports).enumerate() {
        let generative = generative.contains(&i);
        let made = ScoredModel {
            model: format!("rlar/{}", file_name(&scores.tool)),
            model_type: if generative { "Generative RM" } else { "Custom Classifier" }.into(),
            chat_template: None,
            generative,
        };
        let paths = made.paths()?;
        for (path, text) in [
            (paths.eval_set, eval_set(report, &made)),
            (paths.eval_set_scores, eval_set_scores(benchmark, scores, &made)),
        ] {
            let path = out.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(out)).with_context(|| path.display().to_string())?;
            write_atomic(&path, text.as_bytes())?;
        }
    }
    Ok(())
}
