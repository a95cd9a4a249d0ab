//! Hashes by which a later build recognises suites and cached replies. The expected ones were computed with Python's
//! `hashlib` from the JSON that the comments show; a change of them makes runs that were begun with an earlier build
//! impossible to resume, and has every reply generated again.

use std::path::Path;

use rlar_data::DataFile;
use rlar_eval::EvalError;
use rlar_eval::suite::generator::{GeneratedReplies, ReplyRequest, SuiteReply};
use rlar_eval::suite::prompts::build_prompts;
use rlar_eval::suite::replies::GenerationOptions;
use rlar_eval::suite::{ReplyGenerator, Suite, SuiteEval};
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_sandbox::SandboxLimits;
use serde_json::Value;

const SUITE: &str = r#"version: 1
name: golden
data: rows.jsonl
prompt: "{{ q }}?"
reference: "{{ r }}"
sampling: { samples: 2, temperature: 0.5, max_tokens: 8, stop: ["\n"] }
metrics: [bleu]
"#;

fn golden() -> SuiteEval {
    let suite = Suite::parse(Path::new("golden.yaml"), SUITE).unwrap();
    let row = r#"{"id": "x", "q": "1 + 1", "r": "2"}"#;
    let find = |name: &str| Ok(vec![DataFile { path: name.into(), bytes: row.into() }]);
    let prompts = build_prompts(&suite, &find, None).unwrap();
    let context = ToolContext::new(SandboxLimits::default());
    let rewards = Orchestrator::new(Library::curated().unwrap(), context, OrchestratorConfig::default());
    SuiteEval::new(suite, prompts, rewards).unwrap()
}

#[test]
fn the_fingerprint_of_a_suite_stays_the_same() {
    // [{"version":1,"name":"golden","about":"","data":"rows.jsonl","prompt":"{{ q }}?","format":"chat",
    //   "reference":"{{ r }}","sampling":{"samples":2,"temperature":0.5,"top_p":1.0,"top_k":0,"min_p":0.0,
    //   "max_tokens":8,"stop":["\n"]},"metrics":["bleu"]},[[{"id":"x","messages":[{"role":"user","content":
    //   "1 + 1?"}],"reference":"2","domain":"suite golden","q":"1 + 1","r":"2"},["2"],null]],[]], without spaces
    assert_eq!(golden().fingerprint(), "golden 2671b2820dbdaffe7f023aeac786d3e7");
}

/// Replies with the seed of the reply.
struct SeedGenerator;

impl ReplyGenerator for SeedGenerator {
    fn name(&self) -> String {
        "adder".into()
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
        let seeds = |request: &ReplyRequest| {
            let seed = |seed: u64| Ok(SuiteReply { text: seed.to_string(), truncated: false });
            request.draws.iter().map(|draw| seed(draw.seed)).collect()
        };
        Ok(GeneratedReplies { replies: requests.iter().map(seeds).collect(), exhausted: None })
    }
}

#[test]
fn the_seeds_and_keys_of_cached_replies_stay_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let options = GenerationOptions { seed: 3, cache: Some(&path), cancelled: &|| false };
    golden().generate(&SeedGenerator, &options, &mut |_| ()).unwrap().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // ["x",[{"role":"user","content":"1 + 1?"}],"chat",[0.5,1.0,0,0.0,8,["\n"]],3,SAMPLE] gives the seed, and
    // [HASH OF THIS,"adder"] the key.
    let expected = [
        ("16048465204319373992", "5e977d177d98cacab55a18f1fc11dded"),
        ("12098327313215849789", "ca0715f922398d8208a13bc8efb031bf"),
    ];
    assert_eq!(lines.len(), expected.len());
    for (line, (seed, key)) in lines.iter().zip(expected) {
        assert_eq!((line["reply"].as_str(), line["key"].as_str()), (Some(seed), Some(key)));
    }
}
