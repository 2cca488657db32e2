"""The log of plans: for each search all that went in and what came out, in an MCAP file.

Two topics: ``setup`` (JSON: settings, bundle, machine; whenever they change) and ``plan`` (an npz
archive, see `pack_record`). Every message is with the system when the call returns, so that the
log of a process that was killed holds all plans but perhaps the last.
"""

from __future__ import annotations

import dataclasses
import io
import json
import platform
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from controller.config import AgentConfig, from_mapping
from controller.record import PlanInputs, PlanRecord
from controller.spline import Interpolation
from controller.types import Begin, Effort, Goal, ModelState, Observation, Plan, PlanStatus
from world_model.bundle import MANIFEST, sha256

SETUP, PLAN = "setup", "plan"
FORMAT = 1
Arrays = dict[str, NDArray[Any]]


class PlanLogError(ValueError):
    """A log that is missing, is none, or is of another version."""


@dataclass(frozen=True)
class Setup:
    """What the plans after it were made with.

    Attributes:
        config: the agent's settings.
        bundle: folder of the model.
        manifest_sha256: of the bundle.
        provider: ONNX Runtime's execution provider.
        variant: precision of the rollouts.
        threads: of each call of the model.
        machine: name to value of what else may change a number: libraries, processor.
    """

    config: AgentConfig
    bundle: str
    manifest_sha256: str
    provider: str
    variant: str
    threads: int
    machine: dict[str, str]


@dataclass(frozen=True)
class LoggedPlan:
    """One search as read back.

    Attributes:
        number: of the plan in the log, from 0.
        setup: what it was made with.
        record: what went in and what came out.
    """

    number: int
    setup: Setup
    record: PlanRecord


def this_machine() -> dict[str, str]:
    """What may change a number in the last place: libraries and processor."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = (line for line in cpuinfo.read_text().splitlines() if line.startswith("model name"))
        processor = next(names, processor).partition(":")[2].strip() or processor
    return {
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
        "processor": processor,
    }


def setup_of(config: AgentConfig, bundle: str, provider: str, variant: str, threads: int) -> Setup:
    """The setup of this process."""
    digest = sha256(Path(bundle) / MANIFEST)
    return Setup(config, bundle, digest, provider, variant, threads, this_machine())


class PlanLog:
    """Writes a log. One thread at a time may call it; `Agent.log` may be its `write`."""

    def __init__(self, path: Path) -> None:
        """Begin a log.

        Raises:
            FileExistsError: there is one already.
        """
        from mcap.writer import CompressionType, Writer  # a robot that logs nothing needs no mcap

        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb")
        # Without chunks every message goes straight to the file.
        self._writer = Writer(self._file, compression=CompressionType.NONE, use_chunking=False)
        self._writer.start(profile="", library="foresee")
        schema = self._writer.register_schema(f"foresee.{FORMAT}", "", b"")
        self._channels = {
            SETUP: self._writer.register_channel(SETUP, "json", schema),
            PLAN: self._writer.register_channel(PLAN, "npz", schema),
        }
        self._last_ns = 0

    def setup(self, setup: Setup) -> None:
        """Write what the plans to come are made with."""
        self._add(SETUP, json.dumps(dataclasses.asdict(setup)).encode())

    def write(self, record: PlanRecord) -> None:
        """Write a search."""
        content = io.BytesIO()
        np.savez(content, **cast(dict[str, Any], pack_record(record)))
        self._last_ns = max(record.observation.stamp_ns, 0)
        self._add(PLAN, content.getvalue())

    def close(self) -> None:
        """Finish the file; the second call does nothing."""
        if not self._file.closed:
            self._writer.finish()
            self._file.close()

    def _add(self, topic: str, data: bytes) -> None:
        self._writer.add_message(self._channels[topic], self._last_ns, data, self._last_ns)
        self._file.flush()


def read_plan_log(path: Path) -> Iterator[LoggedPlan]:
    """Read the searches of a log in the order they were made.

    A log that was cut off ends with its last whole plan.

    Raises:
        PlanLogError: there is none, it is no log of plans or of another version; one line.
    """
    from mcap.exceptions import McapError

    if not path.is_file():
        raise PlanLogError(f"{path}: no such log; `foresee run --log` writes one")
    setup: Setup | None = None
    number = 0
    with path.open("rb") as file:
        try:
            for topic, data in _messages(file):
                if topic == SETUP:
                    setup = _unpack_setup(data, path)
                elif setup is not None:
                    yield LoggedPlan(number, setup, _unpack(data, path, number))
                    number += 1
        except (McapError, EOFError) as error:
            raise PlanLogError(f"{path}: not a log of plans ({type(error).__name__})") from error
    if setup is None:
        raise PlanLogError(f"{path}: holds no plans of foresee")


def _messages(file: io.BufferedReader) -> Iterator[tuple[str, bytes]]:
    """Topic and content of each whole message; what is behind the last one is left out."""
    from mcap.exceptions import McapError
    from mcap.records import Channel, Message
    from mcap.stream_reader import StreamReader

    channels: dict[int, str] = {}
    seen = False
    try:
        for record in StreamReader(file, validate_crcs=True).records:
            if isinstance(record, Channel):
                channels[record.id] = record.topic
            elif isinstance(record, Message):
                seen = True
                yield channels.get(record.channel_id, ""), record.data
    except (McapError, EOFError):
        if not seen:
            raise


def pack_record(record: PlanRecord) -> Arrays:
    """A search as named arrays; what is a text is JSON."""
    observation, inputs = record.observation, record.inputs
    goal = {"source": inputs.goal.source, "valid_until_ns": inputs.goal.valid_until_ns}
    arrays: Arrays = {f"image.{n}": np.asarray(v) for n, v in observation.images.items()}
    arrays |= {
        "readings": observation.proprio,
        "stamp_ns": np.array(observation.stamp_ns),
        "latents": inputs.state.latents,
        "proprio": inputs.state.proprio,
        "actions": inputs.state.actions,
        "state_stamp_ns": np.array(inputs.state.stamp_ns),
        "goal": inputs.goal.latent,
        "goal_details": _text(goal),
        "committed": inputs.committed,
        "seed": np.array(inputs.seed, np.int64),
    }
    if inputs.candidates is not None:
        arrays["candidates"] = inputs.candidates
    if inputs.warm_start is not None:
        arrays |= _pack_plan("warm_start.", inputs.warm_start)
    return arrays | _pack_plan("plan.", record.plan)


def unpack_record(arrays: Arrays) -> PlanRecord:
    """What `pack_record` packed."""
    images = {n.removeprefix("image."): v for n, v in arrays.items() if n.startswith("image.")}
    state = ModelState(
        arrays["latents"], arrays["proprio"], arrays["actions"], int(arrays["state_stamp_ns"])
    )
    first, second = arrays["seed"].tolist()
    inputs = PlanInputs(
        state,
        Goal(arrays["goal"], **json.loads(str(arrays["goal_details"]))),
        _unpack_plan("warm_start.", arrays),
        arrays["committed"],
        arrays.get("candidates"),
        (first, second),
    )
    plan = _unpack_plan("plan.", arrays)
    assert plan is not None
    observation = Observation(int(arrays["stamp_ns"]), images, arrays["readings"])
    return PlanRecord(observation, inputs, plan)


def _pack_plan(prefix: str, plan: Plan) -> Arrays:
    details = {
        "start_ns": plan.start_ns,
        "duration_s": plan.duration_s,
        "cost": plan.cost,
        "status": plan.status.value,
        "cost_terms": dict(plan.cost_terms),
        "plan_s": plan.plan_s,
        "effort": list(plan.effort),
        "interpolation": plan.interpolation,
        "sample_s": plan.sample_s,
        "quarantined": plan.quarantined,
        "begin": plan.begin.value,
        "violations": dict(plan.violations),
        "intact": plan.intact,
    }
    arrays: Arrays = {
        f"{prefix}details": _text(details),
        f"{prefix}knot_times_s": plan.knot_times_s,
        f"{prefix}knots": plan.knots,
    }
    if plan.elites is not None:
        arrays[f"{prefix}elites"] = plan.elites
    return arrays


def _unpack_plan(prefix: str, arrays: Arrays) -> Plan | None:
    if f"{prefix}details" not in arrays:
        return None
    details = json.loads(str(arrays[f"{prefix}details"]))
    plan = Plan(
        start_ns=details["start_ns"],
        knot_times_s=arrays[f"{prefix}knot_times_s"],
        knots=arrays[f"{prefix}knots"],
        duration_s=details["duration_s"],
        cost=details["cost"],
        status=PlanStatus(details["status"]),
        cost_terms=details["cost_terms"],
        plan_s=details["plan_s"],
        effort=Effort(*details["effort"]),
        interpolation=cast(Interpolation, details["interpolation"]),
        elites=arrays.get(f"{prefix}elites"),
        sample_s=details["sample_s"],
        quarantined=details["quarantined"],
        begin=Begin(details["begin"]),
        violations=details.get("violations", {}),  # logs of before they were told
    )
    if not details["intact"]:  # the search found it changed after it was made, and must again
        object.__setattr__(plan, "checksum", plan.checksum ^ 1)
    return plan


def _unpack(data: bytes, path: Path, number: int) -> PlanRecord:
    try:
        # Every array in the archive has a checksum, which is compared here.
        return unpack_record(dict(np.load(io.BytesIO(data), allow_pickle=False)))
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise PlanLogError(
            f"{path}: plan {number} was changed after it was written ({error})"
        ) from error


def _unpack_setup(data: bytes, path: Path) -> Setup:
    try:
        values = json.loads(data)
        values["config"] = from_mapping(AgentConfig, values["config"])
        return Setup(**values)
    except (ValueError, TypeError, KeyError) as error:
        raise PlanLogError(
            f"{path}: written by another version of foresee ({' '.join(str(error).split())})"
        ) from error


def _text(value: Any) -> NDArray[np.str_]:  # noqa: ANN401 - any JSON value
    return np.array(json.dumps(value))
