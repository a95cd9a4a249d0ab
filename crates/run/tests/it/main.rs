//! What a run's folder promises.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::Path;

use rlar_run::{RunError, RunFolder, write_atomic};
use serde_json::json;

fn open(path: &Path, resume: bool) -> Result<RunFolder, RunError> {
    RunFolder::open(path, resume)
}

#[test]
fn one_run_at_a_time_uses_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), false).unwrap();
    assert!(matches!(open(folder.path(), false), Err(RunError::Locked { .. })));
    drop(first);
    open(folder.path(), false).unwrap();
}

#[test]
fn an_earlier_run_is_neither_overwritten_nor_invented() {
    let folder = tempfile::tempdir().unwrap();
    assert!(open(folder.path(), true).unwrap_err().to_string().contains("no run to resume"));
    // Without a checkpoint nothing is lost by starting again.
    open(folder.path(), false).unwrap().write("config.yaml", b"x").unwrap();
    let run = open(folder.path(), false).unwrap();
    run.checkpoints().save(1, &[("weights", b"x".to_vec())], 1).unwrap();
    drop(run);
    assert!(open(folder.path(), false).unwrap_err().to_string().contains("--resume"));
    open(folder.path(), true).unwrap();
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = open(&file.join("run"), false).unwrap_err().to_string();
    assert!(error.contains("file/run") && error.contains("cannot create the run folder"), "{error}");
}

#[test]
fn a_full_disk_is_an_error_and_leaves_the_old_file() {
    // Writing to /dev/full fails as a full disk does.
    if !Path::new("/dev/full").exists() {
        println!("skipped: this system has no /dev/full");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    write_atomic(&path, b"old").unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("a.tmp")).unwrap();
    let error = write_atomic(&path, b"new").unwrap_err().to_string();
    assert!(error.contains("a.tmp") && error.contains("cannot write"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn records_are_cut_back_to_the_step_of_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let run = open(folder.path(), false).unwrap();
    let mut records = run.records("m.jsonl", 0).unwrap();
    for step in 1..=5 {
        records.append(&json!({ "step": step })).unwrap();
    }
    drop(records);
    let path = folder.path().join("m.jsonl");
    // A kill in the middle of a write leaves half a line.
    fs::write(&path, fs::read_to_string(&path).unwrap() + "{\"step\": 6, \"re").unwrap();
    run.records("m.jsonl", 3).unwrap().append(&json!({ "step": 4, "again": true })).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":4,\"again\":true}\n");
}

#[test]
fn old_checkpoints_go_and_a_damaged_one_falls_back() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = open(folder.path(), false).unwrap().checkpoints();
    assert!(checkpoints.newest().unwrap().0.is_none());
    for step in 1..=4 {
        checkpoints.save(step, &[("weights", vec![step as u8; 100])], 2).unwrap();
    }
    let names = |p: &Path| fs::read_dir(p).unwrap().count();
    assert_eq!(names(&folder.path().join("checkpoints")), 2);
    assert_eq!(checkpoints.newest().unwrap().0.unwrap().step, 4);
    fs::write(folder.path().join("checkpoints/step-000004/weights"), b"torn").unwrap();
    let (newest, damaged) = checkpoints.newest().unwrap();
    let newest = newest.unwrap();
    assert_eq!((newest.step, newest.read("weights").unwrap()), (3, vec![3; 100]));
    assert!(damaged[0].contains("step-000004") && damaged[0].contains("recorded hash"));
}
