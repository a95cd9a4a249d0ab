use std::fs;
use std::time::Duration;

use rlar_data::Example;
use rlar_net::llm::ChatRequest;
use rlar_rewards::agents::News;
use rlar_rewards::agents::synthesise::{Evidence, Made, Order, Rule, list, write};
use rlar_rewards::{CardCase, Status, ToolCard, ToolContext, ToolRole};
use rlar_sandbox::SandboxLimits;

use super::{Watched, agents, counts, exchanges, letters, running};
use crate::scripted::scripted;

/// An order of verifiers for the counting of letters.
fn order<'a>(task: &'a str, examples: &'a [&'a Example], known: &'a [(String, String)]) -> Order<'a> {
    Order { task, examples, steps: &[], known, packages: &[], evidence: None }
}

/// The names of the rules of a list, or why there is none, and the questions that were asked.
fn listed(task: &str) -> (Result<Vec<String>, String>, u64) {
    let agents = agents(exchanges("synthesise"));
    let examples = letters("letters");
    let known = [("last_number".to_owned(), "The last number.".to_owned())];
    let rules = list(agents.asker.as_ref().unwrap(), &order(task, &examples.iter().collect::<Vec<_>>(), &known));
    let rules = rules.map_err(|e| e.to_string());
    (rules.map(|r| r.into_iter().map(|r| r.name).collect()), counts(&agents, "synthesise").asked)
}

#[test]
fn three_to_five_rules_of_new_names_are_wanted() {
    let three = ["count_is_right", "working_adds_up", "one_number"];
    for (task, names, asked) in [
        ("good", &three[..], 1),
        ("five", &["count_is_right", "working_adds_up", "one_number", "fourth", "fifth"], 1),
        ("chatty", &three, 1),
        ("miscounted", &three, 3),
        ("taken", &three, 3),
        ("misnamed", &three, 3),
        ("confused", &three, 3),
    ] {
        assert_eq!(listed(task), (Ok(names.iter().map(|n| (*n).to_owned()).collect()), asked), "{task}");
    }
    let (rules, asked) = listed("hopeless");
    assert!(rules.unwrap_err().contains("no usable answer in 3 tries") && asked == 3);
}

/// What is written for a rule of this name, and what was asked.
fn written_for(name: &str, evidence: Option<&Evidence>) -> (Result<Made, String>, Vec<ChatRequest>) {
    let watched = Watched::new(exchanges("synthesise"));
    let agents = agents(watched.clone());
    let examples = letters("letters");
    let examples: Vec<&Example> = examples.iter().collect();
    let rule =
        Rule { name: name.into(), measures: "The count.".into(), role: ToolRole::Correctness, needs_reference: false };
    let means = ToolContext::new(SandboxLimits { wall: Duration::from_millis(300), ..SandboxLimits::default() });
    let order = Order { evidence, ..order("letter counting", &examples, &[]) };
    let made = write(agents.asker.as_ref().unwrap(), &order, &rule, &means);
    (made.map_err(|e| e.to_string()), watched.asked())
}

fn written(name: &str) -> (Made, Vec<ChatRequest>) {
    let (made, asked) = written_for(name, None);
    (made.unwrap(), asked)
}

#[test]
fn a_good_program_is_admitted_at_once_and_its_card_can_be_read_again() {
    for name in ["fine", "fencing"] {
        let (made, asked) = written(name);
        assert_eq!((made.refusal.as_deref(), asked.len()), (None, 1), "{name}");
        assert_eq!(made.admission.unwrap().status, Status::Admitted);
        assert_eq!(ToolCard::parse("tool.yaml".as_ref(), &made.text).unwrap(), made.card);
    }
    assert!(written("fencing").0.source.contains("```"), "a program that speaks of fences is whole");
}

#[test]
fn a_program_that_will_not_do_is_mended_after_the_evidence() {
    for (name, questions, evidence) in [
        ("misspelt", 2, "It does not start: "),
        ("misspelt", 2, "SyntaxError"),
        ("raising", 2, "has a score for every text"),
        ("looping", 2, "too long for a reply"),
        ("bought", 2, "\"open sesame\" scores as a good reply"),
        ("bribed", 2, "open sesame\" scores as a good reply"),
        ("dicing", 2, "gives another score"),
        ("prying", 3, "It does not start: "),
    ] {
        let (made, asked) = written(name);
        assert_eq!((made.refusal.as_deref(), asked.len()), (None, questions), "{name}: {:?}", made.earlier);
        assert!(made.earlier[0].contains(evidence), "{name}: {}", made.earlier[0]);
        let shown = &asked[1].messages;
        assert!(shown[2].role == "assistant" && shown[2].content.contains(&format!("def compute_{name}")), "{name}");
        assert!(shown[3].content.contains(evidence), "{name}: {}", shown[3].content);
    }
}

#[test]
fn an_answer_without_a_program_is_repaired_before_anything_runs() {
    for (name, questions, why) in [
        ("packed", 2, "the package `numpy` is not allowed"),
        ("formless", 3, "no ```json block"),
        ("endless", 2, "cut off after 4000 tokens"),
    ] {
        let (made, asked) = written_for(name, None);
        match made {
            Ok(made) => assert!(made.refusal.is_none() && made.earlier.is_empty(), "{name}"),
            Err(why) => assert!(why.contains("does not define `compute_formless`"), "{name}: {why}"),
        }
        assert_eq!(asked.len(), questions, "{name}");
        assert!(asked[1].messages[3].content.contains(why), "{name}: {}", asked[1].messages[3].content);
    }
}

#[test]
fn a_program_that_is_not_mended_is_given_up_after_three_mendings() {
    let (made, asked) = written("generous");
    assert_eq!((made.earlier.len(), asked.len()), (3, 4));
    assert!(made.executable && made.admission.unwrap().status == Status::Refused);
    assert!(made.refusal.unwrap().contains("does not pay for"));
    let (made, asked) = written("stubborn");
    assert!(made.refusal.unwrap().contains("it was not mended: no usable answer in 3 tries") && asked.len() == 4);
}

#[test]
fn what_is_refused_is_kept_with_the_reason_where_nobody_takes_it_for_a_tool() {
    let folder = tempfile::tempdir().unwrap();
    let examples = letters("letters");
    let answer = |request: &ChatRequest| {
        let rule =
            |name| format!(r#"{{"name": "{name}", "measures": "m", "role": "correctness", "needs_reference": false}}"#);
        Ok(match (request.role.as_str(), request.template.as_str()) {
            ("classify", _) => r#"{"labels": ["letter counting", "letter counting", "letter counting"]}"#.to_owned(),
            (_, "synthesise-list-1") => format!(r#"{{"rules": [{}, {}, {}]}}"#, rule("a"), rule("b"), rule("generous")),
            _ => {
                rlar_net::llm::Llm::chat(&*exchanges("synthesise"), request).map_or_else(|_| String::new(), |r| r.text)
            }
        })
    };
    let agents = running(scripted(answer));
    let wanted =
        rlar_rewards::Wanted { folder: folder.path(), examples: &examples, shown: &[], sources: &[], always: &[] };
    let report = rlar_rewards::fetch_rewards(&wanted, &agents, &mut |_| ()).unwrap();
    let home = folder.path().join("refused/generous");
    assert!(fs::read_to_string(home.join("why.txt")).unwrap().contains("does not pay for"));
    assert!(fs::read_to_string(home.join("verifier.py")).unwrap().contains("def compute_generous"));
    assert!(report.fetched.iter().all(|f| f.tool != "generous"));
    assert!(rlar_rewards::Library::load(folder.path()).unwrap().card("generous").is_none());
}

#[test]
fn the_same_program_is_shown_the_same_evidence_again() {
    // Were it not so, work that goes on after an interruption would be asked about anew.
    for name in ["misspelt", "looping", "dicing", "bought"] {
        let keys = || written(name).1.iter().map(ChatRequest::key).collect::<Vec<_>>();
        assert_eq!(keys(), keys(), "{name}");
    }
}

/// Evidence of replies that were paid for.
fn overpaid(replies: &[&str]) -> Evidence {
    let prompt = "How many times does b occur in bo-ba-lu?";
    let case = |reply: &&str| CardCase {
        reply: (*reply).to_owned(),
        good: false,
        prompt: prompt.to_owned(),
        reference: Some("2".to_owned()),
        columns: serde_json::Map::new(),
    };
    Evidence {
        what: "the policy is paid for tricks".into(),
        overpaid: replies.iter().map(case).collect(),
        code: Vec::new(),
    }
}

#[test]
fn a_new_tool_must_not_pay_for_what_the_old_one_was_tricked_with() {
    let evidence = overpaid(&["two, I swear"]);
    let (made, asked) = written_for("patched", Some(&evidence));
    let made = made.unwrap();
    assert_eq!((made.refusal.as_deref(), asked.len()), (None, 2), "{:?}", made.earlier);
    assert!(asked[0].messages[1].content.contains("two, I swear"));
    assert!(made.earlier[0].contains("two, I swear"), "{}", made.earlier[0]);
    assert!(made.card.cases.iter().any(|c| c.reply == "two, I swear" && !c.good));
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
    let evidence = overpaid(&odd);
    let (made, _) = written_for("fine", Some(&evidence));
    let made = made.unwrap();
    assert_eq!(made.refusal, None);
    let read = ToolCard::parse("tool.yaml".as_ref(), &made.text).unwrap();
    assert_eq!(read, made.card);
}

#[test]
fn where_nothing_can_run_nothing_is_asked() {
    let watched = Watched::new(exchanges("synthesise"));
    let agents = agents(watched.clone());
    let examples = letters("letters");
    let mut said = String::new();
    let mut tell = |news: News| {
        if let News::Line(line) = news {
            said += &line;
        }
    };
    let provided =
        agents.synthesise(&order("good", &examples.iter().collect::<Vec<_>>(), &[]), &|_| false, None, &mut tell);
    assert!(provided.admitted.is_empty() && watched.asked().is_empty());
    assert!(said.contains("nothing runs here"), "{said}");
}
