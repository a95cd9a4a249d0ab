//! The score cache and the log of calls.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rlar_data::{Completion, Example};
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, Outcome, STORE, Store, ToolContext, statistics};

use crate::kinds::folder;
use crate::scripted::{Scripted, fenced, scripted};
use crate::{context, example, with_config};

const JUDGE: &str = "kind: judge\nrole: quality\ntasks: [short answers]\nneeds_reference: false\nrange: [0, 1]\n\
                     judge: { rubric: r }\n";

/// A judge that grades replies of one character with 10 and others with 1, and fails on the reply `none`.
fn judge() -> Arc<Scripted> {
    scripted(|request| {
        let reply = fenced(request, "reply");
        let score = if reply.len() == 1 { 10 } else { 1 };
        Ok(if reply == "none" { "no JSON".into() } else { format!(r#"{{"reason": "", "score": {score}}}"#) })
    })
}

fn rewards(library: &Path, store: &Path, llm: &Arc<Scripted>) -> Orchestrator {
    let context = ToolContext { llm: Some(llm.clone()), ..context() };
    with_config(Library::load(library).unwrap(), context, OrchestratorConfig::default()).with_store(Store::open(store))
}

fn ask(rewards: &mut Orchestrator, reply: &str) -> Outcome {
    let asked = example("Capital of France?", Some("Paris"));
    rewards.score(&[(&asked, &Completion::whole(reply))]).unwrap()[0].tools[0].outcome.clone()
}

#[test]
fn a_score_is_computed_once_and_a_failure_again() {
    let library = folder(&[("judge", JUDGE)]);
    let (store, llm) = (library.path().join(STORE), judge());
    for _ in 0..3 {
        // As another process would, open the file again.
        let mut rewards = rewards(library.path(), &store, &llm);
        assert_eq!(ask(&mut rewards, "x"), Outcome::Scored(1.0));
        assert_eq!(ask(&mut rewards, "xy"), Outcome::Scored(0.0));
        assert!(matches!(ask(&mut rewards, "none"), Outcome::Failed(_)));
    }
    assert_eq!(llm.asked.load(Ordering::SeqCst), 2 + 3);
    let card = library.path().join("judge/tool.yaml");
    fs::write(&card, fs::read_to_string(&card).unwrap().replace("rubric: r", "rubric: s")).unwrap();
    assert_eq!(ask(&mut rewards(library.path(), &store, &llm), "x"), Outcome::Scored(1.0));
    assert_eq!(llm.asked.load(Ordering::SeqCst), 6, "an edited tool is another one");

    let log = statistics(&store).unwrap();
    assert_eq!(log.iter().map(|s| s.calls).collect::<Vec<_>>(), [9, 1]);
    let first = &log[0];
    assert_eq!((first.cached, first.failed, first.tokens), (4, 3, 5 * 15));
    assert!(first.last_failure.as_ref().unwrap().contains("no JSON"));
    let spread = &first.calibration["all"];
    assert_eq!((spread.scores, spread.mean, spread.deviation), (6, 0.5, 0.5));
    assert_eq!(spread.quantiles, [0.0, 0.0, 1.0, 1.0, 1.0]);
}

#[test]
fn a_cached_score_has_the_reason_that_it_had_at_first() {
    let library = folder(&[("judge", JUDGE)]);
    let store = library.path().join(STORE);
    let llm = scripted(|request| {
        let reason = format!("it has {} characters", fenced(request, "reply").len());
        Ok(format!(r#"{{"reason": "{reason}", "score": 10}}"#))
    });
    let asked = example("Capital of France?", Some("Paris"));
    let replies = ["x", "yy", "x"].map(Completion::whole);
    let items: Vec<_> = replies.iter().map(|reply| (&asked, reply)).collect();
    let reasons = || {
        let records = rewards(library.path(), &store, &llm).records_with("judge", &items).unwrap();
        assert!(records.iter().all(|record| record.outcome == Outcome::Scored(1.0)));
        records.into_iter().map(|r| r.reason.map(|reason| reason.as_str().to_owned())).collect::<Vec<_>>()
    };
    let first = reasons();
    assert_eq!(
        first.iter().flatten().collect::<Vec<_>>(),
        ["it has 1 characters", "it has 2 characters", "it has 1 characters"]
    );
    assert_eq!(reasons(), first);
    // A file of an earlier version holds no reasons; its scores stay valid.
    rusqlite::Connection::open(&store).unwrap().execute_batch("DROP TABLE reasons").unwrap();
    assert_eq!(reasons(), [None, None, None]);
    assert_eq!(llm.asked.load(Ordering::SeqCst), 2);
}

#[test]
fn the_cache_key_covers_an_example_without_its_id() {
    let library = folder(&[("judge", JUDGE)]);
    let (store, llm) = (library.path().join(STORE), judge());
    let mut rewards = rewards(library.path(), &store, &llm);
    let mut with = |change: &dyn Fn(&mut Example)| {
        let mut asked = example("Capital of France?", Some("Paris"));
        change(&mut asked);
        rewards.score_with("judge", &[(&asked, &Completion::whole("x"))]).unwrap();
        llm.asked.load(Ordering::SeqCst)
    };
    assert_eq!(with(&|_| ()), 1);
    assert_eq!(with(&|e| e.id = "another".into()), 1, "an id says nothing about a reply");
    assert_eq!(with(&|e| e.reference = Some("paris".into())), 2);
    assert_eq!(with(&|e| e.reference = None), 3);
    assert_eq!(with(&|e| e.messages[0].content += " "), 4);
    assert_eq!(with(&|e| drop(e.columns.insert("tests".into(), 1.into()))), 5);
}

#[test]
fn a_damaged_cache_is_moved_away_and_replaced() {
    let library = folder(&[("judge", JUDGE)]);
    let (store, llm) = (library.path().join(STORE), judge());
    let damages: [&dyn Fn(Vec<u8>) -> Vec<u8>; 3] = [
        &|_| b"this is no database, and was one never".repeat(100),
        &|mut bytes| {
            // Every page but the first.
            bytes[4096..].fill(0xa5);
            bytes
        },
        &|bytes| bytes[..bytes.len() / 2].to_vec(),
    ];
    for (i, damage) in damages.iter().enumerate() {
        ask(&mut rewards(library.path(), &store, &llm), "x");
        let before = llm.asked.load(Ordering::SeqCst);
        fs::write(&store, damage(fs::read(&store).unwrap())).unwrap();
        let mut again = rewards(library.path(), &store, &llm);
        assert_eq!(ask(&mut again, "x"), Outcome::Scored(1.0), "damage {i}");
        assert_eq!(llm.asked.load(Ordering::SeqCst), before + 1, "damage {i}");
        drop(again);
        assert!(library.path().join("scores.sqlite.damaged").exists());
        assert_eq!(statistics(&store).unwrap()[0].calls, 1, "damage {i}");
        assert_eq!(ask(&mut rewards(library.path(), &store, &llm), "x"), Outcome::Scored(1.0));
        assert_eq!(llm.asked.load(Ordering::SeqCst), before + 1, "damage {i}: kept again");
    }
}

#[test]
fn scores_are_computed_without_a_usable_cache() {
    let library = folder(&[("judge", JUDGE)]);
    let llm = judge();
    let nowhere = library.path().join("no/such/folder").join(STORE);
    let mut lost = rewards(library.path(), &nowhere, &llm);
    assert_eq!(ask(&mut lost, "x"), Outcome::Scored(1.0));
    let error = statistics(&nowhere).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    // A file without write permission does not stop scoring.
    let store = library.path().join(STORE);
    ask(&mut rewards(library.path(), &store, &llm), "x");
    fs::set_permissions(&store, fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(ask(&mut rewards(library.path(), &store, &llm), "x"), Outcome::Scored(1.0));
}

#[test]
fn concurrent_users_of_a_cache_lose_no_call() {
    let library = folder(&[("judge", JUDGE)]);
    let (store, llm) = (library.path().join(STORE), judge());
    let replies: Vec<String> = (0..200).map(|i| "x".repeat(1 + i % 50)).collect();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut rewards = rewards(library.path(), &store, &llm);
                for reply in &replies {
                    let want = if reply.len() == 1 { 1.0 } else { 0.0 };
                    assert_eq!(ask(&mut rewards, reply), Outcome::Scored(want));
                }
            });
        }
    });
    let log = statistics(&store).unwrap();
    assert_eq!(log[0].calls, 6 * 200);
    assert_eq!(log[0].calls - log[0].cached, llm.asked.load(Ordering::SeqCst) as u64);
}

#[test]
fn statistics_see_the_calls_of_a_live_writer_and_leave_no_files_behind() {
    let library = folder(&[("judge", JUDGE)]);
    let (own, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, copy) = (own.path().join(STORE), killed.path().join(STORE));
    let files = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    let calls = |store: &Path| statistics(store).unwrap()[0].calls;
    let mut writer = rewards(library.path(), &store, &judge());
    ask(&mut writer, "x");
    assert_eq!(calls(&store), 1);
    ask(&mut writer, "xy");
    assert_eq!(calls(&store), 2);
    let logs = ["", "-shm", "-wal"].map(|end| format!("{STORE}{end}"));
    assert_eq!(files(own.path()), logs, "the log is the writer's");
    // What a killed writer leaves: the calls are in the log.
    for name in [&logs[0], &logs[2]] {
        fs::copy(own.path().join(name), killed.path().join(name)).unwrap();
    }
    drop(writer);
    for (folder, store) in [(own.path(), &store), (killed.path(), &copy)] {
        assert_eq!((calls(store), calls(store)), (2, 2));
        assert_eq!(files(folder), [STORE]);
    }
}

#[test]
fn a_score_that_a_limit_decided_is_not_cached() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join(STORE);
    let mut rewards = Orchestrator::new(Library::curated().unwrap(), context(), OrchestratorConfig::default())
        .with_store(Store::open(&store));
    let mut asked = example("Add.", None);
    asked.columns.insert("tests".into(), serde_json::json!(["assert add(1, 2) == 3"]));
    for _ in 0..2 {
        for (reply, want) in [("def add(a, b): return a + b", 1.0), ("def add(a, b):\n    while True: pass", 0.0)] {
            let outcome = rewards.score_with("code_tests", &[(&asked, &Completion::whole(reply))]).unwrap().remove(0);
            assert_eq!(outcome, Outcome::Scored(want), "{reply}");
        }
    }
    let log = statistics(&store).unwrap();
    assert_eq!((log[0].calls, log[0].cached), (4, 1));
}

#[test]
fn equal_replies_are_scored_once() {
    let library = folder(&[("judge", JUDGE)]);
    let (store, llm) = (library.path().join(STORE), judge());
    let mut rewards = rewards(library.path(), &store, &llm);
    let asked = example("Capital of France?", Some("Paris"));
    let replies = ["x", "yy", "x", "x", "yy"].map(Completion::whole);
    let items: Vec<_> = replies.iter().map(|c| (&asked, c)).collect();
    let outcomes = rewards.score_with("judge", &items).unwrap();
    assert_eq!(llm.asked.load(Ordering::SeqCst), 2);
    assert_eq!(outcomes, [1.0, 0.0, 1.0, 1.0, 0.0].map(Outcome::Scored));
    assert_eq!((statistics(&store).unwrap()[0].calls, statistics(&store).unwrap()[0].cached), (5, 3));
}

#[test]
fn a_file_of_another_program_is_not_touched() {
    let library = folder(&[("judge", JUDGE)]);
    let llm = judge();
    let data = library.path().join("data.jsonl");
    fs::write(&data, "{\"prompt\": \"mine\"}\n".repeat(100)).unwrap();
    let other = library.path().join("other.sqlite");
    drop(Store::open(&other));
    let bytes = {
        let bytes = fs::read(&other).unwrap();
        // The version of the tables, in the header.
        [&bytes[..60], &[0, 0, 0, 77], &bytes[64..]].concat()
    };
    fs::write(&other, &bytes).unwrap();
    for path in [&data, &other] {
        let before = fs::read(path).unwrap();
        assert_eq!(ask(&mut rewards(library.path(), path, &llm), "x"), Outcome::Scored(1.0));
        assert!(fs::read(path).unwrap() == before, "{} was changed", path.display());
    }
    let names: Vec<_> = fs::read_dir(library.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|n| !n.to_string_lossy().contains("damaged")), "{names:?}");
}
