//! Errors of this crate: each names what failed and what to do about it.

use std::path::{Path, PathBuf};

use crate::memory::MemoryPlan;

/// Errors of loading, saving and running models.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A model file that is damaged, inconsistent or of an unsupported kind.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A tensor that is missing, unexpected, not finite, or of the wrong shape or type.
    #[error("{}: tensor `{tensor}`: {message}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// What is wrong with it.
        message: String,
    },
    /// A reward model where a language model is required, or the other way round.
    #[error("{}: {message}", path.display())]
    WrongHead {
        /// The model.
        path: PathBuf,
        /// What the model is, and the command that runs it.
        message: &'static str,
    },
    /// A configuration of a model without weights that is not supported.
    #[error("{0}")]
    Config(String),
    /// A configuration of a classifier or an encoder where a policy is required.
    #[error("a policy must be a language model")]
    NotALanguageModel,
    /// A LoRA adapter that does not fit the model.
    #[error("{0}")]
    Adapter(String),
    /// An adapter for a model that has one already.
    #[error("this policy has an adapter already; merge it first with `rlar convert`, or train on without `model.lora`")]
    AdapterPresent,
    /// Text that could not be turned into tokens, or a conversation into text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A model that could not be written.
    #[error("{format}: {message}")]
    Serialise {
        /// The format of the file.
        format: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A device name that is not known.
    #[error("device `{name}` is not one of: cpu, cuda:0, cuda:1 …, auto")]
    UnknownDevice {
        /// The name.
        name: String,
    },
    /// A GPU that this build or this machine cannot use.
    #[error("device `cuda:{index}` needs {missing}; use device `cpu`")]
    NoGpu {
        /// Number of the GPU.
        index: usize,
        /// What is missing.
        missing: &'static str,
    },
    /// bfloat16 on the CPU.
    #[error("precision `bf16` is for GPUs; use `f32` on the CPU")]
    Bf16OnCpu,
    /// Batch-invariant sampling on a GPU.
    #[error("tokens that do not depend on the batch need the device `cpu`")]
    BatchInvariantOnGpu,
    /// Sampling settings that are impossible.
    #[error("{0}")]
    Sampling(String),
    /// A prompt that is empty or leaves the model no room for a reply.
    #[error("a prompt has {tokens} tokens; the model has room for 1 to {most}")]
    PromptLength {
        /// Tokens of the prompt.
        tokens: usize,
        /// Most tokens that a prompt of this model may have.
        most: usize,
    },
    /// An input of a reward model that is empty or too long.
    #[error("input {index} has {tokens} tokens; the model reads 1 to {most}")]
    InputLength {
        /// Index among the inputs, from 0.
        index: usize,
        /// Tokens of the input.
        tokens: usize,
        /// Most tokens that the model reads.
        most: usize,
    },
    /// A conversation without turns.
    #[error("an empty conversation has no score")]
    EmptyConversation,
    /// Generation that does not fit the machine's memory.
    #[error(
        "{0}: not enough; sample fewer sequences at a time, shorten prompts or `max_tokens`, or use a smaller model"
    )]
    Memory(MemoryPlan),
    /// Logits that are not finite.
    #[error("the model's logits are not finite: its weights are damaged or training diverged")]
    LogitsNotFinite,
    /// A reward that is not finite.
    #[error("the score of input {index} is {value}: the model's weights are damaged")]
    ScoreNotFinite {
        /// Index among the inputs, from 0.
        index: usize,
        /// The reward.
        value: f32,
    },
    /// A request that the callers of this crate refuse on behalf of a model.
    #[error("{0}")]
    Request(String),
}

impl PolicyError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn tensor(path: &Path, tensor: &str, message: impl Into<String>) -> Self {
        Self::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), message: message.into() }
    }
}
