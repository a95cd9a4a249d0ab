//! Reward models: classifiers whose outputs score conversations.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use crate::cache::values;
use crate::chat::Turn;
use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::device::ComputeDevice;
use crate::error::PolicyError;
use crate::float_type::FloatType;
use crate::log_probs::{floats, micro_batches};
use crate::model::{self, GgufMatrices, Head, Loaded, Transformer};
use crate::ops::in_pool;
use crate::optim::Gradients;
use crate::save::{self, File};
use crate::tokenizer::Tokenizer;
use crate::weight::Weight;
use crate::weights::Weights;

/// A reward model: a `…ForSequenceClassification` model (decoder or encoder) with its tokenizer.
#[derive(Clone, Debug)]
pub struct RewardModel {
    model: Transformer,
    /// The model's tokenizer.
    pub tokenizer: Tokenizer,
    config: Arc<ModelConfig>,
    /// The type of the weights in the files from which the model was first loaded.
    float_type: FloatType,
}

/// One input of a reward model: token ids, and the segment of each token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewardInput {
    /// Ids of the tokens; at least one.
    pub ids: Vec<u32>,
    /// Segment (`token_type_ids`) of each token: 0 for the first text of a pair, 1 for the second.
    pub segments: Vec<u32>,
}

impl RewardModel {
    /// Loads a reward model from a Hugging Face folder. A language model is a [`PolicyError::WrongHead`].
    pub fn load(path: &Path, device: &ComputeDevice) -> Result<Self, PolicyError> {
        let Loaded { config, model, tokenizer, float_type, .. } =
            model::load(path, Head::Classifier, device, GgufMatrices::Dequantised)?;
        Ok(Self { model, tokenizer, config, float_type })
    }

    pub(crate) fn assemble(
        model: Transformer,
        tokenizer: Tokenizer,
        config: ModelConfig,
        float_type: FloatType,
    ) -> Self {
        Self { model, tokenizer, config: Arc::new(config), float_type }
    }

    /// The decoder of this reward model; `None` where the model is an encoder.
    pub fn decoder(&self) -> Option<&Decoder> {
        match &self.model {
            Transformer::Decoder(decoder) => Some(decoder),
            Transformer::Encoder(_) => None,
        }
    }

    /// The decoder of this reward model, to change it in place; `None` where the model is an encoder.
    pub fn decoder_mut(&mut self) -> Option<&mut Decoder> {
        match &mut self.model {
            Transformer::Decoder(decoder) => Some(decoder),
            Transformer::Encoder(_) => None,
        }
    }

    /// The files of a Hugging Face folder that holds this model exactly, with the weights in `f32`.
    pub fn files(&self) -> Result<Vec<File>, PolicyError> {
        save::exact_files(&self.config, self.weights(), &self.tokenizer, self.float_type)
    }

    /// The files of this model for others, like [`RewardModel::files`], but with the weights in the type `float_type`,
    /// rounded to nearest; without it in the type of the files from which the model was first loaded (`f32` for one made
    /// from a GGUF file or a new model). Where that type cannot represent all weights, they are in `f32`.
    pub fn published_files(&self, float_type: Option<FloatType>) -> Result<Vec<File>, PolicyError> {
        let float_type = float_type.unwrap_or(self.float_type);
        save::published_files(&self.config, self.weights(), &self.tokenizer, float_type)
    }

    /// Number of outputs per input.
    pub fn labels(&self) -> usize {
        self.config.labels.unwrap_or(1)
    }

    /// Largest number of tokens of an input.
    pub fn positions(&self) -> usize {
        self.config.positions()
    }

    /// Turns a conversation into the model's input. A model with a chat template reads the conversation through it. Any
    /// other model reads a pair of texts: all turns but the last, and the last turn. Without a chat template, an empty
    /// conversation is an error.
    pub fn input(&self, turns: &[Turn]) -> Result<RewardInput, PolicyError> {
        if self.tokenizer.has_template() {
            let ids = self.tokenizer.encode(&self.tokenizer.chat(turns, false)?)?;
            return Ok(RewardInput { segments: vec![0; ids.len()], ids });
        }
        let (answer, question) = match turns {
            [.., answer] => (answer.content, turns[..turns.len() - 1].iter().map(|t| t.content)),
            [] => return Err(PolicyError::EmptyConversation),
        };
        let question = question.collect::<Vec<_>>().join("\n");
        let (ids, segments) = self.tokenizer.encode_pair(&question, answer)?;
        Ok(RewardInput { ids, segments })
    }

    /// Computes the outputs of every input, `[labels]` each, in the order of the inputs. They run sorted by length,
    /// about `tokens` tokens at a time. An input that is empty or too long is an error.
    pub fn outputs(&self, inputs: &[RewardInput], tokens: usize) -> Result<Vec<Vec<f32>>, PolicyError> {
        let room = self.positions();
        if let Some(index) = inputs.iter().position(|x| x.ids.is_empty() || x.ids.len() > room) {
            return Err(PolicyError::InputLength { index, tokens: inputs[index].ids.len(), most: room });
        }
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        order.sort_by_key(|i| inputs[*i].ids.len());
        let mut out = vec![Vec::new(); inputs.len()];
        for piece in micro_batches(order.iter().map(|i| inputs[*i].ids.len()), tokens) {
            let piece = &order[piece];
            let batch: Vec<&RewardInput> = piece.iter().map(|i| &inputs[*i]).collect();
            let rows = in_pool(|| values(self.forward(&batch)));
            for (i, row) in piece.iter().zip(rows.chunks_exact(self.labels())) {
                if let Some(value) = row.iter().copied().find(|x| !x.is_finite()) {
                    return Err(PolicyError::ScoreNotFinite { index: *i, value });
                }
                out[*i] = row.to_vec();
            }
        }
        Ok(out)
    }

    /// Computes the outputs `[inputs, labels]`. They are differentiable when `self` is a [`RewardModel::with_grad`]
    /// view.
    pub fn forward(&self, inputs: &[&RewardInput]) -> Tensor<2> {
        let ids: Vec<u32> = inputs.iter().flat_map(|x| x.ids.iter().copied()).collect();
        let lens: Vec<usize> = inputs.iter().map(|x| x.ids.len()).collect();
        match &self.model {
            Transformer::Encoder(encoder) => {
                let segments: Vec<u32> = inputs.iter().flat_map(|x| x.segments.iter().copied()).collect();
                encoder.outputs(&ids, &segments, &lens)
            }
            Transformer::Decoder(decoder) => {
                let hidden = decoder.hidden(&ids, &lens);
                let padding = self.config.padding();
                let ends = inputs.iter().scan(0usize, |start, x| {
                    // The output is read at the last token that is not padding, as in `transformers`, even where a
                    // padding token is within the text.
                    let last = x.ids.iter().rposition(|id| Some(*id) != padding).unwrap_or(0);
                    let at = *start + last;
                    *start += x.ids.len();
                    Some(at as i64)
                });
                decoder.logits(&Decoder::select_rows(hidden, ends.collect()))
            }
        }
    }

    /// Runs forward and backward passes and adds the gradient of a loss to `gradients`. The loss is given by its
    /// derivatives: `slopes` is called with the first output of every input, `[inputs]`, and returns the derivative of
    /// the loss with respect to each of them.
    pub fn backward(
        &self,
        gradients: &mut Gradients,
        inputs: &[&RewardInput],
        slopes: impl FnOnce(&[f32]) -> Vec<f32> + Send,
    ) {
        in_pool(|| {
            let tracked = self.with_grad();
            let scores: Tensor<1> = tracked.forward(inputs).narrow(1, 0, 1).reshape([inputs.len()]);
            let slopes = TensorData::new(slopes(&floats(&scores)), [inputs.len()]);
            let slopes = Tensor::<1>::from_data(slopes, &scores.device().without_autodiff());
            gradients.accumulate(tracked.weights(), &(scores * slopes).sum());
        });
    }

    /// A view of this reward model whose trained weights record gradients.
    #[must_use]
    pub fn with_grad(&self) -> Self {
        let model = match &self.model {
            Transformer::Decoder(d) => Transformer::Decoder(d.with_grad()),
            Transformer::Encoder(e) => Transformer::Encoder(e.with_grad()),
        };
        Self { model, ..self.clone() }
    }

    /// The weights: tensors on the model's device, outside autodiff.
    pub fn weights(&self) -> &Weights<Weight> {
        match &self.model {
            Transformer::Decoder(d) => d.weights(),
            Transformer::Encoder(e) => e.weights(),
        }
    }
}
