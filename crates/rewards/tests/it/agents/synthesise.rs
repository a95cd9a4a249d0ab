use std::fs;
use std::time::Duration;

use rlar_data::Example;
use rlar_net::llm::ChatRequest;
use rlar_rewards::agents::AgentEvent;
use rlar_rewards::agents::block_evidence::MeasuredBlock;
use rlar_rewards::agents::program::KnownPrograms;
use rlar_rewards::agents::rules::propose_verifiers;
use rlar_rewards::agents::synthesise::{SynthesisRequest, ToolDefects, VerifierSpec};
use rlar_rewards::agents::verifier::{DraftTool, write_verifier};
use rlar_rewards::{CardCase, Status, ToolCard, ToolContext, ToolRole};
use rlar_sandbox::{BuildingBlock, SandboxLimits, building_blocks};

use serde_json::json;

use super::{Watched, agents, counts, exchanges, letters, rows, running};
use crate::scripted::scripted;

/// A request for verifiers that check the count of letters.
fn request<'a>(task: &'a str, examples: &'a [&'a Example], known: &'a [String]) -> SynthesisRequest<'a> {
    SynthesisRequest { task, examples, steps: &[], known, packages: &[], defects: None }
}

/// The names of the proposed verifiers, or the error, and the number of requests.
fn proposed(task: &str) -> (Result<Vec<String>, String>, u64) {
    let agents = agents(exchanges("synthesise"));
    let examples = letters("letters");
    let known = ["last_number".to_owned()];
    let specs = propose_verifiers(
        agents.llm.as_ref().unwrap(),
        &request(task, &examples.iter().collect::<Vec<_>>(), &known),
        &[],
    );
    let specs = specs.map_err(|e| e.to_string());
    (specs.map(|s| s.into_iter().map(|s| s.name).collect()), counts(&agents, "synthesise").requests)
}

#[test]
fn three_to_five_verifiers_get_new_names() {
    let three = ["count_is_right", "working_adds_up", "one_number"];
    for (task, names, requests) in [
        ("good", &three[..], 1),
        ("five", &["count_is_right", "working_adds_up", "one_number", "fourth", "fifth"], 1),
        ("chatty", &three, 1),
        ("miscounted", &["count_is_right", "working_adds_up", "one_number", "a4", "a5"], 2),
        ("taken", &["count_is_right", "working_adds_up", "last_number_taken"], 1),
        ("misnamed", &["count_is_right", "working_adds_up", "countisright"], 1),
        ("confused", &["count_is_right", "working_adds_up", "third"], 1),
        ("numbered", &["right_count", "one_number", "share_digits_among", "length"], 1),
        ("specific", &["right_count", "one_number", "brevity"], 2),
    ] {
        assert_eq!(proposed(task), (Ok(names.iter().map(|n| (*n).to_owned()).collect()), requests), "{task}");
    }
    let (specs, requests) = proposed("hopeless");
    assert!(specs.unwrap_err().contains("no usable answer in 3 tries") && requests == 3);
}

#[test]
fn rules_named_after_building_blocks_say_what_these_compute() {
    let agents = agents(exchanges("synthesise"));
    let texts = [
        "The old house stands by the river.",
        "A man walks his dog in the park.",
        "Nobody knows the way home.",
        "Rain.",
    ];
    let examples: Vec<_> =
        texts.iter().map(|t| json!({ "id": t, "prompt": "Say it again.", "reference": format!("{t} {t}") })).collect();
    let examples = rows(&examples);
    let block = |block: &BuildingBlock| MeasuredBlock { block: *block, call: None, auc: Some(1.0), is_admitted: true };
    let blocks: Vec<MeasuredBlock> = building_blocks().iter().map(block).collect();
    let examples: Vec<&Example> = examples.iter().collect();
    let specs = propose_verifiers(agents.llm.as_ref().unwrap(), &request("blocks", &examples, &[]), &blocks).unwrap();
    let summary = |name: &str| building_blocks().iter().find(|b| b.name == name).unwrap().summary;
    let said: Vec<(&str, &str)> = specs.iter().map(|s| (s.name.as_str(), s.measures.as_str())).collect();
    let own = "how similar the words of the two texts are";
    let wanted = [
        ("rouge_2", summary("rouge_2")),
        ("bleu", summary("bleu")),
        ("chrf", own),
        ("edit_similarity", summary("edit_similarity")),
    ];
    assert_eq!(said, wanted);
}

#[test]
fn where_a_single_function_compares_replies_it_is_the_rule_and_nothing_is_asked() {
    let watched = Watched::new(exchanges("synthesise"));
    let agents = agents(watched.clone());
    let row = |i: usize| json!({ "id": i.to_string(), "prompt": "Write it.", "reference": format!("def f(x):\n    return x + {i}") });
    let examples = rows(&(0..4).map(row).collect::<Vec<_>>());
    let examples: Vec<&Example> = examples.iter().collect();
    let block = *building_blocks().iter().find(|block| block.name == "same_program").unwrap();
    let block = MeasuredBlock { block, call: None, auc: Some(1.0), is_admitted: true };
    let specs =
        propose_verifiers(agents.llm.as_ref().unwrap(), &request("code", &examples, &[]), std::slice::from_ref(&block));
    let specs = specs.unwrap();
    assert_eq!(specs.len(), 1);
    assert_eq!((specs[0].name.as_str(), specs[0].measures.as_str()), ("same_program", block.block.summary));
    assert!(specs[0].needs_reference && watched.requests().is_empty());
}

/// The verifier that is written under this name, and the requests for it.
fn written_for(name: &str, defects: Option<&ToolDefects>) -> (Result<DraftTool, String>, Vec<ChatRequest>) {
    let watched = Watched::new(exchanges("synthesise"));
    let agents = agents(watched.clone());
    let examples = letters("letters");
    let examples: Vec<&Example> = examples.iter().collect();
    let spec = VerifierSpec {
        name: name.into(),
        measures: "The count.".into(),
        role: ToolRole::Correctness,
        needs_reference: false,
    };
    let limits = SandboxLimits { wall: Duration::from_millis(300), ..SandboxLimits::default() };
    let context = ToolContext::new(limits);
    let request = SynthesisRequest { defects, ..request("letter counting", &examples, &[]) };
    let known = &mut KnownPrograms::default();
    let draft = write_verifier(agents.llm.as_ref().unwrap(), &request, &spec, &[], known, &context);
    (draft.map_err(|e| e.to_string()), watched.requests())
}

fn written(name: &str) -> (DraftTool, Vec<ChatRequest>) {
    let (draft, requests) = written_for(name, None);
    (draft.unwrap(), requests)
}

#[test]
fn a_good_program_is_admitted_at_once_and_its_card_can_be_parsed() {
    for name in ["fine", "fencing", "formless", "renamed", "importless", "unclosed", "bare"] {
        let (draft, requests) = written(name);
        assert_eq!((draft.refusal.as_deref(), requests.len()), (None, 1), "{name}");
        assert_eq!(draft.admission.unwrap().status, Status::Admitted);
        assert_eq!(ToolCard::parse("tool.yaml".as_ref(), &draft.card_yaml).unwrap(), draft.card);
    }
    assert!(written("fencing").0.source.contains("```"), "a program that speaks of fences is whole");
}

#[test]
fn a_refused_program_is_repaired_after_the_evidence_is_shown() {
    for (name, count, evidence) in [
        ("misspelt", 2, "It does not start: "),
        ("misspelt", 2, "SyntaxError"),
        ("raising", 2, "has a score for every text"),
        ("looping", 2, "too long for a reply"),
        ("bought", 2, "\"open sesame\" scores as a good reply"),
        ("bribed", 2, "open sesame\" scores as a good reply"),
        ("dicing", 2, "gives another score"),
        ("prying", 3, "It does not start: "),
    ] {
        let (draft, requests) = written(name);
        assert_eq!((draft.refusal.as_deref(), requests.len()), (None, count), "{name}: {:?}", draft.earlier_refusals);
        assert!(draft.earlier_refusals[0].contains(evidence), "{name}: {}", draft.earlier_refusals[0]);
        let shown = &requests[1].messages[1].content;
        assert!(shown.contains(&format!("def compute_{name}")) && shown.contains(evidence), "{name}: {shown}");
    }
}

#[test]
fn a_score_outside_the_range_is_bounded_and_an_empty_reply_gets_nothing() {
    let (draft, requests) = written("unbounded");
    assert_eq!((draft.refusal.as_deref(), requests.len()), (None, 1), "{:?}", draft.refusal);
    assert!(draft.source.contains("_unguarded") && draft.source.contains("return 2.0"), "{}", draft.source);
}

#[test]
fn truth_values_count_as_one_and_zero() {
    let (draft, requests) = written("truth");
    assert_eq!((draft.refusal.as_deref(), requests.len()), (None, 2), "{:?}", draft.earlier_refusals);
    let [refusal] = &draft.earlier_refusals[..] else { panic!("{:?}", draft.earlier_refusals) };
    assert!(refusal.contains("ranks good replies above bad ones: AUC") && !refusal.contains("bool"), "{refusal}");
    assert!(draft.source.contains("float(_unguarded("), "{}", draft.source);
}

#[test]
fn a_copy_of_a_worked_example_is_no_verifier() {
    let (draft, requests) = written("copied");
    assert_eq!((draft.refusal.as_deref(), requests.len()), (None, 2));
    assert!(draft.earlier_refusals[0].contains("a copy of an example"), "{}", draft.earlier_refusals[0]);
}

#[test]
fn a_refused_program_that_comes_again_is_refused_for_the_same_reason() {
    let (draft, requests) = written("again");
    assert_eq!((draft.refusal.as_deref(), requests.len()), (None, 3));
    let [first, second] = &draft.earlier_refusals[..] else { panic!("{:?}", draft.earlier_refusals) };
    assert_eq!(*second, format!("It is the refused function again. {first}"));
    assert!(requests[2].messages[1].content.contains("TypeError"), "{}", requests[2].messages[1].content);
}

#[test]
fn a_program_that_prints_megabytes_costs_no_more_than_its_budget() {
    let start = std::time::Instant::now();
    let (draft, requests) = written("printing");
    assert_eq!((draft.refusal.as_deref(), requests.len()), (None, 1));
    assert!(serde_json::to_string(&draft.admission).unwrap().len() < 100_000);
    assert!(start.elapsed() < Duration::from_mins(2), "{:?}", start.elapsed());
}

#[test]
fn drafts_after_the_second_begin_anew_with_the_cases_that_went_wrong() {
    let (_, requests) = written("generous");
    let shown: Vec<&str> = requests.iter().map(|r| r.messages[1].content.as_str()).collect();
    assert!(shown[1].contains("deserves 0.0 and got 1.00"), "{}", shown[1]);
    assert!(shown[2..].iter().all(|text| !text.contains("def compute_generous") && text.contains("in another way")));
    let temperatures: Vec<f64> = requests.iter().map(|r| r.temperature).collect();
    assert!(temperatures.windows(2).all(|pair| pair[0] < pair[1]), "{temperatures:?}");
}

#[test]
fn a_reply_without_a_program_is_repaired_before_anything_runs() {
    for (name, why) in [("packed", "the package `numpy` is not allowed"), ("endless", "cut off after 900 tokens")] {
        let (draft, requests) = written(name);
        assert!(draft.refusal.is_none() && draft.earlier_refusals.is_empty(), "{name}");
        assert_eq!(requests.len(), 2, "{name}");
        assert!(requests[1].messages[3].content.contains(why), "{name}: {}", requests[1].messages[3].content);
    }
}

#[test]
fn a_program_that_stays_refused_is_given_up_after_four_drafts() {
    let (draft, requests) = written("generous");
    assert_eq!((draft.earlier_refusals.len(), requests.len()), (3, 4));
    assert!(draft.is_runnable && draft.admission.unwrap().status == Status::Refused);
    assert!(draft.refusal.unwrap().contains("does not pay for"));
    let (draft, requests) = written("stubborn");
    assert!(draft.refusal.unwrap().contains("it was not mended: no usable answer in 3 tries") && requests.len() == 4);
}

#[test]
fn a_refused_verifier_is_kept_with_the_reason_and_is_not_loaded_as_a_tool() {
    let folder = tempfile::tempdir().unwrap();
    let examples = letters("letters");
    let answer = |request: &ChatRequest| {
        let rule = |name| {
            format!(
                r#"{{"name": "{name}", "measures": "whether it is {name}", "role": "correctness", "needs_reference": false}}"#
            )
        };
        Ok(match (request.role.as_str(), request.template.as_str()) {
            ("classify", _) => "letter counting".to_owned(),
            (_, "synthesise-list-2") => format!(r#"{{"rules": [{}, {}, {}]}}"#, rule("generous"), rule("a"), rule("b")),
            _ => {
                rlar_net::llm::Llm::chat(&*exchanges("synthesise"), request).map_or_else(|_| String::new(), |r| r.text)
            }
        })
    };
    let agents = running(scripted(answer));
    let request = rlar_rewards::FetchRequest {
        folder: folder.path(),
        examples: &examples,
        demonstrations: &[],
        sources: &[],
        always: &[],
    };
    let report = rlar_rewards::fetch_rewards(&request, &agents, &mut |_| ()).unwrap();
    let home = folder.path().join("refused/generous");
    assert!(fs::read_to_string(home.join("why.txt")).unwrap().contains("does not pay for"));
    assert!(fs::read_to_string(home.join("verifier.py")).unwrap().contains("def compute_generous"));
    assert!(report.fetched.iter().all(|f| f.tool != "generous"));
    assert!(rlar_rewards::Library::load(folder.path()).unwrap().card("generous").is_none());
}

#[test]
fn equal_programs_get_equal_evidence() {
    // Otherwise, the requests after an interruption would differ from the cached ones.
    for name in ["misspelt", "looping", "dicing", "bought"] {
        let keys = || written(name).1.iter().map(ChatRequest::key).collect::<Vec<_>>();
        assert_eq!(keys(), keys(), "{name}");
    }
}

/// Defects with replies that were overpaid.
fn overpaid(replies: &[&str]) -> ToolDefects {
    let prompt = "How many times does b occur in bo-ba-lu?";
    let case = |reply: &&str| CardCase {
        reply: (*reply).to_owned(),
        good: false,
        prompt: prompt.to_owned(),
        reference: Some("2".to_owned()),
        columns: serde_json::Map::new(),
    };
    ToolDefects {
        summary: "the policy is paid for tricks".into(),
        overpaid: replies.iter().map(case).collect(),
        code: Vec::new(),
    }
}

#[test]
fn a_new_tool_must_not_reward_the_replies_that_the_old_one_overpaid() {
    let defects = overpaid(&["two, I swear"]);
    let (draft, requests) = written_for("patched", Some(&defects));
    let draft = draft.unwrap();
    assert_eq!((draft.refusal.as_deref(), requests.len()), (None, 2), "{:?}", draft.earlier_refusals);
    assert!(requests[0].messages[1].content.contains("two, I swear"));
    assert!(draft.earlier_refusals[0].contains("two, I swear"), "{}", draft.earlier_refusals[0]);
    assert!(draft.card.cases.iter().any(|c| c.reply == "two, I swear" && !c.good));
}

#[test]
fn replies_of_any_form_become_cases_that_a_card_holds_unchanged() {
    let odd = [
        "",
        " ",
        "\t\tx",
        "a\r\nb\r",
        "\u{0}\u{1b}[2J",
        "\u{feff}\u{85}\u{2028}x",
        "- a: b # c",
        "'\"`%@&*!|>",
        "null",
        "1e9",
        "~",
        "a\n\n\n",
        "\n  a\n b",
        "   \n",
        "---\n...\n",
        "😀\u{202e}x",
        "\u{7f}\u{9b}x",
        "```\ncode\n```",
    ];
    let defects = overpaid(&odd);
    let (draft, _) = written_for("fine", Some(&defects));
    let draft = draft.unwrap();
    assert_eq!(draft.refusal, None);
    let read = ToolCard::parse("tool.yaml".as_ref(), &draft.card_yaml).unwrap();
    assert_eq!(read, draft.card);
}

#[test]
fn without_a_sandbox_no_request_is_sent() {
    let watched = Watched::new(exchanges("synthesise"));
    let agents = agents(watched.clone());
    let examples = letters("letters");
    let mut messages = String::new();
    let mut on_event = |event: AgentEvent| {
        if let AgentEvent::Message(message) = event {
            messages += &message;
        }
    };
    let tools =
        agents.synthesise(&request("good", &examples.iter().collect::<Vec<_>>(), &[]), &|_| false, None, &mut on_event);
    assert!(tools.admitted.is_empty() && watched.requests().is_empty());
    assert!(messages.contains("nothing runs here"), "{messages}");
}
