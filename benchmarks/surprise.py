"""Does a camera that lies stop the robot, and does one that does not never slow it down?

The whole graph in simulation, in real time, with a shipped bundle and the default thresholds; this
process stands between camera and agent: ``python -m benchmarks.surprise --goals 20 --json f.json``.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from foresee.commands import shipped_bundle
from foresee.summary import write_json
from foresee.worlds import make_world
from ros_nodes import qos
from ros_nodes.client import GraphClient
from ros_nodes.convert import array_to_image, image_to_array, stamp_to_ns
from ros_nodes.graph import Graph, NodeSpec, sim_graph
from ros_nodes.params import SimParameters

Pixels = NDArray[np.uint8]
ENV = "foresee/Reach-v0"
_AGED_S = 0.5  # into the way to a goal the camera begins to lie
_WATCHED_S = 3.0
_FOLLOWS, _STOPPED = "FOLLOWING", ("SURPRISED", "IMAGE_STALE")
_HELD_S = 2.0  # for so long afterwards it must follow no plan, for the stop to count as held


def lies() -> dict[str, Callable[[Pixels, Pixels], Pixels]]:
    """What a camera may show instead: of the image now and the one when it began."""
    return {
        "black": lambda now, then: np.zeros_like(now),
        "covered": lambda now, then: np.full_like(now, 90),
        "frozen": lambda now, then: then,
        "mirrored": lambda now, then: np.ascontiguousarray(now[:, ::-1]),
        "red and blue swapped": lambda now, then: np.ascontiguousarray(now[..., ::-1]),
        "left half gone": lambda now, then: np.where(
            np.arange(now.shape[1])[None, :, None] < now.shape[1] // 2, np.uint8(0), now
        ),
    }


class Camera:
    """Passes images on, as they are or not."""

    def __init__(self, client: GraphClient) -> None:
        """Use the node of a client."""
        node = client._node
        self.lie: Callable[[Pixels, Pixels], Pixels] | None = None
        self._then: Pixels | None = None
        self._images = node.create_publisher(Image, "scene/image_raw", qos.SENSOR)
        node.create_subscription(Image, "robot/image_raw", self._on_image, qos.SENSOR)

    def _on_image(self, message: Image) -> None:
        lie = self.lie
        if lie is None:
            self._then = None
            self._images.publish(message)
            return
        now = image_to_array(message)
        self._then = now if self._then is None else self._then
        header = message.header
        pixels = lie(now, self._then)
        self._images.publish(array_to_image(pixels, stamp_to_ns(header.stamp), header.frame_id))


def graph_with_camera(run_dir: Path, seed: int, camera_hz: float) -> Graph:
    """The graph in simulation, its camera on ``robot/image_raw``."""
    sim = SimParameters(seed=seed, image_rate_hz=camera_hz)
    plain = sim_graph(run_dir, shipped_bundle(ENV), sim=sim, record=False)
    nodes = list(plain._nodes)
    topics = {"scene/image_raw": "robot/image_raw"}
    nodes[0] = NodeSpec("sim_node", nodes[0].parameters, topics)
    return Graph(nodes, run_dir)


def run(
    goals: int, trials: int, seed: int, run_dir: Path, camera_hz: float = 10.0
) -> dict[str, Any]:
    """Pursue goals with an honest camera, then some with each lie.

    Returns:
        of the honest camera: ticks, the share of them slowed or stopped, surprises; of each lie:
        trials, how many stopped the robot, how many of those stops held for 2 s, seconds to each
        stop, and what it was called.
    """
    world = make_world(ENV)
    with graph_with_camera(run_dir, seed, camera_hz) as graph:
        graph.wait_ready(120.0)
        with GraphClient(graph.domain_id) as client:
            camera = Camera(client)
            client.arm(timeout_s=60.0)
            goal = seed
            for _ in range(goals):
                goal += 1
                client.set_goal(world.reset(seed=goal)[0]["goal_image"], 60.0)
                time.sleep(4.0)
            status = client.command_status
            reports = [r for r in client.plan_reports() if r.usable]
            values = [r.values["surprise"] for r in reports]
            sent = int(status["commands_sent"])
            honest = {
                "goals": goals,
                "ticks": sent,
                "slowed_ticks": int(status.get("clamps.surprise", "0")),
                "plans": len(values),
                "above_1": int(np.sum(np.array(values) > 1.0)),
                "not_known": sum(r.values["surprise_known"] == 0.0 for r in reports),
                "surprise_p50_p99_max": np.quantile(values, [0.5, 0.99, 1.0]).round(3).tolist(),
            }
            found: dict[str, Any] = {"seed": seed, "camera_hz": camera_hz, "honest": honest}
            found["lies"] = {}
            for name, lie in lies().items():
                stops, held = [], 0
                for _ in range(trials):
                    goal += 1
                    client.set_goal(world.reset(seed=goal)[0]["goal_image"], 60.0)
                    _until_it_follows(client)
                    time.sleep(_AGED_S)
                    stop = _stop(client, camera, lie)
                    if stop is not None:
                        stops.append(stop)
                        held += _holds(client)
                    camera.lie = None
                found["lies"][name] = {
                    "trials": trials,
                    "stopped": len(stops),
                    "held": held,
                    "s": [round(stop_s, 3) for stop_s, _ in stops],
                    "states": sorted({state for _, state in stops}),
                }
    world.close()
    return found


def _until_it_follows(client: GraphClient) -> None:
    """Wait until the lie before is forgotten."""
    end_s = time.monotonic() + 10.0
    while client.command_status.get("state", "") != _FOLLOWS and time.monotonic() < end_s:
        time.sleep(0.05)


def _stop(
    client: GraphClient, camera: Camera, lie: Callable[[Pixels, Pixels], Pixels]
) -> tuple[float, str] | None:
    """Seconds until it is stopped, and what for."""
    began_s = time.monotonic()
    camera.lie = lie
    while (passed_s := time.monotonic() - began_s) < _WATCHED_S:
        state = client.command_status.get("state", "")
        if state in _STOPPED:
            return passed_s, state
        time.sleep(0.005)
    return None


def _holds(client: GraphClient) -> bool:
    """Whether it goes on being stopped while the lie goes on."""
    end_s = time.monotonic() + _HELD_S
    while time.monotonic() < end_s:
        if client.command_status.get("state", "") == _FOLLOWS:
            return False
        time.sleep(0.005)
    return True


@dataclass
class Options:
    """Show the agent what is not there and see whether the robot stops."""

    goals: int = 20
    """Goals pursued with an honest camera."""
    trials: int = 5
    """Trials of each lie."""
    seed: int = 500
    """Of the goals."""
    camera_hz: float = 10.0
    """Frames per second of the camera; the bundle's steps are 0.1 s."""
    json: Path | None = None
    """Write the result here."""


def section(found: dict[str, Any]) -> str:
    """Of docs/results.md."""
    honest = found["honest"]
    largest, camera_hz = honest["surprise_p50_p99_max"][2], found.get("camera_hz", 10.0)
    lines = [
        "## Cameras that lie\n",
        f"`python -m benchmarks.surprise --goals {honest['goals']}` (Reach in simulation, seed "
        f"{found['seed']}, camera at {camera_hz:g} Hz, in real time): of {honest['ticks']} ticks "
        f"towards {honest['goals']} "
        f"goals with an honest camera {honest['slowed_ticks']} were slowed, the largest of "
        f"{honest['plans']} surprises was {largest:.2f} (from 1 on the robot slows, at 2 it "
        "stops).\n",
        "| the camera shows | trials | stopped the robot | s until it did, worst | held for 2 s | "
        "state |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in found["lies"].items():
        worst = f"{max(row['s']):.2f}" if row["s"] else ""
        states = ", ".join(row["states"])
        held = row.get("held", "")
        lines.append(
            f"| {name} | {row['trials']} | {row['stopped']} | {worst} | {held} | {states} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run and print."""
    given = tyro.cli(Options, description=__doc__)
    with tempfile.TemporaryDirectory() as folder:
        found = run(given.goals, given.trials, given.seed, Path(folder), given.camera_hz)
    if given.json is not None:
        write_json(given.json, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
