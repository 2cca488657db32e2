"""A course of goals: by distance, after a dwell, after a time-out, and the view of the moment."""

import numpy as np
import pytest

from controller.agent import Agent
from controller.config import AgentConfig, CourseConfig, PlannerConfig
from controller.goals import Course, GoalConfig, Waypoint
from controller.settings import ConfigError, from_mapping
from controller.types import Goal

STEP_NS = 100_000_000


def at(x: float) -> np.ndarray:
    return np.array([[x, 0.0]], np.float32)


def seen(course: Course, *path: tuple[float, float]) -> list[int]:
    """Index of the goal in force after each (seconds, x)."""
    indices = []
    for time_s, x in path:
        course = course.advanced(at(x), round(time_s * 1e9))
        indices.append(course.index)
    return indices


def driven(agent: Agent, model) -> np.ndarray:
    """Where the point was, (20, 2) m, while the agent drove it."""
    place, way = np.zeros(2, np.float32), []
    for step in range(20):
        plan = agent.step(model.observe(place, step * STEP_NS))
        place = place + 0.1 * plan.action_at(step * STEP_NS)
        way.append(place)
    return np.array(way)


def test_it_goes_on_when_near_and_keeps_the_last():
    # mean squared distance of (0.1, 0) from (0, 0): 0.01/2 = 0.005
    course = Course((Waypoint(Goal(at(0.0)), 0.005), Waypoint(Goal(at(1.0)), 0.005)))
    assert seen(course, (0.0, 0.5), (0.1, 0.11), (0.2, 0.0999), (0.3, 1.0), (9.0, 1.0)) == [
        0,
        0,
        1,
        1,
        1,
    ]


def test_dwelling_starts_again_when_it_is_left():
    course = Course((Waypoint(Goal(at(0.0)), 0.005, dwell_s=0.2), Waypoint(Goal(at(1.0)))))
    path = [(0.0, 0.0), (0.1, 0.0), (0.15, 0.5), (0.2, 0.0), (0.39, 0.0), (0.4, 0.0)]
    assert seen(course, *path) == [0, 0, 0, 0, 0, 1]


def test_a_time_out_goes_on_without_arriving():
    course = Course((Waypoint(Goal(at(9.0)), 0.005, timeout_s=1.0), Waypoint(Goal(at(1.0)))))
    assert seen(course, (5.0, 0.0), (5.9, 0.0), (6.0, 0.0)) == [0, 0, 1]


def test_the_cameras_view_is_the_one_when_its_turn_comes():
    course = Course((Waypoint(Goal(at(0.0)), 0.005), Waypoint(None)))
    course = course.advanced(at(0.5), 0)
    course = course.advanced(at(0.05), 1)
    assert course.index == 1
    assert course.goal.source == "camera view"
    assert course.goal.latent.tolist() == at(0.05).tolist()
    assert course.advanced(at(0.7), 2).goal.latent.tolist() == at(0.05).tolist()


def test_when_the_clock_goes_back_the_time_of_a_goal_begins_anew():
    course = Course((Waypoint(None), Waypoint(Goal(at(0.0)), 0.005, 2.0, 5.0), Waypoint(None)), 1)
    for time_s in (100.0, 101.0):  # near for a second already
        course = course.advanced(at(0.0), round(time_s * 1e9))
    course = course.restarted()
    assert seen(course, (3.0, 0.0), (4.9, 0.0), (5.0, 0.0)) == [1, 1, 2]  # it dwells for 2 s
    assert seen(course, (3.0, 0.5), (7.9, 0.5), (8.0, 0.5)) == [1, 1, 2]  # or is late after 5 s


def test_an_agent_whose_clock_went_back_forgets_what_it_saw_and_keeps_its_course(model):
    planner = PlannerConfig(horizon=6, knots=3, samples=64, elites=8, iterations=1)
    agent = Agent(model, AgentConfig(planner, deadline_s=None))
    far = agent.set_goal(model.image([1.5, 1.5]))
    agent.set_course(Course(tuple(Waypoint(far, timeout_s=1.0) for _ in range(3))))

    def index(time_s):
        agent.step(model.observe([0.0, 0.0], round(time_s * 1e9)))
        return agent.state.course.index

    assert [index(time_s) for time_s in (100.0, 101.0, 101.5)] == [0, 1, 1]
    agent.clock_went_back()
    assert agent.state.frames == ()
    assert agent.state.plans == ()
    assert [index(time_s) for time_s in (5.0, 5.9, 6.0)] == [1, 1, 2]


def test_an_agent_visits_one_goal_after_the_other(model):
    planner = PlannerConfig(horizon=6, knots=3, samples=64, elites=8, iterations=3)
    agent = Agent(model, AgentConfig(planner, deadline_s=None))
    goals = ([0.3, 0.0], [0.3, 0.3])
    points = [agent.set_goal(model.image(goal)) for goal in goals]
    agent.set_course(Course(tuple(Waypoint(p, 0.0005, timeout_s=5.0) for p in points)))
    way = driven(agent, model)
    # sqrt(2 * 0.0005) = 3.2 cm
    nearest = [min(np.linalg.norm(way - goal, axis=1)) for goal in goals]
    assert max(nearest) < 0.04
    assert agent.state.course.index == 1
    agent.set_goal(model.image([0.0, 0.0]))
    assert agent.state.course is None


def test_a_goal_shown_by_several_images_is_come_to_by_their_way(model):
    planner = PlannerConfig(horizon=6, knots=3, samples=64, elites=8, iterations=3)
    course = CourseConfig(reached_distance=0.0005, timeout_s=None)
    agent = Agent(model, AgentConfig(planner, course=course, deadline_s=None))
    shown = ([0.3, 0.0], [0.3, 0.3])
    agent.set_goals([model.image(place) for place in shown])
    way = driven(agent, model)
    nearest = [min(np.linalg.norm(way - goal, axis=1)) for goal in shown]
    assert max(nearest) < 0.04
    assert agent.state.course.index == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reached_distance": 0}, "reached_distance must be above 0"),
        ({"timeout_s": -1.0}, "timeout_s must be above 0"),
        ({"dwell_s": -1.0}, "dwell_s must be at least 0"),
        ({"reached_distance": None, "timeout_s": None}, "stays at its first goal"),
    ],
)
def test_a_course_that_cannot_be_meant_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping(CourseConfig, settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "one of image, camera and data, this has 0"),
        ({"image": "a.png", "camera": True}, "this has 2"),
        ({"data": "set", "episode": -1}, "episode must be at least 0"),
        ({"camera": True, "dwell_s": -1}, "dwell_s must be at least 0"),
        ({"camera": True, "timeout_s": 0}, "timeout_s must be above 0 or null"),
        ({"camera": True, "reached_distance": 0}, "reached_distance must be above 0"),
        ({"camera": 1}, "camera must be true or false"),
    ],
)
def test_a_goal_that_cannot_be_meant_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping(GoalConfig, settings)


def test_the_source_is_told_in_words():
    assert GoalConfig(image="a.png").source == "image a.png"
    assert GoalConfig(camera=True).source == "camera view"
    assert GoalConfig(data="set", episode=3).source == "set episode 3 frame -1"
