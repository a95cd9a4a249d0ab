//! Sample replies, chosen by a rule and not by hand, so that a report shows what was rewarded and not what looks good.

use std::path::Path;

use rlar_view::answer::NoAnswer;
use rlar_view::json_lines::FileProblem;
use rlar_view::rollouts::{GroupSummary, GroupView, ReplyView, group, groups, rollout_steps, step_file};
use rlar_view::shown_text::ShownText;

/// The rule, for the reader of the report.
pub const SAMPLE_RULE: &str = "Of the first, the middle and the last step whose replies are in a file, the prompt whose \
    rewards differ most (the first of those that differ equally), with its best, its median and its worst reply.";

/// A prompt of a step with up to three of its replies.
#[derive(Debug)]
pub struct SampleGroup {
    /// The step.
    pub step: u64,
    /// Id of the prompt's example.
    pub example: String,
    /// The prompt.
    pub prompt: ShownText,
    /// The right answer; empty if the example has none.
    pub reference: ShownText,
    /// Number of replies of the prompt in the step.
    pub replies: usize,
    /// Number of those without a reward.
    pub unscored: usize,
    /// The chosen replies, the best first.
    pub chosen: Vec<SampleReply>,
}

/// A chosen reply.
#[derive(Debug)]
pub struct SampleReply {
    /// Why it was chosen, such as `best`.
    pub rank: &'static str,
    /// The reply, with what every tool said of it.
    pub reply: ReplyView,
}

/// Chooses the samples of a run. Files that cannot be read are named.
pub fn sample_groups(run: &Path, problems: &mut Vec<FileProblem>) -> Vec<SampleGroup> {
    let steps: Vec<u64> = rollout_steps(run).iter().map(|known| known.step).collect();
    let Some(last) = steps.len().checked_sub(1) else { return Vec::new() };
    let mut chosen = vec![steps[0], steps[last / 2], steps[last]];
    chosen.dedup();
    let mut samples = Vec::new();
    for step in chosen {
        match sample_group(run, step) {
            Ok(sample) => samples.extend(sample),
            Err(error) => problems.push(FileProblem::of_file(step_file(step), &error)),
        }
    }
    samples
}

/// The sample of a step; `None` if the step has no replies.
fn sample_group(run: &Path, step: u64) -> Result<Option<SampleGroup>, NoAnswer> {
    let all = groups(run, step)?;
    let Some(widest) = widest(&all) else { return Ok(None) };
    let GroupView { prompt, reference, replies, .. } = group(run, step, widest.group)?;
    Ok(Some(SampleGroup {
        step,
        example: widest.example.clone(),
        prompt,
        reference,
        replies: widest.replies,
        unscored: widest.unscored,
        chosen: ranked(replies),
    }))
}

/// The group whose rewards differ most; of groups that differ equally, and where no reply has a reward, the first.
fn widest(groups: &[GroupSummary]) -> Option<&GroupSummary> {
    let spread =
        |group: &GroupSummary| group.highest.zip(group.lowest).map_or(f64::NEG_INFINITY, |(high, low)| high - low);
    groups.iter().reduce(|best, next| if spread(next) > spread(best) { next } else { best })
}

/// The best, the median and the worst reply by reward; without rewards, the first reply.
fn ranked(replies: Vec<ReplyView>) -> Vec<SampleReply> {
    let (mut scored, unscored): (Vec<ReplyView>, Vec<ReplyView>) =
        replies.into_iter().partition(|reply| reply.reward.is_some());
    if scored.is_empty() {
        return unscored.into_iter().take(1).map(|reply| SampleReply { rank: "without a reward", reply }).collect();
    }
    let reward = |reply: &ReplyView| reply.reward.unwrap_or(f64::NEG_INFINITY);
    // Stable: of replies with the same reward the first of the file comes first.
    scored.sort_by(|a, b| reward(b).total_cmp(&reward(a)));
    let last = scored.len() - 1;
    let places = match last {
        0 => vec![(0, "only scored")],
        1 => vec![(0, "best"), (1, "worst")],
        _ => vec![(0, "best"), (scored.len() / 2, "median"), (last, "worst")],
    };
    places.into_iter().map(|(place, rank)| SampleReply { rank, reply: scored[place].clone() }).collect()
}
