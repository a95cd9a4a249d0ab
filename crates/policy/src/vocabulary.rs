//! Building tokenizers from GGUF metadata: byte-level BPE, and SentencePiece converted to BPE.

use std::collections::HashMap;
use std::path::Path;

use tokenizers::decoders;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{self, NFC, Prepend, Replace};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper};

use crate::error::PolicyError;
use crate::gguf::{Gguf, GgufValue};
use crate::pre_tokenizer::PreTokenizer;

/// The tokenizer of a GGUF file, with its end tokens, and its special tokens by name.
pub(crate) struct GgufTokenizer {
    pub inner: tokenizers::Tokenizer,
    pub eos: Vec<u32>,
    pub tokens: Vec<(String, String)>,
}

/// The number that llama.cpp gives to the token type "control": special tokens, such as an end token.
const CONTROL: i64 = 3;
/// The number that llama.cpp gives to the token type "user-defined": added tokens that decoding does not leave out.
const USER_DEFINED: i64 = 4;

/// The character that SentencePiece writes for a space.
const SPACE: &str = "\u{2581}";
/// Longest token of a SentencePiece vocabulary, in bytes. The work of finding a token's merges grows with the square of
/// its length; SentencePiece itself learns tokens of 16 characters.
const LONGEST_PIECE: usize = 1024;

/// Builds the tokenizer that a GGUF file's metadata describes.
pub(crate) fn rebuild(path: &Path, gguf: &Gguf) -> Result<GgufTokenizer, PolicyError> {
    let wrong = |e: &dyn std::fmt::Display| PolicyError::file(path, format!("tokenizer: {e}"));
    let tokens = gguf.texts("tokenizer.ggml.tokens")?;
    let (mut inner, adds_bos) = match gguf.text("tokenizer.ggml.model")? {
        "gpt2" => {
            let name = gguf.text("tokenizer.ggml.pre").unwrap_or("gpt-2");
            let pre_tokenizer = PreTokenizer::named(name).map_err(|why| PolicyError::file(path, why))?;
            let adds_bos = pre_tokenizer.adds_bos;
            (byte_level(path, gguf, &tokens, pre_tokenizer)?, adds_bos)
        }
        "llama" => (sentence_piece(path, gguf, &tokens)?, true),
        other => {
            let message = format!("tokenizer model `{other}` is not supported; supported: gpt2, llama");
            return Err(PolicyError::file(path, message));
        }
    };
    if let Some(GgufValue::List(kinds)) = gguf.get("tokenizer.ggml.token_type") {
        let added = kinds.iter().zip(&tokens).filter_map(|(kind, token)| match kind {
            GgufValue::Int(CONTROL) => Some(AddedToken::from(*token, true)),
            GgufValue::Int(USER_DEFINED) => Some(AddedToken::from(*token, false).normalized(false)),
            _ => None,
        });
        // All at once: with every call, the search for added tokens in a text is built anew.
        inner.add_tokens(added.collect::<Vec<_>>()).map_err(|e| wrong(&e))?;
    }
    let id = |key: &str| match gguf.get(key) {
        Some(GgufValue::Int(id)) => Some(*id as u32),
        _ => None,
    };
    let named = [("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token"), ("padding", "pad_token")];
    let special: Vec<(&str, u32, String)> = named
        .iter()
        .filter_map(|(gguf, name)| {
            let id = id(&format!("tokenizer.ggml.{gguf}_token_id"))?;
            Some((*name, id, inner.id_to_token(id)?))
        })
        .collect();
    let adds = |key: &str, default: bool| match gguf.get(key) {
        Some(GgufValue::Bool(yes)) => *yes,
        _ => default,
    };
    let around = [
        ("bos_token", adds("tokenizer.ggml.add_bos_token", adds_bos)),
        ("eos_token", adds("tokenizer.ggml.add_eos_token", false)),
    ];
    let around = around.map(|(name, added)| special.iter().find(|(n, _, _)| added && *n == name));
    if around.iter().any(Option::is_some) {
        let [before, after] = around.map(|t| t.map(|(_, _, text)| text.clone()).into_iter());
        let single: Vec<String> = before.chain(["$A".to_owned()]).chain(after).collect();
        let known: Vec<(String, u32)> = around.iter().flatten().map(|(_, id, text)| (text.clone(), *id)).collect();
        let template = TemplateProcessing::builder()
            .try_single(single)
            .map_err(|e| wrong(&e))?
            .special_tokens(known)
            .build()
            .map_err(|e| wrong(&e))?;
        inner.with_post_processor(Some(template));
    }
    // The token that ends a turn (`eot`) and the one that ends a text (`eos`) may differ.
    let mut eos: Vec<u32> = ["eos", "eot"].iter().filter_map(|n| id(&format!("tokenizer.ggml.{n}_token_id"))).collect();
    eos.dedup();
    let tokens = special.into_iter().map(|(name, _, token)| (name.to_owned(), token)).collect();
    Ok(GgufTokenizer { inner, eos, tokens })
}

/// A vocabulary in which the id of each token is its index.
fn numbered(tokens: &[&str]) -> Vocab {
    tokens.iter().enumerate().map(|(i, t)| ((*t).to_owned(), i as u32)).collect()
}

/// Builds the byte-level BPE of GPT-2 and its descendants.
fn byte_level(
    path: &Path,
    gguf: &Gguf,
    tokens: &[&str],
    pre_tokenizer: PreTokenizer,
) -> Result<tokenizers::Tokenizer, PolicyError> {
    let merges = gguf.texts("tokenizer.ggml.merges")?.into_iter().map(|m| match m.split_once(' ') {
        Some((a, b)) => Ok((a.to_owned(), b.to_owned())),
        None => Err(PolicyError::file(path, format!("merge `{m}` is not a pair"))),
    });
    let merges = merges.collect::<Result<Vec<_>, _>>()?;
    let PreTokenizer { cut, whole_words, composed, .. } = pre_tokenizer;
    let wrong = |e: &dyn std::fmt::Display| PolicyError::file(path, format!("tokenizer: {e}"));
    let bpe = BPE::builder().vocab_and_merges(numbered(tokens), merges).ignore_merges(whole_words).build();
    let mut inner = tokenizers::Tokenizer::new(ModelWrapper::BPE(bpe.map_err(|e| wrong(&e))?));
    inner.with_pre_tokenizer(Some(cut));
    inner.with_decoder(Some(DecoderWrapper::ByteLevel(ByteLevel::default())));
    if composed {
        inner.with_normalizer(Some(NormalizerWrapper::NFC(NFC))).map_err(|e| wrong(&e))?;
    }
    Ok(inner)
}

/// A pair of tokens that BPE merges into a third token.
struct Merge {
    /// SentencePiece's score of the merged token; higher scores are merged first.
    score: f64,
    /// Id of the token that the pair merges into.
    whole: usize,
    first: usize,
    second: usize,
}

impl Merge {
    fn ids(&self) -> [usize; 3] {
        [self.whole, self.first, self.second]
    }
}

/// Builds a BPE that splits texts as SentencePiece does: of all adjacent pairs, the one whose merged token has the best
/// score is merged first.
fn sentence_piece(path: &Path, gguf: &Gguf, tokens: &[&str]) -> Result<tokenizers::Tokenizer, PolicyError> {
    let Some(GgufValue::List(scores)) = gguf.get("tokenizer.ggml.scores") else {
        return Err(PolicyError::file(path, "metadata `tokenizer.ggml.scores` is missing or of another type"));
    };
    if let Some(id) = tokens.iter().position(|token| token.len() > LONGEST_PIECE) {
        let message =
            format!("token {id} has {} bytes, more than {LONGEST_PIECE}; fetch the file again", tokens[id].len());
        return Err(PolicyError::file(path, message));
    }
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(i, t)| (*t, i)).collect();
    let mut merges: Vec<Merge> = Vec::new();
    for (whole, (token, score)) in tokens.iter().zip(scores).enumerate() {
        let GgufValue::Float(score) = score else { continue };
        for (at, _) in token.char_indices().skip(1) {
            if let (Some(a), Some(b)) = (ids.get(&token[..at]), ids.get(&token[at..])) {
                merges.push(Merge { score: *score, whole, first: *a, second: *b });
            }
        }
    }
    merges.sort_by(|x, y| y.score.total_cmp(&x.score).then_with(|| x.ids().cmp(&y.ids())));
    let merges = merges.into_iter().map(|m| (tokens[m.first].to_owned(), tokens[m.second].to_owned())).collect();
    let unknown = match gguf.get("tokenizer.ggml.unknown_token_id") {
        Some(GgufValue::Int(id)) => tokens.get(*id as usize).copied(),
        _ => None,
    };
    let wrong = |e: &dyn std::fmt::Display| PolicyError::file(path, format!("tokenizer: {e}"));
    let mut bpe = BPE::builder().vocab_and_merges(numbered(tokens), merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = unknown {
        bpe = bpe.unk_token(unknown.to_owned());
    }
    let mut inner = tokenizers::Tokenizer::new(ModelWrapper::BPE(bpe.build().map_err(|e| wrong(&e))?));
    let prefixed = !matches!(gguf.get("tokenizer.ggml.add_space_prefix"), Some(GgufValue::Bool(false)));
    let spaces = NormalizerWrapper::Replace(Replace::new(" ", SPACE).map_err(|e| wrong(&e))?);
    let normalizers =
        if prefixed { vec![NormalizerWrapper::Prepend(Prepend::new(SPACE.to_owned())), spaces] } else { vec![spaces] };
    let normalizers = NormalizerWrapper::Sequence(normalizers::Sequence::new(normalizers));
    inner.with_normalizer(Some(normalizers)).map_err(|e| wrong(&e))?;
    let mut decoders = vec![
        DecoderWrapper::Replace(Replace::new(SPACE, " ").map_err(|e| wrong(&e))?),
        DecoderWrapper::ByteFallback(ByteFallback::new()),
        DecoderWrapper::Fuse(Fuse::new()),
    ];
    if prefixed {
        decoders.push(DecoderWrapper::Strip(Strip::new(' ', 1, 0)));
    }
    inner.with_decoder(Some(DecoderWrapper::Sequence(decoders::sequence::Sequence::new(decoders))));
    Ok(inner)
}
