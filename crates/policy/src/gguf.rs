//! GGUF files (llama.cpp's format, version 2 and 3): metadata, and tensors dequantised to `f32`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::architecture::{Architecture, DecoderConfig};
use crate::config::ModelConfig;
use crate::error::PolicyError;
use crate::layout::{Form, Layout, Spec};
use crate::quants::{Format, dequantise};

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer.
    Int(i64),
    /// Any float.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Value>),
}

struct Entry {
    shape: Vec<usize>,
    kind: u32,
    offset: u64,
}

/// An open file whose header has been read and checked against the file's size.
pub struct Gguf {
    path: PathBuf,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Entry>,
    data: u64,
}

/// Reads a header front to back, refusing lengths that the file cannot hold.
struct Header<'a> {
    path: &'a Path,
    file: BufReader<File>,
    at: u64,
    size: u64,
}

impl Header<'_> {
    fn bytes(&mut self, n: u64) -> Result<Vec<u8>, PolicyError> {
        if self.at.checked_add(n).is_none_or(|end| end > self.size) {
            return Err(PolicyError::file(self.path, "truncated in its header; fetch the file again"));
        }
        let mut buffer = vec![0; n as usize];
        self.file.read_exact(&mut buffer).map_err(PolicyError::io(self.path))?;
        self.at += n;
        Ok(buffer)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PolicyError> {
        let bytes = self.bytes(N as u64)?;
        let mut out = [0; N];
        out.copy_from_slice(&bytes);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, PolicyError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, PolicyError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, PolicyError> {
        let n = self.u64()?;
        let bytes = self.bytes(n)?;
        String::from_utf8(bytes).map_err(|_| PolicyError::file(self.path, "header holds text that is not UTF-8"))
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<Value, PolicyError> {
        Ok(match kind {
            0 => Value::Int(i64::from(self.array::<1>()?[0])),
            1 => Value::Int(i64::from(self.array::<1>()?[0] as i8)),
            2 => Value::Int(i64::from(u16::from_le_bytes(self.array()?))),
            3 => Value::Int(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Value::Int(i64::from(self.u32()?)),
            5 => Value::Int(i64::from(self.u32()? as i32)),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 if depth < 2 => {
                let (kind, n) = (self.u32()?, self.u64()?);
                if n > self.size {
                    return Err(PolicyError::file(self.path, "header announces more values than the file holds"));
                }
                Value::List((0..n).map(|_| self.value(kind, depth + 1)).collect::<Result<_, _>>()?)
            }
            10 | 11 => Value::Int(self.u64()? as i64),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(PolicyError::file(self.path, format!("header holds a value of unknown type {kind}"))),
        })
    }
}

impl Gguf {
    /// Reads and checks the header.
    pub fn open(path: &Path) -> Result<Self, PolicyError> {
        let file = File::open(path).map_err(PolicyError::io(path))?;
        let size = file.metadata().map_err(PolicyError::io(path))?.len();
        let mut h = Header { path, file: BufReader::new(file), at: 0, size };
        if h.bytes(4)? != b"GGUF" {
            return Err(PolicyError::file(path, "not a GGUF file (its first four bytes are not `GGUF`)"));
        }
        let version = h.u32()?;
        if !(2..=3).contains(&version) {
            return Err(PolicyError::file(path, format!("GGUF version {version} is not supported; supported: 2, 3")));
        }
        let (tensor_count, value_count) = (h.u64()?, h.u64()?);
        let mut metadata = BTreeMap::new();
        for _ in 0..value_count {
            let key = h.text()?;
            let kind = h.u32()?;
            let value = h.value(kind, 0)?;
            metadata.insert(key, value);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = h.text()?;
            let rank = h.u32()?;
            if rank > 4 {
                return Err(PolicyError::tensor(path, &name, format!("has {rank} dimensions; at most 4 are possible")));
            }
            // ggml lists the fastest dimension first.
            let mut shape = (0..rank).map(|_| Ok(h.u64()? as usize)).collect::<Result<Vec<_>, PolicyError>>()?;
            shape.reverse();
            let (kind, offset) = (h.u32()?, h.u64()?);
            tensors.insert(name, Entry { shape, kind, offset });
        }
        let align = match metadata.get("general.alignment") {
            Some(Value::Int(n)) if *n > 0 => *n as u64,
            _ => 32,
        };
        let gguf = Self { path: path.to_owned(), metadata, tensors, data: h.at.div_ceil(align) * align };
        for (name, entry) in &gguf.tensors {
            let (_, bytes) = gguf.extent(name, entry)?;
            let end = gguf.data.checked_add(entry.offset).and_then(|at| at.checked_add(bytes as u64));
            if end.is_none_or(|end| end > size) {
                let message = format!("ends beyond the file's {size} bytes: the file is truncated; fetch it again");
                return Err(PolicyError::tensor(path, name, message));
            }
        }
        Ok(gguf)
    }

    fn extent(&self, name: &str, entry: &Entry) -> Result<(usize, usize), PolicyError> {
        let wrong = |message: String| PolicyError::tensor(&self.path, name, message);
        let Some(Format { values, bytes, .. }) = Format::of(entry.kind) else {
            return Err(wrong(format!("has type {}; supported: {}", entry.kind, Format::names())));
        };
        let n = entry.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        match n {
            Some(n) if n.is_multiple_of(values) && (n / values).checked_mul(bytes).is_some() => {
                Ok((n, n / values * bytes))
            }
            _ => Err(wrong(format!("has impossible shape {:?}", entry.shape))),
        }
    }

    /// Names of the tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor's values in file order, and its shape with the slowest dimension first.
    pub fn tensor(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>), PolicyError> {
        let entry =
            self.tensors.get(name).ok_or_else(|| PolicyError::tensor(&self.path, name, "is missing from the file"))?;
        let (_, n) = self.extent(name, entry)?;
        let mut file = File::open(&self.path).map_err(PolicyError::io(&self.path))?;
        let mut bytes = vec![0; n];
        file.seek(SeekFrom::Start(self.data + entry.offset)).map_err(PolicyError::io(&self.path))?;
        file.read_exact(&mut bytes).map_err(PolicyError::io(&self.path))?;
        Ok((dequantise(entry.kind, &bytes), entry.shape.clone()))
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    fn missing(&self, key: &str) -> PolicyError {
        PolicyError::file(&self.path, format!("metadata `{key}` is missing or of another type"))
    }

    fn size(&self, key: &str) -> Result<usize, PolicyError> {
        match self.get(key) {
            Some(Value::Int(n)) if *n >= 0 => Ok(*n as usize),
            _ => Err(self.missing(key)),
        }
    }

    /// A value that may be absent, but not of another type.
    fn given<T>(
        &self,
        key: &str,
        read: impl Fn(&Self, &str) -> Result<T, PolicyError>,
    ) -> Result<Option<T>, PolicyError> {
        self.get(key).map(|_| read(self, key)).transpose()
    }

    fn float(&self, key: &str) -> Result<f64, PolicyError> {
        match self.get(key) {
            Some(Value::Float(x)) if x.is_finite() => Ok(*x),
            _ => Err(self.missing(key)),
        }
    }

    /// Text metadata.
    pub fn text(&self, key: &str) -> Result<&str, PolicyError> {
        match self.get(key) {
            Some(Value::Text(s)) => Ok(s),
            _ => Err(self.missing(key)),
        }
    }

    /// A list of texts.
    pub fn texts(&self, key: &str) -> Result<Vec<&str>, PolicyError> {
        let Some(Value::List(list)) = self.get(key) else { return Err(self.missing(key)) };
        list.iter()
            .map(|v| match v {
                Value::Text(s) => Ok(s.as_str()),
                _ => Err(self.missing(key)),
            })
            .collect()
    }

    /// The model that the metadata describes, as the `config.json` that would describe it.
    pub fn config(&self) -> Result<ModelConfig, PolicyError> {
        let family = self.text("general.architecture")?;
        let Some((_, model_type)) = FAMILIES.iter().find(|(gguf, _)| *gguf == family) else {
            let known: Vec<&str> = FAMILIES.iter().map(|(gguf, _)| *gguf).collect();
            let message = format!("architecture `{family}` is not supported; supported: {}", known.join(", "));
            return Err(PolicyError::file(&self.path, message));
        };
        let key = |name: &str| format!("{family}.{name}");
        let size = |name: &str| self.size(&key(name));
        let float = |name: &str| self.float(&key(name));
        let heads = size("attention.head_count")?;
        let hidden = size("embedding_length")?;
        let vocab = self.texts("tokenizer.ggml.tokens")?.len();
        for name in ["expert_count", "attention.scale", "logit_scale", "attn_logit_softcapping"] {
            match self.get(&key(name)) {
                None | Some(Value::Int(0)) => {}
                Some(_) => {
                    return Err(PolicyError::file(&self.path, format!("metadata `{}` is not supported", key(name))));
                }
            }
        }
        let json = if *model_type == "gpt2" {
            json!({
                "model_type": model_type, "vocab_size": vocab, "n_embd": hidden, "n_head": heads,
                "n_inner": size("feed_forward_length")?, "n_layer": size("block_count")?,
                "n_positions": size("context_length")?,
                "layer_norm_epsilon": float("attention.layer_norm_epsilon")?,
                "tie_word_embeddings": !self.tensors.contains_key("output.weight"),
            })
        } else {
            let bias = |tensor: &str| self.tensors.contains_key(tensor);
            let mut json = json!({
                "model_type": model_type, "vocab_size": vocab, "hidden_size": hidden,
                "intermediate_size": size("feed_forward_length")?,
                "num_hidden_layers": size("block_count")?,
                "num_attention_heads": heads,
                "num_key_value_heads": self.given(&key("attention.head_count_kv"), Self::size)?.unwrap_or(heads),
                "head_dim": self.given(&key("attention.key_length"), Self::size)?.unwrap_or(hidden / heads.max(1)),
                "max_position_embeddings": size("context_length")?,
                "rope_theta": self.given(&key("rope.freq_base"), Self::float)?.unwrap_or(10_000.0),
                "rms_norm_eps": float("attention.layer_norm_rms_epsilon")?,
                "tie_word_embeddings": !self.tensors.contains_key("output.weight"),
                "attention_bias": family != "qwen2" && bias("blk.0.attn_q.bias") && bias("blk.0.attn_output.bias"),
                "mlp_bias": bias("blk.0.ffn_up.bias"),
            });
            json["sliding_window"] = self.given(&key("attention.sliding_window"), Self::size)?.into();
            if family == "gemma3" {
                // llama.cpp keeps neither in the file: it knows the 27B by its 62 layers, which scales by width over heads;
                // all others scale by the head's size.
                let scalar = if json["num_hidden_layers"] == 62 {
                    (hidden / heads.max(1)).into()
                } else {
                    json["head_dim"].clone()
                };
                json["query_pre_attn_scalar"] = scalar;
                json["hidden_activation"] = "gelu_pytorch_tanh".into();
            }
            if let Some(scaling) = self.rope_scaling(family)? {
                json["rope_scaling"] = scaling;
            }
            json
        };
        ModelConfig::new(json).map_err(|why| PolicyError::file(&self.path, why))
    }

    /// Rotary scaling in `config.json`'s terms.
    fn rope_scaling(&self, family: &str) -> Result<Option<serde_json::Value>, PolicyError> {
        let key = |name: &str| format!("{family}.rope.scaling.{name}");
        if self.tensors.contains_key("rope_freqs.weight") {
            let message = "factors of rotary frequencies in a GGUF (Llama 3.1 and newer) are not supported; \
                           use the model's Hugging Face folder";
            return Err(PolicyError::tensor(&self.path, "rope_freqs.weight", message));
        }
        let factor = || self.float(&key("factor"));
        let kind = if self.get(&key("type")).is_some() { self.text(&key("type"))? } else { "none" };
        Ok(match kind {
            "none" => None,
            "linear" => Some(json!({ "rope_type": "linear", "factor": factor()? })),
            "yarn" => Some(json!({
                "rope_type": "yarn", "factor": factor()?,
                "original_max_position_embeddings": self.size(&key("original_context_length"))?,
            })),
            other => {
                return Err(PolicyError::file(&self.path, format!("rotary scaling `{other}` is not supported")));
            }
        })
    }

    /// What this file calls a tensor.
    fn own_name(&self, name: &str) -> String {
        // Only Gemma has a norm after attention as well as one before the feed-forward block.
        let name = match self.text("general.architecture") {
            Ok("gemma3") => name.replace("post_attention_layernorm", "post_attention_norm"),
            _ => name.to_owned(),
        };
        gguf_name(&name)
    }

    /// Checks that the file holds what a layout asks for and nothing else.
    pub fn check(&self, layout: &Layout) -> Result<(), PolicyError> {
        let known: BTreeSet<String> = layout.specs().iter().map(|s| self.own_name(&s.name)).collect();
        if let Some(extra) = self.names().find(|n| !known.contains(*n)) {
            return Err(PolicyError::tensor(&self.path, extra, "is not a part of this model that rlar knows"));
        }
        for spec in layout.specs() {
            let name = self.own_name(&spec.name);
            let entry = self.tensors.get(&name);
            let entry = entry.ok_or_else(|| PolicyError::tensor(&self.path, &name, "is missing from the file"))?;
            // What Hugging Face stores transposed, GGUF does not.
            let want = if spec.form == Form::Vector { vec![spec.shape[1]] } else { spec.shape.to_vec() };
            if entry.shape != want {
                let message = format!("has shape {:?}; the metadata asks for {want:?}", entry.shape);
                return Err(PolicyError::tensor(&self.path, &name, message));
            }
        }
        Ok(())
    }

    /// The values of a weight in memory's order.
    pub fn weight(&self, spec: &Spec, config: &ModelConfig) -> Result<Vec<f32>, PolicyError> {
        let (mut values, _) = self.tensor(&self.own_name(&spec.name))?;
        let family = self.text("general.architecture")?;
        // Gemma's norms are stored whole here and as their distance from 1 by Hugging Face.
        if family == "gemma3" && spec.form == Form::Vector {
            for x in &mut values {
                *x -= 1.0;
            }
        }
        let Architecture::Decoder(DecoderConfig { heads, .. }) = &config.architecture else { return Ok(values) };
        let heads = if family != "llama" {
            return Ok(values);
        } else if spec.name.contains("q_proj.") {
            heads.query
        } else if spec.name.contains("k_proj.") {
            heads.kv
        } else {
            return Ok(values);
        };
        // llama.cpp interleaves the two halves that Hugging Face rotates against each other.
        let (rows, width) = if spec.form == Form::Vector { (spec.shape[1], 1) } else { (spec.shape[0], spec.shape[1]) };
        let dim = rows / heads;
        let half = dim / 2;
        let row = |r: usize| {
            let (head, i) = (r / dim, r % dim);
            head * dim + (i % half) * 2 + i / half
        };
        Ok((0..rows).flat_map(|r| values[row(r) * width..(row(r) + 1) * width].iter().copied()).collect())
    }
}

/// GGUF's architectures and what `config.json` calls them.
const FAMILIES: [(&str, &str); 5] =
    [("llama", "llama"), ("qwen2", "qwen2"), ("qwen3", "qwen3"), ("gemma3", "gemma3_text"), ("gpt2", "gpt2")];

/// `model.layers.3.self_attn.q_proj.weight` → `blk.3.attn_q.weight`.
fn gguf_name(name: &str) -> String {
    let pairs = [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("transformer.wte", "token_embd"),
        ("transformer.wpe", "position_embd"),
        ("transformer.ln_f", "output_norm"),
        ("transformer.h", "blk"),
        ("ln_1", "attn_norm"),
        ("ln_2", "ffn_norm"),
        ("attn.c_attn", "attn_qkv"),
        ("attn.c_proj", "attn_output"),
        ("mlp.c_fc", "ffn_up"),
        ("mlp.c_proj", "ffn_down"),
    ];
    pairs.iter().fold(name.to_owned(), |name, (hf, gguf)| name.replace(hf, gguf))
}
