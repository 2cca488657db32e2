"""Make the plans of a log again, bit for bit, or say which input is not the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from controller.agent import Agent
from controller.types import Plan
from foresee.errors import UsageError
from ros_nodes.plan_log import LoggedPlan, Setup, read_plan_log, this_machine
from world_model.bundle import MANIFEST, sha256
from world_model.runtime import OnnxWorldModel, Provider, load_world_model

_TOLD = 10  # differences told one by one


def replay(path: Path, bundle: Path | None = None, progress: bool = True) -> dict[str, Any]:
    """Search again for every plan of a log, exactly as much as was searched then.

    The newest frame is encoded again as well. The memory's part is in the log: no memory is read.

    Args:
        path: of `foresee run --log`, or of the parameter ``plan_log`` of `agent_node`.
        bundle: the model, where it is not any more in the folder that the log names.
        progress: show a progress bar.

    Returns:
        ``plans``, ``identical``, ``differences`` (one line each, the first ten), ``changed`` (what
        is not as it was when the log was written) and ``failed``, whether anything differs.

    Raises:
        PlanLogError: there is no log that can be read.
        UsageError: the model of the log is not there.
        BundleError: it is there and damaged.
    """
    setup: Setup | None = None
    agent: Agent | None = None
    model: OnnxWorldModel | None = None
    plans = identical = 0
    differences: list[str] = []
    changed: list[str] = []
    with tqdm(desc="replay", unit="plan", disable=not progress) as bar:
        for logged in read_plan_log(path):
            if agent is None or model is None or logged.setup != setup:
                setup = logged.setup
                model = _load(setup, bundle)
                agent = Agent(model, setup.config)
                changed += [line for line in _changes(setup, bundle) if line not in changed]
            found = _differing(logged, agent, model)
            plans += 1
            identical += not found
            if found and len(differences) < _TOLD:
                differences.append(f"plan {logged.number}: {', '.join(found)}")
            bar.update()
    return {
        "log": str(path),
        "plans": plans,
        "identical": identical,
        "differences": differences,
        "changed": changed,
        "failed": identical != plans,
    }


def _load(setup: Setup, bundle: Path | None) -> OnnxWorldModel:
    folder = Path(setup.bundle) if bundle is None else bundle
    if not folder.is_dir():
        raise UsageError(f"{folder}: the model of this log is not there; name it with --bundle")
    provider = cast(Provider, setup.provider)
    return load_world_model(folder, provider, setup.threads, setup.variant)


def _changes(setup: Setup, bundle: Path | None) -> list[str]:
    """What is not as it was, in words."""
    folder = Path(setup.bundle) if bundle is None else bundle
    lines = []
    if sha256(folder / MANIFEST) != setup.manifest_sha256:
        lines.append(f"the bundle: {folder} is not the one that was planned with")
    now = this_machine()
    for name in sorted(setup.machine.keys() | now.keys()):
        then, is_now = setup.machine.get(name, "unknown"), now.get(name, "unknown")
        if then != is_now:
            lines.append(f"{name}: {then} then, {is_now} now")
    return lines


def _differing(logged: LoggedPlan, agent: Agent, model: OnnxWorldModel) -> list[str]:
    """Inputs that are not those of then, or else parts of the plan that come out differently."""
    inputs = []
    record = logged.record
    latent = model.encode(record.observation.images)
    if not _same(latent, record.inputs.state.latents[-1]):
        inputs.append("input latents: the newest frame is encoded differently")
    if not _same(record.observation.proprio, record.inputs.state.proprio[-1]):
        inputs.append("input proprio: the newest readings are others")
    if inputs:
        return inputs
    return differing_parts(record.plan, agent.replan(record.inputs, record.plan.effort))


def differing_parts(first: Plan, second: Plan) -> list[str]:
    """Names of what differs in two plans; how long they took does not count."""
    parts = []
    for field in dataclasses.fields(Plan):
        if field.name in ("plan_s", "sample_s", "checksum"):
            continue
        if field.name == "violations" and not first.violations:
            continue  # none, or a log of before they were written
        if not _same(getattr(first, field.name), getattr(second, field.name)):
            parts.append(field.name)
    return parts


def _same(first: object, second: object) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return _bits(first) == _bits(second)
    return first == second or (first != first and second != second)


def _bits(array: NDArray[Any]) -> tuple[str, tuple[int, ...], bytes]:
    return str(array.dtype), array.shape, array.tobytes()
