//! Demonstrations as token ids: the forms in which a row can give the same exchange.

use std::path::Path;

use rlar_data::{Needs, read_examples};
use rlar_eval::PromptFormat;
use rlar_grpo::train_loop::sft::{Demonstration, demonstrations};
use rlar_oracles::{needs_oracles, oracle};
use rlar_policy::{ComputeDevice, ModelConfig, Policy, Tokenizer};
use serde_json::{Value, json};

/// A policy with a chat template whose tokenizer names another end token than the template uses.
fn policy(template: &str) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in Tokenizer::train(["Hi Hello. user assistant 1 + 1 = 2"], 280).unwrap().files().unwrap() {
        let mut json: Value = serde_json::from_str(&text).unwrap();
        if name == "tokenizer_config.json" {
            json["chat_template"] = template.into();
            json["eos_token"] = "<|system|>".into();
        }
        std::fs::write(folder.path().join(name), json.to_string()).unwrap();
    }
    let tokenizer = Tokenizer::load(folder.path(), 280).unwrap();
    let config = ModelConfig::new(json!({
        "model_type": "llama", "vocab_size": 280, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 128,
    }));
    Policy::random(config.unwrap(), tokenizer, 5, &ComputeDevice::new("cpu").unwrap()).unwrap()
}

fn encoded(policy: &Policy, row: &str, format: PromptFormat) -> Demonstration {
    let examples = read_examples(Path::new("x.jsonl"), row.as_bytes(), Needs::Demonstration).unwrap();
    demonstrations(policy, &examples, format).unwrap().remove(0)
}

const CHATML: &str = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}\
                      {% if add_generation_prompt %}<|assistant|>\n{% endif %}";
const BARE: &str = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                    {% if add_generation_prompt %}assistant: {% endif %}";

#[test]
fn a_prompt_with_a_reply_and_the_same_conversation_are_learned_alike() {
    let pair = json!({ "prompt": "1 + 1 =", "demonstration": "2" }).to_string();
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let talk = json!({ "messages": [turn("user", "1 + 1 ="), turn("assistant", "2")] }).to_string();
    for template in [CHATML, BARE] {
        let policy = policy(template);
        let learned = encoded(&policy, &pair, PromptFormat::Chat);
        assert_eq!(encoded(&policy, &talk, PromptFormat::Chat), learned, "{template}");
        let ids = format!("{learned:?}");
        let end = policy.tokenizer.encode(if template == CHATML { "<|end|>" } else { "<|system|>" }).unwrap()[0];
        assert!(ids.contains(&format!(", {end}], completion_mask")), "{ids} does not end with {end}");
    }
}

#[test]
fn a_plain_demonstration_ends_with_the_tokenizers_end_token() {
    let policy = policy(CHATML);
    let learned = encoded(&policy, r#"{"prompt": "Hi", "demonstration": "Hello."}"#, PromptFormat::Plain);
    let end = policy.tokenizer.encode("<|system|>").unwrap()[0];
    assert!(format!("{learned:?}").contains(&format!(", {end}], completion_mask")), "{learned:?}");
}

#[needs_oracles]
#[test]
fn the_reported_rows_are_learned_alike() {
    let cases = std::fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let cases = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = cases.filter(|case| case["id"] == "b39").map(|case| case["input"]["rows"].clone()).next().unwrap();
    let policy = policy(CHATML);
    let learned = |i: usize| encoded(&policy, rows[i].as_str().unwrap(), PromptFormat::Chat);
    assert_eq!(learned(0), learned(1));
}
