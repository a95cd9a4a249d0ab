//! Folders that are no runs are refused by name; a run that is being written is reported as far as it is.

use std::fs;

use rlar_report::{PlotLook, Report, plot_metric};

use crate::fixture::{write, write_run};
use crate::markup::text_of;
use crate::{page, paths};

#[test]
fn what_is_no_run_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write(&path("file"), "text");
    fs::create_dir(path("empty")).unwrap();
    write_run(&path("runs/one"));
    write_run(&path("later"));
    write(&path("later/config.yaml"), "version: 7\n");
    let refusals = [
        ("missing", "missing: No such file"),
        ("file", "is a file; name the folder of a run"),
        ("empty", "is no run and holds none"),
        ("runs", "runs/one"),
        ("later", "is of version 7"),
    ];
    for (name, part) in refusals {
        let report = Report::read(&paths(&[&path(name)])).unwrap_err().to_string();
        let plot = plot_metric(&paths(&[&path(name)]), "reward", PlotLook::default()).unwrap_err().to_string();
        assert!(report.contains(part), "{part}: {report}");
        assert_eq!(report, plot);
    }
}

#[test]
fn a_run_that_is_being_written_is_reported_as_far_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write_run(&run);
    fs::remove_file(run.join("report.json")).unwrap();
    let mut metrics = fs::read(run.join("metrics.jsonl")).unwrap();
    metrics.extend(b"{\"step\": 6, \"reward\": {\"me");
    fs::write(run.join("metrics.jsonl"), metrics).unwrap();
    write(&run.join("rollouts/step-000006.parquet.tmp"), "PAR1");
    let text = text_of(&page(&[&run]));
    assert!(text.contains("still being written when this report was made") && text.contains("5 of 5"), "{text}");
    assert!(!text.contains("What could not be read"), "{text}");
}

#[test]
fn a_run_before_its_first_step_has_a_report_without_curves() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("one");
    write(&run.join("config.yaml"), "version: 1\n");
    write(&run.join("journal.jsonl"), "[1,\"bat");
    let text = text_of(&page(&[&run]));
    for part in ["No step is recorded yet", "Nothing was measured", "No replies are in files"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let error = plot_metric(&paths(&[&run]), "reward", PlotLook::default()).unwrap_err().to_string();
    assert!(error.contains("no step is recorded yet in ") && error.contains("one"), "{error}");
}
