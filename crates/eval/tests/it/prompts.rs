//! Prompts as a local policy gets them, and its replies as tools get them.

use std::path::Path;

use rlar_data::{DataFile, Example, Needs, read_examples};
use rlar_eval::suite::prompts::build_prompts;
use rlar_eval::suite::replies::{GenerationOptions, generate_replies};
use rlar_eval::suite::{LocalPolicy, ReplyGenerator, Suite};
use rlar_eval::{PromptFormat, encode_prompt, prefill};
use rlar_oracles::{needs_oracles, oracle};
use rlar_policy::{ComputeDevice, ModelConfig, Policy, Tokenizer};
use serde_json::{Value, json};

/// A random policy with this chat template, whose tokenizer begins every text with the token `<|system|>`.
fn policy(template: &str) -> Policy {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in Tokenizer::train(["one two 12 + 34 = 46"], 280).unwrap().files().unwrap() {
        let mut json: Value = serde_json::from_str(&text).unwrap();
        if name == "tokenizer.json" {
            let first = json!({ "id": "<|system|>", "ids": [1], "tokens": ["<|system|>"] });
            json["post_processor"] = json!({
                "type": "TemplateProcessing",
                "single": [{ "SpecialToken": { "id": "<|system|>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
                "special_tokens": { "<|system|>": first },
            });
        } else {
            json["chat_template"] = template.into();
        }
        std::fs::write(folder.path().join(name), json.to_string()).unwrap();
    }
    let tokenizer = Tokenizer::load(folder.path(), 280).unwrap();
    let config = ModelConfig::new(json!({
        "model_type": "llama", "vocab_size": 280, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 1024,
    }));
    Policy::random(config.unwrap(), tokenizer, 5, &ComputeDevice::new("cpu").unwrap()).unwrap()
}

fn example(prompt: &str) -> Example {
    let row = json!({ "prompt": prompt }).to_string();
    read_examples(Path::new("x.jsonl"), row.as_bytes(), Needs::Prompt).unwrap().remove(0)
}

const REASONING: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}\
                         {% if add_generation_prompt %}<|assistant|><think>\n{% endif %}";

#[test]
fn a_plain_prompt_has_the_special_tokens_of_a_text_and_a_chat_those_of_its_template() {
    let policy = policy(REASONING);
    for text in ["12 + 34 =", "one\n"] {
        let ids = encode_prompt(&policy.tokenizer, &example(text), PromptFormat::Plain).unwrap();
        assert_eq!(ids, [vec![1], policy.tokenizer.encode(text).unwrap()].concat(), "{text:?}");
        assert_eq!(ids, policy.tokenizer.encode_whole(text).unwrap());
        let ids = encode_prompt(&policy.tokenizer, &example(text), PromptFormat::Chat).unwrap();
        assert_eq!(ids, policy.tokenizer.encode(&format!("<|user|>{text}<|end|><|assistant|><think>\n")).unwrap());
    }
}

#[needs_oracles]
#[test]
fn the_reported_plain_prompt_is_as_long_as_rlar_generate_says() {
    let cases = std::fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let case = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|c| c["id"] == "b38");
    let observed = case.unwrap()["input"]["observed"].as_str().unwrap().to_owned();
    let lengths: Vec<usize> = observed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let ids =
        encode_prompt(&policy(REASONING).tokenizer, &example(&"1".repeat(lengths[0])), PromptFormat::Plain).unwrap();
    assert_eq!(ids.len(), lengths[1]);
}

#[test]
fn a_reply_is_judged_with_the_tag_that_its_prompt_opens() {
    let policy = policy(REASONING);
    assert_eq!(prefill(&policy.tokenizer, &example("12"), PromptFormat::Chat).unwrap(), "<think>\n");
    assert_eq!(prefill(&policy.tokenizer, &example("12"), PromptFormat::Plain).unwrap(), "");
    let yaml = "version: 1\nname: s\ndata: d.jsonl\nprompt: '{{ prompt }}'\nsampling: { max_tokens: 4 }\n\
                tools: [{ tool: think_answer }]\nmetrics: [accuracy]\n";
    let suite = Suite::parse(Path::new("s.yaml"), yaml).unwrap();
    let rows = "{\"prompt\": \"12\"}\n{\"prompt\": \"34\"}";
    let find = |name: &str| Ok(vec![DataFile { path: name.into(), bytes: rows.into() }]);
    let prompts = build_prompts(&suite, &find, None).unwrap();
    let local = LocalPolicy { policy: &policy, identity: "p".into(), batch: 4 };
    let cache = tempfile::tempdir().unwrap();
    let path = cache.path().join("replies.jsonl");
    let options = GenerationOptions { seed: 1, cache: Some(&path), cancelled: &|| false };
    let texts = || {
        let replies = generate_replies(&suite, &prompts, &local, &options, &mut |_| ()).unwrap().unwrap();
        replies.into_iter().flatten().map(|reply| reply.unwrap().text).collect::<Vec<String>>()
    };
    let generated = texts();
    assert!(generated.iter().all(|text| text.starts_with("<think>\n")), "{generated:?}");
    // The cache has what the model wrote, so that replies cached by an earlier build are judged alike.
    let cached = std::fs::read_to_string(&path).unwrap();
    assert!(!cached.contains("<think>") && cached.lines().count() == 2, "{cached}");
    assert_eq!(texts(), generated);
    assert_eq!(local.prefill(&suite, &prompts[0].example).unwrap(), "<think>\n");
}
