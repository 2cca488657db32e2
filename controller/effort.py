"""How much can be searched before a deadline."""

from __future__ import annotations

from controller.config import PlannerConfig
from controller.spline import knot_steps
from controller.types import NS_PER_S, Effort


def affordable(
    config: PlannerConfig, deadline_ns: int | None, now_ns: int, sample_s: float
) -> Effort:
    """How much to search so that it ends in time.

    All of it if that fits; otherwise fewer samples, then fewer iterations, and only then a shorter
    horizon, as a planner that does not see far enough gets stuck (docs/experiments.md).

    Args:
        config: ``samples``, ``iterations`` and ``horizon`` are the most, ``min_samples`` the fewest
            samples before iterations are given up; without ``adapt`` it is always the most.
        deadline_ns: of `time.monotonic_ns`; ``None`` for none.
        now_ns: of `time.monotonic_ns`.
        sample_s: time per candidate as measured, for the whole horizon; 0 when unknown.
    """
    most = Effort(config.samples, config.iterations, True, config.horizon)
    if not config.adapt or deadline_ns is None or sample_s <= 0.0:
        return most
    # A tenth stays free: an iteration that does not fit any more would be time lost.
    total = 0.9 * (deadline_ns - now_ns) / NS_PER_S / sample_s
    fewest = min(config.min_samples, config.samples)
    samples = int(total / config.iterations)
    if samples >= fewest:
        return most._replace(samples=min(samples, config.samples))
    least = most._replace(samples=fewest, iterations=1)
    iterations = int(total / fewest)
    if iterations >= 1:
        return least._replace(iterations=iterations)
    # It ends where a knot begins, so that all knots after it can rest.
    ends = knot_steps(config.horizon, config.knots, config.interpolation)[1:].tolist()
    steps = total / fewest * config.horizon
    fitting = [end for end in ends if end <= steps] or ends[:1] or [config.horizon]
    return least._replace(horizon=max(fitting))
