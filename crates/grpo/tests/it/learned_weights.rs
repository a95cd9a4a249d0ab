//! Learned weights: which weights the scores of a reply get, and which replies are evidence for them.

use std::collections::BTreeMap;

use rlar_data::{Example, Needs, read_examples};
use rlar_grpo::Config;
use rlar_grpo::rollouts::drawn_prompts::DrawnPrompt;
use rlar_grpo::rollouts::learned_weights::{LearnedWeights, teaches_weights};
use rlar_grpo::rollouts::rollout::{Group, Rollout};
use rlar_policy::Finish;
use rlar_rewards::{
    Assignment, Failure, Library, Orchestrator, OrchestratorConfig, Outcome, Scores, Status, ToolContext, ToolEvidence,
    ToolScore, WeightedTool,
};
use rlar_sandbox::SandboxLimits;
use serde_json::json;

/// Learned weights of prompts of the domain `sums`.
fn learned() -> LearnedWeights {
    let weight = |weight: f64| json!({ "weight": weight, "low": 0.0, "high": 1.0 });
    let of_sums = json!({ "token_f1": weight(0.6), "edit_similarity": weight(0.2), "chrf": weight(0.2) });
    let state = json!({
        "tools": [], "agreement": { "pairs": [] }, "domains": {}, "preferences": null, "fitted": { "sums": of_sums },
    });
    serde_json::from_value(state).unwrap()
}

/// A score of a tool with a given weight.
fn score(tool: &str, weight: f64) -> ToolScore {
    ToolScore::new(tool.into(), weight, Outcome::Scored(0.5))
}

/// Tools as in `rewards.always` or `rewards.assign`.
fn tools(list: serde_json::Value) -> Vec<WeightedTool> {
    serde_json::from_value(list).unwrap()
}

/// The weights that the scores of a reply get, by tool. `always` is `rewards.always`.
fn weighed(domain: &str, scores: &[ToolScore], always: serde_json::Value, library: &Library) -> BTreeMap<String, f64> {
    let mut scores = Scores { tools: scores.to_vec() };
    learned().apply(domain, &mut scores, library, &tools(always));
    scores.tools.iter().map(|score| (score.tool.to_string(), score.weight)).collect()
}

#[track_caller]
fn are(found: &BTreeMap<String, f64>, expected: &[(&str, f64)]) {
    let is_close = |(tool, weight): &(&str, f64)| found.get(*tool).is_some_and(|w| (w - weight).abs() < 1e-12);
    assert!(found.len() == expected.len() && expected.iter().all(is_close), "{found:?} is not {expected:?}");
}

fn provisional(tool: &str) -> Library {
    let mut library = Library::curated().unwrap();
    let mut admission = library.admission(tool).unwrap().clone();
    admission.status = Status::Provisional;
    library.set_admission(tool, admission);
    library
}

#[test]
fn roughly_right_tools_share_the_weight_that_they_were_given() {
    let library = Library::curated().unwrap();
    let two = [score("token_f1", 1.0), score("edit_similarity", 1.0), score("brevity", 0.5)];
    are(&weighed("sums", &two, json!([]), &library), &[("token_f1", 1.5), ("edit_similarity", 0.5), ("brevity", 0.5)]);
    // Of a domain without learned weights nothing is known.
    let of_other = weighed("dialogue", &two, json!([]), &library);
    are(&of_other, &[("token_f1", 1.0), ("edit_similarity", 1.0), ("brevity", 0.5)]);
    // A tool that has just come into use counts as much as the others on average.
    let new = [score("token_f1", 1.0), score("edit_similarity", 1.0), score("bleu", 1.0)];
    are(&weighed("sums", &new, json!([]), &library), &[("token_f1", 1.5), ("edit_similarity", 0.5), ("bleu", 1.0)]);
}

#[test]
fn an_admitted_verifier_that_judges_the_prompt_decides_alone() {
    let library = Library::curated().unwrap();
    let with = |outcome: Outcome, library: &Library| {
        let verifier = ToolScore::new("numeric_match".into(), 1.0, outcome);
        let scores = [verifier, score("token_f1", 1.0), score("edit_similarity", 1.0), score("brevity", 0.5)];
        weighed("sums", &scores, json!([]), library)
    };
    let alone = [("numeric_match", 1.0), ("brevity", 0.5)];
    are(&with(Outcome::Scored(0.0), &library), &alone);
    // All replies to a prompt are treated alike, so a failure on one of them changes nothing.
    are(&with(Outcome::Failed(Failure::Late), &library), &alone);
    let beside = [("numeric_match", 1.0), ("token_f1", 1.5), ("edit_similarity", 0.5), ("brevity", 0.5)];
    are(&with(Outcome::Abstained("no reference".into()), &library), &beside);
    are(&with(Outcome::Scored(1.0), &provisional("numeric_match")), &beside);
    // Where replies can be half right, one that pays for perfect replies only does not decide.
    let strict = |half_right_auc| {
        let mut library = library.clone();
        let identity = library.identity("numeric_match").unwrap();
        let evidence = ToolEvidence { identity, auc: Some(1.0), half_right_auc, status: Status::Admitted };
        library.set_evidence("sums", "numeric_match", evidence);
        with(Outcome::Scored(1.0), &library)
    };
    are(&strict(Some(0.5)), &beside);
    are(&strict(Some(0.9)), &alone);
    are(&strict(None), &alone);
}

#[test]
fn tools_of_every_prompt_and_provisional_tools_keep_their_place() {
    let library = Library::curated().unwrap();
    let scores = [score("numeric_match", 1.0), score("token_f1", 0.3), score("edit_similarity", 1.0)];
    let always = json!([{ "tool": "numeric_match" }, { "tool": "token_f1", "weight": 0.3 }]);
    are(
        &weighed("sums", &scores, always, &library),
        &[("numeric_match", 1.0), ("token_f1", 0.3), ("edit_similarity", 1.0)],
    );
    // The share of 0.9 would be more than the weight that a provisional tool was given.
    let scores = [score("token_f1", 0.2), score("edit_similarity", 1.0)];
    let limited = weighed("sums", &scores, json!([]), &provisional("token_f1"));
    are(&limited, &[("token_f1", 0.2), ("edit_similarity", 0.3)]);
}

fn config(weights: &str) -> Config {
    let rewards = json!({ "weights": weights });
    let config = json!({ "version": 1, "model": { "path": "m" }, "data": { "train": "a" }, "rewards": rewards });
    serde_json::from_value(config).unwrap()
}

/// 100 prompts whose replies two roughly right tools score, and a gate.
struct Prompts {
    examples: Vec<Example>,
    rewards: Orchestrator,
}

impl Prompts {
    fn new() -> Self {
        let row = |i: usize| json!({ "prompt": format!("{i} + 1"), "reference": "7", "domain": "sums" }).to_string();
        let rows = (0..100).map(row).collect::<Vec<_>>().join("\n");
        let examples = read_examples("sums.jsonl".as_ref(), rows.as_bytes(), Needs::Prompt).unwrap();
        let context = ToolContext::new(SandboxLimits::default());
        let mut rewards = Orchestrator::new(Library::curated().unwrap(), context, OrchestratorConfig::default());
        let list =
            json!([{ "tool": "token_f1" }, { "tool": "edit_similarity" }, { "tool": "exact_match", "as": "gate" }]);
        let (by, why) = ("test".to_owned(), "roughly right".to_owned());
        rewards.assign_domain("sums", Assignment { example: "sums".into(), tools: tools(list), by, why });
        Self { examples, rewards }
    }

    /// What the replies to a prompt, given by its index, teach.
    fn taught(&mut self, example: usize, replies: &[Rollout]) -> LearnedWeights {
        let mut learned = LearnedWeights::default();
        let group = Group { example, replies: replies.to_vec() };
        let prompt = DrawnPrompt { example: self.examples[example].clone(), tokens: Vec::new() };
        let drawn = [(example, prompt)].into_iter().collect();
        learned.observe([group].iter(), &drawn, &mut self.rewards, &config("learned")).unwrap();
        learned
    }
}

fn reply(token_f1: f64, edit_similarity: f64, gate: f64) -> Rollout {
    let score = |tool: &str, weight: f64, score: f64| ToolScore::new(tool.into(), weight, Outcome::Scored(score));
    let tools = vec![
        score("token_f1", 1.0, token_f1),
        score("edit_similarity", 1.0, edit_similarity),
        score("exact_match", 0.0, gate),
    ];
    Rollout {
        tokens: Vec::new(),
        log_probs: Vec::new(),
        drawn_log_probs: Vec::new(),
        text: String::new(),
        finish: Finish::Stop,
        scores: Scores { tools },
        audit: None,
    }
}

#[test]
fn replies_that_a_gate_stops_do_not_show_that_tools_agree() {
    let mut prompts = Prompts::new();
    let passed = [reply(0.1, 0.7, 1.0), reply(0.5, 0.3, 1.0)];
    let stopped = [passed.to_vec(), vec![reply(0.0, 0.0, 0.0)]].concat();
    let taught = prompts.taught(0, &passed);
    assert_eq!(prompts.taught(0, &stopped), taught);
    assert_ne!(prompts.taught(0, &passed[..1]), taught);
}

#[test]
fn audits_of_about_half_of_the_prompts_teach_and_the_others_judge() {
    let learned = config("learned");
    let teaching = (0..1000).filter(|i| teaches_weights(&learned, *i)).count();
    assert!((400..600).contains(&teaching), "{teaching}");
    assert!(!(0..1000).any(|i| teaches_weights(&config("fixed"), i)));

    let mut prompts = Prompts::new();
    let replies = [reply(0.1, 0.7, 1.0), reply(0.5, 0.3, 1.0)];
    let mut audited = replies.clone();
    (audited[0].audit, audited[1].audit) = (Some(0.0), Some(1.0));
    for example in 0..prompts.examples.len() {
        let shows = prompts.taught(example, &audited) != prompts.taught(example, &replies);
        assert_eq!(shows, teaches_weights(&learned, example), "prompt {example}");
    }
}
