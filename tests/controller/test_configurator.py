"""From a task's description to an agent, and from one task to the next without a stop."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.config import AgentConfig, CostConfig, MemoryConfig, PlannerConfig
from controller.configurator import Configurator, Resources, TaskConfig, load_task
from controller.episodic import EpisodicMemory
from controller.goals import GoalConfig
from controller.settings import ConfigError
from controller.types import ObservationError

STEP_NS = 100_000_000
TASK = """
goals:
  - {image: goal.png, reached_distance: 0.001, timeout_s: 3}
  - {camera: true}
agent:
  planner: {horizon: 6, knots: 3, samples: 32, elites: 4, iterations: 2}
  cost: {action_weight: 0.01}
  memory: {folder: memory}
  deadline_s: null
"""
QUICK = AgentConfig(
    PlannerConfig(horizon=6, knots=3, samples=64, elites=8, iterations=2), deadline_s=None
)


class World:
    """Files that are not there: bundles and goal images by name."""

    def __init__(self, make_model):
        self.make_model = make_model
        self.loaded = []

    def load(self, bundle):
        if bundle == "broken":
            raise ValueError("broken: its hash differs")
        self.loaded.append(bundle)
        other = {"action_names": ("a", "b")} if bundle == "arm" else {}
        model = self.make_model(**other)
        if bundle == "blind":
            model.encode = lambda images: np.full((1, 2), np.nan, np.float32)
        return model

    def images(self, goal, model):
        if goal.image == "small.png":
            return {"scene": np.zeros((2, 2, 3), np.uint8)}
        return model.image([0.5, 0.0])

    def resources(self):
        return Resources(self.load, lambda bundle: f"hash of {Path(bundle).name}", self.images)


@pytest.fixture
def files(make_model):
    return World(make_model)


@pytest.fixture
def configurator(files):
    return Configurator(files.resources(), "first")


def run(agent, model, steps=3, start=0, place=(0.0, 0.0)):
    place = np.array(place, np.float32)
    for step in range(start, start + steps):
        plan = agent.step(model.observe(place, step * STEP_NS))
        place = place + 0.1 * plan.action_at(step * STEP_NS)
    return place, plan


def test_a_task_file_configures_everything(tmp_path, configurator, files, model):
    (tmp_path / "reach.yaml").write_text(TASK)
    task = load_task(tmp_path / "reach.yaml")
    assert task.name == "reach"
    assert task.goals[0].image == str(tmp_path / "goal.png")
    assert task.agent.planner.horizon == 6
    agent = configurator.prepare(task).begin()
    assert files.loaded == ["first"]
    assert [point.reached_distance for point in agent.state.course.waypoints] == [0.001, None]
    place, plan = run(agent, model, 15)
    assert plan.usable
    assert len(plan.knots) == 3
    assert "action" in plan.cost_terms
    assert np.linalg.norm(place - [0.5, 0.0]) < 0.1
    configurator.close()
    assert len(list((tmp_path / "memory").glob("*/*.moments"))) == 1


def test_the_next_task_goes_on_where_the_robot_is(configurator, files, model):
    goal = GoalConfig(image="goal.png")
    first = configurator.prepare(TaskConfig("one", goals=(goal,), agent=QUICK)).begin()
    place, before = run(first, model)
    # Other costs, horizon and knots; no goals: the goal in force stays.
    planner = PlannerConfig(horizon=8, knots=4, samples=32, elites=4, iterations=1)
    cost = CostConfig(action_weight=0.0)
    second = configurator.prepare(
        TaskConfig("two", agent=AgentConfig(planner, cost, deadline_s=None))
    ).begin()
    second.take_over(first)
    assert files.loaded == ["first"]  # the same model is not loaded again
    assert second.state.goal is not None
    assert second.state.frames == first.state.frames
    assert second.state.plans[-1] is before
    after = second.step(model.observe(place, 3 * STEP_NS))
    assert after.usable
    assert after.begin.value == "WARM"
    assert list(after.cost_terms) == ["goal", "smoothness"]


def test_another_model_forgets_what_the_first_saw_and_keeps_what_was_commanded(
    configurator, files, model
):
    goal = GoalConfig(image="goal.png")
    first = configurator.prepare(TaskConfig(goals=(goal,), agent=QUICK)).begin()
    place, _ = run(first, model)
    second = configurator.prepare(TaskConfig(bundle="second", goals=(goal,), agent=QUICK)).begin()
    second.take_over(first)
    assert files.loaded == ["first", "second"]
    assert second.state.frames == ()
    assert len(second.state.commands.stamps_ns) > 0
    assert second.step(model.observe(place, 3 * STEP_NS)).begin.value == "WARM"
    third = configurator.prepare(TaskConfig(agent=QUICK)).begin()
    assert third.state.goal is None
    assert files.loaded == ["first", "second"]  # what is named by none is what is in use


def test_a_robot_of_other_actions_is_refused(configurator):
    first = configurator.prepare(TaskConfig(agent=QUICK)).begin()
    other = configurator.prepare(TaskConfig(bundle="arm", agent=QUICK)).begin()
    with pytest.raises(ConfigError, match=r"actions are a, b, the robot is being .* tool\.vx"):
        other.take_over(first)


def test_a_task_that_fails_leaves_the_one_before_as_it_was(configurator, files, model):
    goal = GoalConfig(image="goal.png")
    first = configurator.prepare(TaskConfig(goals=(goal,), agent=QUICK)).begin()
    with pytest.raises(ValueError, match="its hash differs"):
        configurator.prepare(TaskConfig(bundle="broken", agent=QUICK)).begin()
    with pytest.raises(ObservationError, match="2x2x3"):
        configurator.prepare(
            TaskConfig(goals=(GoalConfig(image="small.png"),), agent=QUICK)
        ).begin()
    with pytest.raises(ConfigError, match="no critic"):
        configurator.prepare(
            TaskConfig(agent=AgentConfig(cost=CostConfig(critic_weight=1.0)))
        ).begin()
    _, plan = run(first, model)
    assert plan.usable
    configurator.prepare(TaskConfig(agent=QUICK)).begin()
    assert files.loaded == ["first"]


def test_a_memory_is_opened_once_and_by_the_weights_of_the_model(tmp_path, configurator, model):
    def task(folder):
        memory = {"memory": {"folder": folder}, "deadline_s": None}
        path = tmp_path / "task.yaml"
        path.write_text(f"agent: {memory}".replace("None", "null"))
        return load_task(path)

    first = configurator.prepare(task("a")).begin()
    run(first, model)
    again = configurator.prepare(task("a")).begin()  # a second opening would be refused
    assert again._memory is first._memory
    configurator.prepare(task("b")).begin()
    configurator.close()
    configurator.close()
    assert len(list((tmp_path / "a").iterdir())) == len(list((tmp_path / "b").iterdir())) == 1


def remembering(folder):
    return replace(QUICK, memory=MemoryConfig(str(folder)))


def test_a_folder_is_the_same_one_however_it_is_named(tmp_path, configurator, files):
    (tmp_path / "tasks").mkdir()
    bundle, folder = tmp_path / "first", tmp_path / "memory"
    first = configurator.prepare(TaskConfig(bundle=str(bundle), agent=remembering(folder))).begin()
    aside = tmp_path / "tasks" / ".."
    again = configurator.prepare(
        TaskConfig(bundle=str(aside / "first"), agent=remembering(aside / "memory"))
    ).begin()
    assert files.loaded == [str(bundle)]
    assert again._memory is first._memory
    # A copy of the bundle is another model to run and the same one to remember for.
    copy = str(tmp_path / "tasks" / "first")
    copied = configurator.prepare(TaskConfig(bundle=copy, agent=remembering(folder))).begin()
    assert files.loaded == [str(bundle), copy]
    assert copied._memory is first._memory


def test_a_task_that_cannot_be_begun_leaves_memory_and_model_of_the_one_before(
    tmp_path, configurator, model
):
    settings = remembering(tmp_path)
    first = configurator.prepare(TaskConfig(agent=settings)).begin()
    run(first, model)
    goals = (GoalConfig(image="goal.png"),)
    blind = configurator.prepare(TaskConfig(bundle="blind", goals=goals, agent=settings))
    with pytest.raises(ObservationError, match="not finite"):
        blind.begin()
    assert len(first._memory) == 2
    run(first, model, start=3)
    assert len(first._memory) == 5
    after = configurator.prepare(TaskConfig(agent=settings))
    assert after.bundle == "first"
    assert after.agent._memory is first._memory


def test_a_memory_is_let_go_of_with_the_last_agent_that_has_it(tmp_path, configurator, model):
    agent = configurator.prepare(TaskConfig(agent=remembering(tmp_path))).begin()
    with pytest.raises(ConfigError, match="in use"):
        EpisodicMemory.open(tmp_path, model.spec, "hash of first", 10)
    del agent
    EpisodicMemory.open(tmp_path, model.spec, "hash of first", 10).close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("goal: x", "unknown setting 'goal'; did you mean 'goals'"),
        ("goals: [{}]", r"goals\[0\]: a goal has one of"),
        ("goals: x.png", "goals must be a list"),
        ("name: 3", "name must be a text"),
        ("agent: {planner: {horizon: 0}}", "horizon must be at least 1"),
    ],
)
def test_a_wrong_task_is_one_clear_line(tmp_path, text, said):
    path = tmp_path / "task.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        load_task(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_what_does_not_fit_the_caller_changes_nothing(configurator, files):
    configurator.prepare(TaskConfig(agent=QUICK))

    def refuse(agent):
        raise ValueError(f"other actions: {agent.model.spec.action_names[0]}")

    with pytest.raises(ValueError, match="other actions: a"):
        configurator.prepare(TaskConfig(bundle="arm", agent=QUICK), refuse)
    assert configurator.prepare(TaskConfig(agent=QUICK)).bundle == "first"
