//! How chat templates begin and end the model's turns.

use std::fs;

use rlar_policy::gguf::Gguf;
use rlar_policy::{Conversation, Tokenizer, Turn, with_prefill};
use serde_json::{Value, json};

/// A tokenizer from a folder as a user has it, with further special tokens and other values in `tokenizer_config.json`.
fn tokenizer(template: &str, special: &[&str], config: &Value) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["user: Hi\nassistant: Hello there.\n", "one two three <think> </think> <im_end>"];
    for (name, text) in Tokenizer::train(texts, 300).unwrap().files().unwrap() {
        let mut json: Value = serde_json::from_str(&text).unwrap();
        if name == "tokenizer.json" {
            for (i, token) in special.iter().enumerate() {
                let token = json!({ "id": 300 + i, "content": token, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false, "special": true });
                json["added_tokens"].as_array_mut().unwrap().push(token);
            }
        } else {
            json["chat_template"] = template.into();
            json.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        }
        fs::write(folder.path().join(name), json.to_string()).unwrap();
    }
    Tokenizer::load(folder.path(), 310).unwrap()
}

/// A template with this text behind the header of the reply that is wanted.
fn opening(header: &str) -> String {
    format!(
        "{{% for m in messages %}}<|{{{{ m.role }}}}|>{{{{ m.content }}}}<|end|>{{% endfor %}}\
         {{% if add_generation_prompt %}}<|assistant|>{header}{{% endif %}}"
    )
}

const HI: [Turn; 1] = [Turn { role: "user", content: "Is <b> a tag?" }];

#[test]
fn a_tag_that_the_template_leaves_open_is_the_beginning_of_the_reply() {
    for (header, prefill) in [
        ("", ""),
        ("<think>\n", "<think>\n"),
        ("Let me see.\n<reasoning>", "<reasoning>"),
        ("<thinking>\nOkay, ", "<thinking>\nOkay, "),
        ("<think>\n\n</think>\n\n", ""),
        ("<plan></plan><answer>", "<answer>"),
        ("<assistant>\n", ""),
        ("<hidden>", ""),
        ("2 < 3 > 1 ", ""),
    ] {
        let tokenizer = tokenizer(&opening(header), &["<hidden>"], &json!({}));
        assert_eq!(tokenizer.chat_prefill(&HI).unwrap(), prefill, "{header:?}");
    }
}

#[test]
fn a_plain_prompt_begins_the_reply_only_with_the_tag_at_its_end() {
    let tokenizer = tokenizer(&opening(""), &[], &json!({}));
    for (prompt, prefill) in [
        ("Question: 1+1?\nAnswer: <think>\n", "<think>\n"),
        ("<think> is a tag", ""),
        ("if a <b then c>", ""),
        ("<p>all</p>", ""),
        ("Human: Hi\n<assistant>", ""),
    ] {
        assert_eq!(tokenizer.plain_prefill(prompt), prefill, "{prompt:?}");
    }
    assert_eq!(with_prefill("<think>\n", "Hm.</think>".into()), "<think>\nHm.</think>");
    assert_eq!(with_prefill("<think>\n", "<think>Hm.</think>".into()), "<think>Hm.</think>");
}

/// The learned tokens of a conversation, and the tokens of the same exchange as a demonstration.
fn both_forms(tokenizer: &Tokenizer, turns: &[Turn], reply: &str) -> (Vec<u32>, Vec<u32>) {
    let demonstration = tokenizer.demonstration(turns, reply).unwrap();
    let answered: Vec<Turn> = turns.iter().cloned().chain([Turn { role: "assistant", content: reply }]).collect();
    let (ids, mask) = tokenizer.masked(&Conversation::new(&answered, false)).unwrap();
    let learned = ids.iter().zip(&mask).filter(|(_, learned)| **learned).map(|(id, _)| *id).collect();
    (learned, demonstration.reply)
}

#[test]
fn a_demonstration_ends_as_the_template_ends_a_turn() {
    let chatml = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                  {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let gemma = "{% for m in messages %}<sot>{{ 'model' if m.role == 'assistant' else m.role }}\n\
                 {{ m.content | trim }}<eot>\n{% endfor %}{% if add_generation_prompt %}<sot>model\n{% endif %}";
    let llama = "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]\
                 {% else %} {{ m.content }} <eos>{% endif %}{% endfor %}";
    let marked = "{% for m in messages %}<sot>{{ m.role }}:{% if m.role == 'assistant' %}{% generation %}\
                  {{ m.content }}<eot>{% endgeneration %}{% else %}{{ m.content }}<eot>{% endif %}{% endfor %}\
                  {% if add_generation_prompt %}<sot>assistant:{% endif %}";
    let phi = "{% for m in messages %}<sot>{{ m.role }}\n{{ m.content }}<eot>\n{% endfor %}\
               {% if add_generation_prompt %}<sot>assistant\n{% else %}{{ eos_token }}{% endif %}";
    for (template, special, ends_with) in [
        (chatml, &["<|im_start|>", "<|im_end|>"][..], "<|im_end|>"),
        (gemma, &["<sot>", "<eot>"], "<eot>"),
        (llama, &["<eos>"], "<eos>"),
        (marked, &["<sot>", "<eot>"], "<eot>"),
        (phi, &["<sot>", "<eot>"], "<eot>"),
    ] {
        let tokenizer = tokenizer(template, special, &json!({ "eos_token": "<|system|>" }));
        let (learned, demonstrated) = both_forms(&tokenizer, &HI[..], "Hello.");
        let end = tokenizer.encode(ends_with).unwrap();
        assert_eq!((learned.last(), end.len()), (end.last(), 1), "{template}");
        assert_eq!(demonstrated, learned, "{template}");
        // A model that learned this end of a turn must be able to stop with it.
        assert!(tokenizer.eos().contains(&end[0]), "{template}");
        assert_eq!(tokenizer.eos()[0], tokenizer.encode("<|system|>").unwrap()[0], "{template}");
    }
}

#[test]
fn where_the_template_ends_no_turn_the_tokenizers_end_token_does() {
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                    {% if add_generation_prompt %}assistant: {% endif %}";
    let tokenizer = tokenizer(template, &[], &json!({}));
    assert!(!tokenizer.ends_turns());
    let demonstration = tokenizer.demonstration(&HI, "Hello.").unwrap();
    assert_eq!(tokenizer.decode(&demonstration.reply).unwrap().trim_start(), "Hello.");
    assert_eq!(demonstration.reply.last(), tokenizer.eos().first());
}

#[test]
fn a_tokenizer_that_begins_texts_with_a_space_begins_no_reply_with_two() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gguf/tokenizer-sentencepiece.gguf");
    let original = Tokenizer::from_gguf(path.as_ref(), &Gguf::open(path.as_ref()).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in original.files().unwrap() {
        let mut json: Value = serde_json::from_str(&text).unwrap();
        if name == "tokenizer_config.json" {
            json["chat_template"] = "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]\
                                     {% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
                .into();
        }
        fs::write(folder.path().join(name), json.to_string()).unwrap();
    }
    let tokenizer = Tokenizer::load(folder.path(), original.vocab_size()).unwrap();
    let (learned, demonstrated) = both_forms(&tokenizer, &HI[..], "and more");
    assert_eq!(demonstrated, learned);
    assert_eq!(tokenizer.decode(&demonstrated).unwrap().trim_start(), "and more ");
}

#[test]
fn a_demonstration_does_not_repeat_the_tag_that_the_prompt_opens() {
    let tokenizer = tokenizer(&opening("<think>\n"), &[], &json!({}));
    for reply in ["<think>\nHm.\n</think>\nHello.", "Hm.\n</think>\nHello."] {
        let demonstration = tokenizer.demonstration(&HI, reply).unwrap();
        assert_eq!(tokenizer.decode(&demonstration.reply).unwrap(), "Hm.\n</think>\nHello.");
        assert!(tokenizer.decode(&demonstration.prompt).unwrap().ends_with("<think>\n"));
        assert_eq!(demonstration.reply.last(), tokenizer.eos().first());
    }
}
