#!/usr/bin/env python3
"""Writes chat templates as Hugging Face's tokenizers have them, with the texts that `apply_chat_template` renders.

    pip install transformers jinja2 && pip install --no-deps trl==1.16.0
    scripts/oracles/make_chat_fixtures.py crates/policy/tests/fixtures/chats.json

The templates of `chats.json` are written for this. Each uses features that templates of public models use; the list of cases
names them. `assistant` holds the texts of `{% generation %}` blocks, as `return_assistant_tokens_mask` finds them.

`chats-qwen.json`, beside it, has conversations with tools and thoughts under the templates of Qwen2.5 and Qwen3, as
`apply_chat_template` of a tokenizer renders them. The templates are the Qwen team's, under the Apache License 2.0; they are read
from the package `trl`, which ships them unchanged in `trl/chat_templates`. If scripts/fetch-qwen-coder.sh has fetched a model and
the package `gguf` is there, the template in the model's file is compared.
"""

import importlib.util
import json
import sys
from datetime import datetime
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils as hf


class Clock(datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime(2025, 1, 2, 3, 4, 5)


hf.datetime = Clock

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": " What is 2 + 2? \n"}
REPLY = {"role": "assistant", "content": "It is 4."}
MORE = {"role": "user", "content": "And <b>é</b> 'quoted' \"twice\"?"}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nFive."}
CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2, "exact": True, "note": None}}}]}
RESULT = {"role": "tool", "name": "weather", "content": "{\"t\": 21.5}", "tool_call_id": "c1"}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Today's weather & more",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}}, "required": ["city"]}}}
PARTS = {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "image"}, {"type": "text", "text": "two"}]}

TALK = [SYSTEM, USER, REPLY, MORE]

# name: (features, template, conversations, tools, generation prompt, extra variables)
CASES = {
    "chatml": ("for, whitespace control, first and last of loop, default system prompt",
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", [TALK, [USER]], None, True, {}),
    "lines": ("trim_blocks and lstrip_blocks over several lines, comments",
        "{# a comment #}\n{% for m in messages %}\n  {% if m.role == 'user' %}\n[INST] {{ m.content | trim }} [/INST]\n"
        "  {% else %}\n{{ m.content }}{{ eos_token }}\n  {% endif %}\n{% endfor %}\n", [[USER, REPLY, MORE]], None, False, {}),
    "alternation": ("raise_exception, set, slices, boolean tests, modulo, bos and eos tokens",
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
        "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
        "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
        "{% else %}{% set content = message['content'] %}{% endif %}"
        "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
        [TALK, [USER, REPLY, MORE], [REPLY, USER]], None, False, {}),
    "namespace": ("namespace across loops, reversed slices, last user index, string methods",
        "{%- set ns = namespace(last=-1, count=0) %}{%- for m in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
        "{%- if ns.last < 0 and m.role == 'user' and not m.content.startswith('<tool_response>') %}{%- set ns.last = index %}{%- endif %}"
        "{%- set ns.count = ns.count + 1 %}{%- endfor %}{{ ns.last }}/{{ ns.count }}\n"
        "{%- for m in messages %}{%- if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}"
        "{%- else %}{{ m.content.upper() }}{%- endif %}{%- endfor %}", [[USER, THOUGHT, MORE], [SYSTEM]], None, False, {}),
    "thinking": ("is defined, is false, is string, split, rstrip, lstrip, strip with characters, negative indices, extra variables",
        "{%- for message in messages %}{%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}"
        "{%- if message.role == 'assistant' %}{%- set reasoning = '' %}{%- if '</think>' in content %}"
        "{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
        "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
        "{%- if loop.last or (not loop.last and reasoning) %}{{- '<|a|><think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content }}"
        "{%- else %}{{- '<|a|>' + content }}{%- endif %}{%- else %}{{- '<|' + message.role[0] + '|>' + content }}{%- endif %}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|a|>' }}{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}",
        [[USER, THOUGHT, MORE], [USER, REPLY]], None, True, {"enable_thinking": False}),
    "tools": ("tools, tojson, nested mappings, none tests, chained attributes, inline if",
        "{%- if tools %}{{- '# Tools\\n<tools>' }}{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}{{- '\\n</tools>\\n' }}{%- endif %}"
        "{%- for m in messages %}{%- if m.tool_calls %}{{- 'call:' if m.content is none else m.content }}{%- for call in m.tool_calls %}"
        "{%- if call.function %}{%- set call = call.function %}{%- endif %}{{- '\\n{\"name\": \"' ~ call.name ~ '\", \"arguments\": ' ~ (call.arguments | tojson) ~ '}' }}{%- endfor %}"
        "{%- elif m.role == 'tool' %}{%- if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}{{- '<|user|>' }}{%- endif %}{{- m.content }}"
        "{%- else %}{{- '<|' ~ m.role ~ '|>' ~ m.content }}{%- endif %}{%- endfor %}",
        [[USER, CALL, RESULT, REPLY], [USER]], [TOOL], False, {}),
    "tojson": ("tojson with indent, no HTML escapes, non-ASCII text, booleans and none inside",
        "{% for m in messages if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.arguments | tojson(indent=2) }}\n{{ c | tojson(indent=4) }}{% endfor %}{% endfor %}"
        "{{ messages | tojson }}", [[MORE, CALL]], None, False, {}),
    "clock": ("strftime_now, is not defined, or with default",
        "{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
        "{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}Cutting Knowledge Date: December 2023\nToday Date: {{ date_string }} {{ strftime_now('%Y-%m-%d %H:%M, %A') }}\n"
        "{{ missing | default('none given') }}{{ '' or 'empty' }}", [[USER], [SYSTEM]], None, False, {}),
    "controls": ("break and continue, filters in loops, loop variables, cycle-like indices",
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{% if loop.index > 3 %}{% break %}{% endif %}"
        "{{ loop.index }}{{ loop.revindex }}{{ loop.length }}{% if not loop.first %}{{ loop.previtem.role }}{% endif %}{% if loop.nextitem is defined %}{{ loop.nextitem.role }}{% endif %};{% endfor %}"
        "{% for k, v in messages[0].items() %}{{ k }}={{ v }},{% else %}nothing{% endfor %}", [TALK, [SYSTEM, USER, REPLY, MORE, REPLY]], None, False, {}),
    "macro": ("macros with defaults, call results in expressions, list and mapping tests, joined parts",
        "{%- macro render(content, sep=' | ') -%}{%- if content is string -%}{{ content }}{%- elif content is iterable -%}"
        "{%- for p in content -%}{%- if p.type == 'text' -%}{{ p.text }}{%- else -%}<{{ p['type'] }}>{%- endif -%}{%- if not loop.last -%}{{ sep }}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
        "{%- for m in messages -%}{{ m.role ~ ': ' + render(m.content) }}{{ '\\n' }}{%- endfor -%}"
        "{{ messages is mapping }} {{ messages[0] is mapping }} {{ messages is sequence }} {{ 'a' is string }} {{ none }} {{ 3 // 2 }} {{ 7 % 4 }} {{ 2 ** 3 }}", [[PARTS, REPLY]], None, False, {}),
    "filters": ("selectattr, rejectattr, map, list, first, last, join, unique, length, replace, upper, capitalize, int, string, sort",
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | join(',') }} "
        "{{ (messages | last).role }} {{ (messages | first)['content'] | replace('e', 'E') | upper }} {{ messages | map(attribute='role') | unique | sort | join('+') }} "
        "{{ 'abc' | capitalize }} {{ '42' | int + 1 }} {{ 7 | string + '!' }} {{ ' x ' | trim }} {{ [1, 2, 3] | sum }} {{ 'a,b' .split(',') | list }}", [TALK], None, False, {}),
    "python": ("Python's way of writing values, tuples, dictionaries and their methods",
        "{{ true }} {{ false }} {{ none }} {{ [1, 'a', none, true] }} {{ {'k': 'v', 'n': [1.5]} }} {{ 'a' in {'a': 1} }} "
        "{{ {'a': 1}.get('b', 'no') }} {{ {'a': 1}.keys() | list }} {{ ('a', 'b')[1] }} {{ 'a' ~ 1 }} {{ 1.0 }} {{ 'Hello'.lower().title() }} {{ 'xay'.find('a') }} {{ 'a-b'.replace('-', '+') }}", [[USER]], None, False, {}),
    "blocks": ("set blocks, raw, filter blocks, nested conditions, not in, comparison chains",
        "{% set text %}[{{ messages[0].content | trim }}]{% endset %}{{ text }}{% raw %}{{ kept }}{% endraw %}"
        "{% filter upper %}loud {{ messages | length }}{% endfilter %}{% if 'zzz' not in text and messages | length >= 1 %} fine{% endif %}"
        "{% if messages[0].role in ['user', 'system'] and not (messages | length > 3) %} few{% endif %}", [[USER], TALK], None, False, {}),
    "generation": ("generation blocks: assistant masks over several turns",
        "{% for m in messages %}{% if m.role == 'assistant' %}<|assistant|>\n{% generation %}{{ m.content }}<|end|>{% endgeneration %}\n"
        "{% else %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        [[USER, REPLY, MORE, THOUGHT], TALK], None, False, {}),
    "generation_tight": ("generation blocks with whitespace control",
        "{%- for m in messages %}\n    {%- if m.role == 'assistant' %}\n        {{- '<a>' }}\n        {%- generation -%}\n            {{- m.content -}}\n        {%- endgeneration -%}\n        {{- '</a>' }}\n"
        "    {%- else %}\n        {{- '<u>' + m.content + '</u>' }}\n    {%- endif %}\n{%- endfor %}", [[USER, REPLY, MORE, REPLY]], None, False, {}),
}

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

SEARCH = {"type": "function", "function": {
    "name": "search_flights", "description": "Searches flights.\nPrices are in €; \"cheap\" means < 100 & > 0.",
    "parameters": {"type": "object", "properties": {
        "from": {"type": "string", "description": "Airport, e.g. 'ZRH'"}, "day": {"type": ["string", "null"], "default": None},
        "limits": {"type": "array", "items": {"type": "number", "minimum": 0.0, "maximum": 1e21, "multipleOf": 1e-07}},
        "mode": {"enum": ["fast", "günstig", "日本"]}, "deep": {"type": "object", "properties": {}, "additionalProperties": False}},
        "required": ["from"]}, "strict": True}}
TOOLS = [TOOL, SEARCH]
# The name of a function beside the call, as some data has it, and arguments of every kind.
PLAIN_CALL = {"role": "assistant", "content": "Let me look.", "tool_calls": [
    {"name": "search_flights", "arguments": {"from": "ZRH", "limits": [1, 2.5, -0.0, 1e-7, 12345678901234567890], "quote": "\"'<&>\\", "deep": {"a": []}}},
    {"type": "function", "function": {"name": "weather", "arguments": {}}}]}
TEXT_CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"K\u00f6ln\"}"}}]}
SECOND = {"role": "tool", "name": "search_flights", "content": "[]"}
REASONED = {"role": "assistant", "content": "\nFive.\n", "reasoning_content": "\nTwo and three\n"}
REASONED_CALL = {"role": "assistant", "content": "", "reasoning_content": "I need the weather.", "tool_calls": CALL["tool_calls"]}
THOUGHT_CALL = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nOne moment.", "tool_calls": CALL["tool_calls"]}
ANSWER = {"role": "user", "content": "<tool_response>\n21.5\n</tool_response>"}

# name: (messages, tools, generation prompt, extra variables)
QWEN_CASES = {
    "a question": ([USER], None, True, {}),
    "a system prompt": (TALK, None, True, {}),
    "a system prompt between turns": ([USER, REPLY, SYSTEM, MORE], None, True, {}),
    "a whole conversation": ([*TALK, THOUGHT], None, False, {}),
    "tools without a system prompt": ([USER], TOOLS, True, {}),
    "tools and a system prompt": ([SYSTEM, USER], TOOLS, True, {}),
    "a call and its answer": ([SYSTEM, USER, CALL, RESULT], [TOOL], True, {}),
    "a call, its answer and more": ([SYSTEM, USER, CALL, RESULT, REPLY, MORE], [TOOL], True, {}),
    "a call at the end": ([USER, CALL], [TOOL], False, {}),
    "two calls and two answers": ([USER, PLAIN_CALL, SECOND, RESULT], [TOOL], True, {}),
    "answers in two places": ([USER, PLAIN_CALL, SECOND, RESULT, TEXT_CALL, RESULT, REPLY], [TOOL], False, {}),
    "an answer as a user's turn": ([USER, THOUGHT_CALL, ANSWER], [TOOL], True, {}),
    "thoughts of earlier turns": ([USER, THOUGHT, MORE, REASONED, USER], None, True, {}),
    "thoughts of the last turn": ([USER, THOUGHT, MORE, REASONED], None, False, {}),
    "thoughts before a call": ([USER, REASONED_CALL, RESULT, THOUGHT_CALL, RESULT], [TOOL], True, {}),
    "thoughts around calls": ([USER, THOUGHT_CALL, RESULT, REASONED], [TOOL], False, {}),
    "no thinking": (TALK, None, True, {"enable_thinking": False}),
    "no thinking with tools": ([USER, CALL, RESULT], [TOOL], True, {"enable_thinking": False}),
    "thinking": ([USER], None, True, {"enable_thinking": True}),
    "no thinking, no prompt": ([USER, REPLY], None, False, {"enable_thinking": False}),
}


def qwen_templates():
    """The templates by name. Qwen2.5-Coder's GGUF files have a slip in Qwen2.5's: doubled braces in a literal text."""
    [package] = importlib.util.find_spec("trl").submodule_search_locations
    read = lambda name: (Path(package) / "chat_templates" / f"{name}.jinja").read_text()
    call = '{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}'
    qwen25 = read("qwen2_5")
    assert qwen25.count(call) == 1
    coder = qwen25.replace(call, "{" + call + "}")
    model = Path("models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
    if model.exists() and importlib.util.find_spec("gguf"):
        from gguf import GGUFReader

        assert GGUFReader(model).fields["tokenizer.chat_template"].contents() == coder
    return {"Qwen2.5": qwen25, "Qwen2.5-Coder GGUF": coder, "Qwen3": read("qwen3"),
            "Qwen3-2507": read("qwen3_instruct_2507")}


def write_qwen(path):
    templates = qwen_templates()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **TOKENS)
    cases = []
    for name, (messages, tools, generation, extra) in QWEN_CASES.items():
        case = dict(name=name, messages=messages, tools=tools, add_generation_prompt=generation, extra=extra, texts={})
        for template, source in templates.items():
            # The slip shows in this conversation.
            if template != "Qwen2.5-Coder GGUF" or name == "tools and a system prompt":
                case["texts"][template] = tokenizer.apply_chat_template(
                    json.loads(json.dumps(messages)), tools=tools, chat_template=source, add_generation_prompt=generation,
                    tokenize=False, **extra)
                print(template, name, repr(case["texts"][template])[-100:])
        cases.append(json.dumps(case, ensure_ascii=False))
    head = json.dumps({"source": "trl 1.16.0, trl/chat_templates", "license": "Apache-2.0, Qwen team", "templates": templates},
                      ensure_ascii=False, indent=1)
    path.write_text(head[:-2] + ',\n "cases": [\n  ' + ",\n  ".join(cases) + "\n ]\n}\n")


def main():
    write_qwen(Path(sys.argv[1]).with_name("chats-qwen.json"))
    cases = []
    for name, (features, template, conversations, tools, generation, extra) in CASES.items():
        for messages in conversations:
            case = dict(name=name, features=features, template=template, messages=messages, tools=tools,
                        add_generation_prompt=generation, extra=extra)
            try:
                [text], spans = hf.render_jinja_template(
                    conversations=[json.loads(json.dumps(messages))], tools=tools, chat_template=template,
                    return_assistant_tokens_mask="generation" in name, add_generation_prompt=generation, **extra, **TOKENS)
                case["text"] = text
                case["assistant"] = [text[a:b] for a, b in spans[0]] if spans else []
            except Exception as error:
                case["error"] = str(error)
            cases.append(case)
            print(name, repr(case.get("text", case.get("error")))[:150])
    with open(sys.argv[1], "w") as out:
        json.dump(cases, out, indent=1, ensure_ascii=False)
        out.write("\n")


main()
