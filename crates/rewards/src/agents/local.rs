//! A local chat model, used as the language model of agents and judges.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rlar_net::llm::{ChatReply, ChatRequest, GrowingText, Llm, LlmError};
use rlar_policy::{
    ComputeDevice, Finish, GenerationRequest, Policy, PolicyError, PrefixCache, Sample, Sampling, StreamControl,
    TokenEvent, Turn,
};
use rlar_run::sha256;
use serde_json::json;

/// Number of questions that wait for the model at a time, for each place in its batch. With more than one, a place that becomes
/// free is taken at once, while a long reply goes on.
const WAITING: usize = 4;

/// Number of tokens whose keys and values are kept for prompts that begin in the same way.
const KEPT_TOKENS: usize = 4096;

/// A chat model that `rlar-policy` runs in this process; at temperature 0 it decodes greedily. Requests that wait at the same
/// time are answered in one batch, and what a prompt has in common with an earlier one, such as instructions and examples, is
/// not read again. Functions that the reply may call are described in the first message, and a call is expected as JSON text.
/// A schema of the reply does not constrain decoding. A reply that begins to repeat itself without end is cut.
#[derive(Debug)]
pub struct LocalLlm {
    policy: Policy,
    prefixes: PrefixCache,
    queue: Mutex<Queue>,
    /// Signalled when a batch has ended.
    ended: Condvar,
    name: String,
    /// Number of tokens that prompt and reply share.
    context: u64,
    concurrency: usize,
}

/// The requests that wait for the model, and the replies that wait for their callers.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Question>,
    /// By the number of the question; the error is a message.
    answers: HashMap<u64, Result<Answer, String>>,
    /// Whether a caller runs a batch.
    is_busy: bool,
    /// The number of the next question.
    next: u64,
}

#[derive(Debug)]
struct Question {
    number: u64,
    request: GenerationRequest,
    sampling: Sampling,
}

/// A reply.
#[derive(Clone, Debug)]
struct Answer {
    text: String,
    tokens: u64,
    /// As servers name it: `stop`, `length` or `repetition`.
    finish: &'static str,
}

impl LocalLlm {
    /// Loads a chat model onto a device, such as `cpu`, from a Hugging Face folder or a GGUF file. The model needs a
    /// chat template. At most `concurrency` replies are written at a time.
    pub fn load(path: &Path, device: &str, concurrency: usize) -> Result<Self, PolicyError> {
        let policy = Policy::load_frozen(path, &ComputeDevice::new(device)?)?;
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let fingerprint = rlar_run::fingerprint(path).map_err(|e| PolicyError::Request(e.to_string()))?;
        let name = format!("{file} {}", &sha256(fingerprint.to_string().as_bytes())[..12]);
        let context = policy.decoder.config().max_position_embeddings as u64;
        Ok(Self {
            policy,
            prefixes: PrefixCache::new(KEPT_TOKENS),
            queue: Mutex::default(),
            ended: Condvar::new(),
            name,
            context,
            concurrency: concurrency.max(1),
        })
    }

    /// The model with a context of at most `tokens`, which prompt and reply share; `None` for as many as the model has.
    #[must_use]
    pub fn with_context(self, tokens: Option<u64>) -> Self {
        Self { context: tokens.map_or(self.context, |tokens| tokens.min(self.context)), ..self }
    }

    fn error(&self, why: &dyn std::fmt::Display) -> LlmError {
        LlmError::Request { address: self.name.clone(), message: why.to_string() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The prompt of a chat, in tokens.
    fn prompt(&self, request: &ChatRequest) -> Result<Vec<u32>, LlmError> {
        let functions = request.tools.iter().map(|f| {
            let signature = json!({ "name": f.name, "description": f.description, "parameters": f.parameters });
            format!(
                "\n\nAnswer by calling this function: write its arguments as one JSON object and nothing else.\n{signature}"
            )
        });
        let functions: String = functions.collect();
        let mut messages: Vec<(String, String)> =
            request.messages.iter().map(|m| (m.role.clone(), m.content.clone())).collect();
        if let Some((_, first)) = messages.first_mut() {
            first.push_str(&functions);
        }
        let turns: Vec<Turn> = messages.iter().map(|(role, content)| Turn { role, content }).collect();
        let text = self.policy.tokenizer.chat(&turns, true).map_err(|e| self.error(&e))?;
        let prompt = self.policy.tokenizer.encode(&text).map_err(|e| self.error(&e))?;
        let (used, context) = (prompt.len() as u64, self.context);
        if used >= context {
            let message = format!(
                "{}: the chat has {used} tokens, and the context holds {context}; use a model with a longer context, or raise \
                 `rewards.llm.context` if it is set",
                self.name
            );
            return Err(LlmError::ContextTooLong { message, prompt_tokens: Some(used), context: Some(context) });
        }
        Ok(prompt)
    }

    /// Answers a question, together with those that wait at the same time: the first caller that finds no batch running runs
    /// one, and the others wait for it.
    fn answer(&self, request: GenerationRequest, sampling: Sampling) -> Result<Answer, String> {
        let mut queue = self.lock();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push(Question { number, request, sampling });
        loop {
            if let Some(answer) = queue.answers.remove(&number) {
                return answer;
            }
            if queue.is_busy {
                queue = self.ended.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let batch = Batch::take(self, &mut queue);
            drop(queue);
            batch.run();
            queue = self.lock();
        }
    }
}

/// Questions that are answered together. When it is dropped, all of them have an answer or an error, and the next batch may run.
struct Batch<'a> {
    llm: &'a LocalLlm,
    numbers: Vec<u64>,
    requests: Vec<GenerationRequest>,
    sampling: Sampling,
    answers: HashMap<u64, Result<Answer, String>>,
}

impl<'a> Batch<'a> {
    /// Takes the waiting questions that are sampled in the same way as the first one.
    fn take(llm: &'a LocalLlm, queue: &mut Queue) -> Self {
        queue.is_busy = true;
        let sampling = queue.waiting.first().map(|first| first.sampling.clone()).unwrap_or_default();
        let (mut numbers, mut requests, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for question in queue.waiting.drain(..) {
            if question.sampling == sampling {
                numbers.push(question.number);
                requests.push(question.request);
            } else {
                others.push(question);
            }
        }
        queue.waiting = others;
        Self { llm, numbers, requests, sampling, answers: HashMap::new() }
    }

    fn run(mut self) {
        let engine = self.llm.policy.engine(self.llm.concurrency).with_prefixes(&self.llm.prefixes);
        let mut texts: Vec<GrowingText> = self.requests.iter().map(|_| GrowingText::default()).collect();
        let mut repeats = vec![false; texts.len()];
        let mut on_token = |event: TokenEvent| {
            repeats[event.request] |= texts[event.request].push(event.text);
            if repeats[event.request] { StreamControl::EndSequence } else { StreamControl::Continue }
        };
        let answers: Vec<Result<Answer, String>> = match engine.stream(&self.requests, &self.sampling, &mut on_token) {
            Ok(samples) => {
                let samples = samples.into_iter().flatten().zip(texts.iter().zip(&repeats));
                samples.map(|(sample, (text, repeats))| Ok(answer(sample, text, *repeats))).collect()
            }
            Err(error) => vec![Err(error.to_string()); self.numbers.len()],
        };
        self.answers = self.numbers.iter().copied().zip(answers).collect();
    }
}

/// The reply of a sample whose text is known. With `repeats`, the text was cut where it began to repeat itself.
fn answer(sample: Sample, text: &GrowingText, repeats: bool) -> Answer {
    let tokens = sample.tokens.len() as u64;
    if repeats {
        return Answer { text: text.as_str().to_owned(), tokens, finish: "repetition" };
    }
    Answer { text: sample.text, tokens, finish: if sample.finish == Finish::Stop { "stop" } else { "length" } }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut queue = self.llm.lock();
        for number in &self.numbers {
            let none = || Err("it gave no reply".to_owned());
            queue.answers.insert(*number, self.answers.remove(number).unwrap_or_else(none));
        }
        queue.is_busy = false;
        self.llm.ended.notify_all();
    }
}

impl Llm for LocalLlm {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let prompt = self.prompt(request)?;
        let prompt_tokens = prompt.len() as u64;
        let room = self.context.saturating_sub(prompt_tokens).max(1);
        let sampling = Sampling {
            temperature: request.temperature as f32,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            max_tokens: u64::from(request.max_tokens.max(1)).min(room) as usize,
            stop: Vec::new(),
            include_stop: false,
            stop_tokens: Vec::new(),
        };
        // Equal requests get equal random numbers.
        let seed = u64::from_str_radix(&request.key()[..16], 16).unwrap_or(0);
        let Answer { text, tokens, finish } =
            self.answer(GenerationRequest { prompt, seeds: vec![seed] }, sampling).map_err(|why| self.error(&why))?;
        let finish = finish.to_owned();
        Ok(ChatReply { text, calls: Vec::new(), prompt_tokens, completion_tokens: tokens, finish })
    }

    fn concurrency(&self) -> usize {
        WAITING * self.concurrency
    }

    fn context(&self) -> Option<u64> {
        Some(self.context)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
