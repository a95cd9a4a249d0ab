//! A local chat model, used as the language model of agents and judges.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rlar_net::llm::{ChatReply, ChatRequest, GrowingText, Llm, LlmError};
use rlar_policy::{
    ComputeDevice, Finish, GenerationRequest, Policy, PolicyError, PrefixCache, Sampling, StreamControl, TokenEvent,
    Turn,
};
use rlar_run::sha256;
use serde_json::json;

/// Number of tokens whose keys and values are kept for prompts that begin in the same way.
const KEPT_TOKENS: usize = 4096;

/// A chat model that `rlar-policy` runs in this process; at temperature 0 it decodes greedily. Requests that come at the same
/// time are answered together, each from when there is a place, and what a prompt has in common with an earlier one, such as
/// instructions and examples, is not read again. Functions that the reply may call are described in the first message, and a
/// call is expected as JSON text. A schema of the reply does not constrain decoding. A reply that begins to repeat itself
/// without end is cut.
#[derive(Debug)]
pub struct LocalLlm {
    model: Arc<Model>,
    /// Number of tokens that prompt and reply share.
    context: u64,
}

/// The model with its questions.
#[derive(Debug)]
struct Model {
    policy: Policy,
    prefixes: PrefixCache,
    queue: Mutex<Queue>,
    /// Signalled when an answer is complete.
    answered: Condvar,
    name: String,
    concurrency: usize,
}

/// The requests that wait for the model, and the replies that wait for their callers.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Question>,
    /// By the number of the question; the error is a message.
    answers: HashMap<u64, Result<WrittenReply, String>>,
    /// Whether a thread answers questions.
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
struct WrittenReply {
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
        let model = Model {
            policy,
            prefixes: PrefixCache::new(KEPT_TOKENS),
            queue: Mutex::default(),
            answered: Condvar::new(),
            name,
            concurrency: concurrency.max(1),
        };
        Ok(Self { model: Arc::new(model), context })
    }

    /// The model with a context of at most `tokens`, which prompt and reply share; `None` for as many as the model has.
    #[must_use]
    pub fn with_context(self, tokens: Option<u64>) -> Self {
        Self { context: tokens.map_or(self.context, |tokens| tokens.min(self.context)), ..self }
    }

    fn error(&self, why: &dyn std::fmt::Display) -> LlmError {
        LlmError::Request { address: self.name(), message: why.to_string() }
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
        let text = self.model.policy.tokenizer.chat(&turns, true).map_err(|e| self.error(&e))?;
        let prompt = self.model.policy.tokenizer.encode(&text).map_err(|e| self.error(&e))?;
        let (used, context) = (prompt.len() as u64, self.context);
        if used >= context {
            let message = format!(
                "{}: the chat has {used} tokens, and the context holds {context}; use a model with a longer context, or raise \
                 `rewards.llm.context` if it is set",
                self.name()
            );
            return Err(LlmError::ContextTooLong { message, prompt_tokens: Some(used), context: Some(context) });
        }
        Ok(prompt)
    }
}

impl Model {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a question, together with those that wait at the same time: where no thread answers questions, one is started.
    fn answer(self: &Arc<Self>, request: GenerationRequest, sampling: Sampling) -> Result<WrittenReply, String> {
        sampling.check()?;
        let mut queue = self.lock();
        let together = vec![request.clone(); self.concurrency.min(queue.waiting.len() + 1)];
        let plan = self.policy.engine(self.concurrency).plan(&together, &sampling);
        if plan.is_too_large() {
            return Err(PolicyError::Memory(plan).to_string());
        }
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push_back(Question { number, request, sampling });
        if !queue.is_busy {
            queue.is_busy = true;
            let model = Arc::clone(self);
            let started = std::thread::Builder::new().name("local-llm".into()).spawn(move || model.answer_all());
            if let Err(error) = started {
                queue.is_busy = false;
                queue.waiting.retain(|question| question.number != number);
                return Err(format!("no thread can be started: {error}"));
            }
        }
        loop {
            if let Some(answer) = queue.answers.remove(&number) {
                return answer;
            }
            queue = self.answered.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Answers questions until none waits.
    fn answer_all(self: Arc<Self>) {
        loop {
            let mut queue = self.lock();
            let Some(first) = queue.waiting.front() else {
                queue.is_busy = false;
                return;
            };
            let batch = Batch::new(&self, first.sampling.clone());
            drop(queue);
            // Whatever happens, the batch answers its questions, and the next ones get their turn.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| batch.run()));
        }
    }
}

/// Questions that are answered together; those that come later join while there is a place. When it is dropped, all of them have
/// an answer or an error.
struct Batch<'a> {
    model: &'a Model,
    sampling: Sampling,
    replies: Mutex<Vec<Writing>>,
    /// What the questions without an answer are told.
    error: String,
}

/// A reply that is being written.
struct Writing {
    /// The number of the question.
    number: u64,
    text: GrowingText,
    tokens: u64,
    has_ended: bool,
}

impl<'a> Batch<'a> {
    /// A batch of questions that are sampled in this way.
    fn new(model: &'a Model, sampling: Sampling) -> Self {
        Self { model, sampling, replies: Mutex::default(), error: "it gave no reply".into() }
    }

    /// The next question, unless it is sampled in another way and waits for the end of the batch.
    fn next(&self) -> Option<GenerationRequest> {
        let mut queue = self.model.lock();
        let Question { number, request, .. } = queue.waiting.pop_front_if(|first| first.sampling == self.sampling)?;
        drop(queue);
        self.replies().push(Writing { number, text: GrowingText::default(), tokens: 0, has_ended: false });
        Some(request)
    }

    /// Adds a token to a reply. A reply that is complete is given to its caller.
    fn add(&self, event: &TokenEvent) -> StreamControl {
        let mut replies = self.replies();
        let reply = &mut replies[event.request];
        reply.tokens += 1;
        let repeats = reply.text.push(event.text);
        let ended = event.finish.map(|finish| if finish == Finish::Stop { "stop" } else { "length" });
        if let Some(finish) = if repeats { Some("repetition") } else { ended } {
            let answer = WrittenReply { text: reply.text.as_str().to_owned(), tokens: reply.tokens, finish };
            reply.has_ended = true;
            self.model.lock().answers.insert(reply.number, Ok(answer));
            self.model.answered.notify_all();
        }
        if repeats { StreamControl::EndSequence } else { StreamControl::Continue }
    }

    fn run(mut self) {
        let engine = self.model.policy.engine(self.model.concurrency).with_prefixes(&self.model.prefixes);
        let served = engine.serve(&mut || self.next(), &self.sampling, &mut |event| self.add(&event));
        if let Err(error) = served {
            self.error = error.to_string();
        }
    }

    fn replies(&self) -> MutexGuard<'_, Vec<Writing>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let replies = self.replies();
        let mut queue = self.model.lock();
        for reply in replies.iter().filter(|reply| !reply.has_ended) {
            queue.answers.insert(reply.number, Err(self.error.clone()));
        }
        self.model.answered.notify_all();
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
        let WrittenReply { text, tokens, finish } = self
            .model
            .answer(GenerationRequest { prompt, seeds: vec![seed] }, sampling)
            .map_err(|why| self.error(&why))?;
        let finish = finish.to_owned();
        Ok(ChatReply { text, calls: Vec::new(), prompt_tokens, completion_tokens: tokens, finish })
    }

    fn concurrency(&self) -> usize {
        self.model.concurrency
    }

    fn context(&self) -> Option<u64> {
        Some(self.context)
    }

    fn name(&self) -> String {
        self.model.name.clone()
    }
}
