#!/usr/bin/env python3
"""Serves a GGUF model through the OpenAI API on a loopback port, with llama.cpp's server on the CPU.

    pip install xllamacpp
    scripts/chat-server.py [MODEL.gguf] [--port 8000] [--template scripts/chatml-tools.jinja]

The first line of the output is the address for `rewards.llm.url`. The server runs until it is interrupted. If RLAR_CHAT_KEY is
set, clients must send it as their API key. A model whose own chat template has no functions needs another template to see and
call them; `chatml-tools.jinja` is for ChatML models such as SmolLM2.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

import xllamacpp

options = argparse.ArgumentParser()
options.add_argument("model", nargs="?", type=Path, default=Path("models/SmolLM2-135M-Instruct.Q4_1.gguf"))
options.add_argument("--port", type=int, default=0, help="0 takes a free port")
options.add_argument("--slots", type=int, default=2, help="chats at once")
options.add_argument("--context", type=int, default=2048, help="tokens of a chat, the reply included")
options.add_argument("--threads", type=int, default=os.cpu_count())
options.add_argument("--template", type=Path, help="a chat template in Jinja, instead of the model's own")
options.add_argument("--until-eof", action="store_true", help="end when standard input ends")
options = options.parse_args()
if not options.model.is_file():
    sys.exit(f"{options.model} is missing; scripts/fetch-smollm2.sh gets a small model")

settings = xllamacpp.CommonParams()
settings.model.path = str(options.model)
settings.model_alias = {options.model.stem}
settings.hostnames, settings.port = ["127.0.0.1"], options.port
settings.n_parallel, settings.n_ctx = options.slots, options.slots * options.context
settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = options.threads
settings.ui, settings.warmup, settings.verbosity = False, False, 1
if options.template:
    settings.chat_template = options.template.read_text()
if os.environ.get("RLAR_CHAT_KEY"):
    settings.api_keys = [os.environ["RLAR_CHAT_KEY"]]

server = xllamacpp.Server(settings)
print(f"{server.listening_address}/v1", flush=True)
try:
    if options.until_eof:
        sys.stdin.buffer.read()
    else:
        signal.pause()
except KeyboardInterrupt:
    pass
# A normal exit would wait for the chats in progress.
os._exit(0)
