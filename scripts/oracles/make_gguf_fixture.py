#!/usr/bin/env python3
"""Writes crates/policy/tests/fixtures/formats.{gguf,json}: a tensor of every GGUF format that rlar reads, with random blocks,
and its values as the `gguf` package (0.19.0, PyPI) dequantises them. Needs `pip install gguf==0.19.0`."""
import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFWriter
from gguf.quants import dequantize

home = Path(__file__).resolve().parent.parent.parent / "crates/policy/tests/fixtures"
rng = np.random.default_rng(1)
# Size of a block, and the offsets of its half-precision scales, which are overwritten with finite numbers.
formats = {"Q4_0": (18, [0]), "Q4_1": (20, [0, 2]), "Q8_0": (34, [0]), "Q4_K": (144, [0, 2]), "Q5_K": (176, [0, 2]), "Q6_K": (210, [208]),
           "Q5_0": (22, [0]), "Q5_1": (24, [0, 2]), "IQ4_NL": (18, [0])}
writer = GGUFWriter(home / "formats.gguf", "llama")
values = {}
for name, (size, scales) in formats.items():
    data = rng.integers(0, 256, (3, size), dtype=np.uint8)
    for at in scales:
        data[:, at:at + 2] = rng.normal(0, 0.05, 3).astype(np.float16).view(np.uint8).reshape(3, 2)
    writer.add_tensor(name, data, raw_dtype=Kind[name])
    values[name] = [float(x) for x in dequantize(data, Kind[name]).flatten()]
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
(home / "formats.json").write_text(json.dumps(values))
