//! The commands that reproduce what a report shows.

use rlar_view::config_values::ConfigValue;

use crate::MeasuredRun;
use crate::figure::{Figure, PlotLook};

/// The command that draws a figure of the report.
pub fn plot_command(runs: &[&MeasuredRun], figure: &Figure) -> String {
    let name = &figure.name;
    format!("rlar plot {} {name} --svg {name}.svg{}", paths(runs), options(figure.look))
}

/// How curves are drawn, as options of a command; empty for the usual look.
pub fn options(look: PlotLook) -> String {
    let smoothing = if look.smoothing > 0.0 { format!(" --smooth {}", look.smoothing) } else { String::new() };
    format!("{smoothing}{}", if look.log { " --log" } else { "" })
}

/// The command that makes the report.
pub fn report_command(runs: &[&MeasuredRun], option: &str) -> String {
    format!("rlar report {} {option}", paths(runs))
}

/// A command about a path below a run, such as `rlar train --config RUN/config.yaml`; `before` and `after` are what stands
/// around the path.
pub fn run_command(before: &str, run: &MeasuredRun, below: &str, after: &str) -> String {
    let path =
        if below.is_empty() { run.given.clone() } else { format!("{}/{below}", run.given.trim_end_matches('/')) };
    let space = if after.is_empty() { "" } else { " " };
    format!("{before} {}{space}{after}", quoted(&path))
}

/// The commands that evaluate a run's final policy on the suites of its config, at most twenty.
pub fn suite_commands(config: &[ConfigValue], run: &MeasuredRun) -> Vec<String> {
    let value = |entry: usize, key: &str| {
        let key = format!("eval.suites.{entry}.{key}");
        config.iter().find(|value| value.key == key).map(|value| quoted(&value.value))
    };
    let option = |entry, key: &str| value(entry, key).map_or_else(String::new, |value| format!(" --{key} {value}"));
    let command = |entry| {
        let (suite, limit, data) = (value(entry, "suite")?, option(entry, "limit"), option(entry, "data"));
        Some(run_command(&format!("rlar eval {suite}{limit}{data} --model"), run, "final", ""))
    };
    (0..20).map_while(command).collect()
}

/// The paths of runs as arguments.
pub fn paths(runs: &[&MeasuredRun]) -> String {
    runs.iter().map(|run| quoted(&run.given)).collect::<Vec<_>>().join(" ")
}

/// A text as one argument of a POSIX shell, which is no option.
pub fn quoted(text: &str) -> String {
    let text = if text.starts_with('-') { format!("./{text}") } else { text.to_owned() };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:=@%+,-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
