//! An example as the tokens that a model continues.

use rlar_data::Example;
use rlar_policy::{Policy, PolicyError, Turn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How messages become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromptFormat {
    /// The model's own chat template.
    Chat,
    /// The contents of the messages, one after the other, nothing added.
    Plain,
}

/// Tokens of an example's messages, ready for the model's reply; there may be more than the model has room for.
pub fn encode_prompt(policy: &Policy, example: &Example, format: PromptFormat) -> Result<Vec<u32>, PolicyError> {
    let text = match format {
        PromptFormat::Chat => {
            let turns: Vec<Turn> =
                example.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content }).collect();
            policy.tokenizer.chat(&turns, true)?
        }
        PromptFormat::Plain => example.messages.iter().map(|m| m.content.as_str()).collect(),
    };
    policy.tokenizer.encode(&text)
}

/// The same; a prompt that leaves the model no room is an error.
pub fn prompt_tokens(policy: &Policy, example: &Example, format: PromptFormat) -> Result<Vec<u32>, PolicyError> {
    let tokens = encode_prompt(policy, example, format)?;
    leaves_room(policy, example, tokens.len())?;
    Ok(tokens)
}

/// Refuses a prompt of so many tokens that leaves the model no room.
pub fn leaves_room(policy: &Policy, example: &Example, have: usize) -> Result<(), PolicyError> {
    let room = policy.decoder.config().max_position_embeddings;
    if have == 0 || have >= room {
        let message = format!(
            "the prompt of example `{}` has {have} tokens; the model has room for 1 to {}",
            example.id,
            room - 1
        );
        return Err(PolicyError::Request(message));
    }
    Ok(())
}
