//! Tests of run folders.
#![allow(clippy::unwrap_used)]

mod shown;

use std::fs;
use std::path::Path;

use rlar_run::{
    Build, Checkpoints, Computation, Disk, ENVIRONMENT, ProcessEnvironment, RunError, RunFolder, sync_or_rewrite,
    write_atomic,
};
use serde_json::json;

fn open(path: &Path, resume: bool) -> Result<RunFolder, RunError> {
    RunFolder::open(path, resume, Disk::default())
}

fn save(checkpoints: &Checkpoints, step: u64, name: &str, bytes: &[u8]) {
    checkpoints.save(step, &[&|| Ok::<_, RunError>(vec![(name.to_owned(), bytes.to_vec())])]).unwrap();
}

#[test]
fn every_process_of_a_run_says_what_it_computes_on() {
    let folder = tempfile::tempdir().unwrap();
    let build = Build { version: "1.2.3".into(), commit: Some("abc".into()), features: vec!["cuda".into()] };
    let run = open(folder.path(), false).unwrap();
    for step in [0, 40, 30] {
        let now = ProcessEnvironment::now(&build, Computation { step, threads: 3, device: "cpu" });
        run.records(ENVIRONMENT, u64::MAX).unwrap().append(&now).unwrap();
    }
    let text = fs::read_to_string(folder.path().join(ENVIRONMENT)).unwrap();
    let lines: Vec<ProcessEnvironment> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line.step).collect::<Vec<_>>(), [0, 40, 30], "steps taken again stay recorded");
    let first = &lines[0];
    assert_eq!(
        (&*first.version, first.commit.as_deref(), &first.features[..]),
        ("1.2.3", Some("abc"), &["cuda".to_owned()][..])
    );
    assert_eq!((first.threads, &*first.device, &first.gpus[..]), (3, "cpu", &[][..]));
    assert!(
        first.kernel.starts_with(std::env::consts::OS) && first.kernel.ends_with(std::env::consts::ARCH),
        "{}",
        first.kernel
    );
    // The name of the machine is not recorded: runs are passed on.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    assert!(host.trim().len() < 5 || !text.contains(host.trim()), "{text}");
    if cfg!(target_os = "linux") {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap();
        assert!(first.cpu.as_ref().is_none_or(|name| cpu.contains(name)) && first.memory.unwrap() > 1 << 20, "{text}");
        assert!(first.instructions.iter().all(|set| cpu.split_whitespace().any(|flag| flag == set)), "{text}");
        assert_eq!(first.instructions.contains(&"avx2".to_owned()), cpu.contains(" avx2 "));
    }
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
    save(&run.checkpoints(), 1, "weights", b"x");
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
fn a_file_without_a_folder_in_its_name_is_written_into_the_current_folder() {
    let name = format!("bare-name-{}.txt", std::process::id());
    let path = Path::new(&name);
    let written = write_atomic(path, b"whole").and_then(|()| sync_or_rewrite(path, Disk::default()));
    let (found, left) = (fs::read(path), fs::exists(format!("{name}.tmp")));
    fs::remove_file(path).unwrap();
    written.unwrap();
    assert_eq!((found.unwrap(), left.unwrap()), (b"whole".to_vec(), false));
}

// Writing to /dev/full fails as a full disk does.
#[cfg_attr(not(target_os = "linux"), ignore = "needs /dev/full")]
#[test]
fn a_full_disk_is_an_error_and_leaves_the_old_file() {
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
        save(&checkpoints, step, "weights", &[step as u8; 100]);
        checkpoints.keep(2, &[]).unwrap();
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

#[test]
fn the_best_checkpoints_stay_beside_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = open(folder.path(), false).unwrap().checkpoints();
    for step in 1..=6 {
        save(&checkpoints, step, "a/b", &[step as u8]);
        let oldest = checkpoints.keep(2, &[2]).unwrap();
        assert_eq!(oldest, (step > 1).then(|| step - 1), "of two that are kept");
    }
    let mut left: Vec<_> =
        fs::read_dir(folder.path().join("checkpoints")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["step-000002", "step-000005", "step-000006"]);
    assert_eq!(checkpoints.newest().unwrap().0.unwrap().read("a/b").unwrap(), [6]);
}

#[test]
fn the_journal_gives_back_what_was_recorded_and_forgets_what_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let run = open(folder.path(), false).unwrap();
    let mut journal = run.journal(0).unwrap();
    for step in 1..=4u64 {
        journal.record(step, "batch", &vec![0.1f64 * step as f64; 3]).unwrap();
    }
    journal.record(4, "measured", &json!({ "accuracy": 0.5 })).unwrap();
    drop(journal);
    let path = folder.path().join("journal.jsonl");
    // A kill in the middle of a write leaves half an entry, whose value was not used yet.
    fs::write(&path, fs::read_to_string(&path).unwrap() + "[5,\"batch\",[0.").unwrap();
    let mut journal = run.journal(0).unwrap();
    assert_eq!(journal.recall::<Vec<f64>>(3, "batch").unwrap(), Some(vec![0.1f64 * 3.0; 3]));
    assert_eq!(journal.recall::<Vec<f64>>(3, "batch").unwrap(), None, "an entry is used once");
    assert!(journal.reaches(4) && !journal.reaches(5));
    journal.forget(3).unwrap();
    journal.record(5, "batch", &1.5).unwrap();
    drop(journal);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 5);
    let mut journal = run.journal(3).unwrap();
    assert_eq!(journal.recall::<f64>(5, "batch").unwrap(), Some(1.5));
    assert_eq!(journal.recall::<serde_json::Value>(4, "measured").unwrap(), Some(json!({ "accuracy": 0.5 })));
    drop(journal);
    // A run that fell back further than the journal reaches cannot use it: the steps in between are computed anew.
    assert!(!run.journal(2).unwrap().reaches(4), "entries of a history that is lost");
    // From there on it is whole again, gaps and all: not every step has an entry.
    run.journal(2).unwrap().record(9, "measured", &1.0).unwrap();
    assert_eq!(run.journal(2).unwrap().recall::<f64>(9, "measured").unwrap(), Some(1.0));
    run.clear(&["journal.jsonl", "nothing"]).unwrap();
    assert!(!run.journal(0).unwrap().reaches(4), "a fresh run has nothing to recall");
}

/// Reads the events of a file: length, its checksum, data, its checksum.
fn events(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    // CRC-32C bit by bit, masked as TensorFlow does it.
    let crc = |data: &[u8]| {
        let mut crc = !0u32;
        for b in data {
            crc ^= u32::from(*b);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            }
        }
        (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
    };
    let (mut at, mut out) = (0, Vec::new());
    while at < bytes.len() {
        let n = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        assert_eq!(word(at + 8), crc(&bytes[at..at + 8]));
        assert_eq!(word(at + 12 + n), crc(&bytes[at + 12..at + 12 + n]));
        out.push(bytes[at + 12..at + 12 + n].to_vec());
        at += 16 + n;
    }
    out
}

#[test]
fn event_files_have_the_format_that_tensorboard_reads() {
    let folder = tempfile::tempdir().unwrap();
    let run = open(folder.path(), false).unwrap();
    let mut file = run.events(1.5).unwrap();
    file.scalars(300, 2.5, &[("a/b".into(), 0.25)]).unwrap();
    let events = events(&folder.path().join("tensorboard/events.out.tfevents.rlar"));
    assert_eq!(events.len(), 2);
    assert!(events[0].ends_with(b"brain.Event:2"));
    // wall_time (1), step (2), summary (5) with one value: tag (1), simple_value (2).
    let mut want = vec![0x09];
    want.extend(2.5f64.to_le_bytes());
    want.extend([0x10, 0xac, 0x02, 0x2a, 0x0c, 0x0a, 0x0a, 0x0a, 0x03]);
    want.extend(b"a/b");
    want.push(0x15);
    want.extend(0.25f32.to_le_bytes());
    assert_eq!(events[1], want);
}

// Writing to /dev/full fails as a full disk does.
#[cfg_attr(not(target_os = "linux"), ignore = "needs /dev/full")]
#[test]
fn a_full_disk_is_waited_for_and_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk { wait: std::time::Duration::from_millis(700) };
    let run = RunFolder::open(folder.path(), false, disk).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("a.tmp")).unwrap();
    let began = std::time::Instant::now();
    let error = run.write("a", b"new").unwrap_err();
    assert!(matches!(error, RunError::Full { .. }) && error.to_string().contains("`run.disk_wait`"), "{error}");
    assert!(began.elapsed() >= std::time::Duration::from_millis(500), "it did not wait");
    // Room comes back while a write waits.
    let disk = Disk { wait: std::time::Duration::from_mins(1) };
    drop(run);
    let run = RunFolder::open(folder.path(), false, disk).unwrap();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| run.write("a", b"new"));
        std::thread::sleep(std::time::Duration::from_millis(600));
        assert!(!writing.is_finished());
        fs::remove_file(folder.path().join("a.tmp")).unwrap();
        writing.join().unwrap().unwrap();
    });
    assert_eq!(fs::read(folder.path().join("a")).unwrap(), b"new");
}
