//! Weights on disk: one or more safetensors files. Names, shapes and types of all tensors are checked against a
//! layout before any tensor is read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata, View};

use crate::error::PolicyError;
use crate::float_type::FloatType;
use crate::layout::{Layout, Spec};
use crate::weight::Weight;
use crate::weights::{Weights, from_stored, to_stored};

/// Largest header of a safetensors file that is read, in bytes. The headers of known models are less than a hundredth
/// of it.
const LONGEST_HEADER: u64 = 100 << 20;

/// One safetensors file of a model. Its header was read and checked against the file's size.
struct Shard {
    path: PathBuf,
    metadata: Metadata,
    /// Byte of the file at which the tensors' data start.
    data: u64,
}

impl Shard {
    fn open(path: &Path) -> Result<Self, PolicyError> {
        // Opening a named pipe would block until something writes to it.
        if !std::fs::metadata(path).map_err(PolicyError::io(path))?.is_file() {
            return Err(PolicyError::file(path, "is not a file"));
        }
        let mut file = File::open(path).map_err(PolicyError::io(path))?;
        let size = file.metadata().map_err(PolicyError::io(path))?.len();
        let truncated = || PolicyError::file(path, format!("truncated: only {size} bytes; fetch or save it again"));
        let mut n = [0; 8];
        file.read_exact(&mut n).map_err(|_| truncated())?;
        let header = u64::from_le_bytes(n);
        if header > LONGEST_HEADER {
            return Err(PolicyError::file(path, format!("its header claims {header} bytes: not a safetensors file")));
        }
        if header + 8 > size {
            return Err(truncated());
        }
        let mut buffer = vec![0; header as usize];
        file.read_exact(&mut buffer).map_err(PolicyError::io(path))?;
        let metadata: Metadata = serde_json::from_slice(&buffer)
            .map_err(|e| PolicyError::file(path, format!("not a safetensors file: {e}")))?;
        let have = size - 8 - header;
        let want = metadata.tensors().values().map(|t| t.data_offsets.1 as u64).max().unwrap_or(0);
        if have < want {
            let message =
                format!("truncated: its tensors need {want} bytes and {have} are there; fetch or save it again");
            return Err(PolicyError::file(path, message));
        }
        Ok(Self { path: path.to_owned(), metadata, data: header + 8 })
    }

    fn read(&self, name: &str) -> Result<Vec<f32>, PolicyError> {
        let wrong = |message: String| PolicyError::tensor(&self.path, name, message);
        let info = self.metadata.info(name).ok_or_else(|| wrong("is missing".into()))?;
        let (start, end) = info.data_offsets;
        let mut bytes = vec![0; end - start];
        let mut file = File::open(&self.path).map_err(PolicyError::io(&self.path))?;
        file.seek(SeekFrom::Start(self.data + start as u64)).map_err(PolicyError::io(&self.path))?;
        file.read_exact(&mut bytes).map_err(PolicyError::io(&self.path))?;
        let float_type = FloatType::of_dtype(info.dtype).ok_or_else(|| wrong(unsupported(info.dtype)))?;
        Ok(float_type.decode(&bytes))
    }
}

/// The message about a tensor whose type is not read.
fn unsupported(dtype: Dtype) -> String {
    format!("has type {dtype:?}; supported: F32, F16, BF16")
}

/// The names of the safetensors files of a model's folder: those that the index names, or else `model.safetensors`.
fn weight_files(folder: &Path) -> Result<BTreeSet<String>, PolicyError> {
    let index = folder.join("model.safetensors.index.json");
    let mut files = BTreeSet::from(["model.safetensors".to_owned()]);
    if index.exists() {
        let text = std::fs::read_to_string(&index).map_err(PolicyError::io(&index))?;
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| PolicyError::file(&index, format!("not JSON: {e}")))?;
        let map = json["weight_map"].as_object();
        let map = map.ok_or_else(|| PolicyError::file(&index, "has no `weight_map`"))?;
        files = map.values().filter_map(|v| v.as_str().map(str::to_owned)).collect();
        if let Some(bad) = files.iter().find(|f| f.contains(['/', '\\']) || !f.ends_with(".safetensors")) {
            return Err(PolicyError::file(&index, format!("names a file outside its folder: `{bad}`")));
        }
    } else if !folder.join("model.safetensors").exists() && folder.join("pytorch_model.bin").exists() {
        let message = "is a pickle, which can run code when it is read; convert the model to safetensors";
        return Err(PolicyError::file(&folder.join("pytorch_model.bin"), message));
    }
    Ok(files)
}

/// Whether a folder has all safetensors files of its model.
pub(crate) fn has_weights(folder: &Path) -> bool {
    weight_files(folder).is_ok_and(|files| files.iter().all(|file| folder.join(file).exists()))
}

/// Opens the safetensors files of a model's folder.
fn shards(folder: &Path) -> Result<Vec<Shard>, PolicyError> {
    weight_files(folder)?.into_iter().map(|file| Shard::open(&folder.join(file))).collect()
}

/// The names of the matrices for which a safetensors file of a LoRA adapter has tensors. `prefix`, with which the file
/// begins the name of every tensor, is removed.
pub(crate) fn adapted_matrices(path: &Path, prefix: &str) -> Result<Vec<String>, PolicyError> {
    let shard = Shard::open(path)?;
    let matrix = |tensor: &String| Some(tensor.strip_prefix(prefix)?.strip_suffix(".lora_A.weight")?.to_owned());
    let names: BTreeSet<String> = shard.metadata.tensors().keys().filter_map(matrix).collect();
    Ok(names.into_iter().collect())
}

/// The name under which a layout declares the tensor that a file calls `name`: older BERT files say `gamma` and `beta`
/// for `weight` and `bias` of norms, and the original GPT-2 files lack the prefix `transformer`.
fn layout_name(name: &str, specs: &BTreeMap<&str, &Spec>) -> String {
    let name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias");
    let longer = format!("transformer.{name}");
    if !specs.contains_key(name.as_str()) && specs.contains_key(longer.as_str()) { longer } else { name }
}

/// Whether a tensor is a table that some versions of `transformers` store although the configuration determines it; it
/// is ignored.
fn is_derived(name: &str) -> bool {
    ["inv_freq", "attn.bias", "attn.masked_bias", "embeddings.position_ids"].iter().any(|end| name.ends_with(end))
}

/// Whether a tensor may be missing from the files: with LoRA, a base model's files do not have the adapter's tensors.
fn is_optional(layout: &Layout, spec: &Spec) -> bool {
    layout.lora().is_some() && spec.trained
}

/// The place of a tensor in a model's files.
struct StoredTensor {
    /// Index of the safetensors file that holds the tensor.
    shard: usize,
    /// Name of the tensor in that file.
    name: String,
}

/// The places of a layout's tensors in safetensors files: names, shapes and types are checked, the values are not read
/// yet.
pub struct CheckpointTensors {
    layout: Arc<Layout>,
    path: PathBuf,
    shards: Vec<Shard>,
    /// Place of each tensor, in the layout's order; `None` for a tensor that the files lack.
    stored_tensors: Vec<Option<StoredTensor>>,
}

/// Finds the tensors of a layout in the safetensors files of a Hugging Face folder, and checks every name, shape and
/// type.
pub fn find_in_folder(folder: &Path, layout: &Arc<Layout>) -> Result<CheckpointTensors, PolicyError> {
    find(folder, shards(folder)?, layout)
}

/// Finds the tensors of a layout in one safetensors file, and checks every name, shape and type.
pub fn find_in_file(path: &Path, layout: &Arc<Layout>) -> Result<CheckpointTensors, PolicyError> {
    find(path, vec![Shard::open(path)?], layout)
}

fn find(path: &Path, shards: Vec<Shard>, layout: &Arc<Layout>) -> Result<CheckpointTensors, PolicyError> {
    let specs: BTreeMap<&str, &Spec> = layout.specs().iter().map(|s| (s.name.as_str(), s)).collect();
    let mut stored_tensors: BTreeMap<String, StoredTensor> = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        for name in shard.metadata.tensors().into_keys() {
            stored_tensors.insert(layout_name(&name, &specs), StoredTensor { shard: i, name });
        }
    }
    for (name, spec) in &specs {
        let Some(stored) = stored_tensors.get(*name) else {
            if is_optional(layout, spec) {
                continue;
            }
            return Err(PolicyError::tensor(path, name, "is missing from the checkpoint"));
        };
        let Some(info) = shards[stored.shard].metadata.info(&stored.name) else { continue };
        if info.shape != spec.stored() {
            let message = format!("has shape {:?}; the configuration asks for {:?}", info.shape, spec.stored());
            return Err(PolicyError::tensor(path, name, message));
        }
        if FloatType::of_dtype(info.dtype).is_none() {
            return Err(PolicyError::tensor(path, name, unsupported(info.dtype)));
        }
    }
    // A tied head is sometimes stored a second time. Any other unknown tensor means another architecture.
    let tied = |name: &str| name == "lm_head.weight";
    if let Some(extra) = stored_tensors.keys().find(|n| !specs.contains_key(n.as_str()) && !tied(n) && !is_derived(n)) {
        return Err(PolicyError::tensor(path, extra, "is not a part of the model that config.json describes"));
    }
    let stored_tensors = layout.specs().iter().map(|s| stored_tensors.remove(&s.name)).collect();
    Ok(CheckpointTensors { layout: layout.clone(), path: path.to_owned(), shards, stored_tensors })
}

impl CheckpointTensors {
    /// The type of all tensors of the layout that the files hold; `float32` where they have different types.
    pub fn float_type(&self) -> FloatType {
        let stored = self.stored_tensors.iter().flatten();
        let mut types = stored.filter_map(|tensor| {
            let info = self.shards[tensor.shard].metadata.info(&tensor.name)?;
            FloatType::of_dtype(info.dtype)
        });
        let first = types.next().unwrap_or_default();
        if types.all(|other| other == first) { first } else { FloatType::Float32 }
    }

    /// Reads the tensors one by one, calls `put` with the values of each, and returns the results of these calls. For a
    /// LoRA adapter's tensor that the files lack, `make` gives the values.
    pub fn read<T>(
        self,
        mut make: impl FnMut(&Spec) -> Vec<f32>,
        mut put: impl FnMut(&Spec, Vec<f32>) -> T,
    ) -> Result<Weights<T>, PolicyError> {
        let mut stored_tensors = self.stored_tensors.iter();
        Weights::try_from(&self.layout, |spec| match stored_tensors.next() {
            Some(Some(StoredTensor { shard, name })) => {
                let shard = &self.shards[*shard];
                let values = from_stored(spec, finite(&shard.path, name, shard.read(name)?)?);
                Ok(put(spec, values))
            }
            _ if is_optional(&self.layout, spec) => {
                let values = make(spec);
                Ok(put(spec, values))
            }
            _ => Err(PolicyError::tensor(&self.path, &spec.name, "is missing from the checkpoint")),
        })
    }
}

/// Returns a tensor's values unchanged, or an error that names the first element that is not finite.
pub(crate) fn finite(path: &Path, name: &str, values: Vec<f32>) -> Result<Vec<f32>, PolicyError> {
    match values.iter().position(|x| !x.is_finite()) {
        Some(i) => {
            Err(PolicyError::tensor(path, name, format!("element {i} is {}; the checkpoint is damaged", values[i])))
        }
        None => Ok(values),
    }
}

/// A tensor whose elements can be read in the host's memory, by reference (`Vec<f32>`) or as a copy ([`Weight`]).
pub trait Floats {
    /// The tensor's elements, row by row.
    fn floats(&self) -> Cow<'_, [f32]>;
}

impl Floats for Vec<f32> {
    fn floats(&self) -> Cow<'_, [f32]> {
        self.into()
    }
}

impl Floats for Weight {
    fn floats(&self) -> Cow<'_, [f32]> {
        self.values()
    }
}

/// A tensor as it is given to the safetensors writer. Its bytes are made only when the writer asks for them, so that
/// the bytes of the file are the only copy of the whole model in memory.
struct LazyTensor<'a, T> {
    float_type: FloatType,
    spec: &'a Spec,
    stored_shape: Vec<usize>,
    values: &'a T,
}

impl<T: Floats> View for LazyTensor<'_, T> {
    fn dtype(&self) -> Dtype {
        self.float_type.dtype()
    }

    fn shape(&self) -> &[usize] {
        &self.stored_shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.float_type.encode(&to_stored(self.spec, self.values.floats())).into()
    }

    fn data_len(&self) -> usize {
        self.float_type.bytes() * self.spec.elements()
    }
}

/// The bytes of a safetensors file. The file holds the tensors for which `chosen` returns a name, under that name and in
/// the type `float_type`.
pub fn to_safetensors<T: Floats>(
    weights: &Weights<T>,
    float_type: FloatType,
    chosen: impl Fn(&Spec) -> Option<String>,
) -> Result<Vec<u8>, PolicyError> {
    let view = |spec, values| LazyTensor { float_type, spec, stored_shape: Spec::stored(spec), values };
    let views = weights.entries().filter_map(|(spec, values)| Some((chosen(spec)?, view(spec, values))));
    // `transformers` requires `format: pt`.
    let about = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let wrong = |e: &dyn std::fmt::Display| PolicyError::Serialise { format: "safetensors", message: e.to_string() };
    let views: Vec<_> = views.collect();
    let data: usize = views.iter().map(|(_, tensor)| tensor.data_len()).sum();
    let bytes = safetensors::serialize(views, Some(about)).map_err(|e| wrong(&e))?;
    let header = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n) as usize);
    if bytes.len() == 8 + header + data {
        Ok(bytes)
    } else {
        Err(wrong(&"a tensor does not have as many elements as its shape"))
    }
}
