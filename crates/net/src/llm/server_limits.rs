//! Asks a chat server for its limits: the length of the model's context, and the number of chats at a time.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Url};
use serde_json::Value;

use crate::http;

/// Maximum wait for the answers about the limits. Chats go on without them.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum size of an answer, in bytes. Servers with many models list them all.
const MAX_BYTES: u64 = 8 << 20;

/// The limits that a server tells. A limit that it does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerLimits {
    /// Number of tokens that prompt and reply of one chat share.
    pub context: Option<u64>,
    /// Number of chats that the server works on at the same time.
    pub slots: Option<usize>,
}

/// The result of asking a chat server for a document about itself.
enum About {
    Told(Value),
    /// The server does not give the document, or not in time.
    Silent,
    /// The server cannot be asked yet: it is not reachable, or still loads its model.
    NotYet,
}

/// Asks the server for its limits: llama.cpp at `/props`, vLLM and others at `/v1/models`. `base` is the base URL of the
/// chats. `None` if the server cannot be asked yet.
pub(crate) async fn ask(
    client: &Client,
    base: &Url,
    model: &str,
    authorization: Option<&HeaderValue>,
) -> Option<ServerLimits> {
    let get = |url: Url| about(client, url, authorization);
    let (props, models) = tokio::join!(get(beside(base, "props")), get(below(base, "models")));
    let mut limits = ServerLimits::default();
    if let About::Told(models) = &models {
        limits.context = context_of(models, model);
    }
    if let About::Told(props) = &props {
        let positive = |pointer: &str| props.pointer(pointer).and_then(Value::as_u64).filter(|n| *n > 0);
        limits.context = positive("/default_generation_settings/n_ctx").or(limits.context);
        limits.slots = positive("/total_slots").map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    }
    let is_early = [&props, &models].iter().any(|about| matches!(about, About::NotYet));
    (!is_early || limits != ServerLimits::default()).then_some(limits)
}

/// The URL of `name` below the base URL.
fn below(base: &Url, name: &str) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(name);
    }
    url
}

/// The URL of `name` in place of a `v1` at the end of the base URL; without a `v1`, below the base URL.
fn beside(base: &Url, name: &str) -> Url {
    let mut url = base.clone();
    let last = url.path().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty();
        if last == "v1" {
            path.pop();
        }
        path.push(name);
    }
    url
}

/// Requests a JSON document about the server, and waits for it for at most `TIMEOUT`.
async fn about(client: &Client, url: Url, authorization: Option<&HeaderValue>) -> About {
    let mut get = client.get(url);
    if let Some(value) = authorization {
        get = get.header(AUTHORIZATION, value);
    }
    let answer = async {
        let mut response = match get.send().await {
            Ok(response) => response,
            Err(e) => return if e.is_connect() { About::NotYet } else { About::Silent },
        };
        if http::is_retryable(response.status()) {
            return About::NotYet;
        }
        let body =
            if response.status().is_success() { http::read_body(&mut response, MAX_BYTES).await } else { Ok(None) };
        let json = body.ok().flatten().and_then(|body| serde_json::from_slice(&body).ok());
        json.map_or(About::Silent, About::Told)
    };
    tokio::time::timeout(TIMEOUT, answer).await.unwrap_or(About::Silent)
}

/// The context length in tokens of the model `name` in the server's list of models. A model that is alone in the list
/// may have another name. `None` if the list does not give the length.
fn context_of(models: &Value, name: &str) -> Option<u64> {
    let models = models.get("data")?.as_array()?;
    let named = models.iter().find(|model| model.get("id").and_then(Value::as_str) == Some(name));
    let model = named.or_else(|| models.first().filter(|_| models.len() == 1))?;
    // The first is vLLM's and SGLang's name, the second that of several providers.
    let length = model.get("max_model_len").or_else(|| model.get("context_length"))?;
    length.as_u64().filter(|n| *n > 0)
}
