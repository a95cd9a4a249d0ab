//! Which text of a reply tools can score. A beginning such as `<think>` that the prompt already holds belongs to the
//! reply; a stop text may end the reply before the part that is to be scored.

use rlar_data::{Example, ScoredPart};
use rlar_policy::{PolicyError, Sampling, Tokenizer};
use rlar_rewards::{ToolCard, ToolKind};

use crate::prompt_encoding::{PromptFormat, plain, turns};

/// The text with which the prompt ends and every reply to the example therefore begins, such as `<think>`: a tag that
/// the chat template, or a plain prompt, opens at its end and leaves open. Empty for most models. Tools score a reply
/// with this text in front of it, because without it no reply has the form that was asked for.
pub fn prefill(tokenizer: &Tokenizer, example: &Example, format: PromptFormat) -> Result<String, PolicyError> {
    match format {
        PromptFormat::Chat => tokenizer.chat_prefill(&turns(example)),
        PromptFormat::Plain => Ok(tokenizer.plain_prefill(&plain(example)).to_owned()),
    }
}

/// Why no reply can hold the part of it that is to be scored: a stop text ends the reply before the closing tag
/// (`within`) or at the marker text (`after`) by which that part is found. `None` where replies can hold it.
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
        "`{stop}` ends a reply at `{marker}`, but `scored.after` scores only the text after it; remove it from the \
         stop texts"
    ))
}

/// Why no reply can have the form that a tool of the builtin `tags` rewards: a stop text of `sampling.stop` ends the
/// reply before a closing tag. `None` where replies can have that form, and for a tool of another kind.
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

/// Advice to the user about the stop text `stop`, which ends a reply before it holds the whole text `needed`.
fn stop_advice(needed: &str, stop: &str) -> &'static str {
    if needed.ends_with(stop) { "set `include_stop: true`, or leave it out" } else { "leave it out" }
}
