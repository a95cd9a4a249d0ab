//! The reference of commands (docs/reference/commands.md), made from the definitions that parse the command line.

use std::fmt::Write;

use clap::{Arg, Command};

/// A command with its full name, such as `rlar config schema`.
struct CommandEntry<'c> {
    name: String,
    command: &'c Command,
    /// The options that it shares with a command above it, which lists them.
    inherited: Vec<&'c Arg>,
}

/// A list of all commands, then a section per command: what it does, how it is called, its arguments and options, and
/// examples. Hidden commands and options are left out.
pub fn markdown(mut root: Command) -> String {
    // Until then, arguments do not know how many values they take.
    root.build();
    let root = &root;
    let mut entries = Vec::new();
    collect(&mut entries, root, root.get_name(), &[]);
    let mut out = String::from(
        "# Commands\n\nEvery command of rlar with its options. Written by `just docs` from what `--help` says. Every \
         command also has `--help` and the options of `rlar`; a command below another one, such as `rlar rewards test`, has \
         the options of that one, too.\n\n| command | what it does |\n| --- | --- |\n",
    );
    for entry in entries.iter().filter(|entry| !entry.command.is_subcommand_required_set()) {
        let _ = writeln!(
            out,
            "| [`{0}`](#{1}) | {2} |",
            entry.name,
            entry.name.replace(' ', "-"),
            cell(&about(entry.command))
        );
    }
    for entry in &entries {
        section(&mut out, entry);
    }
    out
}

/// Appends a command and the commands below it, in the order of their definition.
fn collect<'c>(entries: &mut Vec<CommandEntry<'c>>, command: &'c Command, name: &str, above: &[&'c Arg]) {
    let globals = command.get_arguments().filter(|argument| argument.is_global_set());
    let below: Vec<&Arg> = above.iter().copied().chain(globals).collect();
    entries.push(CommandEntry { name: name.to_owned(), command, inherited: above.to_vec() });
    for subcommand in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        collect(entries, subcommand, &format!("{name} {}", subcommand.get_name()), &below);
    }
}

fn section(out: &mut String, entry: &CommandEntry) {
    let command = entry.command;
    let usage = command.clone().bin_name(&entry.name).render_usage().to_string();
    let usage: Vec<&str> = usage.trim_start_matches("Usage:").lines().map(str::trim).collect();
    let _ = write!(out, "\n## {}\n\n{}\n\n```text\n{}\n```\n", entry.name, about(command), usage.join("\n"));
    let is_own = |argument: &&Arg| {
        !argument.is_hide_set()
            && argument.get_id() != "help"
            && !entry.inherited.iter().any(|other| other.get_id() == argument.get_id())
    };
    let (positional, options): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().filter(is_own).partition(|argument| argument.is_positional());
    if !positional.is_empty() || !options.is_empty() {
        out.push_str("\n| argument | meaning |\n| --- | --- |\n");
    }
    for argument in positional.into_iter().chain(options) {
        let short = argument.get_short().map_or_else(String::new, |short| format!("-{short}, "));
        let _ = writeln!(out, "| `{}` | {} |", cell(&format!("{short}{argument}")), cell(&meaning(argument)));
    }
    if let Some(after) = command.get_after_help() {
        epilogue(out, &after.to_string());
    }
}

/// What a command does, as one sentence or several.
fn about(command: &Command) -> String {
    let text = command.get_long_about().or_else(|| command.get_about());
    text.map_or_else(String::new, |text| sentence(&text.to_string()))
}

/// What an argument means, with its choices and its default.
fn meaning(argument: &Arg) -> String {
    let text = argument.get_long_help().or_else(|| argument.get_help());
    let mut out = text.map_or_else(String::new, |text| sentence(&text.to_string()));
    let choices: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|choice| !choice.is_hide_set())
        .map(|choice| match choice.get_help() {
            Some(help) => format!("`{}`: {}", choice.get_name(), sentence(&help.to_string())),
            None => format!("`{}`.", choice.get_name()),
        })
        .collect();
    if !choices.is_empty() {
        let _ = write!(out, " One of: {}", choices.join(" "));
    }
    let defaults: Vec<String> =
        argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    if !defaults.is_empty() {
        let _ = write!(out, " Default: {}.", defaults.join(", "));
    }
    out
}

/// Writes what follows the options in the help of a command: words as a paragraph, examples as a block.
fn epilogue(out: &mut String, text: &str) {
    let start = if text.starts_with("Example") { Some(0) } else { text.find("\n\nExample") };
    let (words, examples) = text.split_at(start.unwrap_or(text.len()));
    if !words.is_empty() {
        let _ = write!(out, "\n{words}\n");
    }
    let lines: Vec<&str> = examples.trim_start().lines().skip(1).map(str::trim).collect();
    if !lines.is_empty() {
        let _ = write!(out, "\n```sh\n{}\n```\n", lines.join("\n"));
    }
}

/// A text on one line, with the full stop that the command-line parser removes.
fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.ends_with(['.', '?', '!', ':']) { text } else { text + "." }
}

/// A text as a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
