//! Policies on suites: the same replies get the values that the reference implementations compute.

use std::path::Path;
use std::sync::Mutex;

use rlar_data::DataFile;
use rlar_eval::EvalError;
use rlar_eval::bootstrap::Bootstrap;
use rlar_eval::suite::generator::{GeneratedReplies, ReplyRequest, ReplyResult, SuiteReply};
use rlar_eval::suite::grade::GradedReply;
use rlar_eval::suite::metric::pass_at;
use rlar_eval::suite::prompts::build_prompts;
use rlar_eval::suite::replies::{GenerationOptions, read_replies};
use rlar_eval::suite::{ReplyGenerator, Suite, SuiteEval, SuiteMetric, SuiteResult};
use rlar_oracles::{needs_oracles, oracle};
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_sandbox::SandboxLimits;
use serde_json::{Value, json};

use crate::close;

fn shipped(name: &str) -> Suite {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../configs/suites/{name}.yaml"));
    Suite::parse(&path, &std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn suite(yaml: &str) -> Result<Suite, String> {
    Suite::parse(Path::new("s.yaml"), yaml).map_err(|e| e.to_string())
}

/// The evaluation of a suite on published files.
fn published(suite: Suite, data: &Path) -> SuiteEval {
    let find = |name: &str| -> Result<Vec<DataFile>, EvalError> {
        let path = data.join(name);
        let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Ok(vec![DataFile { path, bytes }])
    };
    let prompts = build_prompts(&suite, &find, None).unwrap();
    SuiteEval::new(suite, prompts, rewards()).unwrap()
}

fn rewards() -> Orchestrator {
    Orchestrator::new(
        Library::curated().unwrap(),
        ToolContext::new(SandboxLimits::default()),
        OrchestratorConfig::default(),
    )
}

/// The evaluation of a suite on the rows of a text.
fn with_rows(yaml: &str, rows: &str) -> Result<SuiteEval, String> {
    let suite = suite(yaml)?;
    let find = |name: &str| Ok(vec![DataFile { path: name.into(), bytes: rows.into() }]);
    let prompts = build_prompts(&suite, &find, None).map_err(|e| e.to_string())?;
    SuiteEval::new(suite, prompts, rewards()).map_err(|e| e.to_string())
}

#[allow(clippy::unnecessary_wraps)]
fn reply(text: &str) -> ReplyResult {
    Ok(SuiteReply { text: text.into(), truncated: false })
}

fn value(result: &SuiteResult, name: &str) -> f64 {
    result.metric(Some(name)).and_then(|f| f.value).unwrap_or_else(|| panic!("no {name}"))
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[needs_oracles]
#[test]
fn labelled_solutions_of_gsm8k_get_their_labels() {
    let data = oracle!("data");
    let mut suite_eval = published(shipped("gsm8k"), &data);
    let labelled = lines(&data.join("gsm8k/example_model_solutions.jsonl"));
    let ids: std::collections::BTreeMap<String, String> = suite_eval
        .prompts()
        .iter()
        .map(|t| (t.example.columns["question"].as_str().unwrap().to_owned(), t.example.id.clone()))
        .collect();
    for model in ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"] {
        let row = |r: &Value| {
            json!({ "id": ids[r["question"].as_str().unwrap()], "solution": r[model]["solution"] }).to_string()
        };
        let file = labelled.iter().map(row).collect::<Vec<_>>().join("\n");
        let replies = read_replies(Path::new("a.jsonl"), file.as_bytes(), suite_eval.prompts()).unwrap();
        let right = labelled.iter().filter(|r| r[model]["is_correct"] == true).count();
        let result = suite_eval.evaluate(model, replies, None, &|| false).unwrap().0;
        assert_eq!(value(&result, "accuracy"), right as f64 / 1319.0, "{model}");
    }
}

#[needs_oracles]
#[test]
fn a_whole_system_output_of_wmt22_gets_its_published_scores() {
    let data = oracle!("data");
    let published_scores = std::fs::read_to_string(data.join("wmt22/automatic-scores.tsv")).unwrap();
    let mut compared = 0;
    for (pair, language, systems) in [
        ("en-de", "de", &["Lan-Bridge", "Online-B", "Online-W", "OpenNMT", "PROMT"][..]),
        ("en-zh", "zh", &["Lan-Bridge", "Online-B", "Online-W"]),
    ] {
        let suite = Suite { metrics: vec![SuiteMetric::Bleu, SuiteMetric::Chrf], ..shipped(&format!("wmt22-{pair}")) };
        let mut suite_eval = published(suite, &data);
        for system in systems {
            let path = data.join(format!("wmt22/{pair}.hyp.{system}.{language}"));
            let replies = read_replies(&path, &std::fs::read(&path).unwrap(), suite_eval.prompts()).unwrap();
            let result = suite_eval.evaluate(system, replies, None, &|| false).unwrap().0;
            for (ours, theirs) in [("bleu", "bleu-A"), ("chrf", "chrf-A")] {
                let row = |l: &&str| {
                    let cells: Vec<&str> = l.split('\t').collect();
                    cells[0] == pair && cells[1] == *system && cells[4] == theirs
                };
                let Some(line) = published_scores.lines().find(row) else { continue };
                close(value(&result, ours), line.rsplit('\t').next().unwrap().parse().unwrap(), 1e-6);
                compared += 1;
            }
        }
    }
    assert!(compared >= 12, "{compared}");
}

#[needs_oracles]
#[test]
fn human_evals_own_example_has_the_pass_rate_that_it_states() {
    let data = oracle!("data");
    let suite = Suite { data: Some("humaneval/example_problem.jsonl".into()), ..shipped("humaneval-base") };
    let mut suite_eval = published(suite, &data);
    let path = data.join("humaneval/example_samples.jsonl");
    let replies = read_replies(&path, &std::fs::read(&path).unwrap(), suite_eval.prompts()).unwrap();
    assert_eq!(replies[0].len(), 6);
    let result = suite_eval.evaluate("example", replies, None, &|| false).unwrap().0;
    close(value(&result, "pass@1"), 0.5, 1e-12);
}

#[needs_oracles]
#[test]
fn canonical_solutions_of_human_eval_all_pass() {
    let data = oracle!("data");
    let mut suite_eval = published(shipped("humaneval"), &data);
    let canonical =
        |t: &rlar_eval::suite::SuitePrompt| vec![reply(t.example.columns["canonical_solution"].as_str().unwrap())];
    let replies = suite_eval.prompts().iter().map(canonical).collect();
    let result = suite_eval.evaluate("canonical", replies, None, &|| false).unwrap().0;
    assert_eq!((value(&result, "pass@1"), result.prompts, result.unscored), (1.0, 164, 0));
}

#[needs_oracles]
#[test]
fn recorded_verdicts_of_ifeval_are_ours_but_for_the_languages_and_sentences() {
    let data = oracle!("data");
    let mut suite_eval = published(shipped("ifeval"), &data);
    let base = "ifeval/m_ifeval_Qwen__Qwen2.5-0.5B-Instruct-GPTQ-Int4__eval_results";
    let mut recorded = Vec::new();
    for how in ["strict", "loose"] {
        let path = data.join(format!("{base}_{how}.jsonl"));
        let rows = lines(&path);
        // One recorded prompt is not among the published ones.
        let published: Vec<&Value> = rows
            .iter()
            .filter(|r| {
                suite_eval.prompts().iter().any(|t| t.example.prompt().trim() == r["prompt"].as_str().unwrap().trim())
            })
            .collect();
        let prompts = published.iter().filter(|r| r["follow_all_instructions"] == true).count();
        let each = published.iter().flat_map(|r| r["follow_instruction_list"].as_array().unwrap());
        recorded.push((prompts, each.filter(|f| **f == true).count()));
    }
    let path = data.join(format!("{base}_strict.jsonl"));
    let replies = read_replies(&path, &std::fs::read(&path).unwrap(), suite_eval.prompts()).unwrap();
    let instructions: usize =
        suite_eval.prompts().iter().map(|t| t.example.columns["kwargs"].as_array().unwrap().len()).sum();
    let result = suite_eval.evaluate("qwen", replies, None, &|| false).unwrap().0;
    assert_eq!(result.unanswered, 1);
    for (how, (prompts, each)) in ["strict", "loose"].into_iter().zip(recorded) {
        let ours = (value(&result, &format!("ifeval prompt {how}")) * 541.0).round();
        let ours_each = (value(&result, &format!("ifeval instruction {how}")) * instructions as f64).round();
        println!("{how}: {ours} of {prompts} prompts, {ours_each} of {each} instructions");
        // Languages and sentences are detected with other libraries than in the reference implementation.
        assert!((ours - prompts as f64).abs() <= 3.0 && (ours_each - each as f64).abs() <= 1.0);
    }
}

#[test]
fn metrics_are_read_by_their_names_and_say_which_way_is_better() {
    let names = ["accuracy", "score", "pass@3", "maj@16", "bleu", "chrf", "chrf++", "ter", "ifeval"];
    for name in names {
        let metric = SuiteMetric::try_from(name.to_owned()).unwrap();
        assert_eq!(metric.to_string(), name);
        assert_eq!(metric.higher_is_better(), name != "ter", "{name}");
    }
    for wrong in ["pass@", "pass@0", "pass@K", "maj@10001", "Ter"] {
        assert!(SuiteMetric::try_from(wrong.to_owned()).unwrap_err().contains("possible: accuracy, score, pass@K"));
    }
    assert_eq!(SuiteMetric::Ter.value_names(), ["ter"]);
    assert_eq!(SuiteMetric::IfEval.value_names()[3], "ifeval instruction loose");
}

#[test]
fn pass_at_k_is_the_share_of_draws_with_a_right_one() {
    for n in 1..=7 {
        for right in 0..=n {
            for k in 1..=n {
                let draws = (0u32..1 << n).filter(|set| set.count_ones() as usize == k);
                // The first `right` replies are the right ones.
                let lucky = draws.clone().filter(|set| set & ((1 << right) - 1) != 0).count();
                close(pass_at(k, n, right), lucky as f64 / draws.count() as f64, 1e-12);
            }
        }
    }
}

const SUMS: &str = "version: 1\nname: sums\ndata: rows.jsonl\nprompt: \"{{ a }} + {{ b }} =\"\nreference: \"{{ a + b }}\"\n\
                    tools: [{ tool: math_equivalence }]\n";
const ROWS: &str = "{\"id\": \"x\", \"a\": 1, \"b\": 2}\n{\"id\": \"y\", \"a\": 20, \"b\": 3}\n";

#[test]
fn the_most_frequent_answer_counts_however_it_is_written_and_of_equals_the_earliest() {
    let yaml = SUMS.to_owned()
        + "sampling: { samples: 4, temperature: 1 }\nmetrics: [\"maj@4\", \"maj@2\", \"pass@2\", accuracy]\n";
    let mut suite_eval = with_rows(&yaml, ROWS).unwrap();
    let replies = vec![
        ["It is 3.", "\\boxed{3.0}", "4", "the answer is 5"].map(reply).to_vec(),
        ["24", "23", "24", "The answer is 23."].map(reply).to_vec(),
    ];
    let result = suite_eval.evaluate("x", replies, None, &|| false).unwrap().0;
    assert_eq!(value(&result, "maj@4"), 0.5, "3 wins; of 24 and 23 the earlier counts");
    assert_eq!(value(&result, "maj@2"), 0.25, "3, 3 | 4, 5 | 24, 23 | 24, 23");
    assert_eq!(value(&result, "accuracy"), 0.5);
    close(value(&result, "pass@2"), 1.0 - 1.0 / 6.0, 1e-12);
}

#[test]
fn missing_scores_make_the_value_a_lower_bound() {
    let rows: String = (0..100).map(|i| json!({ "id": i.to_string(), "a": i, "b": 1 }).to_string() + "\n").collect();
    let mut suite_eval = with_rows(&(SUMS.to_owned() + "metrics: [accuracy]\n"), &rows).unwrap();
    let reply =
        |i: usize| if i % 33 == 5 { Err("the server is gone".to_owned()) } else { reply(&format!("{}", i + 1)) };
    let replies = (0..100).map(|i| vec![reply(i)]).collect();
    let (result, graded) = suite_eval.evaluate("a server", replies, Some(Bootstrap::default()), &|| false).unwrap();
    let lost = (0..100).filter(|i| i % 33 == 5).count();
    assert_eq!(lost, 3);
    let metric = result.metric(None).unwrap();
    assert_eq!((metric.value, metric.scored_only), (Some(0.97), Some(1.0)));
    let table = result.table(false);
    for part in ["≥ 97.0", "100.0", "3 replies are missing", "lower bounds"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    assert_eq!(result.json()["figures"]["accuracy"]["lower_bound"], true);
    assert!(suite_eval.graded_jsonl(&graded).contains("no reply: the server is gone"));
    let interval = metric.interval.unwrap();
    assert!(interval.low < 0.97 && interval.high > 0.97, "{interval:?}");
}

#[test]
fn gates_rule_and_add_nothing() {
    let gated =
        SUMS.replace("[{ tool: math_equivalence }]", "[{ tool: math_equivalence }, { tool: no_repetition, as: gate }]");
    let mut suite_eval = with_rows(&(gated + "metrics: [accuracy, score]\n"), ROWS).unwrap();
    let many = "23 ".repeat(60);
    let result =
        suite_eval.evaluate("x", vec![vec![reply("It is 4.")], vec![reply(&many)]], None, &|| false).unwrap().0;
    assert_eq!((value(&result, "accuracy"), value(&result, "score")), (0.0, 0.0), "wrong, and right but repeated");
    let result = suite_eval.evaluate("x", vec![vec![reply("It is 3.")], vec![reply("23")]], None, &|| false).unwrap().0;
    assert_eq!((value(&result, "accuracy"), value(&result, "score")), (1.0, 1.0));
}

#[test]
fn a_vote_needs_a_tool_that_takes_replies_for_references() {
    let voted = |tool: &str| {
        SUMS.replace("math_equivalence", tool) + "sampling: { samples: 3, temperature: 1 }\nmetrics: [\"maj@3\"]\n"
    };
    let error = with_rows(&voted("english"), ROWS).unwrap_err();
    assert!(error.contains("`maj@3`") && error.contains("must be one that needs a reference"), "{error}");
    let replies = || {
        vec![
            ["1 + 2 = 3", "It is 3", "4"].map(reply).to_vec(),
            vec![reply("24"), Err("gone".into()), Err("gone".into())],
        ]
    };
    let error = with_rows(&voted("numeric_match"), ROWS)
        .unwrap()
        .evaluate("x", replies(), None, &|| false)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`numeric_match` does not accept this one") && error.contains("math_equivalence"),
        "{error}"
    );
    // Missing replies do not vote.
    let result =
        with_rows(&voted("math_equivalence"), ROWS).unwrap().evaluate("x", replies(), None, &|| false).unwrap().0;
    let metric = result.metric(None).unwrap();
    assert_eq!((metric.value, metric.scored_only, metric.is_lower_bound), (Some(0.5), Some(1.0), true));
}

#[test]
fn values_without_data_are_missing() {
    let yaml = SUMS.to_owned() + "metrics: [score, ter]\n";
    let mut suite_eval =
        with_rows(&yaml.replace("{{ a + b }}", "{{ ' ' }}").replace("math_equivalence", "exact_match"), ROWS).unwrap();
    let gone = || vec![vec![Err("gone".to_owned())]; 2];
    let result = suite_eval.evaluate("x", gone(), Some(Bootstrap::default()), &|| false).unwrap().0;
    let score = result.metric(Some("score")).unwrap();
    assert_eq!((score.value, score.interval), (None, None));
    assert!(result.json()["figures"]["score"]["value"].is_null());
    assert!(result.table(false).contains("score      –") && result.table(false).contains("they are left out"));
    // Words beside an empty reference are all wrong, as the reference implementation has it.
    let result = suite_eval.evaluate("x", vec![vec![reply("word")], vec![reply("words")]], None, &|| false).unwrap().0;
    assert_eq!(value(&result, "ter"), 100.0);
}

/// Replies with the sum, and records the prompts, samples and seeds that it was asked for.
struct AddingGenerator {
    requested: Mutex<Vec<(String, usize, u64)>>,
    ends_after: usize,
}

impl ReplyGenerator for AddingGenerator {
    fn name(&self) -> String {
        "generator".into()
    }
    fn check_suite(&self, _: &Suite) -> Result<(), String> {
        Ok(())
    }
    fn replies_per_call(&self) -> usize {
        4
    }
    fn generate(
        &self,
        _: &Suite,
        requests: &[ReplyRequest],
        _: &(dyn Fn() -> bool + Sync),
    ) -> Result<GeneratedReplies, EvalError> {
        let mut requested = self.requested.lock().unwrap();
        let sums = |request: &ReplyRequest| {
            let row = &request.example.columns;
            let sum = row["a"].as_u64().unwrap() + row["b"].as_u64().unwrap();
            request.draws.iter().map(|draw| reply(&format!("{}: {sum}", draw.sample))).collect()
        };
        for request in requests {
            requested.extend(request.draws.iter().map(|draw| (request.example.id.clone(), draw.sample, draw.seed)));
        }
        Ok(GeneratedReplies { replies: requests.iter().map(sums).collect(), exhausted: None })
    }
}

#[test]
fn an_interrupted_suite_goes_on_where_it_was_and_ends_the_same() {
    let rows: String = (0..9).map(|i| json!({ "id": i.to_string(), "a": i, "b": 1 }).to_string() + "\n").collect();
    let yaml = SUMS.to_owned() + "sampling: { samples: 2, temperature: 0.7 }\nmetrics: [accuracy]\n";
    let suite_eval = with_rows(&yaml, &rows).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ask = |file: Option<&str>, ends_after: usize, seed: u64| {
        let generator = AddingGenerator { requested: Mutex::default(), ends_after };
        let path = file.map(|f| folder.path().join(f));
        let over = || generator.requested.lock().unwrap().len() >= generator.ends_after;
        let options = GenerationOptions { seed, cache: path.as_deref(), cancelled: &over };
        let replies = suite_eval.generate(&generator, &options, &mut |_| ()).unwrap();
        (replies, generator.requested.into_inner().unwrap())
    };
    let (whole, everything) = ask(None, usize::MAX, 0);
    assert_eq!(everything.len(), 18);
    let (none, first) = ask(Some("kept.jsonl"), 8, 0);
    assert!(none.is_none());
    // A line that a kill cut short is lost, and no other.
    let path = folder.path().join("kept.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 8, "replies that were there when it was interrupted are kept");
    std::fs::write(&path, &text[..text.len() - 9]).unwrap();
    let (again, rest) = ask(Some("kept.jsonl"), usize::MAX, 0);
    assert_eq!(again, whole);
    assert_eq!((first.len(), rest.len()), (8, 11));
    // The seeds are those of an uninterrupted run.
    assert!(rest.iter().all(|draw| everything.contains(draw)));
    assert_eq!(ask(Some("kept.jsonl"), usize::MAX, 0).1, []);
    // Another seed has other draws, none of which is cached.
    let (_, other) = ask(Some("kept.jsonl"), usize::MAX, 1);
    assert!(other.len() == 18 && other.iter().zip(&everything).all(|(a, b)| a.2 != b.2));
}

#[test]
fn wrong_suites_and_rows_are_named() {
    let wrong = |more: &str| with_rows(&(SUMS.to_owned() + more), ROWS).unwrap_err();
    let has =
        |error: String, parts: &[&str]| parts.iter().for_each(|p| assert!(error.contains(p), "{p} is not in {error}"));
    has(wrong("metrics: [acuracy]\n"), &["`acuracy` is not a metric", "pass@K"]);
    has(wrong("metrics: [accuracy]\nprompts: x\n"), &["s.yaml:8: unknown key `prompts`; did you mean `prompt`?"]);
    has(wrong("metrics: [\"pass@5\"]\n"), &["`sampling.samples`", "`pass@5` needs at least 5 replies"]);
    has(wrong("metrics: []\n"), &["name at least one metric"]);
    has(wrong("metrics: [accuracy]\nonly: \"{{ c }}\"\n"), &["rows.jsonl:1: `only`", "the row has: id, a, b"]);
    has(wrong("metrics: [accuracy]\nid: same\n"), &["rows.jsonl:2: id `same` occurs twice"]);
    has(wrong("metrics: [accuracy]\nid: \"{{ a\"\n"), &["suite `sums`, `id`"]);
    has(wrong("metrics: [ifeval]\n"), &["suite `sums`, `x`", "instruction_id_list"]);
    let of = |yaml: &str, rows: &str| with_rows(yaml, rows).unwrap_err();
    let good = SUMS.to_owned() + "metrics: [accuracy]\n";
    has(of(&good.replace("math_equivalence", "maths"), ROWS), &["no tool `maths`", "math_equivalence"]);
    has(of(&good.replace("reference: \"{{ a + b }}\"\n", ""), ROWS), &["`math_equivalence` needs a `reference`"]);
    has(of(&good.replace("data: rows.jsonl\n", ""), ROWS), &["either `data` or `lines`"]);
    has(of(&good, ""), &["rows.jsonl: the data set is empty"]);
    has(of(&(good.clone() + "only: \"no\"\n"), ROWS), &["has no rows that are used"]);
    let lines = good.replace("data: rows.jsonl", "lines: { a: one.txt, b: two.txt }");
    let find = |name: &str| {
        let text = if name == "one.txt" { "1\n2\n" } else { "3\n" };
        Ok(vec![DataFile { path: name.into(), bytes: text.into() }])
    };
    let uneven = build_prompts(&suite(&lines).unwrap(), &find, None).unwrap_err().to_string();
    has(uneven, &["two.txt: 1 lines, but one.txt has 2"]);
}

#[test]
fn replies_from_elsewhere_must_fit() {
    let suite_eval = with_rows(&(SUMS.to_owned() + "metrics: [accuracy]\n"), ROWS).unwrap();
    let read = |file: &str, text: &str| read_replies(Path::new(file), text.as_bytes(), suite_eval.prompts());
    let texts = |file: &str, text: &str| {
        let all = read(file, text).unwrap().into_iter();
        all.map(|replies| replies.into_iter().map(|r| r.map(|a| a.text)).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let both = [vec![Ok("3".to_owned())], vec![Ok("23".to_owned())]];
    assert_eq!(texts("a.jsonl", "{\"id\": \"y\", \"reply\": \"23\"}\n{\"id\": \"x\", \"completion\": \"3\"}"), both);
    assert_eq!(
        texts(
            "a.json",
            "[{\"prompt\": \" 1 + 2 =\", \"output\": \"3\"}, {\"prompt\": \"20 + 3 =\", \"response\": \"23\"}]"
        ),
        both
    );
    assert_eq!(texts("a.txt", "3\n23\n"), both);
    assert_eq!(texts("a.jsonl", "{\"id\": \"y\", \"reply\": \"23\"}")[0], [Err("a.jsonl has none".to_owned())]);
    for (file, text, part) in [
        ("a.txt", "3\n", "1 lines for 2 prompts"),
        ("a.jsonl", "{\"id\": \"z\", \"reply\": \"3\"}", "none of its rows names a prompt of the suite, such as `x`"),
        ("a.jsonl", "{\"reply\": \"3\"}", "a.jsonl:1: names no prompt"),
        ("a.jsonl", "{\"id\": \"x\", \"text\": \"3\"}", "a.jsonl:1: no reply; its column may be called"),
        (
            "a.jsonl",
            "{\"id\": \"x\", \"reply\": \"3\"}\n{\"id\": \"y\", \"reply\": \"3\"}\n{\"id\": \"y\", \"reply\": \"4\"}",
            "`x` has 1 replies, but other prompts have 2",
        ),
    ] {
        let error = read(file, text).unwrap_err().to_string();
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn every_suite_that_is_shipped_reads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/suites");
    let mut n = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let suite = shipped(&name);
        assert_eq!(suite.name, name);
        assert!(!suite.about.is_empty());
        n += 1;
    }
    assert!(n >= 12, "{n}");
}

#[needs_oracles]
#[test]
fn the_references_of_published_data_are_right() {
    let data = oracle!("data");
    for (name, prompts) in
        [("math500", 500), ("mbpp", 500), ("gsm8k-base", 1319), ("humaneval-base", 164), ("multi30k-en-de", 1000)]
    {
        let suite_eval = published(shipped(name), &data);
        assert_eq!(suite_eval.prompts().len(), prompts, "{name}");
        let Some(reference) = suite_eval.prompts()[0].example.reference.clone() else { continue };
        // A reply that is the reference is right.
        let mut suite_eval = suite_eval;
        let replies =
            suite_eval.prompts().iter().map(|t| vec![reply(t.example.reference.as_deref().unwrap())]).collect();
        let (result, graded): (SuiteResult, Vec<Vec<GradedReply>>) =
            suite_eval.evaluate("itself", replies, None, &|| false).unwrap();
        let metric = result.metric(None).unwrap();
        let wrong: Vec<usize> = (0..prompts).filter(|i| graded[*i][0].score.is_some_and(|s| s < 0.5)).collect();
        let known = metric.value.unwrap();
        assert!(known > if metric.metric.is_share() { 0.99 } else { 99.9 }, "{name}: {reference}: {known} {wrong:?}");
    }
}

#[test]
fn a_suite_whose_stop_texts_cut_off_what_it_scores_is_refused() {
    let with = |stop: &str, rest: &str| {
        let yaml = format!(
            "version: 1\nname: s\ndata: d.jsonl\nprompt: '{{{{ prompt }}}}'\nsampling: {{ stop: ['{stop}']{rest}\n"
        );
        with_rows(&(yaml + "metrics: [accuracy]\n"), "{\"prompt\": \"1\"}").map(|_| ())
    };
    let tools = "tools: [{ tool: think_answer }]";
    for (stop, rest, word) in [
        ("</final>", "}\nscored: { within: final }\ntools: [{ tool: concise }]".to_owned(), "include_stop: true"),
        ("</answer>", format!("}}\n{tools}"), "include_stop: true"),
        ("</think>", format!(", include_stop: true }}\n{tools}"), "</think>"),
    ] {
        let error = with(stop, &rest).unwrap_err();
        assert!(error.contains(word) && error.contains("stop"), "{error}");
    }
    with("</final>", ", include_stop: true }\nscored: { within: final }\ntools: [{ tool: concise }]").unwrap();
    with("</answer>", &format!(", include_stop: true }}\n{tools}")).unwrap();
}
