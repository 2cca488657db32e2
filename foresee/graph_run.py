"""Run the ROS 2 graph in simulation and give the agent goals, one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from controller.config import AgentConfig, load_agent_config
from controller.configurator import load_task
from foresee.episode import also_reached
from foresee.errors import UsageError
from foresee.staged_goal import write_staged_goal
from foresee.statistics import percentiles
from foresee.worlds import check_seed, core_of, images_of, make_world, world_for
from ros_nodes.client import GraphClient, PlanReport
from ros_nodes.convert import action_axes, split_gripper
from ros_nodes.graph import Graph, GraphError, sim_graph
from ros_nodes.params import CommandParameters, SimParameters
from sim.assets import FINGER_JOINTS
from sim.envs.pusht import wrapped
from sim.gripper import MAX_SPEED_M_S
from world_model.bundle import ModelSpec, agent_settings
from world_model.runtime import (
    FULL_PRECISION,
    Provider,
    choose_providers,
    load_world_model,
)

_LOOK_EVERY_S = 0.1
_PATIENCE_S = 30.0  # with a machine that is busy with other things
_GRACE_S = 1.0  # beyond an episode of the world, which does not wait for the first plan here


@dataclass(frozen=True)
class GraphRun:
    """What to run.

    Attributes:
        env_id: the world.
        bundle: folder of the model.
        agent: YAML file of the controller's settings, or None for the defaults.
        task: YAML file of a task with settings and model, instead of ``agent``; its goals give way
            to the goal images of the run.
        goals: how many, one after the other. The world is not reset in between, unless its goals
            are shown by several images: the first of them shows where things are at the start.
        seed: goal i is the one of the world's seed ``seed + i``.
        image_size: side of the square camera image in pixels.
        provider: ONNX Runtime execution provider.
        variant: precision of the rollouts.
        out: folder for logs and the bag; None for ``runs/run/<time>``.
        seconds_per_goal: time to reach each; ``None`` for a second more than an episode lasts.
    """

    env_id: str
    bundle: Path
    agent: Path | None
    goals: int
    seed: int
    image_size: int = 64
    provider: Provider = "auto"
    variant: str = FULL_PRECISION
    out: Path | None = None
    task: Path | None = None
    seconds_per_goal: float | None = None


@dataclass(frozen=True)
class _Target:
    """Goal images ``(H, W, 3)`` uint8 by camera; to judge by, where the object is, ``(3,)`` m.

    Where the task asks for it, also how the object is turned (rad) and within what. Before the goal
    come the images of ``stages``, where the world has them.
    """

    seed: int
    images: Mapping[str, NDArray[np.uint8]]
    stages: tuple[Mapping[str, NDArray[np.uint8]], ...]
    duration_s: float
    position_m: NDArray[np.float64]
    radius_m: float
    yaw_rad: float
    angle_rad: float | None

    def reached(self, distance_m: float, angle_rad: float | None, held: bool) -> bool:
        """Whether the object is near enough, turned as asked for and let go."""
        turned = self.angle_rad is None or (angle_rad is not None and angle_rad <= self.angle_rad)
        return distance_m <= self.radius_m and turned and not held


def new_run_folder(kind: str) -> Path:
    """``runs/<kind>/<time>``, made."""
    path = Path("runs") / kind / time.strftime("%Y-%m-%d_%H-%M-%S")
    path.mkdir(parents=True, exist_ok=True)
    return path


def run_graph(job: GraphRun) -> dict[str, Any]:
    """Start the nodes, arm, give the goals, stop the nodes. Ctrl-C stops them in order.

    Returns:
        A summary in the form `foresee.report.table` prints; ``failed`` says that a node did not
        come up, died or did not end cleanly, ``failure`` why; ``finished`` is False after Ctrl-C.

    Raises:
        BundleError: the bundle cannot be used.
        ConfigError: the agent's settings cannot be used.
        ProviderError: the provider asked for is not there.
        UsageError: bundle and world do not fit, a number is out of range, or ``out`` holds a
            recording already.
    """
    check_request(job)
    model = load_world_model(job.bundle, job.provider, variant=job.variant)
    targets, moved = _targets(job, model.spec)
    out = job.out or new_run_folder("run")
    out.mkdir(parents=True, exist_ok=True)
    summary: dict[str, Any] = {
        "env": job.env_id,
        "bundle": str(job.bundle),
        "provider": model.provider,
        "out": str(out),
        "seed": job.seed,
        "goals": [],
        "finished": False,
        "failed": False,
        "failure": None,
    }
    graph = sim_graph(
        out,
        job.bundle,
        sim=SimParameters(
            env_id=job.env_id,
            seed=job.seed,
            image_size=job.image_size,
            cameras=tuple(model.spec.cameras),
        ),
        command=_command(model.spec),
        agent_config=job.agent,
        task=job.task,
        provider=job.provider,
        variant=job.variant,
    )
    try:
        with graph:
            summary["ready_s"] = round(graph.wait_ready(), 2)
            tqdm.write(
                f"graph is up after {summary['ready_s']:.1f} s: {', '.join(graph.pids)} "
                f"(ROS_DOMAIN_ID={graph.domain_id})"
            )
            camera = next(iter(model.spec.cameras))
            with GraphClient(graph.domain_id, camera) as client, _deaths_named(graph):
                show = partial(_show, client, out / "goals", _settings(job))
                client.arm(timeout_s=_PATIENCE_S)
                for number, target in enumerate(targets, 1):
                    title = f"goal {number}/{len(targets)}"
                    summary["goals"].append(_pursue(graph, client, target, moved, show, title))
                client.arm(False)
            summary["restarts"] = graph.restarts
            summary["exit_codes"] = graph.stop()
        if any(summary["exit_codes"].values()):
            raise GraphError(f"nodes did not end cleanly: {summary['exit_codes']}")
        summary["finished"] = True
    except KeyboardInterrupt:
        tqdm.write(f"interrupted after {len(summary['goals'])} goals; the nodes have been stopped")
    except GraphError as error:
        summary["finished"] = True
        summary["failed"], summary["failure"] = True, str(error)
    return summary


@contextmanager
def _deaths_named(graph: Graph) -> Iterator[None]:
    """Of a node that has died meanwhile, say that and not what lacks for it."""
    try:
        yield
    except GraphError:
        graph.check()
        raise


def _command(spec: ModelSpec) -> CommandParameters:
    if not split_gripper(spec.action_names)[1]:
        return CommandParameters()
    return CommandParameters(
        gripper=SimParameters().gripper,
        gripper_joint=FINGER_JOINTS[0],
        gripper_speed_m_s=MAX_SPEED_M_S,
    )


def check_request(job: GraphRun) -> None:
    """Find what is wrong with a request without its bundle, which may not be there yet.

    Raises:
        ConfigError: the agent's settings cannot be used.
        ProviderError: the provider asked for is not there.
        UsageError: no such world, a number out of range, or a folder that holds a recording.
    """
    if job.goals < 1:
        raise UsageError(f"--goals must be at least 1, got {job.goals}")
    check_seed(job.seed)
    choose_providers(job.provider)
    world = make_world(job.env_id, job.image_size)
    world.close()
    try:
        action_axes(split_gripper(core_of(world).action_names)[0])
    except ValueError as error:
        raise UsageError(
            f"{job.env_id}: {error}, which is all that the nodes carry; run it without --ros"
        ) from error
    if job.agent is not None:
        load_agent_config(job.agent)
    if job.out is not None and (job.out / "bag").exists():
        raise UsageError(f"{job.out}: holds a recording already; choose another --out")


def _settings(job: GraphRun) -> AgentConfig:
    """What the agent begins with."""
    if job.task is not None:
        return load_task(job.task).agent
    file = job.agent or agent_settings(job.bundle)
    return AgentConfig() if file is None else load_agent_config(file)


def _targets(job: GraphRun, spec: ModelSpec) -> tuple[list[_Target], str]:
    """The goals, from a world of our own, and the name of the position that is to get there."""
    world = world_for(job.env_id, spec, job.image_size)
    core = core_of(world)
    assert world.spec is not None
    assert world.spec.max_episode_steps is not None
    episode_s = world.spec.max_episode_steps * core.control_dt_s
    try:
        targets = []
        for seed in range(job.seed, job.seed + job.goals):
            obs, info = world.reset(seed=seed)
            position = np.asarray(info["goal_position_m"], np.float64)
            targets.append(
                _Target(
                    seed,
                    images=images_of(world, obs, "goal_image"),
                    stages=tuple(images_of(world, s, "goal_image") for s in core.subgoals()),
                    duration_s=job.seconds_per_goal or episode_s + _GRACE_S,
                    position_m=position,
                    radius_m=core.success_radius_m,
                    yaw_rad=float(info.get("goal_yaw_rad", 0.0)),
                    angle_rad=core.success_angle_rad,
                )
            )
        moved = "block_position_m" if "block_position_m" in info else "tool_position_m"
    finally:
        world.close()
    return targets, moved


def _show(
    client: GraphClient, folder: Path, settings: AgentConfig, target: _Target
) -> Callable[[PlanReport], bool]:
    """Give the agent a goal; returns what tells the plans towards it from others."""
    if not target.stages:
        stamp_ns = client.set_goal(target.images, _PATIENCE_S)
        return lambda report: report.goal_stamp_ns == stamp_ns
    name = f"goal of seed {target.seed}"
    stages = [*target.stages, target.images]
    task = write_staged_goal(folder / str(target.seed), name, stages, settings)
    client.set_task(task, _PATIENCE_S)
    return lambda report: report.task == name


def _pursue(
    graph: Graph,
    client: GraphClient,
    target: _Target,
    moved: str,
    show: Callable[[_Target], Callable[[PlanReport], bool]],
    title: str,
) -> dict[str, Any]:
    if target.stages:  # the first of them shows where things are at the start
        client.arm(False)
        client.reset_world(target.seed)
    start_distance_m, _ = _missing(client.wait_for_truth(), target, moved)
    towards_it = show(target)
    if target.stages:
        client.arm(timeout_s=_PATIENCE_S)
    began_s = time.monotonic()
    with tqdm(
        total=round(target.duration_s, 1),
        desc=title,
        bar_format="{desc}: {n:3.1f}/{total:.0f} s |{bar:20}|{postfix}",
        leave=True,
    ) as bar:
        while (elapsed_s := time.monotonic() - began_s) < target.duration_s:
            time.sleep(_LOOK_EVERY_S)
            graph.check()
            bar.n = min(elapsed_s, target.duration_s)
            missing = _missing(client.wait_for_truth(), target, moved)
            bar.set_postfix_str(_progress(client, *missing))
    reports = [r for r in client.plan_reports() if r.received_s >= began_s and towards_it(r)]
    duration_s = time.monotonic() - began_s
    truth = client.wait_for_truth()
    final_distance_m, final_angle_rad = _missing(truth, target, moved)
    also: dict[str, bool] = {}
    if target.stages:  # the world is this goal's own and judges by itself
        success, also = bool(truth["success"]), also_reached(truth)
    else:
        held = bool(truth.get("holding", 0.0))
        success = target.reached(final_distance_m, final_angle_rad, held)
    if not reports:
        raise GraphError(f"agent_node made no plan towards {title}; see its log")
    return {
        "seed": target.seed,
        "start_distance_m": round(start_distance_m, 4),
        "final_distance_m": round(final_distance_m, 4),
        "final_angle_rad": None if final_angle_rad is None else round(final_angle_rad, 4),
        "success": success,
        "also": also,
        "plans": len(reports),
        "usable_plans": sum(report.usable for report in reports),
        "plan_hz": round(len(reports) / duration_s, 2),
        "plan_ms": percentiles([r.values["plan_ms"] for r in reports if "plan_ms" in r.values]),
        "latency_ms": percentiles(
            [r.values["latency_ms"] for r in reports if "latency_ms" in r.values]
        ),
        "command_hz": round(client.command_rate_hz(min(duration_s, 5.0)), 1),
        "command_lateness_p99_ms": _number(client.command_status.get("lateness_p99_ms")),
    }


def _missing(truth: Mapping[str, float], target: _Target, moved: str) -> tuple[float, float | None]:
    """Distance, m, and where the task asks for one angle, rad, from the goal."""
    position = np.array([truth[f"{moved}.{axis}"] for axis in "xyz"])
    distance_m = float(np.linalg.norm(position - target.position_m))
    if target.angle_rad is None:
        return distance_m, None
    return distance_m, abs(wrapped(truth["block_yaw_rad"] - target.yaw_rad))


def _progress(client: GraphClient, distance_m: float, angle_rad: float | None) -> str:
    report = client.plan_status
    parts = [f"{100 * distance_m:5.1f} cm to go"]
    if angle_rad is not None:
        parts[0] = f"{100 * distance_m:5.1f} cm and {np.degrees(angle_rad):3.0f}° to go"
    if report is not None:
        parts.append(f"plan {report.values.get('plan_ms', float('nan')):3.0f} ms {report.status}")
    parts.append(f"{client.command_rate_hz():3.0f} commands/s")
    return ", ".join(parts)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
