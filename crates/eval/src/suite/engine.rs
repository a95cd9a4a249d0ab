//! Who answers: a policy of one's own, or a server.

use std::sync::Arc;

use rlar_data::Example;
use rlar_net::llm::{ChatMessage, ChatRequest, Llm, LlmError, chat_all};
use rlar_policy::{Engine as Sampler, Finish, Next, Policy, PolicyError, Request};

use super::spec::{Draw, Suite};
use crate::EvalError;
use crate::prompt::{PromptFormat, encode_prompt, leaves_room};

/// A reply, or why there is none.
pub type Reply = Result<Answer, String>;

/// A reply as it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The text.
    pub text: String,
    /// Whether it was cut off at its greatest length.
    pub cut: bool,
}

/// A prompt and the streams of random numbers of its replies.
pub struct Asked<'t> {
    /// The prompt.
    pub example: &'t Example,
    /// Which of the prompt's replies this is, from 0, and its stream.
    pub draws: Vec<(usize, u64)>,
}

/// Something that answers prompts.
pub trait Engine {
    /// A stable name of what answers: kept answers belong to it.
    fn name(&self) -> String;

    /// Says that it cannot answer a suite, and why.
    fn suits(&self, suite: &Suite) -> Result<(), String>;

    /// Prompts that it takes at once.
    fn at_once(&self) -> usize;

    /// The replies to each prompt. Once `over` says so, no more are wanted, and what is given does not matter.
    fn answer(
        &self,
        suite: &Suite,
        asked: &[Asked],
        over: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Vec<Reply>>, EvalError>;
}

/// A policy of one's own.
pub struct Own<'p> {
    /// The model.
    pub policy: &'p Policy,
    /// What stands for its weights in the keys of kept answers.
    pub identity: String,
    /// Sequences at a time.
    pub batch: usize,
}

impl Engine for Own<'_> {
    fn name(&self) -> String {
        self.identity.clone()
    }

    fn suits(&self, _: &Suite) -> Result<(), String> {
        Ok(())
    }

    fn at_once(&self) -> usize {
        4 * self.batch
    }

    fn answer(
        &self,
        suite: &Suite,
        asked: &[Asked],
        over: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Vec<Reply>>, EvalError> {
        let (mut requests, mut without_room) = (Vec::new(), Vec::new());
        for one in asked {
            let prompt = encode_prompt(self.policy, one.example, suite.format)?;
            match leaves_room(self.policy, one.example, prompt.len()) {
                Ok(()) => {
                    requests.push(Request { prompt, seeds: one.draws.iter().map(|(_, seed)| *seed).collect() });
                    without_room.push(None);
                }
                Err(PolicyError::Request(why)) => without_room.push(Some(why)),
                Err(e) => return Err(e.into()),
            }
        }
        let sampler = Sampler::new(&self.policy.decoder, &self.policy.tokenizer, self.batch);
        let mut hear = |_: rlar_policy::Fresh| if over() { Next::EndAll } else { Next::Go };
        let mut samples = sampler.stream(&requests, &suite.sampling.sampling(), &mut hear)?.into_iter();
        let replies = asked.iter().zip(without_room).map(|(one, why)| {
            if let Some(why) = why {
                return vec![Err(why); one.draws.len()];
            }
            let own = samples.next().unwrap_or_default().into_iter();
            own.map(|s| Ok(Answer { text: s.text, cut: s.finish == Finish::Length })).collect()
        });
        Ok(replies.collect())
    }
}

/// An OpenAI-compatible server, or what stands for one.
pub struct Server(pub Arc<dyn Llm>);

impl Engine for Server {
    fn name(&self) -> String {
        self.0.name()
    }

    fn suits(&self, suite: &Suite) -> Result<(), String> {
        let Draw { top_p, top_k, min_p, .. } = suite.sampling;
        if suite.format == PromptFormat::Plain {
            return Err("it continues plain text, and a server is asked by chat; set `format: chat`".into());
        }
        if top_p < 1.0 || top_k > 0 || min_p > 0.0 {
            return Err(
                "`top_p`, `top_k` and `min_p` are for models of one's own; a server gets `temperature` alone".into()
            );
        }
        Ok(())
    }

    fn at_once(&self) -> usize {
        4 * self.0.concurrency()
    }

    fn answer(
        &self,
        suite: &Suite,
        asked: &[Asked],
        over: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Vec<Reply>>, EvalError> {
        let request = |example: &Example, draw: usize| ChatRequest {
            role: "answer".into(),
            template: format!("{}-{}", suite.name, suite.version),
            task: example.id.clone(),
            attempt: draw as u32,
            messages: example
                .messages
                .iter()
                .map(|m| ChatMessage { role: m.role.as_str().into(), content: m.content.clone() })
                .collect(),
            max_tokens: suite.sampling.max_tokens as u32,
            // The decimal number that was written, not its nearest single.
            temperature: suite.sampling.temperature.to_string().parse().unwrap_or_default(),
            schema: None,
            tools: Vec::new(),
        };
        let requests: Vec<ChatRequest> =
            asked.iter().flat_map(|one| one.draws.iter().map(|(draw, _)| request(one.example, *draw))).collect();
        let mut told = chat_all(self.0.as_ref(), &requests, over).into_iter();
        let mut replies = Vec::with_capacity(asked.len());
        for one in asked {
            let mut own = Vec::with_capacity(one.draws.len());
            for said in told.by_ref().take(one.draws.len()) {
                own.push(match said {
                    Ok(reply) => {
                        Ok(Answer { cut: reply.finish == "length", text: until(reply.text, &suite.sampling.stop) })
                    }
                    // Nothing more will be answered.
                    Err(LlmError::Budget(why)) => return Err(EvalError::Mismatch(why)),
                    Err(e) => Err(e.to_string()),
                });
            }
            replies.push(own);
        }
        Ok(replies)
    }
}

/// A text up to the first of some others.
fn until(mut text: String, stop: &[String]) -> String {
    if let Some(end) = stop.iter().filter_map(|s| text.find(s.as_str())).min() {
        text.truncate(end);
    }
    text
}
