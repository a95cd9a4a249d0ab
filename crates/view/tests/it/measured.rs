//! Which tools accuracies are measured by, and whether the policy was trained on them.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::{asked, found};
use crate::fixture::{record, write, write_metrics};
use crate::serve;

/// What the page says of a run whose held-out prompts have the tool `own`, and whose steps have scores of `own` and `short`.
fn sources(folder: &Path, config: &str, has_steps: bool) -> Value {
    let run = folder.join("one");
    write(&run.join("config.yaml"), format!("version: 1\n{config}"));
    let assignment = |step: u64, tool: &str| {
        json!({ "step": step, "index": 0, "example": "e", "by": "builtin", "why": "",
                "tools": [{ "tool": tool, "weight": 1.0 }, { "tool": "short", "weight": 0.1 }] })
    };
    let lines = [assignment(0, "own"), assignment(1, "drawn")].map(|line| format!("{line}\n"));
    write(&run.join("assignments.jsonl"), lines.concat());
    let mut first = record(1, 0.5);
    first["tools"] = json!({ "own": { "score": { "mean": 0.5 } }, "short": { "score": { "mean": 1.0 } } });
    if has_steps {
        write_metrics(&run, &[first]);
    } else {
        write(&run.join("inputs.json"), "{}");
    }
    found(&serve(folder), "measured_by", &[asked("run", "one")])
}

#[test]
fn an_accuracy_by_the_rewards_own_tools_is_said_to_show_no_hacking() {
    let folder = tempfile::tempdir().unwrap();
    let always = "rewards:\n  always: [{ tool: short, weight: 0.1 }]\n";
    let said = sources(folder.path(), always, true);
    let text = "Accuracy is measured by the reward’s own tool `own`, on which the policy is trained: it cannot show that the \
                reward was hacked.";
    assert_eq!(said["accuracy"], json!({ "tools": ["own"], "trained_on": ["own"], "text": text }));
    let text = "Held-out accuracy is measured by the tool `own`, on which the policy is trained: it cannot show that the \
                reward was hacked.";
    assert_eq!(said["heldout"], json!({ "tools": ["own"], "trained_on": ["own"], "text": text }));
    // Without `rewards.always`, both tools of the prompts count. Tools of drawn prompts alone measure nothing held out.
    let said = sources(folder.path(), "", true);
    assert_eq!(said["heldout"]["tools"], json!(["own", "short"]));
    // The page of evaluations says the same.
    let view = found(&serve(folder.path()), "evaluations", &[asked("run", "one")]);
    assert_eq!(view["measured_by"], said);
}

#[test]
fn an_audit_tool_measures_what_the_policy_is_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let said = sources(folder.path(), "rewards:\n  audit:\n    tools: [judge]\n", true);
    let text = "Held-out accuracy is measured by the audit tool `judge`, on which the policy is not trained; where it \
                abstains, by the tools of the prompt.";
    assert_eq!(said["heldout"], json!({ "tools": ["judge"], "trained_on": [], "text": text }));
    // An audit tool that also gives rewards is no independent measure.
    let said = sources(folder.path(), "rewards:\n  audit:\n    tools: [judge, own]\n", true);
    assert_eq!(said["heldout"]["trained_on"], json!(["own"]));
    assert!(said["heldout"]["text"].as_str().unwrap().contains("cannot show that this reward was hacked"), "{said}");
}

#[test]
fn before_the_first_step_and_without_rewards_nothing_is_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let said = sources(folder.path(), "train:\n  method: grpo\n", false);
    assert_eq!((&said["accuracy"], &said["heldout"]["trained_on"]), (&Value::Null, &json!([])));
    assert!(said["heldout"]["text"].as_str().unwrap().contains("If the policy is trained on the same tools"), "{said}");
    let said = sources(folder.path(), "train:\n  method: sft\n", false);
    assert!(said["heldout"]["text"].as_str().unwrap().ends_with(", on which the policy is not trained."), "{said}");
    let said = sources(folder.path(), "train:\n  method: reward_model\n", false);
    assert_eq!(said, json!({ "accuracy": null, "heldout": null }));
}
