//! What was measured of the tools of a library on the examples of tasks, and its file.

use std::fs;

use rlar_rewards::{EVIDENCE, Library, Status, ToolEvidence};

use crate::library_of;

const ALWAYS: &str = "def compute_x(prompt, candidate_response, reference_response):\n    return 1.0\n";

fn evidence(library: &Library, auc: f64) -> ToolEvidence {
    ToolEvidence {
        identity: library.identity("tool").unwrap(),
        auc: Some(auc),
        half_right_auc: None,
        status: Status::Refused,
    }
}

#[test]
fn evidence_is_kept_in_a_file_of_the_library_until_the_tool_changes() {
    let folder = library_of(ALWAYS);
    let mut library = Library::load(folder.path()).unwrap();
    assert_eq!(library.evidence("math", "tool"), None);
    library.write_evidence(folder.path()).unwrap();
    assert!(!folder.path().join(EVIDENCE).exists(), "without evidence there is no file");
    let measured = evidence(&library, 0.5);
    library.set_evidence("math", "tool", measured.clone());
    library.set_evidence("code", "tool", ToolEvidence { auc: None, ..measured.clone() });
    library.set_evidence("math", "another", measured.clone());
    library.write_evidence(folder.path()).unwrap();
    let text = fs::read_to_string(folder.path().join(EVIDENCE)).unwrap();
    assert!(text.find("\"code\"") < text.find("\"math\"") && text.ends_with("}\n"), "{text}");
    assert!(!text.contains("another"), "the library has no such tool: {text}");
    let library = Library::load(folder.path()).unwrap();
    assert_eq!(library.evidence("math", "tool"), Some(&measured));
    assert_eq!(library.evidence("code", "tool").and_then(|e| e.auc), None);
    assert_eq!((library.evidence("chess", "tool"), library.evidence("math", "another")), (None, None));
    fs::write(folder.path().join("tool/v.py"), format!("{ALWAYS}\n# edited\n")).unwrap();
    assert_eq!(Library::load(folder.path()).unwrap().evidence("math", "tool"), None);
}

#[test]
fn a_file_of_evidence_that_cannot_be_read_is_an_error_that_names_it() {
    let folder = library_of(ALWAYS);
    let loaded = |text: &str| {
        fs::write(folder.path().join(EVIDENCE), text).unwrap();
        Library::load(folder.path()).map(drop).map_err(|e| e.to_string())
    };
    let entry = |auc: &str, more: &str| {
        format!("{{\"math\": {{\"tool\": {{\"identity\": \"a\", \"auc\": {auc}, \"status\": \"admitted\"{more}}}}}}}")
    };
    assert_eq!(loaded(&entry("1", "")), Ok(()));
    for (text, why) in [
        ("{".to_owned(), "EOF"),
        ("[]".into(), "invalid type"),
        (entry("1.5", ""), "the AUC of `tool` for `math` is 1.5"),
        (entry("1", ", \"half_right_auc\": -0.5"), "the AUC of `tool` for `math` is -0.5"),
        (entry("1", ", \"speed\": 3"), "`speed`"),
    ] {
        let error = loaded(&text).unwrap_err();
        assert!(error.contains(EVIDENCE) && error.contains(why) && error.contains("fetch-rewards"), "{error}");
    }
}
