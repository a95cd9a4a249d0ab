//! Errors of this crate. Each message says what failed and, where possible, what the user can do about it.

use std::path::{Path, PathBuf};

use crate::memory::MemoryPlan;

/// Errors of loading, saving and running models.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file or folder that could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Path of the file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A file or folder of a model that is damaged, inconsistent or of an unsupported kind.
    #[error("{}: {message}", path.display())]
    File {
        /// Path of the file or folder.
        path: PathBuf,
        /// What is wrong with the file and what the user can do about it.
        message: String,
    },
    /// A tensor that is missing from a model's files or not expected in them, that has the wrong shape or type, or that
    /// holds a number that is not finite.
    #[error("{}: tensor `{tensor}`: {message}", path.display())]
    Tensor {
        /// Path of the file with the tensor, or of the model's folder.
        path: PathBuf,
        /// Name of the tensor in the file.
        tensor: String,
        /// What is wrong with the tensor.
        message: String,
    },
    /// A reward model where a language model is required, or a language model where a reward model is required.
    #[error("{}: {message}", path.display())]
    WrongHead {
        /// Path of the model.
        path: PathBuf,
        /// What kind of model it is, and the `rlar` command that runs this kind.
        message: &'static str,
    },
    /// A reward model cannot be made from a policy, because its configuration would not be supported. The text says
    /// why.
    #[error("{0}")]
    Config(String),
    /// A classifier or an encoder where a policy (a causal language model) is required.
    #[error("a policy must be a language model")]
    NotALanguageModel,
    /// A LoRA adapter that does not fit the model, or whose settings are impossible. The text says why.
    #[error("{0}")]
    Adapter(String),
    /// An attempt to add a LoRA adapter to a model that already has one.
    #[error("this policy has an adapter already; merge it first with `rlar convert`, or train on without `model.lora`")]
    AdapterPresent,
    /// An error of the tokenizer or of the chat template: a text could not be turned into tokens, tokens into a text,
    /// or a conversation into a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A model whose files could not be made, so that it was not saved.
    #[error("{format}: {message}")]
    Serialise {
        /// Format of the file that could not be made, such as `safetensors`.
        format: &'static str,
        /// Why the file could not be made.
        message: String,
    },
    /// A device name other than `cpu`, `cuda:N` and `auto`.
    #[error("device `{name}` is not one of: cpu, cuda:0, cuda:1 …, auto")]
    UnknownDevice {
        /// The device name that is not known.
        name: String,
    },
    /// A GPU that cannot be used, because this build has no GPU support or this machine has no driver.
    #[error("device `cuda:{index}` needs {missing}; use device `cpu`")]
    NoGpu {
        /// Number of the GPU, from 0.
        index: usize,
        /// What is missing: an NVIDIA driver, or a build with GPU support.
        missing: &'static str,
    },
    /// Precision bfloat16 was asked for on a processor without instructions for it.
    #[error("precision `bf16` needs a GPU or a processor with AVX512-BF16, which this one lacks; use `f32`")]
    NoBf16,
    /// A sampling setting with an impossible value. The text names the setting.
    #[error("{0}")]
    Sampling(String),
    /// A prompt that is empty, or so long that the model has no room for a reply.
    #[error("a prompt has {tokens} tokens; the model has room for 1 to {most}")]
    PromptLength {
        /// Number of tokens of the prompt.
        tokens: usize,
        /// Largest number of tokens that a prompt of this model may have.
        most: usize,
    },
    /// An input of a reward model that is empty or longer than the model's longest sequence.
    #[error("input {index} has {tokens} tokens; the model reads 1 to {most}")]
    InputLength {
        /// Index of the input among all inputs of the call, from 0.
        index: usize,
        /// Number of tokens of the input.
        tokens: usize,
        /// Largest number of tokens that the model reads.
        most: usize,
    },
    /// A conversation without turns, which a reward model cannot score.
    #[error("a reward model cannot score a conversation without turns")]
    EmptyConversation,
    /// Generation that would need more memory than the machine has. The plan says how much each part needs.
    #[error(
        "{0}: not enough; sample fewer sequences at a time, shorten prompts or `max_tokens`, or use a smaller model"
    )]
    Memory(MemoryPlan),
    /// A logit that is NaN or infinite, so that no token can be sampled.
    #[error("the model's logits are not finite: its weights are damaged or training diverged")]
    LogitsNotFinite,
    /// A reward model's score that is NaN or infinite.
    #[error("the score of input {index} is {value}: the model's weights are damaged")]
    ScoreNotFinite {
        /// Index of the scored input among all inputs of the call, from 0.
        index: usize,
        /// The score: NaN or an infinity.
        value: f32,
    },
    /// A request that a crate which uses this one refuses, such as training an encoder. The text says why.
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
