"""Run a bundle: NumPy in, ONNX Runtime, NumPy out. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from world_model.bundle import (
    CRITIC,
    ENCODER,
    PREDICTOR,
    Bundle,
    BundleError,
    ModelSpec,
    open_bundle,
)
from world_model.energy import EnergyQuantiles

Provider = Literal["auto", "tensorrt", "cuda", "cpu"]
Array = NDArray[np.float32]
_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
ROLLOUT = "rollout"
FULL_PRECISION = "fp32"


class ProviderError(RuntimeError):
    """The execution provider that was asked for is not there."""


class Rollouts(NamedTuple):
    """B imagined futures: ``latents (B, H, N, D)`` and ``proprio (B, H, P)`` in SI.

    ``disagreement (B, H)`` is the variance of what the heads of the model predict, mean over the
    latent; None for a model with a single one.
    """

    latents: Array
    proprio: Array
    disagreement: Array | None = None


class State(Protocol):
    """What a rollout starts from; `controller.types.ModelState` is one."""

    @property
    def latents(self) -> Array:
        """``(C, N, D)``, oldest first."""
        ...

    @property
    def proprio(self) -> Array:
        """``(C, P)`` SI."""
        ...

    @property
    def actions(self) -> Array:
        """``(C-1, A)`` SI, applied between the latents."""
        ...


class Start(NamedTuple):
    """A plain `State`."""

    latents: Array
    proprio: Array
    actions: Array


class OnnxWorldModel:
    """A loaded bundle. Calls release the interpreter lock; one thread at a time may call it.

    Attributes:
        spec: what it expects and produces.
        energies: how large `world_model.energy.energy` was on held-out episodes, to judge a
            surprise by; None for a bundle that does not say.
    """

    def __init__(
        self,
        spec: ModelSpec,
        encoder: ort.InferenceSession,
        predictor: ort.InferenceSession,
        rollout: ort.InferenceSession | None = None,
        critic: ort.InferenceSession | None = None,
        energies: EnergyQuantiles | None = None,
    ) -> None:
        """Use `load_world_model`."""
        self.spec = spec
        self.energies = energies
        self._encoder = encoder
        self._predictor = predictor
        # What some predictors tell besides: "disagreement" of heads (B,), "outcomes" (B, K, N, D).
        self._extra = [output.name for output in predictor.get_outputs()][2:]
        self._rollout = rollout
        self._critic = critic

    @property
    def fused(self) -> bool:
        """True when a rollout is one call of ONNX Runtime and not one for each step."""
        return self._rollout is not None

    @property
    def provider(self) -> str:
        """The execution provider in use: "cuda" or "cpu"."""
        first = self._predictor.get_providers()[0]
        return next(name for name, full in _PROVIDERS.items() if full == first)

    def encode(self, images: Mapping[str, NDArray[np.uint8]]) -> Array:
        """One set of camera images, each ``(H, W, 3)`` uint8 RGB, to a latent ``(N, D)``."""
        return self.encode_batch({name: images[name][None] for name in self.spec.cameras})[0]

    def encode_batch(self, images: Mapping[str, NDArray[np.uint8]]) -> Array:
        """B sets of camera images, each ``(B, H, W, 3)`` uint8 RGB, to latents ``(B, N, D)``."""
        feed = {f"image.{name}": images[name] for name in self.spec.cameras}
        return self._encoder.run(None, feed)[0]

    def predict(self, latents: Array, proprio: Array, actions: Array) -> tuple[Array, Array]:
        """One step ahead.

        Args:
            latents: ``(B, C, N, D)``, oldest first.
            proprio: ``(B, C, P)`` SI.
            actions: ``(B, C, A)`` SI; the last is applied from the newest latent on.

        Returns:
            Next latent ``(B, N, D)`` and next proprio ``(B, P)``, SI.
        """
        next_latent, next_proprio = self._step(latents, proprio, actions, ())
        return next_latent, next_proprio

    def outcomes(self, latents: Array, proprio: Array, actions: Array) -> Array:
        """The next latents ``(B, K, N, D)`` of all outcomes that the model knows, often one.

        Arguments as of `predict`, which gives the likeliest; `world_model.energy.least_energy`
        holds them against what was seen.
        """
        if "outcomes" not in self._extra:
            return self.predict(latents, proprio, actions)[0][:, None]
        return self._step(latents, proprio, actions, ("outcomes",))[2]

    def _step(
        self, latents: Array, proprio: Array, actions: Array, extra: tuple[str, ...]
    ) -> list[Array]:
        """`predict`, and what else is asked of the predictor."""
        feed = {
            "latents": np.ascontiguousarray(latents),
            "proprio": np.ascontiguousarray(proprio),
            "actions": np.ascontiguousarray(actions),
        }
        return self._predictor.run(["next_latent", "next_proprio", *extra], feed)

    @property
    def has_critic(self) -> bool:
        """Whether the bundle holds a critic."""
        return self._critic is not None

    def critic(self, latents: Array, goal: Array) -> Array:
        """Steps from latents ``(B, N, D)`` to a goal ``(N, D)``: ``(B,)``, as the critic says.

        Raises:
            BundleError: there is none in the bundle.
        """
        if self._critic is None:
            raise BundleError(
                "this bundle has no critic; `foresee train-critic --bundle` puts one into it"
            )
        feed = {"latents": np.ascontiguousarray(latents), "goal": goal[None]}
        return self._critic.run(["steps"], feed)[0]

    def rollout(self, state: State, actions: Array) -> Rollouts:
        """Imagine candidate actions from a state.

        Args:
            state: context latents ``(C, N, D)``, proprio ``(C, P)``, actions ``(C-1, A)``.
            actions: ``(B, H, A)`` SI.

        Returns:
            Predicted latents ``(B, H, N, D)`` and proprio ``(B, H, P)``, SI.
        """
        if self._rollout is None:
            return self.rollout_stepwise(state, actions)
        # No IOBinding to buffers of our own: on the CPU it was measured to gain nothing.
        feed = {
            "latents": np.ascontiguousarray(state.latents, np.float32),
            "proprio": np.ascontiguousarray(state.proprio, np.float32),
            "past_actions": np.ascontiguousarray(state.actions, np.float32),
            "actions": np.ascontiguousarray(actions, np.float32),
        }
        return Rollouts(*self._rollout.run(None, feed))

    def rollout_stepwise(self, state: State, actions: Array) -> Rollouts:
        """What `rollout` does, with a call for each step; for bundles without the fused graph."""
        batch, horizon, _ = actions.shape
        context = self.spec.context
        length = context + horizon
        latents = np.empty((batch, length, *state.latents.shape[1:]), np.float32)
        proprio = np.empty((batch, length, state.proprio.shape[1]), np.float32)
        latents[:, :context] = state.latents
        proprio[:, :context] = state.proprio
        past = np.broadcast_to(state.actions, (batch, *state.actions.shape))
        applied = np.concatenate([past, actions], axis=1, dtype=np.float32)
        disagreement: list[Array] = []
        extra = tuple(name for name in self._extra if name == "disagreement")
        for step in range(horizon):
            window = slice(step, step + context)
            latents[:, step + context], proprio[:, step + context], *apart = self._step(
                latents[:, window], proprio[:, window], applied[:, window], extra
            )
            disagreement += apart
        return Rollouts(
            latents[:, context:],
            proprio[:, context:],
            np.stack(disagreement, 1) if disagreement else None,
        )


def load_world_model(
    path: Path, provider: Provider = "auto", threads: int = 1, variant: str = FULL_PRECISION
) -> OnnxWorldModel:
    """Check a bundle, load it and run it once, so that nothing can go wrong later for its sake.

    Args:
        path: bundle folder.
        provider: "auto" takes CUDA where there is one, then CPU; the others insist.
        threads: CPU threads of each call. One leaves the other cores to simulator, camera and
            command loop, which is faster for the whole; more pay on a machine of their own.
        variant: precision of the rollouts, ``fp32`` or one that the bundle has and that was
            accepted when it was exported (``int8``).

    Raises:
        BundleError: the bundle is damaged, its networks do not fit its manifest, or it has no such
            variant.
        ProviderError: the provider asked for is not there.
    """
    bundle = open_bundle(Path(path))
    providers = choose_providers(provider)
    encoder = _session(bundle.path / ENCODER, providers, threads)
    predictor = _session(bundle.path / PREDICTOR, providers, threads)
    fused = _rollout_file(bundle, variant)
    rollout = None if fused is None else _session(fused, providers, threads)
    judge = bundle.networks.get(CRITIC)
    critic = None if judge is None else _session(judge.path, providers, threads)
    model = OnnxWorldModel(bundle.spec, encoder, predictor, rollout, critic, bundle.energies)
    # ONNX Runtime falls back to the CPU when the libraries of a provider cannot be loaded.
    if provider not in ("auto", model.provider):
        raise ProviderError(
            f"provider {provider!r} could not be started, ONNX Runtime took {model.provider!r}; "
            "check the driver and its libraries or use --provider cpu"
        )
    _warm_up(model, bundle.path)
    return model


def variants(bundle: Bundle) -> tuple[str, ...]:
    """The precisions that a bundle's rollouts can be had in."""
    start = f"{ROLLOUT}-"
    return (
        FULL_PRECISION,
        *(name.removeprefix(start) for name in bundle.networks if name.startswith(start)),
    )


def _rollout_file(bundle: Bundle, variant: str) -> Path | None:
    """The fused rollout graph of a variant; ``None`` for a bundle from before there was one."""
    if variant == FULL_PRECISION:
        network = bundle.networks.get(ROLLOUT)
        return None if network is None else network.path
    if variant not in variants(bundle):
        raise BundleError(
            f"{bundle.path}: has no variant {variant!r} (it has {', '.join(variants(bundle))}); "
            "`foresee export --variants` adds those that prove as good as fp32"
        )
    return bundle.networks[f"{ROLLOUT}-{variant}"].path


def choose_providers(provider: Provider) -> list[str]:
    """ONNX Runtime's provider list for a choice; raises ProviderError when it cannot be met.

    "auto" does not take TensorRT, which compiles for minutes when a bundle is first loaded; with
    "tensorrt" what it cannot compile runs on CUDA.
    """
    available = ort.get_available_providers()
    if provider == "auto":
        return [_PROVIDERS[name] for name in ("cuda", "cpu") if _PROVIDERS[name] in available]
    if provider not in _PROVIDERS:
        raise ProviderError(f"provider {provider!r}: choose auto, tensorrt, cuda or cpu")
    if _PROVIDERS[provider] not in available:
        raise ProviderError(
            f"provider {provider!r} is not available in this onnxruntime "
            f"(it has {', '.join(available)}); install onnxruntime-gpu or use --provider cpu"
        )
    if provider == "tensorrt":
        return [_PROVIDERS[name] for name in ("tensorrt", "cuda") if _PROVIDERS[name] in available]
    return [_PROVIDERS[provider]]


def _session(path: Path, providers: list[str], threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Spinning worker threads would take a core from the simulator and the command loop.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime has its own exception for each way to be broken
        reason = str(error).splitlines()[0]
        raise BundleError(f"{path}: ONNX Runtime cannot load it ({reason})") from error


def _warm_up(model: OnnxWorldModel, path: Path) -> None:
    """Run every network once and hold its shapes against the manifest."""
    spec = model.spec
    try:
        images = {name: np.zeros((h, w, 3), np.uint8) for name, (h, w) in spec.cameras.items()}
        latent = model.encode(images)
        if latent.shape != spec.latent_shape:
            raise ValueError(f"encoder gives {latent.shape}, manifest says {spec.latent_shape}")
        state = Start(
            np.repeat(latent[None], spec.context, 0),
            np.zeros((spec.context, len(spec.proprio_names)), np.float32),
            np.zeros((spec.context - 1, len(spec.action_names)), np.float32),
        )
        if model.has_critic and model.critic(state.latents[:1], latent).shape != (1,):
            raise ValueError("critic does not give one number for a latent")
        actions = np.zeros((2, 2, len(spec.action_names)), np.float32)
        expected = (2, 2, *spec.latent_shape), (2, 2, len(spec.proprio_names))
        for name, imagine in (("predictor", model.rollout_stepwise), ("rollout", model.rollout)):
            parts = [part for part in imagine(state, actions) if part is not None]
            if not all(np.isfinite(part).all() for part in parts):
                raise ValueError(f"{name} gives numbers that are not finite")
            shapes = tuple(part.shape for part in parts)
            if shapes not in (expected, (*expected, (2, 2))):
                raise ValueError(f"{name} gives {shapes}, manifest says {expected}")
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise BundleError(
            f"{path}: the networks do not fit the manifest ({reason}); export the bundle again"
        ) from error
