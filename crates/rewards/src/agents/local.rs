//! A local chat model, used as the language model of agents and judges.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError};
use rlar_policy::{ComputeDevice, Finish, GenerationRequest, Policy, PolicyError, Sampling, Turn};
use rlar_run::sha256;
use serde_json::json;

/// A chat model that `rlar-policy` runs in this process. It answers one request at a time; at temperature 0 it decodes
/// greedily. Functions that the reply may call are described in the first message, and a call is expected as JSON text.
/// A schema of the reply does not constrain decoding.
#[derive(Debug)]
pub struct LocalLlm {
    policy: Mutex<Policy>,
    name: String,
    context: u64,
}

impl LocalLlm {
    /// Loads a chat model onto a device, such as `cpu`, from a Hugging Face folder or a GGUF file. The model needs a
    /// chat template.
    pub fn load(path: &Path, device: &str) -> Result<Self, PolicyError> {
        let policy = Policy::load_frozen(path, &ComputeDevice::new(device)?)?;
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let fingerprint = rlar_run::fingerprint(path).map_err(|e| PolicyError::Request(e.to_string()))?;
        let name = format!("{file} {}", &sha256(fingerprint.to_string().as_bytes())[..12]);
        let context = policy.decoder.config().max_position_embeddings as u64;
        Ok(Self { policy: Mutex::new(policy), name, context })
    }

    fn error(&self, why: &dyn std::fmt::Display) -> LlmError {
        LlmError::Request { address: self.name.clone(), message: why.to_string() }
    }
}

impl Llm for LocalLlm {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
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
        let text = policy.tokenizer.chat(&turns, true).map_err(|e| self.error(&e))?;
        let prompt = policy.tokenizer.encode(&text).map_err(|e| self.error(&e))?;
        let (used, context) = (prompt.len(), policy.decoder.config().max_position_embeddings);
        if used >= context {
            let message = format!(
                "{}: the chat has {used} tokens, and the model's context holds {context}; use a model with a longer context",
                self.name
            );
            let (prompt_tokens, context) = (Some(used as u64), Some(self.context));
            return Err(LlmError::ContextTooLong { message, prompt_tokens, context });
        }
        let sampling = Sampling {
            temperature: request.temperature as f32,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            max_tokens: (request.max_tokens.max(1) as usize).min(context - used),
            stop: Vec::new(),
            include_stop: false,
            stop_tokens: Vec::new(),
        };
        // Equal requests get equal replies.
        let seed = u64::from_str_radix(&request.key()[..16], 16).unwrap_or(0);
        let requests = [GenerationRequest { prompt, seeds: vec![seed] }];
        let samples = policy.engine(1).generate(&requests, &sampling).map_err(|e| self.error(&e))?;
        let sample = samples.into_iter().flatten().next().ok_or_else(|| self.error(&"it gave no reply"))?;
        let finish = if sample.finish == Finish::Stop { "stop" } else { "length" };
        Ok(ChatReply {
            text: sample.text,
            calls: Vec::new(),
            prompt_tokens: used as u64,
            completion_tokens: sample.tokens.len() as u64,
            finish: finish.into(),
        })
    }

    fn context(&self) -> Option<u64> {
        Some(self.context)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}
