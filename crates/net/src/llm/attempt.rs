//! One try of a chat: a request that is sent once, and the reply to it, streamed or whole.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::http::{self, redacted};
use crate::llm::budget::TryCharge;
use crate::llm::connection::OpenAiConnection;
use crate::llm::context_refusal::{ContextRefusal, context_refusal};
use crate::llm::events::EventReader;
use crate::llm::parameters::{Parameter, refused_parameter};
use crate::llm::stream::{Piece, StreamedReply, chunks, is_end};
use crate::llm::{ChatProgress, ChatReply, ChatRequest, LlmError, wire};
use crate::retry::{AttemptError, retry_after, seconds, tried};

/// Maximum size of a response, in bytes.
const MAX_BYTES: u64 = 8 << 20;

/// Maximum size of the body of an error response, in bytes; a longer body is ignored.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// Maximum wait for the body of an error response, and for the token counts at the end of a streamed reply. If they do
/// not come in time, the error message has only the status, and the counts are estimated.
const REST_TIMEOUT: Duration = Duration::from_secs(2);

/// A streamed reply is cut when it has this many tokens more than twice its token limit; its finish reason is then
/// `length`. The margin is wide because the tokens are only estimated.
const LONGEST_EXCESS: u64 = 64;

/// The content type of a streamed reply.
const EVENTS: &str = "text/event-stream";

/// Why a request that was sent once brought no reply.
pub(crate) enum ChatError {
    /// The server refuses a parameter of the request.
    Refused { parameter: Parameter, error: LlmError },
    /// Prompt and reply together do not fit into the model's context.
    TooLong { refusal: ContextRefusal, error: LlmError },
    /// Any other failure, with the information whether another try makes sense.
    Failed(AttemptError<LlmError>),
}

/// One try of a chat.
pub(crate) struct ChatAttempt<'a> {
    pub connection: &'a OpenAiConnection,
    pub request: &'a ChatRequest,
    /// The body that is sent.
    pub body: &'a Value,
    /// The number of the try, from 1.
    pub number: u32,
    /// The round of the concurrency limit (`AdaptiveLimit::round`) in which the try began: if several tries of one
    /// round find the server overloaded, the limit is lowered only once.
    pub round: u64,
}

/// A limit on the wait for a response or a token: the wait begins at `since` and may last for `limit`.
struct Patience {
    since: Instant,
    limit: Duration,
}

impl Patience {
    fn begin(limit: Duration) -> Self {
        Self { since: Instant::now(), limit }
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }
}

/// A streamed reply that is being read.
struct StreamReading<'a> {
    reply: StreamedReply,
    /// The limit on the wait for the first token or, once that has come, for the next token.
    patience: Patience,
    /// The time at which the first token came; `None` before.
    first: Option<Instant>,
    /// Whether the server has said that the stream ends.
    is_done: bool,
    charge: TryCharge<'a>,
}

impl ChatAttempt<'_> {
    /// Sends the request and reads the reply.
    pub async fn send(&self, on_progress: &mut dyn FnMut(ChatProgress)) -> Result<ChatReply, ChatError> {
        let OpenAiConnection { client, address, authorization, settings, .. } = self.connection;
        let mut post = client.post(address.clone()).json(self.body);
        if let Some(value) = authorization {
            post = post.header(AUTHORIZATION, value);
        }
        let patience = Patience::begin(settings.first_token);
        let sent = timeout(patience.left(), post.send()).await.map_err(|_| self.no_first_token("token"))?;
        let mut response = sent.map_err(|e| self.broken(e))?;
        if !response.status().is_success() {
            return Err(self.status_error(response).await);
        }
        // From here on the tokens are charged even if no reply comes of it, because the server does the work.
        let charge = TryCharge::new(&settings.budget, self.request.estimate_tokens());
        if header(&response, CONTENT_TYPE).is_some_and(|kind| kind.to_ascii_lowercase().starts_with(EVENTS)) {
            let reply = StreamedReply::default();
            let reading = StreamReading { reply, patience, first: None, is_done: false, charge };
            self.read_stream(&mut response, reading, on_progress).await
        } else {
            self.read_whole(&mut response, &patience, charge).await
        }
    }

    /// Reads the reply of a server that does not stream.
    async fn read_whole(
        &self,
        response: &mut Response,
        patience: &Patience,
        mut charge: TryCharge<'_>,
    ) -> Result<ChatReply, ChatError> {
        let bytes = timeout(patience.left(), http::read_body(response, MAX_BYTES)).await;
        let bytes = bytes.map_err(|_| self.no_first_token("complete answer"))?.map_err(|e| self.broken(e))?;
        let parsed: Result<Value, String> = match bytes {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| format!("it is not JSON: {e}")),
            None => Err(too_large()),
        };
        let body = parsed.map_err(|why| self.invalid(&why))?;
        if body.get("choices").is_none() && has_error(&body) {
            return Err(self.error_in_reply(&body));
        }
        if let Some(model) = body.get("model").and_then(Value::as_str) {
            self.connection.note_model(model);
        }
        self.finish(&body, &mut charge)
    }

    /// Reads a streamed reply to its end, or until it must be given up. Then the connection is closed, so that the server
    /// stops.
    async fn read_stream(
        &self,
        response: &mut Response,
        mut reading: StreamReading<'_>,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, ChatError> {
        let (mut events, mut size) = (EventReader::default(), 0);
        while !reading.is_done && !reading.reply.is_cut() {
            let has_finished = reading.reply.has_finished();
            let wait = if has_finished { REST_TIMEOUT } else { reading.patience.left() };
            let bytes = match timeout(wait, response.chunk()).await {
                Ok(Ok(Some(bytes))) => bytes,
                // Nothing is missing but the token counts.
                _ if has_finished => break,
                Ok(Ok(None)) => {
                    // A last event that was cut short is as good as none.
                    let last = std::mem::take(&mut events).end().filter(|data| chunks(data).is_ok());
                    if let Some(data) = last {
                        self.read_event(&data, &mut reading, on_progress)?;
                    }
                    if reading.is_done || reading.reply.has_finished() {
                        break;
                    }
                    return Err(self.cut_short(&reading.reply, None));
                }
                Ok(Err(e)) => return Err(self.cut_short(&reading.reply, Some(e))),
                Err(_) => return Err(self.too_slow(&reading)),
            };
            size += bytes.len() as u64;
            if size > MAX_BYTES {
                return Err(self.invalid(&too_large()));
            }
            for data in events.push(&bytes).map_err(|why| self.invalid(&why))? {
                self.read_event(&data, &mut reading, on_progress)?;
            }
        }
        if let Some(model) = reading.reply.model() {
            self.connection.note_model(model);
        }
        let StreamReading { reply, mut charge, .. } = reading;
        self.finish(&reply.into_body(), &mut charge)
    }

    /// Reads the data of one event of a streamed reply.
    fn read_event(
        &self,
        data: &str,
        reading: &mut StreamReading<'_>,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<(), ChatError> {
        reading.is_done |= is_end(data);
        for chunk in chunks(data).map_err(|why| self.invalid(&why))? {
            if reading.reply.is_cut() {
                break;
            }
            if has_error(&chunk) {
                return Err(self.error_in_reply(&chunk));
            }
            let piece = reading.reply.add(&chunk).map_err(|why| self.invalid(&why))?;
            if let Piece::Token { is_reasoning } = piece {
                let first = *reading.first.get_or_insert_with(Instant::now);
                let tokens = reading.reply.tokens();
                reading.charge.completion = tokens;
                on_progress(ChatProgress { tokens, is_reasoning, seconds: first.elapsed().as_secs_f64() });
                // The server ignores the limit; the count is an estimate, so the limit is not exact.
                if tokens > 2 * u64::from(self.request.max_tokens) + LONGEST_EXCESS {
                    reading.reply.cut("length");
                }
            }
            // An empty part shows that the server works, but not that it has read the prompt.
            if piece != Piece::Note && reading.first.is_some() {
                reading.patience = Patience::begin(self.connection.settings.next_token);
            }
        }
        Ok(())
    }

    /// Reads the reply from the body of a complete response, and sets `charge` to its token counts.
    fn finish(&self, body: &Value, charge: &mut TryCharge<'_>) -> Result<ChatReply, ChatError> {
        let usage = wire::usage(self.request, body);
        (charge.prompt, charge.completion) = (usage.prompt, usage.completion);
        wire::reply(body, usage).map_err(|why| self.invalid(&why))
    }

    /// The error for a response whose status is not success.
    async fn status_error(&self, mut response: Response) -> ChatError {
        let status = response.status();
        let (after, location) = (header(&response, RETRY_AFTER), header(&response, LOCATION));
        let body = timeout(REST_TIMEOUT, http::read_body(&mut response, MAX_ERROR_BYTES)).await;
        let body = body.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let server_message = wire::error_message(&body);
        let shown = self.connection.clean(&server_message);
        let mut message = format!("the server answered {status}");
        if status.is_redirection() {
            let to = location.and_then(|l| self.connection.address.join(&l).ok()).map(|u| redacted(u.as_str()));
            let to = self.connection.clean(&to.unwrap_or_else(|| "another address".into()));
            message = format!("{message}: it points to {to}, which is not followed; change the address if it is right");
        } else if !shown.is_empty() {
            message = format!("{message}: {shown}");
        }
        if status == StatusCode::UNAUTHORIZED {
            message = format!("{message}; {}", self.connection.key_advice());
        }
        if status == StatusCode::NOT_FOUND && !self.connection.address.path().contains("/v1/") {
            message.push_str("; is `/v1` missing at the end of the address?");
        }
        let after = after.and_then(|header| retry_after(&header));
        let body = serde_json::from_slice(&body).unwrap_or_default();
        self.refusal(Some(status), &body, &server_message, message, after)
    }

    /// The error for a response that has a success status but whose body, or a later chunk of whose stream, reports an
    /// error.
    fn error_in_reply(&self, body: &Value) -> ChatError {
        let code = body.pointer("/error/code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let status = code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.filter(|status| status.is_client_error() || status.is_server_error());
        let server_message = wire::error_message(body.to_string().as_bytes());
        let message = format!("the server reported an error in its answer: {}", self.connection.clean(&server_message));
        self.refusal(status, body, &server_message, message, None)
    }

    /// Classifies an error that the server reports. `status` is the response's status, or the one that an error in a
    /// streamed reply names (`None` if it names none), `body` is the JSON with the error, `server_message` the message
    /// in the JSON, `message` the text for the user, and `after` the pause for which the server asks.
    fn refusal(
        &self,
        status: Option<StatusCode>,
        body: &Value,
        server_message: &str,
        message: String,
        after: Option<Duration>,
    ) -> ChatError {
        let connection = self.connection;
        if let Some(refusal) = context_refusal(status, body, server_message) {
            let ContextRefusal { prompt_tokens, context } = refusal;
            let advice = "give the server a longer context, or shorten the prompt";
            let message = format!("{}: {message}; {advice}", redacted(connection.address.as_str()));
            return ChatError::TooLong { refusal, error: LlmError::ContextTooLong { message, prompt_tokens, context } };
        }
        if matches!(status, Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)) {
            connection.overloaded(self.round);
        }
        if status.is_none_or(http::is_retryable) {
            return ChatError::Failed(AttemptError::Retry { message, after });
        }
        let error = connection.failed(format!("{message} ({})", tried(self.number)));
        let is_about_request = matches!(status, Some(StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY));
        match refused_parameter(body, server_message, self.body).filter(|_| is_about_request) {
            Some(parameter) => ChatError::Refused { parameter, error },
            None => ChatError::Failed(AttemptError::Fatal(error)),
        }
    }

    /// The error when the first token did not come in time, or the complete answer of a server that does not stream;
    /// `what` names the missing thing. The server counts as overloaded, because a server with too many chats lets them
    /// wait.
    fn no_first_token(&self, what: &str) -> ChatError {
        self.connection.overloaded(self.round);
        let limit = seconds(self.connection.settings.first_token);
        retry(format!("the server sent no {what} within {limit}; raise `rewards.llm.first_token` if it needs longer"))
    }

    /// The error when the first or the next token did not come in time.
    fn too_slow(&self, reading: &StreamReading<'_>) -> ChatError {
        if reading.first.is_none() {
            return self.no_first_token("token");
        }
        let (limit, after) = (seconds(self.connection.settings.next_token), count(&reading.reply));
        retry(format!(
            "the server sent nothing more within {limit} after {after}; raise `rewards.llm.next_token` if it needs longer"
        ))
    }

    /// The error when the connection was closed before the reply was complete.
    fn cut_short(&self, reply: &StreamedReply, error: Option<reqwest::Error>) -> ChatError {
        let why = error.map(|e| format!(": {}", self.connection.clean(&http::error_chain(e)))).unwrap_or_default();
        retry(format!("the server closed the connection in mid-answer after {}{why}", count(reply)))
    }

    /// The error when the connection fails.
    fn broken(&self, error: reqwest::Error) -> ChatError {
        retry(self.connection.clean(&http::error_chain(error)))
    }

    /// The error for a response that does not follow the protocol.
    fn invalid(&self, why: &str) -> ChatError {
        ChatError::Failed(AttemptError::Fatal(LlmError::Reply(self.connection.clean(why))))
    }
}

/// A failure after which another try may succeed.
fn retry(message: String) -> ChatError {
    ChatError::Failed(AttemptError::retry(message))
}

/// The number of tokens of a reply in words.
fn count(reply: &StreamedReply) -> String {
    let tokens = reply.tokens();
    if tokens == 1 { "1 token".into() } else { format!("{tokens} tokens") }
}

fn too_large() -> String {
    format!("it is longer than {} MiB", MAX_BYTES >> 20)
}

/// Whether a body or a chunk reports an error.
fn has_error(body: &Value) -> bool {
    body.get("error").is_some_and(|error| !error.is_null())
}

/// The value of a header; `None` if the response has no such header or the value is not ASCII.
fn header(response: &Response, name: HeaderName) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}
