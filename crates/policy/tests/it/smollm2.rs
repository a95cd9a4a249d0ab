//! SmolLM2-135M-Instruct from its GGUF file against recorded outputs of `transformers`.

use rlar_oracles::{model, needs_models, needs_oracles, oracle};
use rlar_policy::gguf::Gguf;
use rlar_policy::{ComputeDevice, GenerationRequest, Policy, Sampling, Sequence, Turn};
use serde_json::Value;

#[needs_models]
#[needs_oracles]
#[test]
// Where neither variable is set, both attributes ignore the test.
#[allow(unused_attributes)]
fn tensors_tokens_and_log_probs_match_transformers() {
    let path = model!("SmolLM2-135M-Instruct.Q4_1.gguf");
    let record = oracle!("data/smollm2_oracle/oracle.json");
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let gguf = Gguf::open(&path).unwrap();
    for (name, want) in record["tensors"].as_object().unwrap() {
        let (values, _) = gguf.tensor(name).unwrap();
        for (a, b) in values.iter().zip(want["first8"].as_array().unwrap()) {
            assert!((f64::from(*a) - b.as_f64().unwrap()).abs() < 1e-6, "{name}: {a} is not {b}");
        }
        let sum: f64 = values.iter().map(|x| f64::from(*x)).sum();
        let l2 = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        for (ours, theirs) in [(sum, &want["sum"]), (l2, &want["l2"])] {
            let theirs = theirs.as_f64().unwrap();
            assert!((ours - theirs).abs() <= 1e-5 * theirs.abs(), "{name}: {ours} is not {theirs}");
        }
    }

    let policy = Policy::load(&path, &ComputeDevice::new("cpu").unwrap()).unwrap();
    let ids = |v: &Value| -> Vec<u32> { v.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect() };
    let cases = record["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let name = &case["name"];
        let prompt = policy.tokenizer.encode(case["prompt"].as_str().unwrap()).unwrap();
        assert_eq!(prompt, ids(&case["prompt_ids"]), "{name}: tokens");
        let hidden = policy.decoder.hidden(&prompt, &[prompt.len()]);
        let logits = policy.decoder.logits(&hidden.narrow(0, prompt.len() - 1, 1)).into_data();
        let logits = logits.as_slice::<f32>().unwrap();
        for (id, want) in ids(&case["last_top10_ids"]).iter().zip(case["last_top10_logits"].as_array().unwrap()) {
            let off = f64::from(logits[*id as usize]) - want.as_f64().unwrap();
            assert!(off.abs() < 1e-3, "{name}: logit of {id} is off by {off}");
        }
        let sequence = Sequence { prompt: &prompt[..1], completion: &prompt[1..] };
        let sum: f32 = policy.decoder.log_probs(&[sequence], 1.0).log_probs.sum().into_scalar();
        let want = case["prompt_logprob_sum"].as_f64().unwrap();
        assert!((f64::from(sum) - want).abs() < 1e-3 * prompt.len() as f64, "{name}: {sum} is not {want}");
        let request = [GenerationRequest { prompt, seeds: vec![0] }];
        let want = ids(&case["greedy_ids"]);
        let greedy = Sampling { temperature: 0.0, max_tokens: want.len(), ..Sampling::default() };
        let out = policy.engine(1).generate(&request, &greedy).unwrap();
        assert_eq!(out[0][0].tokens, want, "{name}: greedy tokens");
        for (a, b) in out[0][0].log_probs.iter().zip(case["greedy_logprobs"].as_array().unwrap()) {
            assert!((f64::from(*a) - b.as_f64().unwrap()).abs() < 1e-3, "{name}: log-prob {a} is not {b}");
        }
    }
    let chat =
        policy.tokenizer.chat(&[Turn { role: "user", content: "What is the capital of France?" }], true).unwrap();
    assert_eq!(chat, cases[0]["prompt"].as_str().unwrap());
}
