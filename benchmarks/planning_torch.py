"""The bundle's predictor in torch, as peers want it: flat states, one step at a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from controller.config import CostConfig
from controller.types import ModelState
from world_model.bundle import PREDICTOR, Bundle
from world_model.config import PredictorConfig
from world_model.predictor import Predictor
from world_model.runtime import OnnxWorldModel

HORIZON = 12
COST = CostConfig()


class TorchModel:
    """The bundle's predictor with its weights in torch, over flat states.

    A state row is what the predictor reads: latents of the context, readings, past actions, the
    last two standardised.
    """

    def __init__(self, bundle: Bundle, model: OnnxWorldModel) -> None:
        """Read the weights out of the bundle's predictor."""
        spec = bundle.spec
        network = onnx.load(bundle.path / PREDICTOR)
        weights = {
            tensor.name.removeprefix("model."): torch.from_numpy(
                numpy_helper.to_array(tensor).copy()
            )
            for tensor in network.graph.initializer
            if tensor.name.startswith("model.")
        }
        parts = {k.removeprefix("predictor."): v for k, v in weights.items() if "predictor." in k}
        blocks = len({key.split(".")[1] for key in parts if key.startswith("blocks.")})
        config = PredictorConfig(
            hidden=len(parts["inlet.bias"]), blocks=blocks, context=spec.context
        )
        sizes = len(spec.proprio_names), len(spec.action_names)
        self.net = Predictor(config, spec.latent_shape, *sizes).eval().requires_grad_(False)
        self.net.load_state_dict(parts)
        self._model = model
        self._mean_p, self._std_p = weights["proprio_mean"], weights["proprio_std"]
        self._mean_a, self._std_a = weights["action_mean"], weights["action_std"]
        self.context, self.latent = spec.context, spec.latent_shape[0] * spec.latent_shape[1]
        self.proprio, self.action = sizes
        self.low, self.high = torch.from_numpy(spec.action_low), torch.from_numpy(spec.action_high)
        self.ends = np.cumsum([self.context * self.latent, self.context * self.proprio]).tolist()
        example = torch.zeros(8, self.ends[1] + (self.context - 1) * self.action)
        with torch.inference_mode():
            traced = torch.jit.trace(self._torch_step, (example, torch.zeros(8, self.action)))
        self._steps: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "torch": self._torch_step,
            "torch.jit": traced,
            "ONNX Runtime": self._onnx_step,
        }
        self.step = self._torch_step
        self.fastest = "torch"

    def choose_fastest(self, samples: int = 300) -> dict[str, float]:
        """Take the way to step that is fastest here; returns CPU ms of each."""
        state = torch.zeros(samples, self.ends[1] + (self.context - 1) * self.action)
        action = torch.zeros(samples, self.action)
        times: dict[str, list[float]] = {name: [] for name in self._steps}
        with torch.inference_mode():
            for _ in range(40):
                for name, step in self._steps.items():
                    began = time.thread_time()
                    step(state, action)
                    times[name].append(1e3 * (time.thread_time() - began))
        medians = {name: float(np.median(values)) for name, values in times.items()}
        self.fastest = min(medians, key=lambda name: medians[name])
        self.step = self._steps[self.fastest]
        return medians

    def flat(self, state: ModelState) -> Tensor:
        """A state as a row."""
        proprio = (torch.from_numpy(state.proprio) - self._mean_p) / self._std_p
        actions = (torch.from_numpy(state.actions) - self._mean_a) / self._std_a
        latents = torch.from_numpy(state.latents)
        return torch.cat([latents.flatten(), proprio.flatten(), actions.flatten()])

    def newest(self, states: Tensor) -> Tensor:
        """The newest latent of each row."""
        return states[:, self.ends[0] - self.latent : self.ends[0]]

    def cost(self, goal: Tensor, states: Tensor, actions: Tensor) -> Tensor:
        """The share of one step in the cost: distance to the goal and size of the action."""
        far = (self.newest(states) - goal).square().mean(dim=1)
        size = (actions / self.high).square().mean(dim=1)
        return (COST.goal_weight * far + COST.action_weight * size) / HORIZON

    def _torch_step(self, states: Tensor, actions: Tensor) -> Tensor:
        inputs = torch.cat([states, (actions - self._mean_a) / self._std_a], dim=1)
        change = self.net.outlet(self.net.blocks(self.net.inlet(inputs)))
        latents, proprio = inputs[:, : self.ends[0]], inputs[:, self.ends[0] : self.ends[1]]
        return torch.cat(
            [
                latents[:, self.latent :],
                latents[:, -self.latent :] + change[:, : self.latent],
                proprio[:, self.proprio :],
                proprio[:, -self.proprio :] + change[:, self.latent :],
                inputs[:, self.ends[1] + self.action :],
            ],
            dim=1,
        )

    def _onnx_step(self, states: Tensor, actions: Tensor) -> Tensor:
        rows, context = len(states), self.context
        latents = states[:, : self.ends[0]].reshape(rows, context, *self._model.spec.latent_shape)
        proprio = states[:, self.ends[0] : self.ends[1]].reshape(rows, context, -1)
        past = states[:, self.ends[1] :].reshape(rows, context - 1, -1) * self._std_a + self._mean_a
        applied = torch.cat([past, actions[:, None]], dim=1)
        latent, reading = self._model.predict(
            latents.numpy(), (proprio * self._std_p + self._mean_p).numpy(), applied.numpy()
        )
        standard = (torch.from_numpy(reading) - self._mean_p) / self._std_p
        moved = [
            latents[:, 1:].flatten(1),
            torch.from_numpy(latent).flatten(1),
            proprio[:, 1:].flatten(1),
            standard,
            (applied[:, 1:] - self._mean_a).div(self._std_a).flatten(1),
        ]
        return torch.cat(moved, dim=1)
