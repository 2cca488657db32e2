"""A world model that is measured and not learned: visual servoing, as a bundle like any other.

The encoder finds the orange ball at the end of the tool: its place in the image and its brightness,
which tells the distance. Over the workspace these three are roughly linear in the tool's position,
so the predictor is one matrix: latent + J · velocity · dt. An agent that plans with it really has
to see, and there is nothing to train.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sim.envs.table import PROPRIO_NAMES, TableEnv
from world_model.bundle import ENCODER, PREDICTOR, ModelSpec, write_manifest

CONTEXT = 2
DT_S = 0.1
_THRESHOLD = 0.25
_BRIGHTNESS_SCALE = 0.05
_POSITIONS = 60


def write_servo_bundle(folder: Path, world: TableEnv) -> Path:
    """Measure and write the bundle for Reach as its camera sees it; returns its folder."""
    folder.mkdir(parents=True)
    size = world.image_size
    spec = ModelSpec(
        cameras={"scene": (size, size)},
        proprio_names=PROPRIO_NAMES,
        action_names=("tool.vx", "tool.vy", "tool.vz"),
        action_low=np.full(3, -0.25, np.float32),
        action_high=np.full(3, 0.25, np.float32),
        model_dt_s=DT_S,
        context=CONTEXT,
        latent_shape=(1, 3),
    )
    onnx.save(_encoder(size), folder / ENCODER)
    onnx.save(_predictor(len(PROPRIO_NAMES), _jacobian(world)), folder / PREDICTOR)
    write_manifest(folder, spec, {"env_id": "foresee/Reach-v0"})
    return folder


def _jacobian(world: TableEnv) -> np.ndarray:
    """Least squares of what the encoder gives over where the tool is: ``(3, 3)`` per metre."""
    rng = np.random.default_rng(0)
    size = world.image_size
    grid = (np.arange(size) + 0.5) / size
    positions, latents = [], []
    for _ in range(_POSITIONS):
        world.reset(seed=int(rng.integers(1 << 31)))  # puts the tool at a random place
        positions.append([*world.truth()["tool_position_m"], 1.0])
        unit = world.observe()["image"] / 255.0
        weight = np.maximum(unit[..., 0] - unit[..., 1:].max(axis=2) - _THRESHOLD, 0.0)
        total = weight.sum() + 1e-6
        place = [weight.sum(axis=0) @ grid / total, weight.sum(axis=1) @ grid / total]
        latents.append([*place, total * _BRIGHTNESS_SCALE * (64 / size) ** 2])
    jacobian = np.linalg.lstsq(np.array(positions), np.array(latents), rcond=None)[0][:3].T
    # The slope of the brightness varies by a factor of three over the workspace, and a model that
    # expects too much of an action is slow where one that expects too little swings.
    return jacobian * np.array([[1.0], [1.0], [2.0]])


def _encoder(size: int) -> onnx.ModelProto:
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    constants = {
        "columns": grid.reshape(1, 1, size, 1),
        "rows": grid.reshape(1, size, 1, 1),
        "white": np.float32(255.0),
        "threshold": np.float32(_THRESHOLD),
        "tiny": np.float32(1e-6),
        "scale": np.float32(_BRIGHTNESS_SCALE * (64 / size) ** 2),
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
    inputs = [tensor("image.scene", ["batch", size, size, 3], TensorProto.UINT8)]
    return checked_model(nodes, inputs, [tensor("latent", ["batch", 1, 3])], constants)


def _predictor(proprio_size: int, jacobian: np.ndarray) -> onnx.ModelProto:
    constants = {
        "last": np.array(CONTEXT - 1, np.int64),
        "step": (jacobian.T * DT_S).astype(np.float32),
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
        tensor("latents", ["batch", CONTEXT, 1, 3]),
        tensor("proprio", ["batch", CONTEXT, proprio_size]),
        tensor("actions", ["batch", CONTEXT, 3]),
    ]
    outputs = [
        tensor("next_latent", ["batch", 1, 3]),
        tensor("next_proprio", ["batch", proprio_size]),
    ]
    return checked_model(nodes, inputs, outputs, constants)


def tensor(name: str, shape: list, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def checked_model(nodes: list, inputs: list, outputs: list, constants: dict) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "servo", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
