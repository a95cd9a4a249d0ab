//! How a chat template begins and ends the model's turns: the beginning of a reply, such as `<think>`, that it already
//! writes into the prompt, and the token with which it ends a turn.

use crate::chat::{Conversation, Turn};
use crate::error::PolicyError;
use crate::tokenizer::Tokenizer;

/// Names of tags that say whose turn it is, such as `<user>`. At the end of a prompt, such a tag is not the beginning
/// of the model's reply.
const SPEAKERS: [&str; 9] = ["system", "user", "human", "assistant", "model", "bot", "ai", "gpt", "tool"];

/// An invented reply that is rendered with a chat template to find the text that the template writes behind a reply. No
/// template changes this word.
const PROBE: &str = "Zqx";

/// What a chat template writes behind the text of the model's last turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TurnEnd {
    /// The text that the template writes behind the reply, up to and including the token that ends the turn; all of it
    /// where no token ends the turn.
    pub text: String,
    /// Id of the token that ends the turn: the first end token or added token (such as a special token) that the
    /// template writes behind the reply. `None` where there is no such token.
    pub token: Option<u32>,
}

/// Token ids of one example of supervised training: a prompt, and the reply that the model learns to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnTokens {
    /// The prompt, up to where the model's reply begins.
    pub prompt: Vec<u32>,
    /// The reply, including the token or text that ends the model's turn.
    pub reply: Vec<u32>,
}

impl Tokenizer {
    /// The text at the end of a chat prompt that is the beginning of the model's reply: a tag such as `<think>` that the
    /// template opens and leaves open, and what it writes behind the tag. Empty for most templates. Only a reply with
    /// this text in front of it has the form that the model was asked for.
    pub fn chat_prefill(&self, turns: &[Turn]) -> Result<String, PolicyError> {
        let prompt = self.chat(turns, true)?;
        // A template may refuse a conversation of which no reply is wanted.
        let before = self.chat(turns, false).unwrap_or_default();
        let header = prompt.strip_prefix(before.as_str()).filter(|header| (1..prompt.len()).contains(&header.len()));
        Ok(header.map_or_else(|| self.plain_prefill(&prompt), |header| self.open_tag(header)).to_owned())
    }

    /// The tag at the very end of a plain prompt that is the beginning of the model's reply, such as `<think>`, with the
    /// white space behind it. Empty for most prompts.
    pub fn plain_prefill<'t>(&self, prompt: &'t str) -> &'t str {
        let tag = self.open_tag(prompt);
        if tag.trim_end().find('>').is_some_and(|at| at + 1 == tag.trim_end().len()) { tag } else { "" }
    }

    /// The part of a text from its last tag `<name>` that no `</name>` closes; empty where every tag is closed. Tags
    /// that name a speaker do not count, nor do special tokens, which are not shown in replies.
    fn open_tag<'t>(&self, text: &'t str) -> &'t str {
        let mut end = text.len();
        while let Some(start) = text[..end].rfind('<') {
            if let Some(name) = tag_name(&text[start..])
                && !SPEAKERS.contains(&name.to_lowercase().as_str())
                && !self.is_special(&format!("<{name}>"))
                && !text[start..].contains(&format!("</{name}>"))
            {
                return &text[start..];
            }
            end = start;
        }
        ""
    }

    /// What the chat template writes behind the model's last turn; `None` without a template, or where it does not show
    /// the reply as it is.
    pub(crate) fn turn_end(&self) -> Option<TurnEnd> {
        let turns = [Turn { role: "user", content: "Hi" }, Turn { role: "assistant", content: PROBE }];
        let text = self.chat(&turns, false).ok()?;
        let end = &text[text.rfind(PROBE)? + PROBE.len()..];
        let encoding = self.encoding(end, false).ok()?;
        let offsets = encoding.get_ids().iter().zip(encoding.get_offsets());
        let first = offsets.into_iter().find(|(id, _)| self.eos().contains(id) || self.is_added(**id));
        Some(match first {
            Some((id, (_, stop))) => TurnEnd { text: end.get(..*stop).unwrap_or(end).to_owned(), token: Some(*id) },
            None => TurnEnd { text: end.to_owned(), token: None },
        })
    }

    /// The token ids of a conversation's prompt and of a reply to be learned, as the chat template writes them. The
    /// reply ends with the token that ends a turn in the template, or with the tokenizer's end token where the template
    /// writes nothing but white space behind a turn.
    pub fn demonstration(&self, turns: &[Turn], reply: &str) -> Result<TurnTokens, PolicyError> {
        let answered: Vec<Turn> = turns.iter().cloned().chain([Turn { role: "assistant", content: reply }]).collect();
        let (prompt, whole) = (self.chat(turns, true)?, self.render(&Conversation::new(&answered, false))?);
        if let Some(last) = whole.assistant.last() {
            return self.split_tokens(&whole.text[..last.end], last.start);
        }
        let (end, prefill) = (self.turn_end(), self.chat_prefill(turns)?);
        let turn = match (whole.text.strip_prefix(prompt.as_str()), &end) {
            (Some(turn), Some(end)) => turn.rfind(&end.text).map(|at| &turn[..at]),
            _ => None,
        };
        // The turn does not continue the prompt where the template writes the beginning of a reply into the prompt only.
        let turn = turn.unwrap_or_else(|| without_prefill(reply, &prefill));
        let ending = end.filter(|end| !end.text.trim().is_empty());
        let text = format!("{prompt}{turn}{}", ending.as_ref().map_or("", |end| &end.text));
        let mut tokens = self.split_tokens(&text, prompt.len())?;
        if ending.is_none() {
            tokens.reply.extend(self.eos().first());
        }
        Ok(tokens)
    }

    /// Encodes a text and splits its token ids into those of a prompt and those of the reply, which begins at the byte
    /// `reply`. The text is encoded as a whole, because some tokenizers encode the beginning of a text in another way.
    fn split_tokens(&self, text: &str, reply: usize) -> Result<TurnTokens, PolicyError> {
        let encoding = self.encoding(text, false)?;
        let first = encoding.get_offsets().iter().position(|(_, end)| *end > reply);
        let (prompt, reply) = encoding.get_ids().split_at(first.unwrap_or(encoding.len()));
        Ok(TurnTokens { prompt: prompt.to_vec(), reply: reply.to_vec() })
    }

    /// Whether the chat template ends the model's turns with more than white space.
    pub fn ends_turns(&self) -> bool {
        self.turn_end().is_some_and(|end| !end.text.trim().is_empty())
    }
}

/// The name of the tag with which a text begins, such as `think` of `<think>`; `None` where it begins with none.
fn tag_name(text: &str) -> Option<&str> {
    let name = &text[1..text.find('>')?];
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':'));
    is_name.then_some(name)
}

/// Removes `prefill`, the beginning of a reply that the prompt already holds, from the front of a reply. A reply that
/// does not begin with it is returned unchanged.
fn without_prefill<'r>(reply: &'r str, prefill: &str) -> &'r str {
    let (reply_body, prefill_body) = (reply.trim_start(), prefill.trim_end());
    match reply.strip_prefix(prefill).or_else(|| reply_body.strip_prefix(prefill_body)) {
        Some(rest) if !prefill.is_empty() => rest,
        _ => reply,
    }
}

/// Puts `prefill`, the beginning of the reply that the prompt already holds (such as `<think>`), in front of a sampled
/// reply, so that the whole reply can be scored. A reply that repeats `prefill` itself is returned unchanged.
pub fn with_prefill(prefill: &str, reply: String) -> String {
    if prefill.is_empty() || reply.trim_start().starts_with(prefill.trim()) {
        return reply;
    }
    format!("{prefill}{reply}")
}
