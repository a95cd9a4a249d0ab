//! Scores two replies to a prompt with the cheap tools that suit it, for the choice among these tools.

use std::collections::BTreeMap;

use rlar_data::{Completion, Example};

use crate::Outcome;
use crate::agents::eligible::{eligible, is_cheap};
use crate::agents::offered::{OfferedTool, SampleReplies, SampleScores};
use crate::library::folder::Library;
use crate::tool::card::ToolCard;
use crate::tool::scoring::{Tool, ToolContext};

/// The opened cheap tools of a library (those that cost neither money nor much time). A tool is opened when it is first
/// needed, and stays open.
#[derive(Debug, Default)]
pub(super) struct SampleScorer {
    /// The tools by name; `None` for a tool that cannot be opened.
    tools: BTreeMap<String, Option<Tool>>,
}

impl SampleScorer {
    /// The tools that are offered for an example, with what was measured of them on its task. If there are several, the
    /// cheap ones score the sample replies of the example.
    pub(super) fn offer<'l>(
        &mut self,
        library: &'l Library,
        context: &ToolContext,
        example: &Example,
        task: &str,
    ) -> Vec<OfferedTool<'l>> {
        let cards = eligible(library, example, task);
        let replies = SampleReplies::of(example).filter(|_| cards.len() > 1);
        let offer = |card: &'l ToolCard| {
            let samples = replies.as_ref().filter(|_| is_cheap(library, &card.name));
            OfferedTool {
                card,
                evidence: library.evidence(task, &card.name),
                samples: samples.and_then(|replies| self.score(library, context, &card.name, example, replies)),
            }
        };
        cards.into_iter().map(offer).collect()
    }

    /// The scores of a tool for the sample replies of an example; `None` when the tool cannot be opened or run.
    fn score(
        &mut self,
        library: &Library,
        context: &ToolContext,
        name: &str,
        example: &Example,
        replies: &SampleReplies,
    ) -> Option<SampleScores> {
        let open = || library.open(name, context).inspect_err(|why| tracing::info!("{why}; it scores no samples")).ok();
        let tool = self.tools.entry(name.to_owned()).or_insert_with(open).as_ref()?;
        let [good, wrong] = [&replies.good, &replies.wrong].map(|reply| Completion::whole(reply.clone()));
        let outcomes = tool.score(&[(example, &good), (example, &wrong)]);
        let outcomes = outcomes.inspect_err(|why| tracing::info!("{why}; it scores no samples")).ok()?;
        let score = |i: usize| outcomes.get(i).and_then(Outcome::score);
        Some(SampleScores { good: score(0), wrong: score(1) })
    }
}
