//! Chat templates against `apply_chat_template` (`scripts/oracles/make_chat_fixtures.py`), and single features
//! of Jinja against Jinja itself (`scripts/oracles/make_jinja_fixtures.py`).

use std::fs;

use rlar_oracles::{needs_oracles, oracle};
use rlar_policy::chat::{ChatTemplate, on_rendering_thread};
use rlar_policy::{Conversation, Tokenizer, Turn};
use serde_json::{Value, json};

fn fixture(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    serde_json::from_str(&fs::read_to_string(format!("{folder}/{name}")).unwrap()).unwrap()
}

fn conversation(case: &Value) -> Conversation {
    Conversation {
        messages: case["messages"].as_array().unwrap().clone(),
        tools: case["tools"].as_array().cloned().unwrap_or_default(),
        generation: case["add_generation_prompt"].as_bool().unwrap(),
        variables: case["extra"].as_object().unwrap().clone(),
        now: "2025-01-02T03:04:05".parse().ok(),
    }
}

fn template(source: &str) -> ChatTemplate {
    let tokens = [("bos_token", "<s>"), ("eos_token", "</s>")];
    let tokens = tokens.map(|(name, token)| (name.to_owned(), token.to_owned())).to_vec();
    ChatTemplate { source: source.to_owned(), tokens, today: None }
}

#[test]
fn every_feature_renders_as_transformers_renders_it() {
    let cases = fixture("chats.json");
    let cases = cases.as_array().unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let rendered = template(case["template"].as_str().unwrap()).render(&conversation(case));
        let Some(text) = case["text"].as_str() else {
            let error = rendered.unwrap_err().to_string();
            assert!(error.contains(case["error"].as_str().unwrap()), "{name}: {error}");
            continue;
        };
        let rendered = rendered.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(rendered.text, text, "{name}");
        let marked: Vec<&str> = rendered.assistant.iter().map(|s| &rendered.text[s.clone()]).collect();
        let wanted: Vec<&str> = case["assistant"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
        assert_eq!(marked, wanted, "{name}: what the model writes");
    }
}

#[test]
fn conversations_with_tools_and_thoughts_are_rendered_by_the_templates_of_qwen() {
    let record = fixture("chats-qwen.json");
    let templates = record["templates"].as_object().unwrap();
    let mut rendered = 0;
    for case in record["cases"].as_array().unwrap() {
        for (name, text) in case["texts"].as_object().unwrap() {
            let found = template(templates[name].as_str().unwrap()).render(&conversation(case));
            let found = found.unwrap_or_else(|e| panic!("{name}, {}: {e}", case["name"]));
            assert_eq!(found.text, text.as_str().unwrap(), "{name}, {}", case["name"]);
            rendered += 1;
        }
    }
    assert!(templates.len() == 4 && rendered > 60, "{rendered} conversations");
}

/// What the templates of `scripts/oracles/make_jinja_fixtures.py` are rendered to, or why they cannot be.
fn rendered(variables: &Value, source: &str) -> Result<String, String> {
    let mut variables = variables.as_object().unwrap().clone();
    let messages = variables.shift_remove("messages").unwrap().as_array().unwrap().clone();
    let conversation = Conversation { messages, variables, ..Conversation::default() };
    let template = ChatTemplate { source: source.to_owned(), ..ChatTemplate::default() };
    template.render(&conversation).map(|rendered| rendered.text).map_err(|e| e.to_string())
}

#[test]
fn every_snippet_renders_as_jinja_renders_it() {
    let all = fixture("jinja.json");
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() > 150);
    for case in cases {
        let source = case["template"].as_str().unwrap();
        let text = rendered(&all["variables"], source);
        match case["text"].as_str() {
            Some(wanted) => assert_eq!(text.as_deref(), Ok(wanted), "{source}"),
            None => assert!(text.is_err(), "{source}: {text:?}"),
        }
    }
}

#[needs_oracles]
#[test]
fn the_reported_templates_are_rendered() {
    let cases = fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let case = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|c| c["id"] == "b43");
    let variables = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
    let templates = case.unwrap()["input"]["templates"].clone();
    let texts: Vec<String> =
        templates.as_array().unwrap().iter().map(|t| rendered(&variables, t.as_str().unwrap()).unwrap()).collect();
    assert_eq!(texts, [r#"[{"role":"user","content":"Hi"}]"#, "y", "a-005", r#"{"t": 1e-07}"#]);
}

#[test]
fn rewriting_a_template_leaves_texts_and_comments_as_they_are() {
    for (source, text) in [
        ("100 % of {# 'a' % 1 #}it", "100 % of it"),
        ("{% raw %}{{ 'a' % 1 }}{% generation %}{% endraw %}", "{{ 'a' % 1 }}{% generation %}"),
        ("{{ '5 % 2' }}{{ \"}}\" }}{{ {'a': {'b': 5 % 3}}.a.b }}", "5 % 2}}2"),
        ("{{ 2 * 7 % 4 }}{{ -7 % 4 }}{{ 9 % 4 * 2 }}{{ 2 ** 3 % 5 }}{{ 17 % 2 ** 3 }}", "21231"),
        ("{{ 1 if 7 % 2 else 2 }}{{ 7 % 2 == 1 and not 8 % 2 }}{{ [8 % 3, (9 % 4)] }}{{ 8 - 7 % 4 }}", "1True[2, 1]5"),
    ] {
        assert_eq!(rendered(&json!({ "messages": [] }), source).as_deref(), Ok(text), "{source}");
    }
}

/// A tokenizer with a chat template, from a folder as a user has it.
fn tokenizer(source: &str) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in Tokenizer::train(["one two three", "It is 4. Five."], 300).unwrap().files().unwrap() {
        fs::write(folder.path().join(name), text).unwrap();
    }
    fs::write(folder.path().join("chat_template.jinja"), source).unwrap();
    Tokenizer::load(folder.path(), 300).unwrap()
}

fn learned(source: &str) -> Result<Vec<String>, String> {
    let tokenizer = tokenizer(source);
    let turns = [("user", "one"), ("assistant", "two three"), ("user", "one two"), ("assistant", "4. Five")];
    let messages = turns.map(|(role, content)| json!({ "role": role, "content": content })).to_vec();
    let (ids, own) =
        tokenizer.masked(&Conversation { messages, ..Conversation::default() }).map_err(|e| e.to_string())?;
    assert_eq!(ids.len(), own.len());
    let mut parts: Vec<Vec<u32>> = vec![Vec::new()];
    for (id, own) in ids.iter().zip(own) {
        if own {
            parts.last_mut().unwrap().push(*id);
        } else if !parts.last().unwrap().is_empty() {
            parts.push(Vec::new());
        }
    }
    Ok(parts.iter().filter(|p| !p.is_empty()).map(|p| tokenizer.decode(p).unwrap()).collect())
}

#[test]
fn the_mask_of_a_conversation_holds_the_replies_marked_or_not() {
    let marked = "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}{{ m.content }}!\
                  {% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}";
    assert_eq!(learned(marked).unwrap(), ["two three!", "4. Five!"]);
    let unmarked = "{% for m in messages %}[{{ m.role }}]{{ m.content }};{% endfor %}\
                    {% if add_generation_prompt %}[assistant]{% endif %}";
    assert_eq!(learned(unmarked).unwrap(), ["two three;", "4. Five;"]);
}

#[test]
fn a_template_that_rewrites_earlier_turns_cannot_be_masked_by_guessing() {
    let rewriting = "{% for m in messages %}{% if loop.last %}[last]{% endif %}{{ m.content }}{% endfor %}\
                     {% if add_generation_prompt %}[assistant]{% endif %}";
    assert!(learned(rewriting).unwrap_err().contains("{% generation %}"));
}

#[test]
fn a_broken_template_is_an_error_that_names_it() {
    for (source, word) in [("{% for m in messages %}", "unexpected end"), ("{{ messages.x.y }}", "undefined")] {
        let error = template(source).render(&Conversation::default()).unwrap_err().to_string();
        assert!(error.contains("chat template") && error.contains(word), "{error}");
    }
}

#[test]
fn a_hostile_template_ends_with_an_error() {
    let deep = format!("{{{{ {}1 }}}}", "-".repeat(60_000));
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = ns %}{{ ns | tojson }}",
        "{{ messages | tojson(indent=10000000000000) }}",
        &" ".repeat(100_000),
    ] {
        let error = template(source).render(&Conversation::default()).unwrap_err().to_string();
        assert!(error.contains("chat template"), "{error}");
    }
    // Whatever it comes to, it comes to an end.
    let _ = template(&deep).render(&Conversation::default());
}

/// The number of the thread that this process starts next.
fn next_thread() -> u64 {
    let id = std::thread::spawn(|| format!("{:?}", std::thread::current().id())).join().unwrap();
    id.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

#[test]
fn ten_thousand_conversations_do_not_need_a_thread_each() {
    let chat = template("{% for m in messages %}[{{ m.content }}]{% endfor %}");
    let text = |i: usize| {
        let content = i.to_string();
        chat.render(&Conversation::new(&[Turn { role: "user", content: &content }], true)).unwrap().text
    };
    let before = next_thread();
    let texts = on_rendering_thread(|| (0..10_000).map(text).collect::<Vec<String>>()).unwrap();
    let started = next_thread() - before;
    // Other tests start threads at the same time, but not as many.
    assert!(started < 2000, "{started} threads");
    assert!(texts.iter().enumerate().all(|(i, text)| *text == format!("[{i}]")));
}

#[test]
fn a_hostile_template_spoils_no_other_on_its_thread() {
    let good = template("{{ messages[0].content }} in {{ strftime_now('%Y') }}");
    let rendered = |year: i32| {
        let messages = vec![json!({ "role": "user", "content": "Hello" })];
        let now = format!("{year}-01-02T03:04:05").parse().ok();
        good.render(&Conversation { messages, now, ..Conversation::default() }).unwrap().text
    };
    on_rendering_thread(|| {
        for (i, source) in
            ["{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "{% if %}"]
                .into_iter()
                .enumerate()
        {
            assert!(template(source).render(&Conversation::default()).is_err());
            // The steps of one rendering are not those of the next, and every conversation has its own time.
            let year = 2001 + i as i32;
            assert_eq!(rendered(year), format!("Hello in {year}"));
            assert_eq!(rendered(year + 10), format!("Hello in {}", year + 10));
        }
    })
    .unwrap();
}

#[test]
fn what_a_user_writes_cannot_pass_for_the_models_words() {
    let marked = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
    for text in ["a\u{FDD1}b", "a\u{FDD0}b"] {
        let messages = vec![json!({ "role": "user", "content": text })];
        assert!(template(marked).render(&Conversation { messages, ..Conversation::default() }).is_err());
    }
    let messages = vec![json!({ "role": "user", "content": "Klingon \u{F8E0}\u{F8E1}" })];
    let rendered = template("{{ messages[0].content }}").render(&Conversation { messages, ..Conversation::default() });
    assert_eq!(rendered.unwrap().text, "Klingon \u{F8E0}\u{F8E1}");
}
