"""The whole rollout as one ONNX graph, rearranged to do the same sums in less time.

A step is the predictor of `world_model.predictor`, rearranged without changing what it computes:

- standardisation of readings and actions is folded into the first and the last layer, so that the
  carry ``[latent | readings]`` is in SI units from end to end;
- a layer normalisation removes the mean of its input, and only it and the residual stream read that
  input: the mean is taken out of the weights that write to the stream, and what is left of the
  normalisation is a division by the root mean square (no bias is then needed before the layer
  after it, its own takes it in);
- the residual is added by the matrix product that makes it.

A ``Scan`` runs the step over the horizon, so that one graph serves any number of samples and steps;
unrolled it would be fit for one horizon only. `python -m benchmarks.inference` holds it against
calls of the predictor step by step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from world_model.jepa import Jepa
from world_model.predictor import MlpBlock

OPSET = 18
LAYERS = ("inlet", "blocks", "outlet")
# Faster and less exact ways to compute the rollout: the layers that are not in fp32. The blocks are
# four fifths of the work; the inlet reads latents and SI readings of very different sizes, which
# one scale for all does not fit.
VARIANTS: dict[str, dict[str, str]] = {
    "int8": {"blocks": "int8"},
    "int8-all": dict.fromkeys(LAYERS, "int8"),
    "bf16": {"blocks": "bf16"},
}
_CONTRIB = "com.microsoft"  # operators of ONNX Runtime's own, on all its providers
_EPSILON = 1e-5

Weights = NDArray[np.float64]


@dataclass(frozen=True)
class _Step:
    """The rearranged weights of one step; matrices are ``(out, in)``.

    Attributes:
        inlet: ``(hidden, C*(N*D+P) + C*A)``.
        blocks: for each block the two matrices and biases, ``(W1, b1, W2, b2)``.
        norm: gain and bias of the last normalisation.
        outlet: ``(N*D+P, hidden)``, the mean of the heads; of K outcomes ``(K*(N*D+P), hidden)``.
        prior: ``(width, C*(N*D+P) + C*A)``, the first layer of the heads' priors; None with a
            single head.
        apart: ``(K*N*D, hidden + width)``, by how much each head's latent differs from that mean.
        choice: the two layers that say how likely each of K outcomes is, ``(width, C*(N*D+P) +
            C*A)`` and ``(K, width)``; None with a single one.
    """

    inlet: tuple[Weights, Weights]
    blocks: list[tuple[Weights, Weights, Weights, Weights]]
    norm: tuple[Weights, Weights]
    outlet: tuple[Weights, Weights]
    prior: tuple[Weights, Weights] | None
    apart: tuple[Weights, Weights] | None
    choice: list[tuple[Weights, Weights]] | None


def _array(tensor: Tensor) -> Weights:
    return tensor.detach().cpu().double().numpy()


def _centred(matrix: Weights) -> Weights:
    """Without its mean over the outputs."""
    return matrix - matrix.mean(axis=0, keepdims=True)


def _rearranged(model: Jepa) -> _Step:
    predictor, context = model.predictor, model.config.predictor.context
    latent = model.latent_shape[0] * model.latent_shape[1]
    mean_p, std_p = _array(model.proprio_mean), _array(model.proprio_std)
    mean_a, std_a = _array(model.action_mean), _array(model.action_std)

    def of_si(weight: Weights, bias: Weights) -> tuple[Weights, Weights]:
        """A layer on the standardised inputs as one on ``[carries | actions]`` in SI."""
        hidden = len(bias)
        ends = np.cumsum([context * latent, context * len(mean_p)])
        of_latent, of_proprio, of_action = (
            part.reshape(hidden, context, -1) for part in np.split(weight, ends, axis=1)
        )
        of_proprio, of_action = of_proprio / std_p, of_action / std_a
        bias = bias - (of_proprio @ mean_p).sum(1) - (of_action @ mean_a).sum(1)
        of_carry = np.concatenate([of_latent, of_proprio], axis=2).reshape(hidden, -1)
        return np.concatenate([of_carry, of_action.reshape(hidden, -1)], axis=1), bias

    inlet, bias = of_si(_array(predictor.inlet.weight), _array(predictor.inlet.bias))
    blocks = []
    for block in cast(list[MlpBlock], list(predictor.blocks)):
        norm, first, _, second = cast(list[nn.Linear], list(block.body))
        first_weight = _array(first.weight)
        blocks.append(
            (
                first_weight * _array(norm.weight),
                _array(first.bias) + first_weight @ _array(norm.bias),
                _centred(_array(second.weight)),
                _centred(_array(second.bias)),
            )
        )
    norm, _, change = cast(list[nn.Linear], list(predictor.outlet))
    scale = np.concatenate([np.ones(latent), std_p])
    heads = _array(change.weight).reshape(predictor.ways, len(scale), -1)
    biases = _array(change.bias).reshape(predictor.ways, len(scale))
    outlet, outlet_bias = heads.mean(0), biases.mean(0)
    prior = apart = choice = None
    if predictor.choice is not None:
        first, _, second = cast(list[nn.Linear], list(predictor.choice))
        choice = [
            of_si(_array(first.weight), _array(first.bias)),
            (_array(second.weight), _array(second.bias)),
        ]
        outlet, outlet_bias = np.concatenate(list(heads)), biases.reshape(-1)
        scale = np.tile(scale, predictor.outcomes)
    if predictor.prior is not None:
        prior = of_si(_array(predictor.prior.inlet), _array(predictor.prior.bias))
        learned = (heads - outlet)[:, :latent].reshape(-1, heads.shape[2])
        apart = (
            np.concatenate([learned, _array(predictor.prior.outlet)], axis=1),
            (biases - outlet_bias)[:, :latent].reshape(-1),
        )
    return _Step(
        (_centred(inlet), _centred(bias)),
        blocks,
        (_array(norm.weight), _array(norm.bias)),
        (outlet * scale[:, None], outlet_bias * scale),
        prior,
        apart,
        choice,
    )


class _Graph:
    """Nodes and constants in the making."""

    def __init__(self, precision: Mapping[str, str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._precision = precision

    def constant(self, name: str, value: NDArray) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def floats(self, name: str, value: Weights) -> str:
        return self.constant(name, value.astype(np.float32))

    def add(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:  # noqa: ANN401
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def linear(
        self, x: str, name: str, weight: Weights, bias: Weights, residual: str | None = None
    ) -> str:
        """``x @ weight.T + bias + residual``, in the precision of the layer."""
        matrix = weight.T
        biases = self.floats(f"{name}.bias", bias)
        precision = self._precision.get(name.split(".")[0], "fp32")
        if precision == "bf16":
            # By bits: NumPy has no bfloat16. Half a unit in the last place is added to round.
            bits = np.ascontiguousarray(matrix, np.float32).view(np.uint32) + np.uint32(0x8000)
            self.constants[f"{name}.weight"] = helper.make_tensor(
                f"{name}.weight",
                TensorProto.BFLOAT16,
                matrix.shape,
                (bits >> 16).astype(np.uint16).tobytes(),
                raw=True,
            )
            narrow = self.add("Cast", [x], f"{name}.narrow", to=TensorProto.BFLOAT16)
            y = self.add("MatMul", [narrow, f"{name}.weight"], f"{name}.product")
            y = self.add("Cast", [y], f"{name}.wide", to=TensorProto.FLOAT)
            y = self.add("Add", [y, biases], f"{name}.y")
            return y if residual is None else self.add("Add", [y, residual], f"{name}.sum")
        if precision == "int8":
            scale = np.abs(matrix).max(axis=0) / 127.0  # one for each output
            scale[scale == 0.0] = 1.0
            inputs = [
                x,
                self.constant(f"{name}.weight", np.round(matrix / scale).astype(np.int8)),
                self.floats(f"{name}.scale", scale),
                "",
                biases,
            ]
            y = self.add("DynamicQuantizeMatMul", inputs, f"{name}.y", domain=_CONTRIB)
            return y if residual is None else self.add("Add", [y, residual], f"{name}.sum")
        weights = self.floats(f"{name}.weight", matrix)
        if residual is None:
            return self.add("Gemm", [x, weights, biases], f"{name}.y")
        y = self.add("Gemm", [x, weights, residual], f"{name}.y")
        return self.add("Add", [y, biases], f"{name}.sum")

    def silu(self, x: str) -> str:
        return self.add("QuickGelu", [x], f"{x}.silu", domain=_CONTRIB, alpha=1.0)


def _step(graph: _Graph, weights: _Step, carries: list[str], actions: str) -> list[str]:
    """One step: the carries of the context, oldest first, and their actions.

    Returns:
        the next carry and, with several heads, how much they disagree about its latent ``(B,)``.
    """
    inputs = graph.add("Concat", [*carries, actions], "inputs", axis=1)
    x = graph.linear(inputs, "inlet", *weights.inlet)
    hidden = len(weights.inlet[1])
    ones = graph.floats("ones", np.ones(hidden))
    for number, (first, first_bias, second, second_bias) in enumerate(weights.blocks):
        scaled = graph.add(
            "SimplifiedLayerNormalization", [x, ones], f"scaled.{number}", axis=-1, epsilon=_EPSILON
        )
        y = graph.silu(graph.linear(scaled, f"blocks.{number}.first", first, first_bias))
        x = graph.linear(y, f"blocks.{number}.second", second, second_bias, residual=x)
    gain, bias = (
        graph.floats("norm.gain", weights.norm[0]),
        graph.floats("norm.bias", weights.norm[1]),
    )
    normed = graph.add("LayerNormalization", [x, gain, bias], "normed", epsilon=_EPSILON)
    last = graph.silu(normed)
    change = graph.linear(last, "outlet", *weights.outlet)
    if weights.choice is not None:
        narrow, chance = weights.choice
        chances = graph.silu(graph.linear(inputs, "choice.first", *narrow))
        chances = graph.linear(chances, "choice.second", *chance)
        likeliest = graph.add("ArgMax", [chances], "likeliest", axis=1)
        outcomes = graph.constant("outcomes", np.array([0, len(chance[1]), -1]))
        each = graph.add("Reshape", [change, outcomes], "each")
        change = graph.add("GatherND", [each, likeliest], "change", batch_dims=1)
    results = [graph.add("Add", [carries[-1], change], "next")]
    if weights.prior is not None and weights.apart is not None:
        prior = graph.silu(graph.linear(inputs, "prior", *weights.prior))
        both = graph.add("Concat", [last, prior], "learned_and_prior", axis=1)
        apart = graph.linear(both, "apart", *weights.apart)
        axes = graph.constant("of_row", np.array([1]))
        squares = graph.add("Mul", [apart, apart], "squares")
        results.append(graph.add("ReduceMean", [squares, axes], "disagrees", keepdims=0))
    return results


def rollout_graph(model: Jepa, variant: str | None = None) -> onnx.ModelProto:
    """Make the graph.

    Inputs ``latents (C, N, D)``, ``proprio (C, P)``, ``past_actions (C-1, A)`` and ``actions
    (B, H, A)``, all float32 in SI; outputs ``next_latents (B, H, N, D)``, ``next_proprio
    (B, H, P)`` and, with several heads, ``disagreement (B, H)``, see `Jepa.disagreement`.

    Args:
        model: its predictor.
        variant: one of `VARIANTS`; ``None`` for fp32. In int8, weights have a scale for each
            output, activations one for each tensor, taken at run time.
    """
    precision = {} if variant is None else VARIANTS[variant]
    weights = _rearranged(model)
    context = model.config.predictor.context
    tokens, width = model.latent_shape
    proprio, action = len(model.proprio_mean), len(model.action_mean)
    size = tokens * width + proprio

    def info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    body = _Graph(precision)
    carries = [f"carry.{c}" for c in range(context)]
    new, *apart = _step(body, weights, carries, "action")
    moved = [body.add("Identity", [name], f"moved.{name}") for name in [*carries[1:], new]]
    kept = body.add("Identity", [new], "kept")
    loop = helper.make_graph(
        body.nodes,
        "step",
        [*(info(name, "B", size) for name in carries), info("action", "B", context * action)],
        [*(info(name, "B", size) for name in (*moved, kept)), *(info(n, "B") for n in apart)],
    )
    disagreement = ["disagreement"] if apart else []

    graph = _Graph({})
    flat = graph.constant("flat", np.array([context, tokens * width]))
    start = graph.add("Reshape", ["latents", flat], "flat_latents")
    start = graph.add("Concat", [start, "proprio"], "start", axis=1)
    batch = graph.add("Shape", ["actions"], "batch", start=0, end=1)
    carry_shape = [batch, graph.constant("size", np.array([size]))]
    shape = graph.add("Concat", carry_shape, "carry_shape", axis=0)
    first = []
    for c in range(context):
        row = graph.add("Gather", [start, graph.constant(f"row.{c}", np.array([c]))], f"start.{c}")
        first.append(graph.add("Expand", [row, shape], f"first.{c}"))
    # The actions of each step: those of its context, oldest first, side by side.
    past_shape = [batch, graph.constant("past_size", np.array([context - 1, action]))]
    past = graph.add("Concat", past_shape, "past_shape", axis=0)
    past = graph.add("Expand", ["past_actions", past], "past")
    applied = graph.add("Concat", [past, "actions"], "applied", axis=1)
    axis = graph.constant("axis", np.array([1]))
    windows = []
    for c in range(context):
        end = c - context + 1 or np.iinfo(np.int64).max
        ends = [graph.constant(f"{n}.{c}", np.array([v])) for n, v in (("from", c), ("to", end))]
        windows.append(graph.add("Slice", [applied, *ends, axis], f"window.{c}"))
    window = graph.add("Concat", windows, "windows", axis=2)
    graph.add(
        "Scan",
        [*first, window],
        *(f"last.{c}" for c in range(context)),
        "future",
        *disagreement,
        body=loop,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1] * (1 + len(disagreement)),
    )
    sizes = graph.constant("sizes", np.array([tokens * width, proprio]))
    graph.add("Split", ["future", sizes], "flat_future", "next_proprio", axis=2)
    token_shape = graph.constant("token_shape", np.array([0, 0, tokens, width]))
    graph.add("Reshape", ["flat_future", token_shape], "next_latents")
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "rollout",
            [
                info("latents", context, tokens, width),
                info("proprio", context, proprio),
                info("past_actions", context - 1, action),
                info("actions", "B", "H", action),
            ],
            [
                info("next_latents", "B", "H", tokens, width),
                info("next_proprio", "B", "H", proprio),
                *(info(name, "B", "H") for name in disagreement),
            ],
            list((graph.constants | body.constants).values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(_CONTRIB, 1)],
        ir_version=10,
    )
