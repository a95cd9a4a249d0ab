//! Tokenizers: from text to token ids and back, and from conversations to text.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper};

use crate::chat::{ChatTemplate, Conversation, Rendered, Turn};
use crate::error::PolicyError;
use crate::gguf::Gguf;
use crate::pre_tokenizer::digits_then_bytes;
use crate::vocabulary;

/// The chat template that tokenizers trained by rlar have.
const TRAINED_TEMPLATE: &str = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}\
                            {% if add_generation_prompt %}<|assistant|>{% endif %}";
/// The special tokens that tokenizers trained by rlar have; the first one ends a turn.
const TRAINED_SPECIALS: [&str; 4] = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"];

/// A model's tokenizer, with its chat template and the tokens that end a reply.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    eos: Vec<u32>,
    template: Option<ChatTemplate>,
    /// Special tokens: the name in `tokenizer_config.json`, such as `eos_token`, and the token's text.
    tokens: Vec<(String, String)>,
    /// Number of rows of the model's token embedding. A text that gives a token id from this number on is an error.
    limit: u32,
    /// Whether the tokens of the second text of a pair have segment (`token_type_ids`) 1 instead of 0.
    segments: bool,
}

/// Runs code that may panic on an inconsistent tokenizer file, and turns the panic into an error.
fn guarded<T>(f: impl FnOnce() -> Result<T, PolicyError>) -> Result<T, PolicyError> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    result.unwrap_or_else(|_| Err(wrong("the tokenizer.json is inconsistent: fetch the file again")))
}

fn wrong(e: impl std::fmt::Display) -> PolicyError {
    PolicyError::Tokenizer(e.to_string())
}

impl Tokenizer {
    /// Trains a byte-level BPE on `texts`, in which every digit is a token of its own. The tokenizer gets a chat
    /// template.
    pub fn train<'a>(texts: impl IntoIterator<Item = &'a str>, vocab_size: usize) -> Result<Self, PolicyError> {
        let specials: Vec<AddedToken> = TRAINED_SPECIALS.iter().map(|s| AddedToken::from(*s, true)).collect();
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .show_progress(false)
            .special_tokens(specials)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut inner = tokenizers::Tokenizer::new(ModelWrapper::BPE(BPE::default()));
        inner.with_pre_tokenizer(Some(digits_then_bytes()));
        inner.with_decoder(Some(DecoderWrapper::ByteLevel(ByteLevel::default())));
        let texts: Vec<&str> = texts.into_iter().collect();
        let mut model = tokenizers::models::TrainerWrapper::from(trainer);
        inner.train(&mut model, texts.into_iter()).map_err(wrong)?;
        let eos = inner
            .token_to_id(TRAINED_SPECIALS[0])
            .ok_or_else(|| wrong("the trained vocabulary lacks the end token"))?;
        let tokens = vec![("eos_token".to_owned(), TRAINED_SPECIALS[0].to_owned())];
        Ok(Self::assemble(inner, vec![eos], Some(TRAINED_TEMPLATE.into()), tokens))
    }

    /// Loads the tokenizer of a Hugging Face folder: `tokenizer.json` and, where present, the chat template, special
    /// tokens and end tokens that `chat_template.jinja` and the other JSON files of the folder hold. `vocab_size` is
    /// the number of rows of the model's embedding.
    pub fn load(folder: &Path, vocab_size: usize) -> Result<Self, PolicyError> {
        let path = folder.join("tokenizer.json");
        if !path.exists() {
            return Err(PolicyError::file(
                &path,
                "is missing; a model folder needs config.json, tokenizer.json and safetensors",
            ));
        }
        let text = std::fs::read_to_string(&path).map_err(PolicyError::io(&path))?;
        let parsed = guarded(|| text.parse::<tokenizers::Tokenizer>().map_err(wrong));
        let mut inner = parsed.map_err(|e| PolicyError::file(&path, format!("not a tokenizer: {e}")))?;
        // The file's settings of truncation and padding are ignored, as in `transformers`.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(wrong)?;
        let json = |name: &str| -> Result<serde_json::Value, PolicyError> {
            let path = folder.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => serde_json::from_str(&text).map_err(|e| PolicyError::file(&path, format!("not JSON: {e}"))),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(serde_json::Value::Null),
                Err(e) => Err(PolicyError::io(&path)(e)),
            }
        };
        let (config, map) = (json("tokenizer_config.json")?, json("special_tokens_map.json")?);
        let (generation, model) = (json("generation_config.json")?, json("config.json")?);
        let text = |v: &serde_json::Value| v.as_str().or_else(|| v["content"].as_str()).map(str::to_owned);
        let named = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
        let token = |name: &&str| Some(((*name).to_owned(), text(&config[*name]).or_else(|| text(&map[*name]))?));
        let tokens: Vec<(String, String)> = named.iter().filter_map(token).collect();
        let end_token = tokens.iter().find(|(name, _)| name == "eos_token").and_then(|(_, t)| inner.token_to_id(t));
        let mut eos: Vec<u32> = end_token.into_iter().collect();
        for ids in [&generation["eos_token_id"], &model["eos_token_id"]] {
            let listed = ids.as_array().map_or(std::slice::from_ref(ids), Vec::as_slice);
            eos.extend(listed.iter().filter_map(serde_json::Value::as_u64).filter_map(|id| u32::try_from(id).ok()));
        }
        // The tokenizer's own end token stays first, because plain demonstrations end with the first one.
        let mut seen = std::collections::BTreeSet::new();
        eos.retain(|id| seen.insert(*id));
        let file = folder.join("chat_template.jinja");
        let template = match std::fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(PolicyError::io(&file)(e)),
        };
        // Some models have several templates; the one for plain chats is named `default`.
        let listed = config["chat_template"].as_array().and_then(|list| list.iter().find(|t| t["name"] == "default"));
        let template = template
            .or_else(|| config["chat_template"].as_str().map(str::to_owned))
            .or_else(|| listed.and_then(|t| t["template"].as_str()).map(str::to_owned));
        // Tokenizer classes of a single model, such as BERT's, give segments. The general class gives them only where
        // `model_input_names` lists them.
        let general = config["tokenizer_class"]
            .as_str()
            .is_some_and(|class| class.starts_with("PreTrainedTokenizer") || class == "TokenizersBackend");
        let segments = match config["model_input_names"].as_array() {
            Some(names) => names.iter().any(|name| name == "token_type_ids"),
            None => !general,
        };
        let tokenizer = Self { segments, ..Self::assemble(inner, eos, template, tokens) };
        tokenizer.checked(&path, vocab_size)
    }

    /// Makes the tokenizer that a GGUF file's metadata describes. `path` is the path of the file, for errors.
    pub fn from_gguf(path: &Path, gguf: &Gguf) -> Result<Self, PolicyError> {
        let vocabulary::GgufTokenizer { inner, eos, tokens } = vocabulary::rebuild(path, gguf)?;
        let template = gguf.text("tokenizer.chat_template").ok().map(str::to_owned);
        Self::assemble(inner, eos, template, tokens).checked(path, gguf.texts("tokenizer.ggml.tokens")?.len())
    }

    fn assemble(
        inner: tokenizers::Tokenizer,
        eos: Vec<u32>,
        template: Option<String>,
        tokens: Vec<(String, String)>,
    ) -> Self {
        let template = template.map(|source| ChatTemplate { source, tokens: tokens.clone(), today: None });
        Self { inner: Arc::new(inner), eos, template, tokens, limit: u32::MAX, segments: false }
    }

    /// The tokens that were added to the vocabulary beside the words that the tokenizer learned, as special tokens are: ids and
    /// texts.
    pub fn added_tokens(&self) -> Vec<(u32, String)> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        added.iter().map(|(id, token)| (*id, token.content.clone())).collect()
    }

    /// Whether a token was added to the vocabulary beside the words that the tokenizer learned, as special tokens are.
    pub(crate) fn is_added(&self, id: u32) -> bool {
        self.inner.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id)
    }

    /// Whether a text is a special token, which decoding leaves out.
    pub(crate) fn is_special(&self, text: &str) -> bool {
        self.inner.get_added_vocabulary().is_special_token(text)
    }

    /// Checks that the tokenizer fits a model whose vocabulary has `vocab_size` tokens, and adds the token that ends a
    /// turn in the chat template to the end tokens. A larger vocabulary, or an end token outside the model's
    /// vocabulary, is an error that names the file `path`. Added tokens beyond the model's vocabulary are accepted
    /// (Gemma 3 has one for images), but encoding a text that holds one is an error.
    fn checked(mut self, path: &Path, vocab_size: usize) -> Result<Self, PolicyError> {
        let size = self.inner.get_vocab(false).into_values().max().map_or(0, |id| id as usize + 1);
        if size > vocab_size {
            let message = format!(
                "has token ids up to {} but the model's vocabulary holds {vocab_size}; this tokenizer belongs to another model",
                size - 1
            );
            return Err(PolicyError::file(path, message));
        }
        if let Some(id) = self.eos.iter().find(|id| **id as usize >= vocab_size) {
            return Err(PolicyError::file(
                path,
                format!("end token {id} is outside the vocabulary of {vocab_size} tokens"),
            ));
        }
        self.limit = u32::try_from(vocab_size).unwrap_or(u32::MAX);
        // A reply in the form of the template ends with the token that ends a turn there, whatever other files say.
        let ends_turn = self.turn_end().and_then(|end| end.token);
        self.also_ends(ends_turn.as_slice());
        Ok(self)
    }

    pub(crate) fn encoding<'s>(
        &self,
        text: impl Into<tokenizers::EncodeInput<'s>> + Send,
        special: bool,
    ) -> Result<tokenizers::Encoding, PolicyError> {
        let encoding = guarded(|| self.inner.encode(text, special).map_err(wrong))?;
        match encoding.get_ids().iter().find(|id| **id >= self.limit) {
            Some(id) => {
                Err(wrong(format!("the text has token {id}, but the model's vocabulary has {} tokens", self.limit)))
            }
            None => Ok(encoding),
        }
    }

    /// Turns a text into token ids, with the special tokens that the tokenizer adds around a text, such as BOS.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>, PolicyError> {
        Ok(self.encoding(text, true)?.get_ids().to_vec())
    }

    /// Turns a text into token ids. Special tokens written in the text are recognised, but none are added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, PolicyError> {
        Ok(self.encoding(text, false)?.get_ids().to_vec())
    }

    /// Turns a pair of texts into token ids and the segment of each token, with the special tokens that the tokenizer
    /// adds.
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<(Vec<u32>, Vec<u32>), PolicyError> {
        let encoding = self.encoding((first, second), true)?;
        let segments = if self.segments { encoding.get_type_ids().to_vec() } else { vec![0; encoding.len()] };
        Ok((encoding.get_ids().to_vec(), segments))
    }

    /// Turns token ids into a text. Special tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, PolicyError> {
        guarded(|| self.inner.decode(ids, true).map_err(wrong))
    }

    /// Adds tokens to those that end a reply.
    pub(crate) fn also_ends(&mut self, more: &[u32]) {
        let new: Vec<u32> = more.iter().copied().filter(|id| !self.eos.contains(id)).collect();
        self.eos.extend(new);
    }

    /// Replaces the tokens that end a reply.
    pub fn set_eos(&mut self, eos: Vec<u32>) {
        self.eos = eos;
    }

    /// Fixes the current time that the chat template sees, given in seconds of local time since 1970. So prompts with
    /// today's date do not change during a run of several days.
    pub fn pin_today(&mut self, seconds: i64) {
        if let Some(template) = &mut self.template {
            template.today = chrono::DateTime::from_timestamp(seconds, 0).map(|t| t.naive_utc());
        }
    }

    /// Ids of the tokens that end a reply. In supervised training without a chat template, replies end with the first
    /// of them.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Number of tokens of the vocabulary, including special tokens.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether the tokenizer has a chat template.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Turns a conversation into text with the chat template. With `generation`, the text ends with the header of the
    /// reply that the model is to write. Without a chat template this is an error.
    pub fn chat(&self, turns: &[Turn], generation: bool) -> Result<String, PolicyError> {
        Ok(self.render(&Conversation::new(turns, generation))?.text)
    }

    /// Turns a conversation into text with the chat template, and finds the replies that the template marks. Without a
    /// chat template this is an error.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, PolicyError> {
        let template = self.template.as_ref();
        template.ok_or_else(|| wrong("this model has no chat template; use plain prompts"))?.render(conversation)
    }

    /// The token ids of a conversation, and for each token whether it belongs to a reply of the model: the loss mask
    /// for training on several turns. Where the template has no `{% generation %}` marks, a reply is the text that the
    /// template writes for an `assistant` turn after the turn's header, up to and including the token that ends the
    /// turn.
    pub fn masked(&self, conversation: &Conversation) -> Result<(Vec<u32>, Vec<bool>), PolicyError> {
        let whole = self.render(conversation)?;
        let spans = if self.template.as_ref().is_some_and(ChatTemplate::marks_replies) {
            whole.assistant
        } else {
            self.replies(conversation, &whole.text)?
        };
        let encoding = self.encoding(whole.text.as_str(), false)?;
        let in_reply = |(a, b): &(usize, usize)| spans.iter().any(|s| *a < s.end && *b > s.start);
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().iter().map(in_reply).collect()))
    }

    /// Byte ranges of the model's replies in `whole`, the text of the conversation.
    fn replies(&self, conversation: &Conversation, whole: &str) -> Result<Vec<Range<usize>>, PolicyError> {
        let up_to = |n: usize, generation: bool| -> Result<String, PolicyError> {
            let messages = conversation.messages[..n].to_vec();
            Ok(self.render(&Conversation { messages, generation, ..conversation.clone() })?.text)
        };
        let end = self.turn_end().filter(|end| end.token.is_some());
        let mut spans = Vec::new();
        for (i, message) in conversation.messages.iter().enumerate() {
            if message["role"] != "assistant" {
                continue;
            }
            let (before, after) = (up_to(i, true)?, up_to(i + 1, false)?);
            if !after.starts_with(&before) || !whole.starts_with(&after) {
                let message = "the chat template changes earlier turns when later ones follow; training on several \
                               turns needs `{% generation %}` marks in the template";
                return Err(wrong(message));
            }
            // What follows the end of the turn, such as a line break, is never generated.
            let turn = &after[before.len()..];
            let ended = end.as_ref().and_then(|end| Some(turn.rfind(&end.text)? + end.text.len()));
            spans.push(before.len()..before.len() + ended.unwrap_or(turn.len()));
        }
        Ok(spans)
    }

    /// The texts of the files `tokenizer.json` and `tokenizer_config.json`, with their names.
    pub fn files(&self) -> Result<[(&'static str, String); 2], PolicyError> {
        let mut config = serde_json::json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
        for (name, token) in &self.tokens {
            config[name] = token.clone().into();
        }
        if self.segments {
            config["model_input_names"] = serde_json::json!(["input_ids", "token_type_ids", "attention_mask"]);
        }
        if let Some(template) = &self.template {
            config["chat_template"] = template.source.clone().into();
        }
        Ok([
            ("tokenizer.json", self.inner.to_string(true).map_err(wrong)?),
            ("tokenizer_config.json", format!("{config:#}")),
        ])
    }
}

/// The text of a sequence of tokens that grows token by token. Only whole characters are added to it.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    tokens: Vec<u32>,
    /// Index of the first token of the window that is decoded again with every new token. A window is needed because
    /// some tokenizers decode a token differently at the start of a text.
    window: usize,
    /// Index of the first token whose text was not added to `text` yet.
    pending: usize,
    text: String,
}

impl TextStream {
    /// The text so far, without an incomplete last character.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Adds a token. Its text is added once its last character is complete, which may take further tokens.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Result<(), PolicyError> {
        self.tokens.push(token);
        self.flush(tokenizer, false)
    }

    /// Ends the text: what is left of an incomplete last character is added.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<(), PolicyError> {
        self.flush(tokenizer, true)
    }

    fn flush(&mut self, tokenizer: &Tokenizer, last: bool) -> Result<(), PolicyError> {
        let old = tokenizer.decode(&self.tokens[self.window..self.pending])?;
        let new = tokenizer.decode(&self.tokens[self.window..])?;
        if new.len() > old.len() && (last || !new.ends_with('\u{fffd}')) {
            self.text.push_str(new.get(old.len()..).unwrap_or(""));
            self.window = self.pending;
            self.pending = self.tokens.len();
        }
        Ok(())
    }
}
