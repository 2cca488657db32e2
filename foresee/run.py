"""Let the agent reach goal images in one process, with a line for each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from controller.agent import Agent
from controller.config import AgentConfig
from foresee.episode import EpisodeResult, Step, run_episode
from foresee.errors import UsageError
from foresee.evaluate import waiting_world
from foresee.statistics import percentiles
from foresee.worlds import check_fit, check_seed, make_world
from world_model.runtime import FULL_PRECISION, Provider, load_world_model


def run(
    env_id: str,
    bundle: Path,
    agent: AgentConfig,
    goals: int,
    seed: int,
    image_size: int = 64,
    provider: Provider = "auto",
    variant: str = FULL_PRECISION,
) -> dict[str, Any]:
    """Reach ``goals`` goal images, with seeds from ``seed`` on; Ctrl-C ends after what was done.

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
    model = load_world_model(bundle, provider, variant=variant)
    world = make_world(env_id, image_size)
    rows: list[dict[str, Any]] = []
    finished = False
    try:
        check_fit(model.spec, world)
        controller = Agent(model, waiting_world(agent))
        for index in range(goals):
            limit = world.spec.max_episode_steps if world.spec else None
            with tqdm(total=limit, desc=f"goal {index + 1}", unit="step", leave=False) as bar:

                def watch(step: Step, bar: tqdm = bar) -> None:
                    bar.update()
                    bar.set_postfix(distance=f"{100 * step.truth['distance_m']:.1f} cm")

                rows.append(_row(run_episode(world, controller, seed + index, watch)))
        finished = True
    except KeyboardInterrupt:
        tqdm.write(f"interrupted after {len(rows)} goals")
    finally:
        world.close()
    return {
        "env": env_id,
        "bundle": str(bundle),
        "provider": model.provider,
        "seed": seed,
        "finished": finished,
        "goals": rows,
    }


def _row(result: EpisodeResult) -> dict[str, Any]:
    plan_ms = percentiles(result.plan_ms)
    return {
        "seed": result.seed,
        "success": result.success,
        "start_distance_m": round(result.start_distance_m, 4),
        "final_distance_m": round(result.final_distance_m, 4),
        "plan_ms": plan_ms,
    }
