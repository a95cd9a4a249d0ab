//! Text to tokens and back, and chats to tokens.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper};

use crate::chat::{ChatTemplate, Conversation, Rendered, Turn};
use crate::error::PolicyError;
use crate::gguf::Gguf;
use crate::vocabulary::{self, digits_then_bytes};

/// The chat template of models that rlar starts from nothing.
const OWN_TEMPLATE: &str = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}\
                            {% if add_generation_prompt %}<|assistant|>{% endif %}";
const OWN_SPECIALS: [&str; 4] = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"];

/// A tokenizer with the conventions of its model.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    eos: Vec<u32>,
    template: Option<ChatTemplate>,
    /// `bos_token`, `eos_token` and their like, as the model's files name them.
    tokens: Vec<(String, String)>,
    /// Rows of the model's embedding: no text may give an id beyond them.
    limit: u32,
    /// Whether the second text of a pair has another segment than the first.
    segments: bool,
}

/// Runs what a tokenizer file decides: a damaged one must not end the program.
fn guarded<T>(f: impl FnOnce() -> Result<T, PolicyError>) -> Result<T, PolicyError> {
    let quiet = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    quiet.unwrap_or_else(|_| Err(wrong("its tokenizer.json contradicts itself: fetch the file again")))
}

fn wrong(e: impl std::fmt::Display) -> PolicyError {
    PolicyError::Tokenizer(e.to_string())
}

impl Tokenizer {
    /// Trains a byte-level BPE with single digits on `texts`; rlar's own chat template comes with it.
    pub fn train<'a>(texts: impl IntoIterator<Item = &'a str>, vocab_size: usize) -> Result<Self, PolicyError> {
        let specials: Vec<AddedToken> = OWN_SPECIALS.iter().map(|s| AddedToken::from(*s, true)).collect();
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
        let eos = inner.token_to_id(OWN_SPECIALS[0]).ok_or_else(|| wrong("training lost the end token"))?;
        let tokens = vec![("eos_token".to_owned(), OWN_SPECIALS[0].to_owned())];
        Ok(Self::assemble(inner, vec![eos], Some(OWN_TEMPLATE.into()), tokens))
    }

    /// Reads `tokenizer.json` and, where present, `tokenizer_config.json`, `generation_config.json` and
    /// `chat_template.jinja` of a Hugging Face folder.
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
        // What a file was once cut and padded to is nobody's wish here; `transformers` ignores both, too.
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
        let (own, map) = (json("tokenizer_config.json")?, json("special_tokens_map.json")?);
        let (generation, model) = (json("generation_config.json")?, json("config.json")?);
        let text = |v: &serde_json::Value| v.as_str().or_else(|| v["content"].as_str()).map(str::to_owned);
        let named = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
        let token = |name: &&str| Some(((*name).to_owned(), text(&own[*name]).or_else(|| text(&map[*name]))?));
        let tokens: Vec<(String, String)> = named.iter().filter_map(token).collect();
        let own_end = tokens.iter().find(|(name, _)| name == "eos_token").and_then(|(_, t)| inner.token_to_id(t));
        let mut eos: Vec<u32> = own_end.into_iter().collect();
        for ids in [&generation["eos_token_id"], &model["eos_token_id"]] {
            let listed = ids.as_array().map_or(std::slice::from_ref(ids), Vec::as_slice);
            eos.extend(listed.iter().filter_map(serde_json::Value::as_u64).filter_map(|id| u32::try_from(id).ok()));
        }
        // The tokenizer's own end token stays first: it is the one that demonstrations end with.
        let mut seen = std::collections::BTreeSet::new();
        eos.retain(|id| seen.insert(*id));
        let file = folder.join("chat_template.jinja");
        let template = match std::fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(PolicyError::io(&file)(e)),
        };
        // Some models name several templates; the one for plain chats is `default`.
        let listed = own["chat_template"].as_array().and_then(|list| list.iter().find(|t| t["name"] == "default"));
        let template = template
            .or_else(|| own["chat_template"].as_str().map(str::to_owned))
            .or_else(|| listed.and_then(|t| t["template"].as_str()).map(str::to_owned));
        // A tokenizer of BERT's or DeBERTa's own class gives segments, a general one only where it is said to.
        let general = own["tokenizer_class"]
            .as_str()
            .is_some_and(|class| class.starts_with("PreTrainedTokenizer") || class == "TokenizersBackend");
        let segments = match own["model_input_names"].as_array() {
            Some(names) => names.iter().any(|name| name == "token_type_ids"),
            None => !general,
        };
        let tokenizer = Self { segments, ..Self::assemble(inner, eos, template, tokens) };
        tokenizer.checked(&path, vocab_size)
    }

    /// Rebuilds the tokenizer that a GGUF file's metadata describes.
    pub fn from_gguf(path: &Path, gguf: &Gguf) -> Result<Self, PolicyError> {
        let vocabulary::Rebuilt { inner, eos, tokens } = vocabulary::rebuild(path, gguf)?;
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

    /// Refuses a tokenizer whose own vocabulary is larger than the model's. Tokens added beyond it are bearable (Gemma 3
    /// has one for images): a text that gives one is refused.
    fn checked(mut self, path: &Path, vocab_size: usize) -> Result<Self, PolicyError> {
        let own = self.inner.get_vocab(false).into_values().max().map_or(0, |id| id as usize + 1);
        if own > vocab_size {
            let message = format!(
                "has token ids up to {} but the model's vocabulary holds {vocab_size}; this tokenizer belongs to another model",
                own - 1
            );
            return Err(PolicyError::file(path, message));
        }
        if let Some(id) = self.eos.iter().find(|id| **id as usize >= vocab_size) {
            return Err(PolicyError::file(path, format!("end token {id} lies outside the vocabulary of {vocab_size}")));
        }
        self.limit = u32::try_from(vocab_size).unwrap_or(u32::MAX);
        Ok(self)
    }

    fn encoding<'s>(
        &self,
        text: impl Into<tokenizers::EncodeInput<'s>> + Send,
        special: bool,
    ) -> Result<tokenizers::Encoding, PolicyError> {
        let encoding = guarded(|| self.inner.encode(text, special).map_err(wrong))?;
        match encoding.get_ids().iter().find(|id| **id >= self.limit) {
            Some(id) => Err(wrong(format!("a text holds token {id}, and the model has {} only", self.limit))),
            None => Ok(encoding),
        }
    }

    /// Token ids of a text with the special tokens that the model expects around one, such as BOS.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>, PolicyError> {
        Ok(self.encoding(text, true)?.get_ids().to_vec())
    }

    /// Token ids of a text; special tokens in it are recognised, none are added.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, PolicyError> {
        Ok(self.encoding(text, false)?.get_ids().to_vec())
    }

    /// Token ids of two texts joined as the tokenizer joins a pair, with the special tokens that it adds, and the
    /// segment of each.
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<(Vec<u32>, Vec<u32>), PolicyError> {
        let encoding = self.encoding((first, second), true)?;
        let segments = if self.segments { encoding.get_type_ids().to_vec() } else { vec![0; encoding.len()] };
        Ok((encoding.get_ids().to_vec(), segments))
    }

    /// The text of token ids, special tokens left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, PolicyError> {
        guarded(|| self.inner.decode(ids, true).map_err(wrong))
    }

    /// Adds tokens that end a reply, behind those that are known.
    pub(crate) fn also_ends(&mut self, more: &[u32]) {
        let fresh: Vec<u32> = more.iter().copied().filter(|id| !self.eos.contains(id)).collect();
        self.eos.extend(fresh);
    }

    /// Changes the tokens that end a reply.
    pub fn set_eos(&mut self, eos: Vec<u32>) {
        self.eos = eos;
    }

    /// Makes the chat template write this time as the present, in local seconds since 1970: prompts of a run that lasts
    /// for days stay the same.
    pub fn pin_today(&mut self, seconds: i64) {
        if let Some(template) = &mut self.template {
            template.today = chrono::DateTime::from_timestamp(seconds, 0).map(|t| t.naive_utc());
        }
    }

    /// Tokens that end a reply; the first is the one to teach.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Number of tokens, special ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether the model comes with a chat template.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The text that the model's own chat template makes of a conversation, ready for the model's reply
    /// when `generation` is set.
    pub fn chat(&self, turns: &[Turn], generation: bool) -> Result<String, PolicyError> {
        Ok(self.render(&Conversation::new(turns, generation))?.text)
    }

    /// The text of a conversation, and what of it the template marks as the model's own words.
    pub fn render(&self, conversation: &Conversation) -> Result<Rendered, PolicyError> {
        let template = self.template.as_ref();
        template.ok_or_else(|| wrong("this model has no chat template; use plain prompts"))?.render(conversation)
    }

    /// The tokens of a conversation, and which of them are the model's own words: what multi-turn training learns.
    /// Where the template has no `{% generation %}` marks, a reply is what a conversation up to it adds to the
    /// conversation before it.
    pub fn masked(&self, conversation: &Conversation) -> Result<(Vec<u32>, Vec<bool>), PolicyError> {
        let whole = self.render(conversation)?;
        let spans = if self.template.as_ref().is_some_and(ChatTemplate::marks_replies) {
            whole.assistant
        } else {
            self.replies(conversation, &whole.text)?
        };
        let encoding = self.encoding(whole.text.as_str(), false)?;
        let own = |(a, b): &(usize, usize)| spans.iter().any(|s| *a < s.end && *b > s.start);
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().iter().map(own).collect()))
    }

    fn replies(&self, conversation: &Conversation, whole: &str) -> Result<Vec<Range<usize>>, PolicyError> {
        let up_to = |n: usize, generation: bool| -> Result<String, PolicyError> {
            let messages = conversation.messages[..n].to_vec();
            Ok(self.render(&Conversation { messages, generation, ..conversation.clone() })?.text)
        };
        let mut spans = Vec::new();
        for (i, message) in conversation.messages.iter().enumerate() {
            if message["role"] != "assistant" {
                continue;
            }
            let (before, after) = (up_to(i, true)?, up_to(i + 1, false)?);
            if !after.starts_with(&before) || !whole.starts_with(&after) {
                let message = "the chat template writes earlier turns differently once later ones follow; training on \
                               several turns needs `{% generation %}` marks in it";
                return Err(wrong(message));
            }
            spans.push(before.len()..after.len());
        }
        Ok(spans)
    }

    /// `tokenizer.json` and `tokenizer_config.json` as texts.
    pub fn files(&self) -> Result<[(&'static str, String); 2], PolicyError> {
        let mut own = serde_json::json!({ "tokenizer_class": "PreTrainedTokenizerFast" });
        for (name, token) in &self.tokens {
            own[name] = token.clone().into();
        }
        if self.segments {
            own["model_input_names"] = serde_json::json!(["input_ids", "token_type_ids", "attention_mask"]);
        }
        if let Some(template) = &self.template {
            own["chat_template"] = template.source.clone().into();
        }
        Ok([
            ("tokenizer.json", self.inner.to_string(true).map_err(wrong)?),
            ("tokenizer_config.json", format!("{own:#}")),
        ])
    }
}

/// Text that grows token by token, in whole characters.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    tokens: Vec<u32>,
    /// First token of the window that is decoded again with every new one: some tokenizers write a token
    /// differently at the start of a text.
    window: usize,
    /// First token whose text is not out yet.
    pending: usize,
    text: String,
}

impl TextStream {
    /// The text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Takes in a token; its text joins once its last character is whole.
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Result<(), PolicyError> {
        self.tokens.push(token);
        self.flush(tokenizer, false)
    }

    /// Lets out what waits for the rest of a character.
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
