"""Guardrails against arithmetic written out, and in a planner that would like to break them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.agent import Agent
from controller.config import AgentConfig, CostConfig, PlannerConfig, from_mapping
from controller.costs import CostContext, TotalCost, build_cost
from controller.costs.guardrail import Guardrails
from controller.costs.uncertainty import UncertaintyCost
from controller.limits import Box, GuardrailConfig, Range, Sphere
from controller.optimizers import METHODS
from controller.settings import ConfigError
from controller.types import Goal, PlanStatus

PLANAR = ("tool.x", "tool.y")
PLANNER = PlannerConfig(horizon=8, knots=4, samples=200, elites=20, iterations=4, noise_beta=1.0)


def guarded(guardrails: GuardrailConfig) -> AgentConfig:
    return AgentConfig(PLANNER, guardrails=guardrails, deadline_s=None)


@pytest.fixture
def context(model):
    return CostContext(
        Goal(np.zeros((1, 2), np.float32)), model.state([0.0, 0.0]), np.zeros(2, np.float32)
    )


def judged(config, places, context):
    """By guardrails alone: what is said of futures with these readings ``(B, H, 2)``."""
    rollouts = SimpleNamespace(proprio=np.array(places, np.float32))
    return TotalCost([], Guardrails(config, PLANAR))(rollouts, np.zeros((len(places), 1)), context)


def violation(config, places, context):
    return judged(config, places, context).violation.tolist()


def test_a_reading_over_its_limit_counts_by_how_much(context):
    config = GuardrailConfig(readings={"tool.y": Range(high=0.5), "tool.x": Range(-1.0, 1.0)})
    # sample 0 keeps both; sample 1: x 0.2 below -1, y 0.1 above 0.5: the worse is 0.2
    places = [[[1.0, 0.5], [0.0, -9.0]], [[-1.2, 0.0], [0.0, 0.6]]]
    assert violation(config, places, context) == pytest.approx([0.0, 0.2])


def test_the_workspace_holds_with_its_margin(context):
    config = GuardrailConfig(position=PLANAR, workspace=Box((-1.0, -1.0), (1.0, 1.0)), margin_m=0.1)
    # 0.9 is just the margin; 0.95 is 0.05 into it; 1.3 is 0.3 out and so 0.4 into it
    places = [[[0.9, 0.0]], [[0.95, 0.0]], [[0.0, -1.3]]]
    assert violation(config, places, context) == pytest.approx([0.0, 0.05, 0.4], abs=1e-6)


def test_keep_out_volumes_count_their_depth(context):
    config = GuardrailConfig(
        position=PLANAR,
        keep_out_boxes=(Box((0.5, -0.1), (0.7, 0.1)),),
        keep_out_spheres=(Sphere((0.0, 1.0), 0.2),),
    )
    # beside both; 0.02 deep in the box (its near wall is at 0.5); 0.15 deep in the ball
    places = [[[0.3, 0.0]], [[0.52, 0.0]], [[0.0, 0.95]]]
    assert violation(config, places, context) == pytest.approx([0.0, 0.02, 0.15], abs=1e-6)


def test_nothing_is_jumped_over_between_two_steps(context):
    config = GuardrailConfig(position=PLANAR, keep_out_spheres=(Sphere((0.5, 0.0), 0.1),))
    # from 0 to 1.0 in one step: halfway, at 0.5, it is 0.1 deep
    assert violation(config, [[[1.0, 0.0]]], context) == pytest.approx([0.1])


def test_a_prediction_that_is_nan_is_not_admissible(context):
    config = GuardrailConfig(readings={"tool.x": Range(high=0.5)})
    assert np.isnan(violation(config, [[[np.nan, 0.0]]], context))[0]


def test_each_limit_says_by_how_much_it_is_broken(context):
    config = GuardrailConfig(
        readings={"tool.y": Range(high=0.5), "tool.x": Range(low=-1.0)},
        position=PLANAR,
        workspace=Box((-2.0, -2.0), (2.0, 1.0)),
        keep_out_boxes=(Box((5.0, 5.0), (6.0, 6.0)),),
        keep_out_spheres=(Sphere((0.0, 5.0), 0.2), Sphere((0.0, 0.95), 0.1)),
        margin_m=0.1,
    )
    # At (0, 0.96): y 0.46 over 0.5; 0.04 from the wall at 1.0, which is 0.06 into its margin; 0.01
    # from the middle of the second ball, 0.1 + 0.1 - 0.01 deep. x has 1.0 to spare, the box and the
    # first ball are away by more than 3.
    judgement = judged(config, [[[0.0, 0.96]]], context)
    said = {name: values.tolist() for name, values in judgement.violations.items()}
    assert said.pop("keep_out_boxes[0]")[0] < -3
    assert said.pop("keep_out_spheres[0]")[0] < -3
    assert said == {
        "readings.tool.y": pytest.approx([0.46]),
        "readings.tool.x": pytest.approx([-1.0]),
        "workspace": pytest.approx([0.06], abs=1e-6),
        "keep_out_spheres[1]": pytest.approx([0.19], abs=1e-6),
    }
    assert judgement.violation.tolist() == pytest.approx([0.46])


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    start=st.tuples(*[st.floats(-1.5, 1.5)] * 2),
    wall=st.floats(-0.5, 1.0),
    radius=st.floats(0.05, 0.6),
    method=st.sampled_from(list(METHODS)),
)
def test_a_plan_says_what_it_breaks_and_by_how_much(make_model, start, wall, radius, method):
    """The world is known exactly: what the plan says is held against where its actions lead."""
    model, ball = make_model(), np.array([0.5, 0.0])
    config = GuardrailConfig(
        readings={"tool.x": Range(high=wall)},
        position=PLANAR,
        keep_out_spheres=(Sphere(tuple(ball.tolist()), radius),),
    )
    planner = replace(PLANNER, method=method, samples=40, elites=10, iterations=2)
    agent = Agent(model, replace(guarded(config), planner=planner, latency_steps=0))
    agent.set_goal(model.image([0.6, 0.1]))
    plan = agent.step(model.observe(start, 0))
    actions = [plan.action_at(step * 100_000_000) for step in range(planner.horizon)]
    places = np.float32(start) + 0.1 * np.cumsum([[0.0, 0.0], *actions], axis=0)
    way = np.concatenate([places[1:], (places[1:] + places[:-1]) / 2])
    # The model has the tool where the image shows it, to 1/65535 of 4 m.
    assert plan.violations == {
        "readings.tool.x": pytest.approx(max(0.0, (places[1:, 0] - wall).max()), abs=2e-4),
        "keep_out_spheres[0]": pytest.approx(
            max(0.0, (radius - np.linalg.norm(way - ball, axis=1)).max()), abs=2e-4
        ),
    }
    broken = max(plan.violations.values()) > 0
    assert plan.status is (PlanStatus.LEAST_VIOLATION if broken else PlanStatus.OK)


def test_a_plan_that_nobody_judged_says_nothing_of_guardrails(model):
    config = GuardrailConfig(readings={"tool.x": Range(high=-1.0)})
    agent = Agent(model, replace(guarded(config), deadline_s=1e-9))
    agent.set_goal(model.image([0.6, 0.1]))
    plan = agent.step(model.observe([0.0, 0.0], 0))
    assert plan.effort.iterations == 0
    assert plan.violations == {}


def test_a_plan_goes_round_what_it_must_not_touch(model):
    # Straight from (0,0) to (0.6,0) a ball of 0.1 m stands in the way.
    ball = GuardrailConfig(position=PLANAR, keep_out_spheres=(Sphere((0.3, 0.0), 0.1),))
    ways = {}
    for name, config in (("free", GuardrailConfig()), ("guarded", ball)):
        agent = Agent(model, guarded(config))
        place, closest = np.zeros(2, np.float32), np.inf
        agent.set_goal(model.image([0.6, 0.02]))
        for step in range(25):
            plan = agent.step(model.observe(place, step * 100_000_000))
            assert plan.status is PlanStatus.OK
            place = place + 0.1 * plan.action_at(step * 100_000_000)
            closest = min(closest, float(np.linalg.norm(place - [0.3, 0.0])))
        ways[name] = closest
        assert np.linalg.norm(place - [0.6, 0.02]) < 0.05
    assert ways["free"] < 0.08
    assert ways["guarded"] >= 0.1 - 1e-4


def test_when_all_break_a_limit_it_brakes_with_the_least_and_says_so(model):
    # It is 0.2 m out of its workspace: whatever it does, the first step is still outside.
    config = GuardrailConfig(position=PLANAR, workspace=Box((-1.0, -1.0), (0.5, 0.5)))
    agent = Agent(model, guarded(config))
    agent.set_goal(model.image([1.5, 0.0]))
    plan = agent.step(model.observe([0.7, 0.0], 0))
    assert plan.status is PlanStatus.LEAST_VIOLATION
    assert plan.usable
    assert plan.knots[:, 0].max() <= 0.0  # not further out, whatever the goal
    assert plan.knots[-1].tolist() == [0.0, 0.0]  # it comes to rest


def test_guardrails_come_from_yaml(model):
    text = """
    guardrails:
      readings: {tool.x: {low: -0.5, high: 0.5}}
      position: [tool.x, tool.y]
      workspace: {low_m: [-1, -1], high_m: [1, 1]}
      keep_out_spheres:
        - {center_m: [0.3, 0], radius_m: 0.1}
      keep_out_boxes:
        - {low_m: [0, 0], high_m: [0.1, 0.1]}
      margin_m: 0.02
    """
    config = from_mapping(AgentConfig, yaml.safe_load(text)).guardrails
    assert config == GuardrailConfig(
        readings={"tool.x": Range(-0.5, 0.5)},
        position=PLANAR,
        workspace=Box((-1.0, -1.0), (1.0, 1.0)),
        keep_out_spheres=(Sphere((0.3, 0.0), 0.1),),
        keep_out_boxes=(Box((0.0, 0.0), (0.1, 0.1)),),
        margin_m=0.02,
    )
    Agent(model, AgentConfig(guardrails=config))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"readings": {"tool.x": {"low": 1, "high": 0}}}, r"tool\.x: low 1\.0 must be below"),
        ({"readings": [1]}, "guardrails: readings must be 'name: value'"),
        ({"position": "tool.x"}, "position must be a list"),
        ({"position": [1]}, r"position\[0\] must be a text"),
        ({"workspace": {"low_m": [0, 0], "high_m": [1]}}, "must be of the same axes"),
        ({"workspace": {"low_m": [0, 1], "high_m": [1, 1]}}, "must be below high_m"),
        ({"workspace": {"low_m": [0, 0], "high_m": [1, 1]}}, "has 2 numbers, position has 3"),
        ({"keep_out_spheres": [{"center_m": [0, 0, 0], "radius_m": 0}]}, "radius_m must be above"),
        ({"margin_m": -1}, "margin_m must be at least 0"),
        (
            {"keep_out_spheres": [{"center_m": [0.3, 0, 0.1]}]},
            r"keep_out_spheres\[0\]: setting 'radius_m' is missing",
        ),
        ({"workspace": {"low_m": [0, 0, 0]}}, "workspace: setting 'high_m' is missing"),
        ({"keep_out": []}, "unknown setting 'keep_out'"),
    ],
)
def test_a_wrong_limit_is_one_clear_line(limits, said):
    with pytest.raises(ConfigError, match=said) as error:
        from_mapping(AgentConfig, {"guardrails": limits}, "agent.yaml")
    assert "\n" not in str(error.value)


def test_a_limit_on_what_the_model_does_not_have_is_refused(model):
    config = GuardrailConfig(readings={"elbow": Range(high=1.0)})
    with pytest.raises(ConfigError, match=r"no reading 'elbow'; it has tool\.x, tool\.y"):
        Agent(model, guarded(config))
    volumes = GuardrailConfig(workspace=Box((0, 0, 0), (1, 1, 1)))
    with pytest.raises(ConfigError, match=r"no reading 'tool\.z'"):
        Agent(model, guarded(volumes))


def test_uncertainty_is_the_mean_disagreement(context):
    rollouts = SimpleNamespace(disagreement=np.array([[0.0, 0.2], [0.4, 0.8]], np.float32))
    # (0 + 0.2)/2 and (0.4 + 0.8)/2
    cost = UncertaintyCost()(rollouts, np.zeros((2, 2, 2), np.float32), context)
    assert cost.tolist() == pytest.approx([0.1, 0.6])


def test_a_planner_avoids_where_the_heads_disagree(make_model):
    class Unsure(make_model):
        """Unsure of everything right of 0.3."""

        def rollout(self, state, actions):
            known = super().rollout(state, actions)
            unsure = (known.proprio[:, :, 0] > 0.3).astype(np.float32)
            return SimpleNamespace(**known._asdict(), disagreement=unsure)

    model = Unsure()
    ends = {}
    for weight in (0.0, 10.0):
        cost = CostConfig(uncertainty_weight=weight)
        agent = Agent(model, AgentConfig(PLANNER, cost, deadline_s=None))
        agent.set_goal(model.image([1.0, 0.0]))
        plan = agent.step(model.observe([0.0, 0.0], 0))
        ends[weight] = plan.knots[:, 0].mean() * 0.8
        assert ("uncertainty" in plan.cost_terms) == (weight > 0)
    assert ends[0.0] > 0.6
    assert ends[10.0] < 0.35


def test_a_model_that_says_nothing_of_uncertainty_is_refused(model, context):
    cost = build_cost(CostConfig(uncertainty_weight=1.0), 2, *np.array([[-1.0] * 2, [1.0] * 2]))
    actions = np.zeros((1, 2, 2), np.float32)
    with pytest.raises(ConfigError, match="carry no disagreement"):
        cost(model.rollout(context.state, actions), actions, replace(context))
