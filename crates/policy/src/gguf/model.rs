//! The model in a GGUF file as Hugging Face would store it: its `config.json`, and its weights under Hugging Face's
//! names.

use std::collections::BTreeSet;

use rlar_quant::QuantisedMatrix;
use serde_json::{Value, json};

use crate::architecture::Architecture;
use crate::config::ModelConfig;
use crate::error::PolicyError;
use crate::families::{Family, GgufFamily};
use crate::gguf::{Gguf, GgufValue};
use crate::layout::{Form, Layout, Spec};

/// Metadata keys of options that no supported family has, without the prefix of the architecture. A file with a value
/// other than the integer 0 (off) for one of them is refused.
const UNSUPPORTED: [&str; 4] = ["expert_count", "attention.scale", "logit_scale", "attn_logit_softcapping"];

impl Gguf {
    /// The model's configuration: the `config.json` that describes the same model as the metadata.
    pub fn config(&self) -> Result<ModelConfig, PolicyError> {
        let (family, gguf) = self.family()?;
        for name in UNSUPPORTED {
            let key = self.own_key(name)?;
            if !matches!(self.get(&key), None | Some(GgufValue::Int(0))) {
                return Err(PolicyError::file(self.path(), format!("metadata `{key}` is not supported")));
            }
        }
        let json = (gguf.config)(self, family.model_type)?;
        ModelConfig::new(json).map_err(|why| PolicyError::file(self.path(), why))
    }

    fn family(&self) -> Result<(&'static Family, &'static GgufFamily), PolicyError> {
        let architecture = self.text("general.architecture")?;
        Family::of_gguf(architecture).map_err(|why| PolicyError::file(self.path(), why))
    }

    /// The full metadata key of a name: the file's architecture is its prefix, such as `llama.block_count` for
    /// `block_count`.
    fn own_key(&self, name: &str) -> Result<String, PolicyError> {
        Ok(format!("{}.{name}", self.text("general.architecture")?))
    }

    /// Reads a metadata value that is an integer from 0 up, such as `llama.block_count` for `block_count`; the file's
    /// architecture is the prefix of the key.
    pub(crate) fn own_size(&self, name: &str) -> Result<usize, PolicyError> {
        self.size(&self.own_key(name)?)
    }

    /// Reads a metadata value that is a finite float, such as `llama.rope.freq_base` for `rope.freq_base`; the file's
    /// architecture is the prefix of the key.
    pub(crate) fn own_float(&self, name: &str) -> Result<f64, PolicyError> {
        self.float(&self.own_key(name)?)
    }

    /// Number of tokens of the vocabulary.
    pub(crate) fn vocab_size(&self) -> Result<usize, PolicyError> {
        Ok(self.texts("tokenizer.ggml.tokens")?.len())
    }

    /// Makes the `config.json` of Llama or one of its relatives from the metadata, with rotary scaling.
    pub(crate) fn llama_config(&self, model_type: &str) -> Result<Value, PolicyError> {
        self.with_rope_scaling(self.decoder_config(model_type)?)
    }

    /// Makes the `config.json` of a decoder with rotary positions and RMS norms from the metadata, without rotary
    /// scaling.
    pub(crate) fn decoder_config(&self, model_type: &str) -> Result<Value, PolicyError> {
        let heads = self.own_size("attention.head_count")?;
        let hidden = self.own_size("embedding_length")?;
        let vocab = self.vocab_size()?;
        let optional_size = |name: &str| self.optional(&self.own_key(name)?, Self::size);
        let optional_float = |name: &str| self.optional(&self.own_key(name)?, Self::float);
        let biased = |tensor: &str| self.has_tensor(tensor);
        Ok(json!({
            "model_type": model_type,
            "vocab_size": vocab,
            "hidden_size": hidden,
            "intermediate_size": self.own_size("feed_forward_length")?,
            "num_hidden_layers": self.own_size("block_count")?,
            "num_attention_heads": heads,
            "num_key_value_heads": optional_size("attention.head_count_kv")?.unwrap_or(heads),
            "head_dim": optional_size("attention.key_length")?.unwrap_or(hidden / heads.max(1)),
            "max_position_embeddings": self.own_size("context_length")?,
            "rope_theta": optional_float("rope.freq_base")?.unwrap_or(10_000.0),
            "rms_norm_eps": self.own_float("attention.layer_norm_rms_epsilon")?,
            "tie_word_embeddings": !self.has_tensor("output.weight"),
            "attention_bias": biased("blk.0.attn_q.bias") && biased("blk.0.attn_output.bias"),
            "mlp_bias": biased("blk.0.ffn_up.bias"),
            "sliding_window": optional_size("attention.sliding_window")?,
        }))
    }

    /// Adds to a `config.json` the rotary scaling that the metadata describes, if any.
    pub(crate) fn with_rope_scaling(&self, mut config: Value) -> Result<Value, PolicyError> {
        let key = |name: &str| self.own_key(&format!("rope.scaling.{name}"));
        if self.has_tensor("rope_freqs.weight") {
            let message = "factors of rotary frequencies in a GGUF (Llama 3.1 and newer) are not supported; \
                           use the model's Hugging Face folder";
            return Err(PolicyError::tensor(self.path(), "rope_freqs.weight", message));
        }
        let kind_key = key("type")?;
        let kind = if self.get(&kind_key).is_some() { self.text(&kind_key)? } else { "none" };
        let scaling = match kind {
            "none" => return Ok(config),
            "linear" => json!({ "rope_type": "linear", "factor": self.float(&key("factor")?)? }),
            "yarn" => json!({
                "rope_type": "yarn",
                "factor": self.float(&key("factor")?)?,
                "original_max_position_embeddings": self.size(&key("original_context_length")?)?,
            }),
            other => {
                return Err(PolicyError::file(self.path(), format!("rotary scaling `{other}` is not supported")));
            }
        };
        config["rope_scaling"] = scaling;
        Ok(config)
    }

    /// Checks that the file holds exactly the tensors of a layout, in the shapes that the layout declares.
    pub fn check(&self, layout: &Layout) -> Result<(), PolicyError> {
        let (_, family) = self.family()?;
        let known: BTreeSet<String> = layout.specs().iter().map(|s| gguf_name(family, &s.name)).collect();
        if let Some(extra) = self.names().find(|n| !known.contains(*n)) {
            return Err(PolicyError::tensor(
                self.path(),
                extra,
                "is not a tensor that rlar supports for this architecture",
            ));
        }
        for spec in layout.specs() {
            let name = gguf_name(family, &spec.name);
            let shape = self.shape(&name);
            let shape = shape.ok_or_else(|| PolicyError::tensor(self.path(), &name, "is missing from the file"))?;
            // In GGUF, matrices that Hugging Face stores transposed (GPT-2) are not transposed.
            let expected = if spec.form == Form::Vector { vec![spec.shape[1]] } else { spec.shape.to_vec() };
            if shape != expected {
                let message = format!("has shape {shape:?}; the metadata asks for {expected:?}");
                return Err(PolicyError::tensor(self.path(), &name, message));
            }
        }
        Ok(())
    }

    /// Reads a tensor of the layout: its values as Hugging Face orders them, row by row in the shape that the layout
    /// declares.
    pub fn weight(&self, spec: &Spec, config: &ModelConfig) -> Result<Vec<f32>, PolicyError> {
        let (_, family) = self.family()?;
        let (mut values, _) = self.tensor(&gguf_name(family, &spec.name))?;
        if let Some(order) = row_order(family, spec, config) {
            let width = values.len() / order.len().max(1);
            values = order.iter().flat_map(|r| &values[r * width..(r + 1) * width]).copied().collect();
        }
        if spec.form == Form::Vector && family.vector_offset != 0.0 {
            for x in &mut values {
                *x += family.vector_offset;
            }
        }
        Ok(values)
    }

    /// Reads a matrix of the layout as the quantised blocks that the file stores, with the rows as Hugging Face orders
    /// them; `None` for a tensor that is no matrix of such blocks.
    pub fn quantised_weight(&self, spec: &Spec, config: &ModelConfig) -> Result<Option<QuantisedMatrix>, PolicyError> {
        let (_, family) = self.family()?;
        let name = gguf_name(family, &spec.name);
        match (self.quantised(&name)?, row_order(family, spec, config)) {
            (Some(matrix), Some(order)) => {
                matrix.reordered(&order).map(Some).map_err(|e| PolicyError::tensor(self.path(), &name, e.to_string()))
            }
            (matrix, _) => Ok(matrix),
        }
    }
}

/// The order of a tensor's rows in Hugging Face: row `i` is row `order[i]` of the file; `None` for the same order.
fn row_order(family: &GgufFamily, spec: &Spec, config: &ModelConfig) -> Option<Vec<usize>> {
    match &config.architecture {
        Architecture::Decoder(decoder) => family.row_order?(spec, decoder.heads),
        Architecture::Encoder(_) => None,
    }
}

/// The GGUF name of a tensor for its Hugging Face name: `model.layers.3.self_attn.q_proj.weight` becomes
/// `blk.3.attn_q.weight`.
fn gguf_name(family: &GgufFamily, name: &str) -> String {
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
    ];
    family.renamed.iter().chain(&pairs).fold(name.to_owned(), |name, (hf, gguf)| name.replace(hf, gguf))
}
