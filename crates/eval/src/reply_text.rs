//! The text of a reply that is scored: the beginning that the prompt holds, and the stop texts that cut it.

use rlar_data::{Example, ScoredPart};
use rlar_policy::{Policy, PolicyError, Sampling};
use rlar_rewards::{ToolCard, ToolKind};

use crate::prompt_encoding::{PromptFormat, plain, turns};

/// The beginning of every reply to an example that the prompt already holds, such as `<think>`: the tag that the chat
/// template, or a plain prompt, opens at its end and leaves open. Empty for most models. Tools score a reply with it,
/// because without it no reply has the form that was asked for.
pub fn prefill(policy: &Policy, example: &Example, format: PromptFormat) -> Result<String, PolicyError> {
    match format {
        PromptFormat::Chat => policy.tokenizer.chat_prefill(&turns(example)),
        PromptFormat::Plain => Ok(policy.tokenizer.plain_prefill(&plain(example)).to_owned()),
    }
}

/// Why no reply can have a scored part, because a stop text cuts off what marks the part; `None` where one can.
pub fn stop_conflict(part: &ScoredPart, sampling: &Sampling) -> Option<String> {
    let closing = part.within.as_ref().map(|tag| format!("</{tag}>"));
    if let Some((stop, closing)) = closing.as_deref().and_then(|closing| Some((sampling.prevents(closing)?, closing))) {
        return Some(format!(
            "`{stop}` ends a reply before `{closing}`, without which `scored.within` finds nothing to score; {}",
            stop_advice(closing, stop)
        ));
    }
    // What follows the marker is scored, so a reply must go on behind it.
    let cut = Sampling { include_stop: false, ..sampling.clone() };
    let (marker, stop) = part.after.as_ref().and_then(|marker| Some((marker, cut.prevents(marker)?)))?;
    Some(format!(
        "`{stop}` ends a reply at `{marker}`, behind which `scored.after` looks for what is scored; leave it out"
    ))
}

/// Why no reply can have the form that a tool of the builtin `tags` wants, because a stop text of `sampling.stop` cuts
/// off a tag; `None` where one can, and for other tools.
pub fn tags_conflict(card: &ToolCard, sampling: &Sampling) -> Option<String> {
    let ToolKind::Builtin { settings, .. } = &card.kind else { return None };
    let tags = settings.get("tags").filter(|_| card.builtin() == Some("tags"))?.as_array()?;
    let closing: Vec<String> = tags.iter().filter_map(|tag| Some(format!("</{}>", tag.as_str()?))).collect();
    // A reply may end behind the last tag, but must go on behind the others.
    let cut = Sampling { include_stop: false, ..sampling.clone() };
    let (last, others) = closing.split_last()?;
    let stopped = others.iter().find_map(|tag| Some((tag, cut.prevents(tag)?)));
    let (tag, stop) = stopped.or_else(|| Some((last, sampling.prevents(last)?)))?;
    let advice = if tag == last { stop_advice(tag, stop) } else { "leave it out" };
    Some(format!("`{stop}` of `sampling.stop` ends a reply before `{tag}`; {advice}"))
}

/// What to do about a stop text that cuts off a text which a reply must contain.
fn stop_advice(needed: &str, stop: &str) -> &'static str {
    if needed.ends_with(stop) { "set `include_stop: true`, or leave it out" } else { "leave it out" }
}
