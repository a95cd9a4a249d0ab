//! Libraries as folders, which tools may score, and how tools are combined.

use std::fs;
use std::sync::{Arc, Barrier};

use rlar_data::{Completion, Example};
use rlar_rewards::{
    ADMISSION, Admission, CombineAs, Failure, Library, Orchestrator, OrchestratorConfig, Outcome, Status, ToolCard,
    ToolContext, WeightedTool, examine, probes_for,
};

use crate::kinds::folder;
use crate::scripted::scripted;
use crate::{context, example, library_of, orchestrator, with_config};

/// A verifier that compares the last word with the reference.
const RIGHT: &str = "def compute_x(prompt, candidate_response, reference_response):\n    \
                     w = candidate_response.strip().rstrip('.').split()\n    \
                     return float(bool(w) and w[-1] == reference_response)\n";

/// An orchestrator that uses admitted tools only.
fn admitted_only(library: Library) -> Orchestrator {
    Orchestrator::new(library, context(), OrchestratorConfig::default())
}

/// A configuration with tools that score every example.
fn with_always(always: Vec<WeightedTool>) -> OrchestratorConfig {
    OrchestratorConfig { always, ..OrchestratorConfig::default() }
}

/// Why no tool can be chosen for an example.
fn refusal(library: &Library, asked: &Example) -> String {
    admitted_only(library.clone()).choose(asked).unwrap_err().to_string()
}

#[test]
fn no_tool_is_chosen_before_it_is_admitted_in_its_present_state() {
    let folder = library_of(RIGHT);
    let asked = example("How many?", Some("2"));
    let library = Library::load(folder.path()).unwrap();
    let why = refusal(&library, &asked);
    assert!(why.contains("was not examined") && why.contains("rlar rewards admit tool"), "{why}");
    let mut rewards = orchestrator(library);
    let tool = rewards.open("tool").unwrap();
    let admission = examine(tool, &probes_for(tool.card()).unwrap(), &[]).unwrap();
    let keep = |admission: &Admission| {
        fs::write(folder.path().join("tool").join(ADMISSION), serde_json::to_string(admission).unwrap()).unwrap();
    };
    keep(&admission);
    let library = Library::load(folder.path()).unwrap();
    let chosen = admitted_only(library).choose(&asked).unwrap();
    assert_eq!(chosen.tools[0].tool, "tool");
    // A tool that was retired or edited, or whose report cannot be read, has to be examined again.
    keep(&Admission { status: Status::Retired, checks: Vec::new(), ..admission.clone() });
    assert!(refusal(&Library::load(folder.path()).unwrap(), &asked).contains("was retired"));
    keep(&admission);
    fs::write(folder.path().join("tool/v.py"), format!("{RIGHT}\n# edited\n")).unwrap();
    assert!(refusal(&Library::load(folder.path()).unwrap(), &asked).contains("changed since"));
    fs::write(folder.path().join("tool").join(ADMISSION), "{").unwrap();
    assert!(refusal(&Library::load(folder.path()).unwrap(), &asked).contains("was not examined"));
}

#[test]
fn a_tool_examined_without_references_is_provisional_with_a_small_weight() {
    let source =
        "def compute_x(prompt, candidate_response, reference_response):\n    return len(candidate_response) % 7 / 7\n";
    let folder = library_of(source);
    let card = folder.path().join("tool/tool.yaml");
    let text = fs::read_to_string(&card).unwrap().replace("needs_reference: true", "needs_reference: false");
    fs::write(&card, text).unwrap();
    let examined = || {
        let mut rewards = orchestrator(Library::load(folder.path()).unwrap());
        let blind: Vec<Example> = (0..5).map(|i| example(&format!("Write poem {i}."), None)).collect();
        examine(rewards.open("tool").unwrap(), &blind, &[]).unwrap()
    };
    let admission = examined();
    assert_eq!(admission.status, Status::Provisional, "{:?}", admission.failed().collect::<Vec<_>>());
    let mut library = Library::load(folder.path()).unwrap();
    library.set_admission("tool", admission);
    let assignment = admitted_only(library).choose(&example("How many?", Some("2"))).unwrap();
    assert_eq!(assignment.tools[0].weight, 0.25);
    fs::write(folder.path().join("tool/v.py"), "def compute_x(a, b, c): return 0.5").unwrap();
    let constant = examined();
    assert_eq!(constant.status, Status::Refused);
    assert!(constant.failed().any(|p| p.name.contains("tells replies apart")));
}

#[test]
fn preference_pairs_admit_and_refuse() {
    let pairs: Vec<rlar_data::Preference> = (0..6)
        .map(|i| rlar_data::Preference {
            id: i.to_string(),
            messages: example(&format!("Thank the person number {i}."), None).messages,
            chosen: format!("Dear {i}, thank you for the kindness that you have shown to us all."),
            rejected: format!("Go away, number {i}, nobody here is in the mood for you or anybody else."),
            margin: 0.0,
        })
        .collect();
    let examined = |body: &str| {
        let folder =
            library_of(&format!("def compute_x(prompt, candidate_response, reference_response):\n    {body}\n"));
        let card = folder.path().join("tool/tool.yaml");
        let text = fs::read_to_string(&card).unwrap();
        let text = text
            .replace("needs_reference: true", "needs_reference: false")
            .replace("role: correctness", "role: quality");
        fs::write(&card, text).unwrap();
        let mut rewards = orchestrator(Library::load(folder.path()).unwrap());
        examine(rewards.open("tool").unwrap(), &[], &pairs).unwrap()
    };
    let good = examined("return float('thank you for' in candidate_response)");
    assert_eq!(good.status, Status::Admitted, "{:?}", good.failed().collect::<Vec<_>>());
    let bad = examined("return min(1.0, len(candidate_response) / 1000)");
    assert_eq!(bad.status, Status::Refused);
    assert!(bad.failed().any(|p| p.name.starts_with("ranks good replies")), "{:?}", bad.failed().collect::<Vec<_>>());
}

#[test]
fn a_composite_of_itself_or_of_a_missing_part_is_refused_by_name() {
    let card = |part: &str| {
        format!(
            "kind: composite\nrole: quality\ntasks: [any]\nneeds_reference: false\nrange: [0, 1]\nparts: [{{ tool: {part} }}]\n"
        )
    };
    let (a, b, c) = (card("b"), card("c"), card("a"));
    let error = |cards: &[(&str, &str)]| Library::load(folder(cards).path()).unwrap_err().to_string();
    let circle = error(&[("a", &a), ("b", &b), ("c", &c)]);
    assert!(circle.contains("a → b → c → a"), "{circle}");
    assert!(error(&[("a", &card("a"))]).contains("a → a"));
    assert!(error(&[("a", &a)]).contains("its part `b` is not in the library"));
    let empty = "kind: composite\nrole: quality\ntasks: [any]\nneeds_reference: false\nrange: [0, 1]\n";
    assert!(error(&[("a", empty)]).contains("needs `parts`"));
}

#[test]
fn the_identity_of_a_composite_changes_with_its_parts() {
    let part =
        "kind: builtin\nbuiltin: length\nrole: constraint\ntasks: [any]\nneeds_reference: false\nrange: [0, 1]\n";
    let whole =
        "kind: composite\nrole: quality\ntasks: [any]\nneeds_reference: false\nrange: [0, 1]\nparts: [{ tool: a }]\n";
    let identity =
        |part: &str| Library::load(folder(&[("a", part), ("b", whole)]).path()).unwrap().identity("b").unwrap();
    assert_eq!(identity(part), identity(part));
    assert_ne!(identity(part), identity(&format!("{part}settings: {{ max_words: 3 }}\n")));
}

#[test]
fn two_libraries_are_compared_by_tool_and_line() {
    let part =
        "kind: builtin\nbuiltin: length\nrole: constraint\ntasks: [any]\nneeds_reference: false\nrange: [0, 1]\n";
    let longer = format!("{part}settings: {{ max_words: 3 }}\n");
    let [one, two] =
        [folder(&[("a", part), ("b", part), ("c", part)]), folder(&[("a", part), ("b", &longer), ("d", part)])];
    let [one, two] = [one, two].map(|f| Library::load(f.path()).unwrap());
    let said = one.differences(&two);
    let starts = |start: &str| said.lines().any(|l| l.starts_with(start));
    assert!(starts("~ b: ") && starts("- c") && starts("+ d") && starts("+settings: { max_words: 3 }"), "{said}");
    assert!(!said.contains("~ a"), "{said}");
    assert_eq!(one.differences(&one), "");
}

#[test]
fn a_tool_that_abstains_is_left_out_of_the_scores() {
    let members =
        vec![always("numeric_match", CombineAs::Term, None), always("multiple_choice", CombineAs::Gate, None)];
    let mut rewards = with_config(Library::curated().unwrap(), context(), with_always(members));
    let mut scored = |reference: &str, reply: &str| -> Vec<String> {
        let asked = example("What is it?", Some(reference));
        let scores = rewards.score(&[(&asked, &Completion::whole(reply))]).unwrap().remove(0);
        scores.tools.iter().map(|score| score.tool.to_string()).collect()
    };
    assert_eq!(scored("Paris", "Paris"), ["exact_match"]);
    assert_eq!(scored("Paris", "B"), ["exact_match"]);
    assert_eq!(scored("B", "B"), ["exact_match", "multiple_choice"]);
    assert_eq!(scored("5 francs", "5"), ["exact_match", "numeric_match"]);
}

fn always(tool: &str, combine: CombineAs, least: Option<f64>) -> WeightedTool {
    WeightedTool { tool: tool.into(), weight: 2.0, combine, least }
}

#[test]
fn gates_and_vetoes_overrule_the_chosen_tools() {
    let members = vec![
        always("concise", CombineAs::Gate, Some(1.0)),
        always("no_repetition", CombineAs::Veto, None),
        always("token_f1", CombineAs::Term, None),
    ];
    let mut rewards = with_config(Library::curated().unwrap(), context(), with_always(members));
    let asked = example("Capital of France?", Some("Paris"));
    let mut scores = |reply: &str| rewards.score(&[(&asked, &Completion::whole(reply))]).unwrap().remove(0);
    let fine = scores("Paris");
    let names: Vec<(&str, f64)> = fine.tools.iter().map(|score| (&*score.tool, score.weight)).collect();
    assert_eq!(names, [("exact_match", 1.0), ("concise", 0.0), ("no_repetition", 0.0), ("token_f1", 2.0)]);
    assert_eq!(fine.total(), Some(3.0));
    let long = (0..300).map(|i| format!("w{i}")).collect::<Vec<_>>().join(" ");
    assert_eq!(scores(&format!("Paris {long}")).total(), Some(0.0));
    assert_eq!(scores(&"Paris is it. ".repeat(40)).total(), Some(0.0));
    let unknown = with_always(vec![always("nothing", CombineAs::Gate, None)]);
    let missing = with_config(Library::curated().unwrap(), context(), unknown);
    assert!(missing.choose(&asked).unwrap_err().to_string().contains("rewards.always"));
    assert!(missing.check_named_tools().unwrap_err().to_string().contains("rewards.always"));
}

/// Without it, the reward would be another one than the config asks for.
#[test]
fn a_suspended_tool_of_every_prompt_is_named_where_it_would_score() {
    let members = vec![always("token_f1", CombineAs::Term, None), always("concise", CombineAs::Gate, Some(1.0))];
    let mut rewards = with_config(Library::curated().unwrap(), context(), with_always(members));
    rewards.check_named_tools().unwrap();
    let (asked, open) = (example("Capital of France?", Some("Paris")), example("Tell me of Paris.", None));
    assert_eq!((rewards.suspended_always(&asked), rewards.suspended_always(&open)), (None, None));
    rewards.suspend("exact_match");
    assert_eq!(rewards.suspended_always(&asked), None, "another tool may take its place");
    rewards.suspend("token_f1");
    assert_eq!((rewards.suspended_always(&asked), rewards.suspended_always(&open)), (Some("token_f1"), None));
    rewards.suspend("concise");
    assert_eq!(rewards.suspended_always(&open), Some("concise"));
}

#[test]
fn examples_of_a_suspended_tool_get_another_tool() {
    let mut rewards = orchestrator(Library::curated().unwrap());
    let asked = example("How many?", Some("2"));
    let mut seen = Vec::new();
    while let Ok(assignment) = rewards.assign(&asked) {
        seen.push(assignment.tools[0].tool.clone());
        let tool = seen.last().unwrap().clone();
        rewards.suspend(&tool);
    }
    assert!(seen.len() > 1 && seen[0] == "last_number", "{seen:?}");
    let error = rewards.assign(&asked).unwrap_err().to_string();
    assert!(error.contains("no tool of the library"), "{error}");
}

#[test]
fn tools_run_concurrently_and_a_panic_stays_with_its_tool() {
    let judge =
        "kind: judge\nrole: quality\ntasks: [any]\nneeds_reference: false\nrange: [0, 1]\njudge: { rubric: r }\n";
    let text = judge.replace("tasks: [any]", "tasks: [short answers]");
    let folder = folder(&[("a", &text), ("b", judge)]);
    let both = Arc::new(Barrier::new(2));
    let llm = scripted(move |request| {
        // Both tools have to ask before either gets an answer.
        both.wait();
        assert!(request.task != "b", "b breaks");
        Ok(r#"{"reason": "", "score": 10}"#.to_owned())
    });
    let context = ToolContext { llm: Some(llm), ..context() };
    let config = with_always(vec![always("b", CombineAs::Term, None)]);
    let mut rewards = with_config(Library::load(folder.path()).unwrap(), context, config);
    let asked = example("Capital of France?", Some("Paris"));
    let scores = rewards.score(&[(&asked, &Completion::whole("Paris"))]).unwrap().remove(0);
    assert_eq!(scores.tools[0].outcome, Outcome::Scored(1.0));
    assert!(matches!(scores.tools[1].outcome, Outcome::Failed(Failure::Crash(_))), "{:?}", scores.tools[1]);
    assert_eq!(scores.total(), None);
}

#[test]
fn two_tools_of_one_name_are_refused() {
    let part =
        "kind: builtin\nbuiltin: length\nrole: constraint\ntasks: [any]\nneeds_reference: false\nrange: [0, 1]\n";
    let twice = folder(&[("a", part), ("b", part)]);
    let card = twice.path().join("b/tool.yaml");
    fs::write(&card, fs::read_to_string(&card).unwrap().replace("name: b", "name: a")).unwrap();
    let error = Library::load(twice.path()).unwrap_err().to_string();
    assert!(error.contains("tool `a`") && error.contains("a tool's folder has its name"), "{error}");
}

#[test]
fn breaking_a_gate_never_improves_the_total() {
    // With a penalty (a term with a negative weight) and a score below 0, a reply that breaks the rule has no better total.
    let card = |tool: &str, range: &str, more: &str| {
        format!("kind: {tool}\nrole: quality\ntasks: [short answers]\nneeds_reference: false\nrange: {range}\n{more}")
    };
    for part in [CombineAs::Gate, CombineAs::Veto] {
        let low = card("judge", "[-1, 1]", "judge: { rubric: r }\n");
        let penalty =
            card("builtin", "[0, 1]", "builtin: length\nsettings: { min_words: 5 }\n").replace("short answers", "any");
        let rule =
            card("builtin", "[0, 1]", "builtin: length\nsettings: { max_words: 3 }\n").replace("short answers", "any");
        let folder = folder(&[("low", &low), ("penalty", &penalty), ("rule", &rule)]);
        let llm = scripted(|_| Ok(r#"{"reason": "", "score": 1}"#.to_owned()));
        let members = vec![
            WeightedTool { tool: "penalty".into(), weight: -1.0, combine: CombineAs::Term, least: None },
            always("rule", part, Some(1.0)),
        ];
        let context = ToolContext { llm: Some(llm), ..context() };
        let mut rewards = with_config(Library::load(folder.path()).unwrap(), context, with_always(members));
        let asked = example("Capital of France?", Some("Paris"));
        let mut total =
            |reply: &str| rewards.score(&[(&asked, &Completion::whole(reply))]).unwrap()[0].total().unwrap();
        let (kept, broken) = (total("one two three"), total("one two three four five six"));
        assert!(broken <= kept, "{part:?}: {broken} for breaking it, {kept} for keeping it");
    }
}

#[test]
fn an_earlier_admission_does_not_excuse_failures() {
    let source = "def compute_x(prompt, candidate_response, reference_response):\n    if 'x1' in prompt: raise KeyError('x1')\n    \
                  w = candidate_response.strip().rstrip('.').split()\n    return float(bool(w) and w[-1] == reference_response)\n";
    let folder = library_of(source);
    let of = |bad: bool| -> Vec<Example> {
        let prompt = |i: usize| if bad { format!("How many x{i}?") } else { format!("How many y{i}?") };
        (0..8).map(|i| example(&prompt(i), Some(&format!("{}", 3 * i + 7)))).collect()
    };
    let mut rewards = orchestrator(Library::load(folder.path()).unwrap());
    let examined =
        |rewards: &Orchestrator, bad: bool| examine(&rewards.for_admission("tool").unwrap(), &of(bad), &[]).unwrap();
    let good = examined(&rewards, false);
    assert_eq!(good.status, Status::Admitted, "{:?}", good.failed().collect::<Vec<_>>());
    rewards.set_admission("tool", good);
    assert_eq!(examined(&rewards, true).status, Status::Refused);
    // When the prompt itself breaks the tool, the tool is at fault although it is admitted.
    let asked = example("How many x1?", Some("2"));
    let outcome = rewards.score(&[(&asked, &Completion::whole("2"))]).unwrap()[0].tools[0].outcome.clone();
    assert!(matches!(outcome, Outcome::Failed(Failure::Exception(_))), "{outcome:?}");
}

#[test]
fn a_composite_with_a_retired_part_is_not_admitted() {
    let part =
        "kind: builtin\nbuiltin: exact_match\nrole: correctness\ntasks: [any]\nneeds_reference: true\nrange: [0, 1]\n";
    let whole = "kind: composite\nrole: correctness\ntasks: [short answers]\nneeds_reference: true\nrange: [0, 1]\nparts: [{ tool: a }]\n";
    let folder = folder(&[("a", part), ("b", whole)]);
    let mut library = Library::load(folder.path()).unwrap();
    let rewards = orchestrator(library.clone());
    let admission = |name: &str| {
        let tool = rewards.for_admission(name).unwrap();
        examine(&tool, &probes_for(tool.card()).unwrap(), &[]).unwrap()
    };
    let (a, b) = (admission("a"), admission("b"));
    library.set_admission("b", b.clone());
    assert_eq!(library.is_admitted("b"), b.status == Status::Admitted);
    library.set_admission("a", Admission { status: Status::Retired, ..a });
    assert!(!library.is_admitted("b"));
}

#[test]
fn a_key_of_another_kind_is_refused_with_its_line() {
    let card = "kind: builtin\nbuiltin: length\nrole: constraint\ntasks: [any]\nneeds_reference: false\nrange: [0, 1]\n\
                function: f\n";
    let folder = folder(&[("a", card)]);
    let error = Library::load(folder.path()).unwrap_err().to_string();
    let expected =
        "a/tool.yaml:10: `function`: is a key of tools of the kind `verifier`, and this one is of the kind `builtin`";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn a_card_is_written_as_it_was_read() {
    let full = "name: a\nkind: verifier\nrole: correctness\nmeasures: m\ntasks:\n- any\nneeds_reference: true\nbare: true\n\
                range:\n- 0.0\n- 1.0\nfunction: f\nfile: v.py\nrequires:\n- numpy\ncases:\n- reply: r\n  good: true\norigin: test\n";
    let parse = |text: &str| ToolCard::parse("a/tool.yaml".as_ref(), text).unwrap();
    assert_eq!(serde_yaml::to_string(&parse(full)).unwrap(), full);
    for card in Library::curated().unwrap().cards() {
        assert_eq!(&parse(&serde_yaml::to_string(card).unwrap()), card, "{}", card.name);
    }
}
