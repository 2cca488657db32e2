"""What ``plan_status`` says of a plan: names and values, and how grave it is."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from controller.agent import Agent
from controller.types import Plan, PlanStatus


def goal_in_words(agent: Agent) -> str:
    """Where it goes, with its number when there are several."""
    if agent.state.goal is None:
        return "none"
    course = agent.state.course
    number = "" if course is None else f"{course.index + 1}/{len(course.waypoints)} "
    return f"{number}{agent.state.goal.source}"


def plan_values(plan: Plan) -> dict[str, object]:
    """How a plan came about: effort, cost, the share of every term, what guardrails it breaks."""
    values: dict[str, object] = {
        "plan_ms": 1e3 * plan.plan_s,
        "iterations": plan.iterations,
        "samples": plan.effort.samples,
        "quarantined": plan.quarantined,
        "begin": plan.begin.value,
        "cost": plan.cost,
    }
    values |= {f"cost.{name}": share for name, share in plan.cost_terms.items()}
    return values | {f"guardrail.{name}": by for name, by in plan.violations.items()}


def level(status: str) -> bytes:
    """Level of a `DiagnosticStatus` for a plan's status."""
    if status in (PlanStatus.OK.value, PlanStatus.BEST_SO_FAR.value):
        return DiagnosticStatus.OK
    if status in (PlanStatus.NO_GOAL.value, PlanStatus.LEAST_VIOLATION.value):
        return DiagnosticStatus.WARN
    return DiagnosticStatus.ERROR
