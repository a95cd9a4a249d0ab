//! Sample replies, with what every tool said of them.

use maud::{Markup, html};
use rlar_view::verdict::ToolVerdict;

use super::parts::{command, for_each_run, sub_heading};
use crate::ReportedRun;
use crate::commands::run_command;
use crate::sample_replies::{SAMPLE_RULE, SampleGroup, SampleReply};
use crate::shown::{number, number_or_dash, shown_beginning, shown_cut};

/// Number of characters of a prompt, of a reply, and of a reason.
const MAX_PROMPT: usize = 3000;
const MAX_REPLY: usize = 4000;
const MAX_REASON: usize = 600;
/// Largest number of tools of a reply.
const MAX_VERDICTS: usize = 20;

/// The samples of each run, and the rule by which they were chosen.
pub fn samples(runs: &[ReportedRun]) -> Markup {
    let place = |run: &ReportedRun| runs.iter().position(|other| std::ptr::eq(other, run)).unwrap_or(0);
    html! {
        p { (SAMPLE_RULE) }
        (for_each_run(runs, |run| html! {
            @if run.samples.is_empty() { p { "No replies are in files that can be read." } }
            @for sample in &run.samples {
                div id=(anchor(place(run), sample.step)) { (group(run, sample, runs.len() > 1)) }
            }
        }))
    }
}

/// The anchor of the sample of a step; `run` is the run's place in the report.
fn anchor(run: usize, step: u64) -> String {
    format!("replies-{run}-{step}")
}

/// Links from a figure to the replies behind it: the samples of each run.
pub fn links(runs: &[ReportedRun]) -> Markup {
    html! {
        @if runs.iter().any(|run| !run.samples.is_empty()) {
            p class="muted" {
                "Replies behind it: "
                @for (i, run) in runs.iter().enumerate().filter(|(_, run)| !run.samples.is_empty()) {
                    @if runs.len() > 1 { (shown_cut(&run.measured.label, 80)) ": " }
                    @for (j, sample) in run.samples.iter().enumerate() {
                        @if j > 0 { ", " }
                        a href={ "#" (anchor(i, sample.step)) } { "step " (sample.step) }
                    }
                    ". "
                }
            }
        }
    }
}

fn group(run: &ReportedRun, sample: &SampleGroup, several: bool) -> Markup {
    let unscored = if sample.unscored == 0 { String::new() } else { format!(", {} without a reward", sample.unscored) };
    let rows = sample.chosen.iter().map(|chosen| chosen.reply.row + 1).max().unwrap_or(1);
    let step = format!("--step {} --limit {rows}", sample.step);
    html! {
        (sub_heading(several, &html! { "Step " (sample.step) ", example " code { (shown_cut(&sample.example, 80)) } }))
        p class="muted" { (sample.replies) " replies to this prompt in the step" (unscored) ". The prompt:" }
        pre { (shown_beginning(&sample.prompt, MAX_PROMPT)) }
        @if !sample.reference.text.is_empty() {
            p { "Reference: " code { (shown_beginning(&sample.reference, 500)) } }
        }
        div class="replies" { @for chosen in &sample.chosen { (reply(chosen)) } }
        (command(&run_command("rlar rollouts", &run.measured, "", &step)))
    }
}

fn reply(chosen: &SampleReply) -> Markup {
    let reply = &chosen.reply;
    let verdicts = reply.verdicts.as_deref();
    html! {
        div class="reply" {
            p {
                strong { (chosen.rank) } ": reward " (number_or_dash(reply.reward))
                ", advantage " (number_or_dash(reply.advantage)) ", " (number_or_dash(reply.tokens)) " tokens, "
                "ended by " (shown_cut(&reply.finish, 40))
            }
            pre { (shown_beginning(&reply.completion, MAX_REPLY)) }
            ul class="verdicts" {
                @for said in verdicts.unwrap_or_default().iter().take(MAX_VERDICTS) { (verdict(said)) }
                @if verdicts.is_none() { li { "What the tools said cannot be read." } }
            }
        }
    }
}

fn verdict(said: &ToolVerdict) -> Markup {
    let weight = said
        .weight
        .filter(|weight| (weight - 1.0).abs() > f64::EPSILON)
        .map(|weight| format!(" (weight {})", number(weight)));
    html! {
        li {
            code { (shown_cut(&said.tool, 80)) } (weight.unwrap_or_default()) ": "
            @match said.score {
                Some(score) => strong { (number(score)) },
                None => span class="bad" { (said.outcome) },
            }
            @if let Some(why) = &said.why { ", " (shown_cut(why, MAX_REASON)) }
            @if let Some(reason) = &said.reason { div class="reason" { (shown_cut(reason, MAX_REASON)) } }
        }
    }
}
