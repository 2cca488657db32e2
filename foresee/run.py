"""Let the agent reach goal images in one process, with a line for each."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from tqdm import tqdm

from controller.configurator import Configurator, TaskConfig
from foresee.episode import EpisodeResult, Step, run_episode
from foresee.errors import UsageError
from foresee.evaluate import waiting_world
from foresee.statistics import percentiles
from foresee.worlds import check_seed, world_for
from ros_nodes.image_fitter import ImageFitter
from ros_nodes.plan_log import PlanLog, setup_of
from ros_nodes.resources import resources
from world_model.runtime import FULL_PRECISION, OnnxWorldModel, Provider, load_world_model


def run(
    env_id: str,
    bundle: Path,
    task: TaskConfig,
    goals: int,
    seed: int,
    image_size: int = 64,
    provider: Provider = "auto",
    variant: str = FULL_PRECISION,
    log: Path | None = None,
) -> dict[str, Any]:
    """Reach ``goals`` goal images, with seeds from ``seed`` on; Ctrl-C ends after what was done.

    Args:
        env_id: the world.
        bundle: the model, unless the task names one.
        task: settings, and goals instead of the world's: then each seed's world is only where it
            starts, and the distances told are still those to the world's own goal.
        goals: how many.
        seed: of the first.
        image_size: side of the square camera image in pixels.
        provider: ONNX Runtime execution provider.
        variant: precision of the rollouts.
        log: new file for the inputs of every plan, see `foresee.replay`; ``None`` for none.

    Returns:
        A summary in the form `foresee.report.table` prints.

    Raises:
        BundleError: the bundle cannot be used.
        UsageError: the environment does not exist, the bundle does not fit it, or ``goals`` is not
            positive.
    """
    if goals < 1:
        raise UsageError(f"--goals must be at least 1, got {goals}")
    check_seed(seed)

    def load(path: str) -> OnnxWorldModel:
        return load_world_model(Path(path), provider, variant=variant)

    configurator = Configurator(resources(load, ImageFitter(tqdm.write)), str(bundle))
    rows: list[dict[str, Any]] = []
    finished = False
    with contextlib.ExitStack() as stack:
        stack.callback(configurator.close)
        waiting = dataclasses.replace(task, agent=waiting_world(task.agent))
        prepared = configurator.prepare(waiting)
        agent = prepared.begin()
        assert isinstance(agent.model, OnnxWorldModel)
        used = agent.model.provider
        world = world_for(env_id, agent.model.spec, image_size)
        stack.callback(world.close)
        if log is not None:
            plans = _new_log(log)
            stack.callback(plans.close)
            plans.setup(setup_of(agent.config, prepared.bundle, used, variant, threads=1))
            agent.log = plans.write
        course, limit = agent.state.course, world.spec.max_episode_steps if world.spec else None
        try:
            for index in range(goals):
                with tqdm(total=limit, desc=f"goal {index + 1}", unit="step", leave=False) as bar:

                    def watch(step: Step, bar: tqdm = bar) -> None:
                        bar.update()
                        bar.set_postfix(distance=f"{100 * step.truth['distance_m']:.1f} cm")

                    rows.append(_row(run_episode(world, agent, seed + index, watch, course)))
            finished = True
        except KeyboardInterrupt:
            tqdm.write(f"interrupted after {len(rows)} goals")
    return {
        "env": env_id,
        "bundle": prepared.bundle,
        "provider": used,
        "seed": seed,
        "task_goals": len(task.goals),
        "finished": finished,
        "log": None if log is None else str(log),
        "goals": rows,
    }


def _new_log(path: Path) -> PlanLog:
    try:
        return PlanLog(path)
    except FileExistsError as error:
        raise UsageError(f"{path}: exists already; choose another --log") from error


def _row(result: EpisodeResult) -> dict[str, Any]:
    plan_ms = percentiles(result.plan_ms)
    return {
        "seed": result.seed,
        "success": result.success,
        "also": result.also,
        "start_distance_m": round(result.start_distance_m, 4),
        "final_distance_m": round(result.final_distance_m, 4),
        "plan_ms": plan_ms,
    }
