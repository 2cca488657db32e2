"""The controller's settings: what each means and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from controller.goals import require_going_on
from controller.limits import GuardrailConfig
from controller.settings import ConfigError, from_mapping, load_settings, require
from controller.spline import Interpolation

__all__ = [
    "AgentConfig",
    "ConfigError",
    "CostConfig",
    "GuardrailConfig",
    "MemoryConfig",
    "PlannerConfig",
    "from_mapping",
    "load_agent_config",
]


@dataclass(frozen=True)
class PlannerConfig:
    """How the actor searches.

    Attributes:
        method: ``cem`` refits mean and std to the elites; ``icem`` does so with fewer samples in
            later iterations, and goes on from the elites of the last plan; ``mppi`` averages all
            samples, each weighted by the exponential of its cost; ``predictive`` goes to the best
            sample; ``gradient`` descends by finite differences from several starts.
        horizon: H, steps of the model looked ahead, at least 1. One step is ``model_dt_s``.
        knots: K, decision points of the spline, 1 to ``horizon`` (``linear``: at least 2).
        interpolation: how the spline reads between knots, ``hold`` or ``linear``.
        samples: B, candidates per iteration, at least 4.
        iterations: rounds of sample, imagine, update, at least 1.
        adapt: with a deadline, take fewer samples, then fewer iterations and then a shorter
            horizon, as far as the plan before says that all of it would come too late. The
            deadline holds without it too, but then only iterations are given up.
        min_samples: adapt: iterations are given up rather than having fewer samples, at least 4;
            ``samples`` where that is less.
        std: std of the noise at the start, in halves of the action range, above 0.
        noise_beta: colour of the noise along the knots, power spectrum ``1/f**beta``: 0 is white,
            larger is smoother; 0 to 4.
        elites: CEM, iCEM: the number of best samples the next distribution is fitted to, 2 to
            ``samples``.
        kept_elites: CEM, iCEM: the number of best samples tried again unchanged in the next
            iteration, 0 to ``elites``.
        std_floor: CEM, iCEM: std never falls below this, in halves of the action range, above 0.
        sample_decay: iCEM: samples of an iteration relative to the one before, above 0, at most 1;
            never fewer than twice ``elites``.
        momentum: iCEM: how much of the old mean and std stays in an update, 0 to below 1.
        temperature: MPPI: softness of the weights relative to the spread of the costs (median less
            minimum), above 0; small trusts the best alone.
        std_decay: MPPI, predictive: std is multiplied by this after every iteration, above 0, at
            most 1.
        gradient_step: gradient: first step of every knot, in halves of the action range, above 0;
            it shrinks evenly to nothing over the iterations.
    """

    method: Literal["cem", "icem", "mppi", "predictive", "gradient"] = "cem"
    horizon: int = 12
    knots: int = 4
    interpolation: Interpolation = "hold"
    samples: int = 300
    iterations: int = 4
    adapt: bool = True
    min_samples: int = 64
    std: float = 1.0
    noise_beta: float = 2.0
    elites: int = 30
    kept_elites: int = 4
    std_floor: float = 0.03
    sample_decay: float = 0.8
    momentum: float = 0.1
    temperature: float = 0.15
    std_decay: float = 0.7
    gradient_step: float = 0.3

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ConfigError: when a setting is out of its limits.
        """
        require(self.horizon >= 1, f"horizon must be at least 1, not {self.horizon}")
        fewest = 2 if self.interpolation == "linear" else 1
        require(
            fewest <= self.knots <= max(self.horizon, fewest),
            f"knots must be {fewest} to horizon ({self.horizon}), not {self.knots}",
        )
        require(self.samples >= 4, f"samples must be at least 4, not {self.samples}")
        require(self.iterations >= 1, f"iterations must be at least 1, not {self.iterations}")
        require(
            self.min_samples >= 4,
            f"min_samples must be at least 4, not {self.min_samples}",
        )
        require(self.std > 0, f"std must be above 0, not {self.std}")
        require(0 <= self.noise_beta <= 4, f"noise_beta must be 0 to 4, not {self.noise_beta}")
        require(
            2 <= self.elites <= self.samples,
            f"elites must be 2 to samples ({self.samples}), not {self.elites}",
        )
        require(
            0 <= self.kept_elites <= self.elites,
            f"kept_elites must be 0 to elites ({self.elites}), not {self.kept_elites}",
        )
        require(self.std_floor > 0, f"std_floor must be above 0, not {self.std_floor}")
        require(
            0 < self.sample_decay <= 1, f"sample_decay must be in (0, 1], not {self.sample_decay}"
        )
        require(0 <= self.momentum < 1, f"momentum must be in [0, 1), not {self.momentum}")
        require(self.gradient_step > 0, f"gradient_step must be above 0, not {self.gradient_step}")
        require(self.temperature > 0, f"temperature must be above 0, not {self.temperature}")
        require(0 < self.std_decay <= 1, f"std_decay must be in (0, 1], not {self.std_decay}")


@dataclass(frozen=True)
class CostConfig:
    """What is minimised: a weighted sum, all weights at least 0, 0 leaves the term out.

    Attributes:
        goal_weight: of the mean squared distance between predicted and goal latent.
        goal_growth: each step of the horizon weighs this times the one before, above 0; 1 weighs
            all alike, more prefers being at the goal in the end to going there straight.
        action_weight: of the mean square of the action, in halves of the action range.
        smoothness_weight: of the mean square of the change of the action from step to step, in
            halves of the action range.
        critic_weight: of the steps still to go that the model's critic sees, averaged over the
            steps of the horizon it is asked at; needs a bundle with a critic.
        critic_steps: how many steps of the horizon the critic is asked at, evenly spread, the last
            one always; at least 1. More see a plan that lingers, and cost more time.
        uncertainty_weight: of the mean disagreement of the model's predictions, for models that
            predict with several heads.
    """

    goal_weight: float = 1.0
    goal_growth: float = 1.0
    action_weight: float = 0.001
    smoothness_weight: float = 0.001
    critic_weight: float = 0.0
    critic_steps: int = 1
    uncertainty_weight: float = 0.0

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ConfigError: when a setting is out of its limits.
        """
        for name in (
            "goal_weight",
            "action_weight",
            "smoothness_weight",
            "critic_weight",
            "uncertainty_weight",
        ):
            value = getattr(self, name)
            require(value >= 0, f"{name} must be at least 0, not {value}")
        require(self.goal_growth > 0, f"goal_growth must be above 0, not {self.goal_growth}")
        require(self.critic_steps >= 1, f"critic_steps must be at least 1, not {self.critic_steps}")
        weights = self.goal_weight + self.action_weight + self.smoothness_weight
        weights += self.critic_weight + self.uncertainty_weight
        require(weights > 0, "all weights are 0: there is nothing to minimise")


@dataclass(frozen=True)
class MemoryConfig:
    """What is remembered beyond a run, and what for. Off as long as there is no folder.

    Attributes:
        folder: where the episodic memory is kept; ``None`` for none.
        capacity: the most moments kept, at least 2; the oldest half goes when it is full.
        candidates: how many remembered courses of action each search tries too, at least 0.
        subgoal_steps: steps ahead on a remembered way to the goal that is aimed at instead of the
            goal while that is far, at least 0; 0 always aims at the goal itself.
    """

    folder: str | None = None
    capacity: int = 100_000
    candidates: int = 0
    subgoal_steps: int = 0

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ConfigError: when a setting is out of its limits.
        """
        require(self.capacity >= 2, f"capacity must be at least 2, not {self.capacity}")
        for name in ("candidates", "subgoal_steps"):
            value = getattr(self, name)
            require(value >= 0, f"{name} must be at least 0, not {value}")
            used = value == 0 or self.folder is not None
            require(used, f"{name} is {value} and there is no folder: memory is off")


@dataclass(frozen=True)
class CourseConfig:
    """When to go on from one goal image to the next, where a goal is shown by several.

    Attributes:
        reached_distance: the mean squared distance of the latents that counts as reached, above 0;
            ``None`` goes on by time alone.
        dwell_s: for so long it must stay so, at least 0.
        timeout_s: go on after this time, reached or not, above 0; ``None`` never does.
    """

    reached_distance: float | None = 0.02
    dwell_s: float = 0.0
    timeout_s: float | None = 4.0

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ConfigError: when a setting is out of its limits.
        """
        require_going_on(self.reached_distance, self.dwell_s, self.timeout_s)
        require(
            not (self.reached_distance is None and self.timeout_s is None),
            "course needs reached_distance or timeout_s, or it stays at its first goal",
        )


@dataclass(frozen=True)
class AgentConfig:
    """All settings of an agent.

    Attributes:
        planner: how the actor searches.
        cost: what it minimises.
        guardrails: what no plan may do, whatever it costs.
        memory: what is remembered beyond a run.
        course: when to go on, where a goal is shown by several images.
        deadline_s: time from the call of `Agent.step` to the plan, above 0; ``None`` for none, and
            then the same seed and log give the same plan on a slow machine too.
        latency_steps: M, the steps of the model between the capture of a frame and the moment the
            plan made from it takes effect, at least 0. The actions committed in between are
            imagined first. 0 fits a simulation that waits for the plan, 1 a robot that does not.
        max_observation_age_s: an observation older than this gives a STALE plan, above 0.
        seed: of the search, at least 0.
    """

    planner: PlannerConfig = field(default_factory=PlannerConfig)
    cost: CostConfig = field(default_factory=CostConfig)
    guardrails: GuardrailConfig = field(default_factory=GuardrailConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    course: CourseConfig = field(default_factory=CourseConfig)
    deadline_s: float | None = 0.08
    latency_steps: int = 0
    max_observation_age_s: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ConfigError: when a setting is out of its limits.
        """
        require(
            self.deadline_s is None or self.deadline_s > 0,
            f"deadline_s must be above 0 or null, not {self.deadline_s}",
        )
        require(self.latency_steps >= 0, f"latency_steps must be >= 0, not {self.latency_steps}")
        require(
            self.max_observation_age_s > 0,
            f"max_observation_age_s must be above 0, not {self.max_observation_age_s}",
        )
        require(self.seed >= 0, f"seed must be at least 0, not {self.seed}")


def load_agent_config(path: Path | str) -> AgentConfig:
    """Read an agent's settings from a YAML file.

    Args:
        path: file like ``config/agent.yaml``; what it leaves out keeps its default.

    Returns:
        The checked settings.

    Raises:
        ConfigError: when the file is missing, is no YAML or holds a wrong setting; one line.
    """
    return load_settings(AgentConfig, path, "agent config")
