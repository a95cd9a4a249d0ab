//! Who answers: a policy of one's own, or a server.

use std::sync::Arc;

use rlar_data::Example;
use rlar_net::llm::{ChatMessage, ChatRequest, Llm, LlmError, chat_all};
use rlar_policy::{Engine as Sampler, Finish, GenerationRequest, Policy, PolicyError, StreamControl};

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

    /// The replies to each prompt. Once `over` says so, no more are wanted; those that are finished are given all the same.
    fn answer(&self, suite: &Suite, asked: &[Asked], over: &(dyn Fn() -> bool + Sync)) -> Result<Told, EvalError>;
}

/// What an engine told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// By prompt.
    pub replies: Vec<Vec<Reply>>,
    /// Why nothing more will be answered, if so.
    pub ended: Option<String>,
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

    fn suits(&self, suite: &Suite) -> Result<(), String> {
        let turn = [rlar_policy::Turn { role: "user", content: "x" }];
        match self.policy.tokenizer.chat(&turn, true) {
            Err(e) if suite.format == PromptFormat::Chat => Err(format!(
                "{e}; set `format: plain`, or take the suite for models without a chat template, such as gsm8k-base"
            )),
            _ => Ok(()),
        }
    }

    fn at_once(&self) -> usize {
        4 * self.batch
    }

    fn answer(&self, suite: &Suite, asked: &[Asked], over: &(dyn Fn() -> bool + Sync)) -> Result<Told, EvalError> {
        let (mut requests, mut without_room) = (Vec::new(), Vec::new());
        for one in asked {
            let prompt = encode_prompt(self.policy, one.example, suite.format)?;
            match leaves_room(self.policy, one.example, prompt.len()) {
                Ok(()) => {
                    // No more sequences at a time than are wanted.
                    requests.extend(one.draws.chunks(self.batch.max(1)).map(|draws| GenerationRequest {
                        prompt: prompt.clone(),
                        seeds: draws.iter().map(|(_, seed)| *seed).collect(),
                    }));
                    without_room.push(None);
                }
                Err(PolicyError::Request(why)) => without_room.push(Some(why)),
                Err(e) => return Err(e.into()),
            }
        }
        let sampler = Sampler::new(&self.policy.decoder, &self.policy.tokenizer, self.batch);
        let mut on_token =
            |_: rlar_policy::TokenEvent| if over() { StreamControl::EndAll } else { StreamControl::Continue };
        let mut samples = sampler.stream(&requests, &suite.sampling.sampling(), &mut on_token)?.into_iter().flatten();
        let replies = asked.iter().zip(without_room).map(|(one, why)| {
            if let Some(why) = why {
                return vec![Err(why); one.draws.len()];
            }
            let own = samples.by_ref().take(one.draws.len());
            own.map(|s| match s.finish {
                Finish::Cancelled => Err("it was interrupted".to_owned()),
                finish => Ok(Answer { text: s.text, cut: finish == Finish::Length }),
            })
            .collect()
        });
        Ok(Told { replies: replies.collect(), ended: None })
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

    fn answer(&self, suite: &Suite, asked: &[Asked], over: &(dyn Fn() -> bool + Sync)) -> Result<Told, EvalError> {
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
            max_tokens: u32::try_from(suite.sampling.max_tokens).unwrap_or(u32::MAX),
            // The decimal number that was written, not its nearest single.
            temperature: suite.sampling.temperature.to_string().parse().unwrap_or_default(),
            schema: None,
            tools: Vec::new(),
        };
        let requests: Vec<ChatRequest> =
            asked.iter().flat_map(|one| one.draws.iter().map(|(draw, _)| request(one.example, *draw))).collect();
        let mut told = chat_all(self.0.as_ref(), &requests, over).into_iter();
        let (mut replies, mut ended) = (Vec::with_capacity(asked.len()), None);
        for one in asked {
            let mut own = Vec::with_capacity(one.draws.len());
            for said in told.by_ref().take(one.draws.len()) {
                own.push(match said {
                    Ok(reply) => {
                        let (text, stopped) = until(reply.text, &suite.sampling.stop);
                        Ok(Answer { text, cut: reply.finish == "length" && !stopped })
                    }
                    Err(e) => {
                        if let LlmError::Budget(why) = &e {
                            ended = Some(why.clone());
                        }
                        Err(e.to_string())
                    }
                });
            }
            replies.push(own);
        }
        Ok(Told { replies, ended })
    }
}

/// A text up to the first of some others, and whether one of them was there.
fn until(mut text: String, stop: &[String]) -> (String, bool) {
    let end = stop.iter().filter_map(|s| text.find(s.as_str())).min();
    text.truncate(end.unwrap_or(text.len()));
    (text, end.is_some())
}
