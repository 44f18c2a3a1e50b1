"""Writes a model that was not trained here: python elsewhere.py model/churn.onnx

As another company might give it: one matrix of float32 in, which has the months, the
fee and whether the bank pays by itself; P(leaves) out.
"""

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

WEIGHTS = [-0.055, 0.03, -1.1]  # of months, fee, autopay: log odds
BASE = 0.85
TYPE = TensorProto.FLOAT

graph = helper.make_graph(
    [
        helper.make_node("Gemm", ["X", "weights", "base"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["probability"]),
    ],
    "churn",
    [helper.make_tensor_value_info("X", TYPE, [None, 3])],
    [helper.make_tensor_value_info("probability", TYPE, [None, 1])],
    [
        helper.make_tensor("weights", TYPE, [3, 1], WEIGHTS),
        helper.make_tensor("base", TYPE, [1], [BASE]),
    ],
)
model = helper.make_model(
    graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
)
onnx.checker.check_model(model)
Path(sys.argv[1]).write_bytes(model.SerializeToString())
