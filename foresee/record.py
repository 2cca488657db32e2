"""Record a robot's camera streams to a bag while it moves about: something to train on."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from foresee.errors import UsageError
from foresee.worlds import check_seed, core_of, make_world
from ros_nodes.client import GraphClient
from ros_nodes.graph import Graph, GraphError, NodeSpec
from ros_nodes.params import (
    CommandParameters,
    ExploreParameters,
    ParameterError,
    RecorderParameters,
    SimParameters,
    check,
)
from sim.envs.table import TableEnv

_LOOK_EVERY_S = 0.5
_PATIENCE_S = 30.0  # with a machine that is busy with other things


@dataclass(frozen=True)
class RecordJob:
    """What to record.

    Attributes:
        out: new folder of the bag.
        env_id: the simulated world.
        minutes: how long, real time.
        cameras: names of its cameras.
        image_size: side of the square images in pixels.
        image_rate_hz: frames per second.
        seed: of the world and of the motion.
    """

    out: Path
    env_id: str
    minutes: float
    cameras: tuple[str, ...]
    image_size: int
    image_rate_hz: float
    seed: int


def record(job: RecordJob) -> dict[str, Any]:
    """Start recorder, simulated robot, exploration and command node; arm; wait; end in order.

    Ctrl-C ends early; what was recorded so far is a whole bag.

    Returns:
        ``out``, ``seconds`` recorded, ``finished`` (False after Ctrl-C), ``failed`` and
        ``failure`` (a node did not come up, died or did not end cleanly).

    Raises:
        UsageError: no such world or camera, a number out of range, or a bag that exists.
    """
    graph = Graph(_nodes(job), _logs(job.out))
    summary: dict[str, Any] = {
        "out": str(job.out),
        "seconds": 0.0,
        "finished": False,
        "failed": False,
        "failure": None,
    }
    began_s = None
    try:
        with graph:
            graph.wait_ready()
            tqdm.write(f"the nodes are up (ROS_DOMAIN_ID={graph.domain_id})")
            with GraphClient(graph.domain_id, job.cameras[0]) as client:
                client.arm(timeout_s=_PATIENCE_S)
                began_s = time.monotonic()
                _wait(graph, client, began_s, 60.0 * job.minutes)
                client.arm(False)
            summary["seconds"] = round(time.monotonic() - began_s, 1)
            codes = graph.stop()
        if any(codes.values()):
            raise GraphError(f"nodes did not end cleanly: {codes}")
        summary["finished"] = True
        shutil.rmtree(_logs(job.out))
    except KeyboardInterrupt:
        summary["seconds"] = 0.0 if began_s is None else round(time.monotonic() - began_s, 1)
        tqdm.write("interrupted; the nodes have been stopped and the bag is whole")
    except GraphError as error:
        summary["finished"] = True
        summary["failed"], summary["failure"] = True, str(error)
    return summary


def _logs(out: Path) -> Path:
    """Logs lie beside the bag, not in it, and go when all went well."""
    return out.with_name(f"{out.name}.logs")


def _nodes(job: RecordJob) -> list[NodeSpec]:
    if not 0 < job.minutes < math.inf:
        raise UsageError(f"--minutes must be a number above 0, got {job.minutes:g}")
    check_seed(job.seed)
    if job.out.exists():
        raise UsageError(f"{job.out}: exists already; choose another --out")
    world = make_world(job.env_id, job.image_size)
    try:
        core = core_of(world)
        if not isinstance(core, TableEnv) or core.gripper:
            raise UsageError(
                f"{job.env_id}: explore_node moves a tool alone; foresee collect records it"
            )
        if not job.cameras or set(job.cameras) - set(core.cameras):
            given, known = " ".join(job.cameras), ", ".join(core.cameras)
            raise UsageError(f"--cameras {given}: {job.env_id} has {known}")
        box, speed_m_s = core.box, core.max_speed_m_s
    finally:
        world.close()
    job.out.parent.mkdir(parents=True, exist_ok=True)
    sim = SimParameters(
        env_id=job.env_id,
        seed=job.seed,
        image_size=job.image_size,
        image_rate_hz=job.image_rate_hz,
        cameras=job.cameras,
    )
    topics = [f"{name}/{kind}" for name in job.cameras for kind in ("image_raw", "camera_info")]
    topics += ["joint_states", "tool_pose", "servo_node/delta_twist_cmds", "evaluation/truth"]
    recorder = RecorderParameters(path=str(job.out.resolve()), topics=tuple(topics))
    explore = ExploreParameters(low_m=box.low, high_m=box.high, speed_m_s=speed_m_s, seed=job.seed)
    nodes = [
        NodeSpec("recorder_node", recorder),
        NodeSpec("sim_node", sim),
        NodeSpec("explore_node", explore),
        NodeSpec("command_node", CommandParameters()),
    ]
    try:
        for node in nodes:
            check(node.parameters)
    except ParameterError as error:
        raise UsageError(str(error)) from error
    return nodes


def _wait(graph: Graph, client: GraphClient, began_s: float, seconds: float) -> None:
    with tqdm(
        total=round(seconds),
        desc="recording",
        bar_format="{desc}: {n:.0f}/{total:.0f} s |{bar:20}|{postfix}",
    ) as bar:
        while (elapsed_s := time.monotonic() - began_s) < seconds:
            time.sleep(min(_LOOK_EVERY_S, seconds - elapsed_s))
            graph.check()
            bar.n = min(time.monotonic() - began_s, seconds)
            bar.set_postfix_str(
                f"{client.command_rate_hz():3.0f} commands/s, "
                f"{client.command_status.get('state', 'unknown')}"
            )
