//! A vLLM server, with one method per call.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::VllmError;
use crate::completion::{CompletionFault, GenerateAnswer, GeneratedTokens, TokensRequest};
use crate::connection::{ServerCall, ServerConnection};
use crate::facts::{ServedModel, ServerFacts};
use crate::settings::VllmSettings;

/// How vLLM is started so that it has the calls of every server.
const VLLM: &str = "Is this the address of a vLLM server?";

/// How vLLM is started so that it can be paused and given other weights.
const DEV_MODE: &str =
    "Start vLLM with the environment variable VLLM_SERVER_DEV_MODE=1, and let only trusted machines reach it";

/// How vLLM is started so that it loads adapters while it runs.
const ADAPTERS: &str =
    "Start vLLM with `--enable-lora` and the environment variable VLLM_ALLOW_RUNTIME_LORA_UPDATING=1";

/// How vLLM is started so that it takes token ids and says which weights sampled.
const SCALE_OUT: &str = "Start vLLM 0.30 or newer with `--enable-scale-out`";

/// How often a call that may be made twice is made again while connections break.
const REPEATS: u32 = 3;

/// The call that samples.
const GENERATE: &str = "inference/v1/generate";

/// A vLLM server that samples, and whose weights can be replaced.
#[derive(Debug)]
pub struct VllmServer {
    connection: ServerConnection,
}

#[derive(Deserialize)]
struct VersionAnswer {
    version: String,
}

#[derive(Deserialize)]
struct ModelsAnswer {
    data: Vec<ServedModel>,
}

#[derive(Deserialize)]
struct TokenizeAnswer {
    tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct LabelAnswer {
    weight_version: Option<String>,
}

#[derive(Deserialize)]
struct ResetAnswer {
    success: bool,
}

impl VllmServer {
    /// Prepares requests to a server; sends none.
    pub fn new(settings: VllmSettings) -> Result<Self, VllmError> {
        Ok(Self { connection: ServerConnection::new(settings)? })
    }

    /// The server's address, without secrets.
    pub fn url(&self) -> &str {
        &self.connection.url
    }

    /// Whether the server answers; an error while it is starting.
    pub async fn health(&self) -> Result<(), VllmError> {
        self.connection.send(&self.get("health", "", VLLM)).await.map(drop)
    }

    /// The version of vLLM, such as `0.32.0`.
    pub async fn version(&self) -> Result<String, VllmError> {
        let answer: VersionAnswer = self.connection.json(&self.get("version", "", VLLM)).await?;
        Ok(answer.version)
    }

    /// The models and adapters that it serves. The first call that needs the key.
    pub async fn models(&self) -> Result<Vec<ServedModel>, VllmError> {
        let answer: ModelsAnswer = self.connection.json(&self.get("v1/models", "", VLLM)).await?;
        Ok(answer.data)
    }

    /// The settings with which it was started.
    pub async fn facts(&self) -> Result<ServerFacts, VllmError> {
        let answer: Value = self.connection.json(&self.get("server_info", "config_format=json", DEV_MODE)).await?;
        Ok(ServerFacts::read(&answer))
    }

    /// The token ids of a text, without special tokens around it; `None` from a server without a tokenizer.
    pub async fn tokenize(&self, model: &str, text: &str) -> Result<Option<Vec<u32>>, VllmError> {
        let body = json!({ "model": model, "prompt": text, "add_special_tokens": false });
        match self.connection.json::<TokenizeAnswer>(&self.post("tokenize", "", &body, VLLM)).await {
            Ok(answer) => Ok(Some(answer.tokens)),
            Err(VllmError::NoSuchCall { .. } | VllmError::Failed { status: 501, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Samples one completion. The request is sent once. Sending the same request again gives the same tokens only as far as the server's sums do
    /// not depend on what else it computes.
    pub async fn generate(&self, request: &TokensRequest) -> Result<GeneratedTokens, VllmError> {
        let body = request.body();
        let limit = self.connection.settings.completion;
        let call = ServerCall { limit, repeats: 0, ..self.post(GENERATE, "", &body, SCALE_OUT) };
        let answer: GenerateAnswer = self.connection.json(&call).await?;
        let (url, call) = (self.url().to_owned(), GENERATE);
        answer.completion().map_err(|fault| match fault {
            CompletionFault::Malformed(message) => VllmError::Malformed { url, call, message },
            CompletionFault::NotFinite(position) => VllmError::NotFinite { url, call, position },
        })
    }

    /// Lets requests that are running end, and takes no further ones until [`VllmServer::resume`]; requests that are sent
    /// meanwhile wait.
    pub async fn pause(&self) -> Result<(), VllmError> {
        self.done("pause", "mode=wait", &Value::Null, DEV_MODE).await
    }

    /// Takes requests again.
    pub async fn resume(&self) -> Result<(), VllmError> {
        self.done("resume", "", &Value::Null, DEV_MODE).await
    }

    /// Loads the PEFT adapter in a folder, as the server sees it, under a name that it does not have yet. An old name with
    /// other weights would be sampled with keys and values of the old ones.
    pub async fn load_adapter(&self, name: &str, folder: &str) -> Result<(), VllmError> {
        let body = json!({ "lora_name": name, "lora_path": folder, "load_inplace": false });
        let limit = self.connection.settings.weights;
        // Loaded twice, the name is refused.
        let call = ServerCall { limit, repeats: 0, ..self.post("v1/load_lora_adapter", "", &body, ADAPTERS) };
        let mut repeats = 0;
        loop {
            match self.connection.send(&call).await {
                Err(VllmError::Lost { .. }) if repeats < REPEATS => self.unload_adapter(name).await?,
                other => return other.map(drop),
            }
            repeats += 1;
        }
    }

    /// Forgets an adapter. One that the server does not know is no error.
    pub async fn unload_adapter(&self, name: &str) -> Result<(), VllmError> {
        match self.done("v1/unload_lora_adapter", "", &json!({ "lora_name": name }), ADAPTERS).await {
            Err(VllmError::Refused { status: 404, .. }) => Ok(()),
            other => other,
        }
    }

    /// Replaces all weights by those of a Hugging Face folder, as the server sees it. vLLM 0.32 gives its own up before it
    /// looks whether the folder is there: a server that fails here must be restarted.
    pub async fn reload_weights(&self, folder: &str) -> Result<(), VllmError> {
        let timeout = self.connection.settings.weights.as_secs_f64();
        let kwargs = json!({ "weights_path": folder });
        let body = json!({ "method": "reload_weights", "kwargs": kwargs, "timeout": timeout });
        self.done("collective_rpc", "", &body, DEV_MODE).await
    }

    /// Sets the label that completions are given, and that a restart of the server forgets.
    pub async fn set_weight_version(&self, label: &str) -> Result<(), VllmError> {
        self.done("update_weight_version", "", &json!({ "new_version": label }), DEV_MODE).await
    }

    /// The label of the weights; `default` before one was set.
    pub async fn weight_version(&self) -> Result<String, VllmError> {
        let answer: LabelAnswer = self.connection.json(&self.get("weight_info", "", DEV_MODE)).await?;
        Ok(answer.weight_version.unwrap_or_default())
    }

    /// Clears the cache of keys and values of prompts, which belong to the weights that computed them.
    pub async fn reset_prefix_cache(&self) -> Result<(), VllmError> {
        let null = Value::Null;
        let answer: ResetAnswer = self.connection.json(&self.post("reset_prefix_cache", "", &null, DEV_MODE)).await?;
        if answer.success { Ok(()) } else { Err(VllmError::CacheNotReset { url: self.url().to_owned() }) }
    }

    /// A call that changes the server and whose answer says nothing beyond its status.
    async fn done(
        &self,
        path: &'static str,
        query: &'static str,
        body: &Value,
        how: &'static str,
    ) -> Result<(), VllmError> {
        let limit = self.connection.settings.weights;
        self.connection.send(&ServerCall { limit, ..self.post(path, query, body, how) }).await.map(drop)
    }

    fn get(&self, path: &'static str, query: &'static str, how: &'static str) -> ServerCall<'static> {
        ServerCall { path, query, body: None, limit: self.limit(), repeats: REPEATS, how }
    }

    fn post<'a>(&self, path: &'static str, query: &'static str, body: &'a Value, how: &'static str) -> ServerCall<'a> {
        ServerCall { path, query, body: Some(body), limit: self.limit(), repeats: REPEATS, how }
    }

    fn limit(&self) -> Duration {
        self.connection.settings.answer
    }
}
