"""A world model that is measured and not learned: visual servoing, as a bundle like any other.

The encoder finds the orange ball at the end of the tool: its place in the image and its brightness,
which tells the distance. Over the workspace these three are roughly linear in the tool's position,
so the predictor is one matrix: latent + J · velocity · dt. An agent that plans with it really has
to see, and there is nothing to train. With several cameras there are three numbers of each. With a
gripper a last number is how blue the first image is, and the model has it that closing makes it
bluer.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sim.envs.table import TableEnv
from world_model.bundle import ENCODER, PREDICTOR, ModelSpec, write_manifest

CONTEXT = 2
DT_S = 0.1
_THRESHOLD = 0.25
_BRIGHTNESS_SCALE = 0.05
_POSITIONS = 60
_BLUER = 5.0  # per metre that the fingers close


def write_servo_bundle(folder: Path, world: TableEnv) -> Path:
    """Measure and write the bundle for a world as its cameras see it; returns its folder."""
    folder.mkdir(parents=True)
    size, limits = world.image_size, world.action_space
    jacobian = _jacobian(world)
    if world.gripper:
        jacobian = np.pad(jacobian, (0, 1))
        jacobian[-1, -1] = -_BLUER
    spec = ModelSpec(
        cameras=dict.fromkeys(world.camera_names, (size, size)),
        proprio_names=world.proprio_names,
        action_names=world.action_names,
        action_low=limits.low,
        action_high=limits.high,
        model_dt_s=DT_S,
        context=CONTEXT,
        latent_shape=(1, len(jacobian)),
    )
    onnx.save(_encoder(world.camera_names, size, world.gripper), folder / ENCODER)
    onnx.save(_predictor(len(world.proprio_names), jacobian), folder / PREDICTOR)
    write_manifest(folder, spec, {"env_id": world.spec.id})
    return folder


def _jacobian(world: TableEnv) -> np.ndarray:
    """Least squares of what the encoder gives over where the tool is: ``(3 cameras, 3)`` per m."""
    rng = np.random.default_rng(0)
    positions, latents = [], []
    for _ in range(_POSITIONS):
        world.reset(seed=int(rng.integers(1 << 31)))  # puts the tool at a random place
        positions.append([*world.truth()["tool_position_m"], 1.0])
        latents.append([n for name in world.camera_names for n in _seen(world.view(name))])
    jacobian = np.linalg.lstsq(np.array(positions), np.array(latents), rcond=None)[0][:3].T
    # The slope of the brightness varies by a factor of three over the workspace, and a model that
    # expects too much of an action is slow where one that expects too little swings.
    return jacobian * np.tile([[1.0], [1.0], [2.0]], (len(world.camera_names), 1))


def _seen(image: np.ndarray) -> list[float]:
    """What the encoder gives for one camera."""
    size = len(image)
    grid = (np.arange(size) + 0.5) / size
    unit = image / 255.0
    weight = np.maximum(unit[..., 0] - unit[..., 1:].max(axis=2) - _THRESHOLD, 0.0)
    total = weight.sum() + 1e-6
    place = [weight.sum(axis=0) @ grid / total, weight.sum(axis=1) @ grid / total]
    return [*place, total * _BRIGHTNESS_SCALE * (64 / size) ** 2]


def _finding(camera: str) -> list[onnx.NodeProto]:
    """From a camera's image to its ``u``, ``v`` and ``brightness``, after its name."""

    def node(kind: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
        # What is of one camera is marked.
        ours = [
            [name.replace("~", f"{camera}.") for name in names.split()]
            for names in (inputs, outputs)
        ]
        return helper.make_node(kind, *ours, **attributes)

    return [
        node("Cast", f"image.{camera}", "~pixels", to=TensorProto.FLOAT),
        node("Div", "~pixels white", "~unit"),
        node("Split", "~unit", "~red ~green ~blue", axis=3, num_outputs=3),
        node("Max", "~green ~blue", "~other"),
        node("Sub", "~red ~other", "~orange"),
        node("Sub", "~orange threshold", "~above"),
        node("Relu", "~above", "~weight"),
        node("ReduceSum", "~weight all", "~total", keepdims=1),
        node("Add", "~total tiny", "~divisor"),
        node("Mul", "~weight columns", "~weighted_u"),
        node("ReduceSum", "~weighted_u all", "~sum_u", keepdims=1),
        node("Div", "~sum_u ~divisor", "~u"),
        node("Mul", "~weight rows", "~weighted_v"),
        node("ReduceSum", "~weighted_v all", "~sum_v", keepdims=1),
        node("Div", "~sum_v ~divisor", "~v"),
        node("Mul", "~total scale", "~brightness"),
    ]


def _encoder(cameras: Sequence[str], size: int, gripper: bool) -> onnx.ModelProto:
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    constants = {
        "columns": grid.reshape(1, 1, size, 1),
        "rows": grid.reshape(1, size, 1, 1),
        "white": np.float32(255.0),
        "threshold": np.float32(_THRESHOLD),
        "tiny": np.float32(1e-6),
        "scale": np.float32(_BRIGHTNESS_SCALE * (64 / size) ** 2),
        "all": np.array([1, 2, 3], np.int64),
        "shape": np.array([-1, 1, 3 * len(cameras) + gripper], np.int64),
    }
    parts = [f"{camera}.{part}" for camera in cameras for part in ("u", "v", "brightness")]
    nodes = [node for camera in cameras for node in _finding(camera)]
    if gripper:
        blue = [f"{cameras[0]}.blue", "all"]
        nodes.append(helper.make_node("ReduceMean", blue, ["blueness"], keepdims=1))
        parts.append("blueness")
    nodes += [
        helper.make_node("Concat", parts, ["joined"], axis=3),
        helper.make_node("Reshape", ["joined", "shape"], ["latent"]),
    ]
    images = [f"image.{camera}" for camera in cameras]
    inputs = [tensor(name, ["batch", size, size, 3], TensorProto.UINT8) for name in images]
    return checked_model(nodes, inputs, [tensor("latent", ["batch", 1, len(parts)])], constants)


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
    count, moves = jacobian.shape
    inputs = [
        tensor("latents", ["batch", CONTEXT, 1, count]),
        tensor("proprio", ["batch", CONTEXT, proprio_size]),
        tensor("actions", ["batch", CONTEXT, moves]),
    ]
    outputs = [
        tensor("next_latent", ["batch", 1, count]),
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
