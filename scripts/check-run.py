#!/usr/bin/env python3
"""Reads the files of a run with other tools: events with TensorBoard, rollouts with pyarrow, the model with transformers.

    pip install tensorboard pyarrow torch transformers
    scripts/check-run.py RUN
"""

import json
import sys
from pathlib import Path

import pyarrow.parquet
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

run = Path(sys.argv[1])
records = {record["step"]: record for record in map(json.loads, (run / "metrics.jsonl").open())}

events = EventAccumulator(str(run / "tensorboard"), size_guidance=dict(scalars=0))
events.Reload()
tags = events.Tags()["scalars"]
checked = 0
for tag in tags:
    for event in events.Scalars(tag):
        value = records[event.step]
        for key in tag.split("/"):
            value = value[key]
        assert abs(event.value - value) <= 1e-6 * max(1, abs(value)), (tag, event, value)
        checked += 1
assert {event.step for event in events.Scalars("grad_norm")} <= set(records)
assert checked, "the run has no tensorboard values"
print(f"tensorboard: {len(tags)} tags, {checked} values, as in metrics.jsonl")

rows = 0
for path in sorted((run / "rollouts").glob("*.parquet")):
    table = pyarrow.parquet.read_table(path)
    assert table.column_names[:3] == ["step", "prompt", "completion"] and "advantage" in table.column_names, table.schema
    step = int(path.stem.split("-")[1])
    assert set(table["step"].to_pylist()) == {step}
    rewards = [r for r in table["reward"].to_pylist() if r is not None]
    reward = records[step]["reward"]
    assert not rewards or abs(sum(rewards) / len(rewards) - reward["mean"]) < 1e-9, (path, reward)
    rows += table.num_rows
print(f"pyarrow: {rows} rollouts with the rewards of metrics.jsonl")

config = json.loads((run / "final/config.json").read_text())
reward_model = config["architectures"][0].endswith("ForSequenceClassification")
assert rows or reward_model, "the run has no rollouts"
model = (AutoModelForSequenceClassification if reward_model else AutoModelForCausalLM).from_pretrained(run / "final")
tokens = AutoTokenizer.from_pretrained(run / "final")("1 + 1 =", return_tensors="pt")["input_ids"]
print(f"transformers: {type(model).__name__}, output {tuple(model(tokens).logits.shape)}")
