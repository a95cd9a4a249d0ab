//! Compares `sampling.max_tokens` with the lengths of the replies that the data show.

use rlar_data::{Example, ExampleList, Role};
use rlar_policy::{PolicyError, Tokenizer};

use crate::TrainError;
use crate::config::{Config, Method};
use crate::run::job::Job;

/// Maximum number of texts whose lengths are measured; they are spread evenly over all.
const MEASURED: usize = 1000;

/// A warning that replies like those in the data would be cut off: most of the `demonstrations`, or without any, most of
/// the worked solutions from which the references of the `prompts` were taken, have more tokens than
/// `sampling.max_tokens`. `None` if they have not, and for methods that do not learn from sampled replies.
pub fn length_warning(
    config: &Config,
    tokenizer: &Tokenizer,
    demonstrations: &[Example],
    prompts: &ExampleList,
) -> Result<Option<String>, TrainError> {
    if config.train.method != Method::Grpo {
        return Ok(None);
    }
    let demonstrated: Vec<&str> = demonstrations.iter().filter_map(demonstrated_reply).collect();
    let mut solutions = Vec::new();
    if demonstrated.is_empty() && prompts.worked_solutions() > 0 {
        prompts.for_each(
            |example| example.worked_solution,
            |solution| -> Result<(), TrainError> {
                solutions.extend(solution);
                Ok(())
            },
        )?;
    }
    let (what, texts) = if demonstrated.is_empty() {
        ("worked solutions in the references", solutions.iter().map(String::as_str).collect())
    } else {
        ("demonstrations", demonstrated)
    };
    let stride = texts.len().div_ceil(MEASURED).max(1);
    let lengths = texts.iter().step_by(stride).map(|text| Ok(tokenizer.encode(text)?.len()));
    let lengths = lengths.collect::<Result<Vec<usize>, PolicyError>>()?;
    let max_tokens = config.sampling.max_tokens;
    let longer = lengths.iter().filter(|length| **length > max_tokens).count();
    if 2 * longer <= lengths.len() {
        return Ok(None);
    }
    let (measured, longest) = (lengths.len(), lengths.iter().max().copied().unwrap_or(0));
    Ok(Some(format!(
        "{longer} of {measured} {what} are longer than `sampling.max_tokens`: {max_tokens}; the longest has {longest} tokens. \
         A reply of their length is cut off before it ends: raise `sampling.max_tokens`"
    )))
}

/// Warns if replies like those in the data of a job would be cut off; see [`length_warning`].
pub fn warn_of_long_replies(job: &Job, tokenizer: &Tokenizer) -> Result<(), TrainError> {
    if let Some(warning) = length_warning(&job.config, tokenizer, &job.demonstrations, &job.train)? {
        tracing::warn!("{warning}");
    }
    Ok(())
}

/// The reply that a demonstration shows: the last one, if it is a conversation.
fn demonstrated_reply(example: &Example) -> Option<&str> {
    let last = || example.messages.last().filter(|m| m.role == Role::Assistant).map(|m| m.content.as_str());
    example.demonstration.as_deref().or_else(last)
}
