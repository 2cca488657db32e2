"""The whole loop: goals reached, latency compensated, the same seed the same plans."""

from dataclasses import replace

import numpy as np
import pytest

from controller.agent import Agent
from controller.config import AgentConfig, PlannerConfig
from controller.memory import AppliedCommand, committed_actions
from controller.types import NS_PER_S, ObservationError, PlanStatus

DT_NS = 100_000_000
PLANNER = PlannerConfig(horizon=6, knots=3, samples=64, iterations=4, elites=8)
CONFIG = AgentConfig(planner=PLANNER, deadline_s=None)
GOAL_M = np.array([0.6, -0.4])


def run(agent, model, steps=25, delay=0, hide_applied=True, start=0):
    """A world that waits; the first action of a plan takes effect ``delay`` steps late."""
    position = np.zeros(2)
    plans, path, applied = [], [position], None
    for i in range(steps):
        stamp_ns = (start + i) * DT_NS
        plans.append(agent.step(model.observe(position, stamp_ns), applied))
        in_force = plans[i - delay] if i >= delay else None
        action = np.zeros(2) if in_force is None else in_force.action_at(in_force.start_ns)
        if not hide_applied:
            applied = [AppliedCommand(stamp_ns, action)]
        position = position + 0.1 * action
        path.append(position)
    return plans, np.array(path)


@pytest.mark.parametrize("method", ["cem", "icem", "mppi", "predictive", "gradient"])
@pytest.mark.parametrize("interpolation", ["hold", "linear"])
def test_the_goal_image_is_reached(model, method, interpolation):
    planner = replace(PLANNER, method=method, interpolation=interpolation)
    agent = Agent(model, replace(CONFIG, planner=planner))
    agent.set_goal(model.image(GOAL_M), source="test")
    plans, path = run(agent, model)
    assert np.linalg.norm(path[-1] - GOAL_M) < 0.03
    assert all(plan.status is PlanStatus.OK for plan in plans)


def test_the_same_seed_gives_the_same_plans_and_another_seed_others(model):
    agent = Agent(model, CONFIG)
    paths = []
    for seed in (5, 5, 6):
        agent.reset(seed)
        agent.set_goal(model.image(GOAL_M))
        paths.append(run(agent, model, steps=5)[1])
    np.testing.assert_array_equal(paths[0], paths[1])
    assert (paths[0] != paths[2]).any()


def test_reset_without_a_seed_takes_the_configured_one(model):
    agent = Agent(model, replace(CONFIG, seed=9))
    agent.reset(3)
    agent.reset()
    assert agent.state.seed == 9


def test_a_step_is_a_function_of_its_arguments(model):
    agent = Agent(model, CONFIG)
    agent.set_goal(model.image(GOAL_M))
    agent.step(model.observe([0, 0], 0))
    before = agent.state
    observation = model.observe([0.1, 0], DT_NS)
    after, plan = agent.step_from(before, observation)
    agent.step_from(after, model.observe([0.2, 0], 2 * DT_NS))
    assert agent.state is before
    again, same = agent.step_from(before, observation)
    np.testing.assert_array_equal(plan.knots, same.knots)
    assert again.count == after.count == before.count + 1


def test_each_step_draws_its_own_samples(model):
    agent = Agent(model, CONFIG)
    agent.set_goal(model.image(GOAL_M))
    observation = model.observe([0, 0], 0)
    first = agent.step_from(agent.state, observation)[1]
    later = agent.step_from(replace(agent.state, count=1), observation)[1]
    assert (first.knots != later.knots).any()


def test_without_a_goal_the_robot_stands_still_and_the_context_fills(model):
    agent = Agent(model, CONFIG)
    plans, path = run(agent, model, steps=3)
    assert {plan.status for plan in plans} == {PlanStatus.NO_GOAL}
    assert not path.any()
    assert len(agent.state.frames) == 3


def test_a_goal_counts_until_its_time_is_over(model):
    agent = Agent(model, CONFIG)
    agent.set_goal(model.image(GOAL_M), valid_until_ns=DT_NS)
    statuses = [plan.status.value for plan in run(agent, model, steps=3)[0]]
    assert statuses == ["OK", "OK", "NO_GOAL"]


def test_reset_forgets_the_goal(model):
    agent = Agent(model, CONFIG)
    agent.set_goal(model.image(GOAL_M))
    agent.reset()
    assert agent.step(model.observe([0, 0], 0)).status is PlanStatus.NO_GOAL


@pytest.mark.parametrize(("age_s", "status"), [(0.29, "OK"), (0.31, "STALE")])
def test_an_old_observation_gives_a_stale_plan(model, age_s, status):
    agent = Agent(model, CONFIG)
    agent.set_goal(model.image(GOAL_M))
    plan = agent.step(model.observe([0, 0], 0), now_ns=int(age_s * 1e9))
    assert plan.status.value == status
    assert plan.action_at(0).any() == (status == "OK")


def test_a_bad_observation_changes_nothing(model):
    agent = Agent(model, CONFIG)
    agent.set_goal(model.image(GOAL_M))
    agent.step(model.observe([0, 0], 0))
    before = agent.state
    bad = replace(model.observe([0, 0], DT_NS), proprio=np.array([0.0, np.nan], np.float32))
    with pytest.raises(ObservationError, match=r"'tool\.y'"):
        agent.step(bad)
    assert agent.state is before


def test_a_goal_image_that_does_not_fit_is_refused(model):
    agent = Agent(model, CONFIG)
    with pytest.raises(ObservationError, match="8x8x3"):
        agent.set_goal({"scene": np.zeros((8, 8, 3), np.uint8)})
    model.encode = lambda images: np.full((1, 2), np.inf, np.float32)
    with pytest.raises(ObservationError, match="for the goal"):
        agent.set_goal(model.image(GOAL_M))


def test_a_plan_starts_after_the_latency(model):
    agent = Agent(model, replace(CONFIG, latency_steps=1))
    agent.set_goal(model.image(GOAL_M))
    plan = agent.step(model.observe([0, 0], 7 * DT_NS))
    assert plan.start_ns == 8 * DT_NS


@pytest.mark.parametrize("latency", [1, 2])
def test_compensated_latency_does_not_overshoot(model, latency):
    goal_m = np.array([0.55, 0.0])

    def overshoot(config: AgentConfig) -> float:
        agent = Agent(model, config)
        agent.set_goal(model.image(goal_m))
        return float((run(agent, model, delay=latency)[1][:, 0] - goal_m[0]).max())

    # without compensation full speed (0.1 m a step) goes on for `latency` steps too long
    assert overshoot(CONFIG) > 0.04
    assert overshoot(replace(CONFIG, latency_steps=latency)) < 0.02


def test_what_was_applied_counts_and_not_what_was_planned(model):
    agent = Agent(model, CONFIG)
    agent.set_goal(model.image(GOAL_M))
    agent.step(model.observe([0, 0], 0))
    limited = [AppliedCommand(0, np.array([0.25, 0.0]))]
    agent.step(model.observe([0.025, 0], DT_NS), applied=limited)
    state, _ = model.calls[-1]
    assert state.actions[-1].tolist() == pytest.approx([0.25, 0.0])


def test_plans_in_whose_place_a_stop_was_sent_are_not_imagined(model):
    agent, records = Agent(model, replace(CONFIG, latency_steps=1)), []
    agent.set_goal(model.image(GOAL_M))
    agent.log = records.append
    for step in range(3):
        agent.step(model.observe([0, 0], step * DT_NS))
    assert records[-1].inputs.committed.any()
    agent.forget_plans()
    agent.step(model.observe([0, 0], 3 * DT_NS))
    assert not records[-1].inputs.committed.any()


@pytest.mark.parametrize("latency", [0, 1, 2])
@pytest.mark.parametrize("hz", [10, 30, 60])
def test_no_plan_is_forgotten_that_is_still_to_be_in_force(model, latency, hz):
    agent, plans = Agent(model, replace(CONFIG, latency_steps=latency)), []
    agent.set_goal(model.image(GOAL_M))
    for frame in range(20):
        stamp_ns = frame * NS_PER_S // hz
        plans.append(agent.step(model.observe([0, 0], stamp_ns)))
        known, all_of_them = (
            committed_actions(which, stamp_ns, latency + 1, 0.1, 2)
            for which in (agent.state.plans, plans)
        )
        np.testing.assert_array_equal(known, all_of_them)
    assert np.abs(known).min(initial=1.0) > 0.0
    assert len(agent.state.plans) <= latency * hz / 10 + 2  # but no more than it takes


@pytest.mark.parametrize("latency", [0, 1, 2, 3])
def test_following_the_plan_is_the_same_as_saying_so(model, latency):
    contexts = []
    for hide_applied in (True, False):
        agent = Agent(model, replace(CONFIG, latency_steps=latency))
        agent.set_goal(model.image(GOAL_M))
        run(agent, model, steps=8, delay=latency, hide_applied=hide_applied)
        contexts.append([state.actions for state, _ in model.calls])
        model.calls.clear()
    np.testing.assert_allclose(contexts[0], contexts[1], atol=1e-5)
    assert np.abs(contexts[0]).max() > 0.5


def test_a_robot_that_is_held_knows_that_it_does_not_move(model):
    agent = Agent(model, CONFIG)
    agent.set_goal(model.image(GOAL_M))
    for i in range(3):
        agent.step(model.observe([0, 0], i * DT_NS), applied=[])
    state, _ = model.calls[-1]
    assert not state.actions.any()


@pytest.mark.parametrize(("every_ns", "follows"), [(DT_NS // 10, True), (None, False)])
def test_plans_that_nobody_follows_move_nobody_before_the_next_begins(model, every_ns, follows):
    agent, records = Agent(model, replace(CONFIG, latency_steps=1)), []
    agent.log = records.append
    agent.set_goal(model.image(GOAL_M))
    for i in range(4):
        stamp_ns = i * DT_NS
        sent = [] if every_ns is None else [stamp_ns - every_ns]
        applied = [AppliedCommand(at_ns, np.zeros(2)) for at_ns in sent]
        agent.step(model.observe([0, 0], stamp_ns), applied)
    assert bool(records[-1].inputs.committed.any()) == follows


def test_the_deadline_runs_from_the_call(model):
    agent = Agent(model, replace(CONFIG, deadline_s=1e-6))
    agent.set_goal(model.image(GOAL_M))
    plan = agent.step(model.observe([0, 0], 0))
    assert plan.status is PlanStatus.BEST_SO_FAR
    assert plan.iterations == 0
    assert not plan.knots.any()


def test_after_predictions_that_were_not_finite_the_goal_is_still_reached(model):
    agent = Agent(model, CONFIG)
    agent.set_goal(model.image(GOAL_M))
    model.spoil = lambda latents: np.full_like(latents, np.nan)
    plan = agent.step(model.observe([0, 0], 0))
    assert plan.status is PlanStatus.NO_FINITE_ROLLOUT
    model.spoil = None
    _, path = run(agent, model, start=1)
    assert np.linalg.norm(path[-1] - GOAL_M) < 0.03


@pytest.mark.parametrize("method", ["cem", "icem", "mppi", "predictive", "gradient"])
@pytest.mark.parametrize("spoilt_steps", [1, 4])
def test_the_first_clean_plan_is_as_good_as_one_that_never_saw_a_nan(model, method, spoilt_steps):
    planner = replace(PLANNER, method=method, std=0.5)
    standing = [AppliedCommand(0, np.zeros(2))]

    def first_clean(spoilt: bool, seed: int):
        agent = Agent(model, replace(CONFIG, planner=planner))
        agent.reset(seed)
        agent.set_goal(model.image(GOAL_M))
        for i in range(spoilt_steps + 3):
            if spoilt and i >= 2:
                model.spoil = lambda latents: np.full_like(latents, np.nan)
            if i == spoilt_steps + 2:
                model.spoil = None
                before = agent.state
            plan = agent.step(model.observe([0, 0], i * DT_NS), standing)
            expected = spoilt and 2 <= i < spoilt_steps + 2
            assert (plan.status is PlanStatus.NO_FINITE_ROLLOUT) == expected
        # as if nothing had been planned while the model was out of its mind
        _, unaware = agent.step_from(replace(before, plans=()), model.observe([0, 0], i * DT_NS))
        np.testing.assert_array_equal(plan.knots, unaware.knots)
        return plan.cost

    costs = np.array([[first_clean(s, seed) for s in (True, False)] for seed in range(8)])
    assert costs[:, 0].mean() <= 1.05 * costs[:, 1].mean()
