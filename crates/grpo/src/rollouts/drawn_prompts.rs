//! The prompts of a batch: their examples are read, and their token ids computed, when they are drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;

use rlar_data::{Example, ExampleList};
use rlar_eval::{PromptFormat, encode_prompts};
use rlar_policy::Tokenizer;

use crate::TrainError;
use crate::rollouts::batch::Batch;

/// The prompts to train on, of which most are only on disk.
#[derive(Clone, Copy, Debug)]
pub struct TrainingPrompts<'a> {
    /// The examples of the prompts.
    pub examples: &'a ExampleList,
    /// The policy's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// How the messages of an example become the text of the prompt.
    pub format: PromptFormat,
}

impl TrainingPrompts<'_> {
    /// The prompts with these indices.
    pub fn drawn(&self, indices: impl IntoIterator<Item = usize>) -> Result<DrawnPrompts, TrainError> {
        let indices: BTreeSet<usize> = indices.into_iter().collect();
        let examples = indices.iter().map(|index| self.examples.get(*index)).collect::<Result<Vec<Example>, _>>()?;
        let tokens = encode_prompts(self.tokenizer, &examples, self.format)?;
        let prompts = examples.into_iter().zip(tokens).map(|(example, tokens)| DrawnPrompt { example, tokens });
        Ok(indices.into_iter().zip(prompts).collect())
    }

    /// The prompts of all groups of a batch.
    pub fn of_batch(&self, batch: &Batch) -> Result<DrawnPrompts, TrainError> {
        self.drawn(batch.sampled().map(|group| group.example))
    }
}

/// A prompt that was drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct DrawnPrompt {
    /// The example of the prompt.
    pub example: Example,
    /// Token ids of the prompt.
    pub tokens: Vec<u32>,
}

/// Prompts that were drawn, by their indices among all prompts to train on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DrawnPrompts(BTreeMap<usize, DrawnPrompt>);

impl DrawnPrompts {
    /// The indices of the prompts with their examples, in the order of the indices.
    pub fn examples(&self) -> impl Iterator<Item = (usize, &Example)> {
        self.0.iter().map(|(index, prompt)| (*index, &prompt.example))
    }
}

impl FromIterator<(usize, DrawnPrompt)> for DrawnPrompts {
    fn from_iter<I: IntoIterator<Item = (usize, DrawnPrompt)>>(prompts: I) -> Self {
        Self(prompts.into_iter().collect())
    }
}

impl Index<usize> for DrawnPrompts {
    type Output = DrawnPrompt;

    /// The prompt with this index, which must be among those that were drawn.
    fn index(&self, index: usize) -> &DrawnPrompt {
        &self.0[&index]
    }
}
