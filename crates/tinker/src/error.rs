//! The error type of the crate.

use crate::pending::ServerQueue;

/// Why a call of the Tinker API failed. Every message names the address, the call and what to do next. None contains the
/// key.
#[derive(Debug, thiserror::Error)]
pub enum TinkerError {
    /// The settings cannot be used.
    #[error("{url}: {message}")]
    Settings {
        /// The address in the settings, without secrets.
        url: String,
        /// What is wrong, and what to write instead.
        message: String,
    },
    /// No answer came, after all tries.
    #[error("{url}: {call}: no answer: {message}. Is the server running, and is this its address?")]
    Unreachable {
        /// The address of the request.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// What went wrong last, with the number of tries.
        message: String,
    },
    /// The server refuses the key: status 401 or 403.
    #[error("{url}: {call}: the server refuses {key} (status {status}). Set the key of an account that may train here")]
    KeyRefused {
        /// The address of the request.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// Which key: its environment variable, or that there is none.
        key: String,
    },
    /// What answers is not a Tinker server, or one of a version that this client does not speak.
    #[error(
        "{url}: {call}: {message}. This client speaks the Tinker API as SkyRL 0.3 and 0.4 do, in JSON and in protobuf: check \
             the address and the server's version"
    )]
    WrongVersion {
        /// The address of the request.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// How the answer differs.
        message: String,
    },
    /// The server trains another model.
    #[error(
        "{url}: the server does not offer the model `{model}`; it offers {offered}. Name one of these, or start the \
             server with `--base-model {model}`"
    )]
    WrongModel {
        /// The server's address.
        url: String,
        /// The model that was asked for.
        model: String,
        /// The models that the server offers, for people.
        offered: String,
    },
    /// The server cannot create the model, for example because the rank is above its limit.
    #[error(
        "{url}: create_model: the server refuses `{model}` with LoRA rank {rank}: {message}. Lower the rank, or start \
             the server with higher limits (SkyRL: `max_lora_rank`, `max_lora_adapters` in `--backend-config`)"
    )]
    ModelRefused {
        /// The server's address.
        url: String,
        /// The base model.
        model: String,
        /// The LoRA rank that was asked for.
        rank: u32,
        /// The server's reason.
        message: String,
    },
    /// The server refuses a request.
    #[error("{url}: {call}: the server answered {status}: {message}")]
    Refused {
        /// The address of the request.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// The HTTP status.
        status: u16,
        /// The server's reason.
        message: String,
    },
    /// A request that changes the training state may have been taken or not, and the server would not recognise it if it
    /// were sent again.
    #[error(
        "{url}: {call}: the server may have taken this request or not: {message}. It was not sent again, because this \
             server does not recognise repeated requests. Create a new model from the last checkpoint and repeat the step"
    )]
    Unacknowledged {
        /// The address of the request.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// What went wrong.
        message: String,
    },
    /// An earlier request of this model was not acknowledged, so its weights or gradients are unknown.
    #[error(
        "{url}: {call}: the state of model {model} is unknown since its request {since} was not acknowledged. Create a \
             new model from the last checkpoint and repeat the step"
    )]
    Uncertain {
        /// The server's address.
        url: String,
        /// The call that was refused here.
        call: &'static str,
        /// The model's id.
        model: String,
        /// The call that was not acknowledged.
        since: &'static str,
    },
    /// The server worked on the request, and the work failed.
    #[error(
        "{url}: {call}: the server could not do request {request_id}: {message}. If the server was restarted, create a \
             new model from the last checkpoint"
    )]
    Failed {
        /// The server's address.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// The server's name of the request.
        request_id: String,
        /// The server's reason.
        message: String,
    },
    /// The server does not know the request, or no longer.
    #[error(
        "{url}: {call}: the server does not know request {request_id} (any more; status {status}). It was restarted or \
             the result expired: create a new model from the last checkpoint and repeat the step"
    )]
    Expired {
        /// The server's address.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// The server's name of the request.
        request_id: String,
        /// The HTTP status.
        status: u16,
    },
    /// The result did not come in time.
    #[error(
        "{url}: {call}: request {request_id} has no result after {seconds} s ({queue}). Wait again, or give \
             `deadlines.result` more time"
    )]
    TimedOut {
        /// The server's address.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// The server's name of the request.
        request_id: String,
        /// The deadline, in seconds.
        seconds: u64,
        /// What the server last said about its queue.
        queue: ServerQueue,
    },
    /// An answer is not what the protocol says.
    #[error("{url}: {call}: the answer cannot be read: {message}")]
    Malformed {
        /// The server's address.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// What is wrong with the answer, and where.
        message: String,
    },
    /// A result has more or fewer values than the request has tokens or data.
    #[error(
        "{url}: {call}: {what}: {received} instead of {expected}. The result is not used: server and client disagree on \
             the protocol, so check the server's version"
    )]
    WrongLength {
        /// The server's address.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// What was counted, such as `log-probs of datum 3`.
        what: String,
        /// How many came.
        received: usize,
        /// How many belong there.
        expected: usize,
    },
    /// A result contains NaN or an infinite value.
    #[error(
        "{url}: {call}: {what} is not a finite number. The result is not used: look for a learning rate that is too \
             high, or for log-probs and advantages that are too large, and go back to the last checkpoint"
    )]
    NotFinite {
        /// The server's address.
        url: String,
        /// The call's name in the API.
        call: &'static str,
        /// Which value, such as `log-prob 7 of datum 3`.
        what: String,
    },
    /// The session has ended on the server, so its models are gone or will be.
    #[error(
        "{url}: session {session} is lost: {message}. Create a new session, and its model from the last checkpoint"
    )]
    SessionLost {
        /// The server's address.
        url: String,
        /// The session's id.
        session: String,
        /// How that is known.
        message: String,
    },
    /// The weights that a sampler samples from are no longer those of its model.
    #[error(
        "{url}: asample: the sampler has the weights of step {sampler}, and the model is at step {model}. Make a new \
             sampler: SkyRL's JAX backend would put the old weights back into the model"
    )]
    StaleSampler {
        /// The server's address.
        url: String,
        /// The step count of the sampler's weights.
        sampler: u64,
        /// The step count of the model.
        model: u64,
    },
    /// A datum cannot be sent.
    #[error("datum {index}: {message}")]
    BadDatum {
        /// Its place among the data, from 0.
        index: usize,
        /// What is wrong.
        message: String,
    },
    /// A name or a path of a checkpoint cannot be used.
    #[error("checkpoint `{name}`: {message}")]
    BadCheckpoint {
        /// The name or path.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The archive with the adapter cannot be read.
    #[error(
        "{url}: the archive is not a PEFT adapter: {message}. Save the weights for the sampler again under a new name"
    )]
    BadArchive {
        /// The address of the archive.
        url: String,
        /// What is wrong.
        message: String,
    },
}
