//! Turns an example's messages into the token ids of the prompt, in the same way for training and evaluation.

use rlar_data::{Example, Message, Role};
use rlar_policy::chat::on_rendering_thread;
use rlar_policy::{Conversation, Policy, PolicyError, Tokenizer, Turn};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an example's messages become the text of the prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromptFormat {
    /// The messages are formatted by the model's own chat template.
    Chat,
    /// The contents of the messages are joined without separators, for models that continue plain text. Special tokens
    /// that the tokenizer adds to a text, such as a BOS token, are added.
    Plain,
}

/// The token ids of the prompt made of an example's messages, up to where the model's reply begins. They may be more
/// than the model's context holds; [`check_prompt_fits`] checks that.
pub fn encode_prompt(tokenizer: &Tokenizer, example: &Example, format: PromptFormat) -> Result<Vec<u32>, PolicyError> {
    let text = render_prompt(tokenizer, example, format)?;
    match format {
        // The template writes the special tokens itself.
        PromptFormat::Chat => {
            check_roles(example, &text)?;
            tokenizer.encode(&text)
        }
        PromptFormat::Plain => tokenizer.encode_whole(&text),
    }
}

/// The token ids of the prompts of several examples, like [`encode_prompt`], but the chat template is compiled once for
/// all of them. Fails at the first prompt for which it fails.
pub fn encode_prompts(
    tokenizer: &Tokenizer,
    examples: &[Example],
    format: PromptFormat,
) -> Result<Vec<Vec<u32>>, PolicyError> {
    let all = || examples.iter().map(|example| encode_prompt(tokenizer, example, format)).collect();
    match format {
        PromptFormat::Chat => on_rendering_thread(all)?,
        PromptFormat::Plain => all(),
    }
}

/// The text of the prompt made of an example's messages, up to where the model's reply begins; without the special tokens
/// that the tokenizer adds to a plain prompt.
pub fn render_prompt(tokenizer: &Tokenizer, example: &Example, format: PromptFormat) -> Result<String, PolicyError> {
    match format {
        PromptFormat::Chat => Ok(tokenizer.render(&conversation(example))?.text),
        PromptFormat::Plain => Ok(plain(example)),
    }
}

/// The messages of an example as the conversation that a chat template renders, up to where the reply begins.
fn conversation(example: &Example) -> Conversation {
    let messages = example.messages.iter().map(Message::to_json).collect();
    Conversation { messages, generation: true, ..Conversation::default() }
}

/// The messages of an example as the turns that a chat template renders.
pub fn turns(example: &Example) -> Vec<Turn<'_>> {
    example.messages.iter().map(|m| Turn { role: m.role.as_str(), content: &m.content }).collect()
}

/// The messages of an example as plain text.
pub fn plain(example: &Example) -> String {
    example.messages.iter().map(|m| m.content.as_str()).collect()
}

/// Fails where `text`, the example's messages as the chat template rendered them, lacks a message whose role the
/// template does not know, or the name of a tool that a message calls.
fn check_roles(example: &Example, text: &str) -> Result<(), PolicyError> {
    for message in &example.messages {
        let is_usual = matches!(message.role, Role::System | Role::User | Role::Assistant);
        let names =
            message.tool_calls.iter().filter_map(|call| call.get("function").unwrap_or(call).get("name")?.as_str());
        let is_left_out = !is_usual && !text.contains(message.content.trim());
        if is_left_out || names.into_iter().any(|name| !text.contains(name)) {
            let (id, role) = (&example.id, message.role.as_str());
            return Err(PolicyError::Request(format!(
                "example `{id}`: the model's chat template leaves out a message of the role `{role}` or its tool calls; \
                 use a model whose template has them, or change the row"
            )));
        }
    }
    Ok(())
}

/// The token ids of the prompt, like [`encode_prompt`]; fails where the prompt leaves no room for a reply in the
/// model's context.
pub fn encode_fitting_prompt(
    policy: &Policy,
    example: &Example,
    format: PromptFormat,
) -> Result<Vec<u32>, PolicyError> {
    let tokens = encode_prompt(&policy.tokenizer, example, format)?;
    check_prompt_fits(policy, example, tokens.len())?;
    Ok(tokens)
}

/// Fails where a prompt of this many tokens is empty, or fills the model's context so that there is no room for a
/// reply.
pub fn check_prompt_fits(policy: &Policy, example: &Example, tokens: usize) -> Result<(), PolicyError> {
    check_prompt_length(policy.decoder.config().max_position_embeddings, example, tokens)
}

/// Like [`check_prompt_fits`], for a model that is not in this process and has room for `context` tokens.
pub fn check_prompt_length(context: usize, example: &Example, tokens: usize) -> Result<(), PolicyError> {
    if tokens == 0 || tokens >= context {
        let message = format!(
            "the prompt of example `{}` has {tokens} tokens; the model has room for 1 to {}",
            example.id,
            context - 1
        );
        return Err(PolicyError::Request(message));
    }
    Ok(())
}
