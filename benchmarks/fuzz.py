"""Nonsense on every topic: does a node crash, does the robot move for it?

    python -m benchmarks.fuzz --messages 100000 --json runs/results/fuzz.json

The graph of `benchmarks.faults`, armed. Then the camera and the true plans are cut off, and
messages that mean nothing come instead, on every topic that agent and command node listen to, but
for those of which every message means something (the e-stop) or which are the robot's own: wrong
names, lengths, times, encodings, frames, numbers that are not finite. What reached the actuator in
that time is heard by the independent recorder: after braking there may be nothing but zeros. At the
end the wires are put back: the same processes must still be there, and the robot must move again.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import tyro
from builtin_interfaces.msg import Duration, Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import String
from tqdm import tqdm
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from benchmarks.faults.judge import judge
from benchmarks.faults.plants import PLANTS
from benchmarks.faults.rig import Rig
from benchmarks.faults.trial import get_moving
from foresee.summary import write_json
from ros_nodes import qos
from ros_nodes.convert import ns_to_stamp

_ACTIONS = ("tool.vx", "tool.vy", "tool.vz")
_BAD = (math.nan, math.inf, -math.inf)
_PER_S = 800.0
_STOPPED_S = 1.5

Rng = np.random.Generator
Message = Any  # of any type


@dataclass
class Fuzz:
    """Send messages that mean nothing and see what happens."""

    messages: int = 100_000
    """How many."""
    plant: str = "simulation"
    """The robot: simulation or fake."""
    seed: int = 0
    """Of the messages."""
    json: Path | None = None
    """Write the summary here."""


def _text(rng: Rng) -> str:
    letters = rng.integers(32, 0x2FFF, rng.integers(0, 40))
    return "".join(map(chr, letters))


def _stamp(rng: Rng, now_ns: int) -> Time:
    kind = rng.integers(4)
    if kind == 0:
        return Time()
    if kind == 1:
        return Time(sec=int(rng.integers(-(2**31), 2**31)), nanosec=int(rng.integers(10**9)))
    return ns_to_stamp(max(0, now_ns + int(rng.integers(-(10**9), 10**9))))


def bad_plan(rng: Rng, now_ns: int) -> JointTrajectory:
    """A plan with at least one thing wrong."""
    wrong = rng.integers(5)
    names = list(_ACTIONS)
    if wrong == 0:
        names = [_text(rng) for _ in range(rng.integers(0, 6))] or ["x"]
    message = JointTrajectory(joint_names=names)
    message.header.stamp = _stamp(rng, now_ns) if rng.random() < 0.5 else ns_to_stamp(now_ns)
    message.header.frame_id = "panda_link0"
    count = int(rng.integers(2, 8))
    times_s = np.cumsum(rng.uniform(0.05, 0.2, count)) - 0.05
    times_s -= times_s[0]
    if wrong == 1:
        times_s = rng.permutation(times_s)[::-1] + rng.choice([0.5, -1.0])
    for i, time_s in enumerate(times_s):
        size = len(names) if wrong != 2 else int(rng.choice([0, 1, 2, 4, 50]))
        velocities = rng.uniform(-0.2, 0.2, size)
        if wrong == 3 and size:
            velocities[rng.integers(size)] = rng.choice(_BAD)
        nanoseconds = round(float(time_s) * 1e9)
        sec, nanosec = divmod(nanoseconds, 10**9)
        message.points.append(
            JointTrajectoryPoint(
                velocities=velocities.tolist(),
                time_from_start=Duration(sec=int(sec), nanosec=int(nanosec)),
            )
        )
        if wrong == 4 and i == 0:
            break
    return message


def bad_pose(rng: Rng, now_ns: int) -> PoseStamped:
    """Not finite, or in a frame that nobody knows."""
    message = PoseStamped()
    message.header.stamp = _stamp(rng, now_ns)
    message.header.frame_id = "panda_link0"
    position = rng.uniform(-1, 1, 3)
    if rng.random() < 0.5:
        message.header.frame_id = _text(rng) or "x"
    else:
        position[rng.integers(3)] = rng.choice(_BAD)
    point = message.pose.position
    point.x, point.y, point.z = position.tolist()
    return message


def bad_joints(rng: Rng, now_ns: int) -> JointState:
    """Lengths that differ, names that nobody knows, numbers that are none."""
    count = int(rng.integers(0, 12))
    message = JointState()
    message.header.stamp = _stamp(rng, now_ns)
    message.name = [
        f"panda_joint{i}" if rng.random() < 0.5 else _text(rng) for i in range(1, count + 1)
    ]
    positions = rng.uniform(-3, 3, int(rng.integers(0, 12)))
    if len(positions) == count and count:
        positions[rng.integers(count)] = rng.choice(_BAD)
    message.position = positions.tolist()
    message.velocity = rng.choice([*_BAD, 0.0], int(rng.integers(0, 12))).tolist()
    return message


def bad_image(rng: Rng, now_ns: int) -> Image:
    """Not the size, not the encoding or not the length that it says."""
    message = Image()
    message.header.stamp = _stamp(rng, now_ns)
    message.height, message.width = (int(v) for v in rng.choice([0, 1, 63, 64, 65, 2**31], 2))
    message.encoding = str(rng.choice(["rgb8", "bgr8", "mono8", "rgba8", "", "x" * 300, "32FC1"]))
    message.step = int(rng.choice([0, 1, 192, 2**31]))
    message.data = rng.integers(0, 256, int(rng.integers(0, 300)), np.uint8).tobytes()
    return message


def bad_info(rng: Rng, now_ns: int) -> CameraInfo:
    """A calibration of nothing."""
    message = CameraInfo(height=int(rng.integers(2**31)), width=int(rng.integers(2**31)))
    message.header.stamp = _stamp(rng, now_ns)
    message.k = rng.choice([*_BAD, 0.0], 9)
    return message


def bad_picture(rng: Rng, now_ns: int) -> CompressedImage:
    """Bytes that begin as a picture does, or not even that."""
    message = CompressedImage(format=str(rng.choice(["jpeg", "png", "", "rgb8; jpeg", "tiff"])))
    message.header.stamp = _stamp(rng, now_ns)
    begin = (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"")[rng.integers(3)]
    message.data = begin + rng.integers(0, 256, int(rng.integers(0, 300)), np.uint8).tobytes()
    return message


def bad_twist(rng: Rng, now_ns: int) -> TwistStamped:
    """A number that is none, or too large for any."""
    message = TwistStamped()
    message.header.stamp = _stamp(rng, now_ns)
    for axes in (message.twist.linear, message.twist.angular):
        axes.x, axes.y, axes.z = (float(v) for v in rng.choice([*_BAD, 1e308, -1e308], 3))
    return message


def bad_odometry(rng: Rng, now_ns: int) -> Odometry:
    """Nowhere, at a speed that is none."""
    message = Odometry(child_frame_id=_text(rng))
    message.header.stamp = _stamp(rng, now_ns)
    message.pose.pose = bad_pose(rng, now_ns).pose
    message.twist.twist = bad_twist(rng, now_ns).twist
    return message


def bad_status(rng: Rng, now_ns: int) -> DiagnosticArray:
    """No status, words for numbers, or an image that was seen at no time there is."""
    message = DiagnosticArray()
    message.header.stamp = _stamp(rng, now_ns)
    seen = rng.choice([_text(rng), "nan", "1e400", "9" * 5000, "-", str(2**63), "0x10"])
    values = {"image_news_ns": str(seen), "surprise": str(rng.choice([_text(rng), "0.0"]))}
    if rng.random() < 0.3:
        values = {_text(rng): _text(rng)}
    if rng.random() < 0.9:
        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        message.status = [DiagnosticStatus(name=_text(rng), values=pairs)]
    return message


def bad_text(rng: Rng, _: int) -> String:
    """Neither a file nor a process."""
    return String(data=_text(rng))


# Where each goes. Behind the relays: what the nodes themselves listen to.
SENT: dict[str, tuple[type, Any, Callable[[Rng, int], Message]]] = {
    "plan": (JointTrajectory, qos.COMMAND, bad_plan),
    "tool_pose": (PoseStamped, qos.STATE, bad_pose),
    "joint_states": (JointState, qos.STATE, bad_joints),
    "scene/image_raw": (Image, qos.SENSOR, bad_image),
    "scene/camera_info": (CameraInfo, qos.SENSOR, bad_info),
    "scene/goal_image": (Image, qos.LATCHED, bad_image),
    "scene/image_raw/compressed": (CompressedImage, qos.SENSOR, bad_picture),
    "task": (String, qos.LATCHED, bad_text),
    "goal_file": (String, qos.LATCHED, bad_text),
    "agent_node/process": (String, qos.LATCHED, bad_text),
    "plan_status": (DiagnosticArray, qos.STATE, bad_status),
    "odom": (Odometry, qos.SENSOR, bad_odometry),
    "command_node/applied": (TwistStamped, qos.COMMAND_LOG, bad_twist),
    "command_node/applied_gripper": (JointState, qos.COMMAND_LOG, bad_joints),
}


def fuzz(job: Fuzz) -> dict[str, Any]:
    """Send them; what came of it."""
    rng = np.random.default_rng(job.seed)
    sent = dict.fromkeys(SENT, 0)
    with tempfile.TemporaryDirectory(prefix="foresee-fuzz-") as folder:
        run_dir = Path(folder)
        plant = PLANTS[job.plant](run_dir / "graph", False)
        with Rig(plant, run_dir / "graph", job.seed) as rig:
            moved_before = get_moving(rig)
            pids = rig.graph.pids
            rig.set_route_fault(("camera", "plan"), {"fault": "gap"})
            time.sleep(_STOPPED_S)
            before = rig.heard(run_dir / "before.npz")
            context = Context()
            rclpy.init(args=[], context=context, domain_id=rig.graph.domain_id)
            node = Node("fuzzer", context=context)
            publishers = {
                topic: node.create_publisher(kind, topic, quality)
                for topic, (kind, quality, _) in SENT.items()
            }
            time.sleep(1.0)  # until they are known
            began_s = time.monotonic()
            for number in tqdm(range(job.messages), desc="fuzz", unit="message"):
                topic = str(rng.choice(list(SENT)))
                message = SENT[topic][2](rng, time.time_ns())
                publishers[topic].publish(message)
                sent[topic] += 1
                time.sleep(max(0.0, began_s + number / _PER_S - time.monotonic()))
            time.sleep(_STOPPED_S)
            during = rig.heard(run_dir / "during.npz")
            node.destroy_node()
            rclpy.try_shutdown(context=context)
            same = rig.graph.pids == pids
            rig.set_route_fault(("camera", "plan"), {})
            moved_after = get_moving(rig)
            rig.arm(False)
    return {
        "messages": sum(sent.values()),
        "sent": sent,
        "seed": job.seed,
        "plant": plant.name,
        "load": round(os.getloadavg()[0], 1),
        "moved_before": moved_before,
        "commands_meanwhile": len(during.command_s),
        "commands_that_moved": int(during.velocity.any(axis=1).sum()),
        "violations": [v.rule for h in (before, during) for v in judge(h, plant.rules)],
        "same_processes": same,
        "moved_after": moved_after,
    }


def section(found: dict[str, Any]) -> str:
    """Of docs/results.md."""
    same = "the same processes ran" if found["same_processes"] else "a process had ended"
    ways = (
        "it moved" if found["moved_before"] and found["moved_after"] else "it did not always move"
    )
    return (
        "## Messages that hold nothing right\n\n"
        f"`python -m benchmarks.fuzz --messages {found['messages']}` (seed {found['seed']}, "
        f"{found['plant']}): valid plans and images are cut off and garbage takes their place on "
        f"{len(found['sent'])} topics (sent; how many arrived is not counted). Of "
        f"{found['commands_meanwhile']} commands meanwhile "
        f"{found['commands_that_moved']} moved anything; {len(found['violations'])} rules were "
        f"broken; {same} before and after; {ways} before and after it.\n"
    )


def main() -> int:
    """Run and print; 1 when anything was wrong."""
    job = tyro.cli(Fuzz, description=__doc__)
    result = fuzz(job)
    if job.json is not None:
        write_json(job.json, result)
    print(json.dumps(result, indent=1))
    good = result["same_processes"] and result["moved_before"] and result["moved_after"]
    return int(not good or bool(result["violations"]) or bool(result["commands_that_moved"]))


if __name__ == "__main__":
    sys.exit(main())
