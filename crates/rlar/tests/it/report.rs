//! `rlar report` and `rlar plot`: the files that they write, and what they refuse.

use std::fs;
use std::path::Path;

use crate::{refused, run, text};

fn write_run(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("config.yaml"), "version: 1\nseed: 1\n").unwrap();
    let record = |step: u64, reward: &str| {
        format!("{{\"step\":{step},\"reward\":{{\"mean\":{reward}}},\"kl\":{{\"k3\":0.1}}}}\n")
    };
    fs::write(folder.join("metrics.jsonl"), [record(1, "0.5"), record(2, "0.75")].concat()).unwrap();
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// The `d` of the paths of a plot.
fn curves(svg: &str) -> Vec<&str> {
    svg.split(" d=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(path, _)| path).collect()
}

#[test]
fn every_figure_of_a_report_is_drawn_by_the_command_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    write_run(&f.join("runs/one"));
    write_run(&f.join("runs/it's two"));
    let out = run(f, &["report", "runs/one", "runs/it's two", "--html", "report.html", "--smooth", "0.5"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(text(&out.stdout), "report.html\n");
    let html = fs::read_to_string(f.join("report.html")).unwrap();
    let figures: Vec<&str> =
        html.split("<figure>").skip(1).filter_map(|rest| rest.split_once("</figure>")).map(|(f, _)| f).collect();
    assert_eq!(figures.len(), 2);
    for figure in figures {
        let command = figure.split_once("$ rlar plot ").unwrap().1.split_once("</code>").unwrap().0;
        assert!(command.starts_with("runs/one 'runs/it'\\''s two' "), "{command}");
        let words: Vec<&str> = command.split_once("s two' ").unwrap().1.split(' ').collect();
        let out = run(f, &[&["plot", "runs/one", "runs/it's two"], &words[..]].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        let svg = fs::read_to_string(f.join(words[2])).unwrap();
        assert_eq!(curves(&svg), curves(figure));
        // Of each run the values and their moving average.
        assert_eq!(curves(figure).len(), 4);
    }
    assert_eq!(files(f), ["kl.svg", "report.html", "reward.svg", "runs"], "nothing else is left behind");
    assert_eq!(files(&f.join("runs/one")), ["config.yaml", "metrics.jsonl"], "nothing is written into a run");
}

#[test]
fn markdown_and_plots_are_printed_or_written() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    write_run(&f.join("one"));
    let printed = run(f, &["report", "one", "--markdown", "-"]);
    assert!(text(&printed.stdout).starts_with("## Training results\n"), "{}", text(&printed.stderr));
    // Standard output is a README's text, whatever else is written.
    let both = run(f, &["report", "one", "--html", "page.html", "--markdown", "-"]);
    assert_eq!(text(&both.stdout), text(&printed.stdout));
    fs::remove_file(f.join("page.html")).unwrap();
    let out = run(f, &["report", "one", "--markdown", "card.md", "--plots"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(files(f), ["card-kl.svg", "card-reward.svg", "card.md", "one"]);
    assert!(fs::read_to_string(f.join("card.md")).unwrap().contains("(card-reward.svg)"));
    let svg = run(f, &["plot", "one", "reward", "--smooth", "0.5", "--log"]);
    assert!(text(&svg.stdout).starts_with("<svg "), "{}", text(&svg.stderr));
}

#[test]
fn wrong_requests_name_what_is_wrong_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    write_run(&f.join("one"));
    let html = |run_name: &str, file: &str| run(f, &["report", run_name, "--html", file]);
    refused(&html("one", "no/where/x.html"), 2, &["no/where/x.html", "mkdir -p no/where"]);
    refused(&html("one", "one"), 2, &["one is a folder"]);
    refused(&html("nowhere", "x.html"), 2, &["nowhere: No such file"]);
    refused(&html(".", "x.html"), 2, &["is a folder of runs", "./one"]);
    refused(&run(f, &["report", "one"]), 2, &["--html", "--markdown"]);
    refused(&run(f, &["report", "one", "--markdown", "-", "--plots"]), 2, &["--markdown FILE"]);
    refused(&run(f, &["report", "one", "--html", "x", "--markdown", "./x"]), 2, &["the same file"]);
    refused(&run(f, &["plot", "one", "rewards"]), 2, &["did you mean `reward`?", "kl/k3", "reward/mean"]);
    refused(&run(f, &["plot", "one", "reward", "--smooth", "1"]), 2, &["below 1"]);
    assert_eq!(files(f), ["one"]);
    let metrics = f.join("one/metrics.jsonl");
    let records = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, format!("{records}nonsense\n")).unwrap();
    let out = html("one", "x.html");
    assert!(
        out.status.success() && text(&out.stderr).contains("one: metrics.jsonl, line 3: "),
        "{}",
        text(&out.stderr)
    );
}
