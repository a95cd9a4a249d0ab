#!/usr/bin/env python3
"""Makes the calls of the client to a vLLM server and writes them with the answers, one exchange a line, for the replay in
crates/vllm/tests. The models lie in a folder: p0, which the server serves as `policy`, p1 of the same shape, and the adapters
lora1 (rank 4) and lora2 (rank 16) on p0. Their folder becomes /models. The server is that of server.sh, with `--max-model-len
512 --api-key sesame`. `server_info` is cut to the sections that are read.

    scripts/engines/vllm/record.py http://127.0.0.1:8000 MODELS FILE
"""

import json
import sys
import threading
import time
import urllib.error
import urllib.request

base, models, path = sys.argv[1].rstrip("/"), sys.argv[2].rstrip("/"), sys.argv[3]
exchanges = []
PROMPT = [(i * 37 + 11) % 256 for i in range(200)]


def call(name, method, route, body=None, key="sesame"):
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"} if key else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base + route, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read().decode()
    try:
        value = {"json": json.loads(text)}
    except ValueError:
        value = {"text": text}
    if name == "server_info":
        config = value["json"]["vllm_config"]
        model = {key: config["model_config"][key] for key in ("model", "dtype", "max_model_len", "logprobs_mode", "served_model_name")}
        config = {"model_config": model, "lora_config": config["lora_config"], "cache_config": {"block_size": config["cache_config"]["block_size"]}}
        value = {"json": {"vllm_config": config, "vllm_env": {}, "system_env": {}}}
    if name:
        exchanges.append({"name": name, "request": {"method": method, "path": route, "body": body}, "answer": {"status": status, **value}})
    return value


def generate(name, model="policy", temperature=1.0, tokens=8, prompt=PROMPT, seed=7):
    sampling = {"n": 1, "temperature": temperature, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0,
                "max_tokens": tokens, "seed": seed, "logprobs": 0, "ignore_eos": True, "stop_token_ids": [257], "detokenize": False}
    return call(name, "POST", "/inference/v1/generate", {"model": model, "token_ids": prompt, "sampling_params": sampling})


def adapter(name, lora, folder):
    call(name, "POST", "/v1/load_lora_adapter", {"lora_name": lora, "lora_path": folder, "load_inplace": False})


def reload(name, folder):
    call(name, "POST", "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": folder}, "timeout": 600.0})


def while_sampling(name, tokens, seed, action):
    thread = threading.Thread(target=lambda: generate(name, tokens=tokens, seed=seed))
    thread.start()
    time.sleep(0.4)
    action()
    thread.join()


call("version", "GET", "/version")
call("models", "GET", "/v1/models")
call("models_no_key", "GET", "/v1/models", key=None)
call("health", "GET", "/health")
call("server_info", "GET", "/server_info?config_format=json")
call("tokenize", "POST", "/tokenize", {"model": "policy", "prompt": "Größe 12 + 30 = 42\n  日本語 🙂", "add_special_tokens": False})
call("weight_info", "GET", "/weight_info")
call("set_version", "POST", "/update_weight_version", {"new_version": "s-0"})
generate("base")
generate("base_T.6", temperature=0.6)
call("wrong_model", "POST", "/inference/v1/generate", {"model": "nope", "token_ids": [1], "sampling_params": {"max_tokens": 1}})
generate("too_long", prompt=[1] * 600)
adapter("load_lora", "policy-s-1", f"{models}/lora1")
adapter("load_rank16", "policy-s-2", f"{models}/lora2")
adapter("load_missing", "policy-s-3", "/nonexistent/x")
adapter("load_dup", "policy-s-1", f"{models}/lora1")
call("pause", "POST", "/pause?mode=wait")
call("reset", "POST", "/reset_prefix_cache")
call("resume", "POST", "/resume")
generate("lora_1", model="policy-s-1")
for name in ("unload", "unload_again"):
    call(name, "POST", "/v1/unload_lora_adapter", {"lora_name": "policy-s-1"})
reload("reload_p1", f"{models}/p1")
reload(None, f"{models}/p0")
call(None, "POST", "/reset_prefix_cache")
call("bad_route", "POST", "/nope", {})
while_sampling("aborted", 300, 7, lambda: call(None, "POST", "/pause?mode=abort"))
call(None, "POST", "/resume")
generate("stop_token", tokens=300, seed=3)
while_sampling(None, 300, 5, lambda: call("reset_while_running", "POST", "/reset_prefix_cache"))
with open(path, "w", encoding="utf-8") as out:
    for exchange in exchanges:
        out.write(json.dumps(exchange, ensure_ascii=False, separators=(",", ":")).replace(models, "/models") + "\n")
