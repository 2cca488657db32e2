"""What may go wrong: every class of fault, how a trial of it is drawn, and what must follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ros_nodes.params import CommandParameters

Parameters = dict[str, Any]
Draw = Callable[[np.random.Generator], Parameters]

# Where a fault is put: messages on their way, the model, a process, the machine, what is asked for.
Place = Literal["route", "model", "process", "clock", "load", "disk", "goal", "start", "estop"]
CAMERA, JOINTS, POSE, PLAN = "camera", "joints", "pose", "plan"
EVERYTHING = (CAMERA, JOINTS, POSE, PLAN)

# After what `command_node` was promised to brake, and how much later that may be noticed: a plan
# from what was still good may be on its way, and times are those of another process.
_TIMES = CommandParameters()
_NOTICED_S = 0.1
POSE_S = _TIMES.max_pose_age_s + _NOTICED_S
PLAN_S = _TIMES.max_plan_age_s + _NOTICED_S
IMAGE_S = _TIMES.max_image_age_s + _NOTICED_S
LOST_S = 0.1  # a process that has ended


@dataclass(frozen=True)
class FaultClass:
    """One class of faults.

    Attributes:
        name: what it is called in the report.
        place: who injects it.
        draw: what differs between its trials: parameters for the injector, and ``hold_s``, how
            long it lasts.
        routes: for messages, which of them.
        stops_s: how long after its beginning the robot must brake, to rest until it ends (where it
            lasts that long); None where it need not.
        kills: whether a process of the graph ends, so that it must come back and be armed anew.
        disarms: whether it must be armed anew, though nothing ended.
    """

    name: str
    place: Place
    draw: Draw
    routes: tuple[str, ...] = ()
    stops_s: float | None = None
    kills: bool = False
    disarms: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def trial(self, rng: np.random.Generator) -> Parameters:
        """Parameters of one trial."""
        return {"hold_s": 1.0, **self.fixed, **self.draw(rng)}


def _nothing(_: np.random.Generator) -> Parameters:
    return {}


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _hold(low: float, high: float) -> Draw:
    return lambda rng: {"hold_s": _log(rng, low, high)}


def _drop(rng: np.random.Generator) -> Parameters:
    return {"share": float(rng.choice([0.01, 0.1, 0.3, 0.5, 0.8, 0.95, 1.0])), "hold_s": 2.0}


def _late(rng: np.random.Generator) -> Parameters:
    return {"seconds": _log(rng, 0.02, 2.0), "hold_s": 2.0}


def _size(rng: np.random.Generator) -> Parameters:
    height, width = rng.choice([1, 16, 32, 48, 96, 128, 480], 2)
    return {"height": int(height), "width": int(width)}


def _jump(low: float, high: float) -> Draw:
    return lambda rng: {"seconds": float(rng.choice([-1, 1])) * rng.uniform(low, high)}


def _route(
    name: str,
    fault: str,
    draw: Draw = _nothing,
    routes: tuple[str, ...] = (CAMERA,),
    stops_s: float | None = None,
    **fixed: object,
) -> FaultClass:
    return FaultClass(name, "route", draw, routes, stops_s, fixed={"fault": fault, **fixed})


def _process(
    name: str, victim: str, number: str, stops_s: float, hold: Draw = _nothing
) -> FaultClass:
    kills, fixed = number == "KILL", {"victim": victim, "signal": number}
    return FaultClass(name, "process", hold, stops_s=stops_s, kills=kills, fixed=fixed)


def _clock(name: str, draw: Draw, **fixed: object) -> FaultClass:
    return FaultClass(name, "clock", draw, stops_s=LOST_S, disarms=True, fixed=fixed)


_CLASSES = (
    _route("camera dropped", "drop", _drop),
    _route("camera gap", "gap", _hold(0.1, 10.0), stops_s=IMAGE_S),
    _route("camera late", "late", _late),
    _route("camera duplicated", "duplicate", lambda rng: {"times": int(rng.integers(2, 6))}),
    _route("camera reordered", "reorder", hold_s=1.5),
    _route("camera frozen", "frozen", hold_s=2.0),
    _route("camera black", "black", hold_s=1.5),
    _route("camera bit-flipped", "bit_flips", lambda rng: {"share": _log(rng, 1e-4, 0.5)}),
    _route("camera truncated", "truncated", lambda rng: {"share": float(rng.uniform(0, 0.99))}),
    _route(
        "camera of a wrong encoding",
        "encoding",
        lambda rng: {"name": str(rng.choice(["", "mono16", "bayer_rggb8", "32FC1", "mono8", "x"]))},
        hold_s=1.5,
    ),
    _route("camera of a wrong size", "size", _size, hold_s=1.5),
    _route("camera stamps wrong", "stamp", _jump(0.05, 3600.0), hold_s=1.5),
    _route("joint names permuted", "permuted", routes=(JOINTS,)),
    _route(
        "joints missing",
        "missing",
        lambda rng: {"count": int(rng.integers(1, 8))},
        (JOINTS,),
        stops_s=PLAN_S,  # by the agent, which cannot plan, where joints are not commanded
    ),
    _route(
        "joints not finite",
        "not_finite",
        lambda rng: {"value": str(rng.choice(["nan", "inf", "-inf"]))},
        (JOINTS,),
        stops_s=PLAN_S,
    ),
    _route("joints gap", "gap", _hold(0.1, 3.0), (JOINTS,), stops_s=PLAN_S),
    _route(
        "tool pose not finite",
        "not_finite",
        lambda rng: {"value": str(rng.choice(["nan", "inf", "-inf"]))},
        (POSE,),
        stops_s=POSE_S,
    ),
    _route("tool pose gap", "gap", _hold(0.3, 3.0), (POSE,), stops_s=POSE_S),
    _route("plans late", "late", _late, (PLAN,)),
    _route("plans dropped", "drop", _drop, (PLAN,)),
    _route("plans not finite", "not_finite_plan", hold_s=1.0, routes=(PLAN,), stops_s=PLAN_S),
    _route("network partition", "gap", _hold(0.1, 30.0), EVERYTHING, stops_s=PLAN_S),
    FaultClass(
        "model output not finite",
        "model",
        lambda rng: {
            "fault": str(rng.choice(["nan", "inf"])),
            "share": float(rng.choice([0.01, 0.5, 1.0])),
        },
    ),
    FaultClass("inference 2 times slower", "model", _nothing, fixed={"fault": "slow", "factor": 2}),
    FaultClass(
        "inference 10 times slower",
        "model",
        _nothing,
        fixed={"fault": "slow", "factor": 10, "hold_s": 2.0},
    ),
    FaultClass(
        "inference hung",
        "model",
        _hold(0.5, 5.0),
        stops_s=PLAN_S + _NOTICED_S,  # one that had begun may end
        fixed={"fault": "hung"},
    ),
    _process("planner killed", "agent_node", "KILL", LOST_S),
    _process("planner stopped", "agent_node", "STOP", PLAN_S, _hold(0.3, 3.0)),
    _process("command node killed", "command_node", "KILL", LOST_S),
    _process("command node stopped", "command_node", "STOP", LOST_S, _hold(0.3, 3.0)),
    _process("camera killed", "camera", "KILL", IMAGE_S),
    _process("camera stopped", "camera", "STOP", IMAGE_S, _hold(0.3, 3.0)),
    _clock("clock jumps by 1 s", _jump(1.0, 1.0), hold_s=1.5),
    _clock("clock jumps by 1 h", _jump(3600.0, 3600.0), hold_s=1.5),
    _clock("simulated time begins anew", _nothing, reset=True),
    FaultClass("e-stop", "estop", _nothing, stops_s=0.0, disarms=True),
    FaultClass("goals beyond the limits", "goal", _nothing, fixed={"hold_s": 3.0}),
    FaultClass("start outside the limits", "start", _nothing, fixed={"hold_s": 3.0}),
    FaultClass("both cores loaded", "load", _hold(1.0, 4.0)),
    FaultClass("disk of the recorder full", "disk", _nothing, fixed={"hold_s": 2.0}),
)

CLASSES: dict[str, FaultClass] = {fault.name: fault for fault in _CLASSES}
PAIRS = "pairs of faults"


def draw_pair(rng: np.random.Generator) -> tuple[FaultClass, FaultClass]:
    """Two classes to happen at once: at different places or of different messages."""
    while True:
        one, two = (CLASSES[str(name)] for name in rng.choice(list(CLASSES), 2, replace=False))
        apart = one.place != two.place or not set(one.routes) & set(two.routes)
        alike = "clock" in (one.place, two.place) or "start" in (one.place, two.place)
        if alike:  # they want another graph than the rest, or cannot be done to every robot
            continue
        if apart and {one.place, two.place} != {"process"} and not (one.kills and two.kills):
            return one, two
