"""A world model small enough to be written down: visual servoing, exported like a learned one.

The encoder finds the orange ball at the end of the tool: its place in the image and its brightness,
which tells the distance. Over the workspace these three are roughly linear in the tool's position,
so the predictor is one matrix: latent + J · velocity · dt. An agent that plans with it really has
to see, and there is nothing to train.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sim.envs.table import PROPRIO_NAMES
from world_model.bundle import ENCODER, PREDICTOR, ModelSpec, write_manifest

CONTEXT = 2
DT_S = 0.1
# Least squares of (u, v, brightness / 20) over 60 random tool positions (x, y, z), camera "scene".
# The brightness row is doubled: its slope varies by a factor of three over the workspace, and a
# model that expects too much of an action is slow where one that expects too little swings.
JACOBIAN = np.array(
    [[0.815, 1.041, 0.024], [0.537, -0.411, -1.165], [0.530, -0.433, 0.792]], np.float32
)


def write_servo_bundle(folder: Path, size: int = 64, model_dt_s: float = DT_S) -> Path:
    """Write the bundle for Reach's scene camera and return its folder."""
    folder.mkdir(parents=True)
    spec = ModelSpec(
        cameras={"scene": (size, size)},
        proprio_names=PROPRIO_NAMES,
        action_names=("tool.vx", "tool.vy", "tool.vz"),
        action_low=np.full(3, -0.25, np.float32),
        action_high=np.full(3, 0.25, np.float32),
        model_dt_s=model_dt_s,
        context=CONTEXT,
        latent_shape=(1, 3),
    )
    onnx.save(_encoder(size), folder / ENCODER)
    onnx.save(_predictor(len(PROPRIO_NAMES)), folder / PREDICTOR)
    write_manifest(folder, spec, {"env_id": "foresee/Reach-v0"})
    return folder


def _encoder(size: int) -> onnx.ModelProto:
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    constants = {
        "columns": grid.reshape(1, 1, size, 1),
        "rows": grid.reshape(1, size, 1, 1),
        "white": np.float32(255.0),
        "threshold": np.float32(0.25),
        "tiny": np.float32(1e-6),
        "scale": np.float32(0.05 * (64 / size) ** 2),
        "all": np.array([1, 2, 3], np.int64),
        "shape": np.array([-1, 1, 3], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image.scene"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "white"], ["unit"]),
        helper.make_node("Split", ["unit"], ["red", "green", "blue"], axis=3, num_outputs=3),
        helper.make_node("Max", ["green", "blue"], ["other"]),
        helper.make_node("Sub", ["red", "other"], ["orange"]),
        helper.make_node("Sub", ["orange", "threshold"], ["above"]),
        helper.make_node("Relu", ["above"], ["weight"]),
        helper.make_node("ReduceSum", ["weight", "all"], ["total"], keepdims=1),
        helper.make_node("Add", ["total", "tiny"], ["divisor"]),
        helper.make_node("Mul", ["weight", "columns"], ["weighted_u"]),
        helper.make_node("ReduceSum", ["weighted_u", "all"], ["sum_u"], keepdims=1),
        helper.make_node("Div", ["sum_u", "divisor"], ["u"]),
        helper.make_node("Mul", ["weight", "rows"], ["weighted_v"]),
        helper.make_node("ReduceSum", ["weighted_v", "all"], ["sum_v"], keepdims=1),
        helper.make_node("Div", ["sum_v", "divisor"], ["v"]),
        helper.make_node("Mul", ["total", "scale"], ["brightness"]),
        helper.make_node("Concat", ["u", "v", "brightness"], ["joined"], axis=3),
        helper.make_node("Reshape", ["joined", "shape"], ["latent"]),
    ]
    inputs = [_tensor("image.scene", ["batch", size, size, 3], TensorProto.UINT8)]
    return _model(nodes, inputs, [_tensor("latent", ["batch", 1, 3])], constants)


def _predictor(proprio_size: int) -> onnx.ModelProto:
    constants = {
        "last": np.array(CONTEXT - 1, np.int64),
        "step": (JACOBIAN.T * DT_S).astype(np.float32),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["latents", "last"], ["latent"], axis=1),
        helper.make_node("Gather", ["actions", "last"], ["action"], axis=1),
        helper.make_node("MatMul", ["action", "step"], ["change"]),
        helper.make_node("Unsqueeze", ["change", "one"], ["token"]),
        helper.make_node("Add", ["latent", "token"], ["next_latent"]),
        helper.make_node("Gather", ["proprio", "last"], ["next_proprio"], axis=1),
    ]
    inputs = [
        _tensor("latents", ["batch", CONTEXT, 1, 3]),
        _tensor("proprio", ["batch", CONTEXT, proprio_size]),
        _tensor("actions", ["batch", CONTEXT, 3]),
    ]
    outputs = [
        _tensor("next_latent", ["batch", 1, 3]),
        _tensor("next_proprio", ["batch", proprio_size]),
    ]
    return _model(nodes, inputs, outputs, constants)


def _tensor(name: str, shape: list, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(nodes: list, inputs: list, outputs: list, constants: dict) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "servo", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
