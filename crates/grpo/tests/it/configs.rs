use rlar_grpo::Config;
use rlar_oracles::{needs_oracles, oracle};
use serde_json::{Value, json};

/// The keys that a config is refused for.
fn refused(yaml: Value) -> Vec<String> {
    let config: Config = serde_json::from_value(yaml).unwrap();
    config.problems().into_iter().map(|problem| problem.key).collect()
}

fn with(section: &str, value: &Value) -> Vec<String> {
    let mut yaml = json!({ "version": 1, "model": { "path": "m" }, "data": { "train": "a" } });
    yaml[section] = value.clone();
    refused(yaml)
}

#[test]
fn impossible_configs_are_named_by_key() {
    let yaml = json!({
        "version": 2, "device": "gpu", "model": {}, "data": { "train": "a", "heldout": "b" },
        "warmup": { "steps": 5 }, "train": { "prompts": 2, "minibatches": 3 },
    });
    assert_eq!(refused(yaml), ["version", "model", "data", "train.minibatches", "device"]);
}

#[test]
fn a_batch_that_does_not_divide_is_refused() {
    assert_eq!(with("train", &json!({ "prompts": 10, "minibatches": 4 })), ["train.minibatches"]);
    assert!(with("train", &json!({ "prompts": 12, "minibatches": 4 })).is_empty());
}

#[test]
fn parts_of_an_algorithm_that_do_not_fit_are_refused() {
    let algorithm = |value: Value| with("algorithm", &value);
    assert!(algorithm(json!({})).is_empty());
    assert_eq!(algorithm(json!({ "advantage": "pass_at_k", "pass_k": 9 })), ["algorithm.pass_k"]);
    assert_eq!(algorithm(json!({ "surrogate": "cispo", "dual_clip": 3.0 })), ["algorithm.dual_clip"]);
    assert_eq!(algorithm(json!({ "ratio_max": 1.1 })), ["algorithm.ratio_max"]);
    assert_eq!(algorithm(json!({ "kl": { "estimator": "k1", "in": "reward" } })), ["algorithm.kl.in"]);
    assert_eq!(algorithm(json!({ "kl": { "reanchor_every": 5 } })), ["algorithm.kl"]);
    assert_eq!(algorithm(json!({ "correction": { "mode": "token_mask", "low": 3.0 } })), ["algorithm.correction.low"]);
    let twice = json!({ "surrogate": "vespo", "correction": { "mode": "sequence_mask" } });
    assert_eq!(algorithm(twice), ["algorithm.correction.mode"]);
    let overlong = |soft: usize, combine: &str| json!({ "overlong": { "soft_tokens": soft }, "combine": combine });
    assert_eq!(algorithm(overlong(1000, "sum_then_normalise")), ["algorithm.overlong.soft_tokens"]);
    assert_eq!(algorithm(overlong(16, "normalise_then_sum")), ["algorithm.overlong.soft_tokens"]);
    assert!(algorithm(overlong(16, "sum_then_normalise")).is_empty());
}

#[test]
fn learned_weights_need_a_run_whose_scores_are_normalised_one_by_one() {
    let with = |method: &str, combine: &str| {
        let mut yaml =
            json!({ "version": 1, "model": { "path": "m" }, "data": { "train": "a", "demonstrations": "b" } });
        yaml["rewards"] = json!({ "weights": "learned" });
        yaml["train"] = json!({ "method": method });
        yaml["algorithm"] = json!({ "combine": combine });
        refused(yaml)
    };
    assert!(with("grpo", "normalise_then_sum").is_empty());
    assert_eq!(with("grpo", "sum_then_normalise"), ["rewards.weights"]);
    assert_eq!(with("sft", "normalise_then_sum"), ["rewards.weights"]);
}

#[test]
fn a_stop_text_that_cuts_off_what_is_scored_is_refused() {
    let with = |stop: &str, include: bool, scored: Value| {
        let mut yaml = json!({ "version": 1, "model": { "path": "m" }, "data": { "train": "a" } });
        yaml["sampling"] = json!({ "stop": [stop, "\n\n\n"], "include_stop": include });
        yaml["rewards"] = json!({ "scored": scored });
        refused(yaml)
    };
    let within = || json!({ "within": "result" });
    assert_eq!(with("</result>", false, within()), ["sampling.stop"]);
    assert_eq!(with("result>", false, within()), ["sampling.stop"]);
    assert_eq!(with("</", true, within()), ["sampling.stop"]);
    assert_eq!(with("</reason>", false, json!({ "after": "</reason>" })), ["sampling.stop"]);
    assert_eq!(with("</reason>", true, json!({ "after": "</reason>" })), ["sampling.stop"]);
    assert!(with("</result>", true, within()).is_empty());
    assert!(with("</other>", false, within()).is_empty());
    assert!(with("</result>", false, json!({ "after": "</reason>" })).is_empty());
}

#[test]
fn what_vllm_servers_cannot_sample_is_refused_by_key() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut yaml = json!({
            "version": 1, "model": { "path": "m", "lora": { "rank": 8 } }, "data": { "train": "a" },
            "sampling": { "engine": "vllm", "vllm": { "servers": ["http://gpu-1:8000", "https://gpu-2/vllm"] } },
        });
        change(&mut yaml);
        refused(yaml)
    };
    assert!(with(&|_| ()).is_empty());
    for (key, value) in
        [("top_p", json!(0.9)), ("top_k", json!(50)), ("min_p", json!(0.1)), ("repetition_penalty", json!(1.1))]
    {
        assert_eq!(with(&|yaml| yaml["sampling"][key] = value.clone()), [format!("sampling.{key}")]);
    }
    assert_eq!(with(&|yaml| yaml["sampling"]["temperature"] = json!(0.005)), ["sampling.temperature"]);
    assert_eq!(with(&|yaml| yaml["sampling"]["vllm"] = json!({})), ["sampling.vllm"]);
    assert_eq!(with(&|yaml| yaml["sampling"]["engine"] = json!("local")), ["sampling.vllm"]);
    for server in ["gpu-1:8000", "http://user:word@gpu-1", "http://gpu-1:8000"] {
        let key = ["sampling.vllm.servers[2]"];
        let servers = json!(["http://gpu-1:8000", "http://gpu-2:8000", server]);
        assert_eq!(with(&|yaml| yaml["sampling"]["vllm"]["servers"] = servers.clone()), key);
    }
    let start = |start: Value| with(&|yaml| yaml["sampling"]["vllm"] = json!({ "start": start }));
    assert!(start(json!({ "command": ["vllm", "serve", "{model}", "--port", "{port}"] })).is_empty());
    assert_eq!(start(json!({})), ["sampling.vllm.start.command"]);
    assert_eq!(start(json!({ "command": ["vllm", "serve", "{model}"] })), ["sampling.vllm.start.command"]);
    assert_eq!(start(json!({ "command": ["{port}"], "deadline": 1e300 })), ["sampling.vllm.start.deadline"]);
    assert_eq!(with(&|yaml| yaml["sampling"]["vllm"]["start"] = json!({ "command": ["{port}"] })), ["sampling.vllm"]);
    let no_lora = |yaml: &mut Value| drop(yaml["model"].as_object_mut().unwrap().remove("lora"));
    assert_eq!(with(&no_lora), ["sampling.vllm.weights"]);
    let reload = |yaml: &mut Value| {
        no_lora(yaml);
        yaml["sampling"]["vllm"]["weights"] = json!("reload");
    };
    assert!(with(&reload).is_empty());
    assert_eq!(with(&|yaml| yaml["model"]["lora"]["rank"] = json!(1024)), ["model.lora.rank"]);
    let sft = |yaml: &mut Value| {
        yaml["train"] = json!({ "method": "sft" });
        yaml["data"]["demonstrations"] = json!("b");
    };
    assert_eq!(with(&sft), ["sampling.engine"]);
}

#[test]
fn a_language_model_is_one_server_or_several_or_none() {
    let with = |llm: Value| {
        refused(json!({
            "version": 1, "model": { "path": "m" }, "data": { "train": "a" }, "rewards": { "llm": llm },
        }))
    };
    let servers = json!(["http://a/v1", "http://b/v1"]);
    assert!(with(json!({ "servers": servers, "model": "judge" })).is_empty());
    assert!(with(json!({ "url": "http://a/v1", "model": "judge" })).is_empty());
    for llm in [
        json!({ "servers": servers }),
        json!({ "model": "judge" }),
        json!({ "servers": servers, "url": "http://c/v1", "model": "judge" }),
        json!({ "servers": servers, "model": "judge", "local": "m" }),
    ] {
        assert_eq!(with(llm), ["rewards.llm"]);
    }
}

#[test]
fn keys_that_would_do_nothing_are_refused() {
    for (value, key) in [
        (json!({ "kl": { "weight": 0.5 } }), "algorithm.kl"),
        (json!({ "kl": { "unbiased": true } }), "algorithm.kl"),
        (json!({ "pass_k": 3 }), "algorithm.pass_k"),
        (json!({ "sapo_temperature": [1.0, 2.0] }), "algorithm.sapo_temperature"),
        (json!({ "correction": { "high": 5.0 } }), "algorithm.correction"),
    ] {
        assert_eq!(with("algorithm", &value), [key], "{value}");
    }
    assert_eq!(with("eval", &json!({ "every": 2 })), ["eval.every"]);
}

#[test]
fn what_needs_measuring_is_refused_without_it() {
    assert_eq!(with("run", &json!({ "keep_best": 1 })), ["run.keep_best"]);
    assert_eq!(with("eval", &json!({ "patience": 2 })), ["eval.patience"]);
}

#[test]
fn tools_without_a_weight_and_rules_alone_are_refused() {
    for (value, key) in [
        (json!({ "assign": { "sums": [] } }), "rewards.assign.sums"),
        (json!({ "assign": { "sums": [{ "tool": "a", "as": "gate" }] } }), "rewards.assign.sums"),
        (json!({ "assign": { "sums": [{ "tool": "a", "weight": 0 }] } }), "rewards.assign"),
        (json!({ "always": [{ "tool": "a", "weight": 0.0 }] }), "rewards.always"),
    ] {
        assert_eq!(with("rewards", &value), [key], "{value}");
    }
    let fine =
        json!({ "assign": { "sums": [{ "tool": "a", "weight": -0.5 }] }, "always": [{ "tool": "b", "as": "veto" }] });
    assert!(with("rewards", &fine).is_empty());
    let mut config: Config = serde_json::from_value(json!({
        "version": 1, "model": { "path": "m" }, "data": { "train": "a" },
        "rewards": { "assign": { "sums": [{ "tool": "a" }] } },
    }))
    .unwrap();
    for weight in [f64::NAN, f64::INFINITY] {
        config.rewards.assign.get_mut("sums").unwrap()[0].weight = weight;
        assert_eq!(config.problems().len(), 1, "{weight}");
    }
}

#[test]
fn python_functions_are_written_in_three_ways_and_checked() {
    for (written, names) in [
        (json!("reward.py:accuracy"), vec!["accuracy"]),
        (json!({ "function": "reward.py:accuracy", "name": "right" }), vec!["right"]),
        (json!(["reward.py:accuracy", { "function": "format.py:tags", "weight": 0.5 }]), vec!["accuracy", "tags"]),
    ] {
        let config: Config = serde_json::from_value(json!({
            "version": 1, "model": { "path": "m" }, "data": { "train": "a" }, "rewards": { "python": written },
        }))
        .unwrap();
        let tools: Vec<&str> = config.rewards.python.iter().map(rlar_rewards::PythonFunction::tool_name).collect();
        assert_eq!(tools, names);
        assert!(config.problems().is_empty());
        let again: Config = serde_json::from_value(serde_json::to_value(&config).unwrap()).unwrap();
        assert_eq!(again, config);
    }
    let f = |more: Value| {
        let mut entry = json!({ "function": "reward.py:f" });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    let term = f(json!({ "name": "other" }));
    for (value, keys) in [
        (json!({ "python": "reward.py" }), vec!["rewards.python[0]"]),
        (json!({ "python": [term.clone(), term.clone()] }), vec!["rewards.python[1]"]),
        (json!({ "python": [term.clone(), f(json!({ "as": "gate" }))] }), vec!["rewards.python[1]"]),
        (json!({ "python": [term.clone(), f(json!({ "as": "veto", "least": 1 }))] }), vec!["rewards.python[0]"]),
        (json!({ "python": [f(json!({ "as": "gate", "least": 1 }))] }), vec!["rewards.python"]),
        (
            json!({ "python": [f(json!({ "range": [0, 1] })), f(json!({ "name": "g", "as": "veto", "least": 1 }))] }),
            vec![],
        ),
    ] {
        assert_eq!(with("rewards", &value), keys, "{value}");
    }
}

#[test]
fn mixtures_that_leave_nothing_to_draw_are_refused() {
    let data = |mixture: Value| json!({ "mixture": mixture });
    for (value, keys) in [
        (data(json!([{ "train": "a", "from": 5 }])), vec!["data.mixture"]),
        (data(json!([{ "train": "a", "until": 5 }])), vec!["data.mixture"]),
        (data(json!([{ "train": "a", "from": 5, "until": 5 }, { "train": "b" }])), vec!["data.mixture[0].until"]),
        (json!({ "train": "a", "mixture": [{ "train": "b" }] }), vec!["data.mixture"]),
        (json!({ "train": "a", "min_prompt_tokens": 5, "max_prompt_tokens": 4 }), vec!["data.min_prompt_tokens"]),
        (data(json!([{ "train": "a", "until": 5 }, { "train": "b", "from": 5 }, { "heldout": "c" }])), vec![]),
    ] {
        assert_eq!(with("data", &value), keys, "{value}");
    }
}

#[test]
fn a_tilde_is_the_home_folder_in_every_path_of_a_config() {
    let files = |name: &str| json!({ "train": format!("~/{name}"), "heldout": "~/h", "demonstrations": "~/d" });
    let mut data = files("train");
    data["preferences"] = "~/p".into();
    data["mixture"] = json!([files("one"), files("two")]);
    let mut config: Config = serde_json::from_value(json!({
        "version": 1, "model": { "path": "~/model" }, "data": data, "run": { "folder": "~" },
        "eval": { "suites": [{ "suite": "gsm8k" }, { "suite": "~/s.yaml", "data": "~/rows" }] },
        "rewards": {
            "library": "~/tools", "store": "~/scores.sqlite",
            "llm": { "local": "~/judge", "replay": "~/replay", "record": "~/record" },
        },
    }))
    .unwrap();
    assert!(config.expand_paths().is_empty());
    let home = std::env::var("HOME").unwrap();
    assert_eq!((config.run.folder.as_str(), config.eval.suites[0].suite.as_str()), (home.as_str(), "gsm8k"));
    let text = serde_json::to_string(&config).unwrap();
    assert!(!text.contains('~'), "{text}");
    assert_eq!(text.matches(&format!("{home}/")).count(), 18, "{text}");
}

#[test]
fn the_home_folder_of_another_user_is_refused_by_key() {
    let mut config: Config = serde_json::from_value(json!({
        "version": 1, "model": { "path": "m" }, "data": { "train": "~bob/train.jsonl" }, "run": { "folder": "~x" },
    }))
    .unwrap();
    let problems = config.expand_paths();
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["run.folder", "data.train"]);
}

/// The part of a config that the report with this id gives.
fn reported(id: &str) -> Value {
    let cases = std::fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let case = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|case| case["id"] == id);
    serde_yaml::from_str(case.unwrap()["input"]["yaml"].as_str().unwrap()).unwrap()
}

#[needs_oracles]
#[test]
fn the_reported_stop_texts_are_refused_or_kept() {
    let sampling = reported("b53")["sampling"].clone();
    let mut yaml = json!({ "version": 1, "model": { "path": "m" }, "data": { "train": "a" }, "sampling": sampling });
    assert!(refused(yaml.clone()).is_empty());
    yaml["rewards"] = json!({ "scored": { "within": "answer" } });
    assert_eq!(refused(yaml.clone()), ["sampling.stop"]);
    yaml["sampling"]["include_stop"] = true.into();
    assert!(refused(yaml).is_empty());
}

#[needs_oracles]
#[test]
fn the_reported_folder_is_in_the_home_folder() {
    let run = reported("b33")["run"].clone();
    let yaml = json!({ "version": 1, "model": { "path": "m" }, "data": { "train": "a" }, "run": run });
    let mut config: Config = serde_json::from_value(yaml).unwrap();
    assert!(config.expand_paths().is_empty());
    assert!(config.run.folder.starts_with(&std::env::var("HOME").unwrap()), "{}", config.run.folder);
}

#[test]
fn what_a_tinker_server_cannot_do_is_refused_by_key() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut yaml = json!({
            "version": 1, "model": { "path": "m" }, "data": { "train": "a" }, "optimizer": { "max_norm": 0 },
            "train": { "engine": "tinker", "tinker": { "server": "http://gpu-1:8000" } },
        });
        change(&mut yaml);
        refused(yaml)
    };
    assert!(with(&|_| ()).is_empty());
    for (section, key, value) in [
        ("train", "asynchronous", json!(true)),
        ("train", "micro_batch_tokens", json!(1000)),
        ("train", "recompute_layers", json!(true)),
        ("model", "lora", json!({ "rank": 8 })),
        ("model", "save_dtype", json!("float16")),
        ("model", "path", json!("m.GGUF")),
        ("sampling", "temperature", json!(0.7)),
        ("sampling", "top_p", json!(0.9)),
        ("sampling", "top_k", json!(50)),
        ("sampling", "min_p", json!(0.1)),
        ("sampling", "repetition_penalty", json!(1.1)),
        ("sampling", "stop", json!(["\n"])),
        ("algorithm", "surrogate", json!("gspo")),
        ("algorithm", "dual_clip", json!(3.0)),
        ("algorithm", "ratio_max", json!(5.0)),
        ("algorithm", "off_policy_mask", json!(0.1)),
        ("algorithm", "entropy_bonus", json!(0.01)),
        ("algorithm", "top_entropy", json!(0.2)),
        ("optimizer", "max_norm", json!(1.0)),
        ("eval", "suites", json!([{ "suite": "gsm8k" }])),
    ] {
        assert_eq!(with(&|yaml| yaml[section][key] = value.clone()), [format!("{section}.{key}")]);
    }
    for (key, value) in [("device", json!("cuda:0")), ("precision", json!("bf16"))] {
        assert_eq!(with(&|yaml| yaml[key] = value.clone()), [key]);
    }
    assert_eq!(with(&|yaml| yaml["algorithm"]["kl"] = json!({ "estimator": "k3" })), ["algorithm.kl.estimator"]);
    let vllm = json!({ "engine": "vllm", "vllm": { "servers": ["http://gpu-1:8000"], "weights": "reload" } });
    assert_eq!(with(&|yaml| yaml["sampling"] = vllm.clone()), ["sampling.engine"]);
    let warmup = |yaml: &mut Value| {
        yaml["warmup"] = json!({ "steps": 5 });
        yaml["data"]["demonstrations"] = json!("b");
    };
    assert_eq!(with(&warmup), ["warmup.steps"]);
    let sft = |yaml: &mut Value| {
        yaml["train"]["method"] = json!("sft");
        yaml["data"]["demonstrations"] = json!("b");
    };
    assert_eq!(with(&sft), ["train.engine"]);
    assert_eq!(with(&|yaml| yaml["train"]["engine"] = json!("local")), ["train.tinker"]);
    assert_eq!(with(&|yaml| yaml["train"]["tinker"] = json!({})), ["train.tinker"]);
    for server in ["gpu-1:8000", "http://user:word@gpu-1", "ftp://gpu-1"] {
        let change = |yaml: &mut Value| yaml["train"]["tinker"]["server"] = json!(server);
        assert_eq!(with(&change), ["train.tinker.server"], "{server}");
    }
}
