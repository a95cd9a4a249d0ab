//! GGUF files (llama.cpp's format, version 2 and 3): metadata, and tensors dequantised to `f32`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::config::ModelConfig;
use crate::error::PolicyError;
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

    fn float(&self, key: &str) -> Result<f64, PolicyError> {
        match self.get(key) {
            Some(Value::Float(x)) => Ok(*x),
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

    /// The decoder that the metadata describes.
    pub fn config(&self) -> Result<ModelConfig, PolicyError> {
        let family = self.text("general.architecture")?.to_owned();
        if family != "llama" {
            let message = format!("architecture `{family}` is not supported; supported: llama");
            return Err(PolicyError::file(&self.path, message));
        }
        let heads = self.size("llama.attention.head_count")?;
        let config = ModelConfig {
            vocab_size: self.texts("tokenizer.ggml.tokens")?.len(),
            hidden_size: self.size("llama.embedding_length")?,
            intermediate_size: self.size("llama.feed_forward_length")?,
            num_hidden_layers: self.size("llama.block_count")?,
            num_attention_heads: heads,
            num_key_value_heads: Some(self.size("llama.attention.head_count_kv").unwrap_or(heads)),
            head_dim: self.size("llama.attention.key_length").ok(),
            max_position_embeddings: self.size("llama.context_length")?,
            rope_theta: self.float("llama.rope.freq_base").unwrap_or(10_000.0),
            rope_scaling: serde_json::Value::Null,
            rms_norm_eps: self.float("llama.attention.layer_norm_rms_epsilon")? as f32,
            tie_word_embeddings: !self.tensors.contains_key("output.weight"),
            attention_bias: false,
            mlp_bias: false,
            hidden_act: "silu".into(),
            model_type: family,
        };
        config.check().map_err(|why| PolicyError::file(&self.path, why))?;
        if let Ok(kind) = self.text("llama.rope.scaling.type")
            && kind != "none"
        {
            return Err(PolicyError::file(&self.path, format!("rotary scaling `{kind}` is not supported")));
        }
        let known: BTreeSet<String> =
            crate::weights::layout(&config).entries().iter().map(|(name, _)| gguf_name(name)).collect();
        if let Some(extra) = self.names().find(|n| !known.contains(*n)) {
            return Err(PolicyError::tensor(&self.path, extra, "is not a part of a Llama model that rlar knows"));
        }
        Ok(config)
    }

    /// A weight by its Hugging Face name, in Hugging Face's row order.
    pub fn weight(&self, name: &str, config: &ModelConfig) -> Result<(Vec<f32>, Vec<usize>), PolicyError> {
        let (values, shape) = self.tensor(&gguf_name(name))?;
        let heads = if name.ends_with("q_proj.weight") {
            config.num_attention_heads
        } else if name.ends_with("k_proj.weight") {
            config.kv_heads()
        } else {
            return Ok((values, shape));
        };
        let whole = shape.len() == 2 && shape[0].is_multiple_of(2 * heads) && values.len() == shape[0] * shape[1];
        if !whole {
            return Ok((values, shape));
        }
        // llama.cpp interleaves the two halves that Hugging Face rotates against each other.
        let (width, dim) = (shape[1], shape[0] / heads);
        let half = dim / 2;
        let row = |r: usize| {
            let (head, i) = (r / dim, r % dim);
            head * dim + (i % half) * 2 + i / half
        };
        let rows = (0..heads * dim).flat_map(|r| values[row(r) * width..(row(r) + 1) * width].iter().copied());
        Ok((rows.collect(), shape))
    }
}

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
        ("post_attention_layernorm", "ffn_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ];
    pairs.iter().fold(name.to_owned(), |name, (hf, gguf)| name.replace(hf, gguf))
}
