"""A world model of the fake base that is measured and not learned, as a bundle like any other.

The encoder finds the orange body and the blue nose in the picture from above: where the base is in
metres, and which way it looks, a direction of length `LOOK_M`. The predictor is that of a unicycle:
forwards along that direction, and turned. There is no going sideways in it.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from servo_bundle import checked_model, tensor

from sim.camera import ROOM_CAMERAS
from world_model.bundle import ENCODER, PREDICTOR, ModelSpec, write_manifest

CONTEXT, SIZE, DT_S = 2, 64, 0.2
LOOK_M = 0.05  # little: with more it would rather stand beside its goal than look elsewhere
NAMES = ("base.vx", "base.wz")
_BODY_AT_M = 3.3  # from the camera
_THRESHOLD = 0.2
_SUM = [1, 2, 3]


def write_base_bundle(
    folder: Path, speed_m_s: float, turning_rad_s: float, actions: tuple[str, str] = NAMES
) -> Path:
    """Write the bundle of a base that goes at most so fast; returns its folder."""
    folder.mkdir(parents=True)
    fastest = np.array([speed_m_s, turning_rad_s], np.float32)
    spec = ModelSpec(
        cameras={"scene": (SIZE, SIZE)},
        proprio_names=NAMES,
        action_names=actions,
        action_low=-fastest,
        action_high=fastest,
        model_dt_s=DT_S,
        context=CONTEXT,
        latent_shape=(1, 4),
    )
    onnx.save(_encoder(), folder / ENCODER)
    onnx.save(_predictor(), folder / PREDICTOR)
    write_manifest(folder, spec, {"env_id": "none: a fake base"})
    return folder


def _node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), output.split(), **attributes)


def _centre(color: str, others: str) -> list[onnx.NodeProto]:
    """Where a colour is: ``<color>_x`` and ``<color>_y``, ``(batch, 1, 1, 1)`` m."""
    return [
        _node("Max", others, f"not_{color}"),
        _node("Sub", f"{color} not_{color}", f"{color}_more"),
        _node("Sub", f"{color}_more threshold", f"{color}_above"),
        _node("Relu", f"{color}_above", f"{color}_weight"),
        _node("ReduceSum", f"{color}_weight all", f"{color}_sum", keepdims=1),
        _node("Add", f"{color}_sum tiny", f"{color}_total"),
        *(
            node
            for axis in "xy"
            for node in (
                _node("Mul", f"{color}_weight {axis}_m", f"{color}_{axis}_part"),
                _node("ReduceSum", f"{color}_{axis}_part all", f"{color}_{axis}_sum", keepdims=1),
                _node("Div", f"{color}_{axis}_sum {color}_total", f"{color}_{axis}"),
            )
        ),
    ]


def _encoder() -> onnx.ModelProto:
    focal_px = ROOM_CAMERAS["scene"].intrinsics(SIZE)[0, 0]
    metres = ((np.arange(SIZE) + 0.5 - SIZE / 2) * _BODY_AT_M / focal_px).astype(np.float32)
    constants = {
        "x_m": metres.reshape(1, 1, SIZE, 1),
        "y_m": -metres.reshape(1, SIZE, 1, 1),
        "white": np.float32(255.0),
        "threshold": np.float32(_THRESHOLD),
        "tiny": np.float32(1e-6),
        "look": np.float32(LOOK_M),
        "all": np.array(_SUM, np.int64),
        "shape": np.array([-1, 1, 4], np.int64),
    }
    nodes = [
        _node("Cast", "image.scene", "pixels", to=TensorProto.FLOAT),
        _node("Div", "pixels white", "unit"),
        _node("Split", "unit", "red green blue", axis=3, num_outputs=3),
        *_centre("red", "green blue"),
        *_centre("blue", "red green"),
        _node("Sub", "blue_x red_x", "ahead_x"),
        _node("Sub", "blue_y red_y", "ahead_y"),
        _node("Concat", "ahead_x ahead_y", "ahead", axis=3),
        _node("Mul", "ahead ahead", "ahead_squared"),
        _node("ReduceSum", "ahead_squared all", "length_squared", keepdims=1),
        _node("Add", "length_squared tiny", "length_positive"),
        _node("Sqrt", "length_positive", "length"),
        _node("Div", "ahead length", "direction"),
        _node("Mul", "direction look", "looks"),
        _node("Concat", "red_x red_y looks", "joined", axis=3),
        _node("Reshape", "joined shape", "latent"),
    ]
    inputs = [tensor("image.scene", ["batch", SIZE, SIZE, 3], TensorProto.UINT8)]
    return checked_model(nodes, inputs, [tensor("latent", ["batch", 1, 4])], constants)


def _predictor() -> onnx.ModelProto:
    constants = {
        "last": np.array(CONTEXT - 1, np.int64),
        "dt": np.float32(DT_S),
        "look": np.float32(LOOK_M),
        "one": np.array([1], np.int64),
    }
    nodes = [
        _node("Gather", "latents last", "latent", axis=1),
        _node("Gather", "actions last", "action", axis=1),
        _node("Gather", "proprio last", "next_proprio", axis=1),
        _node("Unsqueeze", "action one", "token"),
        _node("Mul", "token dt", "step"),
        _node("Split", "step", "forwards turn", axis=2, num_outputs=2),
        _node("Split", "latent", "x y look_x look_y", axis=2, num_outputs=4),
        _node("Cos", "turn", "cos"),
        _node("Sin", "turn", "sin"),
        _node("Div", "forwards look", "share"),
        _node("Mul", "share look_x", "dx"),
        _node("Mul", "share look_y", "dy"),
        _node("Add", "x dx", "next_x"),
        _node("Add", "y dy", "next_y"),
        _node("Mul", "look_x cos", "xc"),
        _node("Mul", "look_y sin", "ys"),
        _node("Mul", "look_x sin", "xs"),
        _node("Mul", "look_y cos", "yc"),
        _node("Sub", "xc ys", "next_look_x"),
        _node("Add", "xs yc", "next_look_y"),
        _node("Concat", "next_x next_y next_look_x next_look_y", "next_latent", axis=2),
    ]
    inputs = [
        tensor("latents", ["batch", CONTEXT, 1, 4]),
        tensor("proprio", ["batch", CONTEXT, 2]),
        tensor("actions", ["batch", CONTEXT, 2]),
    ]
    outputs = [tensor("next_latent", ["batch", 1, 4]), tensor("next_proprio", ["batch", 2])]
    return checked_model(nodes, inputs, outputs, constants)
