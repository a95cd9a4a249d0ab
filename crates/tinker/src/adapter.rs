//! The trained adapter in PEFT's format.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use safetensors::SafeTensors;
use serde_json::Value;

/// Largest unpacked archive, in bytes.
const MAX_UNPACKED: u64 = 8 << 30;

/// The two files of an adapter in PEFT's format, which `peft` and `transformers` load from a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterFiles {
    /// The content of `adapter_config.json`.
    pub config: Vec<u8>,
    /// The content of `adapter_model.safetensors`.
    pub weights: Vec<u8>,
}

impl AdapterFiles {
    /// Unpacks a gzipped tar archive in memory, and checks that both files can be read.
    ///
    /// SkyRL 0.3 leaves `target_modules` empty, whereupon PEFT would load a part of the weights without a word; the names of
    /// the tensors fill it in. The error says what is wrong.
    pub(crate) fn from_archive(archive: &[u8]) -> Result<Self, String> {
        let (mut config, mut weights) = (None, None);
        let mut tar = tar::Archive::new(GzDecoder::new(archive).take(MAX_UNPACKED));
        let broken = |e: std::io::Error| format!("it cannot be unpacked: {e}");
        for entry in tar.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let path = entry.path().map_err(broken)?.into_owned();
            let place = match path.file_name().and_then(|name| name.to_str()) {
                Some("adapter_config.json") => &mut config,
                Some("adapter_model.safetensors") => &mut weights,
                _ => continue,
            };
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(broken)?;
            *place = Some(content);
        }
        let config = config.ok_or("it has no adapter_config.json")?;
        let weights = weights.ok_or("it has no adapter_model.safetensors")?;
        let tensors = SafeTensors::deserialize(&weights).map_err(|e| format!("adapter_model.safetensors: {e}"))?;
        let modules: BTreeSet<&str> = tensors.names().into_iter().filter_map(target_module).collect();
        let config = with_target_modules(&config, &modules)?;
        Ok(Self { config, weights })
    }

    /// Writes both files into a folder, which must exist.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::write(folder.join("adapter_config.json"), &self.config)?;
        std::fs::write(folder.join("adapter_model.safetensors"), &self.weights)
    }
}

/// The module of a tensor such as `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`: `q_proj`.
fn target_module(tensor: &str) -> Option<&str> {
    let (before, _) = tensor.split_once(".lora_A.").or_else(|| tensor.split_once(".lora_B."))?;
    before.rsplit('.').next()
}

/// The config with `target_modules`, if it names none.
fn with_target_modules(config: &[u8], modules: &BTreeSet<&str>) -> Result<Vec<u8>, String> {
    let wrong = |e: serde_json::Error| format!("adapter_config.json: {e}");
    let mut value: Value = serde_json::from_slice(config).map_err(wrong)?;
    let object = value.as_object_mut().ok_or("adapter_config.json is not an object")?;
    if object.get("target_modules").is_some_and(|named| !named.is_null()) {
        return Ok(config.to_vec());
    }
    object.insert("target_modules".into(), modules.iter().copied().collect());
    serde_json::to_vec_pretty(&value).map_err(wrong)
}
