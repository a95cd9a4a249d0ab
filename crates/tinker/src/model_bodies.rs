//! The JSON of requests about models and of their results, apart from passes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::adam::AdamParams;

#[derive(Serialize)]
pub(crate) struct CreateBody<'a> {
    pub session_id: &'a str,
    pub model_seq_id: u64,
    pub base_model: &'a str,
    pub lora_config: LoraBody,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

#[derive(Serialize)]
pub(crate) struct LoraBody {
    pub rank: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
}

#[derive(Deserialize)]
pub(crate) struct CreatedModel {
    pub model_id: Option<String>,
    pub base_model: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct StepBody<'a> {
    pub model_id: &'a str,
    pub adam_params: AdamParams,
    pub seq_id: u64,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

#[derive(Serialize)]
pub(crate) struct WeightsBody<'a> {
    pub model_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_session_seq_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<bool>,
    pub seq_id: u64,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

#[derive(Serialize)]
pub(crate) struct UnloadBody<'a> {
    pub model_id: &'a str,
    #[serde(rename = "type")]
    pub kind: &'static str,
}

#[derive(Serialize)]
pub(crate) struct InfoBody<'a> {
    pub tinker_path: &'a str,
}

#[derive(Deserialize)]
pub(crate) struct StepResult {
    pub metrics: Option<BTreeMap<String, Option<f64>>>,
}

#[derive(Deserialize)]
pub(crate) struct SavedWeights {
    pub path: Option<String>,
    pub sampling_session_id: Option<String>,
}

/// A result whose content says nothing.
#[derive(Deserialize)]
pub(crate) struct Done {}
