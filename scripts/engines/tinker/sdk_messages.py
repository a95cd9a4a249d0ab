#!/usr/bin/env python3
"""Prints what the Python package `tinker` writes and reads in protobuf, one message a line, as the test of rlar's codec compares it.

    scripts/engines/tinker/sdk_messages.py PROTOBUF-RECORDING JSON-RECORDING...

For every pass in the recordings in JSON: its body, and the bytes that the package makes of it. For every result of passes or samples in
the recording in protobuf: its bytes, and the numbers that the package reads from them.
"""

import json
import sys

import tinker
from tinker.proto.request_conv import forward_backward_request_to_proto
from tinker.proto.response_conv import deserialize_forward_backward_output, deserialize_sample_response
from tinker.types import Datum, ModelInput
from tinker.types.forward_backward_input import ForwardBackwardInput
from tinker.types.forward_backward_request import ForwardBackwardRequest


def exchanges(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def written(body, is_forward):
    given = body["forward_input" if is_forward else "forward_backward_input"]
    data = [Datum(model_input=ModelInput.from_ints(datum["model_input"]["chunks"][0]["tokens"]),
                  loss_fn_inputs={name: tensor["data"] for name, tensor in datum["loss_fn_inputs"].items()})
            for datum in given["data"]]
    given = ForwardBackwardInput(data=data, loss_fn=given["loss_fn"], loss_fn_config=given.get("loss_fn_config"))
    request = ForwardBackwardRequest(forward_backward_input=given, model_id=body["model_id"], seq_id=body["seq_id"])
    message = forward_backward_request_to_proto(request)
    message.forward_only = is_forward
    return message.SerializeToString()


def read(content, is_sample):
    if is_sample:
        sequences = deserialize_sample_response(content).sequences
        return [{"tokens": list(s.tokens), "logprobs": list(s.logprobs), "stop_reason": s.stop_reason} for s in sequences]
    outputs = deserialize_forward_backward_output(content).loss_fn_outputs
    return [{name: tensor.tolist() for name, tensor in output.items()} for output in outputs]


def main():
    print(json.dumps({"tinker": tinker.__version__}))
    for exchange in [exchange for path in sys.argv[2:] for exchange in exchanges(path)]:
        request = exchange["request"]
        if request["path"] in ("forward", "forward_backward"):
            content = written(request["body"], request["path"] == "forward")
            print(json.dumps({"pass": request["body"], "hex": content.hex()}, separators=(",", ":")))
    samples = set()
    for exchange in exchanges(sys.argv[1]):
        request, answer = exchange["request"], exchange["answer"]
        if request["path"] == "asample":
            samples.add(answer["json"]["request_id"])
        if answer.get("type") == "application/x-protobuf":
            is_sample = request["body"]["request_id"] in samples
            kind = "samples" if is_sample else "outputs"
            numbers = read(bytes.fromhex(answer["hex"]), is_sample)
            print(json.dumps({kind: numbers, "hex": answer["hex"]}, separators=(",", ":")))


main()
