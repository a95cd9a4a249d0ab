//! The texts of a reply's tokens, from the `tokenizer.json` of the run's models.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bounded_file;

/// Largest `tokenizer.json` that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// The bytes of the tokens of the model that was asked about last.
#[derive(Debug, Default)]
pub struct TokenTexts(Mutex<Option<KnownTokens>>);

#[derive(Debug)]
struct KnownTokens {
    path: PathBuf,
    bytes: u64,
    tokens: Arc<HashMap<i64, Vec<u8>>>,
}

/// A `tokenizer.json`; `V` is the form of its vocabulary. What else it holds is passed over.
#[derive(Deserialize)]
struct TokenizerFile<V> {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    decoder: Value,
    model: ModelPart<V>,
}

#[derive(Deserialize)]
struct ModelPart<V> {
    vocab: V,
}

#[derive(Deserialize)]
struct AddedToken {
    id: i64,
    content: String,
}

/// An entry of a Unigram vocabulary.
#[derive(Deserialize)]
struct UnigramPiece(String, #[allow(dead_code, reason = "the form of the file: a piece and its log-prob")] f64);

impl TokenTexts {
    /// The text that each token adds. A character of several tokens belongs to the last of them; one that is never
    /// complete is `�`. Empty if the run has no tokenizer that can be read.
    pub fn of(&self, run: &Path, ids: &[i64]) -> Vec<String> {
        match self.tokens(run) {
            Some(tokens) if !ids.is_empty() => texts(&tokens, ids),
            _ => Vec::new(),
        }
    }

    fn tokens(&self, run: &Path) -> Option<Arc<HashMap<i64, Vec<u8>>>> {
        let path = tokenizer_path(run)?;
        let bytes = fs::metadata(&path).ok()?.len();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.as_ref().filter(|known| known.path == path && known.bytes == bytes) {
            return Some(Arc::clone(&known.tokens));
        }
        let mut text = Vec::new();
        bounded_file::open(&path).ok()?.take(MAX_FILE).read_to_end(&mut text).ok()?;
        let tokens = Arc::new(read_tokens(&text)?);
        *known = Some(KnownTokens { path, bytes, tokens: Arc::clone(&tokens) });
        Some(tokens)
    }
}

/// The tokenizer of the final model, of a checkpoint, or of the model at the start; all are the same.
fn tokenizer_path(run: &Path) -> Option<PathBuf> {
    let checkpoints = fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = [run.join("final"), run.join("start")].into_iter().chain(checkpoints).collect();
    folders.extend([run.join("adapter")]);
    folders.into_iter().map(|folder| folder.join("tokenizer.json")).find(|path| path.is_file())
}

/// The bytes of every token; `None` if the file is no tokenizer of a known form.
fn read_tokens(text: &[u8]) -> Option<HashMap<i64, Vec<u8>>> {
    fn parsed<V: DeserializeOwned>(text: &[u8]) -> Option<TokenizerFile<V>> {
        serde_json::from_slice(text).ok()
    }
    let of = |added: Vec<AddedToken>, forms: [&Value; 2], pieces: &mut dyn Iterator<Item = (i64, String)>| {
        let is_byte_level = forms.iter().any(|form| form.to_string().contains("\"ByteLevel\""));
        let mut tokens: HashMap<i64, Vec<u8>> =
            pieces.map(|(id, piece)| (id, if is_byte_level { byte_level(&piece) } else { plain(&piece) })).collect();
        tokens.extend(added.into_iter().map(|token| (token.id, token.content.into_bytes())));
        tokens
    };
    if let Some(file) = parsed::<HashMap<String, i64>>(text) {
        let mut pieces = file.model.vocab.into_iter().map(|(piece, id)| (id, piece));
        return Some(of(file.added_tokens, [&file.pre_tokenizer, &file.decoder], &mut pieces));
    }
    let file = parsed::<Vec<UnigramPiece>>(text)?;
    let mut pieces = file.model.vocab.into_iter().enumerate().map(|(id, piece)| (id as i64, piece.0));
    Some(of(file.added_tokens, [&file.pre_tokenizer, &file.decoder], &mut pieces))
}

/// The bytes of a piece of a byte-level vocabulary, whose characters stand for one byte each as in GPT-2.
fn byte_level(piece: &str) -> Vec<u8> {
    let byte = |c: char| match u32::from(c) {
        code @ (33..=126 | 161..=172 | 174..=255) => u8::try_from(code).ok(),
        // The other bytes, in their order: 0 to 32, 127 to 160, 173.
        code @ 256..=288 => u8::try_from(code - 256).ok(),
        code @ 289..=322 => u8::try_from(code - 256 - 33 + 127).ok(),
        323 => Some(173),
        _ => None,
    };
    piece.chars().map(byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| piece.as_bytes().to_vec())
}

/// The bytes of a piece as SentencePiece writes it: `▁` is a space, `<0x0A>` a byte.
fn plain(piece: &str) -> Vec<u8> {
    let code = piece.strip_prefix("<0x").and_then(|rest| u8::from_str_radix(rest.strip_suffix('>')?, 16).ok());
    code.map_or_else(|| piece.replace('▁', " ").into_bytes(), |byte| vec![byte])
}

fn texts(tokens: &HashMap<i64, Vec<u8>>, ids: &[i64]) -> Vec<String> {
    let mut begun: Vec<u8> = Vec::new();
    let text = |id: &i64| {
        begun.extend(tokens.get(id).map_or(&[][..], Vec::as_slice));
        // A character that is not complete yet stays for the next token.
        let left = begun.utf8_chunks().last().map_or(0, |chunk| unfinished(chunk.invalid()));
        let rest = begun.split_off(begun.len() - left);
        let text = String::from_utf8_lossy(&begun).into_owned();
        begun = rest;
        text
    };
    let mut texts: Vec<String> = ids.iter().map(text).collect();
    if let Some(last) = texts.last_mut().filter(|_| !begun.is_empty()) {
        last.push('\u{fffd}');
    }
    texts
}

/// Number of bytes of the beginning of a character; 0 if they can begin none.
fn unfinished(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.len(),
        _ => 0,
    }
}
