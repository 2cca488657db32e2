"""One trial: get the robot moving, let something go wrong, judge what reached the actuator."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.catalog import PAIRS, FaultClass, Parameters, draw_pair
from benchmarks.faults.judge import (
    Heard,
    Violation,
    braking_delay_s,
    held_up_s,
    judge,
    rest_s,
)
from benchmarks.faults.rig import PATIENCE_S, Rig
from ros_nodes.graph import GraphError

_MOVING = 0.03  # of the norm of a command: it is on its way
_LOOK_S = 0.01
_SETTLE_S = 0.6  # after a fault, for braking and for what was held up to arrive
_ATTEMPTS = 4  # to have it on its way in the moment of the fault
_RESTART_S = 5.0
_BRAKING_S = 0.1
_ZERO_S = 0.05  # from an e-stop to a command of zero: a tick, and what messages take


class NotHeardError(Exception):
    """The monitor heard nothing for a moment: what it heard is no evidence either way."""


@dataclass(frozen=True)
class Trial:
    """What came of one.

    Attributes:
        fault: class.
        seed: of it.
        parameters: drawn from the seed.
        violations: of the rules at the actuator.
        moving: whether the robot was on its way when the fault began.
        braking_s: how long after a kill braking began; None where nothing had to brake.
        restart_s: how long until the killed node worked again; None where none was killed.
        zero_s: how long after an e-stop the first command of zero came; None without one.
        rest_s: for how long it was held to rest, where something had to stop it.
        problems: promises beside those at the actuator that were not kept.
    """

    fault: str
    seed: int
    parameters: Parameters
    violations: list[Violation]
    moving: bool
    braking_s: float | None
    restart_s: float | None
    zero_s: float | None
    rest_s: float
    problems: list[str]

    @property
    def passed(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations and not self.problems


def run_trial(rig: Rig, fault: FaultClass | None, seed: int, keep: Path) -> Trial:
    """Run one trial on a graph that is up.

    Args:
        rig: armed or not; it is armed again where the trial before left it disarmed.
        fault: the class; None for a pair of them.
        seed: of its parameters and of when it happens.
        keep: folder for what was heard; kept only where a promise was broken.

    Raises:
        GraphError: the graph cannot be got to work, see `failed_trial`; the campaign starts a new
            one.
        NotHeardError: it has to be run again to be judged.
    """
    rng = np.random.default_rng(seed)
    faults = draw_pair(rng) if fault is None else (fault,)
    drawn = [one.trial(rng) for one in faults]
    if any(one.kills for one in faults):
        rig.wait_until_stable()
    for _ in range(_ATTEMPTS):
        started = get_moving(rig)
        time.sleep(rng.uniform(0.0, 0.1))  # any phase of planning and ticking
        moving = rig.speed() > _MOVING
        if moving or not started:
            break
    heard_file = keep / f"{PAIRS if fault is None else fault.name}_{seed}.npz".replace(" ", "_")
    problems: list[str] = []
    killed = [p["victim"] for f, p in zip(faults, drawn, strict=True) if f.kills]
    killed_node = killed in (["agent_node"], ["command_node"])
    old_pid = rig.pid(killed[0]) if killed else 0
    with ExitStack() as stack:
        began_s = time.monotonic()
        began = []
        for one, parameters in zip(faults, drawn, strict=True):
            began.append(stack.enter_context(_INJECTORS[one.place](rig, one, parameters)))
        until_s = time.monotonic() + max(parameters["hold_s"] for parameters in drawn)
        # It may be back long before the other fault of a pair is over.
        back_s = _wait_until_back(rig, killed[0], old_pid, until_s) if killed_node else None
        time.sleep(max(0.0, until_s - time.monotonic()))
        ends_s = time.monotonic()
    rest = tuple(
        (began_s + one.stops_s, ends_s)
        for one, began_s in zip(faults, began, strict=True)
        if one.stops_s is not None
    )
    began_s = next((s for s, one in zip(began, faults, strict=True) if one.kills), began[-1])
    restart_s = None
    if killed == ["camera"]:
        rig.restart_camera()  # by whoever starts it, which is none of our nodes
    elif killed_node:
        patience_s = began_s + PATIENCE_S
        back_s = back_s or _wait_until_back(rig, killed[0], old_pid, patience_s)
        if back_s is None:
            problems.append(f"{killed[0]} was not back after {PATIENCE_S:.0f} s")
        else:
            restart_s = back_s - began_s
            if restart_s > _RESTART_S:
                problems.append(f"{killed[0]} was back after {restart_s:.1f} s")
    time.sleep(_SETTLE_S)
    if killed_node or any(one.disarms for one in faults):
        rig.disarmed(began_s + _BRAKING_S)
        until_s = time.monotonic() + _RESTART_S  # one that was replaced may not have spoken yet
        while rig.says_armed() and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        if rig.says_armed():
            what = f"{killed[0]} was killed" if killed_node else "what disarms it"
            problems.append(f"armed after {what}")
    heard = rig.heard(heard_file, rest)
    if len(heard.paused_s):
        heard_file.unlink()
        raise NotHeardError(f"the monitor did not run for {heard.paused_s.max():.2f} s")
    if late_s := held_up_s(heard):
        heard_file.unlink()
        raise NotHeardError(f"what was sent reached the monitor up to {late_s:.2f} s late")
    if killed == ["command_node"]:
        heard = dataclasses.replace(heard, killed_s=np.array([began_s]))
    zero_s = None
    if pressed := [s for s, one in zip(began, faults, strict=True) if one.place == "estop"]:
        # Who obeys may have heard it before the monitor did.
        asked_s = np.sort(np.append(heard.stop_asked_s, pressed))
        heard = dataclasses.replace(heard, stop_asked_s=asked_s)
        if moving and fault is not None:
            zero_s = _zero_s(heard, pressed[0])
            if not zero_s <= _ZERO_S:
                problems.append(f"zero {1e3 * zero_s:.0f} ms after the e-stop")
    violations = judge(heard, rig.plant.rules)
    braking_s = None
    if moving and killed_node:
        until_s = min(began_s + 1.0, heard.command_s[-1] if len(heard.command_s) else began_s)
        braking_s = braking_delay_s(heard, began_s, until_s)
        if not braking_s <= _BRAKING_S:
            problems.append(f"braking began {1e3 * braking_s:.0f} ms after the kill")
    name = PAIRS if fault is None else fault.name
    both: Parameters = {f.name: p for f, p in zip(faults, drawn, strict=True)}
    parameters = both if fault is None else drawn[0]
    trial = Trial(
        name,
        seed,
        parameters,
        violations,
        moving,
        braking_s,
        restart_s,
        zero_s,
        rest_s(heard, rig.plant.rules),
        problems,
    )
    if trial.passed:
        heard_file.unlink()
    return trial


def failed_trial(rig: Rig, name: str, seed: int, error: GraphError, keep: Path) -> Trial:
    """What is told of a trial in which the graph failed: not kept, and judged by what was heard."""
    try:
        heard = rig.heard(keep / f"{name}_{seed}_failed.npz".replace(" ", "_"))
        violations = judge(heard, rig.plant.rules)
    except (OSError, GraphError, ValueError):  # the recorder itself is gone
        violations = []
    problems = [f"the graph failed: {error}"]
    return Trial(name, seed, {}, violations, False, None, None, None, 0.0, problems)


def _zero_s(heard: Heard, since_s: float) -> float:
    """How long after a moment the first command of zero came; infinite where none did."""
    zeros = heard.command_s[~heard.velocity.any(axis=1) & (heard.command_s >= since_s)]
    return float(zeros[0] - since_s) if len(zeros) else float("inf")


def get_moving(rig: Rig) -> bool:
    """Arm where that is needed, and give goals until the robot is on its way.

    Returns:
        whether it moves; one that is outside its limits and may not, does not.
    """
    rig.restart_camera()
    if not rig.says_armed():
        rig.arm()
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        rig.next_goal()
        until_s = time.monotonic() + 2.0
        while time.monotonic() < until_s:
            if rig.speed() > _MOVING:
                return True
            time.sleep(_LOOK_S)
        if not rig.says_armed():
            rig.arm()
    return False


def _wait_until_back(rig: Rig, name: str, old_pid: int, until_s: float) -> float | None:
    """When a killed node works again, monotonic s; None when it does not by then."""
    while (now_s := time.monotonic()) < until_s:
        if rig.is_back(name, old_pid):
            return now_s
        time.sleep(_LOOK_S)
    return None


@contextmanager
def _route(rig: Rig, fault: FaultClass, parameters: Parameters) -> Iterator[float]:
    rig.set_route_fault(fault.routes, parameters)
    try:
        yield time.monotonic()
    finally:
        rig.set_route_fault(fault.routes, {})


@contextmanager
def _model(rig: Rig, _: FaultClass, parameters: Parameters) -> Iterator[float]:
    rig.set_model_fault(parameters)
    try:
        yield time.monotonic()
    finally:
        rig.set_model_fault({})


@contextmanager
def _process(rig: Rig, _: FaultClass, parameters: Parameters) -> Iterator[float]:
    victim, number = parameters["victim"], signal.Signals[f"SIG{parameters['signal']}"]
    pid = rig.pid(victim)
    began_s = rig.signal(victim, number)
    try:
        yield began_s
    finally:
        if number == signal.SIGSTOP and rig.runs(pid):
            os.kill(pid, signal.SIGCONT)


def _burn(seconds: float) -> None:
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        pass


@contextmanager
def _load(_: Rig, __: FaultClass, ___: Parameters) -> Iterator[float]:
    context = multiprocessing.get_context("spawn")
    burners = [context.Process(target=_burn, args=(60.0,), daemon=True) for _ in range(2)]
    for burner in burners:
        burner.start()
    try:
        yield time.monotonic()
    finally:
        for burner in burners:
            burner.kill()
            burner.join()


@contextmanager
def _disk(rig: Rig, _: FaultClass, __: Parameters) -> Iterator[float]:
    """No file of the recorder may grow any more, which is what a full disk looks like to it."""
    pid = rig.pid("recorder_node")
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield time.monotonic()
    finally:
        if rig.runs(pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def _clock(rig: Rig, _: FaultClass, parameters: Parameters) -> Iterator[float]:
    if parameters.get("reset"):
        assert rig.plant.start_seed is not None
        rig.client.reset_world(rig.plant.start_seed)
        yield time.monotonic()
        return
    rig.set_route_fault(("clock",), {"fault": "clock", **parameters})
    try:
        yield time.monotonic()
    finally:
        rig.set_route_fault(("clock",), {})


@contextmanager
def _estop(rig: Rig, _: FaultClass, __: Parameters) -> Iterator[float]:
    now_s = time.monotonic()
    rig.estop()
    yield now_s


@contextmanager
def _goal(rig: Rig, _: FaultClass, __: Parameters) -> Iterator[float]:
    rig.client.set_goal(rig.plant.goal_beyond, PATIENCE_S)
    yield time.monotonic()


@contextmanager
def _start(rig: Rig, _: FaultClass, __: Parameters) -> Iterator[float]:
    rig.put_outside()
    yield time.monotonic()


_INJECTORS: dict[str, Callable[[Rig, FaultClass, Parameters], Any]] = {
    "route": _route,
    "model": _model,
    "process": _process,
    "clock": _clock,
    "load": _load,
    "disk": _disk,
    "goal": _goal,
    "estop": _estop,
    "start": _start,
}
