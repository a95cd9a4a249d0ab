//! Generates the replies to a suite's prompts, with a local policy or with a language model server.

use std::sync::Arc;

use rlar_data::Example;
use rlar_net::llm::{ChatMessage, ChatRequest, Llm, LlmError, chat_all};
use rlar_policy::{Finish, GenerationRequest, Policy, PolicyError, StreamControl, TokenEvent};

use super::spec::Suite;
use crate::EvalError;
use crate::prompt_encoding::{PromptFormat, check_prompt_fits, encode_prompt};
use crate::reply_text::prefill;

/// A reply, or the reason why there is none.
pub type ReplyResult = Result<SuiteReply, String>;

/// A reply to a prompt of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuiteReply {
    /// The whole text of the reply.
    pub text: String,
    /// Whether the reply was cut off at `max_tokens`.
    pub truncated: bool,
}

/// A prompt and the replies that should be sampled for it.
pub struct ReplyRequest<'t> {
    /// The example that holds the prompt's messages.
    pub example: &'t Example,
    /// The replies to sample, one entry each.
    pub draws: Vec<ReplyDraw>,
}

/// One of several replies that are sampled for the same prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyDraw {
    /// Index of the reply among those to the same prompt, from 0.
    pub sample: usize,
    /// Seed of the random numbers with which the reply is sampled. A server does not use the seed.
    pub seed: u64,
}

/// A model that can generate replies to the prompts of a suite.
pub trait ReplyGenerator {
    /// A name that identifies the model and its weights. Cached replies are looked up by this name, so it must stay the
    /// same.
    fn name(&self) -> String;

    /// Fails where the model cannot generate replies for the suite, such as a model without a chat template for chat
    /// messages. The error says why.
    fn check_suite(&self, suite: &Suite) -> Result<(), String>;

    /// The text with which the prompt ends and every reply to it therefore begins, such as `<think>`; empty for most
    /// models. Replies are generated and cached without this text, and scored with it.
    fn prefill(&self, _suite: &Suite, _example: &Example) -> Result<String, EvalError> {
        Ok(String::new())
    }

    /// Number of replies that one call of [`Self::generate`] should be asked for.
    fn replies_per_call(&self) -> usize;

    /// Generates the replies to each prompt. Once `cancelled` returns true, unfinished replies become errors; finished
    /// ones are returned.
    fn generate(
        &self,
        suite: &Suite,
        requests: &[ReplyRequest],
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<GeneratedReplies, EvalError>;
}

/// The result of one call of [`ReplyGenerator::generate`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneratedReplies {
    /// The replies to each prompt, in the order of the requests.
    pub replies: Vec<Vec<ReplyResult>>,
    /// Why later calls will fail too, such as a spent budget of the server; `None` where later calls may succeed.
    pub exhausted: Option<String>,
}

/// A policy whose model runs in this process.
pub struct LocalPolicy<'p> {
    /// The policy, with model and tokenizer.
    pub policy: &'p Policy,
    /// A text that identifies the weights. It is a part of the keys under which replies are cached.
    pub identity: String,
    /// Maximum number of replies that are decoded together.
    pub batch: usize,
}

impl ReplyGenerator for LocalPolicy<'_> {
    fn name(&self) -> String {
        self.identity.clone()
    }

    fn check_suite(&self, suite: &Suite) -> Result<(), String> {
        let turn = [rlar_policy::Turn { role: "user", content: "x" }];
        match self.policy.tokenizer.chat(&turn, true) {
            Err(e) if suite.format == PromptFormat::Chat => Err(format!(
                "{e}; set `format: plain`, or use the suite for models without a chat template, such as gsm8k-base"
            )),
            _ => Ok(()),
        }
    }

    fn prefill(&self, suite: &Suite, example: &Example) -> Result<String, EvalError> {
        Ok(prefill(&self.policy.tokenizer, example, suite.format)?)
    }

    fn replies_per_call(&self) -> usize {
        4 * self.batch
    }

    fn generate(
        &self,
        suite: &Suite,
        requests: &[ReplyRequest],
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<GeneratedReplies, EvalError> {
        let (mut encoded, mut refused) = (Vec::new(), Vec::new());
        for request in requests {
            let prompt = encode_prompt(&self.policy.tokenizer, request.example, suite.format)?;
            match check_prompt_fits(self.policy, request.example, prompt.len()) {
                Ok(()) => {
                    // A request for more sequences than are decoded together is split.
                    encoded.extend(request.draws.chunks(self.batch.max(1)).map(|draws| GenerationRequest {
                        prompt: prompt.clone(),
                        seeds: draws.iter().map(|draw| draw.seed).collect(),
                    }));
                    refused.push(None);
                }
                Err(PolicyError::Request(reason)) => refused.push(Some(reason)),
                Err(e) => return Err(e.into()),
            }
        }
        let engine = self.policy.engine(self.batch);
        let mut on_token = |_: TokenEvent| if cancelled() { StreamControl::EndAll } else { StreamControl::Continue };
        let mut samples = engine.stream(&encoded, &suite.sampling.to_sampling(), &mut on_token)?.into_iter().flatten();
        let replies = requests.iter().zip(refused).map(|(request, reason)| {
            if let Some(reason) = reason {
                return vec![Err(reason); request.draws.len()];
            }
            let samples = samples.by_ref().take(request.draws.len());
            samples
                .map(|s| match s.finish {
                    Finish::Cancelled => Err("it was interrupted".to_owned()),
                    finish => Ok(SuiteReply { text: s.text, truncated: finish == Finish::Length }),
                })
                .collect()
        });
        Ok(GeneratedReplies { replies: replies.collect(), exhausted: None })
    }
}

/// A language model behind an OpenAI-compatible server, or a recording of such a server's answers.
pub struct LlmServer(pub Arc<dyn Llm>);

impl ReplyGenerator for LlmServer {
    fn name(&self) -> String {
        self.0.name()
    }

    fn check_suite(&self, suite: &Suite) -> Result<(), String> {
        if suite.format == PromptFormat::Plain {
            return Err("it continues plain text, but a server is sent chat messages; set `format: chat`".into());
        }
        let sampling = &suite.sampling;
        if sampling.top_p < 1.0 || sampling.top_k > 0 || sampling.min_p > 0.0 {
            return Err(
                "`top_p`, `top_k` and `min_p` apply to local models only; a server gets only `temperature`".into()
            );
        }
        Ok(())
    }

    fn replies_per_call(&self) -> usize {
        4 * self.0.concurrency()
    }

    fn generate(
        &self,
        suite: &Suite,
        requests: &[ReplyRequest],
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<GeneratedReplies, EvalError> {
        let chats: Vec<ChatRequest> = requests
            .iter()
            .flat_map(|request| request.draws.iter().map(|draw| chat_request(suite, request.example, draw.sample)))
            .collect();
        let mut responses = chat_all(self.0.as_ref(), &chats, cancelled).into_iter();
        let mut generated = GeneratedReplies::default();
        for request in requests {
            let mut replies = Vec::with_capacity(request.draws.len());
            for response in responses.by_ref().take(request.draws.len()) {
                if let Err(LlmError::Budget(reason)) = &response {
                    generated.exhausted = Some(reason.clone());
                }
                replies.push(response.map_err(|e| e.to_string()).map(|reply| {
                    let mut text = reply.text;
                    let end = suite.sampling.to_sampling().stop_at(&text);
                    text.truncate(end.unwrap_or(text.len()));
                    SuiteReply { text, truncated: reply.finish == "length" && end.is_none() }
                }));
            }
            generated.replies.push(replies);
        }
        Ok(generated)
    }
}

fn chat_request(suite: &Suite, example: &Example, sample: usize) -> ChatRequest {
    ChatRequest {
        role: "answer".into(),
        template: format!("{}-{}", suite.name, suite.version),
        task: example.id.clone(),
        attempt: sample as u32,
        messages: example
            .messages
            .iter()
            .map(|m| ChatMessage { role: m.role.as_str().into(), content: m.content.clone() })
            .collect(),
        max_tokens: u32::try_from(suite.sampling.max_tokens).unwrap_or(u32::MAX),
        // Conversion through decimal digits: the `f32` 0.7 would become the `f64` 0.699999988.
        temperature: suite.sampling.temperature.to_string().parse().unwrap_or_default(),
        schema: None,
        tools: Vec::new(),
    }
}
